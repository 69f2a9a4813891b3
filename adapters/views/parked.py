"""Streams that wait for better code: the event that failed, and all that came after it, in order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, true, update

from adapters.views.chain import Fact
from adapters.views.tables import parked
from contracts import rfc3339

BEHIND = "behind a parked event"


@dataclass(frozen=True, slots=True)
class Parked:
    """An event to park: why, and whether it was tried."""

    stream: str
    sequence: int
    offset: int
    value: bytes
    reason: str
    attempts: int

    @staticmethod
    def failed(fact: Fact, error: BaseException) -> "Parked":
        return Parked(fact.record.subject, fact.sequence, fact.offset, fact.record.value, reason_of(error), 1)

    @staticmethod
    def behind(fact: Fact) -> "Parked":
        return Parked(fact.record.subject, fact.sequence, fact.offset, fact.record.value, BEHIND, 0)


@dataclass(frozen=True, slots=True)
class ParkedStream:
    """A stream that waits: from which sequence, how many events, why."""

    reader: str
    shard: str
    stream: str
    sequence: int
    waiting: int
    reason: str
    attempts: int
    since: str


def reason_of(error: BaseException) -> str:
    """At most 500 characters: the row is for people, the event itself is kept."""
    return f"{type(error).__name__}: {error}"[:500].replace("\x00", "")


def park(connection: Connection, reader: str, shard: str, entries: Iterable[Parked]) -> None:
    now = rfc3339(datetime.now(UTC))
    rows = [
        {
            "reader": reader, "shard": shard, "sequence": entry.sequence, "stream": entry.stream, "offset": entry.offset,
            "value": entry.value, "reason": entry.reason, "attempts": entry.attempts, "since": now,
        }
        for entry in entries
    ]  # fmt: skip
    if rows:
        connection.execute(insert(parked), rows)


def held_streams(connection: Connection, reader: str, shard: str) -> set[str]:
    """The streams whose next events have to wait."""
    mine = select(parked.c.stream).where(parked.c.reader == reader, parked.c.shard == shard).distinct()
    return set(connection.scalars(mine))


def parked_streams(connection: Connection, reader: str | None = None) -> list[ParkedStream]:
    """Every stream that waits, the longest waiting first."""
    first = (
        select(parked.c.reader, parked.c.stream, func.min(parked.c.sequence).label("sequence"), func.count().label("waiting"))
        .where(parked.c.reader == reader if reader else true())
        .group_by(parked.c.reader, parked.c.stream)
        .subquery()
    )
    on = and_(
        parked.c.reader == first.c.reader, parked.c.stream == first.c.stream, parked.c.sequence == first.c.sequence
    )  # fmt: skip
    columns = (
        parked.c.reader, parked.c.shard, parked.c.stream, parked.c.sequence,
        first.c.waiting, parked.c.reason, parked.c.attempts, parked.c.since,
    )  # fmt: skip
    rows = connection.execute(select(*columns).join(first, on).order_by(parked.c.since, parked.c.sequence))
    return [ParkedStream(*row) for row in rows]


def waiting_events(connection: Connection, reader: str, stream: str, limit: int) -> Sequence[Row[Any]]:
    """The parked events of a stream in order: shard, sequence, offset, value, reason, attempts, since."""
    return connection.execute(
        select(parked)
        .where(parked.c.reader == reader, parked.c.stream == stream)
        .order_by(parked.c.sequence)
        .limit(limit)
    ).all()  # fmt: skip


def release(connection: Connection, reader: str, shard: str, sequence: int) -> None:
    """The event was applied after all."""
    connection.execute(delete(parked).where(_one(reader, shard, sequence)))


def note_failure(connection: Connection, reader: str, shard: str, sequence: int, error: BaseException) -> None:
    """It failed once more."""
    connection.execute(
        update(parked)
        .where(_one(reader, shard, sequence))
        .values(reason=reason_of(error), attempts=parked.c.attempts + 1)
    )  # fmt: skip


def _one(reader: str, shard: str, sequence: int) -> Any:
    return and_(parked.c.reader == reader, parked.c.shard == shard, parked.c.sequence == sequence)
