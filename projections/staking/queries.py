"""What is asked of staking's views."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import ColumnElement, Connection, func, select

from contracts import instant
from contracts.providers import TIERS, Tier
from contracts.staking import (
    DEVICE_BOND,
    ORACLE_MINIMUM,
    Appealed,
    CaseAttested,
    CaseExecuted,
    CaseOpened,
    CaseVoided,
    Disputed,
    DisputeResolved,
    Finding,
    Kind,
    PostedBond,
    StakingParameters,
    Uptime,
)
from domain.staking.arithmetic import is_breach, meets_sla, space_staking_reward, starts
from domain.staking.uptime import uptime_of as judged
from projections._policy import policies_of, then
from projections.staking.folding import HOLDING
from projections.staking.tables import (
    answers,
    bonds,
    cases,
    collateral,
    devices,
    epochs,
    faucet,
    findings,
    holds,
    levels,
    space_stakes,
    tiers,
    uptimes,
)

OPEN_STATES = ("open", "attested", "disputed", "upheld", "appealed")


@dataclass(frozen=True, slots=True)
class Unbonding:
    """An amount on its way out. Units of SPACE."""

    request: str
    units: int
    held: int
    releasable_at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """A collateral. Units of SPACE; `held` is a part of what is active or unbonding."""

    kind: str
    subject: str
    active: int
    unbonding: Sequence[Unbonding]
    held: int
    withdrawn: int
    slashed: int
    tombstoned: bool


def stake_of(kind: Kind, subject: str, connection: Connection) -> Position | None:
    """What is at risk there, and when what leaves can be withdrawn."""
    where = (collateral.c.kind == kind) & (collateral.c.subject == subject)
    row = connection.execute(select(collateral).where(where)).one_or_none()
    if row is None:
        return None
    holding = HOLDING.validate_json(row.holding)
    leaving = [
        Unbonding(name, request.left, request.left - holding.free_of(name), request.releasable_at)
        for name, request in holding.requests.items()
        if request.left
    ]
    leaving.sort(key=lambda unbonding: (unbonding.releasable_at, unbonding.request))
    return Position(kind, subject, row.active, leaving, row.held, row.withdrawn, row.slashed, row.tombstoned)


def tier_of(wallet: str, epoch: int, connection: Connection) -> Tier:
    """By the active stake at the start of the epoch (days since 1970-01-01 UTC)."""
    statement = select(tiers.c.tier).where(tiers.c.wallet == wallet.lower(), tiers.c.from_epoch <= epoch)
    found = connection.scalars(statement.order_by(tiers.c.from_epoch.desc()).limit(1)).first()
    return TIERS[TIERS.index(found)] if found else "free"


def at_risk_at(kind: str, subject: str, epoch: int, connection: Connection) -> int:
    """What was active or unbonding when the epoch began."""
    where = (levels.c.kind == kind) & (levels.c.subject == subject) & (levels.c.epoch < epoch)
    return connection.scalars(select(levels.c.at_risk).where(where).order_by(levels.c.epoch.desc()).limit(1)).first() or 0


def oracles_at(epoch: int, connection: Connection) -> list[str]:
    """The oracles with their full stake and an honest key when the epoch began, by name."""
    last = (
        select(levels.c.subject, func.max(levels.c.epoch).label("epoch"))
        .where(levels.c.kind == "oracle", levels.c.epoch < epoch)
        .group_by(levels.c.subject)
        .subquery()
    )
    joined = select(levels).join(last, (levels.c.subject == last.c.subject) & (levels.c.epoch == last.c.epoch))
    rows = connection.execute(joined.where(levels.c.kind == "oracle").order_by(levels.c.subject))
    return [row.subject for row in rows if row.active >= ORACLE_MINIMUM and not row.tombstoned]


@dataclass(frozen=True, slots=True)
class DeviceStanding:
    """A device and whether it may serve; `state` is asked, registered, declined or deregistered."""

    device: str
    device_key: str
    wallet: str
    state: str
    suspended_by: str | None
    first_epoch: int | None
    below_minimum: bool
    tombstoned: bool


def device_standings(connection: Connection, wallet: str | None = None) -> list[DeviceStanding]:
    """Every device that ever asked to be registered, or a wallet's."""
    bond = collateral.alias()
    joined = devices.outerjoin(bond, (bond.c.kind == "bond") & (bond.c.subject == devices.c.device))
    statement = select(devices, bond.c.active, bond.c.tombstoned).select_from(joined).order_by(devices.c.device)
    if wallet is not None:
        statement = statement.where(devices.c.wallet == wallet.lower())
    return [
        DeviceStanding(
            row.device, row.device_key, row.wallet, row.state, row.suspended_by, row.first_epoch,
            (row.active or 0) < DEVICE_BOND, bool(row.tombstoned),
        )
        for row in connection.execute(statement)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signed:
    """A witness's finding."""

    oracle: str
    key: str
    finding: Finding
    at: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a case holds, or took, of a collateral."""

    kind: str
    subject: str
    units: int
    state: str


@dataclass(frozen=True, slots=True)
class CaseFile:
    """All that is known of a case. `deadline` is the end of the window that is open."""

    case: str
    state: str
    opened: CaseOpened
    opened_at: str
    since: str
    deadline: str | None
    findings: Sequence[Signed]
    attested: CaseAttested | None
    disputed: Disputed | None
    resolved: DisputeResolved | None
    appealed: Appealed | None
    answers: Sequence[tuple[str, str]]
    """Council member and verdict."""
    executed: CaseExecuted | None
    voided: CaseVoided | None
    bonds: Sequence[tuple[PostedBond, str]]
    """Each with its state: posted, burned or returned."""
    taken: Sequence[Taken]


def case(name: str, connection: Connection) -> CaseFile | None:
    """Evidence, panel, signatures, deadline and state."""
    row = connection.execute(select(cases).where(cases.c.case == name)).one_or_none()
    if row is None:
        return None
    signed = connection.execute(select(findings).where(findings.c.case == name).order_by(findings.c.at, findings.c.oracle))
    posted = connection.execute(select(bonds).where(bonds.c.case == name).order_by(bonds.c.since, bonds.c.hold))
    held = connection.execute(select(holds).where(holds.c.case == name).order_by(holds.c.kind, holds.c.subject))
    said = connection.execute(select(answers).where(answers.c.case == name).order_by(answers.c.at, answers.c.person))
    return CaseFile(
        name, row.state, CaseOpened.model_validate_json(row.opened), row.opened_at, row.since, row.deadline,
        [Signed(r.oracle, r.key, Finding(missed=r.missed, verdict=r.verdict, root=r.root), r.at) for r in signed],
        CaseAttested.model_validate_json(row.attested) if row.attested else None,
        Disputed.model_validate_json(row.disputed) if row.disputed else None,
        DisputeResolved.model_validate_json(row.resolved) if row.resolved else None,
        Appealed.model_validate_json(row.appealed) if row.appealed else None,
        [(answer.person, answer.verdict) for answer in said],
        CaseExecuted.model_validate_json(row.closed) if row.state == "executed" else None,
        CaseVoided.model_validate_json(row.closed) if row.state == "voided" else None,
        [(PostedBond(hold=r.hold, account=r.account, units=r.units), r.state) for r in posted],
        [Taken(r.kind, r.subject, r.units, r.state) for r in held],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OpenCase:
    """A case that waits for somebody until its deadline; a disputed one waits for its vote."""

    case: str
    subject: str
    offence: str
    state: str
    deadline: str | None


def open_cases(connection: Connection) -> list[OpenCase]:
    """The cases that are not closed, the most urgent first."""
    rows = connection.execute(select(cases).where(cases.c.state.in_(OPEN_STATES)))
    found = [OpenCase(row.case, row.subject, row.offence, row.state, row.deadline) for row in rows]
    return sorted(found, key=lambda waiting: (waiting.deadline or "9", waiting.case))


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """A device's epoch as staking judges it."""

    device_key: str
    epoch: int
    uptime: Uptime
    evidence: str
    event: str
    closed_at: str
    terms: StakingParameters
    """In force when it began."""

    @property
    def is_breach(self) -> bool:
        return is_breach(self.uptime.missed, self.uptime.expected, self.terms.downtime_threshold_percent)

    @property
    def meets_sla(self) -> bool:
        return meets_sla(self.uptime.missed, self.uptime.expected)


def closed_epochs(
    first: int, connection: Connection, device_key: str | None = None, where: ColumnElement[bool] | None = None
) -> list[ClosedEpoch]:
    """From that epoch on, each that was closed; the slots that were excused for all are known once the epoch has ended."""
    statement = (
        select(uptimes, epochs.c.excused_slots)
        .join(epochs, epochs.c.epoch == uptimes.c.epoch)
        .where(uptimes.c.epoch >= first)
        .order_by(uptimes.c.epoch, uptimes.c.device_key)
    )
    if device_key is not None:
        statement = statement.where(uptimes.c.device_key == device_key)
    if where is not None:
        statement = statement.where(where)
    policies = policies_of(StakingParameters, connection)
    return [
        ClosedEpoch(
            row.device_key, row.epoch,
            judged(row.first_slot, row.end_slot, row.missed, row.root, orjson.loads(row.excused_slots)),
            row.evidence, row.event, row.closed_at, then(policies, starts(row.epoch)),
        )
        for row in connection.execute(statement)
    ]  # fmt: skip


def seed_of(epoch: int, connection: Connection) -> str | None:
    """By which the panels of the epoch's cases are drawn; None as long as it has not ended."""
    return connection.scalars(select(epochs.c.seed).where(epochs.c.epoch == epoch)).first()


def next_drip(address: str, connection: Connection) -> datetime | None:
    """When the faucet gives to the address again; None if it never gave."""
    found = connection.scalars(select(faucet.c.next_at).where(faucet.c.address == address.lower())).first()
    return None if found is None else instant(found)


@dataclass(frozen=True, slots=True)
class SpacePosition:
    """An address at SpaceStaking, in wei. `owed` is not yet paid; `covered` is what of it the pool has."""

    address: str
    staked: int
    unstaking: int
    owed: int
    covered: int


def space_positions(now: datetime, connection: Connection) -> list[SpacePosition]:
    """Mirrored positions; who asks first is paid first, so each is covered by all that is in the pool."""
    pool = space_pool(connection)
    found = []
    for row in connection.execute(select(space_stakes).order_by(space_stakes.c.address)):
        seconds = max(0, int((now - instant(row.since)).total_seconds()))
        owed = max(0, row.accrued + space_staking_reward(row.staked, seconds) - row.rewarded)
        found.append(SpacePosition(row.address, row.staked, row.unstaking, owed, min(owed, pool)))
    return found


def space_pool(connection: Connection) -> int:
    """What SpaceStaking's pool of rewards has left, in wei: funded less paid, as far as it was observed."""
    rows = connection.execute(select(space_stakes.c.funded, space_stakes.c.rewarded)).all()
    left: int = sum(row.funded for row in rows) - sum(row.rewarded for row in rows)
    return max(0, left)
