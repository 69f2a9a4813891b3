"""What is published and how far: the store's records in their dense order, and the claims of those who publish them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, bindparam, delete, func, select, text, update

from adapters.sql import tables
from adapters.sql.engine import reading


class Outgoing(NamedTuple):
    """A record to publish: the stored bytes, with its number in its topic's partition."""

    number: int
    key: bytes
    value: bytes
    signature: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One partition of one topic: a shard's events, or its outcomes."""

    shard: int
    context: str
    partition: int
    kind: str
    """`events` or `outcomes`."""

    @property
    def topic(self) -> str:
        return f"{self.context}.{self.kind}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a lane is."""

    stored: int
    """Records in the store."""
    marked: int
    """The first that is not marked as published."""


# Built once, like adapters/sql/statements.py.
_SHARD: Any = bindparam("shard")
_START: Any = bindparam("start")
_LIMIT: Any = bindparam("limit")
_EVENTS = (
    select(
        tables.events.c.sequence, tables.events.c.stream, tables.events.c.value, tables.events.c.signature,
        tables.events.c.traceparent,
    )
    .where(tables.events.c.shard == _SHARD, tables.events.c.sequence >= _START)
    .order_by(tables.events.c.sequence)
    .limit(_LIMIT)
)  # fmt: skip
_OUTCOMES = (
    select(
        tables.commands.c.number, tables.commands.c.subject, tables.commands.c.outcome,
        tables.commands.c.outcome_signature, tables.commands.c.traceparent,
    )
    .where(tables.commands.c.shard == _SHARD, tables.commands.c.number >= _START)
    .order_by(tables.commands.c.number)
    .limit(_LIMIT)
)  # fmt: skip
_MARK = (
    update(tables.relays)
    .where(tables.relays.c.shard == bindparam("of"))
    .values(next_event=bindparam("event"), next_outcome=bindparam("outcome"))
)


class Outbox:
    """The publisher's side of the store. Reading takes no lock; marking is fenced by the epoch."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def claim(self, shards: Collection[int]) -> dict[int, int]:
        """Take these shards from whoever published them: shard id to epoch."""
        table = tables.relays
        with self.engine.begin() as connection:
            known = set(connection.scalars(self._held(shards)))
            if fresh := sorted(set(shards) - known):
                # Two workers may make it at once; the loser finds the winner's.
                connection.execute(
                    text(
                        "insert into relays (shard, epoch, next_event, next_outcome) values (:shard, 0, 0, 0)"
                        " on conflict (shard) do nothing"
                    ),
                    [{"shard": shard} for shard in fresh],
                )
            mine = table.c.shard.in_(shards)
            connection.execute(update(table).where(mine).values(epoch=table.c.epoch + 1))
            return dict(connection.execute(select(table.c.shard, table.c.epoch).where(mine)).all())

    def standing(self, among: Collection[int] | None = None) -> dict[Lane, Standing]:
        """The lanes of these shards, or all: how far each is in the store, and how far it is marked as published."""
        shards, relays = tables.shards, tables.relays
        statement = select(
            shards.c.id, shards.c.context, shards.c.partition, shards.c.next_sequence, shards.c.next_outcome,
            func.coalesce(relays.c.next_event, 0), func.coalesce(relays.c.next_outcome, 0),
        ).outerjoin(relays, relays.c.shard == shards.c.id)  # fmt: skip
        if among is not None:
            statement = statement.where(shards.c.id.in_(among))
        found = {}
        with reading(self.engine) as connection:
            for shard, context, partition, events, outcomes, next_event, next_outcome in connection.execute(statement):
                found[Lane(shard, context, partition, "events")] = Standing(events, next_event)
                found[Lane(shard, context, partition, "outcomes")] = Standing(outcomes, next_outcome)
        return found

    def read(self, lane: Lane, start: int, limit: int) -> list[Outgoing]:
        """The records from `start` on, in order."""
        statement = _EVENTS if lane.kind == "events" else _OUTCOMES
        with reading(self.engine) as connection:
            rows = connection.execute(statement, {"shard": lane.shard, "start": start, "limit": limit}).all()
        return [Outgoing(n, key.encode(), bytes(value), signature, trace) for n, key, value, signature, trace in rows]

    def repeats(self, shards: Collection[int], limit: int = 500) -> list[tuple[int, int, int]]:
        """Outcomes of these shards that were asked for again: row id, shard id, number."""
        table = tables.repeats
        statement = select(table.c.id, table.c.shard, table.c.number).where(table.c.shard.in_(shards))
        with reading(self.engine) as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(statement.order_by(table.c.id).limit(limit))]

    def repeated(self, rows: Collection[int]) -> None:
        """These repeats are published."""
        with self.engine.begin() as connection:
            connection.execute(delete(tables.repeats).where(tables.repeats.c.id.in_(rows)))

    def mark(self, published: Mapping[int, tuple[int, int]], epochs: Mapping[int, int]) -> set[int]:
        """Note how far these shards' events and outcomes are published, exclusive.

        Returns the shards that another publisher has claimed since: of those nothing is noted.
        """
        table = tables.relays
        with self.engine.begin() as connection:
            now = {row.shard: row.epoch for row in connection.execute(self._held(published, table.c.epoch))}
            lost = {shard for shard in published if now.get(shard) != epochs[shard]}
            rows = [
                {"of": shard, "event": events, "outcome": outcomes}
                for shard, (events, outcomes) in published.items()
                if shard not in lost
            ]
            if rows:
                connection.execute(_MARK, rows)
        return lost

    def _held(self, shards: Collection[int], *columns: Any) -> Any:
        # In one order for everybody, or two publishers that take shards from each other would wait for ever.
        table = tables.relays
        return select(table.c.shard, *columns).where(table.c.shard.in_(shards)).order_by(table.c.shard).with_for_update()


def outcomes_of(engine: Engine, command_id: str) -> list[bytes]:
    """The outcomes of the commands with that id, one for each source that used it. For an operator's eyes."""
    table = tables.commands
    after = table.c.identity >= f"{command_id} "
    before = table.c.identity < f"{command_id}!"
    with reading(engine) as connection:
        return [bytes(value) for value in connection.scalars(select(table.c.outcome).where(after, before))]
