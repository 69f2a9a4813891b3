"""Who earned what: settled receipts by payee and day (white paper 5.5). Prices are whole, before their division (9.5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, assert_never

from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, select

from contracts import Address, Record
from contracts.inference import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    AttemptStarted,
    DisputeResolved,
    InferenceEvent,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptPaid,
    ReceiptRefuted,
    ReceiptSettled,
    RequestClosed,
    RequestOpened,
    RouteDecided,
)
from projections import METADATA, MoneyColumn, Projection, Session

# A row a receipt: a payee's receipts are in many streams, and a row is written from one.
earnings = Table(
    "inference_earnings",
    METADATA,
    Column("request", String(36), primary_key=True),
    Column("payee", String(42), nullable=False, index=True, comment="in lower case"),
    Column("day", String(10), nullable=False, index=True, comment="UTC, on which the answer ended"),
    Column("device", String(90), nullable=False),
    Column("model", String(60), nullable=False),
    Column("asset", String(30), nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("price", MoneyColumn(), nullable=False, comment="units of the asset"),
    Column("protocol_fee", MoneyColumn(), nullable=False, comment="units of the asset, on top of the price"),
    Column("is_paid", Boolean, nullable=False, comment="from a hold; else it was recorded only"),
)


def provider_earnings() -> Projection:
    return Projection("provider_earnings", ("inference",), (earnings,), project)


def project(event: InferenceEvent, record: Record, session: Session) -> None:
    """A row a settled receipt."""
    match event:
        case ReceiptSettled():
            session.put(
                earnings,
                {
                    "request": record.stream_id, "payee": event.payee.lower(), "day": _day(event.epoch).isoformat(),
                    "device": event.provider, "model": event.model, "asset": event.asset, "price": event.price,
                    "prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens,
                    "protocol_fee": event.protocol_fee, "is_paid": event.hold is not None,
                },
            )  # fmt: skip
        case RequestOpened() | RouteDecided() | AttemptStarted() | AttemptCompleted() | AttemptFailed() | AttemptCancelled():
            pass
        case ReceiptMatched() | ReceiptDisputed() | DisputeResolved() | ReceiptRefuted():
            pass
        case ReceiptPaid() | RequestClosed():
            pass
        case _:
            assert_never(event)


def _day(epoch: int) -> date:
    return date(1970, 1, 1) + timedelta(days=epoch)


@dataclass(frozen=True, slots=True)
class Earned:
    """A payee's day in one asset. `price` is what was charged for its tokens, of which it gets its share."""

    payee: str
    day: str
    asset: str
    receipts: int
    prompt_tokens: int
    completion_tokens: int
    price: int


def earnings_of(payee: Address, connection: Connection) -> list[Earned]:
    """By day, the newest first."""
    rows = connection.execute(select(earnings).where(earnings.c.payee == payee.lower()))
    return sorted(_added(rows), key=lambda earned: (earned.day, earned.asset), reverse=True)


def earned_on(day: date, connection: Connection) -> list[Earned]:
    """Every payee's, by name."""
    rows = connection.execute(select(earnings).where(earnings.c.day == day.isoformat()))
    return sorted(_added(rows), key=lambda earned: (earned.payee, earned.asset))


def _added(rows: Iterable[Any]) -> Iterable[Earned]:
    # Amounts of 78 digits are text on SQLite, which cannot sum them: they are added up here, exactly.
    found: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        sums = found.setdefault((row.payee, row.day, row.asset), [0, 0, 0, 0])
        for n, units in enumerate((1, row.prompt_tokens, row.completion_tokens, row.price)):
            sums[n] += units
    return [Earned(*where, *sums) for where, sums in found.items()]
