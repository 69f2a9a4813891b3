"""Liveness: which device was up in which slot (white paper 5.2, 6.2, 9.6).

A heartbeat is a signed fact, not a wish: no rule is decided on it alone. A collector verifies heartbeats and records them in
batches; an epoch is closed, device by device, by an event that anybody can recompute from the recorded beats.

A slot is 300 seconds UTC and numbered from 1970-01-01; an epoch is a day of 288 slots.
"""

import zlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._values import AtomicText, Count, Did, Digest, Flag, Label, StreamId

SLOT_SECONDS = 300
SLOTS_PER_EPOCH = 288
EARLY_SECONDS = 30
LATE_SECONDS = 600
"""A beat counts if it is received from 30 s before its slot to 600 s after it: a day's outage is not filled in afterwards."""
STALE_SECONDS = 600
"""SPACEOS_HEARTBEAT_TIMEOUT (white paper 5.2): older is not routable."""
EXCUSE_PERCENT = 20
"""A slot that more of the active fleet missed is our outage, not theirs."""
MAX_BEATS = 100
FLEETS = 64
"""Streams over which devices are spread. Fixed: a device's beats stay in one stream."""


class FleetId(AtomicText):
    """A fleet's number, as its stream is named."""

    pattern = r"^(0|[1-9][0-9]{0,5})$"
    max_length = 6


STREAM_IDS: Mapping[str, type[AtomicText]] = {"device": Did, "epoch": StreamId, "fleet": FleetId}
"""What the streams of each kind are named by."""


class Heartbeat(Command, role="providers.gpu", stream="liveness/device"):
    """A device's sign of life, on `liveness.heartbeats`. In no union: the collector reads it, no worker decides it."""

    slot: Count
    seq: Count
    """Grows by one with each beat of a boot."""
    boot: Label
    load_percent: Annotated[Count, Field(le=100)]


class Beat(Value):
    """A heartbeat that was verified."""

    device: Did
    slot: Count
    seq: Count
    boot: Label
    sent_at_ms: Count
    received_at_ms: Count
    """When the broker had it: the only receipt that a redelivery does not change."""
    load_percent: Annotated[Count, Field(le=100)]
    hash: Digest
    """SHA-256 of the signed heartbeat."""


class RejectedBeats(Value):
    """Heartbeats that were not recorded, by reason."""

    reason: Label
    count: Count


class SlotCount(Value):
    """How many of the active fleet missed a slot."""

    slot: Count
    active: Count
    missing: Count


class ShardCut(Value):
    """A position: what is below `next` in the shard was seen."""

    shard: str
    next: Count


Cut = Annotated[tuple[ShardCut, ...], Field(max_length=64)]


class RecordHeartbeats(Command, role="liveness.collector", stream="liveness/fleet"):
    """Append verified beats of one fleet's devices."""

    beats: Annotated[tuple[Beat, ...], Field(max_length=MAX_BEATS)]
    rejected: Annotated[tuple[RejectedBeats, ...], Field(max_length=16)] = ()


class ExcuseSlots(Command, role="liveness.clock", stream="liveness/epoch"):
    """End a day's recording, and name the slots that the network itself missed."""

    slots: Annotated[tuple[SlotCount, ...], Field(max_length=SLOTS_PER_EPOCH)]
    cut: Cut


class CloseEpoch(Command, role="liveness.clock", stream="liveness/device"):
    """State what a device did in an epoch."""

    epoch: Count
    """Days since 1970-01-01 UTC."""
    cut: Cut
    policy_version: Count
    first_slot: Count
    end_slot: Count
    """The slots in which the device was expected, end exclusive: from the midnight after it registered, until it left."""


class HeartbeatsRecorded(Event):
    beats: tuple[Beat, ...]
    repeated: Count
    """Beats whose (device, slot) was recorded before; they are not among `beats`."""
    rejected: tuple[RejectedBeats, ...] = ()


class SlotsExcused(Event):
    epoch: Count
    slots: tuple[SlotCount, ...]
    cut: Cut


class EpochClosed(Event):
    """With the recorded beats and the day's excused slots, all that is needed to find the same numbers again."""

    epoch: Count
    cut: Cut
    first_slot: Count
    end_slot: Count
    expected: Count
    excused: Count
    """Expected slots that were excused and not beaten."""
    missed: Count
    bitmap: Annotated[str, Field(pattern=r"^[0-9a-f]{72}$")]
    """One bit a slot, the day's first slot the highest."""
    root: Digest
    """RFC 6962 root over the hashes of the counted beats in slot order."""
    policy_version: Count
    is_breach: Flag
    """More than 5 % missed of the expected slots that were not excused, where those are 144 or more (white paper 9.6)."""


LivenessCommand = RecordHeartbeats | ExcuseSlots | CloseEpoch
LivenessEvent = HeartbeatsRecorded | SlotsExcused | EpochClosed


def fleet_of(device: str) -> int:
    """The fleet in whose stream a device's beats are."""
    return zlib.crc32(device.encode()) % FLEETS


def slot_at(seconds: float) -> int:
    """The slot of a moment, in seconds since 1970-01-01 UTC."""
    return int(seconds // SLOT_SECONDS)


def epoch_of(slot: int) -> int:
    """The day of a slot."""
    return slot // SLOTS_PER_EPOCH
