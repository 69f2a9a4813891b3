"""`spaceos rebuild`, `back`, `retire` and `digest`: care of the views."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import CARE, Exit, Failure, Json, answer, say

if TYPE_CHECKING:
    from adapters.views.folding import Parts
    from adapters.views.rebuild import Rebuild, Rebuilt
    from ops.replay.versions import Recorder

Name = Annotated[str, typer.Argument(metavar="NAME", help="The projection.")]
Record = Annotated[str | None, typer.Option("--record", metavar="KEY", help="The key that signs that this was done.")]


def rebuild(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="Compare only; nothing is swapped.")] = False,
    new_meaning: Annotated[bool, typer.Option("--new-meaning", help="Swap although the digests differ.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep what was live, so that `spaceos back` can bring it back.")] = True,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Events of one transaction.")] = 50_000,
    record: Record = None,
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
            partial(parts_of, name), batch_records=batch, meaning_changed=new_meaning, keep=keep,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
        try:
            recorder = None if verify else _recorder(name, record)
            with _told(), work.exclusive:
                result, event = asyncio.run(_compare(work) if verify else _swap(work, name, recorder, new_meaning))
        except DigestsDiffer as error:
            raise Failure(str(error), "the live view is as it was; after a change of meaning: --new-meaning") from None
    _show(result, event, as_json)
    if not verify:
        _say_recorded(event, record, as_json)
    if not result.equal and not result.swapped:
        raise typer.Exit(Exit.FOUND_WRONG)


def back(name: Name, record: Record = None, as_json: Json = False) -> None:
    """Go back to the version of a view that was live before the last swap, with all that has come since.

    What is live now is kept in its turn. To go back behind a change of meaning, deploy the code of then first.
    """
    from adapters.views.back import KeptIsOlder, NothingKept, go_back
    from adapters.views.exclusive import Exclusive

    recorder, parts = _recorder(name, record), parts_of(name)
    exclusive = Exclusive(parts.engine, name, "going back")

    async def run() -> "tuple[Rebuilt, str | None]":
        result = await go_back(partial(parts_of, name), exclusive=exclusive)
        if recorder is None:
            return result, None
        versions = await recorder.versions()
        # A version from before anybody recorded any has no number.
        return result, await recorder.swapped(versions.kept[-1], result, why="gone back") if versions.kept else None

    try:
        with _told(), exclusive:
            result, event = asyncio.run(run())
    except (NothingKept, KeptIsOlder) as error:
        raise Failure(str(error), "fold it again from the log: spaceos rebuild") from None
    _show(result, event, as_json)
    _say_recorded(event, record, as_json)


def retire(name: Name, record: Record = None, as_json: Json = False) -> None:
    """Drop the version that was kept at the last swap: there is no going back to it."""
    from adapters.views.back import NothingKept
    from adapters.views.back import retire as drop
    from adapters.views.beside import OLD, Beside
    from adapters.views.exclusive import Exclusive

    recorder, parts = _recorder(name, record), parts_of(name)
    event = None
    with _told(), Exclusive(parts.engine, name, "retiring") as exclusive:
        # Recorded first: who may not record it drops nothing.
        if recorder is not None and Beside(parts.engine, parts.projection, OLD).exists():
            event = asyncio.run(_retired(recorder))
        try:
            drop(partial(parts_of, name), exclusive=exclusive)
        except NothingKept as error:
            raise Failure(str(error)) from None
    if as_json:
        answer({"projection": name, "retired": True, "recorded_as": event})
        return
    say("The version before of {} is dropped", name)
    _say_recorded(event, record, as_json)


def digest(
    name: Name,
    at: Annotated[str | None, typer.Option(help="Of the log folded to a position, not of the live view.")] = None,
    as_json: Json = False,
) -> None:
    """Show a view's digest with the cut that it belongs to: equal digests at equal cuts are equal rows."""
    from adapters.replay.cuts import written
    from ops.cli.replay.asking import read
    from ops.compose import deployment, open_engine
    from ops.replay.states import live_digest, state_at

    found = deployment()
    projection = found.projection(name)
    if at is None:
        cut, shown = live_digest(open_engine(found.settings.views, "views"), projection)
    else:
        then = read("kafka", None, None, False, lambda opened: state_at(opened, projection, at, 0))
        cut, shown = dict(then.cut), then.digest
    if as_json:
        answer({"projection": name, "digest": shown.sha256, "rows": shown.rows, "cut": cut})
    else:
        say("{} ({:,} rows)\nat {}", shown.sha256, shown.rows, written(cut))


@contextmanager
def _told() -> Iterator[None]:
    """What somebody else does with the view, or has done."""
    from adapters.views.beside import Changed
    from adapters.views.exclusive import ViewTaken

    try:
        yield
    except ViewTaken as error:
        raise Failure(str(error)) from None
    except Changed as error:
        raise Failure(str(error), "the live view is as it was; begin again") from None


async def _compare(work: "Rebuild") -> "tuple[Rebuilt, str | None]":
    return await work.verify(), None


async def _retired(recorder: "Recorder") -> str | None:
    # A version from before anybody recorded any has no number.
    versions = await recorder.versions()
    return await recorder.retire(versions.kept[-1]) if versions.kept else None


async def _swap(work: "Rebuild", name: str, recorder: "Recorder | None", new_meaning: bool) -> "tuple[Rebuilt, str | None]":
    """With what was recorded of it. A rebuild that fails is recorded as abandoned."""
    if recorder is None:
        return await work.swap(), None
    version = await recorder.start(_live_cut(name))
    try:
        result = await work.swap()
    except Exception as error:
        await recorder.abandon(type(error).__name__)
        raise
    return result, await recorder.swapped(version, result, why="new meaning was asked for" if new_meaning else "equal")


def _live_cut(name: str) -> dict[str, int]:
    from ops.replay.states import live_cut

    parts = parts_of(name)
    return live_cut(parts.engine, parts.projection)


def _recorder(name: str, key: str | None) -> "Recorder | None":
    from ops.cli.key import find_key
    from ops.compose import deployment
    from ops.replay.versions import Recorder

    found = deployment()
    return None if key is None else Recorder(found, find_key(found.settings.keys, key), found.projection(name))


def _show(result: "Rebuilt", event: str | None, as_json: bool) -> None:
    if as_json:
        answer(
            {"projection": result.projection, "events": result.events, "seconds": round(result.seconds, 3),
             "equal": result.equal, "swapped": result.swapped, "live": str(result.live), "rebuilt": str(result.rebuilt),
             "cut": dict(result.cut), "recorded_as": event}
        )  # fmt: skip
        return
    rate = result.events / result.seconds if result.seconds else 0
    verdict = "[green]equal[/]" if result.equal else "[yellow]different[/]"
    say("{:,} events folded in {:.2f} s ({:,.0f} a second); digests are {}", result.events, result.seconds, rate, verdict)
    say("  live    {}\n  rebuilt {}", result.live, result.rebuilt)
    say("The new view is live" if result.swapped else "Nothing was swapped")


def _say_recorded(event: str | None, key: str | None, as_json: bool) -> None:
    from ops.replay.recording import NOT_RECORDED

    unknown = "Not recorded: that version is from before anybody recorded any"
    if not as_json:
        say("{}", f"Recorded as event {event}" if event else NOT_RECORDED if key is None else unknown)


def parts_of(name: str) -> "Parts":
    """What a rebuild of the projection needs; called again in each of its processes."""
    from adapters.views.folding import Parts
    from ops.compose import deployment, open_engine

    found = deployment()
    engine = open_engine(found.settings.views, "views")
    return Parts(engine, found.projection(name), found.settings.kafka_client_options(), found.vouch)


def register(app: typer.Typer) -> None:
    for command in (rebuild, back, retire, digest):
        app.command(rich_help_panel=CARE)(command)
