"""Make the ledger."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0005_ledger"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "ledger_balances",
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("gained", MoneyColumn(), nullable=False, comment="minor units of the asset"),
        sa.Column("given", MoneyColumn(), nullable=False, comment="minor units of the asset"),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "asset", "stream"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leg", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("gained", MoneyColumn(), nullable=False),
        sa.Column("given", MoneyColumn(), nullable=False),
        sa.Column("type", sa.String(length=120), nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("shard", "sequence", "leg"),
    )
    for column in ("account", "at", "stream"):
        op.create_index(op.f(f"ix_ledger_entries_{column}"), "ledger_entries", [column], unique=False)
