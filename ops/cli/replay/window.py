"""`spaceos replay window`: raw records of a topic through a function."""

import asyncio
from typing import Annotated

import typer

from ops.cli.output import Json, answer, say, table, working
from ops.cli.replay.asking import Record, recorded_as, told


def window(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="liveness.heartbeats, providers.events, …")],
    into: Annotated[str, typer.Option("--into", help="package.module:function; it is called with each record.")],
    first: Annotated[str, typer.Option("--from", help="start, held, a time, offset:N, 0=12,1=40; of events a position.")],
    second: Annotated[str, typer.Option("--to", help="The same forms, and now.")] = "now",
    group: Annotated[str | None, typer.Option("--group", help="A name to read under; that of a live group is refused.")] = None,
    record: Record = None,
    as_json: Json = False,
) -> None:
    """Hand a window of a topic's raw records to a function, in a world in which nothing live can be found.

    Records that were deleted from the window are an error. What the function returns is counted, and goes nowhere.
    """
    from ops.compose import deployment
    from ops.replay.recording import NOT_RECORDED
    from ops.replay.windows import replay_window

    found = deployment("operator")
    with told(), working("Reading the window…"):
        done = asyncio.run(replay_window(found, topic, first, second, into, group))
    event = recorded_as(found, record, done.command(), f"operations/run/{done.run}") if record else None
    if as_json:
        answer(
            {"run": done.run, "topic": topic, "from": first, "to": second, "function": into, "records": done.seen.records,
             "digest": done.seen.digest, "partitions": done.seen.partitions, "results": done.results,
             "results_digest": done.results_digest, "recorded_as": event}
        )  # fmt: skip
        return
    table(f"Window {done.run} of {topic}", ("partition", "records"), sorted(done.seen.partitions.items()))
    say("{:,} records, digest {}", done.seen.records, done.seen.digest)
    say("{:,} results of {}, digest {}", done.results, into, done.results_digest)
    say("{}", f"recorded as event {event}" if event else NOT_RECORDED)


def register(replay: typer.Typer) -> None:
    replay.command()(window)
