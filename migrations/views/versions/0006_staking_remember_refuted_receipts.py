"""Remember the receipts that were refuted, for staking to accuse, and the events that a standing follows from."""

import sqlalchemy as sa
from alembic import op

revision = "0006_staking"
down_revision = "0005_staking"


def upgrade() -> None:
    op.create_table(
        "staking_refuted",
        sa.Column("request", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("device_key", sa.String(length=90), nullable=False),
        sa.Column("evidence", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("request", "number", "device_key"),
    )
    op.create_index(op.f("ix_staking_refuted_at"), "staking_refuted", ["at"], unique=False)
    op.add_column("staking_devices", sa.Column("event", sa.String(length=36), nullable=True, comment="the last one"))
    op.add_column("staking_tiers", sa.Column("event", sa.String(length=36), nullable=True, comment="that said so"))


def downgrade() -> None:
    op.drop_column("staking_tiers", "event")
    op.drop_column("staking_devices", "event")
    op.drop_index(op.f("ix_staking_refuted_at"), table_name="staking_refuted")
    op.drop_table("staking_refuted")
