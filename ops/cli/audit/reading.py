"""What is read from the audit log. Whoever reads entries says why, and that is recorded before the answer leaves."""

import asyncio
import csv
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Exit, Failure, Json, answer, hint, say, table

if TYPE_CHECKING:
    from adapters.audit.search import Filter
    from ops.compose import Deployment

_LOOKING = "Looking"
_PROVING = "Proving"

AsKey = Annotated[str, typer.Option("--as", "-k", help="The key that reads; it has the role audit.reader.")]
Purpose = Annotated[str, typer.Option("--purpose", "-p", help="Why. It is recorded in the log before the answer leaves.")]
Stream = Annotated[str | None, typer.Option(help="The beginning of the stream's name.")]
Type = Annotated[str | None, typer.Option(help="The beginning of the type: `identity.`, `identity.KeyRevoked`.")]
Actor = Annotated[str | None, typer.Option(help="The DID that signed the command.")]
Since = Annotated[str | None, typer.Option(help="RFC 3339 in UTC, or a day.")]
Until = Annotated[str | None, typer.Option(help="RFC 3339 in UTC, or a day; not included.")]
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9:]+(?=[A-Za-z0-9]{8}(/|$))")
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z$")
DEFAULT_READER = "auditor-1"
DEFAULT_PURPOSE = "looking"


def query(
    stream: Stream = None,
    type: Type = None,
    actor: Actor = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 50,
    newest: Annotated[bool, typer.Option("--newest", help="The last ones instead of the first.")] = False,
    opened: Annotated[bool, typer.Option("--open", help="Open sealed fields, where their key still is.")] = False,
    key: AsKey = DEFAULT_READER,
    purpose: Purpose = DEFAULT_PURPOSE,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV with a header.")] = False,
    as_json: Json = False,
) -> None:
    """Search the log's entries by stream, type, context, actor and time."""
    from adapters.audit.search import search
    from ops.auditor import open_audit
    from ops.compose import deployment

    found = deployment()
    engine = open_audit(found)
    wanted = filter_of(stream, type, actor, since, until)
    record_read(found, engine, key, purpose, "search", wanted)
    rows = [_shown(row) for row in search(engine, wanted, limit, newest=newest)]
    if opened:
        _open(found, rows)
    if as_json:
        for row in rows:
            answer(row)
    elif as_csv:
        _write_csv(rows)
    else:
        columns = ("index", "time", "type", "stream", "actor")
        table(f"{len(rows)} entries", columns, [tuple(_short(row[name]) for name in columns) for row in rows])
        for row in rows if opened else ():
            for path, text in row.get("opened", {}).items():
                say("  {}: {} = {}", row["index"], path, text)


def checkpoint(
    witnessed: Annotated[bool, typer.Option("--witnessed", help="The newest that enough witnesses have cosigned.")] = False,
    as_json: Json = False,
) -> None:
    """Print the newest signed head (c2sp.org/tlog-checkpoint): keep it, and nobody can rewrite what is before it."""
    from adapters.audit.cosignatures import newest_witnessed
    from adapters.audit.log import AuditLog, NotInLog
    from ops.auditor import audit_policy, log_key, open_audit
    from ops.compose import deployment

    found = deployment()
    engine = open_audit(found)
    try:
        newest = newest_witnessed(engine, audit_policy(found)) if witnessed else AuditLog(engine).checkpoint()
    except NotInLog as error:
        raise Failure(str(error), "the auditor signs a second after the first event; `spaceos up` runs it") from None
    if newest is None:
        raise Failure("no head has the cosignatures that the policy asks for", "`spaceos audit policy` shows who is asked")
    size, note = newest
    if as_json:
        answer({"origin": log_key(found).name, "size": size, "note": note})
    else:
        sys.stdout.write(note)


def policy(as_json: Json = False) -> None:
    """Print what an auditor must have by another way than packs: the log's key and witnesses (c2sp.org/tlog-policy)."""
    from ops.auditor import audit_policy
    from ops.compose import deployment

    found = deployment()
    text = audit_policy(found).encode().decode()
    if as_json:
        answer({"policy": text, "genesis": found.genesis_path})
    else:
        sys.stdout.write(text)
        hint("Hand this over together with {}, not by the way by which packs travel", found.genesis_path)


def shards(as_json: Json = False) -> None:
    """How far each shard is in the log, and which ones stand still. Exit code 1 if one does."""
    from sqlalchemy import select

    from adapters.audit import tables
    from adapters.sql import reading
    from ops.auditor import open_audit
    from ops.compose import deployment

    with reading(open_audit(deployment())) as connection:
        rows = connection.execute(select(tables.shards).order_by(tables.shards.c.shard)).all()
    if as_json:
        answer({"shards": [{"shard": r.shard, "next": r.next, "head": r.last_hash, "halted": r.halted} for r in rows]})
    else:
        columns = ("shard", "next", "newest record", "halted")
        table("Shards of the log", columns, [(r.shard, r.next, r.last_time or None, r.halted) for r in rows])
    raise typer.Exit(Exit.FOUND_WRONG if any(row.halted for row in rows) else Exit.OK)


def reads(
    reader: Annotated[str | None, typer.Option(help="A DID; everybody without.")] = None,
    since: Annotated[str, typer.Option(help="RFC 3339 in UTC, or a day.")] = "2020-01-01",
    as_json: Json = False,
) -> None:
    """Who read what, when and why."""
    from adapters.sql import engine_for
    from adapters.sql import reading as read
    from ops.compose import deployment
    from projections.audit import reads_by

    with read(engine_for(deployment().settings.views)) as connection:
        rows = [row._asdict() for row in reads_by(reader, moment(since), connection)]
    if as_json:
        answer({"reads": rows})
    else:
        columns = ("time", "what", "purpose", "count", "reader")
        table("Reads", columns, [tuple(_short(row[name]) for name in columns) for row in rows])


def filter_of(
    stream: str | None, type: str | None, actor: str | None, since: str | None, until: str | None, **more: Any
) -> "Filter":
    """Raises Failure that names the wrong time."""
    from adapters.audit.search import Filter

    return Filter(stream, type, actor, moment(since) if since else None, moment(until) if until else None, **more)


def moment(given: str) -> str:
    """A day or an RFC 3339 time in the form in which records carry it. Raises Failure."""
    from contracts import instant, rfc3339

    try:
        return rfc3339(instant(given if "T" in given else f"{given}T00:00:00Z"))
    except ValueError as error:
        raise Failure(f"{given!r}: {error}", "like 2026-11-24 or 2026-11-24T13:00:00Z", exit_code=Exit.USAGE) from None


def record_read(
    found: "Deployment", engine: Any, key: str, purpose: str, what: str, wanted: "Filter", *, first: int = 0, last: int = 0
) -> str:
    """State who is about to read what, and why; the reader's DID. Nothing is shown to whoever may not. Raises NotAccepted."""
    import hashlib

    from adapters.audit.search import count
    from contracts.audit import RecordRead
    from ops.asking import Asking

    number, lowest, highest = count(engine, wanted)
    asked = json.dumps(wanted.document(), sort_keys=True).encode()
    command = RecordRead.read(
        {
            "purpose": purpose, "what": what, "filter_digest": hashlib.sha256(asked).hexdigest(),
            "first": first or lowest, "last": last or highest, "count": number,
        }
    )  # fmt: skip
    asking = Asking(found, key)
    asyncio.run(asking((command, f"audit/reads/{datetime.now(UTC).date()}")))
    return asking.did


def _shown(row: Any) -> dict[str, Any]:
    from adapters.tlog.entries import RecordEntry, read_entry

    entry = read_entry(bytes(row.entry))
    assert isinstance(entry, RecordEntry)
    return {
        "index": row.leaf, "time": row.time, "type": row.type, "stream": row.stream, "actor": row.actor, "id": row.event,
        "shard": row.shard, "sequence": row.sequence, "record": json.loads(entry.value), "signature": entry.signature,
    }  # fmt: skip


def _open(found: "Deployment", rows: list[dict[str, Any]]) -> None:
    from ops.sealing import open_vault, openings

    vault = open_vault(found)
    for row in rows:
        fields = {path: "(erased)" if text is None else text.text for path, _, text in openings(vault, row["record"])}
        if fields:
            row["opened"] = fields


def _write_csv(rows: list[dict[str, Any]]) -> None:
    columns = ("index", "time", "type", "stream", "actor", "id", "shard", "sequence", "data", "signature")
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        flat: Mapping[str, Any] = {**row, "data": json.dumps(row["record"]["data"], separators=(",", ":"))}
        writer.writerow([flat[name] for name in columns])


def _short(value: Any) -> Any:
    """Seconds of a time, and the last characters of a DID, tell enough: a table has no room for more."""
    if not isinstance(value, str):
        return value
    return _TIME.sub(r"\1", _DID.sub("…", value))


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_LOOKING)(query)
    app.command(rich_help_panel=_LOOKING)(shards)
    app.command(rich_help_panel=_LOOKING)(reads)
    app.command(rich_help_panel=_PROVING)(checkpoint)
    app.command(rich_help_panel=_PROVING)(policy)
