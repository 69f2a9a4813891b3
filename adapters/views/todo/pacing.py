"""Work that is done again and again, beside other such work: not more often than is good for the others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from adapters.sql import is_transient

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

SHARE = 5
"""After its work a job waits for so many times what that took, if that is longer: one that is slow delays itself."""
PAUSE_SECONDS = (0.5, 30.0)
"""After a failure: the first pause and the longest, each twice the one before."""


class Threads:
    """Calls that block, so many at a time."""

    def __init__(self, most: int) -> None:
        self._executor = ThreadPoolExecutor(most, thread_name_prefix="errands")

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *args, **kwargs))


class Job:
    """`work` is done once every so many seconds in the long run, and `burst` times in a row after a rest (a token bucket)."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[object]], every_seconds: float, burst: int,
        cost: Callable[[], float] = lambda: 0.0,
    ) -> None:  # fmt: skip
        """`cost` is what the last work took of the time of all, in seconds."""
        self.name, self._work, self._cost = name, work, cost
        self._every, self._most = every_seconds, float(burst)
        self._tokens, self._filled = self._most, -1.0
        self._not_before = 0.0
        self._pause = PAUSE_SECONDS[0]
        self.task: asyncio.Task[None] | None = None

    def wait_seconds(self, now: float) -> float:
        """By the loop's clock, until it may be started."""
        if self._filled >= 0:
            self._tokens = min(self._most, self._tokens + (now - self._filled) / self._every)
        self._filled = now
        return max(0.0, self._not_before - now, (1 - self._tokens) * self._every)

    def start(self, on_end: Callable[[], None]) -> None:
        self._tokens -= 1
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: self._end(on_end))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._work()
            self._not_before, self._pause = loop.time() + SHARE * self._cost(), PAUSE_SECONDS[0]
        except Exception as error:
            log.log(logging.WARNING if is_transient(error) else logging.ERROR, "%s: %r", self.name, error, exc_info=True)
            self._not_before, self._pause = loop.time() + self._pause, min(self._pause * 2, PAUSE_SECONDS[1])

    def _end(self, on_end: Callable[[], None]) -> None:
        self.task = None
        on_end()
