"""Uptime: what each device beat, epoch by epoch, and what its closed epochs say (white paper 5.5, 9.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, Text, select

from contracts import Did, Record
from contracts.liveness import (
    SLOTS_PER_EPOCH,
    Beat,
    EpochClosed,
    HeartbeatsRecorded,
    LivenessEvent,
    SlotsExcused,
    epoch_of,
)
from projections import METADATA, Projection, Session, WholeColumn

beats = Table(
    "liveness_beats",
    METADATA,
    # Written from the device's fleet.
    Column("device", String(90), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("beats", WholeColumn, nullable=False),
    Column("bitmap", String(72), nullable=False, comment="a bit a slot in hexadecimal, the day's first slot the highest"),
    Column("last_received_ms", BigInteger, nullable=False),
)

rejections = Table(
    "liveness_rejections",
    METADATA,
    Column("fleet", String(20), primary_key=True),
    Column("reason", String(100), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

excuses = Table(
    "liveness_excuses",
    METADATA,
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("slots", Text, nullable=False, comment="numbers of the excused slots, with commas between them"),
)

closed = Table(
    "liveness_closed",
    METADATA,
    Column("device", String(90), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("expected", WholeColumn, nullable=False),
    Column("excused", WholeColumn, nullable=False),
    Column("missed", WholeColumn, nullable=False),
    Column("bitmap", String(72), nullable=False),
    Column("root", String(64), nullable=False),
    Column("is_breach", Boolean, nullable=False),
)


def uptime() -> Projection:
    return Projection("uptime", ("liveness",), (beats, rejections, excuses, closed), project)


def project(event: LivenessEvent, record: Record, session: Session) -> None:
    """A row a device and epoch, apart for what it beat and for what was closed: they come from different streams."""
    match event:
        case HeartbeatsRecorded(beats=recorded, rejected=rejected):
            for beat in recorded:
                _beat(beat, session)
            for entry in rejected:
                row = session.get(rejections, record.stream_id, entry.reason)
                count = entry.count + (row["count"] if row else 0)
                session.put(rejections, {"fleet": record.stream_id, "reason": entry.reason, "count": count})
        case SlotsExcused(epoch=epoch, slots=slots):
            session.put(excuses, {"epoch": epoch, "slots": ",".join(str(slot.slot) for slot in slots)})
        case EpochClosed():
            session.put(
                closed,
                {
                    "device": record.stream_id, "epoch": event.epoch, "expected": event.expected, "excused": event.excused,
                    "missed": event.missed, "bitmap": event.bitmap, "root": event.root, "is_breach": event.is_breach,
                },
            )  # fmt: skip
        case _:
            assert_never(event)


def _beat(beat: Beat, session: Session) -> None:
    epoch = epoch_of(beat.slot)
    row = session.get(beats, beat.device, epoch)
    bit = 1 << (SLOTS_PER_EPOCH - 1 - beat.slot % SLOTS_PER_EPOCH)
    session.put(
        beats,
        {
            "device": beat.device, "epoch": epoch, "beats": 1 + (row["beats"] if row else 0),
            "bitmap": f"{bit | (int(row['bitmap'], 16) if row else 0):072x}",
            "last_received_ms": max(beat.received_at_ms, row["last_received_ms"] if row else 0),
        },
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Presence:
    """A device in an epoch. `expected` and what follows are None while the epoch is open."""

    beats: int
    bitmap: str
    expected: int | None = None
    excused: int | None = None
    missed: int | None = None
    root: str | None = None
    is_breach: bool | None = None


def presence_of(device: Did, epoch: int, connection: Connection) -> Presence:
    """What the device beat in the epoch (days since 1970-01-01 UTC), and how it was closed if it was."""
    row = connection.execute(select(beats).where(beats.c.device == device, beats.c.epoch == epoch)).one_or_none()
    done = connection.execute(select(closed).where(closed.c.device == device, closed.c.epoch == epoch)).one_or_none()
    count, bitmap = (row.beats, row.bitmap) if row else (0, f"{0:072x}")
    if done is None:
        return Presence(count, bitmap)
    return Presence(count, done.bitmap, done.expected, done.excused, done.missed, done.root, done.is_breach)


def days_of_beats(epoch: int, connection: Connection) -> dict[str, frozenset[int]]:
    """The slots of the epoch that each device beat."""
    first = epoch * SLOTS_PER_EPOCH
    rows = connection.execute(select(beats.c.device, beats.c.bitmap).where(beats.c.epoch == epoch))
    return {
        row.device: frozenset(first + n for n, bit in enumerate(f"{int(row.bitmap, 16):0288b}") if bit == "1") for row in rows
    }


def is_excused(epoch: int, connection: Connection) -> bool:
    """Whether the epoch has ended: the slots that were nobody's fault are known."""
    return connection.execute(select(excuses.c.epoch).where(excuses.c.epoch == epoch)).first() is not None


def closed_in(epoch: int, connection: Connection) -> frozenset[str]:
    """Devices whose epoch is closed."""
    return frozenset(connection.scalars(select(closed.c.device).where(closed.c.epoch == epoch)))


def breaches_of(epoch: int, connection: Connection) -> Sequence[str]:
    """Devices whose closed epoch is a breach."""
    statement = select(closed.c.device).where(closed.c.epoch == epoch, closed.c.is_breach).order_by(closed.c.device)
    return connection.scalars(statement).all()
