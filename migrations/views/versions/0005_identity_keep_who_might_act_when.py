"""Keep who might act when: a row each time that a role is given or ended. The registry is read again from its first event."""

import sqlalchemy as sa
from alembic import op

revision = "0005_identity"
down_revision = "0004"


def upgrade() -> None:
    op.drop_index(op.f("ix_identity_roles_key"), table_name="identity_roles")
    op.drop_table("identity_roles")
    op.create_table(
        "identity_roles",
        sa.Column("given_in", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("role", sa.String(length=60), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("not_after", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("given_in", "key", "role", "prefix", "sequence"),
        comment="What was given, each time; identity_ends says what of it was taken back.",
    )
    op.create_index(op.f("ix_identity_roles_key"), "identity_roles", ["key"], unique=False)
    op.create_index(op.f("ix_identity_roles_role"), "identity_roles", ["role"], unique=False)
    op.create_table(
        "identity_ends",
        sa.Column("ended_in", sa.String(length=90), nullable=False),
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("role", sa.String(length=60), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("said", sa.String(length=30), nullable=False, comment="what was given later is not ended"),
        sa.Column("at", sa.String(length=30), nullable=False, comment="later than said where a rotated key still acts"),
        sa.PrimaryKeyConstraint("ended_in", "key", "role", "prefix", "sequence"),
    )
    op.create_index(op.f("ix_identity_ends_key"), "identity_ends", ["key"], unique=False)
    # What was replaced or withdrawn had left no row: only the events know.
    op.execute("delete from identity_keys")
    op.execute("delete from positions where reader = 'key_registry'")
