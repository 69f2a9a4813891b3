"""What a bank and a chain are to be told, under the name that stands here, until a command of treasury's says it is done."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from contracts import Amount, Sealed, instant
from contracts.treasury import bank_of
from projections.treasury import tables


@dataclass(frozen=True, slots=True)
class MintDue:
    """A mint that the chain is to make: under its reference, and under no other. Then `ConfirmMint` or `FailMint`."""

    coin: str
    reference: str
    amount: Amount
    to: str
    failures: int
    """How often a transaction for it failed before."""
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class BurnDue:
    """Coins in escrow that the chain is to burn, then `Burn`; or to release to the wallet."""

    withdrawal: str
    amount: Amount
    wallet: str
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class PayoutDue:
    """An order that the bank is to have under its key. Then `ConfirmPayout` or `ReturnPayout`."""

    withdrawal: str
    key: str
    rail: str
    attempt: int
    payout: Amount
    destination: Sealed
    """Sealed for the stream `treasury/withdrawal/<withdrawal>`, that command, field `/destination`."""
    command: str
    since: datetime
    event: str


@dataclass(frozen=True, slots=True)
class RefundDue:
    """Money that goes back to where a deposit came from. The bank itself knows, by the reference as the key, which has gone."""

    deposit: str
    rail: str
    reference: str
    amount: Amount
    since: datetime
    event: str


def mints_to_send(connection: Connection) -> list[MintDue]:
    """Mints that were decided and are neither in the chain nor failed, the oldest first."""
    table = tables.mints
    rows = connection.execute(select(table).where(table.c.state == "in_flight").order_by(table.c.minted, table.c.reference))
    return [
        MintDue(row.coin, row.reference, Amount.of(row.coin, row.units), row.to, row.failures, instant(row.minted), row.event)
        for row in rows
    ]


def burns_to_send(connection: Connection) -> list[BurnDue]:
    """Withdrawals that are approved and counted, whose coins are still in escrow."""
    table, flow, burnt = tables.withdrawals, tables.outflow, tables.burns
    counted = table.join(flow, and_(flow.c.withdrawal == table.c.withdrawal, flow.c.released.is_(None)))
    joined = counted.outerjoin(burnt, and_(burnt.c.withdrawal == table.c.withdrawal, burnt.c.coin == table.c.coin))
    approved = (table.c.state == "approved") & burnt.c.withdrawal.is_(None)
    return _escrows(connection, select(table).select_from(joined).where(approved))


def escrows_to_release(connection: Connection) -> list[BurnDue]:
    """Coins in escrow whose withdrawal was rejected or cancelled. The chain itself knows which are released already."""
    table = tables.withdrawals
    ended = table.c.state.in_(("rejected", "cancelled")) & table.c.wallet.is_not(None)
    return _escrows(connection, select(table).where(ended))


def _escrows(connection: Connection, statement: Any) -> list[BurnDue]:
    rows = connection.execute(statement.order_by(tables.withdrawals.c.since, tables.withdrawals.c.withdrawal))
    return [BurnDue(row.withdrawal, Amount.of(row.coin, row.units), row.wallet, instant(row.since), row.event) for row in rows]


def payouts_to_send(connection: Connection) -> list[PayoutDue]:
    """Orders that the bank has not booked, the oldest first. It is asked by the key before it is told again."""
    table = tables.withdrawals
    rows = connection.execute(select(table).where(table.c.state == "submitted").order_by(table.c.since, table.c.withdrawal))
    return [
        PayoutDue(
            row.withdrawal, row.key, row.rail, row.attempt, Amount.of(bank_of(row.coin), row.payout),
            Sealed.model_validate_json(row.destination), row.command, instant(row.since), row.event,
        )
        for row in rows
    ]  # fmt: skip


def refunds_to_send(connection: Connection) -> list[RefundDue]:
    """What the treasury itself gives back because it could not issue; what a rail gave back by itself is not among it."""
    table = tables.refunds
    ours = table.c.settled & table.c.reference.startswith("unissued:")
    return [
        RefundDue(
            row.deposit, row.deposit.partition(".")[0], row.reference, Amount.of(row.asset, row.amount), instant(row.at),
            row.event,
        )
        for row in connection.execute(select(table).where(ours).order_by(table.c.at, table.c.deposit))
    ]  # fmt: skip
