"""`spaceos audit prove` and `export`: files that show, to whoever does not trust us, what the log holds."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.audit import reading
from ops.cli.output import Exit, Failure, Json, answer, say

if TYPE_CHECKING:
    from adapters.audit.packs import Enclosed, Written
    from ops.compose import Deployment

_PROVING = "Proving"

Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file; by default in this folder.")]
Opened = Annotated[bool, typer.Option("--open", help="Enclose what sealed fields say, where their key still is.")]


def prove(
    what: Annotated[str, typer.Argument(metavar="EVENT|INDEX|STREAM", help="An event's id, an entry's index, or a stream.")],
    out: Out = None,
    proof_only: Annotated[bool, typer.Option("--proof", help="Only the entry's c2sp.org/tlog-proof, printed.")] = False,
    opened: Opened = False,
    key: reading.AsKey = reading.DEFAULT_READER,
    purpose: reading.Purpose = "proving",
    as_json: Json = False,
) -> None:
    """Write a pack that proves one event, or a whole stream: anybody can verify it offline, with the verifier in it."""
    from adapters.audit.log import AuditLog
    from adapters.audit.packs import write_pack
    from ops.auditor import open_audit
    from ops.compose import deployment

    found = deployment()
    log = AuditLog(open_audit(found))
    is_stream = "/" in what
    index = None if is_stream else int(what) if what.isdecimal() else log.index_of(what)
    if proof_only:
        if index is None:
            raise Failure("a tlog-proof is of one entry", "give an event's id or an entry's index", exit_code=Exit.USAGE)
        typer.echo(str(log.prove(index)), nl=False)
        return
    wanted = reading.filter_of(what if is_stream else None, None, None, None, None, first=index, end=_next(index))
    enclosed = _enclosed(found, log, key, purpose, wanted, opened=opened)
    target = out or Path(f"{what.replace('/', '_')}.zip")
    event = None if index is None else log.event_at(index)
    _tell(found, key, write_pack(log, target, event=event, stream=what if is_stream else None, enclosed=enclosed), as_json)


def export(
    out: Out = None,
    first: Annotated[int | None, typer.Option("--from", min=0, help="The first entry.")] = None,
    end: Annotated[int | None, typer.Option("--to", min=1, help="The entry after the last.")] = None,
    stream: reading.Stream = None,
    type: reading.Type = None,
    actor: reading.Actor = None,
    since: reading.Since = None,
    until: reading.Until = None,
    opened: Opened = False,
    key: reading.AsKey = reading.DEFAULT_READER,
    purpose: reading.Purpose = "exporting",
    as_json: Json = False,
) -> None:
    """Write a bundle of a range, or of what fits a filter. A filter is proven complete only on a range (--from, --to)."""
    from adapters.audit.log import AuditLog
    from adapters.audit.packs import write_bundle
    from ops.auditor import open_audit
    from ops.compose import deployment

    found = deployment()
    log = AuditLog(open_audit(found))
    wanted = reading.filter_of(stream, type, actor, since, until, first=first, end=end)
    if not wanted.document():
        wanted = reading.filter_of(None, None, None, None, None, first=0)
    enclosed = _enclosed(found, log, key, purpose, wanted, opened=opened)
    _tell(found, key, write_bundle(log, out or Path("bundle.zip"), wanted, enclosed), as_json)


def _next(index: int | None) -> int | None:
    return None if index is None else index + 1


def _enclosed(found: "Deployment", log: Any, key: str, purpose: str, wanted: Any, *, opened: bool) -> "Enclosed":
    """What goes with the entries. That somebody is about to read them is in the log before anything is written."""
    import ops
    from adapters.audit.cosignatures import newest_witnessed
    from adapters.audit.packs import Enclosed, commands_in
    from adapters.sql import engine_for
    from ops.auditor import audit_policy
    from ops.sealing import open_vault, openings

    reader = reading.record_read(found, log.engine, key, purpose, "export", wanted)
    vault = open_vault(found) if opened else None
    policy = audit_policy(found)
    witnessed = newest_witnessed(log.engine, policy) if policy.quorum is not None else None
    return Enclosed(
        verifier=(Path(ops.__path__[0]) / "auditverify.py").read_bytes(),
        commands=commands_in(engine_for(found.settings.store)),
        openings=(lambda document: openings(vault, document)) if vault is not None else None,
        reader=reader,
        note=witnessed[1] if witnessed is not None else None,
    )


def _tell(found: "Deployment", key: str, written: "Written", as_json: bool) -> None:
    from contracts.audit import RecordPack
    from ops.asking import Asking

    command = RecordPack.read(
        {"pack": "pack", "manifest_digest": written.manifest_sha256, "size": written.bytes},
    )
    asyncio.run(Asking(found, key)((command, f"audit/reads/{datetime.now(UTC).date()}")))
    if as_json:
        answer({"file": written.path, "bytes": written.bytes, "entries": written.entries, "manifest": written.manifest_sha256})
    else:
        say("{}: {:,} entries, {:,} bytes; manifest {}", written.path, written.entries, written.bytes, written.manifest_sha256)
        say("Verify it with: spaceos audit verify {} --policy POLICY --genesis GENESIS", written.path)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PROVING)(prove)
    app.command(rich_help_panel=_PROVING)(export)
