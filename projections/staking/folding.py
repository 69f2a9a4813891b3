"""Staking's events as rows."""

from datetime import datetime
from typing import Any, assert_never

from pydantic import TypeAdapter

from contracts import Event, Record, rfc3339
from contracts.staking import (
    Appealed,
    AppealResolved,
    Attested,
    BondPosted,
    CaseAttested,
    CaseExecuted,
    CaseLapsed,
    CaseOpened,
    CaseVoided,
    DeviceDeregistered,
    DeviceEvent,
    DeviceRegistered,
    DeviceResumed,
    DeviceSuspended,
    Disputed,
    DisputeResolved,
    DripCounted,
    Dripped,
    HeldForCase,
    HoldReleased,
    KeyTombstoned,
    RegistrationAsked,
    RegistrationDeclined,
    SerialClaimed,
    SerialFreed,
    Slashed,
    SpaceStakeObserved,
    Staked,
    StakingEvent,
    TierChanged,
    UnstakeCancelled,
    UnstakeRequested,
    Withdrawn,
    named_collateral,
)
from domain.staking.arithmetic import epoch_at, space_staking_reward
from domain.staking.holding import Held, Holding
from projections import Projection, Row, Session
from projections.staking.tables import (
    answers,
    bonds,
    cases,
    claims,
    collateral,
    devices,
    faucet,
    faucet_days,
    findings,
    fundings,
    holds,
    levels,
    space_stakes,
    suspensions,
    tiers,
    tombstones,
)

TABLES = (
    collateral, levels, fundings, tiers, devices, claims, cases, findings, answers, holds, tombstones,
    suspensions, bonds,
    faucet, faucet_days, space_stakes,
)  # fmt: skip
HOLDING: TypeAdapter[Holding] = TypeAdapter(Holding)


def staking() -> Projection:
    return Projection("staking", ("staking",), TABLES, project)


def project(event: StakingEvent, record: Record, session: Session) -> None:
    """A row a collateral, device, case, finding, bond and address; each written from its own stream."""
    match event:
        case (
            Staked() | UnstakeRequested() | UnstakeCancelled() | Withdrawn() | HeldForCase() | HoldReleased() | Slashed()
            | KeyTombstoned()
        ):  # fmt: skip
            _collateral(event, record, session)
        case TierChanged(tier=tier, from_epoch=epoch):
            session.put(tiers, {"wallet": _subject(record), "from_epoch": epoch, "tier": tier, "event": record.id})
        case (
            RegistrationAsked() | DeviceRegistered() | RegistrationDeclined() | DeviceDeregistered() | DeviceSuspended()
            | DeviceResumed()
        ):  # fmt: skip
            _device(event, record, session)
        case SerialClaimed(device=device):
            session.put(claims, {"claim": record.stream_id, "device": device, "since": record.time})
        case SerialFreed():
            session.change(claims, record.stream_id, device=None, since=record.time)
        case Attested():
            session.put(
                findings,
                {"case": record.stream_id, "oracle": event.oracle, "key": event.key, "missed": event.missed,
                 "verdict": event.verdict, "root": event.root, "at": record.time},
            )  # fmt: skip
        case AppealResolved(person=person, verdict=verdict):
            session.put(answers, {"case": record.stream_id, "person": person, "verdict": verdict, "at": record.time})
            if verdict == "uphold":
                row = session.get(cases, record.stream_id)
                session.change(cases, record.stream_id, upholding=row["upholding"] + 1 if row else 1)
        case BondPosted(account=account, hold=hold, amount=units):
            session.put(
                bonds,
                {"case": record.stream_id, "account": account, "hold": hold, "units": units, "state": "posted",
                 "since": record.time},
            )  # fmt: skip
        case (
            CaseOpened() | CaseAttested() | Disputed() | DisputeResolved() | Appealed() | CaseVoided() | CaseExecuted()
            | CaseLapsed()
        ):  # fmt: skip
            _case(event, record, session)
        case Dripped(amount=units, next_at=next_at):
            row = session.get(faucet, record.stream_id) or {"drips": 0, "units": 0}
            session.put(
                faucet,
                {"address": record.stream_id, "drips": row["drips"] + 1, "units": row["units"] + units,
                 "next_at": rfc3339(next_at)},
            )  # fmt: skip
        case DripCounted(amount=units):
            row = session.get(faucet_days, record.stream_id)
            session.put(faucet_days, {"day": record.stream_id, "units": units + (row["units"] if row else 0)})
        case SpaceStakeObserved():
            _space(event, record, session)
        case _:
            assert_never(event)


_Moving = (
    Staked | UnstakeRequested | UnstakeCancelled | Withdrawn | HeldForCase | HoldReleased | Slashed | KeyTombstoned
)  # fmt: skip


def _collateral(event: _Moving, record: Record, session: Session) -> None:
    kind, subject = named_collateral(record.subject)
    row = session.get(collateral, kind, subject)
    holding = HOLDING.validate_json(row["holding"]) if row else Holding()
    _fold(event, holding)
    _beside(event, record, session, kind, subject)
    tombstoned = isinstance(event, KeyTombstoned) or bool(row and row["tombstoned"])
    session.put(
        collateral,
        {
            "kind": kind, "subject": subject, "active": holding.active, "unbonding": holding.unbonding,
            "held": sum(held.units for held in holding.holds.values()), "withdrawn": holding.withdrawn,
            "slashed": holding.slashed, "tombstoned": tombstoned, "holding": HOLDING.dump_json(holding).decode(),
            "since": record.time,
        },
    )  # fmt: skip
    session.put(
        levels,
        {
            "kind": kind, "subject": subject, "epoch": _epoch(event, record), "active": holding.active,
            "at_risk": holding.at_risk, "tombstoned": tombstoned,
        },
    )  # fmt: skip


def _epoch(event: _Moving, record: Record) -> int:
    """As its decision said, where it said one."""
    if isinstance(event, HeldForCase | HoldReleased | KeyTombstoned):
        return epoch_at(record.moment)
    return event.epoch


def _fold(event: _Moving, holding: Holding) -> None:
    match event:
        case Staked(amount=units, epoch=epoch):
            holding.stake(units, epoch)
        case UnstakeRequested(request=request, amount=units, releasable_at=releasable_at):
            holding.unstake(request, units, releasable_at)
        case UnstakeCancelled(request=request):
            holding.cancel(request)
        case Withdrawn(request=request, amount=units, epoch=epoch):
            holding.withdraw(request, units, epoch)
        case HeldForCase(case=case, from_active=active, from_unbonding=parts):
            holding.holds[case] = Held(active, {part.request: part.units for part in parts})
        case HoldReleased(case=case):
            del holding.holds[case]
        case Slashed(case=case, epoch=epoch):
            holding.take(case, epoch)
        case KeyTombstoned():
            pass
        case _:
            assert_never(event)


def _beside(event: _Moving, record: Record, session: Session, kind: str, subject: str) -> None:
    match event:
        case Staked(account=account, hold=hold, amount=units):
            session.put(
                fundings,
                {"kind": kind, "subject": subject, "account": account, "hold": hold, "units": units, "event": record.id,
                 "at": record.time},
            )  # fmt: skip
        case HeldForCase(case=case, from_active=active, from_unbonding=parts):
            units = active + sum(part.units for part in parts)
            session.put(
                holds,
                {"case": case, "kind": kind, "subject": subject, "units": units, "state": "held", "since": record.time},
            )  # fmt: skip
        case HoldReleased(case=case):
            session.change(holds, case, kind, subject, state="released", since=record.time)
        case Slashed(case=case):
            session.change(holds, case, kind, subject, state="slashed", since=record.time)
        case KeyTombstoned(case=case, key=key):
            session.put(tombstones, {"kind": kind, "subject": subject, "key": key, "case": case, "since": record.time})
        case UnstakeRequested() | UnstakeCancelled() | Withdrawn():
            pass
        case _:
            assert_never(event)


def _device(event: DeviceEvent, record: Record, session: Session) -> None:
    device = _subject(record)
    match event:
        case RegistrationAsked(device_key=key, wallet=wallet, serial_hash=serial):
            session.put(
                devices,
                {"device": device, "device_key": key, "wallet": wallet.lower(), "serial_hash": serial, "state": "asked",
                 "suspended_by": None, "first_epoch": None, "cause": None, "since": record.time, "event": record.id},
            )  # fmt: skip
        case DeviceRegistered(first_epoch=epoch):
            session.change(devices, device, state="registered", first_epoch=epoch, since=record.time, event=record.id)
        case RegistrationDeclined(cause=why):
            session.change(devices, device, state="declined", cause=why, since=record.time, event=record.id)
        case DeviceDeregistered():
            session.change(devices, device, state="deregistered", suspended_by=None, since=record.time, event=record.id)
        case DeviceSuspended(cause=cause):
            session.change(devices, device, suspended_by=cause, since=record.time, event=record.id)
            session.put(suspensions, {"device": device, "case": cause, "since": record.time})
        case DeviceResumed(first_epoch=epoch):
            session.change(devices, device, suspended_by=None, first_epoch=epoch, since=record.time, event=record.id)
        case _:
            assert_never(event)


_Stage = CaseOpened | CaseAttested | Disputed | DisputeResolved | Appealed | CaseVoided | CaseExecuted | CaseLapsed


def _case(event: _Stage, record: Record, session: Session) -> None:
    name, since = record.stream_id, record.time
    match event:
        case CaseOpened():
            session.put(
                cases,
                {
                    "case": name, "subject": event.subject, "offence": event.offence, "epoch": event.epoch, "state": "open",
                    "opened": _json(event), "attested": None, "disputed": None, "resolved": None, "appealed": None,
                    "closed": None, "deadline": rfc3339(event.attest_until), "upholding": 0, "opened_at": since, "since": since,
                },
            )  # fmt: skip
        case CaseAttested(dispute_until=until):
            session.change(cases, name, state="attested", attested=_json(event), deadline=rfc3339(until), since=since)
        case Disputed():
            session.change(cases, name, state="disputed", disputed=_json(event), deadline=None, since=since)
        case DisputeResolved(appeal_until=until):
            session.change(cases, name, state="upheld", resolved=_json(event), deadline=rfc3339(until), since=since)
        case Appealed(answer_until=until):
            session.change(cases, name, state="appealed", appealed=_json(event), deadline=rfc3339(until), since=since)
        case CaseVoided() | CaseExecuted():
            state = "voided" if isinstance(event, CaseVoided) else "executed"
            session.change(cases, name, state=state, closed=_json(event), deadline=None, since=since)
            _settle(event, name, since, session)
        case CaseLapsed():
            session.change(cases, name, state="lapsed", deadline=None, since=since)
        case _:
            assert_never(event)


def _settle(event: CaseVoided | CaseExecuted, name: str, since: str, session: Session) -> None:
    for bond in event.returned:
        session.change(bonds, name, bond.account, bond.hold, state="returned", since=since)
    for bond in event.burned if isinstance(event, CaseExecuted) else ():
        session.change(bonds, name, bond.account, bond.hold, state="burned", since=since)


def _space(event: SpaceStakeObserved, record: Record, session: Session) -> None:
    row: dict[str, Any] = dict(session.get(space_stakes, record.stream_id) or _no_position(record))
    row["accrued"] += space_staking_reward(row["staked"], _seconds(row["since"], record.time))
    row["since"] = record.time
    for column, sign in _MOVES[event.kind]:
        # The contract decides; a log that comes before the one that it follows from leaves no negative number.
        row[column] = max(0, row[column] + sign * event.amount)
    session.put(space_stakes, row)


_MOVES: dict[str, tuple[tuple[str, int], ...]] = {
    "stake": (("staked", 1),),
    "unstake": (("staked", -1), ("unstaking", 1)),
    "withdraw": (("unstaking", -1), ("withdrawn", 1)),
    "reward": (("rewarded", 1),),
    "fund": (("funded", 1),),
}


def _no_position(record: Record) -> Row:
    return {
        "address": record.stream_id, "staked": 0, "unstaking": 0, "withdrawn": 0, "rewarded": 0, "funded": 0, "accrued": 0,
        "since": record.time,
    }  # fmt: skip


def _seconds(earlier: str, later: str) -> int:
    return max(0, int((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()))


def _subject(record: Record) -> str:
    return named_collateral(record.subject)[1]


def _json(event: Event) -> str:
    return event.json_bytes().decode()
