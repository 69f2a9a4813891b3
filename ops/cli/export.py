"""`spaceos export` and `spaceos sql`: the log as files, and questions to them."""

import asyncio
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ops.cli.output import NETWORK, Exit, Failure, Json, answer, fail, hint, say, table
from ops.cli.replay.asking import LogKey, LogUrl, Origin, Record, Verify, recorded_as, told

if TYPE_CHECKING:
    from adapters.parquet import Answer, Manifest, Opened
    from ops.compose import Deployment
    from ops.replay.opening import Asked as Origins

SHOWN_ROWS = 1_000

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the export.")]


def export(
    folder: Folder,
    begin: Annotated[str, typer.Option("--from", help="A position; what is before it is left out.")] = "start",
    end: Annotated[str, typer.Option("--to", help="now, a time, checkpoint:N, an event's id, or a cut.")] = "now",
    types: Annotated[list[str] | None, typer.Option(help="A type of event, or a context; may be repeated.")] = None,
    values: Annotated[bool, typer.Option("--values", help="The records' bytes too: the audit log's leaves follow.")] = False,
    verify: Verify = False,
    source: Origin = "kafka",
    log: LogUrl = None,
    log_key: LogKey = None,
    record: Record = None,
    as_json: Json = False,
) -> None:
    """Write the log's events to Parquet files, their chain checked. Nobody's position in a topic changes."""
    from adapters.garbage import collect_rarely
    from adapters.parquet import FolderTaken, NameIsPattern, NotExportable
    from contracts import uuid7
    from ops.compose import deployment
    from ops.export import NoSuchType
    from ops.export.recording import command_of
    from ops.replay.opening import Asked

    collect_rarely()
    wanted = _Wanted(folder, begin, end, types, values)
    try:
        with told():
            found = deployment()
            manifest, log_size = asyncio.run(_export(found, Asked(source, log, verify, log_key), wanted, quiet=as_json))
    except (FolderTaken, NoSuchType, NameIsPattern) as error:
        raise Failure(str(error), exit_code=Exit.USAGE) from None
    except NotExportable as error:
        raise Failure(str(error), "somebody else publishes there; --verify says who") from None
    event = recorded_as(found, record, command_of(manifest, log_size), f"operations/run/{uuid7()}") if record else None
    _told(folder, manifest, event, as_json)


def sql(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[QUERY] DIR", help="The question, if there is but one; the folder.")
    ],
    file: Annotated[Path | None, typer.Option(help="Read the question from a file.", exists=True, dir_okay=False)] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Answer with CSV.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Do not compare the files with their digests first.")] = False,
    as_json: Json = False,
) -> None:
    """Ask an export in SQL: `events`, a view for each type, and `routes`, `offers`, `uptime` where there are such events.

    The SQL can read the export and nothing else. Without a question, a prompt.
    """
    from adapters.parquet import ExportDamaged, NameIsPattern, open_export

    query, folder = _question(arguments, file)
    try:
        opened = open_export(folder, trust=trust)
    except FileNotFoundError:
        raise Failure(f"{folder} is no export", f"make one: spaceos export {folder}", exit_code=Exit.USAGE) from None
    except NameIsPattern as error:
        raise Failure(str(error), exit_code=Exit.USAGE) from None
    except ExportDamaged as error:
        raise Failure(str(error), "export it again, or take another copy") from None
    with opened:
        if query is None:
            _prompt(opened)
        else:
            _ask(opened, query, as_csv=as_csv, as_json=as_json)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=NETWORK)(export)
    app.command(rich_help_panel=NETWORK)(sql)


# Export


class _Wanted(NamedTuple):
    folder: Path
    begin: str
    end: str
    types: list[str] | None
    values: bool


async def _export(found: "Deployment", origin: "Origins", wanted: _Wanted, *, quiet: bool) -> "tuple[Manifest, int]":
    """The manifest, and the size of the audit log, 0 where none is known."""
    from rich.console import Console
    from rich.progress import Progress

    from adapters.audit.log import AuditLog
    from adapters.parquet.writing import assert_free
    from adapters.replay import parse_position
    from adapters.replay.resolving import resolve
    from ops.export import Asked, event_types, export
    from ops.replay.opening import reading_from, topics_of

    # Before the log is searched for a position, which may take a while.
    assert_free(wanted.folder)
    types = event_types(wanted.types) if wanted.types else None
    topics = topics_of({name.partition(".")[0] for name in types} if types else found.contexts())
    with Progress(console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task(f"Exporting to {wanted.folder}", total=None)
        async with reading_from(found, origin) as opened:
            # A checkpoint where the export begins covers nothing of it; where it ends, all of it, which --verify shows.
            begin = await resolve(parse_position(wanted.begin), opened.source, topics, opened.log)
            end = await opened.cut(wanted.end, topics)
            check = opened.check() if origin.verify else None
            asked = Asked(found.network, begin, end, types, wanted.values, check)
            manifest = await export(
                asked, wanted.folder, opened.source, lambda done, total: bar.update(task, completed=done, total=total)
            )
            head = AuditLog(opened.log.engine).head() if opened.log is not None else None
            return manifest, head.size if head is not None else 0


def _told(folder: Path, manifest: "Manifest", event: str | None, as_json: bool) -> None:
    from ops.replay.recording import NOT_RECORDED

    if as_json:
        cut = {shard: [stretch.start, stretch.end] for shard, stretch in manifest.cut.items()}
        found = {"folder": folder, "events": manifest.events, "files": len(manifest.files), "bytes": manifest.size}
        answer(
            {"ok": True, **found, "cut": cut, "verified": manifest.verified, "values": manifest.values, "recorded_as": event}
        )
        return
    size = f"{manifest.size / 1e6:,.1f} MB"
    checked = "chain and signatures" if manifest.verified else "the chain"
    say("{:,} events in {:,} files, {}; {} checked", manifest.events, len(manifest.files), size, checked)
    say("{}", f"Recorded as event {event}" if event else NOT_RECORDED)
    say("Ask them: spaceos sql 'FROM events LIMIT 10' {}", folder)


# SQL


def _question(arguments: list[str], file: Path | None) -> tuple[str | None, Path]:
    if len(arguments) > 2 or (file is not None and len(arguments) > 1):
        raise Failure("one question and one folder", "quote the question: spaceos sql 'SELECT …' DIR", exit_code=Exit.USAGE)
    query = file.read_text() if file is not None else arguments[0] if len(arguments) == 2 else None
    return query, Path(arguments[-1])


def _ask(opened: "Opened", query: str, *, as_csv: bool, as_json: bool) -> None:
    from adapters.parquet import QueryFailed, QueryRefused

    try:
        found = opened.query(query)
        if as_json:
            answer({"columns": found.columns, "types": found.types, "rows": [list(map(_plain, row)) for row in found.rows]})
        elif as_csv:
            _write_csv(found)
        else:
            _show(found)
    except (QueryFailed, QueryRefused) as error:
        raise Failure(str(error), f"there are: {', '.join(opened.views)}", exit_code=Exit.USAGE) from None


def _write_csv(found: "Answer") -> None:
    out = csv.writer(sys.stdout)
    out.writerow(found.columns)
    out.writerows([_cell(value) for value in row] for row in found.rows)


def _show(found: "Answer") -> None:
    from itertools import islice

    shown = [tuple(map(_plain, row)) for row in islice(found.rows, SHOWN_ROWS)]
    table("", found.columns, shown)
    if next(found.rows, None) is not None:
        hint("[dim]These are the first {:,} rows; --csv and --json give all[/]", SHOWN_ROWS)


def _prompt(opened: "Opened") -> None:
    """Questions until the end of input. Each ends with a semicolon."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  arrows and history, where the platform has it
    from adapters.parquet import QueryFailed, QueryRefused

    hint("[dim]{:,} events. Views: {}. A question ends with ;[/]", opened.manifest.events, ", ".join(opened.views))
    for question in _questions():
        try:
            _show(opened.query(question))
        except (QueryFailed, QueryRefused) as error:
            fail(str(error), None)
        except KeyboardInterrupt:
            hint("[dim]interrupted[/]")


def _questions() -> Any:
    said = ""
    while True:
        try:
            said += input(("     ... " if said else "spaceos> ") if sys.stdin.isatty() else "") + "\n"
        except EOFError:
            return
        except KeyboardInterrupt:
            said = ""
            hint("")
            continue
        if said.rstrip().endswith(";"):
            yield said
            said = ""
        elif not said.strip() or said.strip() in {"exit", "quit"}:
            if said.strip():
                return
            said = ""


def _plain(value: Any) -> Any:
    """As JSON can say it exactly: integers beyond 2^53 and fractions as text, bytes as hexadecimal digits."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= 2**53 else str(value)
        case float():
            return value if value == value and abs(value) != float("inf") else str(value)
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            return str(value)


def _cell(value: Any) -> Any:
    import json

    found = _plain(value)
    return json.dumps(found, ensure_ascii=False) if isinstance(found, (list, dict)) else found
