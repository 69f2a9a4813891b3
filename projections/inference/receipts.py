"""The receipt book: what the router observed of a request, what was claimed for it, and what was settled (white paper 9.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, select

from contracts import Record, Uuid, instant, rfc3339
from contracts.inference import (
    RECEIPT_SECONDS,
    REQUEST_SECONDS,
    AttemptCancelled,
    AttemptCompleted,
    AttemptEnded,
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
from contracts.providers import OfferId
from domain.inference.attempts import is_payable
from projections import METADATA, MoneyColumn, Projection, Row, Session, WholeColumn

requests = Table(
    "inference_requests",
    METADATA,
    Column("request", String(36), primary_key=True),
    # open, won (something was delivered), settled, closed or late (closed, and a dispute was resolved since);
    # free: nothing is held for it, and nothing was delivered.
    Column("state", String(12), nullable=False, index=True),
    Column("cause", String(12), comment="why it was closed"),
    Column("key", String(100), nullable=False),
    Column("model", String(60), nullable=False),
    Column("router", String(90), nullable=False),
    Column("opened_at", String(30), nullable=False),
    Column("lost_at", String(30), nullable=False, comment="without an end by then its router is lost"),
    Column("running", WholeColumn, nullable=False, comment="attempts"),
    Column("winner", WholeColumn, comment="number of the attempt that delivered"),
    Column("offer", String(80), comment="of the winner"),
    Column("ended_at", String(30), comment="of the winner; as long as there is none, of the last attempt"),
    Column("receipt_until", String(30)),
    Column("account", String(100)),
    Column("asset", String(30), nullable=False),
    Column("hold", String(120)),
    Column("held", MoneyColumn(), comment="units of the asset"),
    Column("device", String(90), comment="whose receipt was settled"),
    Column("payee", String(42)),
    Column("model_owner", String(42)),
    Column("prompt_tokens", BigInteger, comment="settled"),
    Column("completion_tokens", BigInteger, comment="settled"),
    Column("price", MoneyColumn(), comment="units of the asset"),
    Column("protocol_fee", MoneyColumn(), comment="units of the asset, on top of the price"),
    Column("settled_at", String(30)),
    Column("paid_from", String(120), comment="the hold that is captured for it"),
)

attempts = Table(
    "inference_attempts",
    METADATA,
    Column("request", String(36), primary_key=True),
    Column("number", WholeColumn, primary_key=True, autoincrement=False),
    Column("offer", String(80), nullable=False),
    Column("state", String(12), nullable=False, comment="running, completed, failed or cancelled"),
    Column("cause", String(20), comment="of its failure or cancellation"),
    Column("delivered_bytes", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False, comment="as the router counted"),
    Column("completion_tokens", BigInteger, nullable=False, comment="as the router counted"),
    Column("method", String(12)),
    Column("first_token_ms", BigInteger),
    Column("response_hash", String(64)),
    Column("since", String(30), nullable=False),
)

receipts = Table(
    "inference_receipts",
    METADATA,
    Column("request", String(36), primary_key=True),
    Column("number", WholeColumn, primary_key=True, autoincrement=False),
    Column("device", String(90), primary_key=True, comment="who signed it"),
    Column("state", String(12), nullable=False, comment="matched, disputed, resolved or refuted"),
    Column("stands", Boolean, nullable=False, comment="it matched or was resolved, and was not refuted"),
    Column("cause", String(20), comment="of the dispute"),
    Column("prompt_tokens", BigInteger, nullable=False, comment="claimed"),
    Column("completion_tokens", BigInteger, nullable=False, comment="claimed"),
    Column("resolved_prompt_tokens", BigInteger),
    Column("resolved_completion_tokens", BigInteger),
    Column("model_digest", String(64), nullable=False),
    Column("evidence", String(64)),
    Column("since", String(30), nullable=False),
)


def receipt_book() -> Projection:
    return Projection("receipt_book", ("inference",), (requests, attempts, receipts), project)


def project(event: InferenceEvent, record: Record, session: Session) -> None:
    """A row a request, attempt and receipt."""
    request = record.stream_id
    match event:
        case RequestOpened():
            session.put(requests, _opened(event, record))
        case RouteDecided():
            latest = max(record.moment, event.as_of) + timedelta(seconds=REQUEST_SECONDS)
            session.change(requests, request, lost_at=rfc3339(latest))
            session.put(attempts, _running(request, 1, event.chain[0], record))
        case AttemptStarted():
            _count(session, request, 1)
            session.put(attempts, _running(request, event.number, event.offer, record))
        case AttemptCompleted() | AttemptFailed() | AttemptCancelled():
            session.change(attempts, request, event.number, **_observed(event, record))
            _end(event, request, session)
        case ReceiptMatched() | ReceiptDisputed():
            session.put(receipts, _claimed(event, record))
        case DisputeResolved():
            session.change(
                receipts, request, event.number, event.device, state="resolved", stands=True, since=record.time,
                resolved_prompt_tokens=event.prompt_tokens, resolved_completion_tokens=event.completion_tokens,
            )  # fmt: skip
            if (session.get(requests, request) or {}).get("state") == "closed":
                session.change(requests, request, state="late")
        case ReceiptRefuted():
            refuted = {"state": "refuted", "stands": False, "evidence": event.evidence, "since": record.time}
            session.change(receipts, request, event.number, event.device, **refuted)
        case ReceiptSettled():
            session.change(requests, request, **_settled(event, record))
        case ReceiptPaid():
            pass
        case RequestClosed():
            session.change(requests, request, state="closed", cause=event.cause)
        case _:
            assert_never(event)


def _opened(event: RequestOpened, record: Record) -> Row:
    funds = event.funds
    nothing = dict.fromkeys(column.name for column in requests.columns)
    return {
        **nothing, "request": record.stream_id, "state": "open" if funds else "free", "key": event.key,
        "model": event.model, "router": record.actor, "opened_at": record.time, "lost_at": record.time, "running": 1,
        "account": funds and str(funds.account), "asset": funds.asset if funds else "USD.s", "hold": funds and str(funds.hold),
        "held": funds.amount if funds else None,
    }  # fmt: skip


def _running(request: str, number: int, offer: OfferId, record: Record) -> Row:
    nothing = dict.fromkeys(column.name for column in attempts.columns)
    return {
        **nothing, "request": request, "number": number, "offer": offer, "state": "running", "delivered_bytes": 0,
        "prompt_tokens": 0, "completion_tokens": 0, "since": record.time,
    }  # fmt: skip


def _observed(event: AttemptEnded, record: Record) -> dict[str, Any]:
    cause: str | None
    match event:
        case AttemptCompleted():
            state, cause = "completed", None
        case AttemptFailed():
            state, cause = "failed", event.failure
        case AttemptCancelled():
            state, cause = "cancelled", event.cause
        case _:
            assert_never(event)
    return {
        "state": state, "cause": cause, "delivered_bytes": event.delivered_bytes, "prompt_tokens": event.prompt_tokens,
        "completion_tokens": event.completion_tokens, "method": event.method, "first_token_ms": event.first_token_ms,
        "response_hash": event.response_hash, "since": record.time,
    }  # fmt: skip


def _end(event: AttemptEnded, request: str, session: Session) -> None:
    _count(session, request, -1)
    row = session.get(requests, request) or {}
    ended = {
        "ended_at": rfc3339(event.ended_at), "receipt_until": rfc3339(event.ended_at + timedelta(seconds=RECEIPT_SECONDS)),
    }  # fmt: skip
    if is_payable(event):
        session.change(requests, request, state="won", winner=event.number, offer=event.offer, **ended)
    elif row.get("winner") is None:
        session.change(requests, request, **ended)


def _count(session: Session, request: str, step: int) -> None:
    row = session.get(requests, request)
    if row is not None:
        session.change(requests, request, running=row["running"] + step)


def _claimed(event: ReceiptMatched | ReceiptDisputed, record: Record) -> Row:
    cause = event.cause if isinstance(event, ReceiptDisputed) else None
    return {
        "request": record.stream_id, "number": event.number, "device": event.device,
        "state": "disputed" if cause else "matched", "stands": cause is None, "cause": cause,
        "prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens, "resolved_prompt_tokens": None,
        "resolved_completion_tokens": None, "model_digest": event.model_digest, "evidence": None, "since": record.time,
    }  # fmt: skip


def _settled(event: ReceiptSettled, record: Record) -> dict[str, Any]:
    return {
        "state": "settled", "device": event.provider, "payee": event.payee, "model_owner": event.model_owner,
        "prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens, "price": event.price,
        "protocol_fee": event.protocol_fee, "settled_at": record.time, "paid_from": event.hold,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observed:
    """An attempt, as the router counted it."""

    number: int
    offer: str
    state: str
    cause: str | None
    delivered_bytes: int
    prompt_tokens: int
    completion_tokens: int
    method: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A receipt: who signed it, for how many tokens, and what became of it."""

    number: int
    device: str
    state: str
    cause: str | None
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What is owed; price and fee in units of the asset."""

    device: str
    payee: str
    prompt_tokens: int
    completion_tokens: int
    asset: str
    price: int
    protocol_fee: int
    at: str
    hold: str | None


@dataclass(frozen=True, slots=True)
class Invoiced:
    """A request's page of the receipt book."""

    request: str
    state: str
    cause: str | None
    hold: str | None
    held: int | None
    observed: tuple[Observed, ...]
    claimed: tuple[Claimed, ...]
    settled: Settled | None


def observed_claimed_settled(request: Uuid, connection: Connection) -> Invoiced | None:
    """None when there is no such request."""
    row = connection.execute(select(requests).where(requests.c.request == request)).one_or_none()
    if row is None:
        return None
    tried = connection.execute(select(attempts).where(attempts.c.request == request).order_by(attempts.c.number))
    observed = tuple(
        Observed(
            a.number, a.offer, a.state, a.cause, a.delivered_bytes, a.prompt_tokens, a.completion_tokens, a.method
        )
        for a in tried
    )  # fmt: skip
    signed = select(receipts).where(receipts.c.request == request).order_by(receipts.c.number, receipts.c.device)
    claimed = tuple(
        Claimed(r.number, r.device, r.state, r.cause, r.prompt_tokens, r.completion_tokens) for r in connection.execute(signed)
    )
    return Invoiced(request, row.state, row.cause, row.hold, row.held, observed, claimed, _as_settled(row))


def _as_settled(row: Any) -> Settled | None:
    if row.settled_at is None:
        return None
    return Settled(
        row.device, row.payee, row.prompt_tokens, row.completion_tokens, row.asset, row.price, row.protocol_fee,
        row.settled_at, row.paid_from,
    )  # fmt: skip


def open_requests(connection: Connection, limit: int = 50) -> Sequence[str]:
    """Those that hold money, or delivered and are not settled; the oldest first."""
    waiting = select(requests.c.request).where(requests.c.state.in_(("open", "won")))
    return list(connection.scalars(waiting.order_by(requests.c.opened_at, requests.c.request).limit(limit)))


def when_it_ended(request: str, number: int, connection: Connection) -> datetime | None:
    """An attempt; None as long as it runs, or is not known here yet."""
    where = (attempts.c.request == request) & (attempts.c.number == number) & (attempts.c.state != "running")
    found = connection.scalars(select(attempts.c.since).where(where)).one_or_none()
    return None if found is None else instant(found)
