"""Blocking work of readers: SQL in threads beside the loop, so that polling and heartbeats go on meanwhile."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import ParamSpec, TypeVar

from adapters.kafka.locate import Sought
from adapters.views.positions import Position

P = ParamSpec("P")
T = TypeVar("T")

THREADS = min(os.cpu_count() or 1, 4)
"""Of all readers of a process: more would only wait for the interpreter."""
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="readers")


def _switch_soon() -> None:
    # A driver gives the interpreter away at every statement, and a busy event loop gives it back only when it must.
    # After the default 5 ms SQLite wrote 18,000 rows a second beside such a loop, after 0.5 ms 85,000.
    sys.setswitchinterval(0.0005)


class InTurn:
    """Calls of one reader that block, one after the other, in threads that the readers of a process share."""

    def __init__(self) -> None:
        _switch_soon()
        # A call whose caller was cancelled goes on, and the next one waits for it.
        self._lock = Lock()

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(_threads, self._call, partial(work, *args, **kwargs))

    def _call(self, work: Callable[[], T]) -> T:
        with self._lock:
            return work()


class OneThread:
    """Calls that block, one after the other, in a thread that nobody else waits for: they may ask a bank."""

    def __init__(self, name: str) -> None:
        _switch_soon()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(work, *args, **kwargs))


def sought(position: Position) -> Sought:
    """A position as the topic knows it."""
    return Sought(position.next, position.last_hash, position.offset)
