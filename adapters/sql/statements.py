"""The store's statements on its hot path, in the words of one database."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from typing import Any

import orjson
from sqlalchemy import Table

from adapters.sql import tables
from adapters.sql.driver import Said
from adapters.sql.engine import type_of
from adapters.sql.rows import CommandRow, EventRow, Question, Shard, SnapshotRow

_SHARD = [column.name for column in fields(Shard)]
_ADVANCED = [name for name in _SHARD if name not in ("id", "context", "partition")]
"""What a batch changes of a shard's counter row."""
_AUTHORITY = """
select held.key, held.shard, held.sequence, held.revoked, held.person, held.follows, held.followed_at,
    granted.role, granted.prefix, granted.not_after, granted.shard, granted.sequence, granted.since, granted.consents
from authority_keys held left join authority_grants granted on granted.key = held.key and granted.ended is null
where held.key {among} order by held.key, granted.role, granted.prefix
"""
_HOLDERS = "select distinct key from authority_grants where role = ? and ended is null"
_GIVEN_BY = "select key from authority_given where by_key = ? and since >= ? order by key limit ?"
AUTHORITY_LOCK = "identity/authority"
"""Who decides by which keys have a role, or were given something, does so before or after another one who does."""
MOST_GIVEN = 5_000
"""As many keys are looked at that a revoked one may have handed something to; the rule that asks refuses long before."""
_STREAMS = """
select events.stream, events.shard, events.version, events.value, snapshots.form, snapshots.state
from {asked} cross join {events}
left join snapshots on snapshots.stream = events.stream and snapshots.version = events.version and {snapshots}
order by events.stream, events.version
"""
MAX_STRANGERS_KEPT = 1_000
"""Of so many refused commands of strangers a shard keeps the bytes, the newest: enough to see what somebody tries, and he fills
60 MB with them at most."""
# What is kept stands in a partial index, so the oldest of them is found without looking at anybody else's.
_LET_GO = f"""
update commands set command = ?, kept = false
where shard = ? and kept and number <
    (select number from commands where shard = ? and kept order by number desc limit 1 offset {MAX_STRANGERS_KEPT - 1})
"""  # noqa: S608  our names
_SINCE = "coalesce((select max(version) from snapshots where snapshots.stream = asked.stream), 0)"


class Statements:
    """For one database. Those that take many values take them as one parameter, so that one statement is prepared once."""

    def __init__(self, *, postgresql: bool) -> None:
        self._postgresql = postgresql
        self._among = "= any(?::text[])" if postgresql else "in (select value from json_each(?))"
        self._held, self._shared = (" for update", " for share") if postgresql else ("", "")
        self._insert = {row: self._inserted(table, row) for table, row in _TABLES.items()}
        self.clock = Said("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        """PostgreSQL's, in microseconds since 1970."""

    # Reading

    def known(self, identities: Collection[str]) -> Said:
        sql = f"select identity, hash, shard, number from commands where identity {self._among}"  # noqa: S608  our names
        return Said(sql, self._values(identities))

    def authority(self, keys: Collection[str]) -> Said:
        """Keys and grants are read in one snapshot; a key without grants has one row."""
        return Said(_AUTHORITY.format(among=self._among), self._values(keys))

    def named(self, question: Question) -> Said:
        """The keys that are the answer, a row each."""
        if question.since is None:
            return Said(_HOLDERS, (question.of,))
        return Said(_GIVEN_BY, (question.of, question.since, MOST_GIVEN))

    def streams(self, names: Collection[str], *, snapshots: bool = True) -> Said:
        """The events of each, from its newest snapshot's own on, with that snapshot: one statement, so of one moment."""
        since = _SINCE if snapshots else "0"
        mine = f"events.stream = asked.stream and events.version >= {since}"
        if self._postgresql:
            # Ordered, so that PostgreSQL looks in the index stream by stream; without statistics it would read all events.
            asked = "unnest(?::text[]) as asked (stream)"
            events = f"lateral (select * from events where {mine} order by version) events"  # noqa: S608
        else:
            asked, events = "(select value as stream from json_each(?)) asked", f"events on {mine}"
        return Said(_STREAMS.format(asked=asked, events=events, snapshots=snapshots), self._values(names))

    # Locking and comparing

    def shard(self, shard_id: int, *, held: bool) -> Said:
        """The counter row, in the order of `Shard`; held by whoever appends, shared by whoever looks at its streams."""
        lock = self._held if held else self._shared
        return Said(f"select {', '.join(_SHARD)} from shards where id = ?{lock}", (shard_id,))  # noqa: S608

    def policy(self, stream: str, *, held: bool) -> Said:
        """A lock of the transaction, by a number that the stream's or table's name gives: nothing is stored."""
        kind = "" if held else "_shared"
        return Said(f"select pg_advisory_xact_lock{kind}(hashtextextended(?, 0))", (stream,))

    def heads(self, streams: Collection[str]) -> Said:
        sql = f"select stream, max(version) from events where stream {self._among} group by stream"  # noqa: S608
        return Said(sql, self._values(streams))

    def keys_held(self, keys: Collection[str]) -> Iterator[Said]:
        """Made where they are not there yet."""
        make = (
            "insert into authority_keys (key, shard, sequence, revoked) values (?, '', 0, false) on conflict (key) do nothing"
        )
        yield Said(make, [(key,) for key in sorted(keys)], many=True)
        sql = f"select key from authority_keys where key {self._among} order by key{self._held}"  # noqa: S608
        yield Said(sql, self._values(keys))

    def keys_shared(self, keys: Collection[str]) -> Said:
        sql = f"select key, shard, sequence from authority_keys where key {self._among} order by key{self._shared}"  # noqa: S608
        return Said(sql, self._values(keys))

    # Writing

    def inserted(self, rows: Sequence[EventRow | CommandRow]) -> Said:
        """Of one kind, at least one."""
        sql = self._insert[type(rows[0])]
        if self._postgresql:
            return Said(sql, [list(column) for column in zip(*rows, strict=True)])
        return Said(sql, rows, many=True)

    def let_go(self, shards: Collection[int]) -> Said:
        """Of what strangers sent there, the bytes of all but the newest: their digests, places and reasons stay."""
        return Said(_LET_GO, [(b"", shard, shard) for shard in sorted(shards)], many=True)

    def repeated(self, outcomes: Sequence[tuple[int, int]]) -> Said:
        """Shard and number of each."""
        return Said("insert into repeats (shard, number) values (?, ?)", outcomes, many=True)

    def snapshot(self, row: SnapshotRow) -> Iterator[Said]:
        """Instead of those of its stream that were there before."""
        yield Said("delete from snapshots where stream = ?", (row.stream,))
        yield Said("insert into snapshots (stream, version, form, state) values (?, ?, ?, ?)", row)

    def advanced(self, shards: Sequence[Shard]) -> Said:
        columns = ", ".join(f"{name} = ?" for name in _ADVANCED)
        rows = [(*(getattr(shard, name) for name in _ADVANCED), shard.id) for shard in shards]
        return Said(f"update shards set {columns} where id = ?", rows, many=True)  # noqa: S608

    def _values(self, values: Collection[str]) -> tuple[Any]:
        return (list(values) if self._postgresql else orjson.dumps(list(values)).decode(),)

    def _inserted(self, table: Table, row: Any) -> str:
        into = f"insert into {table.name} ({', '.join(row._fields)})"
        if self._postgresql:
            arrays = ", ".join(f"?::{type_of(table.c[name])}[]" for name in row._fields)
            return f"{into} select * from unnest({arrays})"  # noqa: S608
        return f"{into} values ({', '.join('?' * len(row._fields))})"


_TABLES: dict[Table, Any] = {tables.events: EventRow, tables.commands: CommandRow}
