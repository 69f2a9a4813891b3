"""What the treasury's own to-do lists are planned from: how far each deposit, return, loss and withdrawal has come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, literal, or_, select

from contracts import Amount, instant
from contracts.treasury import bank_of, coin_of
from projections.treasury import tables

STEPPING = ("requested", "escrowed", "under_review", "approved", "funded", "returned")
"""Withdrawals that take another step; one that is submitted waits for the bank."""
ENDED = ("rejected", "cancelled")
NOT_PAID = (*STEPPING, *ENDED, "submitted")


@dataclass(frozen=True, slots=True)
class CoinTurn:
    """What a mint has to fit into, as of the last time that anything made minting possible again."""

    coin: str
    free: int
    """Cents that back no coin yet."""
    is_open: bool
    """Neither paused nor without an attestation."""
    as_of: datetime | None
    turn: int
    turned: datetime


@dataclass(frozen=True, slots=True)
class Minting:
    """How far the coins of a reference have come."""

    backed: bool
    written_down: bool
    backing: int
    """Cents that were received."""
    state: str | None
    """in_flight, confirmed, failed; None: no mint was decided."""
    failures: int
    since: datetime | None
    """Of the last of it."""


@dataclass(frozen=True, slots=True)
class DepositDue:
    """A deposit whose way to its coins, or back, has not ended."""

    deposit: str
    state: str
    coin: str
    left: int
    """Cents."""
    asset: str
    owner: str | None
    to: str | None
    disputes_open: int
    available_on: datetime | None
    since: datetime
    event: str
    minting: Minting


@dataclass(frozen=True, slots=True)
class LossDue:
    """A dispute that was lost after coins had been issued."""

    deposit: str
    dispute: str
    amount: Amount
    """Bank money."""
    owner: str | None
    has_account: bool
    is_written_down: bool
    is_frozen: bool
    since: datetime
    event: str
    """The `DepositLost`; what follows from it has the reference `lost:<event>`."""


@dataclass(frozen=True, slots=True)
class WithdrawalDue:
    """A withdrawal that has not ended, or that has and is still counted towards the limits."""

    withdrawal: str
    account: str
    state: str
    route: str | None
    amount: Amount
    payout: Amount
    usd_cents: int | None
    attempt: int
    may_retry: bool
    requested: datetime
    escrowed: datetime | None
    review_since: datetime | None
    destination_since: datetime
    """When the account first asked for money to go there."""
    came_back: bool
    """A payout to there came back before."""
    reserved: datetime | None
    """Since when it counts towards the limits."""
    burn: str | None
    """The transaction in which its coins were burned."""
    burned: datetime | None
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class ReturnDue:
    """A payout that came back and whose coins are not in the chain again."""

    withdrawal: str
    reference: str
    amount: Amount
    payout: Amount
    wallet: str
    returned: datetime
    since: datetime
    event: str
    minting: Minting


def owed_in(coin: str, connection: Connection) -> Amount:
    """What the bank holds and others are owed: settled deposits that back no coin, and burns that are not paid.

    What an attestation calls `owed`, together with the credits that the books do not know.
    """
    owed = sum(due.left for due in _unbacked(coin, connection)) + sum(_unpaid(coin, connection))
    return Amount.of(bank_of(coin), owed)


def _unbacked(coin: str, connection: Connection) -> Iterator[DepositDue]:
    for due in deposits_under_way(connection):
        if due.coin == coin and due.state == "settled" and not due.minting.backed:
            yield due


def _unpaid(coin: str, connection: Connection) -> Iterator[int]:
    burnt, table, again = tables.burns, tables.withdrawals, tables.backings
    joined = table.join(burnt, and_(burnt.c.coin == table.c.coin, burnt.c.withdrawal == table.c.withdrawal)).outerjoin(
        again, and_(again.c.coin == table.c.coin, again.c.reference == literal("return:") + table.c.withdrawal)
    )
    unpaid = select(table.c.coin, burnt.c.payout).select_from(joined).where(table.c.state.in_(NOT_PAID))
    # The coin is chosen here: named in SQL, it would be looked for among all burns there ever were.
    rows = connection.execute(unpaid.where(again.c.reference.is_(None)))
    yield from (row.payout for row in rows if row.coin == coin)


def coin_turns(connection: Connection) -> dict[str, CoinTurn]:
    """Every coin, and what may still be minted."""
    found = {}
    for row in connection.execute(select(tables.coins)):
        supply = Amount.of(row.coin, row.supply).to(bank_of(row.coin)).units
        is_open = not row.paused and row.as_of is not None
        as_of = None if row.as_of is None else instant(row.as_of)
        found[row.coin] = CoinTurn(row.coin, row.reserves - supply, is_open, as_of, row.turn, instant(row.turned))
    return found


def deposits_under_way(connection: Connection) -> list[DepositDue]:
    """Deposits that are settled and not issued; and those that are closed while money still backs coins for them."""
    table, coin = tables.deposits, _coin_name(tables.deposits.c.asset)
    open_backing = and_(tables.backings.c.reference.is_not(None), tables.backings.c.written_down == 0)
    minted = tables.mints.c.state.in_(("in_flight", "confirmed"))
    lost = tables.disputes
    borne = exists().where(lost.c.deposit == table.c.deposit, lost.c.state == "lost", lost.c.issued)
    unminted = or_(tables.mints.c.state.is_(None), ~minted)
    ended = and_(table.c.state == "closed", open_backing, unminted, ~borne)
    # Said apart from the rest, so that the index of states leaves out the many that are issued.
    few = table.c.state.in_(("settled", "closed"))
    statement = _with_minting(table, coin, table.c.deposit).where(few, or_(table.c.state == "settled", ended))
    return [
        DepositDue(
            row.deposit, row.state, coin_of(row.asset), row.left, row.asset, row.owner, row.to, row.disputes_open,
            _when(row.available_on), instant(row.since), row.event, _minting(row),
        )
        for row in connection.execute(statement.order_by(table.c.since, table.c.deposit))
    ]  # fmt: skip


def returns_under_way(connection: Connection) -> list[ReturnDue]:
    """Payouts that came back, but for those that a reviewer has the bank try again."""
    table = tables.withdrawals
    reference = literal("return:") + table.c.withdrawal
    came_back = and_(table.c.state == "returned", ~table.c.may_retry)
    statement = _with_minting(table, table.c.coin, reference).where(came_back)
    return [
        ReturnDue(
            row.withdrawal, f"return:{row.withdrawal}", Amount.of(row.coin, row.units),
            Amount.of(bank_of(row.coin), row.payout), row.wallet, instant(row.returned), instant(row.since), row.event,
            _minting(row),
        )
        for row in connection.execute(statement.order_by(table.c.returned, table.c.withdrawal))
    ]  # fmt: skip


def losses_under_way(connection: Connection) -> list[LossDue]:
    """Lost disputes over issued deposits that are not written down, or whose owner's balance is not frozen."""
    lost, deposit, backing, account, freeze = (
        tables.disputes, tables.deposits, tables.backings, tables.accounts, tables.freezes,
    )  # fmt: skip
    coin, name = _coin_name(deposit.c.asset), literal("lost:") + lost.c.event
    owned = account.c.account == deposit.c.owner + literal(".") + coin
    joined = (
        lost.join(deposit, deposit.c.deposit == lost.c.deposit)
        .outerjoin(backing, and_(backing.c.coin == coin, backing.c.reference == name))
        .outerjoin(account, owned)
        .outerjoin(freeze, and_(freeze.c.account == account.c.account, freeze.c.cause == name))
    )
    unfrozen = and_(deposit.c.owner.is_not(None), freeze.c.cause.is_(None))
    statement = (
        select(
            lost, deposit.c.asset, deposit.c.owner, account.c.account.is_not(None).label("has_account"),
            backing.c.reference.is_not(None).label("written"), freeze.c.cause.is_not(None).label("frozen"),
        )
        .select_from(joined)
        .where(lost.c.state == "lost", lost.c.issued, or_(backing.c.reference.is_(None), unfrozen))
    )  # fmt: skip
    return [
        LossDue(
            row.deposit, row.dispute, Amount.of(row.asset, row.amount), row.owner, bool(row.has_account), bool(row.written),
            bool(row.frozen), instant(row.since), row.event,
        )
        for row in connection.execute(statement.order_by(lost.c.since, lost.c.deposit, lost.c.dispute))
    ]  # fmt: skip


def withdrawals_under_way(connection: Connection) -> list[WithdrawalDue]:
    """Withdrawals that have not ended; and those that were rejected or cancelled and still count towards the limits."""
    table, flow, burnt = tables.withdrawals, tables.outflow, tables.burns
    joined = table.outerjoin(flow, and_(flow.c.withdrawal == table.c.withdrawal, flow.c.released.is_(None))).outerjoin(
        burnt, and_(burnt.c.withdrawal == table.c.withdrawal, burnt.c.coin == table.c.coin)
    )
    other = tables.withdrawals.alias()
    there = and_(other.c.account == table.c.account, other.c.destination_digest == table.c.destination_digest)
    first = select(func.min(other.c.requested)).where(there).scalar_subquery()
    back = select(func.count()).where(there, other.c.withdrawal != table.c.withdrawal, other.c.returned.is_not(None))
    under_way = table.c.state.not_in(ENDED)
    counted = and_(table.c.state.in_(ENDED), flow.c.withdrawal.is_not(None))
    statement = (
        select(
            table, flow.c.at.label("reserved"), burnt.c.transaction.label("burn"), burnt.c.at.label("burned"),
            first.label("destination_since"), back.scalar_subquery().label("came_back"),
        )
        .select_from(joined)
        .where(table.c.state.in_((*STEPPING, *ENDED)), or_(under_way, counted))
    )  # fmt: skip
    return [
        WithdrawalDue(
            row.withdrawal, row.account, row.state, row.route, Amount.of(row.coin, row.units),
            Amount.of(bank_of(row.coin), row.payout), row.usd_cents, row.attempt, row.may_retry, instant(row.requested),
            _when(row.escrowed), _when(row.review_since), instant(row.destination_since), row.came_back > 0,
            _when(row.reserved), row.burn, _when(row.burned), instant(row.since), row.event,
        )
        for row in connection.execute(statement.order_by(table.c.since, table.c.withdrawal))
    ]  # fmt: skip


def _coin_name(asset: Any) -> Any:
    """`USD.bank` to `USD.s`, in SQL."""
    return case(*((asset == f"{money}.bank", f"{money}.s") for money in ("USD", "EUR", "GBP")), else_="")


def _with_minting(table: Any, coin: Any, reference: Any) -> Any:
    backing, mint = tables.backings, tables.mints
    joined = table.outerjoin(backing, and_(backing.c.coin == coin, backing.c.reference == reference)).outerjoin(
        mint, and_(mint.c.coin == coin, mint.c.reference == reference)
    )
    return select(
        table, backing.c.reference.label("backing_reference"), backing.c.received.label("backing_received"),
        backing.c.written_down.label("backing_written_down"), mint.c.state.label("mint_state"),
        mint.c.failures.label("mint_failures"), mint.c.since.label("mint_since"), backing.c.since.label("backing_since"),
    ).select_from(joined)  # fmt: skip


def _minting(row: Any) -> Minting:
    return Minting(
        row.backing_reference is not None, bool(row.backing_written_down), row.backing_received or 0, row.mint_state,
        row.mint_failures or 0, _when(row.mint_since or row.backing_since),
    )  # fmt: skip


def _when(text: str | None) -> datetime | None:
    return None if text is None else instant(text)
