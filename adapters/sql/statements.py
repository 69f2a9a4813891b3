"""The store's statements on its hot path, built once: building one and finding its compiled form costs 200 µs."""

from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, func, insert, literal_column, select, text, update

from adapters.sql import tables

ADVANCED = ("next_sequence", "last_hash", "last_time", "next_outcome", "position", "position_hash", "incarnation")
"""What a batch changes of a shard's counter row."""


class Statements:
    """For one database. Those that take many values take them as one parameter, `among`: see `Store._values`."""

    def __init__(self, *, postgresql: bool) -> None:
        self._postgresql = postgresql
        events, commands, keys, shards = tables.events, tables.commands, tables.authority_keys, tables.shards
        grants, snapshots = tables.authority_grants, tables.snapshots
        self.known = self._select(
            commands.c.identity, commands.c.identity, commands.c.hash, commands.c.shard, commands.c.number
        )
        self.keys = self._select(keys.c.key, *keys.c)
        self.grants = self._select(grants.c.key, *grants.c)
        columns = (events.c.stream, events.c.shard, events.c.version, events.c.value)
        self.events = self._select(events.c.stream, *columns).order_by(events.c.stream, events.c.version)
        after = (events.c.stream == bindparam("stream")) & (events.c.version >= bindparam("version"))
        self.events_after = select(*columns).where(after).order_by(events.c.version)
        self.snapshots = self._select(
            snapshots.c.stream, snapshots.c.stream, snapshots.c.version, snapshots.c.form, snapshots.c.state
        )
        self.heads = self._select(events.c.stream, events.c.stream, func.max(events.c.version)).group_by(events.c.stream)
        one_shard = select(shards).where(shards.c.id == bindparam("id"))
        self.shard_held, self.shard_shared = one_shard.with_for_update(), one_shard.with_for_update(read=True)
        # Of a transaction, by a number that the stream's name gives: nothing is stored.
        self.policy_held = text("select pg_advisory_xact_lock(hashtextextended(:stream, 0))")
        self.policy_shared = text("select pg_advisory_xact_lock_shared(hashtextextended(:stream, 0))")
        self.keys_held = self._select(keys.c.key, keys.c.key).order_by(keys.c.key).with_for_update()
        self.keys_shared = (
            self._select(keys.c.key, keys.c.key, keys.c.shard, keys.c.sequence).order_by(keys.c.key).with_for_update(read=True)
        )
        self.advance = _advance(shards)
        self.repeat = insert(tables.repeats)
        self.make_key = text(
            "insert into authority_keys (key, shard, sequence, revoked) values (:key, :shard, :sequence, :revoked)"
            " on conflict (key) do nothing"
        )

    def _select(self, column: ColumnElement[str], *columns: Any) -> Any:
        return select(*columns).where(self._among(column))

    def _among(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        # One parameter however many values, so that one statement is compiled and prepared once.
        if self._postgresql:
            return column == func.any(bindparam("among"))
        return column.in_(select(literal_column("value")).select_from(func.json_each(bindparam("among"))))


def _advance(shards: Table) -> Any:
    values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in ADVANCED}
    return update(shards).where(shards.c.id == bindparam("of")).values(values)
