"""What is due and not yet done, as the views show it: questions of the to-do lists."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from contracts import instant, rfc3339
from contracts.liveness import SLOTS_PER_EPOCH, slot_at
from contracts.providers import Tier
from contracts.staking import (
    COUNCIL_NEEDED,
    DEVICE_BOND,
    EXPECTED_MINIMUM,
    UNSTAKE_SECONDS,
    CaseAttested,
    CaseOpened,
    Share,
    StakingParameters,
    key_claim_stream,
)
from domain.staking.arithmetic import tier_of
from domain.staking.holding import Holding
from projections._policy import policies_of
from projections.staking.folding import HOLDING
from projections.staking.queries import OPEN_STATES, ClosedEpoch, closed_epochs
from projections.staking.tables import (
    bonds,
    cases,
    claims,
    collateral,
    devices,
    epochs,
    fundings,
    holds,
    refuted,
    suspensions,
    tiers,
    tombstones,
    uptimes,
)


def is_funded(kind: str, subject: str, account: str, hold: str, connection: Connection) -> bool:
    """Whether the hold became stake."""
    same = (fundings.c.kind == kind) & (fundings.c.subject == subject) & (fundings.c.account == account)
    return connection.execute(select(fundings.c.units).where(same, fundings.c.hold == hold)).first() is not None


def is_posted(case: str, account: str, hold: str, connection: Connection) -> bool:
    """Whether the hold became a bond of the case."""
    same = (bonds.c.case == case) & (bonds.c.account == account) & (bonds.c.hold == hold)
    return connection.execute(select(bonds.c.units).where(same)).first() is not None


@dataclass(frozen=True, slots=True)
class Asking:
    """A device that asks to be registered, and whose its serial number and its key are: claim to device."""

    device: str
    since: str
    claims: Mapping[str, str | None]


def asking(connection: Connection) -> list[Asking]:
    """Devices that wait to be admitted, by how long."""
    rows = connection.execute(select(devices).where(devices.c.state == "asked").order_by(devices.c.since, devices.c.device))
    found = []
    for row in rows.all():
        wanted = [row.serial_hash, key_claim_stream(row.device_key).rpartition("/")[2]]
        known = connection.execute(select(claims.c.claim, claims.c.device).where(claims.c.claim.in_(wanted)))
        owners: dict[str, str | None] = {row.claim: row.device for row in known}
        found.append(Asking(row.device, row.since, {claim: owners.get(claim) for claim in wanted}))
    return found


@dataclass(frozen=True, slots=True)
class Left:
    """A device that is not registered any more, or was declined. `since` grows with whatever may free it further."""

    device: str
    state: str
    since: str
    claims: Sequence[str]
    free_active: int
    has_asked_back: bool
    """Its bond was asked back since."""


def left(connection: Connection) -> list[Left]:
    """Those whose serial number, key or bond is not free yet, and that no open case concerns."""
    bond = collateral.alias()
    joined = devices.outerjoin(bond, (bond.c.kind == "bond") & (bond.c.subject == devices.c.device))
    has_something = (bond.c.active != 0) | devices.c.device.in_(select(claims.c.device).where(claims.c.device.is_not(None)))
    gone = devices.c.state.in_(("declined", "deregistered")) & has_something
    rows = connection.execute(select(devices).select_from(joined).where(gone).order_by(devices.c.device))
    return [found for row in rows.all() if (found := _left(row, connection)) is not None]


def _left(row: Any, connection: Connection) -> Left | None:
    about = select(cases.c.state, cases.c.since).where(cases.c.subject == row.device)
    known = connection.execute(about).all()
    waiting = (holds.c.kind == "bond") & (holds.c.subject == row.device)
    held = connection.execute(select(holds.c.state, holds.c.since).where(waiting)).all()
    if any(case.state in OPEN_STATES for case in known) or any(hold.state == "held" for hold in held):
        return None
    since = max([row.since, *(case.since for case in known), *(hold.since for hold in held)])
    names = connection.scalars(select(claims.c.claim).where(claims.c.device == row.device).order_by(claims.c.claim)).all()
    bond = connection.execute(
        select(collateral.c.holding).where(collateral.c.kind == "bond", collateral.c.subject == row.device)
    ).scalar()  # fmt: skip
    holding = HOLDING.validate_json(bond) if bond else Holding()
    asked = [request.releasable_at - timedelta(seconds=UNSTAKE_SECONDS) for request in holding.requests.values()]
    return Left(row.device, row.state, since, names, holding.free_active, any(at >= instant(since) for at in asked))


def unheld(since: datetime, connection: Connection) -> list[tuple[str, Share, str]]:
    """What attested cases, and those executed since then, have not yet held; with when the case was opened."""
    executed = (cases.c.state == "executed") & (cases.c.since >= rfc3339(since))
    rows = connection.execute(select(cases).where(cases.c.state.in_(OPEN_STATES[1:]) | executed).order_by(cases.c.case))
    return [(row.case, share, row.opened_at) for row in rows.all() for share in _unheld(row, connection)]


def _unheld(row: Any, connection: Connection) -> list[Share]:
    known = {(hold.kind, hold.subject) for hold in connection.execute(select(holds).where(holds.c.case == row.case))}
    shares = CaseAttested.model_validate_json(row.attested).amounts
    return [share for share in shares if (share.kind, share.subject) not in known]


@dataclass(frozen=True, slots=True)
class Due:
    """A case whose window ends then, or that is decided since then."""

    case: str
    state: str
    at: datetime
    is_decided: bool


def windows(connection: Connection) -> list[Due]:
    """Open cases that have a deadline, by when it is; appealed ones are decided as soon as three of the council upheld them."""
    rows = connection.execute(select(cases).where(cases.c.state.in_(OPEN_STATES), cases.c.deadline.is_not(None)))
    found = []
    for row in rows:
        is_upheld = row.state == "appealed" and row.upholding >= COUNCIL_NEEDED
        found.append(Due(row.case, row.state, instant(row.since if is_upheld else row.deadline), is_upheld))
    return sorted(found, key=lambda due: (due.at, due.case))


@dataclass(frozen=True, slots=True)
class Holds:
    """What a closed case still holds, and since when it is closed."""

    case: str
    kind: str
    subject: str
    since: datetime


def held_by(state: str, connection: Connection) -> list[Holds]:
    """What cases in that state still hold."""
    joined = holds.join(cases, cases.c.case == holds.c.case)
    columns = (holds.c.case, holds.c.kind, holds.c.subject, cases.c.since)
    statement = select(*columns).select_from(joined).where(holds.c.state == "held", cases.c.state == state)
    rows = connection.execute(statement.order_by(holds.c.case, holds.c.kind, holds.c.subject))
    return [Holds(row.case, row.kind, row.subject, instant(row.since)) for row in rows]


@dataclass(frozen=True, slots=True)
class Executed:
    """A case that was executed, with who is not yet suspended or tombstoned for it."""

    case: str
    opened: CaseOpened
    at: datetime
    to_suspend: bool
    to_tombstone: Sequence[tuple[str, str]]
    """Kind and subject."""


def sentenced(since: datetime, connection: Connection) -> list[Executed]:
    """Cases that were executed since then and have more to do than to take money."""
    where = (cases.c.state == "executed") & (cases.c.since >= rfc3339(since))
    return [_sentenced(row, connection) for row in connection.execute(select(cases).where(where).order_by(cases.c.case)).all()]


def _sentenced(row: Any, connection: Connection) -> Executed:
    opened = CaseOpened.model_validate_json(row.opened)
    done = select(suspensions.c.case).where(suspensions.c.case == row.case)
    serving = select(devices.c.device).where(devices.c.device == row.subject, devices.c.state == "registered")
    to_suspend = (
        opened.offence == "downtime"
        and connection.execute(done).first() is None
        and connection.execute(serving).first() is not None
    )
    marked = connection.execute(select(tombstones).where(tombstones.c.case == row.case))
    known = {(mark.kind, mark.subject) for mark in marked}
    signed = [(base.kind, base.subject) for base in opened.bases if base.kind != "stake" and opened.key is not None]
    return Executed(row.case, opened, instant(row.since), to_suspend, [one for one in signed if one not in known])


@dataclass(frozen=True, slots=True)
class Breach:
    """An epoch that a device breached, and that no case is about."""

    device: str
    closed: ClosedEpoch
    seed: str


def breaches(first: int, connection: Connection) -> list[Breach]:
    """From that epoch on, each whose device has, or had, a bond; by epoch and key."""
    # Fewer than these can be no breach of any epoch that breaches.
    least = min(found.parameters.downtime_threshold_percent for found in policies_of(StakingParameters, connection))
    enough = uptimes.c.missed * 100 > EXPECTED_MINIMUM * least
    found = [closed for closed in closed_epochs(first, connection, where=enough) if closed.is_breach]
    owners = _owners({closed.device_key for closed in found}, connection) if found else {}
    known = _accused(first, connection)
    seeds = {row.epoch: row.seed for row in connection.execute(select(epochs).where(epochs.c.epoch >= first))}
    accusable = [(owners[closed.device_key], closed) for closed in found if closed.device_key in owners]
    return [Breach(device, closed, seeds[closed.epoch]) for device, closed in accusable if (device, closed.epoch) not in known]


@dataclass(frozen=True, slots=True)
class Retiered:
    """A wallet whose stake reaches another tier by what was adopted than the one that it has."""

    wallet: str
    active: int
    tier: Tier
    since: datetime
    """Of what was adopted."""
    policy_version: int


def retiered(connection: Connection) -> list[Retiered]:
    """By the minima in force now; nobody, as long as they are the white paper's: a stake's own events keep its tier."""
    policies = policies_of(StakingParameters, connection)
    minimum = policies[-1].parameters.tier_minimum
    since = [found for found in policies if found.parameters.tier_minimum == minimum]
    if len(policies) == 1 or since[-1].parameters.policy_version is None:
        return []
    has: dict[str, str] = {}
    for row in connection.execute(select(tiers).order_by(tiers.c.from_epoch)):
        has[row.wallet] = row.tier
    version = since[-1].parameters.policy_version
    return [
        Retiered(row.subject, row.active, tier, since[-1].since, version)
        for row in connection.execute(select(collateral).where(collateral.c.kind == "stake").order_by(collateral.c.subject))
        if (tier := tier_of(row.active, minimum)) != has.get(row.subject, "free")
    ]


@dataclass(frozen=True, slots=True)
class Bonded:
    """What staking says of a device key: by whose bond, whose wallet's tier, and since which events."""

    device_key: str
    serial_hash: str
    tier: Tier
    bonded: bool
    suspended: bool
    event: str
    tier_event: str
    since: str
    """The last change of its registration or of its bond."""


def bonded_devices(epoch: int, connection: Connection) -> list[Bonded]:
    """Every key that is, or was, registered with a bond; a bond that has it now comes before one that had it."""
    bond = collateral.alias()
    joined = devices.outerjoin(bond, (bond.c.kind == "bond") & (bond.c.subject == devices.c.device))
    statement = select(devices, bond.c.active, bond.c.tombstoned, bond.c.since.label("moved")).select_from(joined)
    where = devices.c.state.in_(("registered", "deregistered")) & devices.c.event.is_not(None)
    rows = connection.execute(statement.where(where).order_by(devices.c.state, devices.c.since, devices.c.device))
    last = {row.device_key: row for row in rows}
    held: dict[str, Any] = {}
    for row in connection.execute(select(tiers).where(tiers.c.from_epoch <= epoch).order_by(tiers.c.from_epoch)):
        held[row.wallet] = row
    return [_bonded(row, held.get(row.wallet)) for row in last.values()]


def _bonded(row: Any, tier: Any) -> Bonded:
    return Bonded(
        row.device_key, row.serial_hash, tier.tier if tier else "free",
        row.state == "registered" and (row.active or 0) >= DEVICE_BOND and not row.tombstoned,
        row.suspended_by is not None or bool(row.tombstoned), row.event, (tier.event or "") if tier else "",
        max(row.since, row.moved or ""),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FalseReceipt:
    """A receipt that an oracle refuted, and that no case is about; with the bond and the wallet that answer for its key."""

    device: str
    wallet: str
    device_key: str
    request: str
    number: int
    evidence: str
    event: str
    at: str


def false_receipts(since: str, connection: Connection) -> list[FalseReceipt]:
    """Refuted from then on (RFC 3339), each whose signer has, or had, a bond."""
    rows = connection.execute(select(refuted).where(refuted.c.at >= since).order_by(refuted.c.at, refuted.c.event)).all()
    owners = _owners({row.device_key for row in rows}, connection) if rows else {}
    wallets = {row.device: row.wallet for row in connection.execute(select(devices))} if owners else {}
    return [
        FalseReceipt(
            owners[row.device_key], wallets[owners[row.device_key]], row.device_key, row.request, row.number, row.evidence,
            row.event, row.at,
        )
        for row in rows if row.device_key in owners
    ]  # fmt: skip


def is_open(case: str, connection: Connection) -> bool:
    """Or was: a case is opened once."""
    return connection.execute(select(cases.c.case).where(cases.c.case == case)).first() is not None


def _owners(keys: Collection[str], connection: Connection) -> dict[str, str]:
    """Device key to the bond whose device has claimed it, or, where it is free again, had it last."""
    left = devices.c.state == "deregistered"
    rows = connection.execute(select(devices).where(left).order_by(devices.c.since, devices.c.device))
    found = {row.device_key: row.device for row in rows}
    owned = {row.claim: row.device for row in connection.execute(select(claims).where(claims.c.device.is_not(None)))}
    found |= {key: owned[claim] for key in keys if (claim := key_claim_stream(key).rpartition("/")[2]) in owned}
    return found


def _accused(first: int, connection: Connection) -> set[tuple[str, int]]:
    rows = connection.execute(select(cases).where(cases.c.offence == "downtime", cases.c.epoch >= first))
    return {(row.subject, row.epoch) for row in rows}


@dataclass(frozen=True, slots=True)
class ExpectedSlots:
    """In which slots of an epoch a device's beats are expected."""

    device_key: str
    slots: range


def expected_in(epoch: int, connection: Connection) -> list[ExpectedSlots]:
    """Whose beats an epoch expects, by key: from the first full epoch, until the device left or was suspended in it."""
    first = epoch * SLOTS_PER_EPOCH
    rows = connection.execute(select(devices).where(devices.c.first_epoch <= epoch).order_by(devices.c.device_key)).all()
    ends = {row.device_key: min(_served_until(row, connection), first + SLOTS_PER_EPOCH) for row in rows}
    return [ExpectedSlots(key, range(first, end)) for key, end in ends.items() if end > first]


def _served_until(row: Any, connection: Connection) -> int:
    """The slot in which it was not expected any more; far away where it still is."""
    if row.state == "registered" and row.suspended_by is None:
        return 2**53
    since = row.since
    if row.suspended_by is not None:
        mark = select(suspensions.c.since).where(suspensions.c.device == row.device, suspensions.c.case == row.suspended_by)
        since = connection.execute(mark).scalar_one()
    return slot_at(instant(since).timestamp())
