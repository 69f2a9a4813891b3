"""A deposit, its refunds and disputes."""

from typing import Any, assert_never

from contracts import Record, rfc3339
from contracts.treasury import (
    DepositAssigned,
    DepositDefended,
    DepositDisputed,
    DepositEvent,
    DepositIssued,
    DepositLost,
    DepositObserved,
    DepositRefunded,
    DepositSettled,
)
from projections import Row, Session
from projections.treasury import tables


def fold_deposit(event: DepositEvent, record: Record, session: Session) -> None:
    if isinstance(event, DepositObserved):
        session.put(tables.deposits, {**_observed(event, record), "event": record.id, "since": record.time})
        return
    row = dict(session.get(tables.deposits, record.stream_id) or {})
    row.update(_of_deposit(event, row), event=record.id, since=record.time)
    if row["left"] <= 0 and row["state"] in ("observed", "settled"):
        row["state"] = "closed"
    session.put(tables.deposits, row)
    if isinstance(event, DepositRefunded):
        refund = {"deposit": record.stream_id, "reference": event.reference, "asset": event.amount.asset}
        more = {"amount": event.amount.units, "settled": event.settled, "event": record.id, "at": record.time}
        session.put(tables.refunds, {**refund, **more})
    if isinstance(event, DepositDisputed | DepositDefended | DepositLost):
        _dispute(event, record, session)


def _observed(event: DepositObserved, record: Record) -> Row:
    return {
        "deposit": record.stream_id, "rail": event.rail, "reference": event.reference, "state": "observed",
        "asset": event.amount.asset, "amount": event.amount.units, "net": 0, "fee": 0, "refunded": 0, "lost": 0,
        "left": event.amount.units, "disputes_open": 0, "owner": event.owner, "to": event.to,
        "booked_at": rfc3339(event.booked_at), "value_date": rfc3339(event.value_date), "available_on": None, "issued": None,
    }  # fmt: skip


def _of_deposit(event: DepositEvent, row: dict[str, Any]) -> dict[str, Any]:
    match event:
        case DepositSettled(net=net, fee=fee, available_on=available_on):
            settled = {"net": net.units, "fee": fee.units, "left": net.units}
            return {**settled, "state": "settled", "available_on": rfc3339(available_on)}
        case DepositAssigned(owner=owner, to=to):
            return {"owner": owner, "to": to}
        case DepositIssued(reference=reference):
            return {"state": "issued", "issued": reference}
        case DepositRefunded(amount=amount):
            return {"refunded": row["refunded"] + amount.units, "left": row["left"] - amount.units}
        case DepositDisputed():
            return {"disputes_open": row["disputes_open"] + 1}
        case DepositDefended():
            return {"disputes_open": row["disputes_open"] - 1}
        case DepositLost(amount=amount):
            gone = {"lost": row["lost"] + amount.units, "left": row["left"] - amount.units}
            return {"disputes_open": row["disputes_open"] - 1, **gone}
        case DepositObserved():
            return {}
        case _:
            assert_never(event)


def _dispute(event: DepositDisputed | DepositDefended | DepositLost, record: Record, session: Session) -> None:
    key, said = (record.stream_id, event.dispute), {"event": record.id, "since": record.time}
    match event:
        case DepositDisputed(amount=amount):
            row = {"deposit": key[0], "dispute": key[1], "state": "open", "amount": amount.units, "issued": False}
            session.put(tables.disputes, {**row, **said})
        case DepositDefended():
            session.change(tables.disputes, *key, state="won", **said)
        case DepositLost(issued=issued):
            session.change(tables.disputes, *key, state="lost", issued=issued, **said)
        case _:
            assert_never(event)
