"""Say which record each mark saw last in its topic, and at which offset; and why nothing is published of a shard.

A mark without an offset, as an earlier version left it, is looked for from the topic's end.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for column in ("event_offset", "event_at", "outcome_offset", "outcome_at"):
        op.add_column("relays", sa.Column(column, sa.BigInteger, nullable=False, server_default="-1"))
    op.add_column("relays", sa.Column("closed", sa.Text, nullable=True))
