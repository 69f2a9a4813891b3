"""Ends a group that reads nothing although there is something to read, for whatever reason: a restart finds out.

The client does not notice that a topic was deleted and made anew, nor new partitions; a crashed thread tells nobody.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from adapters.faust.chunks import App
from adapters.kafka.bare import bare_consumer

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
STALLED_SECONDS = 15.0


class Stalled(Exception):
    """No poll, or no progress, for too long."""


class PartitionsChanged(Exception):
    """A topic has other partitions than when the group began."""


class Watchdog:
    """Looks from outside: a consumer of its own asks the broker for the topics' ends."""

    def __init__(
        self,
        app: App,
        client: Mapping[str, Any],
        topics: Sequence[str],
        *,
        on_look: Callable[[], None] = lambda: None,
        on_lag: Callable[[TP, int], None] = lambda _tp, _records: None,
    ) -> None:
        """`on_look` is a sign of life; `on_lag` tells how many records of a partition are ahead of us."""
        self._app, self._topics, self._on_look, self._on_lag = app, topics, on_look, on_lag
        self._client = dict(client)
        self._partitions: dict[str, int] = {}
        self._moved: dict[TP, tuple[int, float]] = {}
        self.busy_at = 0.0
        """When the group last did something itself: while a database is away, it does not poll, and is alive."""

    async def await_topics(self, stop: asyncio.Event) -> None:
        """Wait for the broker and for the topics, saying so."""
        while not stop.is_set():
            try:
                async with self._consumer() as consumer:
                    self._partitions = await self._count(consumer)
                if missing := [topic for topic in self._topics if topic not in self._partitions]:
                    log.warning("waiting for %s; make topics with `spaceos topics create`", ", ".join(missing))
                else:
                    return
            except (KafkaError, OSError) as error:
                log.warning("waiting for the broker at %s: %s", self._client["bootstrap_servers"], error)
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except TimeoutError:
                continue

    async def run(self) -> None:
        """Raises Stalled, PartitionsChanged."""
        self.busy_at = looked_at = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - looked_at > 2 * LOOK_SECONDS + 5:
                # We were suspended ourselves: judge by what happens from now on.
                self.busy_at = time.monotonic()
                self._moved.clear()
            looked_at = time.monotonic()
            self._poll_is_recent()
            self._on_look()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look()
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("the broker does not tell the topics' ends: %r", error)

    def _poll_is_recent(self) -> None:
        quiet = time.monotonic() - max(self._app.polled_at, self.busy_at)
        if quiet > STALLED_SECONDS:
            raise Stalled(f"no poll for {quiet:.0f} s")

    async def _look(self) -> None:
        async with self._consumer() as consumer:
            partitions = await self._count(consumer)
            if partitions != self._partitions:
                raise PartitionsChanged(f"{partitions} instead of {self._partitions}")
            mine = {TP(*tp) for tp in self._app.consumer.assignment()}
            ends = await consumer.end_offsets([TopicPartition(*tp) for tp in mine]) if mine else {}
        for tp in mine:
            self._progress(tp, ends[TopicPartition(*tp)], await self._app.consumer.position(tp))

    def _progress(self, tp: TP, end: int, position: int | None) -> None:
        now = time.monotonic()
        self._on_lag(tp, max(0, end - (position or 0)))
        before, since = self._moved.get(tp, (None, now))
        # Beyond the end is as bad as behind it: then the topic is not the one that was read.
        if position == end or position != before or position is None:
            since = now
        self._moved[tp] = (position if position is not None else -1, since)
        if now - since > STALLED_SECONDS and now - self.busy_at > STALLED_SECONDS:
            raise Stalled(f"{tp.topic}/{tp.partition} stands at {position} for {now - since:.0f} s, its end is {end}")

    async def _count(self, consumer: AIOKafkaConsumer) -> dict[str, int]:
        cluster = await consumer._client.fetch_all_metadata()
        return {topic: len(found) for topic in self._topics if (found := cluster.partitions_for_topic(topic))}

    def _consumer(self) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
        return bare_consumer(self._client, request_timeout_ms=5_000)
