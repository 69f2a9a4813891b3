"""The most requests a second with which no view is ever more than a second behind: the demo's, with all readers."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import func, select

from adapters.sql import engine_for, reading
from adapters.sql.tables import shards
from adapters.views.tables import positions
from ops.bench import Asked, Measure, Report, judged
from ops.bench._crowd import Crowd
from ops.bench._deployment import Running, Setting, running
from ops.bench._measuring import OTHERS_PERCENT, REQUESTS, Rate, measure
from ops.bench._signing import MACHINES
from ops.demo.client import client_for
from ops.demo.scene import Scene
from ops.demo.stages import Stages
from ops.fleet import fleet

FIRST_RATE = 300.0
GROWTH = 1.5
HALVINGS = 3
"""Between the last rate that was sustained and the first that was not: 5 % are left."""
WARMING_SECONDS = 3.0
SECONDS = 20.0
BEHIND_SECONDS = 1.0
LOOK_SECONDS = 0.2
CALM_SECONDS = 90.0
"""So long what is left of a rate that was too much may take."""
MOST_RATE = 20_000.0
THEN = {("SQLite", 1): 700.0, ("PostgreSQL", 2): 370.0}
"""Requests a second by database and workers, before readers shared a consumer and owners published."""
GOAL = 2.5


def _quietly(title: str, total: int) -> Callable[[int], None]:
    del title, total
    return lambda _done: None


async def measured(asked: Asked, report: Report) -> AsyncIterator[Measure]:
    """The trace's requests, decided beforehand by the demo's router, in Poisson's rhythm, at rates that grow, then close in."""
    setting = Setting(Crowd(asked.contexts, asked.readers), asked.workers, asked.postgresql, asked.store)
    report.progress("starting a broker and the deployment")
    async with running(setting) as found:
        await found.claimed()
        async with client_for(found.settings.kafka_client_options(), found.settings.partitions) as client:
            report.progress(f"founding a network with {MACHINES} machines")
            scene = Scene(Stages.of(found.deployment), fleet(MACHINES), client)
            await scene.begin(_quietly)
            beating = asyncio.create_task(scene.keep_beating())
            try:
                steps = await _search(found, asked.seconds or SECONDS, report)
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        yield _told(steps, setting, report)


@dataclass
class _Step:
    rate: Rate
    behind: float
    """Seconds, the most that any reader was."""
    slowest: float
    """Seconds, of any request that was looked for."""

    @property
    def is_sustained(self) -> bool:
        return self.rate.is_whole and max(self.behind, self.slowest) <= BEHIND_SECONDS


async def _search(found: Running, seconds: float, report: Report) -> list[_Step]:
    steps: list[_Step] = []
    watch = _Watch(found)

    async def is_sustained(rate: float) -> bool:
        report.progress(f"{rate:,.0f} requests a second for {seconds:g} s")
        await watch.calm()
        async with watch:
            one = await measure(found, REQUESTS, rate, WARMING_SECONDS, seconds, seed=len(steps))
        step = _Step(one, watch.most, one.slowest_ms / 1000)
        steps.append(step)
        verdict = "sustained" if step.is_sustained else "too much"
        report.progress(f"{verdict}: a reader was {step.behind:.2f} s behind, a request took {step.slowest:.2f} s")
        document = {"behind_seconds": round(step.behind, 3), "is_sustained": step.is_sustained}
        report.document({"bench": "sustained", "what": "step", **asdict(one), **document})
        return step.is_sustained

    await closing_in(is_sustained)
    return steps


async def closing_in(is_sustained: Callable[[float], Awaitable[bool]]) -> None:
    """Try rates that grow until one is too much, then halve what lies between."""
    low, rate = 0.0, FIRST_RATE
    while rate < MOST_RATE and await is_sustained(rate):
        low, rate = rate, rate * GROWTH
    high = rate
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high) if low else high / 2
        low, high = (middle, high) if await is_sustained(middle) else (low, middle)


class _Watch:
    """How far behind the store the slowest of all readers is, looked at a few times a second."""

    def __init__(self, found: Running) -> None:
        self._store, self._views = engine_for(found.settings.store), found.views
        self._looks: deque[tuple[float, dict[str, int]]] = deque()
        self.most = 0.0
        """Seconds."""

    async def __aenter__(self) -> None:
        self.most = 0.0
        self._looks.clear()
        self._task = asyncio.create_task(self._keep_looking())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def calm(self) -> None:
        """Nothing is left to apply. Raises TimeoutError."""
        async with asyncio.timeout(CALM_SECONDS):
            before: dict[str, int] = {}
            while True:
                ends, reached = await asyncio.to_thread(self._look)
                if before == ends and _are_reached(ends, reached):
                    return
                before = ends
                await asyncio.sleep(1)

    async def _keep_looking(self) -> None:
        while True:
            now = time.monotonic()
            ends, reached = await asyncio.to_thread(self._look)
            self._looks.append((now, ends))
            while self._looks and _are_reached(self._looks[0][1], reached):
                self._looks.popleft()
            if self._looks:
                self.most = max(self.most, now - self._looks[0][0])
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> tuple[dict[str, int], dict[str, int]]:
        with reading(self._store) as connection:
            rows = connection.execute(select(shards.c.context, shards.c.partition, shards.c.next_sequence))
            ends = {f"{row.context}.events/{row.partition}": row.next_sequence for row in rows}
        with reading(self._views) as connection:
            slowest = select(positions.c.shard, func.min(positions.c.next)).group_by(positions.c.shard)
            return ends, dict(connection.execute(slowest).tuples().all())


def _are_reached(ends: Mapping[str, int], reached: Mapping[str, int]) -> bool:
    # A shard that nobody reads has no position.
    return all(reached.get(shard, end) >= end for shard, end in ends.items())


def _told(steps: Sequence[_Step], setting: Setting, report: Report) -> Measure:
    rows = [
        (
            f"{step.rate.asked:,.0f}/s", f"{step.rate.achieved:,.0f}/s", f"{step.behind:.2f} s", f"{step.slowest:.2f} s",
            f"{step.rate.whole.p50:,.0f} / {step.rate.whole.p99:,.0f}", f"{step.rate.cpu_ms_of_all:.2f}",
            f"{step.rate.others_percent:.0f} %", "yes" if step.is_sustained else "no",
        )
        for step in sorted(steps, key=lambda step: step.rate.asked)
    ]  # fmt: skip
    columns = ("asked", "sent", "a reader behind", "slowest", "p50 / p99, ms", "CPU, ms each", "others", "sustained")
    report.table(f"Requests of the demo on {setting.database}, {setting.workers} workers", columns, rows)
    most = max((step.rate.asked for step in steps if step.is_sustained), default=0.0)
    then = THEN.get((setting.database, setting.workers))
    goal = f"≥ {GOAL:g}" if then else "none known"
    name = f"requests a second with no view a second behind, {setting.database}, {setting.workers} workers / then"
    is_alone = all(step.rate.others_percent <= OTHERS_PERCENT for step in steps)
    found = judged(
        name, [most], [then or most or 1.0], unit="requests/s", goal=goal, is_met=lambda ratio, _: not then or ratio >= GOAL
    )
    return found if is_alone or found.met else replace(found, met=None)
