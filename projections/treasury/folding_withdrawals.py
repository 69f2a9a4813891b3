"""A withdrawal, its reviews, and what counts towards the limits."""

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from contracts import Record, Value, rfc3339
from contracts.treasury import (
    OutflowEvent,
    OutflowReleased,
    OutflowReserved,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    ReviewRequired,
    WithdrawalApproved,
    WithdrawalCancelled,
    WithdrawalEscrowed,
    WithdrawalEvent,
    WithdrawalFunded,
    WithdrawalReissued,
    WithdrawalRejected,
    WithdrawalRequested,
    WithdrawalReviewed,
)
from projections import Row, Session
from projections.treasury import tables


def fold_withdrawal(event: WithdrawalEvent, record: Record, session: Session) -> None:
    if isinstance(event, WithdrawalRequested):
        session.put(tables.withdrawals, {**_requested(event, record), "event": record.id, "since": record.time})
        return
    row = dict(session.get(tables.withdrawals, record.stream_id) or {})
    row.update(_of_withdrawal(event, row, record), event=record.id, since=record.time)
    session.put(tables.withdrawals, row)
    if isinstance(event, WithdrawalReviewed):
        review = {"event": record.id, "withdrawal": record.stream_id, "verdict": event.verdict}
        by = {"reviewed_by": event.reviewed_by, "person": event.person, "at": record.time}
        session.put(tables.reviews, {**review, **by})


def _requested(event: WithdrawalRequested, record: Record) -> Row:
    return {
        "withdrawal": record.stream_id, "account": record.stream_id.partition(".")[0], "state": "requested",
        "coin": event.amount.asset, "units": event.amount.units, "payout": event.payout.units,
        "destination": event.destination.json_bytes().decode(), "destination_digest": event.destination_digest,
        "command": record.causationid,
        "requested_by": event.requested_by, "requested": record.time, "wallet": None, "escrow": None, "escrowed": None,
        "usd_cents": None, "reasons": "[]", "route": None, "approvals": 0, "review_since": None, "rail": None, "attempt": 0,
        "key": None, "bank_reference": None, "returned": None, "return_reason": None, "may_retry": False,
    }  # fmt: skip


def _of_withdrawal(event: WithdrawalEvent, row: dict[str, Any], record: Record) -> dict[str, Any]:
    match event:
        case WithdrawalCancelled():
            return {"state": "cancelled"}
        case WithdrawalEscrowed(wallet=wallet, transaction=transaction):
            state = "escrowed" if row["state"] == "requested" else row["state"]
            return {"state": state, "wallet": wallet, "escrow": transaction, "escrowed": record.time}
        case ReviewRequired(usd_cents=cents, reasons=reasons):
            review = {"usd_cents": cents, "reasons": _json(reasons), "review_since": record.time}
            return {"state": "under_review", **review}
        case WithdrawalReviewed(verdict=verdict):
            is_retry = row["state"] == "returned"
            return {"may_retry": is_retry, "approvals": row["approvals"] + (verdict == "approve" and not is_retry)}
        case WithdrawalApproved(route=route, usd_cents=cents):
            return {"state": "approved", "route": route, "usd_cents": cents}
        case WithdrawalRejected():
            return {"state": "rejected"}
        case WithdrawalFunded():
            return {"state": "funded"}
        case PayoutSubmitted(rail=rail, attempt=attempt, key=key):
            return {"state": "submitted", "rail": rail, "attempt": attempt, "key": key, "may_retry": False}
        case WithdrawalReissued():
            return {"state": "reissued"}
        case PayoutPaid(bank_reference=reference):
            return {"state": "paid", "bank_reference": reference}
        case PayoutReturned(bank_reference=reference, reason=reason):
            returned = {"returned": record.time, "return_reason": reason, "bank_reference": reference}
            return {"state": "returned", **returned}
        case WithdrawalRequested():
            return {}
        case _:
            assert_never(event)


def fold_outflow(event: OutflowEvent, record: Record, session: Session) -> None:
    match event:
        case OutflowReserved(withdrawal=withdrawal, usd_cents=cents, reviewed=reviewed, at=at, window_usd_cents=window):
            row = {"withdrawal": withdrawal, "usd_cents": cents, "reviewed": reviewed, "window_usd_cents": window}
            session.put(tables.outflow, {**row, "at": rfc3339(at), "released": None, "event": record.id})
        case OutflowReleased(withdrawal=withdrawal):
            session.change(tables.outflow, withdrawal, released=record.time, event=record.id)
        case _:
            assert_never(event)


def _json(values: Iterable[Any]) -> str:
    return orjson.dumps(
        [value.model_dump(mode="json") if isinstance(value, Value) else str(value) for value in values]
    ).decode()
