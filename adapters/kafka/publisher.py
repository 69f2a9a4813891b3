"""The publisher: what the owner of a shard commits, published byte for byte, in order, at least once.

It is handed what was committed in memory, and reads the store only where a sequence does not follow what was published:
at the start, after a failure, and what a dead owner left. Each shard is claimed by an epoch. Who has lost it is told when
he marks; what both send meanwhile are exact repeats, which readers drop by (shard, sequence). Shards are judged one by one:
what is wrong with the topics of one, or refused there, is not the others' misfortune.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.crash import crashpoint
from adapters.kafka.backlog import Backlog
from adapters.kafka.bare import bare_consumer
from adapters.kafka.comparing import Compared, Comparing, IsAuthentic
from adapters.kafka.lanes import CLAIM_AGAIN_SECONDS, LONGEST_PAUSE_SECONDS, RETRY_SECONDS, Line, Owned
from adapters.kafka.reading import each_offset, led
from adapters.kafka.sending import Sending
from adapters.sql import is_transient
from adapters.sql.outbox import Mark, Outbox, Outgoing
from adapters.sql.store import Sealed, Shard

log = logging.getLogger(__name__)

HELD_BYTES = 32 * 1024 * 1024
"""What is kept in memory while the broker is away; what comes after it is read from the store later."""
MARK_SECONDS = 0.25
"""Marks wait for each other: a mark that is lost in a crash costs repeats, not records."""
WATCH_SECONDS = 5.0
CLOSED_SECONDS = 60.0
"""A shard whose topics and store do not fit is compared again so often: meanwhile somebody may have mended one of them."""
STUCK_SECONDS = 10.0
"""A lane that has answered nothing for so long is told of."""
STALLED_SECONDS = 30.0
"""With several lanes that take nothing for so long, and a broker that answers, the producer is at fault."""


class Stalled(RuntimeError):
    """The broker answers and takes nothing from us. Ending the process is the cure: a new producer begins anew."""


class Publisher:
    """Publishes the shards that it is told to own. Everything but `run` returns at once; all of it is for one event loop."""

    def __init__(
        self,
        outbox: Outbox,
        client: Mapping[str, Any],
        is_authentic: IsAuthentic,
        *,
        on_publish: Callable[[int, int], None] = lambda _sent, _waiting: None,
    ) -> None:
        """`is_authentic` tells what writers signed from what strangers left on the topics."""
        self._outbox, self._client, self._on_publish = outbox, dict(client), on_publish
        self._owned: dict[int, Owned] = {}
        self._backlog = Backlog(HELD_BYTES)
        self._comparing = Comparing(outbox, is_authentic)
        self._sending = Sending(
            outbox, client, self._owned, self._backlog, claim_later=self._claim_later, on_sent=self._on_sent
        )  # fmt: skip
        self._looked_at = time.monotonic()
        self._still = 0.0
        self._unclaimed, self._sent, self._ending = (asyncio.Event() for _ in range(3))

    # What the owner tells

    def own(self, shards: Iterable[Shard]) -> None:
        """These shards, as of their counter rows, and no others. Those that are new are claimed."""
        rows = {shard.id: shard for shard in shards}
        for gone in self._owned.keys() - rows.keys():
            self._owned.pop(gone).lines = ()
            self._sending.behind.pop(gone, None)
            self._drop(gone)
        for shard in rows.values():
            stored = {"events": shard.next_sequence, "outcomes": shard.next_outcome}
            if shard.id in self._owned:
                self._owned[shard.id].stored = stored
            else:
                self._owned[shard.id] = Owned(stored)
        self._sending.behind |= self._owned
        self._unclaimed.set()
        self._sending.stirred.set()

    def hand_over(self, sealed: Sealed, *, has_repeats: bool = False) -> None:
        """What was just committed."""
        for event in sealed.events:
            value = Outgoing(event.sequence, event.stream.encode(), event.value, event.signature, event.traceparent)
            self._hold(event.shard, "events", value)
        for row in sealed.commands:
            value = Outgoing(row.number, row.subject.encode(), row.outcome, row.outcome_signature, row.traceparent)
            self._hold(row.shard, "outcomes", value)
        for _, after in sealed.shards:
            if owned := self._owned.get(after.id):
                owned.stored = {"events": after.next_sequence, "outcomes": after.next_outcome}
                self._sending.behind[after.id] = owned
        self._sending.has_repeats |= has_repeats
        self._sending.stirred.set()

    def is_level(self, shard: int) -> bool:
        """Whether the shard is ours to publish, and its topics hold nothing that the store has not."""
        return shard in self._owned and bool(self._owned[shard].lines)

    def closed(self, shard: int) -> str | None:
        """Why nothing may be decided in a shard of ours until it is compared again; None where it may, or is not known."""
        return self._owned[shard].closed if shard in self._owned else None

    def stop(self) -> None:
        """Send and mark what was handed over, then return from `run`."""
        for event in (self._ending, self._sending.stirred, self._unclaimed, self._sent):
            event.set()

    def _hold(self, shard: int, kind: str, record: Outgoing) -> None:
        if shard in self._owned:
            self._backlog.add((shard, kind), record)

    def _drop(self, shard: int) -> None:
        for kind in ("events", "outcomes"):
            self._backlog.drop((shard, kind))

    # Running

    async def run(self) -> None:
        """Until stopped. Raises Stalled; a broker or a database that is away is waited for, a shard that is wrong is closed."""
        works = (lambda: self._sending.run(self._ending), self._claim_and_watch, self._mark_now_and_then)
        tasks = [asyncio.create_task(self._again(work)) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._mark()

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self._ending.is_set():
            try:
                await work()
            except Exception as error:
                if not (is_transient(error) or isinstance(error, KafkaError | ConnectionError)):
                    raise
                log.warning("waiting for broker or database: %s", str(error).partition("\n")[0])
                await asyncio.sleep(RETRY_SECONDS)

    # Claiming

    async def _claim_and_watch(self) -> None:
        async with bare_consumer(self._client) as consumer:
            watched_at = time.monotonic()
            while not self._ending.is_set():
                now = time.monotonic()
                due = [shard for shard, owned in self._owned.items() if not owned.lines and owned.claim_at <= now]
                if due:
                    await self._claim(consumer, due)
                if now - watched_at > WATCH_SECONDS:
                    watched_at = now
                    self._on_publish(0, self._sending.waiting)
                    await self._watch(consumer)
                waiting = [owned.claim_at for owned in self._owned.values() if not owned.lines]
                pause = min([*waiting, watched_at + WATCH_SECONDS]) - time.monotonic()
                await _wait(self._unclaimed, max(pause, 0.05))
                self._unclaimed.clear()

    async def _claim(self, consumer: AIOKafkaConsumer, shards: Collection[int]) -> None:
        """Take them, and find in each topic what whoever had them left there."""
        claimed, asked_at = {shard: self._owned[shard] for shard in shards}, time.monotonic()
        # A claim that is in force still is: only what the topics hold has to be asked again.
        if fresh := [shard for shard, owned in claimed.items() if owned.epoch < 0]:
            for shard, epoch in (await asyncio.to_thread(self._outbox.claim, fresh)).items():
                claimed[shard].epoch, claimed[shard].claimed_at = epoch, time.monotonic()
        found = await self._comparing.compare(consumer, shards)
        lines: dict[int, list[Line]] = {}
        for lane, place in sorted(found.lanes.items(), key=lambda pair: pair[0].kind):
            lines.setdefault(lane.shard, []).append(Line(lane, place.next, place.offset, place.seen))
        for shard, owned in claimed.items():
            # One that does not answer is not asked all the time: the others wait meanwhile.
            owned.claim_at = time.monotonic() + RETRY_SECONDS + 3 * (time.monotonic() - asked_at)
            if self._owned.get(shard) is not owned:
                continue
            if shard in found.closed:
                owned.claim_at = time.monotonic() + CLOSED_SECONDS
                await self._close(shard, owned, str(found.closed[shard]))
            elif shard in lines:
                await self._close(shard, owned, None)
                owned.lines = tuple(lines[shard])
                self._sending.behind[shard] = owned
                self._learn(owned, found)
        self._sending.has_repeats = True
        self._sending.stirred.set()

    async def _close(self, shard: int, owned: Owned, why: str | None) -> None:
        """Say that nothing is decided there, and why; or that something is again."""
        if why == owned.closed:
            return
        if why is not None:
            log.error("closed: %s; nothing is decided or published in this shard until that is mended", why)
        elif owned.closed is not None:
            log.warning("open again, where this was so: %s", owned.closed)
        owned.closed = why
        await asyncio.to_thread(self._outbox.close, shard, owned.epoch, why)

    def _learn(self, owned: Owned, found: Compared) -> None:
        places = [found.lanes[line.lane] for line in owned.lines]
        for line, place in zip(owned.lines, places, strict=True):
            owned.stored[line.lane.kind] = max(owned.stored[line.lane.kind], place.stored)
            if place.next != place.marked.next:
                log.info("%s is not as marked, going on from %d", line, place.next)
        owned.marked = tuple(place.marked for place in places)
        if owned.standing != owned.marked:
            # Where nothing more is sent, nothing else would mark what a dead owner had published.
            self._sent.set()

    def _claim_later(self, owned: Owned, pause: float) -> None:
        owned.lines, owned.claim_at = (), time.monotonic() + pause
        self._unclaimed.set()

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """A topic that was wiped while nothing is written is noticed too. Raises Stalled, KafkaError."""
        # What is written while the broker answers is not held against its answer.
        written = {line: line.offset for owned in self._owned.values() for line in owned.lines}
        asked_at = time.monotonic()
        answering = await led(consumer, [_place(line) for line in written])
        ends = await each_offset(consumer.end_offsets, answering)
        for line, offset in written.items():
            owned = self._owned.get(line.lane.shard)
            if (end := ends.get(_place(line), offset + 1)) <= offset and owned is not None and line in owned.lines:
                # The topic was deleted and made again. It is compared, and filled from the store.
                log.warning("%s was made anew: it ends at %d, we wrote %d", line, end, offset)
                self._claim_later(owned, 0.0)
        self._judge_producer(asked_at, ends.keys())
        # A command that came again elsewhere than the first time is another owner's to repeat.
        self._sending.has_repeats |= bool(written)
        self._sending.stirred.set()

    def _judge_producer(self, asked_at: float, answered: Collection[TopicPartition]) -> None:
        """Time counts while the broker answers. One lane that takes nothing says nothing of the producer. Raises Stalled."""
        now, under_way = time.monotonic(), self._sending.under_way()
        for line in under_way:
            if now - line.since > STUCK_SECONDS and not line.is_told:
                line.is_told = True
                log.warning("%s has taken nothing for %.0f s; its shard alone waits", line, now - line.since)
        stuck = [line for line in under_way if line.since <= self._looked_at and _place(line) in answered]
        is_still = len(stuck) == len(under_way) > 1 and self._sending.taken_at <= self._looked_at
        answers_at_once = now - asked_at < WATCH_SECONDS and asked_at - self._looked_at < 3 * WATCH_SECONDS
        self._still = self._still + now - self._looked_at if is_still and answers_at_once else 0.0
        self._looked_at = now
        if self._still > STALLED_SECONDS:
            raise Stalled(f"{len(stuck)} partitions have taken nothing for {self._still:.0f} s, though the broker answers")

    # Publishing

    def _on_sent(self, records: int) -> None:
        self._sent.set()
        self._on_publish(records, self._sending.waiting)

    # Marking

    async def _mark_now_and_then(self) -> None:
        while not self._ending.is_set():
            await self._mark()
            await self._sent.wait()
            self._sent.clear()
            await _wait(self._ending, MARK_SECONDS)

    async def _mark(self) -> None:
        moved = {s: owned for s, owned in self._owned.items() if owned.lines and owned.standing != owned.marked}
        if not moved:
            return
        standing: dict[int, tuple[Mark, Mark]] = {s: (owned.standing[0], owned.standing[1]) for s, owned in moved.items()}
        epochs = {shard: owned.epoch for shard, owned in moved.items()}
        lost = await asyncio.to_thread(self._outbox.mark, standing, epochs)
        crashpoint("publish.marked")
        for shard, owned in moved.items():
            if shard not in lost:
                owned.marked = standing[shard]
            elif owned.epoch == epochs[shard] and owned.lines:
                self._superseded(owned)

    def _superseded(self, owned: Owned) -> None:
        line = owned.lines[0]
        self._drop(line.lane.shard)
        log.warning("another process publishes %s now", line)
        if time.monotonic() - owned.claimed_at > owned.pause + LONGEST_PAUSE_SECONDS:
            # It was in peace for long: this is no taking to and fro.
            owned.pause = CLAIM_AGAIN_SECONDS
        owned.epoch = -1
        self._claim_later(owned, owned.pause)
        owned.pause = min(owned.pause * 2, LONGEST_PAUSE_SECONDS)


def _place(line: Line) -> TopicPartition:
    return TopicPartition(line.lane.topic, line.lane.partition)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, and no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
