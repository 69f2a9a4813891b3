"""`spaceos replay state | diff | why`: what was true then, and what made it so."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Failure, Json, answer, say, table
from ops.cli.replay.asking import At, From, Limit, LogKey, LogUrl, Origin, Projected, To, Verify, read

if TYPE_CHECKING:
    from adapters.replay.changes import Change, Reason


def state(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A projection, or a stream: providers/provider/did:key:…")],
    at: At = "now",
    verify: Verify = False,
    limit: Limit = 20,
    beside: Annotated[bool, typer.Option("--beside", help="Scratch tables in the views' database, not in a file.")] = False,
    source: Origin = "kafka",
    log: LogUrl = None,
    log_key: LogKey = None,
    as_json: Json = False,
) -> None:
    """Show a projection, or one stream's aggregate, as of a position. Nothing live is touched."""
    from adapters.replay.cuts import written
    from ops.compose import deployment, open_engine
    from ops.replay.states import state_at, stream_at

    found = deployment()
    if "/" in name:
        cut, fields = read(source, log, log_key, verify, lambda opened: stream_at(opened, name, at))
        answer({"stream": name, "cut": dict(cut), **({"state": fields} if as_json else fields)})
        return
    projection = found.projection(name)
    engine = open_engine(found.settings.views, "views") if beside else None
    then = read(source, log, log_key, verify, lambda opened: state_at(opened, projection, at, limit, engine))
    if as_json:
        tables = {each.name: {"rows": each.rows, "total": each.total} for each in then.tables}
        answer(
            {"projection": name, "cut": dict(then.cut), "events": then.events, "digest": then.digest.sha256,
             "rows": then.digest.rows, "tables": tables, "parked": [stream.stream for stream in then.parked]}
        )  # fmt: skip
        return
    for each in then.tables:
        shown = f"{each.name}: {len(each.rows)} of {each.total:,} rows"
        table(shown, each.columns, [tuple(row.values()) for row in each.rows])
    say("{:,} events, {:,} rows, digest {}\nat {}", then.events, then.digest.rows, then.digest.sha256, written(then.cut))
    for stream in then.parked:
        say("[yellow]parked[/] {} from {} {}: {}", stream.stream, stream.shard, stream.sequence, stream.reason)


def diff(
    name: Projected,
    first: From,
    second: To = "now",
    verify: Verify = False,
    limit: Limit = 100,
    source: Origin = "kafka",
    log: LogUrl = None,
    log_key: LogKey = None,
    as_json: Json = False,
) -> None:
    """Show the rows that were added, changed or taken away between two positions, each with the event that did it."""
    from adapters.replay.cuts import written
    from ops.compose import deployment
    from ops.replay.states import difference_between

    projection = deployment().projection(name)
    found = read(source, log, log_key, verify, lambda opened: difference_between(opened, projection, first, second))
    if as_json:
        answer(
            {"projection": name, "from": dict(found.first), "to": dict(found.second), "events": found.events,
             "digests": [found.first_digest.sha256, found.second_digest.sha256],
             "changes": [_change(change) for change in found.changes[:limit]], "total": len(found.changes)}
        )  # fmt: skip
        return
    columns = ("what", "row", "columns", "by", "at", "actor", "events")
    rows = [
        (change.kind, f"{change.table} {_key(change.key)}", ", ".join(change.columns), change.by.type,
         f"{change.by.shard} {change.by.sequence} {change.by.time}", change.by.actor, len(change.causes))
        for change in found.changes[:limit]
    ]  # fmt: skip
    if rows:
        table(f"{name} from {written(found.first)} to {written(found.second)}", columns, rows)
    say("{:,} rows differ after {:,} events", len(found.changes), found.events)


def why(
    name: Projected,
    key: Annotated[list[str], typer.Argument(metavar="KEY…", help="The row's primary key, or the first parts of it.")],
    at: At = "now",
    of: Annotated[str | None, typer.Option("--table", help="One table of the projection only.")] = None,
    verify: Verify = False,
    source: Origin = "kafka",
    log: LogUrl = None,
    log_key: LogKey = None,
    as_json: Json = False,
) -> None:
    """Show the events that made a row what it is, in their order. Exit code 1 if no event did."""
    from ops.compose import deployment
    from ops.replay.states import reasons_of

    projection = deployment().projection(name)
    found = read(source, log, log_key, verify, lambda opened: reasons_of(opened, projection, key, at, of))
    if as_json:
        answer({"projection": name, "key": key, "events": [_reason(reason) for reason in found]})
    elif found:
        columns = ("time", "event", "shard", "sequence", "actor", "row", "made it")
        rows = [
            (r.cause.time, r.cause.type, r.cause.shard, r.cause.sequence, r.cause.actor, f"{r.table} {_key(r.key)}", _made(r))
            for r in found
        ]
        table(f"Why {name} shows {' '.join(key)}", columns, rows)
    if not found:
        raise Failure(f"no event made a row {' '.join(key)} of {name}", f"its keys begin with: {_keys_of(projection)}")


def _change(change: "Change") -> dict[str, Any]:
    return {
        "what": change.kind, "table": change.table, "key": list(change.key), "before": _row(change.before),
        "after": _row(change.after), "by": change.by.document(), "events": len(change.causes),
    }  # fmt: skip


def _reason(reason: "Reason") -> dict[str, Any]:
    return {
        **reason.cause.document(), "table": reason.table, "key": list(reason.key), "before": _row(reason.before),
        "after": _row(reason.after),
    }  # fmt: skip


def _row(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else dict(row)


def _made(reason: "Reason") -> str:
    if reason.after is None:
        return "no more"
    before = reason.before or {}
    changed = {name: value for name, value in reason.after.items() if name not in before or before[name] != value}
    return ", ".join(f"{name}={value}" for name, value in changed.items())


def _key(key: Iterable[Any]) -> str:
    return " ".join(map(str, key))


def _keys_of(projection: Any) -> str:
    return "; ".join(f"{found.name} {' '.join(columns)}" for found, columns in projection.primary_keys())


def register(replay: typer.Typer) -> None:
    for command in (state, diff, why):
        replay.command()(command)
