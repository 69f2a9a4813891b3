"""Remember with which machine each provider serves."""

import sqlalchemy as sa
from alembic import op

revision = "0005_providers"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "providers_providers", sa.Column("serial_hash", sa.String(length=64), nullable=True, comment="of its machine")
    )


def downgrade() -> None:
    op.drop_column("providers_providers", "serial_hash")
