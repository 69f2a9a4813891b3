"""What processes and collectors want sent: commands whose ids follow from what caused them, so that a repeat is the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from contracts import Command, Record


class Intended(Protocol):
    """A command that a process decided upon, `streams.Intent`. Ordinals tell those of one cause apart."""

    @property
    def command(self) -> Command: ...

    @property
    def subject(self) -> str: ...

    @property
    def ordinal(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """A command to sign and send. Everything in it follows from its cause: sent again, it is the same bytes."""

    id: str
    command: Command
    subject: str
    time: datetime
    causationid: str | None
    correlationid: str | None
    traceparent: str | None


class Send(Protocol):
    """Signs and publishes."""

    async def __call__(self, wishes: Sequence[Wish]) -> None:
        """Return when the broker has all of them. Raises KafkaError; sending all again is right."""
        ...


def wish_of(intent: Intended, process: str, record: Record, traceparent: str | None) -> Wish:
    """What an event made a process want."""
    moment = record.moment
    return Wish(
        derived_uuid7(moment, f"{record.id}\n{process}\n{intent.ordinal}"),
        intent.command,
        intent.subject,
        moment,
        record.id,
        record.document["correlationid"],
        traceparent,
    )


def collected_wish(intent: Intended, collector: str, shard: str, first: int, last: int, moment: datetime) -> Wish:
    """What the records of a shard from one offset to another made a collector want."""
    seed = f"{shard}\n{first}\n{last}\n{collector}\n{intent.ordinal}"
    return Wish(derived_uuid7(moment, seed), intent.command, intent.subject, moment, None, None, None)


def derived_uuid7(moment: datetime, seed: str) -> str:
    """A UUIDv7 of that time whose 74 random bits are the first of the seed's SHA-256."""
    bits = int.from_bytes(sha256(seed.encode()).digest()[:10]) >> 6
    milliseconds = int(moment.astimezone(UTC).timestamp() * 1000)
    number = milliseconds << 80 | 7 << 76 | bits >> 62 << 64 | 2 << 62 | bits & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
