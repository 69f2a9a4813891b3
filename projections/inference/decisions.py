"""The decision log: which offer was chosen for each request, and why not the others (white paper 5.2, 5.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import orjson
from sqlalchemy import BigInteger, Column, Connection, String, Table, Text, func, select

from contracts import Record, Uuid, rfc3339
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

decisions = Table(
    "inference_decisions",
    METADATA,
    Column("request", String(36), primary_key=True),
    Column("decided_at", String(30), nullable=False, index=True),
    Column("as_of", String(30), nullable=False, comment="the router's clock: staleness was judged by it"),
    Column("router", String(90), nullable=False),
    Column("model", String(60), nullable=False),
    Column("strategy", String(12), nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("max_tokens", BigInteger, nullable=False),
    Column("chosen", String(80), nullable=False, index=True),
    Column("cost", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) for the whole request, at most"),
    Column("chain", Text, nullable=False, comment="JSON list of offers, in the order in which they are tried"),
    Column("considered", Text, nullable=False, comment="JSON list of {offer, cost, reason?}"),
    Column("shard", String(80), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)


def decision_log() -> Projection:
    return Projection("decision_log", ("inference",), (decisions,), project)


def project(event: InferenceEvent, record: Record, session: Session) -> None:
    """One row a decision."""
    match event:
        case RequestOpened() | AttemptStarted() | AttemptCompleted() | AttemptFailed() | AttemptCancelled():
            pass
        case ReceiptMatched() | ReceiptDisputed() | DisputeResolved() | ReceiptRefuted():
            pass
        case ReceiptSettled() | ReceiptPaid() | RequestClosed():
            pass
        case RouteDecided():
            cost = next((entry.cost for entry in event.considered if entry.offer == event.chain[0]), 0)
            considered = [entry.model_dump(mode="json", exclude_none=True) for entry in event.considered]
            session.put(
                decisions,
                {
                    "request": event.request, "decided_at": record.time, "as_of": rfc3339(event.as_of),
                    "router": record.actor, "model": event.model, "strategy": event.strategy,
                    "prompt_tokens": event.prompt_tokens, "max_tokens": event.max_tokens, "chosen": event.chain[0],
                    "cost": cost, "chain": orjson.dumps([str(offer) for offer in event.chain]).decode(),
                    "considered": orjson.dumps(considered).decode(), "shard": record.shard, "sequence": record.sequence,
                },
            )  # fmt: skip
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True)
class Looked:
    """An offer that was considered: its cost in USD.s units for the whole request, and why it was not eligible, if so."""

    offer: str
    cost: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request went where it went."""

    request: str
    decided_at: str
    router: str
    model: str
    strategy: str
    chain: tuple[str, ...]
    considered: tuple[Looked, ...]
    shard: str
    sequence: int


def explain(request: Uuid, connection: Connection) -> Explanation | None:
    """The decision of a request; None when there is none."""
    row = connection.execute(select(decisions).where(decisions.c.request == request)).one_or_none()
    if row is None:
        return None
    considered = tuple(Looked(e["offer"], int(e["cost"]), e.get("reason")) for e in orjson.loads(row.considered))
    return Explanation(
        row.request, row.decided_at, row.router, row.model, row.strategy, tuple(orjson.loads(row.chain)), considered,
        row.shard, row.sequence,
    )  # fmt: skip


def most_chosen(connection: Connection, limit: int = 10) -> Sequence[tuple[str, int]]:
    """The offers that came first most often, with how often."""
    count = func.count().label("requests")
    statement = select(decisions.c.chosen, count).group_by(decisions.c.chosen).order_by(count.desc(), decisions.c.chosen)
    return [(row.chosen, row.requests) for row in connection.execute(statement.limit(limit))]
