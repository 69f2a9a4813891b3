"""Let whoever owns a shard publish it, and find what it has to repeat.

A relay of an earlier version does not know this revision: it ends when a worker claims its first shard, and does not start
again.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

COMMENT, BEFORE = (
    "What is published. Only the owner of a shard who holds the epoch moves it.",
    "What is published. Only the relay that holds the epoch moves it.",
)


def upgrade() -> None:
    op.create_index("repeats_shard", "repeats", ["shard"])
    _say(COMMENT, BEFORE)


def downgrade() -> None:
    _say(BEFORE, COMMENT)
    op.drop_index("repeats_shard", table_name="repeats")


def _say(comment: str, before: str) -> None:
    # SQLite keeps none.
    if op.get_context().dialect.name == "postgresql":
        op.create_table_comment("relays", comment, existing_comment=before)
