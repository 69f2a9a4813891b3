"""What snapshots leave out: each value on an aggregate's shelves is a row, true as of its stream's newest snapshot.

Rows change in no other transaction than one that writes the stream's snapshot. It appends to the stream too, so whoever
decided from what was there before is void: by the counter row, or by the version of a stream that it looked at.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, text

from adapters.sql.rows import Sealed, ShelfRow, StreamMoved

_READ = """
with asked (stream, key) as ({asked})
select snapshots.stream, snapshots.version, entries.key, entries.shelf, entries.state
from asked join snapshots on snapshots.stream = asked.stream
left join shelf_entries entries on entries.stream = asked.stream and entries.key = asked.key
"""
_ASKED = {
    "postgresql": "select * from unnest(cast(:streams as text[]), cast(:keys as text[]))",
    "sqlite": "select value ->> 0, value ->> 1 from json_each(:asked)",
}
_EMPTY = "delete from shelf_entries where stream = {mark}"
_REMOVE = "delete from shelf_entries where stream = {mark} and key = {mark} and shelf = {mark}"
_PUT = (
    "insert into shelf_entries (stream, key, shelf, state) values ({mark}, {mark}, {mark}, {mark})"
    " on conflict (stream, key, shelf) do update set state = excluded.state"
)


class Shelves:
    """The statements of one database. Writing takes the driver's own executemany."""

    def __init__(self, *, postgresql: bool) -> None:
        self._postgresql = postgresql
        self._read = text(_READ.format(asked=_ASKED["postgresql" if postgresql else "sqlite"]))
        mark = "%s" if postgresql else "?"
        self._empty, self._remove, self._put = (sql.format(mark=mark) for sql in (_EMPTY, _REMOVE, _PUT))

    def read(self, connection: Connection, known: Mapping[str, int], asked: Collection[tuple[str, str]]) -> list[ShelfRow]:
        """What is there, of pairs of stream and key; `known` is the version of each stream's snapshot that was read before.

        Raises StreamMoved where another snapshot was written since: what is there belongs to that one.
        """
        pairs = list(asked)
        values: dict[str, Any] = {"asked": json.dumps(pairs)}
        if self._postgresql:
            values = {"streams": [stream for stream, _ in pairs], "keys": [key for _, key in pairs]}
        rows = connection.execute(self._read, values).all()
        newest = {(row[0], row[1]) for row in rows}
        if moved := {stream for stream, _ in pairs if (stream, known[stream]) not in newest}:
            raise StreamMoved(moved)
        return [ShelfRow(row.stream, row.key, row.shelf, bytes(row.state)) for row in rows if row.key is not None]

    def write(self, connection: Connection, sealed: Sealed) -> None:
        """As it is with the batch's snapshots."""
        emptied = [(stream,) for stream in sealed.emptied]
        steps = (self._empty, emptied), (self._remove, sealed.unshelved), (self._put, sealed.shelved)
        for statement, rows in steps:
            if rows:
                connection.exec_driver_sql(statement, rows)
