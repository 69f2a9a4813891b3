"""`spaceos demo`: the main job."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import FIRST_STEPS, Exit, Json, answer, hint

if TYPE_CHECKING:
    from ops.demo.run import Options, Result
    from ops.supervisor import Happening


def demo(
    trace: Annotated[Path | None, typer.Option(help="CSV: TIMESTAMP,ContextTokens,GeneratedTokens.", exists=True)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Replay so many requests only.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Requests a second, in the trace's rhythm; without it what the machine bears.")
    ] = None,
    providers: Annotated[int, typer.Option(min=1, max=20_000, help="Machines of the fleet.")] = 200,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Command workers.")] = 1,
    money: Annotated[bool, typer.Option(help="Also stake, slash, deposit, mint, pay out, settle and reconcile.")] = True,
    statement: Annotated[
        Path | None, typer.Option(help="A bank's file (MT940, CAMT.053), whose credits become coins.", exists=True)
    ] = None,
    as_json: Json = False,
) -> None:
    """Start what is missing, register a fleet, replay a real trace of LLM requests, and check all of it.

    Ctrl-C stops everything; the next run goes on with the same network. Exit code 1 if the check finds something wrong.
    """
    from ops.demo.run import Options

    options = Options(trace, limit, rate, providers, workers, money, statement)
    result = _play(options, as_json)
    if not result.is_ok:
        raise typer.Exit(Exit.FOUND_WRONG)


def _play(options: "Options", as_json: bool) -> "Result":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ops import logs
    from ops.compose import deployment
    from ops.demo.run import run
    from ops.genesis import make_genesis
    from ops.local import kafka

    logs.configure("demo", "ERROR")
    found = deployment()
    settings = found.settings
    if not found.genesis_path.exists():
        make_genesis(found.genesis_path, settings.keys, "dev")
    must_start_kafka = settings.kafka is None and kafka.status(settings.home).state != "running"
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    progress = Progress(*columns, console=Console(stderr=True), disable=as_json)

    def stage(title: str, total: int) -> Callable[[int], None]:
        task = progress.add_task(title, total=total)
        return lambda done: progress.advance(task, done)

    def tell(happening: "Happening") -> None:
        if happening.what in {"ended", "silent"}:
            hint("[yellow]{} {}[/]: {}", happening.part, happening.what, happening.detail)

    try:
        if must_start_kafka:
            hint("[dim]Starting Kafka (the first start fetches 43 MB)…[/]")
            kafka.start(settings.home, settings=settings)
        with progress:
            result = asyncio.run(run(found, options, stage, tell))
    finally:
        if must_start_kafka:
            kafka.stop(settings.home)
    if as_json:
        answer(result.document())
    else:
        from ops.demo.report import show

        show(found, result)
    return result


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=FIRST_STEPS)(demo)
