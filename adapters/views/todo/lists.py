"""All to-do lists of a process: one thread for their plans, one statement for their leases, one look at who has moved."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Lock

from sqlalchemy import Engine

from adapters.clock import now as machine_clock
from adapters.kafka.commands import Answer
from adapters.views.readers import OneThread
from adapters.views.todo.leases import Leases
from adapters.views.todo.pacing import Job, Threads
from adapters.views.todo.runner import Listing, Means, TodoRunner
from adapters.views.todo.watching import ProgressSignal, Shown, Watch
from adapters.views.wishes import Send

LOOK_SECONDS = 0.5
"""So often leases and positions are looked at: readers of this process tell by themselves, those of others do not."""
BURST = 5
"""So many plans of a list may follow each other at once, as the steps of one flow do; then it keeps its pause between them."""
OUTSIDE_THREADS = 16
"""For whatever asks a bank or a chain. A list takes one at a time, so a bank that is silent costs as many as there are lists
that ask it, and the others go on; a thread that nobody needs is not started."""


class Lists:
    """`send` signs and publishes; what became of it reaches `hear`. `views` are the projections that lists may read."""

    def __init__(
        self,
        engine: Engine,
        listings: Iterable[Listing],
        views: Iterable[Shown],
        send: Send,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._clock, self._plans = clock or machine_clock, OneThread("lists")
        means = Means(engine, Watch(views), send, self._clock, self._plans, Threads(OUTSIDE_THREADS))
        self._runners = {listing.name: TodoRunner(listing, means) for listing in listings}
        self._jobs = {
            name: Job(name, runner.turn, runner.every_seconds, BURST, runner.cost_seconds)
            for name, runner in self._runners.items()
        }
        self._looking = Job("to-do lists", self._look, LOOK_SECONDS, 1)
        self._leases, self._signal = Leases(engine, self._runners), ProgressSignal(engine)
        self._held: frozenset[str] = frozenset()
        self._lock = Lock()
        self._told: set[str] = set()
        """Readers that said that they have moved, of which no notice was taken yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()

    async def run(self, stop: asyncio.Event, on_life: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set. A list that fails is logged and tried again, and holds up no other."""
        self._loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._stirred.set())
        try:
            while not stop.is_set():
                on_life()
                self._stirred.clear()
                seconds = self._start_what_is_due(self._loop.time())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), seconds)
        finally:
            stopping.cancel()
            self._loop = None
            tasks = [job.task for job in (self._looking, *self._jobs.values()) if job.task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._plans(self._leases.give_up)

    async def turn(self) -> int:
        """Look, and work off each list that has cause to; how many commands were sent."""
        await self._look()
        due = [self._runners[name] for name in sorted(self._held) if self._runners[name].has_cause(self._clock())]
        return sum([await runner.turn() for runner in due])

    async def hear(self, answers: Sequence[Answer]) -> None:
        """Outcomes of any commands. Refusals of what was sent from here are remembered, and their lists planned again."""
        await asyncio.gather(*(runner.hear(answers) for runner in self._runners.values()))
        self._stirred.set()

    def moved(self, readers: Collection[str]) -> None:
        """Their rows have changed, and the change is committed. May be called in any thread."""
        with self._lock:
            self._told.update(readers)
        if (loop := self._loop) is not None:
            # It may end between the two.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stirred.set)

    def _start_what_is_due(self, time: float) -> float:
        """Seconds until something else may be."""
        self._take_notice()
        now, waits, due = self._clock(), [LOOK_SECONDS], [self._looking]
        for name in self._held:
            if self._runners[name].has_cause(now):
                due.append(self._jobs[name])
            else:
                waits.append(self._runners[name].wait_seconds(now))
        for job in due:
            if job.task is not None:
                continue
            if (wait := job.wait_seconds(time)) > 0:
                waits.append(wait)
            else:
                job.start(self._stirred.set)
        return min(waits)

    def _take_notice(self) -> None:
        with self._lock:
            told, self._told = self._told, set()
        if told:
            for runner in self._runners.values():
                runner.moved(told)

    async def _look(self) -> None:
        self._take_notice()
        held, moved = await self._plans(self._looked, self._clock())
        for runner in self._runners.values():
            runner.moved(moved)
        for name in held - self._held:
            self._runners[name].take_over()
        self._held = held

    def _looked(self, now: datetime) -> tuple[frozenset[str], frozenset[str]]:
        return self._leases.held(now), self._signal.moved()
