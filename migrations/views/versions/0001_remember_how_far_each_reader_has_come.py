"""Remember how far each reader has come."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "positions",
        sa.Column("reader", sa.String(length=120), nullable=False),
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.String(length=64), nullable=False),
        sa.Column("last_time", sa.String(length=30), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reader", "shard"),
        comment="The sequence that each reader applies next in every shard. Advanced in the transaction that changes the view.",
    )
    op.create_table(
        "parked",
        sa.Column("reader", sa.String(length=120), nullable=False),
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("reader", "shard", "sequence"),
        comment="Events that a reader could not apply, and those of the same stream that came after them.",
    )
    op.create_index("parked_stream", "parked", ["reader", "stream"])


def downgrade() -> None:
    op.drop_table("parked")
    op.drop_table("positions")
