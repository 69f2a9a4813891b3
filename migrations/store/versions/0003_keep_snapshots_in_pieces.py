"""Keep the shelves of snapshots entry by entry."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "shelf_entries",
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("shelf", sa.String(length=60), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "key", "shelf"),
        comment="What a snapshot leaves out: each value on an aggregate's shelves as JSON, as of the stream's snapshot.",
        sqlite_with_rowid=False,
    )
