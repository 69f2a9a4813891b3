"""What bank and chain are compared with, and what is waited for from there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from contracts import Amount, instant, rfc3339
from contracts.treasury import coin_of
from projections.treasury import tables


@dataclass(frozen=True, slots=True)
class EscrowAwaited:
    """A withdrawal that was asked for and whose coins have not come."""

    withdrawal: str
    amount: Amount
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class PayoutPaid:
    """An order that the bank reported as paid."""

    withdrawal: str
    key: str
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class Books:
    """What the books say of a coin."""

    coin: str
    supply: Amount
    in_flight: Amount
    as_of: datetime | None
    """Of the last attestation."""
    since: datetime
    """Of the last event of the coin's stream."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a hold was captured for."""

    account: str
    hold: str
    purpose: str
    amount: Amount
    since: datetime


def escrows_awaited(connection: Connection) -> list[EscrowAwaited]:
    """The oldest first."""
    table = tables.withdrawals
    rows = connection.execute(select(table).where(table.c.state == "requested").order_by(table.c.requested))
    return [EscrowAwaited(row.withdrawal, Amount.of(row.coin, row.units), instant(row.since), row.event) for row in rows]


def payouts_paid_since(start: datetime, connection: Connection) -> list[PayoutPaid]:
    """Those that may still come back."""
    table = tables.withdrawals
    paid = select(table).where(table.c.state == "paid", table.c.since >= rfc3339(start)).order_by(table.c.since)
    return [PayoutPaid(row.withdrawal, row.key, instant(row.since), row.event) for row in connection.execute(paid)]


def books_of(coin: str, connection: Connection) -> Books | None:
    """None where nothing was ever said of the coin."""
    row = connection.execute(select(tables.coins).where(tables.coins.c.coin == coin)).one_or_none()
    if row is None:
        return None
    return Books(
        coin, Amount.of(coin, row.supply), Amount.of(coin, row.in_flight), None if row.as_of is None else instant(row.as_of),
        instant(row.since),
    )  # fmt: skip


def deposits_known(names: Collection[str], connection: Connection) -> dict[str, str]:
    """Of these deposits, those that were observed, each with its state."""
    table = tables.deposits
    rows = connection.execute(select(table.c.deposit, table.c.state).where(table.c.deposit.in_(names)))
    return {row.deposit: row.state for row in rows}


def is_reconciled(coin: str, slot: str, connection: Connection) -> bool:
    """Whether the slot was compared, or a source was found missing."""
    table, found = tables.reconciliations, tables.breaks
    done = select(table.c.slot).where(table.c.coin == coin, table.c.slot == slot)
    missing = select(found.c.slot).where(found.c.coin == coin, found.c.slot == slot, found.c.kind == "missing_source")
    return connection.execute(done).first() is not None or connection.execute(missing).first() is not None


def taken_for(counter: str, until: datetime, connection: Connection, *, after: datetime | None = None) -> Iterator[Taken]:
    """What was captured and posted to that account in the time, the oldest first."""
    table = tables.holds
    found = select(table).where(table.c.counter == counter, table.c.state == "captured", table.c.since <= rfc3339(until))
    if after is not None:
        found = found.where(table.c.since > rfc3339(after))
    for row in connection.execute(found.order_by(table.c.since, table.c.hold)):
        if row.captured:
            amount = Amount.of(row.account.partition(".")[2], row.captured)
            yield Taken(row.account, row.hold, row.purpose, amount, instant(row.since))


def last_reconciled(coin: str, connection: Connection) -> datetime | None:
    """The newest of the coin's six-hour slots that was compared; None before the first."""
    table = tables.reconciliations
    slot = connection.scalar(select(func.max(table.c.slot)).where(table.c.coin == coin, table.c.slot.like("____-__-__T__")))
    return None if slot is None else datetime.fromisoformat(f"{slot}:00:00+00:00")


def booked_in(asset: str, rail: str, connection: Connection) -> dict[str, int]:
    """What the bank should show of an asset, by the name that an entry has: credits by reference, payouts by our key."""
    credit, paid = tables.deposits, tables.withdrawals
    came = select(credit.c.reference, credit.c.net).where(
        credit.c.asset == asset, credit.c.rail == rail, credit.c.state != "observed"
    )
    found = {row.reference: row.net for row in connection.execute(came)}
    went = select(paid.c.key, paid.c.payout).where(paid.c.state == "paid", paid.c.coin == coin_of(asset))
    return found | {row.key: -row.payout for row in connection.execute(went)}
