"""`spaceos readers` and `parked`: how far each reader is, and what it could not apply."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import CARE, NETWORK, Exit, Json, answer, hint, say, table

if TYPE_CHECKING:
    from ops.readers import Lagging

parked = typer.Typer(no_args_is_help=True, help="Streams whose events a reader could not apply.")

COLUMNS = ("reader", "shard", "state", "next", "behind", "s behind", "parked", "fold s")


def readers(
    every_shard: Annotated[bool, typer.Option("--shards", help="A line for each shard, also where all is well.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far each reader is in each shard, what it does there, and which set reads it. Exit code 1 if one is not read."""
    from ops.compose import deployment
    from ops.readers import UNREAD, lagging_readers

    found = lagging_readers(deployment())
    if as_json:
        answer({"readers": [{**asdict(one.reader), "behind": one.behind, "seconds_behind": one.seconds} for one in found]})
    else:
        for name, of_set in groupby(sorted(found, key=lambda one: one.reader.set), lambda one: one.reader.set):
            those = list(of_set)
            title = f"Readers of the set {name}" if name else "Readers of no set"
            table(title, COLUMNS, [_line(one) for one in those] if every_shard else list(_by_reader(those)))
        if not every_shard:
            hint("[dim]Shards in which a reader is live and level share a line; --shards shows each.[/]")
    raise typer.Exit(Exit.FOUND_WRONG if any(one.reader.state == UNREAD for one in found) else Exit.OK)


def _line(one: "Lagging") -> tuple[object, ...]:
    at = one.reader
    return (at.reader, at.shard, at.state, at.next, one.behind, one.seconds, at.parked, round(at.fold_seconds, 2))


def _by_reader(found: Iterable["Lagging"]) -> Iterable[tuple[object, ...]]:
    """A line for those shards of a reader in which there is nothing to see, and one for each of the others."""
    for _, group in groupby(found, lambda one: one.reader.reader):
        all_shards = list(group)
        level = [one for one in all_shards if one.reader.state == "live" and not one.behind]
        if level:
            first = level[0].reader
            places = first.shard if len(level) == 1 else f"{len(level)} shards"
            applied, seconds = sum(x.reader.next for x in level), sum(x.reader.fold_seconds for x in level)
            yield (first.reader, places, first.state, applied, level[0].behind, level[0].seconds, 0, round(seconds, 2))
        yield from (_line(one) for one in all_shards if one not in level)


@parked.command("list")
def list_parked(as_json: Json = False) -> None:
    """Show the streams that wait, since when and why. Exit code 1 if there are any."""
    from adapters.sql import reading
    from adapters.views import parked_streams
    from ops.compose import deployment, open_engine

    with reading(open_engine(deployment().settings.views, "views")) as connection:
        found = parked_streams(connection)
    columns = ("reader", "stream", "shard", "sequence", "waiting", "attempts", "since", "reason")
    if as_json:
        answer({"parked": [{column: getattr(stream, column) for column in columns} for stream in found]})
    elif found:
        table("Parked streams", columns, [tuple(getattr(stream, column) for column in columns) for stream in found])
    else:
        say("No stream is parked")
    raise typer.Exit(Exit.FOUND_WRONG if found else Exit.OK)


@parked.command()
def redrive(
    reader: Annotated[str, typer.Argument(help="The projection, process or collector.")],
    stream: Annotated[str, typer.Argument(help="The stream, as `parked list` names it.")],
    as_json: Json = False,
) -> None:
    """Apply a parked stream's events in order, with the code of today. Exit code 1 if one fails again."""
    from ops.compose import deployment
    from ops.serve import redrive as redriven

    result = asyncio.run(redriven(deployment(), reader, stream))
    if as_json:
        answer({"applied": result.applied, "waiting": result.waiting, "failure": result.failure})
    else:
        say("{} events applied{}", result.applied, f", {result.waiting} wait: {result.failure}" if result.failure else "")
    raise typer.Exit(Exit.FOUND_WRONG if result.failure else Exit.OK)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=NETWORK)(readers)
    app.add_typer(parked, name="parked", rich_help_panel=CARE)
