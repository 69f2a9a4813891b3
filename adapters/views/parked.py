"""Streams that wait for better code: the event that failed, and all that came after it, in order."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, delete, func, select, true, update

from adapters.views.chain import Delivered, Fact
from adapters.views.positions import insert_or_keep
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
    headers: bytes
    timestamp_ms: int

    @staticmethod
    def of(stream: str, sequence: int, delivered: Delivered, reason: str, attempts: int) -> "Parked":
        headers = orjson.dumps([(name, (value or b"").decode("latin-1")) for name, value in delivered.headers])
        return Parked(
            stream, sequence, delivered.offset, delivered.value or b"", reason, attempts, headers, delivered.timestamp or 0
        )  # fmt: skip

    @staticmethod
    def failed(fact: Fact, error: BaseException) -> "Parked":
        return Parked.of(fact.record.subject, fact.sequence, fact.delivered, reason_of(error), 1)

    @staticmethod
    def behind(fact: Fact) -> "Parked":
        return Parked.of(fact.record.subject, fact.sequence, fact.delivered, BEHIND, 0)


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
    """Keep them; one that waits already stays as it is."""
    now = rfc3339(datetime.now(UTC))
    rows = [
        {
            "reader": reader, "shard": shard, "sequence": entry.sequence, "stream": entry.stream, "offset": entry.offset,
            "value": entry.value, "reason": entry.reason, "attempts": entry.attempts, "since": now,
            "headers": entry.headers, "timestamp_ms": entry.timestamp_ms,
        }
        for entry in entries
    ]  # fmt: skip
    if rows:
        connection.execute(insert_or_keep(connection, parked), rows)


def held_streams(connection: Connection, readers: Collection[str]) -> dict[str, dict[str, set[str]]]:
    """By reader and shard, the streams whose next events have to wait."""
    columns = (parked.c.reader, parked.c.shard, parked.c.stream)
    found: dict[str, dict[str, set[str]]] = {}
    for reader, shard, stream in connection.execute(select(*columns).where(parked.c.reader.in_(readers)).distinct()):
        found.setdefault(reader, {}).setdefault(shard, set()).add(stream)
    return found


def headers_of(row: Row[Any]) -> list[tuple[str, bytes]]:
    """What came with a parked record beside its value; none where it was parked before they were kept."""
    return [(name, value.encode("latin-1")) for name, value in orjson.loads(row.headers or b"[]")]


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


def waiting_shard(connection: Connection, reader: str, stream: str) -> str | None:
    """Where the stream is, if anything of it waits."""
    mine = select(parked.c.shard).where(parked.c.reader == reader, parked.c.stream == stream).limit(1)
    found: str | None = connection.scalar(mine)
    return found


def waiting_events(connection: Connection, reader: str, stream: str, limit: int) -> Sequence[Row[Any]]:
    """The parked events of a stream in order, as the table has them."""
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
