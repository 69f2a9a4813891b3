"""Command to view: a deployment that idles, then is sent signed commands at some rates; where time and CPU go."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from statistics import median

from ops.bench import Asked, Measure, Report, judged, within
from ops.bench._crowd import Crowd
from ops.bench._deployment import Running, Setting, running
from ops.bench._measuring import OTHERS_PERCENT, STAGES, STANDINGS, Rate, measure
from ops.bench._usage import durable_ms
from ops.demo.client import client_for
from ops.demo.stages import Stages
from streams import TodoList

IDLE_SECONDS = 20.0
SETTLE_SECONDS = 5.0
WARM_UP = (200.0, 10.0)
"""Commands a second, seconds: the broker compiles what it runs often, and has just started."""
WARMING_SECONDS = 5.0
"""Of each rate, before it is measured."""
SECONDS = 60.0
"""Then: a 99th percentile wants a minute."""
GOALS_MS = {10.0: (20.0, 50.0), 100.0: (25.0, 60.0), 1_000.0: (60.0, 150.0)}
"""By rate: p50 and p99 from command to view with 100 readers over 40 contexts, everything on two cores."""
IDLE_PERCENT = {"projectors": 2.0, "broker": 8.0}
CPU_MS = 1.2
"""Of all processes without generator and observer, a command at BUSY."""
BUSY = 1_000.0


async def measured(asked: Asked, report: Report) -> AsyncIterator[Measure]:
    """Standings of half a kilobyte, each for another provider, in Poisson's rhythm."""
    setting = Setting(Crowd(asked.contexts, asked.readers), asked.workers, asked.postgresql, asked.store)
    seconds = asked.seconds or SECONDS
    report.progress("starting a broker and the deployment")
    async with running(setting) as found:
        claimed = await found.claimed()
        shape = await asyncio.to_thread(_shape, found, setting)
        _tell_claims(report, shape, claimed, found)
        report.progress("founding the network and warming up")
        await _found_network(found)
        await measure(found, STANDINGS, *WARM_UP, 1.0, seed=1)
        async for one in _idle(found, report, shape):
            yield one
        runs: dict[float, list[Rate]] = {rate: [] for rate in asked.rates}
        for run in range(asked.runs):
            for n, rate in enumerate(asked.rates):
                report.progress(f"{rate:g} commands a second for {seconds:g} s, run {run + 1} of {asked.runs}")
                one_run = await measure(found, STANDINGS, rate, WARMING_SECONDS, seconds, seed=100 * (run + 1) + n)
                runs[rate].append(one_run)
                report.document({"bench": "path", "what": "rate", **shape, "run": run + 1, **_document(one_run)})
        _tell_rates(report, runs)
        for rate, found_rates in runs.items():
            for each in _judged(rate, found_rates):
                yield each


def _shape(found: Running, setting: Setting) -> dict[str, object]:
    readers = sum(not isinstance(stream, TodoList) for stream in found.deployment.streams)
    return {
        "database": setting.database, "workers": setting.workers,
        "contexts": len(found.deployment.contexts()), "readers": readers, "claims": found.deployment.claims(),
        "durable_ms": round(durable_ms(found.settings.home), 2),
    }  # fmt: skip


async def _found_network(found: Running) -> None:
    """It shows that whole ways are open: what comes back has been decided and published."""
    async with client_for(found.settings.kafka_client_options(), found.settings.partitions) as client:
        await client.all(Stages.of(found.deployment).founding(), lambda _: None)


def _tell_claims(report: Report, shape: Mapping[str, object], seconds: float, found: Running) -> None:
    report.document({"bench": "path", "what": "start", **shape, "claimed_seconds": round(seconds, 2)})
    title = f"{shape['readers']} readers over {shape['contexts']} contexts, {shape['database']}, {shape['workers']} workers"
    rows = [("all shards claimed after", f"{seconds:.1f} s"), ("claims", str(shape["claims"]))]
    rows.append(("a write of 8 kB is durable after", f"{shape['durable_ms']} ms"))
    report.table(title, ("from the start of the processes", ""), [*rows, ("ended meanwhile", found.complaints())])


async def _idle(found: Running, report: Report, shape: Mapping[str, object]) -> AsyncIterator[Measure]:
    report.progress(f"idle for {SETTLE_SECONDS + IDLE_SECONDS:g} s")
    await asyncio.sleep(SETTLE_SECONDS)
    before = found.cpu()
    await asyncio.sleep(IDLE_SECONDS)
    percent = {name: round(100 * seconds / IDLE_SECONDS, 2) for name, seconds in found.cpu_since(before).items()}
    memory = found.memory()
    sizes = {name: asdict(each) for name, each in memory.items()}
    report.document({"bench": "path", "what": "idle", **shape, "cpu_percent": percent, "memory_mb": sizes})
    rows = [(name, f"{percent[name]:.2f} %", f"{memory[name].rss:,.0f}", f"{memory[name].pss:,.0f}") for name in percent]
    rows.append(("together", f"{sum(percent.values()):.2f} %", "", f"{sum(each.pss for each in memory.values()):,.0f}"))
    report.table("Idle", ("process", "of a core", "RSS, MB", "PSS, MB"), rows)
    for name, most in IDLE_PERCENT.items():
        if name in percent:
            yield within(f"idle CPU of the {name}, % of a core", [percent[name]], most, "%")


def _document(rate: Rate) -> dict[str, object]:
    return {**asdict(rate), "cpu_ms_of_all": round(rate.cpu_ms_of_all, 4)}


def _tell_rates(report: Report, runs: Mapping[float, Sequence[Rate]]) -> None:
    rows: list[tuple[str, ...]] = []
    for rate, found in runs.items():
        stages = {name: [each.stages[stage] for each in found] for stage, name in STAGES.items()}
        for name, each in {**stages, "from sending to the row": [each.whole for each in found]}.items():
            rows.append((f"{rate:g}/s", name, *(_cell([getattr(one, p) for one in each]) for p in ("p50", "p90", "p99"))))
    report.table("Latency in ms, medians of the runs (least–greatest)", ("", "", "p50", "p90", "p99"), rows)
    columns = ("", *(f"{rate:g}/s" for rate in runs))
    names = sorted({name for found in runs.values() for each in found for name in each.cpu_ms})
    taken = {name: [[each.cpu_ms.get(name, 0.0) for each in found] for found in runs.values()] for name in names}
    for name, attribute in _APART.items():
        taken[name] = [[getattr(each, attribute) for each in found] for found in runs.values()]
    cpu = [(name, *(f"{median(each):.3f}" for each in found)) for name, found in taken.items()]
    report.table("CPU, ms a command", columns, cpu)
    told = {
        name: [_cell([getattr(each, attribute) for each in found]) for found in runs.values()]
        for name, attribute in _BESIDE.items()
    }
    report.table("How it was measured", columns, [(name, *cells) for name, cells in told.items()])


_APART = {
    "all of these": "cpu_ms_of_all", "apart: load generator": "generator_cpu_ms", "apart: observer": "observer_cpu_ms",
}  # fmt: skip
_BESIDE = {
    "acknowledged a second": "achieved", "commands": "commands", "rows that were looked for": "samples",
    "of these never seen": "unseen", "generator behind its rhythm, p99, ms": "late_p99_ms",
    "others on this machine, % of a core": "others_percent", "processes restarted": "restarts",
}  # fmt: skip


def _never(_ratio: float, _ours: float) -> bool:
    return False


def _cell(found: Sequence[float]) -> str:
    """The median, and between what."""
    middle = f"{median(found):,.1f}".removesuffix(".0")
    return middle if len(found) == 1 else f"{middle} ({min(found):,.1f}–{max(found):,.1f})"


def _judged(rate: float, found: Sequence[Rate]) -> list[Measure]:
    """Against the goals, where there is one for the rate. Where others had the machine too, a goal cannot be missed."""
    if not all(each.is_whole for each in found):
        # What was not sent, or never arrived, has no latency.
        seen = [100 * (each.samples - each.unseen) / each.samples for each in found]
        name = f"rows seen at {rate:g}/s, % of those looked for"
        return [
            judged(name, seen, [100.0], unit="%", goal="all, sent in rhythm, no restart", is_met=_never, ratio=seen[0] / 100)
        ]
    is_alone = all(each.others_percent <= OTHERS_PERCENT for each in found)
    goals = GOALS_MS.get(rate, ())
    measures = [
        within(f"command to view at {rate:g}/s, {name}", [getattr(each.whole, name) for each in found], goal, "ms", is_alone)
        for name, goal in zip(("p50", "p99"), goals, strict=False)
    ]
    if rate == BUSY:
        cpu = [each.cpu_ms_of_all for each in found]
        measures.append(within(f"CPU of all processes at {rate:g}/s, ms a command", cpu, CPU_MS, "ms", is_alone))
    return measures
