"""Keep witnesses' cosignatures and refusals. Neither is changed or removed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_APPEND_ONLY = ("audit_cosignatures", "audit_refusals")


def upgrade() -> None:
    op.create_table(
        "audit_cosignatures",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("witness", sa.String(length=400), nullable=False),
        sa.Column("posix_seconds", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", "witness"),
        comment="Witnesses' signature lines under signed heads, verified before they were stored.",
    )
    op.create_index("audit_cosignatures_witness", "audit_cosignatures", ["witness", "size"])
    op.create_table(
        "audit_refusals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("posix_seconds", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("witness", sa.String(length=400), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Heads that a witness found to contradict what it had seen. While the newest one stands, nothing is published.",
    )
    for table in _APPEND_ONLY:
        _forbid_on_postgresql(table) if op.get_bind().dialect.name == "postgresql" else _forbid_on_sqlite(table)


def _forbid_on_sqlite(table: str) -> None:
    for what in ("update", "delete"):
        op.execute(
            f"create trigger {table}_no_{what} before {what} on {table}"
            f" begin select raise(abort, '{table} is append-only'); end"
        )


def _forbid_on_postgresql(table: str) -> None:
    op.execute(
        f"create trigger {table}_no_change before update or delete on {table} for each row execute function audit_append_only()"
    )


def downgrade() -> None:
    raise RuntimeError("an audit log is not taken back")
