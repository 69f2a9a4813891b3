"""The receipts that an oracle refuted, as staking accuses them."""

from typing import assert_never

from contracts import Record
from contracts.inference import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    AttemptStarted,
    DisputeResolved,
    InferenceEvent,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptPaid,
    ReceiptRefuted,
    ReceiptSettled,
    RequestClosed,
    RequestOpened,
    RouteDecided,
)
from projections import Projection, Session
from projections.staking.tables import refuted


def refuted_receipts() -> Projection:
    return Projection("refuted_receipts", ("inference",), (refuted,), project)


def project(event: InferenceEvent, record: Record, session: Session) -> None:
    """A row a refuted receipt; what else becomes of a request accuses nobody."""
    match event:
        case ReceiptRefuted():
            session.put(
                refuted,
                {
                    "request": record.stream_id, "number": event.number, "device_key": event.device, "at": record.time,
                    "evidence": event.evidence, "event": record.id,
                },
            )  # fmt: skip
        case RequestOpened() | RouteDecided() | AttemptStarted() | AttemptCompleted() | AttemptFailed() | AttemptCancelled():
            pass
        case ReceiptMatched() | ReceiptDisputed() | DisputeResolved() | ReceiptSettled() | ReceiptPaid() | RequestClosed():
            pass
        case _:
            assert_never(event)
