"""Keep the positions of a shard's readers side by side, what else came with a parked record, and who reads what."""

import sqlalchemy as sa
from alembic import op

revision = "0005_readers"
down_revision = "0004"

_COMMENT = "The sequence that each reader applies next in every shard. Advanced in the transaction that changes the view."


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # A reader of before that still runs commits before the positions are copied, or not at all.
        op.execute("lock table positions in access exclusive mode")
    wrote = sa.Column("wrote", sa.BigInteger(), nullable=False, server_default="0")
    _sort(("shard", "reader"), wrote, sqlite_with_rowid=False)
    op.add_column("parked", sa.Column("headers", sa.LargeBinary()))
    op.add_column("parked", sa.Column("timestamp_ms", sa.BigInteger()))
    op.create_table(
        "reader_states",
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("reader", sa.String(length=120), nullable=False),
        sa.Column("set", sa.String(length=60), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("fold_microseconds", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", "reader"),
        comment="What the process that claimed a shard for a reader last said of it. For people: nothing is decided by it.",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reader_sets",
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("set", sa.String(length=60), nullable=False),
        sa.Column("seen", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("holder"),
        comment="The processes that read, and when each last showed a sign of life.",
    )


def downgrade() -> None:
    op.drop_table("reader_sets")
    op.drop_table("reader_states")
    op.drop_column("parked", "timestamp_ms")
    op.drop_column("parked", "headers")
    _sort(("reader", "shard"))


def _sort(key: tuple[str, str], *more: sa.Column[int], **options: bool) -> None:
    """Another primary key is another table: SQLite knows no other way, and PostgreSQL's rows are few."""
    columns = (
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.String(length=64), nullable=False),
        sa.Column("last_time", sa.String(length=30), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
    )
    names = ", ".join(f'"{name}"' for name in (*key, *(column.name for column in columns)))
    op.create_table(
        "positions_sorted",
        *(sa.Column(name, sa.String(length=120), nullable=False) for name in key),
        *columns,
        *more,
        sa.PrimaryKeyConstraint(*key, name=f"positions_by_{key[0]}"),
        comment=_COMMENT,
        **options,
    )
    op.execute(f"insert into positions_sorted ({names}) select {names} from positions")  # noqa: S608  our own names
    op.drop_table("positions")
    op.rename_table("positions_sorted", "positions")
