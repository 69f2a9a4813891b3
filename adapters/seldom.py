"""What strangers can cause again and again is said a few times and then once a minute: a log that they fill tells nothing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

MOST_LINES = 10
"""Of one thing in a minute: enough to see what it is."""
SECONDS = 60.0


@dataclass(slots=True)
class _Said:
    since: float
    lines: int = 0
    unsaid: int = 0


class Seldom:
    """Says how often a thing is said. Things are few: shards, readers; of each a little is remembered. Threads may share it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._said: dict[str, _Said] = {}
        self._lock = Lock()

    def count(self, thing: str, times: int = 1) -> int:
        """That it happened so often more: what is to be said now, with all that was not said since; 0 for nothing."""
        with self._lock:
            now = self._now()
            said = self._said.setdefault(thing, _Said(now))
            if now - said.since >= SECONDS:
                said.since, said.lines = now, 0
            said.unsaid += times
            if said.lines >= MOST_LINES:
                return 0
            said.lines += 1
            found, said.unsaid = said.unsaid, 0
            return found
