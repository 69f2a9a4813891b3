"""What every context was told to decide by and to stop: each adoption, and each halt that was not lifted.

No context is named here: what all of them say alike is shown alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, assert_never, get_args

import orjson
from sqlalchemy import BigInteger, Column, Connection, String, Table, Text, func, select

from contracts import (
    Halted,
    Lifted,
    ParameterAdopted,
    Parameters,
    ParameterValue,
    PolicyEvent,
    Record,
    Scope,
    contexts,
    instant,
    parameters_class,
    rfc3339,
)
from projections import METADATA, Projection, Session, WholeColumn

P = TypeVar("P", bound=Parameters)

adoptions = Table(
    "policy_adoptions",
    METADATA,
    Column("context", String(40), primary_key=True),
    Column("policy_version", WholeColumn, primary_key=True, autoincrement=False),
    Column("name", String(60), nullable=False),
    Column("value", Text, nullable=False, comment="JSON"),
    Column("version", BigInteger, nullable=False),
    Column("at", String(30), nullable=False),
    Column("actor", String(90), nullable=False),
    Column("event", String(36), nullable=False),
)

halts = Table(
    "policy_halts",
    METADATA,
    Column("context", String(40), primary_key=True),
    Column("scope", String(40), primary_key=True),
    Column("until", String(30), nullable=False),
    Column("since", String(30), nullable=False),
    Column("actor", String(90), nullable=False),
)


def policies() -> Projection:
    return Projection("policies", contexts(), (adoptions, halts), project, shows_policy=True)


def project(event: PolicyEvent, record: Record, session: Session) -> None:
    context = record.subject.partition("/")[0]
    match event:
        case ParameterAdopted():
            session.put(
                adoptions,
                {
                    "context": context, "policy_version": event.policy_version, "name": event.name,
                    "value": orjson.dumps(event.value, option=orjson.OPT_SORT_KEYS).decode(), "version": event.version,
                    "at": rfc3339(event.at), "actor": record.actor, "event": record.id,
                },
            )  # fmt: skip
        case Halted(scope=scope, until=until):
            halt = {"context": context, "scope": scope, "until": rfc3339(until), "since": record.time, "actor": record.actor}
            session.put(halts, halt)
        case Lifted(scope=lifted):
            for scope in get_args(Scope) if lifted is None else (lifted,):
                if session.get(halts, context, scope) is not None:
                    session.delete(halts, context, scope)
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True)
class InForce(Generic[P]):
    """A context's parameters from a moment on, until others follow."""

    since: datetime
    parameters: P


def policies_of(kind: type[P], connection: Connection) -> list[InForce[P]]:
    """All that a context decided by, as far as the view has come: the white paper's first, what is in force last."""
    statement = select(adoptions).where(adoptions.c.context == kind.__module__.rpartition(".")[2])
    found = [InForce(datetime.min.replace(tzinfo=UTC), kind())]
    for row in connection.execute(statement.order_by(adoptions.c.policy_version)):
        changed = found[-1].parameters.adopted(row.name, orjson.loads(row.value), row.policy_version)
        found.append(InForce(instant(row.at), changed))
    return found


def parameters(kind: type[P], connection: Connection) -> P:
    """What the context decides by."""
    return policies_of(kind, connection)[-1].parameters


def then(policies: Sequence[InForce[P]], moment: datetime) -> P:
    """What was in force at that moment."""
    return next(found.parameters for found in reversed(policies) if found.since <= moment)


@dataclass(frozen=True, slots=True)
class Shown:
    """A parameter of a context. `version`, `since` and `actor` are None as long as it has its default."""

    context: str
    name: str
    value: ParameterValue
    default: ParameterValue
    bounds: Mapping[str, tuple[int, int]]
    """Least and greatest, of the number itself under "" and else of each of its parts."""
    version: int | None
    since: str | None
    actor: str | None


def shown(connection: Connection, context: str | None = None) -> list[Shown]:
    """Every parameter of every context, or of one, in the order of its class."""
    rows = {(row.context, row.name): row for row in connection.execute(select(adoptions).order_by(adoptions.c.policy_version))}
    return [entry for name in contexts() if context in (None, name) for entry in _of(name, rows)]


def _of(context: str, rows: Mapping[tuple[str, str], Any]) -> Iterator[Shown]:
    kind = parameters_class(context)
    defaults = kind().model_dump()
    for name in kind.names():
        row = rows.get((context, name))
        value = defaults[name] if row is None else orjson.loads(row.value)
        yield Shown(
            context, name, value, defaults[name], kind.bounds(name),
            row and row.version, row and row.at, row and row.actor,
        )  # fmt: skip


def halted_until(context: str, scope: str, connection: Connection) -> datetime | None:
    """Until when the pause, or that of everything, stops there what is new; it may be over. None where nobody halted it."""
    statement = select(func.max(halts.c.until)).where(halts.c.context == context, halts.c.scope.in_((scope, "all")))
    until = connection.scalar(statement)
    return None if until is None else instant(until)


@dataclass(frozen=True, slots=True)
class HaltShown:
    """What a context refuses, and until when; one that is over is shown until another one takes its place."""

    context: str
    scope: str
    until: datetime
    since: str
    actor: str


def halts_of(connection: Connection, context: str | None = None) -> list[HaltShown]:
    """Those that were not lifted, the latest end first."""
    statement = select(halts).order_by(halts.c.until.desc(), halts.c.context, halts.c.scope)
    if context is not None:
        statement = statement.where(halts.c.context == context)
    return [HaltShown(r.context, r.scope, instant(r.until), r.since, r.actor) for r in connection.execute(statement)]
