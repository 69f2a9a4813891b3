"""Keep of what strangers sent and was refused the bytes of the newest 1,000 a shard, also of what is there already.

Digest, place and reason stay. On SQLite the file does not become smaller: what is let go is used again.
"""

from collections.abc import Iterator

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_KEPT = 1_000
_PAGE = 500
# Of texts that strangers wrote the quotes are escaped: what has this has a refusal, and the rest is not even fetched.
_REFUSAL = b'"refusal":{'
_REFUSED = """
select number, outcome from commands where shard = :shard and number < :before and {found} > 0 order by number desc limit :page
"""
_KEEP = "update commands set kept = true where shard = :shard and number = :number"
_LET_GO = "update commands set kept = false, command = :empty where shard = :shard and number = :number"


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("commands", sa.Column("kept", sa.Boolean(), nullable=True))
    registered = set(connection.scalars(sa.text("select key from authority_keys where shard <> ''")))
    for shard in list(connection.scalars(sa.text("select id from shards"))):
        kept = 0
        for numbers in _of_strangers(connection, shard, registered):
            keep, let_go = numbers[: _KEPT - kept], numbers[_KEPT - kept :]
            kept += len(keep)
            if keep:
                connection.execute(sa.text(_KEEP), [{"shard": shard, "number": number} for number in keep])
            if let_go:
                connection.execute(sa.text(_LET_GO), [{"shard": shard, "number": n, "empty": b""} for n in let_go])
    op.create_index(
        "commands_of_strangers", "commands", ["shard", "number"], unique=False,
        sqlite_where=sa.text("kept"), postgresql_where=sa.text("kept"),
    )  # fmt: skip


def _of_strangers(connection: sa.Connection, shard: int, registered: set[str]) -> Iterator[list[int]]:
    """The numbers of what was refused to those who are not registered, the newest first, a page at a time."""
    found = "position(:refusal in outcome)" if connection.dialect.name == "postgresql" else "instr(outcome, :refusal)"
    statement, before = sa.text(_REFUSED.format(found=found)), 2**63 - 1
    while True:
        asked = {"shard": shard, "before": before, "refusal": _REFUSAL, "page": _PAGE}
        rows = connection.execute(statement, asked).all()
        if not rows:
            return
        before = rows[-1].number
        yield [row.number for row in rows if _is_strangers(bytes(row.outcome), registered)]


def _is_strangers(outcome: bytes, registered: set[str]) -> bool:
    document = orjson.loads(outcome)
    # Nobody in particular, where nobody signed it.
    return "refusal" in document["data"] and document["actor"] not in registered
