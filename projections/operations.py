"""What operators and analysts did: versions of views, parked streams, runs, exports, and with what a deployment runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, Text, select

from contracts import Record
from contracts.liveness import ShardCut
from contracts.operations import (
    OperationsEvent,
    ProfileDeclared,
    RebuildAbandoned,
    RebuildStarted,
    RecordsExported,
    StreamDrained,
    StreamParked,
    StreamRedriven,
    VersionRetired,
    ViewSwapped,
    WhatIfRun,
    WindowReplayed,
)
from projections import METADATA, Projection, Session, WholeColumn

versions = Table(
    "operations_versions",
    METADATA,
    Column("projection", String(120), primary_key=True),
    Column("version", WholeColumn, primary_key=True, autoincrement=False),
    Column("state", String(10), nullable=False, comment="folding, live, kept, retired or abandoned"),
    Column("code_digest", String(64), nullable=False),
    Column("cut", Text, nullable=False, comment="JSON object of shards: the mark, then where it was swapped in"),
    Column("digest", String(64), comment="of the rows, when it was swapped in"),
    Column("meaning", String(4), comment="same or new, against the version that it replaced"),
    Column("since", String(30), nullable=False),
)

parked = Table(
    "operations_parked",
    METADATA,
    Column("name", String(120), primary_key=True),
    Column("reader", String(60), nullable=False),
    Column("stream", String(250), nullable=False),
    Column("shard", String(250), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("state", String(10), nullable=False, comment="parked, redriven or drained"),
    Column("error_digest", String(64), nullable=False),
    Column("since", String(30), nullable=False),
)

runs = Table(
    "operations_runs",
    METADATA,
    Column("run", String(120), primary_key=True),
    Column("kind", String(120), nullable=False, comment="a what-if's kind, or window"),
    Column("what", Text, nullable=False, comment="JSON: parameters, or topic and function"),
    Column("start", Text, nullable=False),
    Column("end", Text, nullable=False),
    Column("input_digest", String(64), nullable=False, comment="a window's: of its records"),
    Column("result_digest", String(64)),
    Column("run_by", String(90), nullable=False, index=True),
    Column("since", String(30), nullable=False),
)

exports = Table(
    "operations_exports",
    METADATA,
    Column("run", String(120), primary_key=True),
    Column("filter_digest", String(64), nullable=False),
    Column("cut", Text, nullable=False, comment="JSON object of shards"),
    Column("files", BigInteger, nullable=False),
    Column("log_size", BigInteger, nullable=False),
    Column("with_values", Boolean, nullable=False),
    Column("opened", Boolean, nullable=False, comment="what was sealed was opened"),
    Column("purpose", String(100)),
    Column("run_by", String(90), nullable=False, index=True),
    Column("since", String(30), nullable=False),
)

settings_in_force = Table(
    "operations_settings",
    METADATA,
    Column("network", String(120), primary_key=True),
    Column("profile", String(12), nullable=False),
    Column("settings_digest", String(64), nullable=False),
    Column("code_digest", String(64), nullable=False),
    Column("declared_by", String(90), nullable=False),
    Column("since", String(30), nullable=False),
)


def operations() -> Projection:
    return Projection("operations", ("operations",), (versions, parked, runs, exports, settings_in_force), project)


def project(event: OperationsEvent, record: Record, session: Session) -> None:
    """A row a version, parked stream, run, export and deployment."""
    name, since = record.stream_id, record.time
    match event:
        case RebuildStarted(version=version, code_digest=code, mark=mark):
            session.put(
                versions,
                {
                    "projection": name, "version": version, "state": "folding", "code_digest": code, "cut": _json(mark),
                    "digest": None, "meaning": None, "since": since,
                },
            )  # fmt: skip
        case ViewSwapped():
            _swap(event, name, since, session)
        case RebuildAbandoned(version=version):
            session.change(versions, name, version, state="abandoned", since=since)
        case VersionRetired(version=version):
            session.change(versions, name, version, state="retired", since=since)
        case StreamParked():
            session.put(
                parked,
                {
                    "name": name, "reader": event.reader, "stream": event.parked, "shard": event.shard,
                    "sequence": event.sequence, "state": "parked", "error_digest": event.error_digest, "since": since,
                },
            )  # fmt: skip
        case StreamRedriven():
            session.change(parked, name, state="redriven", since=since)
        case StreamDrained():
            session.change(parked, name, state="drained", since=since)
        case WhatIfRun() | WindowReplayed():
            _run(event, name, since, session)
        case RecordsExported():
            session.put(
                exports,
                {
                    "run": name, "filter_digest": event.filter_digest, "cut": _json(event.cut), "files": event.files,
                    "log_size": event.log_size, "with_values": event.values, "opened": event.opened,
                    "purpose": event.purpose, "run_by": event.run_by, "since": since,
                },
            )  # fmt: skip
        case ProfileDeclared(profile=profile, settings_digest=digest, code_digest=code):
            session.put(
                settings_in_force,
                {
                    "network": name, "profile": profile, "settings_digest": digest, "code_digest": code,
                    "declared_by": record.actor, "since": since,
                },
            )  # fmt: skip
        case _:
            assert_never(event)


def _swap(event: ViewSwapped, name: str, since: str, session: Session) -> None:
    if event.replaces:
        session.change(versions, name, event.replaces, state="kept", since=since)
    session.change(
        versions, name, event.version, state="live", cut=_json(event.cut), digest=event.new_digest, meaning=event.meaning,
        since=since,
    )  # fmt: skip


def _run(event: WhatIfRun | WindowReplayed, name: str, since: str, session: Session) -> None:
    row = {"run": name, "run_by": event.run_by, "since": since}
    if isinstance(event, WhatIfRun):
        what = [parameter.model_dump(mode="json") for parameter in event.parameters]
        row |= {"kind": event.kind, "start": _json(event.start), "end": _json(event.end)}
        row |= {"input_digest": event.input_digest, "result_digest": event.result_digest}
        session.put(runs, {**row, "what": orjson.dumps(what).decode()})
        return
    what = [{"topic": event.topic, "function": event.function, "group": event.group, "records": event.records}]
    row |= {"kind": "window", "start": event.start, "end": event.end, "input_digest": event.digest}
    session.put(runs, {**row, "what": orjson.dumps(what).decode(), "result_digest": None})


def _json(places: Iterable[ShardCut]) -> str:
    return orjson.dumps({place.shard: place.next for place in places}, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a view, as operators recorded it."""

    version: int
    state: str
    digest: str | None
    since: str


def versions_of(projection: str, connection: Connection) -> Sequence[Version]:
    """The recorded versions of a view, the newest first."""
    statement = select(versions).where(versions.c.projection == projection).order_by(versions.c.version.desc())
    return [Version(row.version, row.state, row.digest, row.since) for row in connection.execute(statement)]


def live_version(projection: str, connection: Connection) -> int:
    """The version that is recorded as the live one; 0 where no swap was ever recorded."""
    where = (versions.c.projection == projection) & (versions.c.state == "live")
    return connection.execute(select(versions.c.version).where(where)).scalar() or 0
