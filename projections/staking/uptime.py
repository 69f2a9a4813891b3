"""Liveness' closed epochs as staking judges them, and the seed by which each epoch's panels are drawn."""

from hashlib import sha256
from typing import assert_never

import orjson

from contracts import Record
from contracts.liveness import EpochClosed, HeartbeatsRecorded, LivenessEvent, SlotsExcused
from projections import Projection, Session
from projections.staking.tables import epochs, uptimes


def downtime() -> Projection:
    return Projection("downtime", ("liveness",), (uptimes, epochs), project)


def project(event: LivenessEvent, record: Record, session: Session) -> None:
    """A row a device and epoch from the device's stream, a row an epoch from the epoch's."""
    match event:
        case EpochClosed():
            session.put(
                uptimes,
                {
                    "device_key": record.stream_id, "epoch": event.epoch, "first_slot": event.first_slot,
                    "end_slot": event.end_slot, "missed": event.missed, "root": event.root,
                    "evidence": sha256(record.value).hexdigest(), "event": record.id, "closed_at": record.time,
                },
            )  # fmt: skip
        case SlotsExcused(epoch=epoch, slots=slots):
            session.put(
                epochs,
                {
                    "epoch": epoch, "seed": sha256(record.value).hexdigest(), "ended_at": record.time,
                    "excused_slots": orjson.dumps(sorted(slot.slot for slot in slots)).decode(),
                },
            )  # fmt: skip
        case HeartbeatsRecorded():
            pass
        case _:
            assert_never(event)
