"""Make the event store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "authority_keys",
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        comment="Each key with the position of the event that changed it last. Share-locked by decisions that rely on it.",
    )
    op.create_table(
        "deployment",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="What a store is for and may never change: its network, its partitions, the digest of its genesis.",
    )
    op.create_table(
        "shards",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("context", sa.String(length=60), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.String(length=64), nullable=False),
        sa.Column("last_time", sa.String(length=30), nullable=False),
        sa.Column("next_outcome", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("position_hash", sa.String(length=64), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("context", "partition"),
        comment="One counter row a shard: locked by whoever appends, compared whole, so that it fences everything.",
    )
    op.create_table(
        "snapshots",
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("form", sa.String(length=80), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "version"),
        comment="Aggregates as JSON, a cache: one whose form is not the code's is passed over.",
    )
    op.create_table(
        "authority_grants",
        sa.Column("key", sa.String(length=90), nullable=False),
        sa.Column("role", sa.String(length=60), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("not_after", sa.String(length=30), nullable=False),
        sa.Column("shard", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key"],
            ["authority_keys.key"],
        ),
        sa.PrimaryKeyConstraint("key", "role", "prefix"),
    )
    op.create_index("authority_grants_role", "authority_grants", ["role"], unique=False)
    op.create_table(
        "commands",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=250), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.LargeBinary(), nullable=False),
        sa.Column("outcome_signature", sa.String(length=200), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=True),
        sa.PrimaryKeyConstraint("shard", "number"),
        sa.UniqueConstraint("identity"),
        comment="The inbox and the outcomes in one: what was asked, by whom, and what became of it, in dense order.",
    )
    op.create_table(
        "events",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=120), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.String(length=200), nullable=False),
        sa.Column("traceparent", sa.String(length=55), nullable=True),
        sa.PrimaryKeyConstraint("shard", "sequence"),
        sa.UniqueConstraint("stream", "version"),
        comment="The signed records, byte for byte as they are published.",
    )
    op.create_table(
        "relays",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("next_event", sa.BigInteger(), nullable=False),
        sa.Column("next_outcome", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shard"],
            ["shards.id"],
        ),
        sa.PrimaryKeyConstraint("shard"),
        comment="What is published. Only the relay that holds the epoch moves it.",
    )
    op.create_table(
        "repeats",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["shard"],
            ["shards.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        comment="Outcomes to publish once more, because their command came again.",
    )


def downgrade() -> None:
    op.drop_table("repeats")
    op.drop_table("relays")
    op.drop_table("events")
    op.drop_table("commands")
    op.drop_index("authority_grants_role", table_name="authority_grants")
    op.drop_table("authority_grants")
    op.drop_table("snapshots")
    op.drop_table("shards")
    op.drop_table("deployment")
    op.drop_table("authority_keys")
