"""How long a broker may keep a consumer's fetch waiting, by whether anything comes: what is idle asks seldom."""

import time
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer

IDLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Wait:
    """The broker answers when it has so many bytes, and no later than after so many milliseconds."""

    ms: int
    bytes: int = 1


@dataclass
class Pace:
    """One consumer's. aiokafka lets nobody change its mind: these are the names under which it keeps what it was told."""

    busy: Wait
    idle: Wait
    _came_at: float = field(default_factory=time.monotonic)

    def keep(self, consumer: AIOKafkaConsumer, records: int) -> None:
        """To be told after each poll how many records it brought; holds from the next fetch on."""
        now = time.monotonic()
        if records:
            self._came_at = now
        wait = self.idle if now - self._came_at > IDLE_SECONDS else self.busy
        fetcher: Any = consumer._fetcher
        fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = wait.ms, wait.bytes
