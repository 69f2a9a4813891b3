"""Keep the records of open holds that wait for another context's stream: its commands carry them."""

import sqlalchemy as sa
from alembic import op

revision = "0008_treasury"
down_revision = "0007_treasury"


def upgrade() -> None:
    op.create_table(
        "treasury_held_records",
        sa.Column("account", sa.String(length=140), nullable=False),
        sa.Column("hold", sa.String(length=120), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False, comment="the Held"),
        sa.Column("value", sa.Text(), nullable=False, comment="as it was signed"),
        sa.Column("signature", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("account", "hold"),
        comment="What other contexts' commands carry: the records of holds that are open and whose purpose names a stream.",
    )


def downgrade() -> None:
    op.drop_table("treasury_held_records")
