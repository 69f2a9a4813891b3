"""What people ask the treasury's views. Ages are seconds at the moment that is asked about."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection, select

from contracts import Amount, instant, rfc3339
from contracts.treasury import PAYOUT_WINDOW_SECONDS, TreasuryParameters, bank_of
from projections._policy import parameters
from projections.treasury import tables


def age(since: str, at: datetime) -> int:
    """Whole seconds since that time."""
    return max(0, int((at - instant(since)).total_seconds()))


@dataclass(frozen=True, slots=True)
class Coin:
    """One currency's coins against its money. Surplus and deficit are in coins; one of them is zero."""

    coin: str
    supply: Amount
    in_flight: Amount
    reserves: Amount
    surplus: Amount
    deficit: Amount
    as_of: str | None
    age_seconds: int | None
    """Of the last attestation; None before the first."""
    paused: bool
    pause_cause: str | None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the MintBurnLog (white paper 8.2), with the place of its record in the log and the hash before it."""

    version: int
    kind: str
    amount: Amount
    reference: str
    actor: str
    transaction: str | None
    block: int | None
    supply: Amount
    reserves: Amount
    shard: str
    sequence: int
    prevhash: str
    event: str
    at: str

    @property
    def change(self) -> int:
        """By how much supply changed; over all lines it adds up to supply."""
        return {"minted": 1, "confirmed": 0, "failed": -1, "burned": -1}[self.kind] * self.amount.units


@dataclass(frozen=True, slots=True)
class DepositStanding:
    """A deposit, in bank money."""

    deposit: str
    state: str
    amount: Amount
    net: Amount
    refunded: Amount
    lost: Amount
    disputes_open: int
    owner: str | None
    available_on: str | None
    issued: str | None
    since: str


@dataclass(frozen=True, slots=True)
class WithdrawalStanding:
    """A withdrawal and how far it has come."""

    withdrawal: str
    account: str
    state: str
    amount: Amount
    payout: Amount
    usd_cents: int | None
    reasons: tuple[str, ...]
    route: str | None
    approvals: int
    rail: str | None
    attempt: int
    key: str | None
    bank_reference: str | None
    requested: str
    since: str


@dataclass(frozen=True, slots=True)
class Review:
    """A withdrawal that waits for two persons."""

    withdrawal: WithdrawalStanding
    age_seconds: int


@dataclass(frozen=True, slots=True)
class Balance:
    """A prepaid account in one row; available is never less than nothing."""

    account: str
    posted: Amount
    held: Amount
    frozen: Amount
    available: Amount


@dataclass(frozen=True, slots=True)
class Break:
    """Something that does not fit, and nobody has explained."""

    coin: str
    break_id: str
    slot: str
    kind: str
    amount: Amount
    age_seconds: int


@dataclass(frozen=True, slots=True)
class SlotStanding:
    """What was compared at one block; native amounts have 4 decimals."""

    slot: str
    block: int
    bank: Amount
    owed: Amount
    evm_supply: Amount
    native_supply: Amount
    native_locked: Amount
    in_flight: Amount
    books_supply: Amount
    surplus: Amount
    at: str
    breaks: tuple[str, ...]


def coins(at: datetime, connection: Connection) -> list[Coin]:
    """Every coin that was ever spoken of."""
    return [_coin(row, at) for row in connection.execute(select(tables.coins).order_by(tables.coins.c.coin))]


def supply_of(coin: str, at: datetime, connection: Connection) -> Coin | None:
    """Supply, in flight, reserves, surplus, age of the attestation, paused or not."""
    row = connection.execute(select(tables.coins).where(tables.coins.c.coin == coin)).one_or_none()
    return None if row is None else _coin(row, at)


def reserves_of(coin: str, connection: Connection) -> Amount:
    """What backs the coin, in bank money."""
    found = connection.execute(select(tables.coins.c.reserves).where(tables.coins.c.coin == coin)).scalar()
    return Amount.of(bank_of(coin), found or 0)


def _coin(row: Any, at: datetime) -> Coin:
    reserves = Amount.of(bank_of(row.coin), row.reserves)
    over = reserves.to(row.coin).units - row.supply
    return Coin(
        row.coin, Amount.of(row.coin, row.supply), Amount.of(row.coin, row.in_flight), reserves,
        Amount.of(row.coin, max(0, over)), Amount.of(row.coin, max(0, -over)), row.as_of,
        None if row.as_of is None else age(row.as_of, at), row.paused, row.pause_cause,
    )  # fmt: skip


def mint_burn_log(
    coin: str, connection: Connection, start: datetime | None = None, end: datetime | None = None
) -> list[LogLine]:
    """Each mint, confirmation, failure and burn from `start` until before `end`, in their order."""
    log = tables.mint_burn_log
    statement = select(log).where(log.c.coin == coin).order_by(log.c.version)
    if start is not None:
        statement = statement.where(log.c.at >= rfc3339(start))
    if end is not None:
        statement = statement.where(log.c.at < rfc3339(end))
    return [
        LogLine(
            row.version, row.kind, Amount.of(coin, row.units), row.reference, row.actor, row.transaction, row.block,
            Amount.of(coin, row.supply), Amount.of(bank_of(coin), row.reserves), row.shard, row.sequence, row.prevhash,
            row.event, row.at,
        )
        for row in connection.execute(statement)
    ]  # fmt: skip


def deposit_of(rail: str, reference: str, connection: Connection) -> DepositStanding | None:
    """The deposit of that bank entry."""
    row = connection.execute(select(tables.deposits).where(tables.deposits.c.deposit == f"{rail}.{reference}")).one_or_none()
    if row is None:
        return None
    return DepositStanding(
        row.deposit, row.state, Amount.of(row.asset, row.amount), Amount.of(row.asset, row.net),
        Amount.of(row.asset, row.refunded), Amount.of(row.asset, row.lost), row.disputes_open, row.owner, row.available_on,
        row.issued, row.since,
    )  # fmt: skip


def withdrawal(name: str, connection: Connection) -> WithdrawalStanding | None:
    """The withdrawal `<account>.<n>`."""
    row = connection.execute(select(tables.withdrawals).where(tables.withdrawals.c.withdrawal == name)).one_or_none()
    return None if row is None else as_withdrawal(row)


def withdrawals_of(account: str, connection: Connection) -> list[WithdrawalStanding]:
    """An account's withdrawals, the newest first."""
    mine = select(tables.withdrawals).where(tables.withdrawals.c.account == account)
    return [as_withdrawal(row) for row in connection.execute(mine.order_by(tables.withdrawals.c.requested.desc()))]


def awaiting_review(at: datetime, connection: Connection) -> list[Review]:
    """Withdrawals under review, the oldest first, with their reasons."""
    waiting = select(tables.withdrawals).where(tables.withdrawals.c.state == "under_review")
    rows = connection.execute(waiting.order_by(tables.withdrawals.c.review_since))
    return [Review(as_withdrawal(row), age(row.review_since, at)) for row in rows]


def as_withdrawal(row: Any) -> WithdrawalStanding:
    return WithdrawalStanding(
        row.withdrawal, row.account, row.state, Amount.of(row.coin, row.units), Amount.of(bank_of(row.coin), row.payout),
        row.usd_cents, tuple(orjson.loads(row.reasons)), row.route, row.approvals, row.rail, row.attempt, row.key,
        row.bank_reference, row.requested, row.since,
    )  # fmt: skip


def outflow_in_window(at: datetime, connection: Connection) -> tuple[int, int]:
    """US cents that count in the 24 hours before, and what is left for the automatic path."""
    flow = tables.outflow
    start = rfc3339(at - timedelta(seconds=PAYOUT_WINDOW_SECONDS))
    counted = select(flow.c.usd_cents).where(flow.c.at > start, flow.c.at <= rfc3339(at), flow.c.released.is_(None))
    window = sum(connection.execute(counted).scalars())
    daily = parameters(TreasuryParameters, connection).payout_daily_max_usd_cents
    return window, max(0, daily - window)


def balance_of(owner: str, asset: str, connection: Connection) -> Balance | None:
    """The owner's prepaid balance of that asset; `dao` is an owner too."""
    row = connection.execute(select(tables.accounts).where(tables.accounts.c.account == f"{owner}.{asset}")).one_or_none()
    if row is None:
        return None
    available = max(0, row.posted - row.held - row.frozen)
    amounts = (Amount.of(asset, units) for units in (row.posted, row.held, row.frozen, available))
    return Balance(row.account, *amounts)


def breaks_open(at: datetime, connection: Connection) -> list[Break]:
    """What nobody has explained yet, the oldest first."""
    table = tables.breaks
    rows = connection.execute(select(table).where(table.c.closed.is_(None)).order_by(table.c.found, table.c.break_id))
    return [
        Break(row.coin, row.break_id, row.slot, row.kind, Amount.of(row.coin, row.units), age(row.found, at)) for row in rows
    ]


def slots_of(coin: str, connection: Connection, most: int = 100) -> list[SlotStanding]:
    """The coin's reconciliations, the newest first, each with the names of its breaks."""
    table, found = tables.reconciliations, tables.breaks
    named: dict[str, list[str]] = {}
    for slot, name in connection.execute(select(found.c.slot, found.c.break_id).where(found.c.coin == coin)):
        named.setdefault(slot, []).append(name)
    rows = connection.execute(select(table).where(table.c.coin == coin).order_by(table.c.at.desc()).limit(most))
    return [_slot(row, tuple(sorted(named.get(row.slot, ())))) for row in rows]


def _slot(row: Any, breaks: tuple[str, ...]) -> SlotStanding:
    bank, native = bank_of(row.coin), row.coin.partition(".")[0]
    return SlotStanding(
        row.slot, row.block, Amount.of(bank, row.bank), Amount.of(bank, row.owed), Amount.of(row.coin, row.evm_supply),
        Amount.of(native, row.native_supply), Amount.of(native, row.native_locked), Amount.of(row.coin, row.in_flight),
        Amount.of(row.coin, row.books_supply), Amount.of(row.coin, row.surplus), row.at, breaks,
    )  # fmt: skip
