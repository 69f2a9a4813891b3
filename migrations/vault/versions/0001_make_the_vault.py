"""Make the vault."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "vault_sealing_keys",
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False),
        sa.Column("retention_class", sa.String(length=20), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("master", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        comment="A key is here, wrapped, or it is destroyed.",
    )
    op.create_index("vault_keys_person", "vault_sealing_keys", ["person", "retention_class", "year"], unique=True)
