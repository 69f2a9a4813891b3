"""Say who holds a rotated key: the first key of its chain of rotations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("authority_keys", sa.Column("person", sa.String(length=90)))
