"""Let whoever owns a shard publish it, and find what it has to repeat.

A relay of an earlier version does not know this revision. It ends when a worker has claimed its first shard, and cannot
start again, so that it takes nothing back.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("repeats_shard", "repeats", ["shard"])
    # SQLite keeps no comments.
    if op.get_context().dialect.name == "postgresql":
        op.create_table_comment(
            "relays",
            "What is published. Only the owner of a shard who holds the epoch moves it.",
            existing_comment="What is published. Only the relay that holds the epoch moves it.",
        )
