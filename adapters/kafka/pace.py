"""How long a broker may keep a consumer's fetch waiting, by whether anything comes: what is idle asks seldom."""

import time
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer

IDLE_SECONDS = 2.0
FLOOD_RECORDS = 200


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
    flooded: Wait | None = None
    """Where more than FLOOD_RECORDS a second come: a fetch costs as much as many records, so some may gather."""
    _came_at: float = field(default_factory=time.monotonic)
    _second: float = field(default_factory=time.monotonic)
    _records: int = 0
    _is_flooded: bool = False

    def keep(self, consumer: AIOKafkaConsumer, records: int) -> None:
        """To be told after each poll how many records it brought; holds from the next fetch on."""
        now = time.monotonic()
        self._records += records
        if records:
            self._came_at = now
        if now - self._second > 0.5:
            self._is_flooded = self._records > FLOOD_RECORDS * (now - self._second)
            self._second, self._records = now, 0
        wait = self.idle if now - self._came_at > IDLE_SECONDS else self.busy
        if self._is_flooded and self.flooded is not None:
            wait = self.flooded
        fetcher: Any = consumer._fetcher
        fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = wait.ms, wait.bytes
