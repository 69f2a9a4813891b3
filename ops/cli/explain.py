"""`spaceos explain slash`: why somebody was slashed, or is about to be: evidence, panel, signatures, arithmetic, verdict."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ops.cli.output import AUDIT, Exit, Failure, Json, answer, say, table

if TYPE_CHECKING:
    from adapters.replay.sources import Source
    from contracts.staking import CaseOpened
    from ops.replay.opening import Asked
    from projections.staking.queries import CaseFile
    from streams.staking.recomputing import Recomputed

explain = typer.Typer(no_args_is_help=True, help="Why it was decided so, as a person would like to read it.")

_STATES = {
    "open": "witnesses are heard", "attested": "attested; it may be disputed", "disputed": "disputed; a vote decides",
    "upheld": "upheld by the vote; it may be appealed", "appealed": "appealed; the council may void it",
    "voided": "void: nothing is taken", "executed": "executed", "lapsed": "lapsed: too few witnesses agreed in time",
}  # fmt: skip
_CAUSES = {
    "not_breached": "the witnesses found no breach", "innocent": "the witnesses found the proof good",
    "dispute_won": "the vote was against it", "no_quorum": "the vote had no quorum",
    "appeal_won": "three of the council voided it",
}  # fmt: skip


@explain.command()
def slash(
    case: Annotated[str, typer.Argument(help="The case's name, as `spaceos explain cases` shows it.")],
    recompute: Annotated[bool, typer.Option("--recompute", help="Compute it again from the published records.")] = False,
    source: Annotated[str, typer.Option(help="Where to read them: kafka, or log (the audit log).")] = "kafka",
    log: Annotated[
        str | None, typer.Option(metavar="URL", help="The audit log's database, if not that of the settings.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Evidence, panel, signatures, arithmetic and verdict of a case. Exit code 1 if the log gives other numbers."""
    from ops.replay.opening import Asked

    found = _case(case.removeprefix("staking/case/"))
    again = asyncio.run(_from_the_log(found.opened, Asked(_source(source), log))) if recompute else None
    differences = list(again.differences(found.opened)) if again else []
    if as_json:
        answer({**_document(found), "recomputed": _recomputed_document(again), "differences": differences})
    else:
        _tell(found)
        _compare(again, differences)
    raise typer.Exit(Exit.FOUND_WRONG if differences else Exit.OK)


@explain.command()
def cases(as_json: Json = False) -> None:
    """The cases that are not closed, the most urgent first."""
    from projections.staking.queries import open_cases

    with _views() as connection:
        found = open_cases(connection)
    if as_json:
        answer({"cases": [asdict(case) for case in found]})
    else:
        rows = [(case.case, case.offence, _STATES[case.state], case.deadline) for case in found]
        table("Open cases", ("case", "offence", "state", "until"), rows)


def _views() -> Any:
    from adapters.sql import engine_for, reading
    from ops.compose import deployment

    return reading(engine_for(deployment().settings.views))


def _case(name: str) -> "CaseFile":
    from projections.staking.queries import case

    with _views() as connection:
        found = case(name, connection)
    if found is None:
        raise Failure(f"there is no case {name}", "`spaceos explain cases` shows the open ones")
    return found


def _source(name: str) -> Literal["kafka", "log"]:
    if name not in ("kafka", "log"):
        raise Failure(f"{name} is no source", "--source kafka, or --source log", exit_code=Exit.USAGE)
    return "log" if name == "log" else "kafka"


# For people


def _tell(found: "CaseFile") -> None:
    opened = found.opened
    what = "Downtime" if opened.offence == "downtime" else "Bad proof"
    say("[bold]{} of {}, {}: {}[/]", what, opened.subject, _day(opened.epoch), _STATES[found.state])
    for heading, lines in (
        ("Evidence", _evidence(found)), ("Witnesses", _witnesses(found)), ("Arithmetic", _arithmetic(found)),
        ("Dispute", _dispute(found)), ("Verdict", _verdict(found)),
    ):  # fmt: skip
        say("\n[bold]{}[/]", heading)
        for line in lines:
            say("  {}", line)


def _evidence(found: "CaseFile") -> Iterator[str]:
    opened = found.opened
    if opened.uptime is not None:
        said = opened.uptime
        share = f"{said.missed * 100 / said.expected:.2f} %" if said.expected else "all"
        yield f"{said.missed} of {said.expected} slots were missed ({share}); more than 5 % is a breach"
        yield f"{said.excused} slots were excused for everybody and count neither way"
        yield f"the beats' root is {said.root}"
    elif found.attested is not None and found.attested.proof:
        yield f"{len(found.attested.proof)} signed records of {opened.key} prove it by themselves (--json prints them)"
    yield f"{'the record that closed the epoch' if opened.uptime else 'the evidence'} has the hash {opened.evidence}"
    yield f"opened at {_time(found.opened_at)}, under version {opened.policy_version} of the parameters"


def _witnesses(found: "CaseFile") -> Iterator[str]:
    from domain.staking.cases import tally

    opened = found.opened
    if not opened.needed:
        yield "none is needed: the evidence is signed by the accused"
        return
    yield f"a panel of {len(opened.panel)}, drawn by the seed {opened.seed}; {opened.needed} equal signatures attest"
    signed = {each.oracle: each for each in found.findings}
    for oracle in opened.panel:
        each = signed.get(oracle)
        yield f"{oracle}  {_finding(each.finding)}, {_time(each.at)}" if each else f"{oracle}  was silent"
    for finding, count in tally({oracle: each.finding for oracle, each in signed.items()}):
        yield f"{count} of {len(opened.panel)} signed: {_finding(finding)}, root {finding.root}"


def _finding(finding: Any) -> str:
    return f"{finding.missed} missed" if finding.missed is not None else str(finding.verdict)


def _arithmetic(found: "CaseFile") -> Iterator[str]:
    from domain.staking.arithmetic import slash_of

    opened, taken = found.opened, {(each.kind, each.subject): each for each in found.taken}
    for base in opened.bases:
        most = slash_of(base.units, opened.percent)
        yield f"{base.kind} of {base.subject}: {_space(base.units)} at risk when the epoch began"
        yield f"  {_space(base.units)} × {opened.percent} % = {_space(most)}, rounded up to a whole unit"
        if each := taken.get((base.kind, base.subject)):
            yield f"  {_space(each.units)} {'is held' if each.state == 'held' else each.state}"


def _dispute(found: "CaseFile") -> Iterator[str]:
    if found.attested is None:
        yield "a case is disputed once it is attested"
        return
    if found.disputed is None:
        verb = "closed at" if found.executed else "is open until"
        yield f"nobody disputed it; the window {verb} {_time(found.attested.dispute_until)}, for {_space(found.attested.bond)}"
    else:
        yield f"disputed under the proposal {found.disputed.proposal}, statement {found.disputed.statement}"
    if found.resolved is not None:
        verdict = "upheld the case" if found.resolved.upheld else "was against the case"
        yield f"the vote {verdict}" if found.resolved.quorum_met else "the vote had no quorum"
    if found.appealed is not None:
        yield f"appealed, statement {found.appealed.statement}; the council answers until {_time(found.appealed.answer_until)}"
    for person, verdict in found.answers:
        yield f"{person} of the council: {verdict}"
    for bond, state in found.bonds:
        yield f"a bond of {_space(bond.units)} from {bond.account} is {state}"


def _verdict(found: "CaseFile") -> Iterator[str]:
    if found.executed is not None:
        slashed = sum(each.units for each in found.taken if each.state == "slashed")
        waiting = sum(each.units for each in found.taken if each.state == "held")
        yield f"executed at {_time(found.since)}: {_space(slashed)} burned" + (
            f", {_space(waiting)} to come" if waiting else ""
        )
        if found.executed.burned:
            yield f"{_space(sum(bond.units for bond in found.executed.burned))} of bonds burned as well"
    elif found.voided is not None:
        yield f"void since {_time(found.since)}: {_CAUSES[found.voided.cause]}; what was held is free, the bonds return"
    elif found.state == "lapsed":
        yield f"lapsed at {_time(found.since)}; nothing was held"
    else:
        until = f" until {_time(found.deadline)}" if found.deadline else ""
        yield f"none yet: {_STATES[found.state]}{until}"


def _compare(again: "Recomputed | None", differences: Sequence[str]) -> None:
    if again is None:
        return
    say("\n[bold]Computed again from the log[/]")
    if not differences:
        shares = " and ".join(_space(share.units) for share in again.amounts) or "nothing"
        said = f"{again.uptime.missed} of {again.uptime.expected} missed, a panel of {len(again.panel)}, {shares}"
        say("  [green]the same[/]: {}", said)
    for difference in differences:
        say("  [bold red]✗[/] {}", difference)


def _space(units: int) -> str:
    from contracts import written

    return f"{written(units, 'SPACE')} SPACE"


def _day(epoch: int) -> str:
    from domain.staking.arithmetic import starts

    return f"{starts(epoch):%F}"


def _time(moment: Any) -> str:
    return f"{str(moment).replace('T', ' ')[:19]} UTC"


# For programs


def _document(found: "CaseFile") -> dict[str, Any]:
    def plain(event: Any) -> Any:
        return event.model_dump(mode="json", exclude_none=True) if event is not None else None

    return {
        "case": found.case, "state": found.state, "since": found.since, "deadline": found.deadline,
        "opened_at": found.opened_at, "opened": plain(found.opened),
        "findings": [{**plain(each.finding), "oracle": each.oracle, "key": each.key, "at": each.at} for each in found.findings],
        "attested": plain(found.attested), "disputed": plain(found.disputed), "resolved": plain(found.resolved),
        "appealed": plain(found.appealed), "answers": [{"person": p, "verdict": v} for p, v in found.answers],
        "executed": plain(found.executed), "voided": plain(found.voided),
        "bonds": [{**plain(bond), "state": state} for bond, state in found.bonds],
        "taken": [{**asdict(each), "units": str(each.units)} for each in found.taken],
    }  # fmt: skip


def _recomputed_document(again: "Recomputed | None") -> dict[str, Any] | None:
    if again is None:
        return None
    return {
        "device_key": again.device_key, "evidence": again.evidence, "uptime": again.uptime.model_dump(mode="json"),
        "is_breach": again.is_breach, "seed": again.seed, "panel": list(again.panel), "needed": again.needed,
        "percent": again.terms.downtime_slash_percent, "threshold_percent": again.terms.downtime_threshold_percent,
        "base": str(again.base), "amounts": [share.model_dump(mode="json") for share in again.amounts],
    }  # fmt: skip


# The log


async def _from_the_log(opened: "CaseOpened", asked: "Asked") -> "Recomputed":
    from ops.compose import deployment
    from ops.replay.opening import reading_from

    async with reading_from(deployment(), asked) as reading:
        return await recomputed_from(reading.source, opened)


async def recomputed_from(source: "Source", opened: "CaseOpened") -> "Recomputed":
    """From the published records of both contexts. Raises Failure where it is no downtime, or a record is not there."""
    from contracts.liveness import fleet_of
    from streams.staking.recomputing import NotInLog, device_key_of, recompute

    if opened.offence != "downtime":
        raise Failure("a bad proof is not computed but verified", "--json prints the signed records that prove it")
    try:
        staked = await _records(source, "staking", ("staking/collateral/", "staking/policy/"))
        key = device_key_of(opened, staked)
        wanted = (f"liveness/fleet/{fleet_of(key)}", f"liveness/device/{key}", "liveness/epoch/")
        return recompute(opened, await _records(source, "liveness", wanted), staked)
    except NotInLog as missing:
        raise Failure(str(missing), "is the log complete? `spaceos audit verify` tells") from None


async def _records(source: "Source", context: str, wanted: tuple[str, ...]) -> list[Any]:
    """Events with their records, of the streams whose names begin so."""
    from contracts import parse_event, read_event

    found = []
    ends = await source.ends(await source.shards([f"{context}.events"]))
    for shard, end in sorted(ends.items()):
        async for piece in source.read(shard, 0, end):
            records = (parse_event(published.value) for published in piece)
            found += [(read_event(record.document), record) for record in records if record.subject.startswith(wanted)]
    return found


def register(app: typer.Typer) -> None:
    app.add_typer(explain, name="explain", rich_help_panel=AUDIT)
