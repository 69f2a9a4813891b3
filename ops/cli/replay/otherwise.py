"""`spaceos replay whatif`: what would have been, said so that nobody takes it for history."""

from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import Exit, Json, answer, say, table
from ops.cli.replay.asking import From, Limit, LogKey, LogUrl, Origin, Record, To, Verify, read, recorded_as

if TYPE_CHECKING:
    from ops.replay.answering import Answered


def whatif(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="refold, redecide or recommand; or one: redecide:routes.")],
    first: From = "start",
    second: To = "now",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; what is not set is as recorded.")] = None,
    verify: Verify = False,
    limit: Limit = 20,
    record: Record = None,
    source: Origin = "kafka",
    log: LogUrl = None,
    log_key: LogKey = None,
    as_json: Json = False,
) -> None:
    """Decide again with other parameters, and show the difference. It is nobody's history: nothing of it is published.

    Exit code 1 if the recorded parameters do not give what was recorded: then the answer is not to be relied on.
    """
    from ops.compose import deployment
    from ops.replay.answering import ask_otherwise

    found = read(source, log, log_key, verify, lambda opened: ask_otherwise(opened, kind, settings or [], first, second))
    for answered in found:
        event = recorded_as(deployment(), record, answered.command(), f"operations/run/{answered.run}") if record else None
        if as_json:
            shown = answered.document()
            answer({**shown, "differences": shown["differences"][:limit], "recorded_as": event})
        else:
            _show_otherwise(answered, limit, event)
    if any(answered.verdict.unfaithful for answered in found):
        raise typer.Exit(Exit.FOUND_WRONG)


def list_whatifs(as_json: Json = False) -> None:
    """List the questions that can be asked otherwise, with their parameters and what the rules have."""
    from ops.replay.registry import all_whatifs

    rows = [
        (f"{each.kind}:{each.name}", each.about, parameter.name, parameter.shown, parameter.about)
        for each in all_whatifs()
        for parameter in each.parameters
    ]
    columns = ("what_if", "answers", "parameter", "recorded", "meaning")
    if as_json:
        answer({"what_ifs": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        table("What-ifs", columns, rows)


def _show_otherwise(answered: "Answered", limit: int, event: str | None) -> None:
    from adapters.replay.cuts import written
    from ops.replay.recording import NOT_RECORDED

    title, verdict = f"WHAT-IF {answered.run}", answered.verdict
    tried = ", ".join(f"{each['name']}={each['tried']}" for each in answered.parameters if each["tried"] != each["recorded"])
    say("[bold yellow]{}[/] {}, {}: {}", title, answered.whatif.title, answered.whatif.about, tried or "nothing changed")
    say("{} from {} to {}", title, written(answered.start), written(answered.end))
    shown = sorted(verdict.changed, key=lambda parted: (parted.cause.time, parted.cause.shard, parted.cause.sequence))[:limit]
    if shown:
        rows = [(p.subject, p.recorded, p.tried, f"{p.cause.shard} {p.cause.sequence} {p.cause.time}") for p in shown]
        table(f"{title}: other decisions", ("decision", "was", "would have been", "at"), rows)
    if verdict.accounts:
        units = [(name, *unit) for name, found in sorted(verdict.accounts.items())[:limit] for unit in sorted(found.items())]
        table(f"{title}: difference by account", ("account", "unit", "more"), [(a, u, f"{n:+,}") for a, u, n in units])
    say(
        "{} {:,} of {:,} decisions differ; {:,} refusals would have been acceptances, {:,} the reverse",
        title,
        len(verdict.changed),
        verdict.decisions,
        verdict.newly_accepted,
        verdict.newly_refused,
    )
    if verdict.first is not None:
        say("{} the worlds part at {} {}", title, verdict.first.cause.type, verdict.first.cause.id)
    for reason, count in sorted(verdict.passed_over.items()):
        say("{} not decided again, refused at the door: {} {:,}", title, reason, count)
    for subject in verdict.unfaithful[:limit]:
        say("[bold red]✗[/] {} the recorded parameters do not give what was recorded: {}", title, subject)
    say("{} {}", title, f"recorded as event {event}" if event else NOT_RECORDED)


def register(replay: typer.Typer) -> None:
    replay.command()(whatif)
    replay.command("whatifs")(list_whatifs)
