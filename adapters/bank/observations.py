"""What was learned of money outside, whoever told it: a statement, Stripe or Wise.

The same fact told twice, or by two of them, is the same observation as far as its rail and reference go; the treasury
records it once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

from adapters.bank.entries import Entry, Statement
from contracts import Amount


@dataclass(frozen=True, slots=True)
class DepositSeen:
    """Money came in. It may still be pending, and it backs nothing yet."""

    rail: str
    reference: str
    amount: Amount
    """Before fees, of an asset at a bank."""
    booked_at: datetime
    value_date: datetime
    source: str
    """SHA-256 of what was read, in hexadecimal."""
    owner: str = ""
    """The account that it is for; empty where nothing says so."""


@dataclass(frozen=True, slots=True)
class DepositAvailable:
    """The money can be used, and its sender cannot take it back by himself."""

    rail: str
    reference: str
    net: Amount
    fee: Amount
    available_on: datetime


@dataclass(frozen=True, slots=True)
class DepositRefunded:
    """Part or all of a deposit went back. May be told before the deposit is."""

    rail: str
    reference: str
    refund: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class DepositDisputed:
    """The payer's bank wants the money back (`open`), has left it (`won`) or has taken it (`lost`)."""

    rail: str
    reference: str
    dispute: str
    amount: Amount
    outcome: Literal["open", "won", "lost"]


@dataclass(frozen=True, slots=True)
class PayoutDone:
    """Money left for a recipient."""

    rail: str
    key: str
    """Ours, under which it was ordered; empty where only the bank's reference is told."""
    bank_reference: str
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class PayoutReturned:
    """Money that had left, or was to leave, is back on the account."""

    rail: str
    key: str
    bank_reference: str
    reason: str
    booked_at: datetime


Observation = DepositSeen | DepositAvailable | DepositRefunded | DepositDisputed | PayoutDone | PayoutReturned


def observed(statement: Statement, rail: str) -> Iterator[Observation]:
    """What the entries of a statement or report tell. An entry of zero, which some banks write as a remark, tells nothing."""
    for entry in statement.entries:
        amount = Amount.of(statement.asset, abs(entry.cents))
        if entry.cents > 0 and entry.is_reversal:
            yield PayoutReturned(rail, entry.payment_reference, _reversed(entry), "reversed", at(entry.booked_at))
        elif entry.cents > 0:
            yield from _deposit(entry, amount, rail)
        elif entry.cents < 0 and entry.is_reversal:
            yield DepositDisputed(rail, _reversed(entry), entry.reference, amount, "lost")
        elif entry.cents < 0:
            yield PayoutDone(rail, entry.payment_reference, entry.reference, at(entry.booked_at))


def _deposit(entry: Entry, amount: Amount, rail: str) -> Iterator[Observation]:
    """What a bank has booked is available, whatever the day on which it begins to bear interest."""
    booked_at = at(entry.booked_at)
    yield DepositSeen(rail, entry.reference, amount, booked_at, at(entry.value_date), entry.source)
    yield DepositAvailable(rail, entry.reference, amount, Amount.of(amount.asset, 0), booked_at)


def _reversed(entry: Entry) -> str:
    """The name of what is taken back, where the bank gave both bookings one reference."""
    return entry.reference.removesuffix(".reversal")


def at(day: date) -> datetime:
    """A bank's day has no hour: its beginning, in UTC."""
    return datetime.combine(day, time(), UTC)
