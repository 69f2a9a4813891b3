"""Remember what was passed over on events topics, because nobody entitled had signed it."""

import sqlalchemy as sa
from alembic import op

revision = "0006_readers"
down_revision = "0005_readers"


def upgrade() -> None:
    op.create_table(
        "strangers",
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("said", sa.String(length=200), nullable=False),
        sa.Column("seen", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("shard"),
        comment="Records of events topics that nobody entitled signed, and that were passed over. For people.",
    )


def downgrade() -> None:
    op.drop_table("strangers")
