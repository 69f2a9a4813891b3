"""Remember which of the contract's logs were recorded, to read on from there."""

import sqlalchemy as sa
from alembic import op

from projections import MoneyColumn

revision = "0006_rewards"
down_revision = "0005_rewards"


def upgrade() -> None:
    op.create_table(
        "rewards_claim_logs",
        sa.Column("payee", sa.String(length=42), nullable=False),
        sa.Column("asset", sa.String(length=30), nullable=False),
        sa.Column("transaction", sa.String(length=66), nullable=False),
        sa.Column("log", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=True, comment="null where a person recorded it"),
        sa.Column("units", MoneyColumn(length=78), nullable=False),
        sa.PrimaryKeyConstraint("payee", "asset", "transaction", "log"),
    )
    op.create_index(op.f("ix_rewards_claim_logs_block"), "rewards_claim_logs", ["block"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_rewards_claim_logs_block"), table_name="rewards_claim_logs")
    op.drop_table("rewards_claim_logs")
