"""Make the views of audit and custody."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "audit_erasures",
        sa.Column("erasure", sa.String(length=120), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False, comment="proposed, ordered, deferred or done"),
        sa.Column("keys", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("basis", sa.String(length=10), nullable=False),
        sa.Column("bars", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("until", sa.String(length=30), nullable=True),
        sa.Column("proposed", sa.String(length=30), nullable=False),
        sa.Column("ordered_by", sa.String(length=36), nullable=True, comment="the id of the ErasureOrdered"),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("erasure"),
    )
    op.create_table(
        "audit_halts",
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("halted", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False, comment="entries that somebody found altered"),
        sa.PrimaryKeyConstraint("shard"),
    )
    op.create_table(
        "audit_holds",
        sa.Column("hold", sa.String(length=60), nullable=False),
        sa.Column("matter", sa.String(length=100), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="JSON: streams, types, keys, since, until"),
        sa.Column("placed_by", sa.String(length=90), nullable=False),
        sa.Column("placed", sa.String(length=30), nullable=False),
        sa.Column("released_by", sa.String(length=90), nullable=True),
        sa.Column("released", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("hold"),
    )
    op.create_table(
        "audit_reads",
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("reader", sa.String(length=90), nullable=False),
        sa.Column("time", sa.String(length=30), nullable=False),
        sa.Column("what", sa.String(length=10), nullable=False, comment="entries, search, export or pack"),
        sa.Column("purpose", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="of the filter, or of a pack's manifest"),
        sa.Column("first", sa.BigInteger(), nullable=True),
        sa.Column("last", sa.BigInteger(), nullable=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event"),
    )
    op.create_index(op.f("ix_audit_reads_reader"), "audit_reads", ["reader"], unique=False)
    op.create_table(
        "audit_schemas",
        sa.Column("urn", sa.String(length=160), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("retention_class", sa.String(length=20), nullable=False),
        sa.Column("sealed_fields", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("published", sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint("urn"),
    )
    op.create_table(
        "audit_witnesses",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("group", sa.String(length=100), nullable=False),
        sa.Column("since", sa.String(length=30), nullable=False),
        sa.Column("retired", sa.String(length=30), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "custody_keys",
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("retention_class", sa.String(length=20), nullable=False),
        sa.Column("year", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.String(length=30), nullable=False),
        sa.Column("shredded", sa.String(length=30), nullable=True),
        sa.Column("cause", sa.String(length=36), nullable=True, comment="the event that ordered it"),
        sa.Column("shredding", sa.String(length=36), nullable=True, comment="the id of the KeyShredded"),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(op.f("ix_custody_keys_shredding"), "custody_keys", ["shredding"], unique=False)
