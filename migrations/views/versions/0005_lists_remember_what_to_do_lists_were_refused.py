"""Remember what to-do lists were refused, and who works them off."""

import sqlalchemy as sa
from alembic import op

revision = "0005_lists"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("until", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="Who works off each to-do list. Only to spare work: two at once send the same commands.",
    )
    op.create_table(
        "refused_tasks",
        sa.Column("list", sa.String(length=120), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("list", "key"),
        comment="Tasks of to-do lists that the rules said no to. An outcome that is heard again writes the same row.",
    )
