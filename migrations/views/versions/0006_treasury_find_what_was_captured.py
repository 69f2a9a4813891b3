"""Find what was captured for fees by its time."""

from alembic import op

revision = "0006_treasury"
down_revision = "0005_treasury"


def upgrade() -> None:
    op.create_index("ix_treasury_holds_taken", "treasury_holds", ["counter", "since"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_treasury_holds_taken", table_name="treasury_holds")
