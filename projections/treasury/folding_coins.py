"""A coin, its minters, mints, backing and burns, and the log of them that is only ever appended to."""

from typing import Any, assert_never

from contracts import Record, rfc3339
from contracts.treasury import (
    BackingReceived,
    BackingWrittenDown,
    Burned,
    DeficitFound,
    MintConfirmed,
    Minted,
    MinterConfigured,
    MinterRemoved,
    MintFailed,
    MintingPaused,
    MintingResumed,
    ReservesAttested,
    ResumeApproved,
    StablecoinEvent,
)
from projections import Row, Session
from projections.treasury import tables


def fold_coin(event: StablecoinEvent, record: Record, session: Session) -> None:
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
