"""Ends a group that reads nothing although there is something to read, for whatever reason: a restart finds out.

The client does not notice that a topic was deleted and made anew, nor new partitions; a crashed thread tells nobody.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.types import TP

from adapters.faust.chunks import App
from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.kafka.topics import PartitionsChanged

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
STALLED_SECONDS = 15.0
MISSING_SECONDS = 10.0
"""How long a group waits for all of its topics, where some are there."""


class Stalled(Exception):
    """No poll, or no progress, for too long."""


class TopicsChanged(RuntimeError):
    """A topic that was not there, or was, is now, or is not: who has what is shared out by those that there are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the broker said of the topics that were asked for: partitions of each that is there, and their ends."""

    partitions: Mapping[str, int]
    ends: Mapping[TP, int]


class Lookout:
    """Asks the broker with a consumer of its own, once every LOOK_SECONDS for all groups of a process."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._client = dict(client)
        self._topics: set[str] = set()
        self._looking: asyncio.Task[Seen] | None = None
        self._covered: frozenset[str] = frozenset()
        self._looked_at = 0.0
        self._open: AsyncExitStack | None = None
        self._consumer: Any = None

    async def close(self) -> None:
        """Nobody looks any more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._close()

    @property
    def where(self) -> str:
        return str(self._client["bootstrap_servers"])

    async def look(self, topics: Sequence[str]) -> Seen:
        """Not older than LOOK_SECONDS. Raises KafkaError, OSError, TimeoutError."""
        self._topics.update(topics)
        found = self._looking
        is_old = time.monotonic() - self._looked_at >= LOOK_SECONDS
        if found is None or (is_old and found.done()) or not self._covered.issuperset(topics):
            self._covered, self._looked_at = frozenset(self._topics), time.monotonic()
            found = self._looking = asyncio.create_task(self._look(self._covered))
            # Whoever waits takes the failure; where nobody does any more, nobody misses it.
            found.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(found)

    async def _look(self, topics: Collection[str]) -> Seen:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._ask(topics)
        except BaseException:
            await self._close()
            raise

    async def _ask(self, topics: Collection[str]) -> Seen:
        if self._consumer is None:
            self._open = AsyncExitStack()
            self._consumer = await self._open.enter_async_context(bare_consumer(self._client, request_timeout_ms=5_000))
        client = self._consumer._client
        await tell_topics(self._consumer, topics, or_else=True)
        if not await client.force_metadata_update():
            raise KafkaConnectionError("no broker told its topics")
        found = {topic: parts for topic in sorted(topics) if (parts := client.cluster.partitions_for_topic(topic))}
        asked = [TopicPartition(topic, n) for topic, parts in found.items() for n in sorted(parts)]
        ends = await self._consumer.end_offsets(asked) if asked else {}
        return Seen({topic: len(parts) for topic, parts in found.items()}, {TP(*tp): end for tp, end in ends.items()})

    async def _close(self) -> None:
        opened, self._open, self._consumer = self._open, None, None
        if opened is not None:
            await opened.aclose()


class Watchdog:
    """Looks from outside at what the group has and what there is."""

    def __init__(
        self,
        app: App,
        lookout: Lookout,
        topics: Sequence[str],
        *,
        on_look: Callable[[], None] = lambda: None,
        on_lag: Callable[[TP, int], None] = lambda _tp, _records: None,
    ) -> None:
        """`on_look` is a sign of life; `on_lag` tells how many records of a partition are ahead of us."""
        self._app, self._topics, self._on_look, self._on_lag = app, topics, on_look, on_lag
        self._lookout = lookout
        self._partitions: Mapping[str, int] = {}
        self._moved: dict[TP, tuple[int, float]] = {}
        self.busy_at = 0.0
        """When the group last did something itself: while a database is away, it does not poll, and is alive."""

    @property
    def partitions(self) -> Mapping[str, int]:
        """Of each topic that exists, as they were when it was waited for."""
        return self._partitions

    async def await_topics(self, stop: asyncio.Event) -> None:
        """Wait for the broker and for the topics, saying so.

        After MISSING_SECONDS those that are there are enough: one context's that is not made keeps no other's readers from
        starting. When it appears there are other partitions than before, and the group begins anew, with it.
        """
        began = time.monotonic()
        while not stop.is_set():
            try:
                self._partitions = self._mine((await self._lookout.look(self._topics)).partitions)
                if not (missing := [topic for topic in self._topics if topic not in self._partitions]):
                    return
                log.warning("waiting for %s; make topics with `spaceos topics create`", ", ".join(missing))
                # A broker that was just started denies some for a moment.
                if self._partitions and time.monotonic() - began > MISSING_SECONDS:
                    log.warning("starting without %s", ", ".join(missing))
                    return
            except (KafkaError, OSError) as error:
                log.warning("waiting for the broker at %s: %s", self._lookout.where, error)
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except TimeoutError:
                continue

    async def run(self) -> None:
        """Raises Stalled, TopicsChanged, PartitionsChanged."""
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
                await self._look()
            except (KafkaError, OSError) as error:
                log.info("the broker does not tell the topics' ends: %r", error)

    def _poll_is_recent(self) -> None:
        quiet = time.monotonic() - max(self._app.polled_at, self.busy_at)
        if quiet > STALLED_SECONDS:
            raise Stalled(f"no poll for {quiet:.0f} s")

    async def _look(self) -> None:
        seen = await self._lookout.look(self._topics)
        found = self._mine(seen.partitions)
        if changed := found.keys() ^ self._partitions.keys():
            there = [f"{topic} is {'there' if topic in found else 'gone'}" for topic in sorted(changed)]
            raise TopicsChanged(f"{', '.join(there)}: the group begins anew")
        for topic, partitions in found.items():
            if partitions != self._partitions[topic]:
                raise PartitionsChanged(topic, partitions, self._partitions[topic])
        for tp in {TP(*tp) for tp in self._app.consumer.assignment()}:
            self._progress(tp, seen.ends[tp], await self._app.consumer.position(tp))

    def _mine(self, partitions: Mapping[str, int]) -> Mapping[str, int]:
        return {topic: partitions[topic] for topic in self._topics if topic in partitions}

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
