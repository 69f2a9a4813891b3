"""An account, its holds and what is frozen."""

from typing import assert_never

from contracts import Record, rfc3339
from contracts.treasury import (
    AccountEvent,
    AccountOpened,
    Captured,
    Credited,
    Debited,
    Frozen,
    Held,
    HoldExpired,
    Released,
    Unfrozen,
)
from projections import Row, Session
from projections.treasury import tables


def fold_account(event: AccountEvent, record: Record, session: Session) -> None:
    account = record.stream_id
    match event:
        case AccountOpened(owner=owner, asset=asset):
            row = {"account": account, "owner": owner, "asset": asset, "posted": 0, "held": 0, "frozen": 0}
            session.put(tables.accounts, {**row, "since": record.time})
        case Credited(amount=amount):
            _move(session, record, posted=amount.units)
        case Debited(amount=amount):
            _move(session, record, posted=-amount.units)
        case Held():
            _move(session, record, held=event.amount.units)
            session.put(tables.holds, _held(event, record))
        case Captured(hold=hold, amount=amount, returned=returned, counter=counter):
            _move(session, record, posted=-amount.units, held=-amount.units - returned.units)
            session.change(
                tables.holds, account, hold, state="captured", captured=amount.units, counter=counter, since=record.time
            )
        case Released(hold=hold):
            _let_go(session, record, hold, "released")
        case HoldExpired(hold=hold):
            _let_go(session, record, hold, "expired")
        case Frozen(amount=amount, cause=cause):
            _move(session, record, frozen=amount.units)
            row = {"account": account, "cause": cause, "units": amount.units, "at": record.time, "lifted": None}
            session.put(tables.freezes, row)
        case Unfrozen(cause=cause):
            units = (session.get(tables.freezes, account, cause) or {"units": 0})["units"]
            _move(session, record, frozen=-units)
            session.change(tables.freezes, account, cause, lifted=record.time)
        case _:
            assert_never(event)


def _move(session: Session, record: Record, **by: int) -> None:
    row = session.get(tables.accounts, record.stream_id) or dict.fromkeys(by, 0)
    moved = {name: row[name] + units for name, units in by.items()}
    session.change(tables.accounts, record.stream_id, **moved, since=record.time)


def _held(event: Held, record: Record) -> Row:
    return {
        "account": record.stream_id, "hold": event.hold, "state": "open", "units": event.amount.units, "captured": 0,
        "purpose": event.purpose, "expires_at": rfc3339(event.expires_at), "counter": None, "held_by": record.actor,
        "event": record.id, "at": record.time, "since": record.time,
    }  # fmt: skip


def _let_go(session: Session, record: Record, hold: str, state: str) -> None:
    units = (session.get(tables.holds, record.stream_id, hold) or {"units": 0})["units"]
    _move(session, record, held=-units)
    session.change(tables.holds, record.stream_id, hold, state=state, since=record.time)
