"""What the relay reads and marks: the store's records in their dense order, and how far they are published."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, bindparam, delete, func, insert, select, update

from adapters.sql import tables
from adapters.sql.engine import reading


class Superseded(Exception):
    """Another relay has claimed the shard since. This one may change nothing any more."""


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


# Built once, like adapters/sql/statements.py, for a relay asks them a hundred times a second.
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
_COUNTS = select(tables.shards.c.id, tables.shards.c.next_sequence, tables.shards.c.next_outcome)
_EPOCHS = select(tables.relays.c.shard, tables.relays.c.epoch)
_ANY_REPEAT = select(tables.repeats.c.id).limit(1)


class Outbox:
    """The relay's side of the store. Reading takes no lock; marking is fenced by the epoch."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def claim(self, only: Collection[int] | None = None) -> dict[int, int]:
        """Take every shard, or those named, from whichever relay had it: shard id to epoch."""
        table = tables.relays
        with self.engine.begin() as connection:
            shards = set(connection.scalars(select(tables.shards.c.id)))
            known = set(connection.scalars(select(table.c.shard).order_by(table.c.shard).with_for_update()))
            if fresh := shards - known:
                rows = [{"shard": shard, "epoch": 0, "next_event": 0, "next_outcome": 0} for shard in sorted(fresh)]
                connection.execute(insert(table), rows)
            wanted = shards if only is None else shards & set(only)
            connection.execute(update(table).where(table.c.shard.in_(wanted)).values(epoch=table.c.epoch + 1))
            taken = select(table.c.shard, table.c.epoch).where(table.c.shard.in_(wanted))
            return dict(connection.execute(taken).all())

    def lanes(self) -> dict[Lane, tuple[int, int]]:
        """Every lane: how many records it has in the store, and the first that is not marked as published."""
        shards, relays = tables.shards, tables.relays
        statement = select(
            shards.c.id, shards.c.context, shards.c.partition, shards.c.next_sequence, shards.c.next_outcome,
            relays.c.next_event, relays.c.next_outcome,
        ).join(relays, relays.c.shard == shards.c.id)  # fmt: skip
        found = {}
        with reading(self.engine) as connection:
            for shard, context, partition, events, outcomes, next_event, next_outcome in connection.execute(statement):
                found[Lane(shard, context, partition, "events")] = (events, next_event)
                found[Lane(shard, context, partition, "outcomes")] = (outcomes, next_outcome)
        return found

    def counts(self) -> tuple[dict[tuple[int, str], int], dict[int, int], bool]:
        """Records per (shard id, kind), the epochs in force, and whether something is to be repeated."""
        with reading(self.engine) as connection:
            rows = connection.execute(_COUNTS).all()
            epochs = dict(connection.execute(_EPOCHS).all())
            has_repeats = connection.execute(_ANY_REPEAT).first() is not None
        counts = {(shard, "events"): events for shard, events, _ in rows}
        counts.update({(shard, "outcomes"): outcomes for shard, _, outcomes in rows})
        return counts, epochs, has_repeats

    def read(self, lane: Lane, start: int, limit: int) -> list[Outgoing]:
        """The records from `start` on, in order."""
        statement = _EVENTS if lane.kind == "events" else _OUTCOMES
        with reading(self.engine) as connection:
            rows = connection.execute(statement, {"shard": lane.shard, "start": start, "limit": limit}).all()
        return [Outgoing(n, key.encode(), bytes(value), signature, trace) for n, key, value, signature, trace in rows]

    def repeats(self, limit: int = 500) -> list[tuple[int, int, int]]:
        """Outcomes asked for again: row id, shard id, number."""
        table = tables.repeats
        with reading(self.engine) as connection:
            rows = connection.execute(select(table.c.id, table.c.shard, table.c.number).order_by(table.c.id).limit(limit))
            return [(row[0], row[1], row[2]) for row in rows]

    def mark(self, published: Mapping[Lane, int], epochs: Mapping[int, int], repeated: Iterable[int] = ()) -> None:
        """What is published up to, exclusive. Raises Superseded; then nothing is marked."""
        table = tables.relays
        with self.engine.begin() as connection:
            for lane in sorted(published, key=lambda lane: (lane.shard, lane.kind)):
                column = "next_event" if lane.kind == "events" else "next_outcome"
                mine = (table.c.shard == lane.shard) & (table.c.epoch == epochs[lane.shard])
                if not connection.execute(update(table).where(mine).values({column: published[lane]})).rowcount:
                    raise Superseded(f"another relay publishes {lane.topic}/{lane.partition}")
            if done := list(repeated):
                gone = tables.repeats.c.id == bindparam("repeat")
                connection.execute(delete(tables.repeats).where(gone), [{"repeat": row} for row in done])

    def total(self) -> int:
        """Records in the store, events and outcomes."""
        with reading(self.engine) as connection:
            statement = select(func.coalesce(func.sum(tables.shards.c.next_sequence + tables.shards.c.next_outcome), 0))
            return int(connection.execute(statement).scalar_one())


def outcomes_of(engine: Engine, command_id: str) -> list[bytes]:
    """The outcomes of the commands with that id, one for each source that used it. For an operator's eyes."""
    table = tables.commands
    after = table.c.identity >= f"{command_id} "
    before = table.c.identity < f"{command_id}!"
    with reading(engine) as connection:
        return [bytes(value) for value in connection.scalars(select(table.c.outcome).where(after, before))]
