"""Liveness's wiring: heartbeats become few commands, events become uptime, and days are closed when they are over."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from adapters.views.positions import last_heard, positions_in
from contracts import BadRecord, CommandRecord, Did, Digest, Label, parse_command
from contracts.liveness import (
    EXCUSE_PERCENT,
    LATE_SECONDS,
    MAX_BEATS,
    SLOT_SECONDS,
    SLOTS_PER_EPOCH,
    Beat,
    CloseEpoch,
    Cut,
    ExcuseSlots,
    Heartbeat,
    RecordHeartbeats,
    RejectedBeats,
    ShardCut,
    SlotCount,
    epoch_of,
    fleet_of,
    slot_at,
)
from domain.liveness import day_stream, untimely
from projections.liveness import closed_in, days_of_beats, is_excused, uptime
from projections.staking.due import expected_in
from streams import Collector, Desk, Intent, RawRecord, Stream, Task, TodoList, World

TOPIC = "liveness.heartbeats"
POLICY_VERSION = 1
SETTLED_SECONDS = 60
"""So much later than an epoch's last beat may come the collector must have read, for what it reads is not quite in order."""


def streams(world: World) -> Iterator[Stream]:
    yield uptime()
    yield TodoList("end_the_day", end_the_day, every_seconds=30)
    yield Collector("heartbeats", TOPIC, lambda records: collect(records, world))


class _Unfit(Exception):
    """A heartbeat that does not count, and why."""


def collect(records: Sequence[RawRecord], world: World) -> Iterator[Intent]:
    """Verified beats as commands of up to 100, a fleet each; what was rejected is counted with its reason.

    It says the same of the same records, so a chunk that is delivered again makes the same commands.
    """
    fleets: dict[int, dict[tuple[str, int], Beat]] = {}
    rejected: dict[int, dict[str, int]] = {}
    for record in records:
        try:
            beat = _beat(record, world)
        except _Unfit as unfit:
            fleet = fleet_of(record.key.decode("utf-8", "replace"))
            reasons = rejected.setdefault(fleet, {})
            reasons[str(unfit)] = reasons.get(str(unfit), 0) + 1
        else:
            fleets.setdefault(fleet_of(beat.device), {}).setdefault((beat.device, beat.slot), beat)
    ordinal = 0
    for fleet in sorted(fleets.keys() | rejected.keys()):
        beats = list(fleets.get(fleet, {}).values())
        reasons = rejected.get(fleet, {})
        for start in range(0, max(len(beats), 1), MAX_BEATS):
            counts = tuple(RejectedBeats(reason=Label(r), count=n) for r, n in sorted(reasons.items())) if start == 0 else ()
            command = RecordHeartbeats(beats=tuple(beats[start : start + MAX_BEATS]), rejected=counts)
            yield Intent(command, f"liveness/fleet/{fleet}", ordinal)
            ordinal += 1


def _beat(raw: RawRecord, world: World) -> Beat:
    """The beat in a signed heartbeat. Raises _Unfit."""
    record = _record(raw, world)
    try:
        said = Heartbeat.read(record.data)
        # What a record says of its time may be before all that is counted.
        beat = Beat(
            device=Did(record.source), slot=said.slot, seq=said.seq, boot=said.boot, sent_at_ms=_milliseconds(record),
            received_at_ms=raw.timestamp_ms, load_percent=said.load_percent, hash=Digest(hashlib.sha256(raw.value).hexdigest()),
        )  # fmt: skip
    except ValidationError:
        raise _Unfit("malformed") from None
    if (reason := untimely(beat)) is not None:
        raise _Unfit(reason)
    return beat


def _record(raw: RawRecord, world: World) -> CommandRecord:
    try:
        record = parse_command(raw.value, raw.key, raw.headers)
    except BadRecord:
        raise _Unfit("malformed") from None
    if record.network != world.network:
        raise _Unfit("another-network")
    if record.type != Heartbeat.wire.type or record.subject != f"{Heartbeat.wire.stream}/{record.source}":
        raise _Unfit("misaddressed")
    if not world.verify(record.source, record.value, record.signature):
        raise _Unfit("bad-signature")
    return record


def _milliseconds(record: CommandRecord) -> int:
    return int(record.time.timestamp() * 1000)


@dataclass(frozen=True)
class Expected:
    """A device of the active fleet in an epoch: the slots in which it was expected, and those that it beat."""

    device: str
    slots: range
    beaten: frozenset[int]


def close_the_epoch(
    epoch: int, fleet: Iterable[Expected], cut: Cut, now_seconds: float, policy_version: int
) -> tuple[Intent, Callable[[], Iterator[Intent]]] | None:
    """What ends an epoch: the day's excused slots, and, once they are recorded, a closing for each device.

    None as long as beats may still come. It is called by whoever keeps the clock, with what the views say.
    """
    if now_seconds < (epoch + 1) * SLOTS_PER_EPOCH * SLOT_SECONDS + LATE_SECONDS:
        return None
    devices = sorted(fleet, key=lambda expected: expected.device)
    excuse = Intent(ExcuseSlots(slots=tuple(_excused(epoch, devices)), cut=cut), day_stream(epoch))

    def closings() -> Iterator[Intent]:
        for ordinal, expected in enumerate(devices, 1):
            command = CloseEpoch(
                epoch=epoch, cut=cut, policy_version=policy_version,
                first_slot=expected.slots.start, end_slot=expected.slots.stop,
            )  # fmt: skip
            yield Intent(command, f"liveness/device/{expected.device}", ordinal)

    return excuse, closings


def end_the_day(desk: Desk) -> Iterator[Task]:
    """Yesterday's excused slots, then a closing for each device that staking expects. It waits for the collector, and guesses
    nothing: as long as that has read no record from after the day, our own outage may be to blame."""
    epoch = epoch_of(slot_at(desk.now.timestamp() - LATE_SECONDS)) - 1
    over, next_over = (
        datetime.fromtimestamp(end * SLOTS_PER_EPOCH * SLOT_SECONDS + LATE_SECONDS, UTC) for end in (epoch + 1, epoch + 2)
    )
    desk.wake_at(next_over)
    expected = expected_in(epoch, desk.connection)
    heard = last_heard("heartbeats", desk.connection)
    if not expected or heard is None or heard < over + timedelta(seconds=SETTLED_SECONDS):
        return
    beaten = days_of_beats(epoch, desk.connection)
    fleet = [Expected(each.device_key, each.slots, beaten.get(each.device_key, frozenset())) for each in expected]
    cut = tuple(ShardCut(shard=shard, next=read) for shard, read in sorted(positions_in("uptime", desk.connection).items()))
    ending = close_the_epoch(epoch, fleet, cut, desk.now.timestamp(), POLICY_VERSION)
    if ending is None:
        return
    excuse, closings = ending
    if not is_excused(epoch, desk.connection):
        yield Task(excuse.command, excuse.subject, f"excuse:{epoch}", over)
        return
    done = closed_in(epoch, desk.connection)
    for closing in closings():
        device = closing.subject.rpartition("/")[2]
        if device not in done:
            yield Task(closing.command, closing.subject, f"close:{epoch}:{device}", over)


def _excused(epoch: int, devices: Sequence[Expected]) -> Iterator[SlotCount]:
    for slot in range(epoch * SLOTS_PER_EPOCH, (epoch + 1) * SLOTS_PER_EPOCH):
        active = [expected for expected in devices if slot in expected.slots]
        missing = sum(slot not in expected.beaten for expected in active)
        if missing * 100 > len(active) * EXCUSE_PERCENT:
            yield SlotCount(slot=slot, active=len(active), missing=missing)
