"""What people decided about the log, as views: holds, erasures, reads, schemas, witnesses, shards that stood still."""

from collections.abc import Sequence
from typing import Any, assert_never

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, Text, select

from contracts import Record, rfc3339
from contracts.audit import (
    AuditEvent,
    ErasureDeferred,
    ErasureOrdered,
    ErasureProposed,
    HoldPlaced,
    HoldReleased,
    KeyNoted,
    LogChangeProposed,
    LogKeyRotated,
    LogRead,
    PackExported,
    PersonErased,
    RetentionExpired,
    SchemaPublished,
    ShardHalted,
    ShardResumed,
    TamperingReported,
    WitnessAdded,
    WitnessRetired,
)
from projections import METADATA, Projection, Session

holds = Table(
    "audit_holds",
    METADATA,
    Column("hold", String(60), primary_key=True),
    Column("matter", String(100), nullable=False),
    Column("scope", Text, nullable=False, comment="JSON: streams, types, keys, since, until"),
    Column("placed_by", String(90), nullable=False),
    Column("placed", String(30), nullable=False),
    Column("released_by", String(90)),
    Column("released", String(30)),
)

erasures = Table(
    "audit_erasures",
    METADATA,
    Column("erasure", String(120), primary_key=True),
    Column("state", String(10), nullable=False, comment="proposed, ordered, deferred or done"),
    Column("keys", Text, nullable=False, comment="JSON list"),
    Column("basis", String(10), nullable=False),
    Column("bars", Text, nullable=False, comment="JSON list"),
    Column("until", String(30)),
    Column("proposed", String(30), nullable=False),
    Column("ordered_by", String(36), comment="the id of the ErasureOrdered"),
    Column("since", String(30), nullable=False),
)

schemas = Table(
    "audit_schemas",
    METADATA,
    Column("urn", String(160), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("retention_class", String(20), nullable=False),
    Column("sealed_fields", Text, nullable=False, comment="JSON list"),
    Column("published", String(30), nullable=False),
)

reads = Table(
    "audit_reads",
    METADATA,
    Column("event", String(36), primary_key=True),
    Column("reader", String(90), nullable=False, index=True),
    Column("time", String(30), nullable=False),
    Column("what", String(10), nullable=False, comment="entries, search, export or pack"),
    Column("purpose", String(100), nullable=False),
    Column("digest", String(64), nullable=False, comment="of the filter, or of a pack's manifest"),
    Column("first", BigInteger),
    Column("last", BigInteger),
    Column("count", BigInteger, nullable=False),
)

witnesses = Table(
    "audit_witnesses",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("key", String(300), nullable=False),
    Column("group", String(100), nullable=False),
    Column("since", String(30), nullable=False),
    Column("retired", String(30)),
)

halts = Table(
    "audit_halts",
    METADATA,
    Column("shard", String(120), primary_key=True),
    Column("halted", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", String(30), nullable=False),
    Column("reports", BigInteger, nullable=False, comment="entries that somebody found altered"),
)


def project(event: AuditEvent, record: Record, session: Session) -> None:
    """One row a hold, erasure, schema, read, witness and shard."""
    match event:
        case HoldPlaced() | HoldReleased():
            _hold(event, record, session)
        case ErasureProposed() | ErasureOrdered() | ErasureDeferred() | PersonErased():
            _erasure(event, record, session)
        case LogRead() | PackExported():
            _read(event, record, session)
        case ShardHalted() | ShardResumed() | TamperingReported():
            _shard(event, record, session)
        case SchemaPublished(urn=urn, digest=digest, retention_class=retention_class, sealed_fields=fields):
            row = {"urn": urn, "digest": digest, "retention_class": retention_class, "published": record.time}
            session.put(schemas, {**row, "sealed_fields": _json(list(fields))})
        case WitnessAdded(name=name, key=key, group=group):
            session.put(witnesses, {"name": name, "key": key, "group": group, "since": record.time, "retired": None})
        case WitnessRetired(name=name):
            session.change(witnesses, name, retired=record.time)
        case LogChangeProposed() | LogKeyRotated() | RetentionExpired() | KeyNoted():
            pass
        case _:
            assert_never(event)


def _hold(event: HoldPlaced | HoldReleased, record: Record, session: Session) -> None:
    match event:
        case HoldPlaced(hold=hold, scope=scope, matter=matter, placed_by=actor):
            row = {"hold": hold, "matter": matter, "scope": scope.json_bytes().decode(), "placed_by": actor}
            session.put(holds, {**row, "placed": record.time, "released_by": None, "released": None})
        case HoldReleased(hold=hold, released_by=actor):
            session.change(holds, hold, released_by=actor, released=record.time)
        case _:
            assert_never(event)


def _erasure(
    event: ErasureProposed | ErasureOrdered | ErasureDeferred | PersonErased, record: Record, session: Session
) -> None:
    erasure = record.stream_id
    match event:
        case ErasureProposed(keys=keys, basis=basis):
            row = {"erasure": erasure, "state": "proposed", "keys": _json([entry.key for entry in keys]), "basis": basis}
            more = {"bars": "[]", "until": None, "proposed": record.time, "ordered_by": None, "since": record.time}
            session.put(erasures, {**row, **more})
        case ErasureOrdered():
            ordered = {"state": "ordered", "ordered_by": record.id, "bars": "[]", "until": None, "since": record.time}
            session.change(erasures, erasure, **ordered)
        case ErasureDeferred(bars=bars, until=until):
            deferred = {"state": "deferred", "bars": _json(list(bars)), "until": rfc3339(until) if until else None}
            session.change(erasures, erasure, **deferred, since=record.time)
        case PersonErased():
            session.change(erasures, erasure, state="done", since=record.time)
        case _:
            assert_never(event)


def _read(event: LogRead | PackExported, record: Record, session: Session) -> None:
    row: dict[str, Any] = {"event": record.id, "reader": event.reader, "time": record.time}
    match event:
        case LogRead(purpose=purpose, what=what, filter_digest=digest, first=first, last=last, count=count):
            more = {"what": what, "purpose": purpose, "digest": digest, "first": first, "last": last, "count": count}
            session.put(reads, {**row, **more})
        case PackExported(pack=pack, manifest_digest=digest):
            more = {"what": "pack", "purpose": pack, "digest": digest, "first": None, "last": None, "count": 1}
            session.put(reads, {**row, **more})
        case _:
            assert_never(event)


def _shard(event: ShardHalted | ShardResumed | TamperingReported, record: Record, session: Session) -> None:
    shard = record.stream_id
    known = session.get(halts, shard) or {
        "shard": shard, "halted": False, "sequence": 0, "reason": "", "since": record.time, "reports": 0,
    }  # fmt: skip
    match event:
        case ShardHalted(sequence=sequence, reason=reason):
            halted = {"halted": True, "sequence": sequence, "reason": reason, "since": record.time}
            session.put(halts, {**known, **halted})
        case ShardResumed():
            session.put(halts, {**known, "halted": False, "since": record.time})
        case TamperingReported():
            session.put(halts, {**known, "reports": known["reports"] + 1})
        case _:
            assert_never(event)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def audit_affairs() -> Projection:
    return Projection("audit_affairs", ("audit",), (holds, erasures, schemas, reads, witnesses, halts), project)


def holds_in_force(connection: Connection) -> Sequence[Any]:
    """Holds that nobody released, the oldest first."""
    return connection.execute(select(holds).where(holds.c.released.is_(None)).order_by(holds.c.placed)).all()


def erasures_in(state: str, connection: Connection) -> Sequence[Any]:
    """Erasures in that state, the longest waiting first."""
    return connection.execute(select(erasures).where(erasures.c.state == state).order_by(erasures.c.since)).all()


def reads_by(reader: str | None, since: str, connection: Connection) -> Sequence[Any]:
    """Who read what since then, the newest first; of everybody where no reader is named."""
    statement = select(reads).where(reads.c.time >= since).order_by(reads.c.time.desc())
    return connection.execute(statement.where(reads.c.reader == reader) if reader else statement).all()


def witnesses_asked(connection: Connection) -> Sequence[Any]:
    """Witnesses that were not retired."""
    return connection.execute(select(witnesses).where(witnesses.c.retired.is_(None)).order_by(witnesses.c.name)).all()
