"""What snapshots leave out: each value on an aggregate's shelves is a row, true as of its stream's newest snapshot.

Rows change in no other transaction than one that writes the stream's snapshot. It appends to the stream too, so whoever
decided from what was there before is void: by the counter row, or by the version of a stream that it looked at.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import orjson

from adapters.sql.driver import Said, Session
from adapters.sql.rows import Sealed, ShelfRow, StreamMoved

_READ = """
with asked (stream, key) as ({asked})
select snapshots.stream, snapshots.version, entries.key, entries.shelf, entries.state
from asked join snapshots on snapshots.stream = asked.stream
left join shelf_entries entries on entries.stream = asked.stream and entries.key = asked.key
"""
_ASKED = {
    "postgresql": "select * from unnest(?::text[], ?::text[])",
    "sqlite": "select value ->> 0, value ->> 1 from json_each(?)",
}
_EMPTY = "delete from shelf_entries where stream = ?"
_REMOVE = "delete from shelf_entries where stream = ? and key = ? and shelf = ?"
_PUT = (
    "insert into shelf_entries (stream, key, shelf, state) values (?, ?, ?, ?)"
    " on conflict (stream, key, shelf) do update set state = excluded.state"
)


class Shelves:
    """The statements of one database."""

    def __init__(self, *, postgresql: bool) -> None:
        self._postgresql = postgresql
        self._read = _READ.format(asked=_ASKED["postgresql" if postgresql else "sqlite"])

    def read(self, asking: Session, known: Mapping[str, int], asked: Collection[tuple[str, str]]) -> list[ShelfRow]:
        """What is there, of pairs of stream and key; `known` is the version of each stream's snapshot that was read before.

        Raises StreamMoved where another snapshot was written since: what is there belongs to that one.
        """
        pairs = list(asked)
        values: tuple[Any, ...] = (orjson.dumps(pairs).decode(),)
        if self._postgresql:
            values = ([stream for stream, _ in pairs], [key for _, key in pairs])
        [rows] = asking.ask([Said(self._read, values)])
        newest = {(row[0], row[1]) for row in rows}
        if moved := {stream for stream, _ in pairs if (stream, known[stream]) not in newest}:
            raise StreamMoved(moved)
        return [ShelfRow(stream, *entry) for stream, _, *entry in rows if entry[0] is not None]

    def written(self, sealed: Sealed) -> Iterator[Said]:
        """As it is with the batch's snapshots."""
        emptied = [(stream,) for stream in sealed.emptied]
        for statement, rows in ((_EMPTY, emptied), (_REMOVE, sealed.unshelved), (_PUT, sealed.shelved)):
            if rows:
                yield Said(statement, rows, many=True)
