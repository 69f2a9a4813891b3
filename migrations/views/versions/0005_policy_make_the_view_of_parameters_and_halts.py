"""Make the view of parameters and halts."""

import sqlalchemy as sa
from alembic import op

revision = "0005_policy"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "policy_adoptions",
        sa.Column("context", sa.String(length=40), nullable=False),
        sa.Column("policy_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.String(length=30), nullable=False),
        sa.Column("actor", sa.String(length=90), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("context", "policy_version"),
    )
    op.create_table(
        "policy_halts",
        sa.Column("context", sa.String(length=40), nullable=False),
        sa.Column("scope", sa.String(length=40), nullable=False),
        sa.Column("until", sa.String(length=30), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("actor", sa.String(length=90), nullable=False),
        sa.PrimaryKeyConstraint("context", "scope"),
    )
