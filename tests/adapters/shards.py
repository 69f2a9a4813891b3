"""A small log for the readers' tests: signed by nobody, chained like the real one, and a projection that tells all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table

from contracts import ZERO_HASH, CommandRecord, Event, Record, event_id, rfc3339, shard_name
from contracts.identity import KeyRevoked
from projections import MoneyColumn, Projection, Session

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
VIEW = MetaData()

tallies = Table(
    "tallies",
    VIEW,
    Column("stream", String(250), primary_key=True),
    Column("events", Integer, nullable=False),
    Column("total", MoneyColumn(), nullable=False),
    Column("last", String(60), index=True),
    Column("even", Boolean, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
entries = Table(
    "entries",
    VIEW,
    Column("stream", String(250), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", String(60), nullable=False),
)


class Poison(Exception):
    """What the projection raises for the events in `broken`."""


broken: set[str] = set()
"""Reasons on which the code of today fails."""


def project(event: Event, record: Record, session: Session) -> None:
    """A tally and an entry a stream; `close` takes the entry before away, `poison` fails after having written."""
    assert isinstance(event, KeyRevoked)
    row = session.get(tallies, record.subject)
    count = row["events"] + 1 if row else 1
    session.put(
        tallies,
        {
            "stream": record.subject, "events": count, "total": (row["total"] if row else 0) + 10**60 + record.sequence,
            "last": event.reason, "even": count % 2 == 0, "hash": sha256(record.value).digest(),
        },
    )  # fmt: skip
    if event.reason in broken:
        raise Poison(event.reason)
    session.put(entries, {"stream": record.subject, "version": record.streamversion, "reason": event.reason})
    if event.reason == "close":
        session.delete(entries, record.subject, record.streamversion - 1)
    elif event.reason == "amend" and session.get(entries, record.subject, record.streamversion - 1):
        session.change(entries, record.subject, record.streamversion - 1, reason="amended")


def tally_projection(context: str = "tally", name: str = "tally") -> Projection:
    return Projection(name, (context,), (tallies, entries), project)


@dataclass(frozen=True)
class Delivery:
    """A record as a client would deliver it."""

    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 1_767_225_600_000


@dataclass
class Shard:
    """One shard of a log that grows."""

    topic: str = "tally.events"
    partition: int = 0
    values: list[bytes] = field(default_factory=list)
    _hash: str = ZERO_HASH
    _versions: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return shard_name(self.topic, self.partition)

    def append(self, stream: str, reason: str = "retired") -> bytes:
        """The next record of the shard: its value, and the subject is `tally/key/<stream>`."""
        subject, sequence = f"tally/key/{stream}", len(self.values)
        # Of its shard too: what follows from an event's id would else be one for two.
        cause = f"{self.partition:08x}{sequence:024x}"
        self._versions[subject] = self._versions.get(subject, 0) + 1
        value = Record.encode(
            KeyRevoked(key=KEY, reason=reason),
            command=_asked(subject, cause),
            id=event_id(KEY, cause, 0),
            source=KEY,
            time=rfc3339(START + timedelta(milliseconds=sequence)),
            shard=self.name,
            sequence=sequence,
            streamversion=self._versions[subject],
            prevhash=self._hash,
        )
        self._hash = sha256(value).hexdigest()
        self.values.append(value)
        return value

    def fill(self, count: int, streams: int = 7) -> "Shard":
        """Some events of every kind."""
        for n in range(len(self.values), len(self.values) + count):
            self.append(f"s{n * n % streams}", ("retired", "amend", "retired", "close")[n % 4])
        return self

    def deliveries(self, start: int = 0, end: int | None = None) -> list[Delivery]:
        return [Delivery(offset, self.values[offset]) for offset in range(start, len(self.values) if end is None else end)]


def _asked(subject: str, id: str) -> CommandRecord:
    without: Any = dict.fromkeys(("expires", "correlationid", "causationid", "streamversion"))
    return CommandRecord(
        value=b"", signature="", hash="0" * 64, id=id, source=KEY, type="identity.RevokeKey", subject=subject, network="test",
        dataschema="urn:spaceos:identity.RevokeKey:1", time=START, data={}, **without,
    )  # fmt: skip
