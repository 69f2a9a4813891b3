"""What is due and not yet done, as the views show it: what the to-do lists of rewards read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from contracts import AssetName, instant, rfc3339
from contracts.providers import ModelId
from contracts.rewards import SPACE, Bucket, EarnedFrom, GrantId, Payee, Recipient
from domain.rewards.models import escrow_ends
from projections.rewards import tables as t

Units = dict[tuple[str, str], int]
"""Of a name and an asset."""


@dataclass(frozen=True, slots=True)
class EmissionState:
    """The counter, and where its year stands."""

    genesis: datetime
    year: int
    last_epoch: int | None
    minted_until: datetime | None


@dataclass(frozen=True, slots=True)
class DayState:
    """An epoch that has no root yet."""

    epoch: int
    until: datetime
    closed_at: datetime | None
    pool: int
    owed: int
    is_divided: bool


@dataclass(frozen=True, slots=True)
class DueEarning:
    """What a payee has to be credited with under an epoch's root."""

    payee: Payee
    asset: AssetName
    source: EarnedFrom
    units: int
    escrow_of: ModelId | None = None
    escrow_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class OpenEscrow:
    """What waits for a model's owner."""

    model: ModelId
    epoch: int
    asset: AssetName
    units: int


@dataclass(frozen=True, slots=True)
class DueIssue:
    """Released by a grant and not issued."""

    grant: GrantId
    bucket: Bucket
    beneficiary: Recipient
    units: int
    released: int
    released_at: datetime


@dataclass(frozen=True, slots=True)
class DueReturn:
    """Of a revoked grant, not its bucket's again."""

    grant: GrantId
    units: int
    revoked_at: datetime


@dataclass(frozen=True, slots=True)
class DueRoot:
    """Published, and not on the contract as far as the views show."""

    epoch: int
    root: str
    since: datetime
    """When the epoch was closed."""


@dataclass(frozen=True, slots=True)
class ClaimsShown:
    """How far the contract's claims are recorded. Before the first root there is nothing to claim."""

    since: datetime
    """When the epoch of the first root was closed."""
    first_block: int
    """Of the first root."""
    last_block: int
    """Of the last claim that is recorded; the first root's where none is."""


def emission_now(connection: Connection) -> EmissionState | None:
    """None before genesis."""
    row = connection.execute(select(t.emission)).one_or_none()
    if row is None or row.genesis_at is None:
        return None
    until = instant(row.minted_until) if row.minted_until else None
    return EmissionState(instant(row.genesis_at), row.year, row.last_epoch, until)


def last_opened(connection: Connection) -> int | None:
    """The newest epoch that was opened."""
    found: int | None = connection.scalar(select(t.epochs.c.epoch).order_by(t.epochs.c.epoch.desc()).limit(1))
    return found


def oldest_without_root(connection: Connection) -> DayState | None:
    """The first epoch that has no root, over or not: one is worked off after the other."""
    columns = t.epochs.c
    statement = select(t.epochs).where(columns.state.in_(("open", "closed")))
    row = connection.execute(statement.order_by(columns.epoch).limit(1)).one_or_none()
    if row is None:
        return None
    closed_at = instant(row.closed_at) if row.closed_at else None
    return DayState(row.epoch, instant(row.until), closed_at, row.pool or 0, row.owed or 0, row.divided)


def waiting_epochs(now: datetime, seconds: int, connection: Connection) -> list[int]:
    """Epochs that ended so long ago and are still open: a result is missing, and nothing is guessed."""
    columns = t.epochs.c
    late = rfc3339(now - timedelta(seconds=seconds))
    statement = select(columns.epoch).where(columns.state == "open", columns.until <= late).order_by(columns.epoch)
    return list(connection.scalars(statement))


def last_closed(connection: Connection) -> tuple[int, datetime] | None:
    """The newest epoch that is closed, and when it was."""
    columns = t.epochs.c
    statement = select(columns.epoch, columns.closed_at).where(columns.closed_at.is_not(None))
    row = connection.execute(statement.order_by(columns.epoch.desc()).limit(1)).one_or_none()
    return None if row is None else (row.epoch, instant(row.closed_at))


def accrued_in(epoch: int, connection: Connection) -> dict[str, int]:
    """What each position is owed of the epoch."""
    statement = select(t.yields.c.position, t.yields.c.owed).where(t.yields.c.epoch == epoch)
    return {row.position: row.owed for row in connection.execute(statement)}


def unpaid_in(epoch: int, connection: Connection) -> list[str]:
    """Positions that were accrued and not paid."""
    columns = t.yields.c
    statement = select(columns.position).where(columns.epoch == epoch, columns.paid.is_(None))
    return list(connection.scalars(statement.order_by(columns.position)))


def pool(connection: Connection) -> int:
    """What was minted into the rewards pool and not paid from it."""
    minted: int = connection.scalar(select(t.emission.c.minted)) or 0
    paid: int = sum(connection.scalars(select(t.paid_ever.c.units)))
    return minted - paid


def inferences_in(epoch: int, connection: Connection) -> dict[str, int]:
    """Settled receipts of inference by payee."""
    columns = t.fee_totals.c
    found: dict[str, int] = {}
    statement = select(columns.payee, columns.receipts).where(columns.epoch == epoch, columns.kind == "inference")
    for row in connection.execute(statement):
        found[row.payee] = found.get(row.payee, 0) + row.receipts
    return found


def pots_until(epoch: int, connection: Connection) -> dict[AssetName, int]:
    """The oracles' share of all fees up to the epoch, less what was divided: what was carried is in it."""
    fees = t.fee_totals
    pots = _summed(connection, select(t.fee_sums.c.fees, t.fee_sums.c.asset, t.fee_sums.c.oracle_share))
    later = _summed(connection, select(fees.c.fees, fees.c.asset, fees.c.oracle_share).where(fees.c.epoch > epoch))
    shares = t.oracle_shares.c
    divided = _summed(connection, select(shares.oracle, shares.asset, shares.units))
    found: dict[AssetName, int] = {}
    for sign, units in ((1, pots), (-1, later), (-1, divided)):
        for (_, asset), amount in units.items():
            found[AssetName(asset)] = found.get(AssetName(asset), 0) + sign * amount
    return {asset: units for asset, units in sorted(found.items()) if units}


def burnable_until(epoch: int, connection: Connection) -> int:
    """SPACE that fees up to the epoch set aside for burning, less what was recorded as burned of it."""
    fees, burns = t.fee_totals.c, t.burns.c
    aside = sum(connection.scalars(select(t.fee_sums.c.burn).where(t.fee_sums.c.asset == SPACE)))
    later = sum(connection.scalars(select(fees.burn).where(fees.asset == SPACE, fees.epoch > epoch)))
    burned = sum(connection.scalars(select(burns.amount).where(burns.source == "fees")))
    return int(aside - later - burned)


def has_burned(reference: str, connection: Connection) -> bool:
    return connection.execute(select(t.burns.c.reference).where(t.burns.c.reference == reference)).first() is not None


def earnings_due(epoch: int, connection: Connection) -> list[DueEarning]:
    """What was received for each payee up to the epoch, less what was recorded as earned; a late fee is in the next one's.

    What the epoch has recorded of a kind stays so, whatever comes late.
    """
    fees, models = t.fee_totals.c, t.model_totals.c
    found: list[DueEarning] = []
    received: dict[EarnedFrom, tuple[Units, Units]] = {
        "fee": (
            _summed(connection, select(t.fee_sums.c.payee, t.fee_sums.c.asset, t.fee_sums.c.provider_share)),
            _summed(connection, select(fees.payee, fees.asset, fees.provider_share).where(fees.epoch > epoch)),
        ),
        "model": (
            _summed(connection, select(t.model_sums.c.owner, t.model_sums.c.asset, t.model_sums.c.units)),
            _summed(connection, select(models.owner, models.asset, models.units).where(models.epoch > epoch)),
        ),
        "oracle": (
            _summed(connection, select(t.oracle_shares.c.oracle, t.oracle_shares.c.asset, t.oracle_shares.c.units)),
            {},
        ),
        "stake": (_paid(connection), {}),
    }  # fmt: skip
    sums = t.earned_sums.c
    for source, (ever, later) in received.items():
        before = _summed(connection, select(sums.payee, sums.asset, sums.units).where(sums.source == source))
        done = _recorded(source, epoch, connection)
        for (payee, asset), units in sorted(ever.items()):
            due = units - later.get((payee, asset), 0) - before.get((payee, asset), 0)
            if due > 0 and (payee, asset) not in done:
                found.append(DueEarning(Payee(payee), AssetName(asset), source, due))
    return [*found, *_escrows_due(connection)]


def escrows_without_owner(connection: Connection) -> list[OpenEscrow]:
    """Those for which no owner was registered in the 90 days after their epoch, or none is yet."""
    owners = {row.model: instant(row.registered_at) for row in connection.execute(select(t.models))}
    return [
        escrow
        for escrow in _open_escrows(connection)
        if not (escrow.model in owners and owners[escrow.model] < escrow_ends(escrow.epoch))
    ]


def issues_due(connection: Connection) -> list[DueIssue]:
    """What grants have released and nobody has issued."""
    joined = t.grants.join(t.allotments, t.allotments.c.name == t.grants.c.name)
    statement = select(t.grants, t.allotments.c.issued).select_from(joined).order_by(t.grants.c.name)
    return [
        DueIssue(
            GrantId(row.name), row.bucket, Recipient(row.beneficiary), row.released - row.issued, row.released,
            instant(row.released_at),
        )
        for row in connection.execute(statement) if row.released > row.issued
    ]  # fmt: skip


def returns_due(connection: Connection) -> list[DueReturn]:
    """What revoked grants have not given back."""
    joined = t.grants.join(t.allotments, t.allotments.c.name == t.grants.c.name)
    statement = select(t.grants, t.allotments.c.returned.label("back")).select_from(joined).where(t.grants.c.revoked)
    rows = connection.execute(statement.order_by(t.grants.c.name))
    return [DueReturn(GrantId(row.name), row.returned, instant(row.since)) for row in rows if row.returned and not row.back]


def root_due(connection: Connection) -> DueRoot | None:
    """The oldest that is newer than what the contract has: it takes epochs in their order only."""
    columns = t.epochs.c
    last = connection.scalar(select(func.max(columns.epoch)).where(columns.state == "confirmed"))
    statement = select(t.epochs).where(columns.state == "published", columns.epoch > (-1 if last is None else last))
    row = connection.execute(statement.order_by(columns.epoch).limit(1)).one_or_none()
    return None if row is None else DueRoot(row.epoch, row.root, instant(row.closed_at))


def claims_shown(connection: Connection) -> ClaimsShown | None:
    """None before the contract has a root."""
    columns = t.epochs.c
    statement = select(columns.closed_at, columns.confirmed_in).where(columns.state == "confirmed")
    first = connection.execute(statement.order_by(columns.epoch).limit(1)).one_or_none()
    if first is None:
        return None
    last = connection.scalar(select(func.max(t.claim_logs.c.block)))
    return ClaimsShown(instant(first.closed_at), first.confirmed_in, max(first.confirmed_in, last or 0))


def claims_recorded(block: int, connection: Connection) -> set[tuple[str, int]]:
    """Transaction and index of the logs from that block on, and of those that came without one."""
    columns = t.claim_logs.c
    where = (columns.block >= block) | columns.block.is_(None)
    return {(row.transaction, row.log) for row in connection.execute(select(columns.transaction, columns.log).where(where))}


def _escrows_due(connection: Connection) -> Iterable[DueEarning]:
    """The escrows of models whose owner was registered in time."""
    owners = {row.model: row for row in connection.execute(select(t.models))}
    for escrow in _open_escrows(connection):
        owner = owners.get(escrow.model)
        if owner is not None and instant(owner.registered_at) < escrow_ends(escrow.epoch):
            yield DueEarning(Payee(owner.owner), escrow.asset, "model", escrow.units, escrow.model, escrow.epoch)


def _open_escrows(connection: Connection) -> list[OpenEscrow]:
    """Neither paid to an owner nor lapsed."""
    models = t.model_totals.c
    units: dict[tuple[str, int, str], int] = {}
    for row in connection.execute(select(t.model_totals).where(models.owner == "")):
        key = (row.model, row.epoch, row.asset)
        units[key] = units.get(key, 0) + row.units
    gone = {(row.model, row.epoch, row.asset) for row in connection.execute(select(t.lapsed))}
    paid = {(r.escrow, r.asset) for r in connection.execute(select(t.earned).where(t.earned.c.escrow != ""))}
    return [
        OpenEscrow(ModelId(model), epoch, AssetName(asset), amount)
        for (model, epoch, asset), amount in sorted(units.items())
        if amount and (model, epoch, asset) not in gone and (f"{model}.{epoch}", asset) not in paid
    ]


def _paid(connection: Connection) -> Units:
    # A position is a wallet's, or `oracle.<wallet>`.
    found: Units = {}
    for row in connection.execute(select(t.paid_ever)):
        key = (row.position.rpartition(".")[2], SPACE)
        found[key] = found.get(key, 0) + row.units
    return found


def _recorded(source: str, epoch: int, connection: Connection) -> set[tuple[str, str]]:
    columns = t.earned.c
    where = (columns.source == source) & (columns.epoch == epoch) & (columns.escrow == "")
    return {(row.payee, row.asset) for row in connection.execute(select(columns.payee, columns.asset).where(where))}


def _summed(connection: Connection, statement: Any) -> Units:
    """Name, asset and units of each row, added up here: an exact sum over text is not to be had from SQLite."""
    found: Units = {}
    rows: Any = connection.execute(statement)
    for name, asset, units in rows:
        found[name, asset] = found.get((name, asset), 0) + units
    return found
