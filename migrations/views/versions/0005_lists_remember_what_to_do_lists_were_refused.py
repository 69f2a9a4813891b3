"""Remember what to-do lists were refused, who works them off, and which nonce each contract call has."""

import sqlalchemy as sa
from alembic import op

revision = "0005_lists"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("sender", sa.String(length=42), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "reference"),
        comment="The nonce of each contract call, kept before it is sent. Where it is lost, the chain's logs tell as much.",
    )
    op.create_index("calls_nonce", "calls", ["sender", "nonce"], unique=True)
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
