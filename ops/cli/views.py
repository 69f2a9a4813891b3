"""`spaceos rebuild` and `spaceos parked`: care of the views."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import CARE, Exit, Failure, Json, answer, say, table

if TYPE_CHECKING:
    from adapters.views.folding import Parts

parked = typer.Typer(no_args_is_help=True, help="Streams whose events a reader could not apply.")


def rebuild(
    name: Annotated[str, typer.Argument(help="The projection.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare only; nothing is swapped.")] = False,
    new_meaning: Annotated[bool, typer.Option("--new-meaning", help="Swap although the digests differ.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Events of one transaction.")] = 50_000,
    as_json: Json = False,
) -> None:
    """Fold the log again beside the live view, compare the digests, and swap. Exit code 1 if they differ."""
    from rich.console import Console
    from rich.progress import Progress

    from adapters.garbage import collect_rarely
    from adapters.views.rebuild import DigestsDiffer, Rebuild

    collect_rarely()
    with Progress(console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task(f"Rebuilding {name}", total=None)
        work = Rebuild(
            partial(parts_of, name), batch_records=batch, meaning_changed=new_meaning,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
        try:
            result = asyncio.run(work.verify() if verify else work.swap())
        except DigestsDiffer as error:
            raise Failure(str(error), "the live view is as it was; after a change of meaning: --new-meaning") from None
    found = {
        "projection": name, "events": result.events, "seconds": round(result.seconds, 3), "equal": result.equal,
        "swapped": result.swapped, "live": str(result.live), "rebuilt": str(result.rebuilt), "cut": dict(result.cut),
    }  # fmt: skip
    if as_json:
        answer(found)
    else:
        rate = result.events / result.seconds if result.seconds else 0
        verdict = "[green]equal[/]" if result.equal else "[yellow]different[/]"
        say(f"{result.events:,} events folded in {result.seconds:.2f} s ({rate:,.0f} a second); digests are {verdict}")
        say(f"  live    {result.live}\n  rebuilt {result.rebuilt}")
        say("The new view is live" if result.swapped else "Nothing was swapped")
    if not result.equal and not result.swapped:
        raise typer.Exit(Exit.FOUND_WRONG)


def parts_of(name: str) -> "Parts":
    """What a rebuild of the projection needs; called again in each of its processes."""
    from adapters.views.folding import Parts
    from ops.compose import deployment, open_engine

    found = deployment()
    engine = open_engine(found.settings.views, "views")
    return Parts(engine, found.projection(name), found.settings.kafka_client_options())


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
    reader: Annotated[str, typer.Argument(help="The projection.")],
    stream: Annotated[str, typer.Argument(help="The stream, as `parked list` names it.")],
    as_json: Json = False,
) -> None:
    """Apply a parked stream's events in order, with the code of today. Exit code 1 if one fails again."""
    from adapters.views import Projector
    from ops.compose import deployment, open_engine

    found = deployment()
    projector = Projector(open_engine(found.settings.views, "views"), found.projection(reader))
    result = projector.redrive(stream)
    while result.more and result.failure is None:
        result = projector.redrive(stream)
    if as_json:
        answer({"applied": result.applied, "waiting": result.waiting, "failure": result.failure})
    else:
        say(f"{result.applied} events applied" + (f", {result.waiting} wait: {result.failure}" if result.failure else ""))
    raise typer.Exit(Exit.FOUND_WRONG if result.failure else Exit.OK)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CARE)(rebuild)
    app.add_typer(parked, name="parked", rich_help_panel=CARE)
