"""What each of treasury's events changes in its rows."""

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from contracts import Record, Value, rfc3339
from contracts.treasury import (
    AccountEvent,
    AccountOpened,
    Adjusted,
    AdjustmentEvent,
    AdjustmentProposed,
    BackingReceived,
    BackingWrittenDown,
    BreakClosed,
    BreakFound,
    Burned,
    Captured,
    Credited,
    Debited,
    DeficitFound,
    DepositAssigned,
    DepositDefended,
    DepositDisputed,
    DepositEvent,
    DepositIssued,
    DepositLost,
    DepositObserved,
    DepositRefunded,
    DepositSettled,
    Frozen,
    Held,
    HoldExpired,
    MintConfirmed,
    Minted,
    MinterConfigured,
    MinterRemoved,
    MintFailed,
    MintingPaused,
    MintingResumed,
    OutflowEvent,
    OutflowReleased,
    OutflowReserved,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    Reconciled,
    ReconciliationEvent,
    Released,
    ReservesAttested,
    ResumeApproved,
    ReviewRequired,
    StablecoinEvent,
    TreasuryEvent,
    Unfrozen,
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
from projections import Projection, Row, Session
from projections.treasury import tables
from projections.treasury.tables import TABLES


def treasury() -> Projection:
    return Projection("treasury", ("treasury",), TABLES, project)


def project(event: TreasuryEvent, record: Record, session: Session) -> None:
    """By the kind of stream that the event is of."""
    match event:
        case (
            MinterConfigured()
            | MinterRemoved()
            | ReservesAttested()
            | DeficitFound()
            | MintingPaused()
            | BackingReceived()
            | BackingWrittenDown()
            | Minted()
            | MintConfirmed()
            | MintFailed()
            | Burned()
            | ResumeApproved()
            | MintingResumed()
        ):
            _coin(event, record, session)
        case (
            DepositObserved()
            | DepositSettled()
            | DepositAssigned()
            | DepositIssued()
            | DepositRefunded()
            | DepositDisputed()
            | DepositDefended()
            | DepositLost()
        ):
            _deposit(event, record, session)
        case (
            WithdrawalRequested()
            | WithdrawalCancelled()
            | WithdrawalEscrowed()
            | ReviewRequired()
            | WithdrawalReviewed()
            | WithdrawalApproved()
            | WithdrawalRejected()
            | WithdrawalFunded()
            | PayoutSubmitted()
            | WithdrawalReissued()
            | PayoutPaid()
            | PayoutReturned()
        ):
            _withdrawal(event, record, session)
        case OutflowReserved() | OutflowReleased():
            _outflow(event, record, session)
        case (
            AccountOpened() | Credited() | Debited() | Held() | Captured() | Released() | HoldExpired() | Frozen() | Unfrozen()
        ):
            _account(event, record, session)
        case Reconciled() | BreakFound() | BreakClosed():
            _reconciliation(event, record, session)
        case AdjustmentProposed() | Adjusted():
            _adjustment(event, record, session)
        case _:
            assert_never(event)


def _json(values: Iterable[Any]) -> str:
    return orjson.dumps(
        [value.model_dump(mode="json") if isinstance(value, Value) else str(value) for value in values]
    ).decode()


# Coins


def _coin(event: StablecoinEvent, record: Record, session: Session) -> None:
    coin = record.stream_id
    row = dict(session.get(tables.coins, coin) or _new_coin(coin, record))
    row.update(_of_coin(event, row, record), since=record.time)
    session.put(tables.coins, row)
    match event:
        case MinterConfigured(minter=minter, allowance=allowance):
            session.put(
                tables.minters, {"coin": coin, "minter": minter, "allowance": allowance.units, "removed": False}
            )  # fmt: skip
        case MinterRemoved(minter=minter):
            session.change(tables.minters, coin, minter, removed=True, allowance=0)
        case BackingReceived(amount=amount, reference=reference):
            _back(session, coin, reference, record, received=amount.units)
        case BackingWrittenDown(amount=amount, reference=reference):
            _back(session, coin, reference, record, written_down=amount.units)
        case Minted() | MintConfirmed() | MintFailed():
            _mint(event, record, session)
            _log(event, row, record, session)
        case Burned():
            session.put(
                tables.burns,
                {
                    "coin": coin, "withdrawal": event.withdrawal, "units": event.amount.units, "payout": event.payout.units,
                    "transaction": event.transaction, "at": record.time,
                },
            )  # fmt: skip
            _log(event, row, record, session)
        case ReservesAttested() | DeficitFound() | MintingPaused() | ResumeApproved() | MintingResumed():
            pass
        case _:
            assert_never(event)


def _new_coin(coin: str, record: Record) -> Row:
    return {
        "coin": coin, "supply": 0, "in_flight": 0, "reserves": 0, "bank": 0, "owed": 0, "as_of": None, "statement": None,
        "paused": False, "pause_cause": None, "resume_approved_by": None, "turn": 0, "turned": record.time,
    }  # fmt: skip


def _of_coin(event: StablecoinEvent, row: dict[str, Any], record: Record) -> dict[str, Any]:
    turn = {"turn": record.streamversion, "turned": record.time}
    match event:
        case ReservesAttested(bank=bank, owed=owed, as_of=as_of, statement=statement, reserves=reserves):
            attested = {"bank": bank.units, "owed": owed.units, "as_of": rfc3339(as_of), "statement": statement}
            return {**attested, **turn, "reserves": reserves.units}
        case MinterConfigured():
            return turn
        case MintingPaused(cause=cause):
            return {"paused": True, "pause_cause": cause, "resume_approved_by": None}
        case DeficitFound():
            return {"resume_approved_by": None}
        case ResumeApproved(approved_by=actor):
            return {"resume_approved_by": actor}
        case MintingResumed():
            return {**turn, "paused": False, "pause_cause": None, "resume_approved_by": None}
        case BackingReceived(reserves=reserves) | BackingWrittenDown(reserves=reserves):
            return {"reserves": reserves.units}
        case Minted(amount=amount, supply=supply):
            return {"supply": supply.units, "in_flight": row["in_flight"] + amount.units}
        case MintConfirmed(amount=amount):
            return {"in_flight": row["in_flight"] - amount.units}
        case MintFailed(amount=amount, supply=supply):
            return {"supply": supply.units, "in_flight": row["in_flight"] - amount.units}
        case Burned(supply=supply, reserves=reserves):
            return {"supply": supply.units, "reserves": reserves.units}
        case MinterRemoved():
            return {}
        case _:
            assert_never(event)


def _back(session: Session, coin: str, reference: str, record: Record, **cents: int) -> None:
    new = {"coin": coin, "reference": reference, "received": 0, "written_down": 0}
    row = session.get(tables.backings, coin, reference) or new
    session.put(tables.backings, {**row, **cents, "since": record.time})


def _mint(event: Minted | MintConfirmed | MintFailed, record: Record, session: Session) -> None:
    key = (record.stream_id, event.reference)
    match event:
        case Minted(amount=amount, to=to, minter=minter):
            known = session.get(tables.mints, *key)
            allowed = session.get(tables.minters, record.stream_id, minter)
            if allowed is not None:
                left = allowed["allowance"] - amount.units
                session.change(tables.minters, record.stream_id, minter, allowance=left)
            session.put(
                tables.mints,
                {
                    "coin": key[0], "reference": key[1], "state": "in_flight", "units": amount.units, "to": to,
                    "minter": minter, "transaction": None, "block": None, "failures": known["failures"] if known else 0,
                    "event": record.id, "minted": record.time, "since": record.time,
                },
            )  # fmt: skip
        case MintConfirmed(transaction=transaction, block=block):
            final = {"state": "confirmed", "transaction": transaction, "block": block}
            session.change(tables.mints, *key, **final, since=record.time)
        case MintFailed(transaction=transaction):
            failures = 1 + (session.get(tables.mints, *key) or {"failures": 0})["failures"]
            session.change(tables.mints, *key, state="failed", transaction=transaction, failures=failures, since=record.time)
        case _:
            assert_never(event)


def _log(event: Minted | MintConfirmed | MintFailed | Burned, coin: Row, record: Record, session: Session) -> None:
    kinds = {Minted: "minted", MintConfirmed: "confirmed", MintFailed: "failed", Burned: "burned"}
    session.put(
        tables.mint_burn_log,
        {
            "coin": record.stream_id, "version": record.streamversion, "kind": kinds[type(event)],
            "units": event.amount.units, "reference": event.withdrawal if isinstance(event, Burned) else event.reference,
            "actor": record.actor, "transaction": None if isinstance(event, Minted) else event.transaction,
            "block": event.block if isinstance(event, MintConfirmed | Burned) else None, "supply": coin["supply"],
            "reserves": coin["reserves"], "shard": record.shard, "sequence": record.sequence,
            "prevhash": record.document["prevhash"], "event": record.id, "at": record.time,
        },
    )  # fmt: skip


# Deposits


def _deposit(event: DepositEvent, record: Record, session: Session) -> None:
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


# Withdrawals


def _withdrawal(event: WithdrawalEvent, record: Record, session: Session) -> None:
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


def _outflow(event: OutflowEvent, record: Record, session: Session) -> None:
    match event:
        case OutflowReserved(withdrawal=withdrawal, usd_cents=cents, reviewed=reviewed, at=at, window_usd_cents=window):
            row = {"withdrawal": withdrawal, "usd_cents": cents, "reviewed": reviewed, "window_usd_cents": window}
            session.put(tables.outflow, {**row, "at": rfc3339(at), "released": None, "event": record.id})
        case OutflowReleased(withdrawal=withdrawal):
            session.change(tables.outflow, withdrawal, released=record.time, event=record.id)
        case _:
            assert_never(event)


# Accounts


def _account(event: AccountEvent, record: Record, session: Session) -> None:
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


# Reconciliation and adjustment


def _reconciliation(event: ReconciliationEvent, record: Record, session: Session) -> None:
    coin = record.stream_id
    match event:
        case Reconciled(slot=slot, block=block):
            named = ("bank", "owed", "evm_supply", "native_supply", "native_locked", "in_flight", "books_supply", "surplus")
            figures = {name: getattr(event, name).units for name in named}
            session.put(tables.reconciliations, {"coin": coin, "slot": slot, "block": block, **figures, "at": record.time})
        case BreakFound(break_id=name, slot=slot, kind=kind, amount=amount):
            row = {"coin": coin, "break_id": name, "slot": slot, "kind": kind, "units": amount.units, "found": record.time}
            session.put(tables.breaks, {**row, "explanation": None, "closed_by": None, "closed": None})
        case BreakClosed(break_id=name, explanation=explanation, closed_by=actor):
            closed = {"explanation": explanation, "closed_by": actor, "closed": record.time}
            session.change(tables.breaks, coin, name, **closed)
        case _:
            assert_never(event)


def _adjustment(event: AdjustmentEvent, record: Record, session: Session) -> None:
    match event:
        case AdjustmentProposed(lines=lines, reason=reason, proposed_by=actor):
            row = {"adjustment": record.stream_id, "lines": _json(lines), "reason": reason, "proposed_by": actor}
            session.put(
                tables.adjustments, {**row, "proposed": record.time, "approved_by": None, "approved": None}
            )  # fmt: skip
        case Adjusted(approved_by=actor):
            session.change(tables.adjustments, record.stream_id, approved_by=actor, approved=record.time)
        case _:
            assert_never(event)
