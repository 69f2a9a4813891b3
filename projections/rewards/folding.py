"""Rewards' events as rows."""

from collections.abc import Iterable
from typing import Any, assert_never

import orjson
from sqlalchemy import Table

from contracts import Amount, Record, rfc3339
from contracts.rewards import (
    BUCKET_UNITS,
    Accrued,
    Bucket,
    Claimed,
    Earned,
    EmissionYearOpened,
    EpochClosed,
    EpochMinted,
    EpochOpened,
    EscrowLapsed,
    FeeSplit,
    FeeTaken,
    GenesisDeclared,
    GrantAllotted,
    GrantCreated,
    GrantReturned,
    GrantRevoked,
    Issued,
    MilestoneAttested,
    MilestoneReached,
    OracleShareDivided,
    OwnerAttested,
    OwnerRegistered,
    Paid,
    Released,
    RewardsEvent,
    RootConfirmed,
    RootPublished,
    SupplyBurned,
)
from projections import Session
from projections.rewards import tables as t

EMISSION = "SPACE"


def project(event: RewardsEvent, record: Record, session: Session) -> None:
    """A row a receipt, year, grant, epoch, position's epoch and earner, and the sums that the to-do lists need."""
    match event:
        case FeeSplit() | FeeTaken():
            _fee(event, record, session)
        case GenesisDeclared() | EmissionYearOpened() | EpochMinted() | Issued() | SupplyBurned():
            _emission(event, record, session)
        case GrantAllotted() | GrantReturned():
            _allotment(event, session)
        case GrantCreated() | MilestoneReached() | Released() | GrantRevoked():
            _grant(event, record, session)
        case EpochOpened() | EpochClosed() | OracleShareDivided() | RootPublished() | RootConfirmed():
            _epoch(event, record, session)
        case Accrued() | Paid():
            _yield(event, record, session)
        case Earned() | Claimed():
            _earner(event, record, session)
        case OwnerRegistered() | EscrowLapsed():
            _model(event, record, session)
        case MilestoneAttested() | OwnerAttested():
            pass
        case _:
            assert_never(event)


# Fees


def _fee(event: FeeSplit | FeeTaken, record: Record, session: Session) -> None:
    fees = record.stream_id
    kind, payee = fees.split(".", 2)[:2]
    match event:
        case FeeSplit():
            asset, price, provider, oracles = event.price.asset, event.price.units, event.provider_share, event.oracle_share
            session.put(t.fee_splits, _split_row(event, record))
            if event.model is not None:
                _model_share(event, fees, session)
        case FeeTaken():
            asset, price, provider, oracles = event.amount.asset, event.amount.units, 0, 0
            row = {
                "fees": fees, "reference": event.reference, "source": event.source, "asset": asset, "amount": price,
                "burn": event.burn, "buyback": event.buyback, "kept": event.kept, "epoch": event.epoch, "at": record.time,
            }  # fmt: skip
            session.put(t.fees_taken, row)
        case _:
            assert_never(event)
    shares = {"provider_share": provider, "oracle_share": oracles, "burn": event.burn}
    named = {"payee": payee, "asset": asset}
    _add(session, t.fee_sums, {"fees": fees}, named, shares)
    more = {"receipts": 1, "price": price, "buyback": event.buyback, "kept": event.kept}
    _add(session, t.fee_totals, {"fees": fees, "epoch": event.epoch}, {"kind": kind, **named}, {**shares, **more})


def _split_row(event: FeeSplit, record: Record) -> dict[str, Any]:
    named = (
        "receipt", "payee", "provider", "model", "model_owner", "prepaid", "epoch", "protocol_fee", "provider_share",
        "model_share", "oracle_share", "treasury_share", "burn", "buyback", "kept",
    )  # fmt: skip
    fields = {name: getattr(event, name) for name in named}
    return {
        "fees": record.stream_id, **fields, "asset": event.price.asset, "price": event.price.units, "at": record.time
    }  # fmt: skip


def _model_share(event: FeeSplit, fees: str, session: Session) -> None:
    owner, named, units = event.model_owner or "", {"asset": event.price.asset}, {"units": event.model_share}
    _add(session, t.model_totals, {"fees": fees, "epoch": event.epoch, "model": event.model, "owner": owner}, named, units)
    if owner:
        _add(session, t.model_sums, {"fees": fees, "owner": owner}, named, units)


def _add(session: Session, table: Table, key: dict[str, Any], named: dict[str, Any], units: dict[str, int]) -> None:
    """To the row of that key, which begins with zeros."""
    row = session.get(table, *key.values())
    session.put(table, {**key, **named, **{name: n + (row[name] if row else 0) for name, n in units.items()}})


# Emission


def _emission(
    event: GenesisDeclared | EmissionYearOpened | EpochMinted | Issued | SupplyBurned, record: Record, session: Session
) -> None:
    row = dict(
        session.get(t.emission, EMISSION)
        or {
            "name": EMISSION, "genesis_at": None, "year": 0, "base": 0, "minted_in_year": 0, "minted": 0, "last_epoch": None,
            "minted_until": None, "issued": 0, "burned": 0,
        }
    )  # fmt: skip
    match event:
        case GenesisDeclared(at=at):
            row["genesis_at"] = rfc3339(at)
            for bucket, share in BUCKET_UNITS.items():
                session.put(t.buckets, {"bucket": bucket, "share": share, "issued": 0, "set_aside": 0})
        case EmissionYearOpened(year=year, base=base):
            row |= {"year": year, "base": base, "minted_in_year": 0}
        case EpochMinted(epoch=epoch, until=until, amount=amount, issued_total=total):
            row |= {"last_epoch": epoch, "minted_until": rfc3339(until), "issued": total}
            row |= {"minted": row["minted"] + amount, "minted_in_year": row["minted_in_year"] + amount}
            _bucket(session, "providers", issued=amount)
        case Issued():
            row["issued"] = event.issued_total
            _issue(event, session)
        case SupplyBurned(reference=reference, source=source, amount=amount, burned_total=total):
            row["burned"] = total
            session.put(t.burns, {"reference": reference, "source": source, "amount": amount, "at": record.time})
        case _:
            assert_never(event)
    session.put(t.emission, row)
    session.put(
        t.supply,
        {"version": record.streamversion, "issued": row["issued"], "burned": row["burned"], "at": record.time},
    )


def _issue(event: Issued, session: Session) -> None:
    if event.grant is None:
        _bucket(session, event.bucket, issued=event.amount)
        return
    _bucket(session, event.bucket, issued=event.amount, set_aside=-event.amount)
    row = session.get(t.allotments, event.grant)
    session.change(t.allotments, event.grant, issued=event.amount + (row["issued"] if row else 0))


def _allotment(event: GrantAllotted | GrantReturned, session: Session) -> None:
    match event:
        case GrantAllotted(grant=grant, bucket=bucket, amount=amount):
            row = {"name": grant, "bucket": bucket, "amount": amount, "issued": 0, "returned": 0}
            session.put(t.allotments, row)
            _bucket(session, bucket, set_aside=amount)
        case GrantReturned(grant=grant, amount=amount):
            session.change(t.allotments, grant, returned=amount)
            found = session.get(t.allotments, grant)
            if found is not None:
                _bucket(session, found["bucket"], set_aside=-amount)
        case _:
            assert_never(event)


def _bucket(session: Session, bucket: Bucket, issued: int = 0, set_aside: int = 0) -> None:
    row = session.get(t.buckets, bucket)
    if row is not None:
        session.put(t.buckets, {**row, "issued": row["issued"] + issued, "set_aside": row["set_aside"] + set_aside})


# Grants


def _grant(event: GrantCreated | MilestoneReached | Released | GrantRevoked, record: Record, session: Session) -> None:
    grant = record.stream_id
    match event:
        case GrantCreated():
            row = {
                "name": grant, "bucket": event.bucket, "beneficiary": event.beneficiary, "total": event.total,
                "kind": event.kind, "start": rfc3339(event.start), "duration_seconds": event.duration_seconds,
                "cliff_seconds": event.cliff_seconds, "milestones": _json([str(units) for units in event.milestones]),
                "reached": "[]", "released": 0, "released_at": None, "revoked": False, "returned": 0, "since": record.time,
            }  # fmt: skip
            session.put(t.grants, row)
        case MilestoneReached(number=number):
            found = session.get(t.grants, grant)
            reached = {number, *orjson.loads(found["reached"] if found else "[]")}
            session.change(t.grants, grant, reached=_json(sorted(reached)))
        case Released(released_total=total):
            session.change(t.grants, grant, released=total, released_at=record.time)
        case GrantRevoked(returned=returned):
            session.change(t.grants, grant, revoked=True, returned=returned, since=record.time)
        case _:
            assert_never(event)


# Epochs


def _epoch(
    event: EpochOpened | EpochClosed | OracleShareDivided | RootPublished | RootConfirmed, record: Record, session: Session
) -> None:
    epoch = int(record.stream_id)
    match event:
        case EpochOpened(start=start, until=until):
            empty = dict.fromkeys(column.name for column in t.epochs.columns)
            times = {"start": rfc3339(start), "until": rfc3339(until)}
            session.put(t.epochs, {**empty, "epoch": epoch, "state": "open", "divided": False, **times})
        case EpochClosed(pool=pool, owed=owed, positions=positions):
            session.change(
                t.epochs, epoch, state="closed", pool=pool, owed=owed, positions=positions, closed_at=record.time
            )  # fmt: skip
        case OracleShareDivided():
            session.change(t.epochs, epoch, divided=True)
            _divide(event, epoch, session)
        case RootPublished(root=root, totals=totals, claims=count, table_digest=digest):
            session.change(
                t.epochs, epoch, state="published", root=root, totals=_totals(totals), claims=count, table_digest=digest
            )  # fmt: skip
        case RootConfirmed(transaction=transaction, block=block):
            session.change(t.epochs, epoch, state="confirmed", confirmed_by=transaction, confirmed_in=block)
        case _:
            assert_never(event)


def _divide(event: OracleShareDivided, epoch: int, session: Session) -> None:
    for pot, carried in zip(event.pots, event.carried, strict=True):
        session.put(t.oracle_pots, {"epoch": epoch, "asset": pot.asset, "pot": pot.units, "carried": carried.units})
    for share in event.shares:
        key = {"epoch": epoch, "oracle": share.oracle, "asset": share.amount.asset}
        session.put(t.oracle_shares, {**key, "units": share.amount.units})


def _yield(event: Accrued | Paid, record: Record, session: Session) -> None:
    position = record.stream_id
    match event:
        case Accrued():
            named = ("epoch", "stake", "base_bp", "multiplier", "inferences", "owed")
            fields = {name: getattr(event, name) for name in named}
            session.put(t.yields, {"position": position, **fields, "paid": None, "lapsed": None})
        case Paid(epoch=epoch, amount=amount, lapsed=rest):
            session.change(t.yields, position, epoch, paid=amount, lapsed=rest)
            _add(session, t.paid_ever, {"position": position}, {}, {"units": amount})
        case _:
            assert_never(event)


# Earners and models


def _earner(event: Earned | Claimed, record: Record, session: Session) -> None:
    payee, asset = record.stream_id.split(".", 1)
    row = dict(
        session.get(t.claims, payee, asset)
        or {"payee": payee, "asset": asset, "cumulative": 0, "claimed": 0, "claimed_at": None}
    )
    match event:
        case Earned(amount=amount, source=source, epoch=epoch, cumulative=cumulative):
            row["cumulative"] = cumulative
            escrow = f"{event.escrow_of}.{event.escrow_epoch}" if event.escrow_of else ""
            key = {"payee": payee, "asset": asset, "source": source, "epoch": epoch, "escrow": escrow}
            session.put(t.earned, {**key, "units": amount.units})
            kind = "escrow" if escrow else source
            _add(session, t.earned_sums, {"payee": payee, "asset": asset, "source": kind}, {}, {"units": amount.units})
        case Claimed(claimed=claimed, transaction=transaction, log=log, block=block):
            row |= {"claimed": claimed, "claimed_at": record.time}
            key = {"payee": payee, "asset": asset, "transaction": transaction, "log": log}
            session.put(t.claim_logs, {**key, "block": block, "units": event.amount.units})
        case _:
            assert_never(event)
    session.put(t.claims, row)


def _model(event: OwnerRegistered | EscrowLapsed, record: Record, session: Session) -> None:
    model = record.stream_id
    match event:
        case OwnerRegistered(owner=owner, registered_at=at):
            row = session.get(t.models, model)
            first = row["registered_at"] if row else rfc3339(at)
            session.put(t.models, {"model": model, "owner": owner, "registered_at": first})
        case EscrowLapsed(epoch=epoch, amount=amount):
            session.put(t.lapsed, {"model": model, "epoch": epoch, "asset": amount.asset, "units": amount.units})
        case _:
            assert_never(event)


def _totals(totals: Iterable[Amount]) -> str:
    return _json({str(total.asset): str(total.units) for total in totals})


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
