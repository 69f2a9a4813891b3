"""Make the audit log: leaves, tiles, head, shards, checkpoints. What was appended is neither changed nor removed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_APPEND_ONLY = ("audit_leaves", "audit_checkpoints")


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("network", sa.String(length=40), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("roots", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="One row: the tree as it is. Locked by whoever appends.",
    )
    op.create_table(
        "audit_leaves",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=120), nullable=False),
        sa.Column("stream", sa.String(length=250), nullable=False),
        sa.Column("actor", sa.String(length=90), nullable=False),
        sa.Column("time", sa.String(length=30), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf"),
        sa.UniqueConstraint("shard", "sequence", name="audit_leaf_once"),
        comment="Every entry, byte for byte, with what it is looked for by.",
    )
    op.create_index("audit_leaves_event", "audit_leaves", ["event"])
    op.create_index("audit_leaves_stream", "audit_leaves", ["stream", "leaf"])
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number"),
        comment="Up to 256 hashes each. One at the right edge of its level grows; a partial tile is its beginning.",
    )
    op.create_table(
        "audit_shards",
        sa.Column("shard", sa.String(length=120), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.String(length=64), nullable=False),
        sa.Column("last_time", sa.String(length=30), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("halted", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("shard"),
        comment="How far each shard is in the log. Advanced with the leaves, by whoever claimed it last.",
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
        comment="The heads that were signed: at most one root for a size.",
    )
    if op.get_bind().dialect.name == "postgresql":
        _forbid_on_postgresql()
    else:
        _forbid_on_sqlite()


def _forbid_on_sqlite() -> None:
    for table in _APPEND_ONLY:
        for what in ("update", "delete"):
            op.execute(
                f"create trigger {table}_no_{what} before {what} on {table}"
                f" begin select raise(abort, '{table} is append-only'); end"
            )
    op.execute(
        "create trigger audit_tiles_no_delete before delete on audit_tiles"
        " begin select raise(abort, 'audit_tiles is append-only'); end"
    )
    op.execute(
        "create trigger audit_tiles_only_grow before update on audit_tiles"
        " when substr(new.hashes, 1, length(old.hashes)) <> old.hashes"
        " begin select raise(abort, 'a tile is only extended'); end"
    )


def _forbid_on_postgresql() -> None:
    op.execute(
        "create function audit_append_only() returns trigger language plpgsql as"
        " $$ begin raise exception '% is append-only', tg_table_name; end $$"
    )
    op.execute(
        "create function audit_only_grow() returns trigger language plpgsql as $$ begin"
        " if substring(new.hashes from 1 for length(old.hashes)) <> old.hashes then"
        " raise exception 'a tile is only extended'; end if; return new; end $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"create trigger {table}_no_change before update or delete on {table}"
            " for each row execute function audit_append_only()"
        )
    op.execute(
        "create trigger audit_tiles_no_delete before delete on audit_tiles for each row execute function audit_append_only()"
    )
    op.execute(
        "create trigger audit_tiles_only_grow before update on audit_tiles for each row execute function audit_only_grow()"
    )


def downgrade() -> None:
    raise RuntimeError("an audit log is not taken back")
