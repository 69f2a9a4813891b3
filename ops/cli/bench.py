"""`spaceos bench`: how fast, as ratios to a baseline of the same run."""

import asyncio
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import CARE, Exit, Failure, Json, answer, hint, table

if TYPE_CHECKING:
    from ops.bench import Asked, Measure

DEPLOYMENT = "With a deployment of its own"


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all without. --list names them.")] = None,
    list_names: Annotated[bool, typer.Option("--list", help="Say which there are.")] = False,
    readers: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="So many in all, with dummies.", rich_help_panel=DEPLOYMENT)
    ] = None,
    contexts: Annotated[
        int | None, typer.Option(min=1, max=200, help="So many in all, with dummies.", rich_help_panel=DEPLOYMENT)
    ] = None,
    rates: Annotated[
        str, typer.Option(help="Commands a second, one after the other.", rich_help_panel=DEPLOYMENT)
    ] = "10,100,1000",
    seconds: Annotated[float | None, typer.Option(min=1, help="For each rate.", rich_help_panel=DEPLOYMENT)] = None,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Of each rate; the median counts.", rich_help_panel=DEPLOYMENT)] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Command workers.", rich_help_panel=DEPLOYMENT)] = 1,
    postgresql: Annotated[
        bool, typer.Option("--postgresql", help="A local server of its own instead of SQLite.", rich_help_panel=DEPLOYMENT)
    ] = False,
    store: Annotated[
        str | None, typer.Option(help="An empty PostgreSQL database, by its URL.", rich_help_panel=DEPLOYMENT)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure against a peer or a bare loop in the same run. With --json a measure a line."""
    from pkgutil import iter_modules

    import ops.bench
    from ops.bench import Asked

    known = sorted(module.name for module in iter_modules(ops.bench.__path__) if not module.name.startswith("_"))
    if list_names:
        if as_json:
            answer({"benchmarks": known})
        else:
            typer.echo("\n".join(known))
        return
    if unknown := set(names or ()) - set(known):
        raise Failure(f"no benchmark {min(unknown)}", f"there are: {', '.join(known)}", exit_code=Exit.USAGE)
    asked = Asked(readers, contexts, _rates(rates), seconds, runs, workers, postgresql, store)
    found = []
    for measure in _measures(names or known, asked, as_json):
        found.append(measure)
        if as_json:
            answer(measure.document())
    if not as_json:
        verdict = {True: "met", False: "missed", None: "inconclusive"}
        rows = [
            (m.measure, f"{_plain(m.ours)} {m.unit}", _plain(m.baseline), f"{m.ratio:.3g}", f"{m.goal} {verdict[m.met]}")
            for m in found
        ]
        table("Benchmarks: the medians of ours and of the baseline", ("", "ours", "baseline", "ratio", "goal"), rows)
    if any(measure.met is False for measure in found):
        raise typer.Exit(Exit.FOUND_WRONG)


def _rates(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(rate) for rate in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < rate <= 1_000_000 for rate in found):
        raise Failure(f"--rates {text}: numbers above 0 with commas between", exit_code=Exit.USAGE)
    return found


def _measures(names: Iterable[str], asked: "Asked", as_json: bool) -> Iterator["Measure"]:
    from importlib import import_module

    for name in names:
        hint("[dim]measuring {}…[/]", name)
        module = import_module(f"ops.bench.{name}")
        if hasattr(module, "measured"):
            try:
                yield from asyncio.run(_deployed(module, asked, _Told(as_json)))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
        else:
            yield from module.measures()


async def _deployed(module: ModuleType, asked: "Asked", told: "_Told") -> list["Measure"]:
    """Whoever ends us ends what we started: SIGTERM is taken like Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return [measure async for measure in module.measured(asked, told)]


class _Told:
    """`ops.bench.Report` for a person, or for a program."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def progress(self, text: str) -> None:
        hint("[dim]  {}…[/]", text)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        if not self._as_json:
            table(title, columns, rows)

    def document(self, found: Mapping[str, Any]) -> None:
        if self._as_json:
            answer(found)


def _plain(value: float) -> str:
    """Four figures, or all of a whole number's."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CARE)(bench)
