"""What is published and how far: the store's records in their dense order, and the claims of those who publish them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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


class Mark(NamedTuple):
    """How far a lane is published."""

    next: int
    """The first that is not."""
    offset: int = -1
    """In the topic: up to there, and with it, are all that are; -1 where nobody has noted it."""
    at: int = -1
    """The number of the record at that offset."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a lane is."""

    stored: int
    """Records in the store."""
    mark: Mark = field(default_factory=lambda: Mark(0))

    @property
    def marked(self) -> int:
        """The first that is not marked as published."""
        return self.mark.next


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
    .values(
        next_event=bindparam("event"), event_offset=bindparam("e_offset"), event_at=bindparam("e_at"),
        next_outcome=bindparam("outcome"), outcome_offset=bindparam("o_offset"), outcome_at=bindparam("o_at"),
    )
)  # fmt: skip
_NUMBERS: Any = bindparam("numbers", expanding=True)


def _some(ordered: Any, number: Any, shard: Any) -> Any:
    """Those records of a shard that have these numbers."""
    return select(*ordered.selected_columns).where(shard == _SHARD, number.in_(_NUMBERS))


_SOME_EVENTS = _some(_EVENTS, tables.events.c.sequence, tables.events.c.shard)
_SOME_OUTCOMES = _some(_OUTCOMES, tables.commands.c.number, tables.commands.c.shard)
ASKED_TOGETHER = 500


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
            connection.execute(update(table).where(mine).values(epoch=table.c.epoch + 1, closed=None))
            return dict(connection.execute(select(table.c.shard, table.c.epoch).where(mine)).all())

    def standing(self, among: Collection[int] | None = None) -> dict[Lane, Standing]:
        """The lanes of these shards, or all: how far each is in the store, and how far it is marked as published."""
        shards, relays = tables.shards, tables.relays
        statement = select(
            shards.c.id, shards.c.context, shards.c.partition, shards.c.next_sequence, shards.c.next_outcome,
            func.coalesce(relays.c.next_event, 0),
            func.coalesce(relays.c.event_offset, -1), func.coalesce(relays.c.event_at, -1),
            func.coalesce(relays.c.next_outcome, 0),
            func.coalesce(relays.c.outcome_offset, -1), func.coalesce(relays.c.outcome_at, -1),
        ).outerjoin(relays, relays.c.shard == shards.c.id)  # fmt: skip
        if among is not None:
            statement = statement.where(shards.c.id.in_(among))
        found = {}
        with reading(self.engine) as connection:
            for shard, context, partition, events, outcomes, *marks in connection.execute(statement):
                found[Lane(shard, context, partition, "events")] = Standing(events, Mark(*marks[:3]))
                found[Lane(shard, context, partition, "outcomes")] = Standing(outcomes, Mark(*marks[3:]))
        return found

    def read(self, lane: Lane, start: int, limit: int) -> list[Outgoing]:
        """The records from `start` on, in order."""
        statement = _EVENTS if lane.kind == "events" else _OUTCOMES
        with reading(self.engine) as connection:
            rows = connection.execute(statement, {"shard": lane.shard, "start": start, "limit": limit}).all()
        return [_outgoing(row) for row in rows]

    def some(self, wanted: Mapping[Lane, Collection[int]]) -> dict[Lane, dict[int, Outgoing]]:
        """Of each lane the records with these numbers, as far as there are such."""
        found: dict[Lane, dict[int, Outgoing]] = {lane: {} for lane in wanted}
        with reading(self.engine) as connection:
            for lane, numbers in wanted.items():
                statement, all_of_them = _SOME_EVENTS if lane.kind == "events" else _SOME_OUTCOMES, sorted(set(numbers))
                for at in range(0, len(all_of_them), ASKED_TOGETHER):
                    asked = {"shard": lane.shard, "numbers": all_of_them[at : at + ASKED_TOGETHER]}
                    found[lane].update({row[0]: _outgoing(row) for row in connection.execute(statement, asked)})
        return found

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

    def close(self, shard: int, epoch: int, why: str | None) -> None:
        """Note why nothing is decided or published there; None once it is again. Whoever has lost the shard notes nothing."""
        table = tables.relays
        mine = (table.c.shard == shard) & (table.c.epoch == epoch)
        with self.engine.begin() as connection:
            connection.execute(update(table).where(mine).values(closed=why))

    def mark(self, published: Mapping[int, tuple[Mark, Mark]], epochs: Mapping[int, int]) -> set[int]:
        """Note how far these shards' events and outcomes are published.

        Returns the shards that another publisher has claimed since: of those nothing is noted.
        """
        table = tables.relays
        with self.engine.begin() as connection:
            now = {row.shard: row.epoch for row in connection.execute(self._held(published, table.c.epoch))}
            lost = {shard for shard in published if now.get(shard) != epochs[shard]}
            rows = [
                {
                    "of": shard, "event": events.next, "e_offset": events.offset, "e_at": events.at,
                    "outcome": outcomes.next, "o_offset": outcomes.offset, "o_at": outcomes.at,
                }
                for shard, (events, outcomes) in published.items()
                if shard not in lost
            ]  # fmt: skip
            if rows:
                connection.execute(_MARK, rows)
        return lost

    def _held(self, shards: Collection[int], *columns: Any) -> Any:
        # In one order for everybody, or two publishers that take shards from each other would wait for ever.
        table = tables.relays
        return select(table.c.shard, *columns).where(table.c.shard.in_(shards)).order_by(table.c.shard).with_for_update()


def _outgoing(row: Any) -> Outgoing:
    number, key, value, signature, trace = row
    return Outgoing(number, key.encode(), bytes(value), signature, trace)


def closed_shards(engine: Engine) -> dict[str, str]:
    """The shards in which nothing is decided or published, as their owner noted it: `<context>/<partition>` to why."""
    shards, relays = tables.shards, tables.relays
    statement = select(shards.c.context, shards.c.partition, relays.c.closed).join(shards, shards.c.id == relays.c.shard)
    with reading(engine) as connection:
        rows = connection.execute(statement.where(relays.c.closed.is_not(None))).all()
    return {f"{context}/{partition}": why for context, partition, why in rows}


def outcomes_of(engine: Engine, command_id: str) -> list[bytes]:
    """The outcomes of the commands with that id, one for each source that used it. For an operator's eyes."""
    table = tables.commands
    after = table.c.identity >= f"{command_id} "
    before = table.c.identity < f"{command_id}!"
    with reading(engine) as connection:
        return [bytes(value) for value in connection.scalars(select(table.c.outcome).where(after, before))]
