"""Who was up: beats recorded once per device and slot, and epochs that anybody can recompute from them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import assert_never

from pydantic import ConfigDict, with_config

from contracts import Digest, Label
from contracts.liveness import (
    EARLY_SECONDS,
    EXCUSE_PERCENT,
    LATE_SECONDS,
    SLOT_SECONDS,
    SLOTS_PER_EPOCH,
    Beat,
    CloseEpoch,
    EpochClosed,
    ExcuseSlots,
    HeartbeatsRecorded,
    LivenessEvent,
    RecordHeartbeats,
    RejectedBeats,
    SlotsExcused,
    epoch_of,
    fleet_of,
)
from domain import Aggregate, Refused

KEPT_EPOCHS = 3
"""Days whose beats a fleet remembers: closing waits for ten minutes, and for a collector that was down two days."""
BREACH_PERCENT = 5
"""Missing more of what an epoch left, excused slots not counted, is a breach (white paper 9.6)."""
UNREGISTERED = "not-registered"
"""Why a stranger's beat is not recorded: anybody can make a key and beat with it."""
MINIMUM_SLOTS = SLOTS_PER_EPOCH // 2
"""An epoch that left fewer breaches nobody."""


class EpochOver(Refused):
    """The epoch is counted, or too old to be counted: no beat is added any more."""


class AnotherFleet(Refused):
    """The device's beats belong to another fleet's stream."""


class EpochOpen(Refused):
    """The day is not over, or beats of it may still come."""


class EpochForgotten(Refused):
    """The epoch's beats are too old to be at hand, and an epoch is not closed by guessing."""


class AlreadyExcused(Refused):
    """The epoch's slots were excused, and are not excused again."""


class NotOurFault(Refused):
    """A slot is excused when more than 20 % of the active fleet missed it, and only in its own epoch."""


class AlreadyClosed(Refused):
    """The device's epoch is closed."""


class SlotsOutsideEpoch(Refused):
    """The slots in which a device was expected lie within the epoch."""


@with_config(ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
@dataclass
class DayOfBeats:
    """A device's beats of one epoch, packed: 34 bytes a beat, since a fleet holds some hundred thousand of them."""

    bitmap: int = 0
    """A bit a slot of the epoch, the first slot the lowest."""
    packed: bytes = b""
    """In the order of arrival: the slot within its epoch (2 bytes), the beat's hash (32 bytes)."""

    def has(self, slot: int) -> bool:
        return bool(self.bitmap >> slot % SLOTS_PER_EPOCH & 1)

    def add(self, slot: int, digest: str) -> None:
        offset = slot % SLOTS_PER_EPOCH
        self.bitmap |= 1 << offset
        self.packed += offset.to_bytes(2) + bytes.fromhex(digest)

    def hashes(self, epoch: int) -> dict[int, str]:
        """Slot to hash."""
        first, packed = epoch * SLOTS_PER_EPOCH, self.packed
        rows = (packed[start : start + 34] for start in range(0, len(packed), 34))
        return {first + int.from_bytes(row[:2]): row[2:].hex() for row in rows}


@dataclass
class Day(Aggregate[LivenessEvent]):
    """One epoch of the whole network: over, once its slots are excused."""

    excused: tuple[int, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.version > 0

    def excuse(self, command: ExcuseSlots, now: datetime) -> None:
        """End the epoch. Raises EpochOpen, AlreadyExcused, NotOurFault."""
        epoch = epoch_named(self.id)
        event = SlotsExcused(epoch=epoch, slots=command.slots, cut=command.cut)
        if self.is_over:
            raise AlreadyExcused
        end = (epoch + 1) * SLOTS_PER_EPOCH * SLOT_SECONDS
        if now.timestamp() < end + LATE_SECONDS:
            raise EpochOpen(f"beats of epoch {epoch} count until {datetime.fromtimestamp(end + LATE_SECONDS, UTC):%F %T} UTC")
        for slot in command.slots:
            if epoch_of(slot.slot) != epoch or slot.missing * 100 <= slot.active * EXCUSE_PERCENT:
                raise NotOurFault(f"slot {slot.slot}: {slot.missing} of {slot.active} missed it", "slots")
        self.record(event)

    def apply(self, event: LivenessEvent) -> None:
        match event:
            case SlotsExcused(slots=slots):
                self.excused = tuple(sorted(slot.slot for slot in slots))
            case HeartbeatsRecorded() | EpochClosed():
                pass
            case _:
                assert_never(event)


@dataclass
class Fleet(Aggregate[LivenessEvent]):
    """The beats of the devices that share a stream."""

    beats: dict[int, dict[str, DayOfBeats]] = field(default_factory=dict)
    """Epoch to device to its beats."""
    forgotten: int = -1
    """The last epoch that is no longer among them."""

    def collect(self, command: RecordHeartbeats, over: Iterable[int], is_registered: Callable[[str], bool]) -> None:
        """Record what is new of devices that may serve now. Raises EpochOver when every beat's epoch is over, AnotherFleet.

        `is_registered` is asked of devices only whose beat counts otherwise.
        """
        fresh: list[Beat] = []
        rejected: dict[str, int] = {entry.reason: entry.count for entry in command.rejected}
        repeated, seen = 0, set[tuple[str, int]]()
        over = set(over)
        for beat in command.beats:
            if str(fleet_of(beat.device)) != self.id:
                raise AnotherFleet(f"{beat.device} beats in fleet {fleet_of(beat.device)}", "beats")
            epoch = epoch_of(beat.slot)
            if self._knows(beat) or (beat.device, beat.slot) in seen:
                repeated += 1
            elif (reason := "epoch-over" if epoch in over or epoch <= self.forgotten else untimely(beat)) is not None:
                rejected[reason] = rejected.get(reason, 0) + 1
            elif not is_registered(beat.device):
                rejected[UNREGISTERED] = rejected.get(UNREGISTERED, 0) + 1
            else:
                seen.add((beat.device, beat.slot))
                fresh.append(beat)
        if not fresh and rejected.get("epoch-over", 0) == len(command.beats) > 0:
            raise EpochOver
        if fresh or rejected:
            counts = tuple(RejectedBeats(reason=Label(reason), count=count) for reason, count in sorted(rejected.items()))
            self.record(HeartbeatsRecorded(beats=tuple(fresh), repeated=repeated, rejected=counts))

    def of_device(self, device: str, epoch: int) -> Mapping[int, str]:
        """Slot to hash of the device's beats in the epoch. Raises EpochForgotten."""
        if epoch <= self.forgotten:
            raise EpochForgotten(f"the beats of epoch {epoch} are no longer at hand", "epoch")
        found = self.beats.get(epoch, {}).get(device)
        return {} if found is None else found.hashes(epoch)

    def apply(self, event: LivenessEvent) -> None:
        match event:
            case HeartbeatsRecorded(beats=beats):
                for beat in beats:
                    devices = self.beats.setdefault(epoch_of(beat.slot), {})
                    devices.setdefault(beat.device, DayOfBeats()).add(beat.slot, beat.hash)
                for epoch in sorted(self.beats)[:-KEPT_EPOCHS]:
                    del self.beats[epoch]
                    self.forgotten = epoch
            case SlotsExcused() | EpochClosed():
                pass
            case _:
                assert_never(event)

    def _knows(self, beat: Beat) -> bool:
        found = self.beats.get(epoch_of(beat.slot), {}).get(beat.device)
        return found is not None and found.has(beat.slot)


@dataclass
class Device(Aggregate[LivenessEvent]):
    """One device's closed epochs."""

    closed: list[int] = field(default_factory=list)

    def close(self, command: CloseEpoch, day: Day, fleet: Fleet) -> None:
        """State the epoch as it was (white paper 9.6). Raises EpochOpen, AlreadyClosed, SlotsOutsideEpoch, EpochForgotten."""
        if command.epoch in self.closed:
            raise AlreadyClosed
        if not day.is_over:
            raise EpochOpen(f"epoch {command.epoch} has no excused slots yet, so beats of it may still come", "epoch")
        first = command.epoch * SLOTS_PER_EPOCH
        if not first <= command.first_slot <= command.end_slot <= first + SLOTS_PER_EPOCH:
            raise SlotsOutsideEpoch(field="first_slot")
        self.record(closing(fleet.of_device(self.id, command.epoch), command, day.excused))

    def apply(self, event: LivenessEvent) -> None:
        match event:
            case EpochClosed(epoch=epoch):
                self.closed.append(epoch)
            case HeartbeatsRecorded() | SlotsExcused():
                pass
            case _:
                assert_never(event)


def untimely(beat: Beat) -> str | None:
    """Why the beat does not count for its slot, by when the broker had it; None if it does."""
    start = beat.slot * SLOT_SECONDS * 1000
    if beat.received_at_ms < start - EARLY_SECONDS * 1000:
        return "early"
    if beat.received_at_ms > start + (SLOT_SECONDS + LATE_SECONDS) * 1000:
        return "late"
    return None


def is_breach(missed: int, expected: int, percent: int = BREACH_PERCENT) -> bool:
    """`expected` is without the excused slots."""
    return expected >= MINIMUM_SLOTS and missed * 100 > expected * percent


def closing(beats: Mapping[int, str], asked: CloseEpoch | EpochClosed, excused: Iterable[int]) -> EpochClosed:
    """The epoch of one device from its beats (slot to hash), in whatever order they came."""
    expected = range(asked.first_slot, asked.end_slot)
    counted = {slot: digest for slot, digest in beats.items() if epoch_of(slot) == asked.epoch}
    absent = [slot for slot in expected if slot not in counted]
    forgiven = set(excused).intersection(absent)
    missed = len(absent) - len(forgiven)
    bits = 0
    for slot in counted:
        bits |= 1 << (SLOTS_PER_EPOCH - 1 - slot % SLOTS_PER_EPOCH)
    return EpochClosed(
        epoch=asked.epoch, cut=asked.cut, first_slot=asked.first_slot, end_slot=asked.end_slot, expected=len(expected),
        excused=len(forgiven), missed=missed, bitmap=f"{bits:072x}",
        root=Digest(merkle_root([bytes.fromhex(counted[slot]) for slot in sorted(counted)]).hex()),
        policy_version=asked.policy_version, is_breach=is_breach(missed, len(expected) - len(forgiven)),
    )  # fmt: skip


def recomputed(events: Iterable[LivenessEvent], device: str, closed: EpochClosed) -> EpochClosed:
    """What an analyst finds for a device's closed epoch from the recorded events alone, whatever their order."""
    beats: dict[int, str] = {}
    excused: list[int] = []
    for event in events:
        match event:
            case HeartbeatsRecorded(beats=recorded):
                beats.update({beat.slot: beat.hash for beat in recorded if beat.device == device})
            case SlotsExcused(epoch=epoch, slots=slots) if epoch == closed.epoch:
                excused = [slot.slot for slot in slots]
            case _:
                pass
    return closing(beats, closed, excused)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962, 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def epoch_named(date: str) -> int:
    """The epoch of a stream `liveness/epoch/2026-11-24`. Raises EpochOpen for what is no date."""
    try:
        return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) // (SLOTS_PER_EPOCH * SLOT_SECONDS)
    except ValueError:
        raise EpochOpen(f"{date} is not a date", "subject") from None


def day_stream(epoch: int) -> str:
    """`liveness/epoch/<date>`."""
    date = datetime.fromtimestamp(epoch * SLOTS_PER_EPOCH * SLOT_SECONDS, UTC)
    return f"liveness/epoch/{date:%Y-%m-%d}"
