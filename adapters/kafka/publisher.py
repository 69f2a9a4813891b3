"""The publisher: what the owner of a shard commits, published byte for byte, in order, at least once.

It is handed what was committed in memory, and reads the store only where a sequence does not follow what was published:
at the start, after a failure, and what a dead owner left. Each shard is claimed by an epoch. Who has lost it is told when
he marks; what both send meanwhile are exact repeats, which readers drop by (shard, sequence).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.crash import crashpoint
from adapters.kafka.backlog import Backlog
from adapters.kafka.bare import bare_consumer
from adapters.kafka.comparing import Continued, compare
from adapters.kafka.producing import enqueue, producing
from adapters.sql import is_transient
from adapters.sql.outbox import Lane, Outbox, Outgoing
from adapters.sql.store import Sealed, Shard

log = logging.getLogger(__name__)

SEND_LIMIT = 2_000
"""Records of one lane that are sent together."""
READ_LIMIT, READ_LEAST = 20_000, 100
"""Records that are read from the store together, of all lanes; and of one of them at least, if it has so many."""
HELD_BYTES = 32 * 1024 * 1024
"""What is kept in memory while the broker is away; what comes after it is read from the store later."""
MARK_SECONDS = 0.25
"""Marks wait for each other: a mark that is lost in a crash costs repeats, not records."""
WATCH_SECONDS = 5.0
RETRY_SECONDS = 0.5
CLAIM_AGAIN_SECONDS = 3.0
"""Whoever lost a shard that is still assigned to him waits so long: a process that slept hears from its group meanwhile
that it has lost its partitions, and takes nothing back. Doubled each time, so that nobody takes a shard to and fro."""
LONGEST_PAUSE_SECONDS = 300.0
STALLED_SECONDS = 30.0
"""With something to send for so long, and a broker that answers, the producer is at fault."""


class Stalled(RuntimeError):
    """The broker answers and takes nothing from us. Ending the process is the cure: a new producer begins anew."""


@dataclass(slots=True, eq=False)
class _Line:
    """A lane that is ours, since it was claimed and compared."""

    lane: Lane
    next: int
    offset: int
    """Of the topic's last record."""


@dataclass(slots=True, eq=False)
class _Owned:
    """A shard that is assigned to this process."""

    stored: dict[str, int]
    """Records in the store, by kind, as far as we know."""
    epoch: int = -1
    """None that is in force while it is negative."""
    lines: tuple[_Line, ...] = ()
    """Its events and its outcomes; none while it is not compared."""
    claim_at: float = 0.0
    pause: float = CLAIM_AGAIN_SECONDS
    marked: tuple[int, ...] = ()

    @property
    def standing(self) -> tuple[int, ...]:
        return tuple(line.next for line in self.lines)


class Publisher:
    """Publishes the shards that it is told to own. Everything but `run` returns at once; all of it is for one event loop."""

    def __init__(
        self,
        outbox: Outbox,
        client: Mapping[str, Any],
        *,
        on_publish: Callable[[int, int], None] = lambda _sent, _waiting: None,
    ) -> None:
        self._outbox, self._client, self._on_publish = outbox, dict(client), on_publish
        self._owned: dict[int, _Owned] = {}
        self._behind: dict[int, _Owned] = {}
        """Those of which something may be stored and not sent."""
        self._backlog = Backlog(HELD_BYTES)
        self._progressed_at = time.monotonic()
        self._has_repeats = False
        self._stirred, self._unclaimed, self._sent, self._ending = (asyncio.Event() for _ in range(4))

    # What the owner tells

    def own(self, shards: Iterable[Shard]) -> None:
        """These shards, as of their counter rows, and no others. Those that are new are claimed."""
        rows = {shard.id: shard for shard in shards}
        for gone in self._owned.keys() - rows.keys():
            self._owned.pop(gone).lines = ()
            self._behind.pop(gone, None)
            self._drop(gone)
        for shard in rows.values():
            stored = {"events": shard.next_sequence, "outcomes": shard.next_outcome}
            if shard.id in self._owned:
                self._owned[shard.id].stored = stored
            else:
                self._owned[shard.id] = _Owned(stored)
        self._behind |= self._owned
        self._unclaimed.set()
        self._stirred.set()

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
                self._behind[after.id] = owned
        self._has_repeats |= has_repeats
        self._stirred.set()

    def is_level(self, shard: int) -> bool:
        """Whether the shard is ours to publish, and its topics hold nothing that the store has not."""
        return shard in self._owned and bool(self._owned[shard].lines)

    def stop(self) -> None:
        """Send and mark what was handed over, then return from `run`."""
        for event in (self._ending, self._stirred, self._unclaimed, self._sent):
            event.set()

    def _hold(self, shard: int, kind: str, record: Outgoing) -> None:
        if shard in self._owned:
            self._backlog.add((shard, kind), record)

    def _drop(self, shard: int) -> None:
        for kind in ("events", "outcomes"):
            self._backlog.drop((shard, kind))

    # Running

    async def run(self) -> None:
        """Until stopped. Raises StoreBehind, Forked, Stalled; a broker or a database that is away is waited for."""
        tasks = [
            asyncio.create_task(self._again(work)) for work in (self._publish, self._claim_and_watch, self._mark_now_and_then)
        ]
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
                    self._on_publish(0, self._waiting())
                    await self._watch(consumer)
                waiting = [owned.claim_at for owned in self._owned.values() if not owned.lines]
                pause = min([*waiting, watched_at + WATCH_SECONDS]) - time.monotonic()
                await _wait(self._unclaimed, max(pause, 0.05))
                self._unclaimed.clear()

    async def _claim(self, consumer: AIOKafkaConsumer, shards: Collection[int]) -> None:
        """Take them, and find in each topic what whoever had them left there. Raises StoreBehind, Forked."""
        claimed = {shard: self._owned[shard] for shard in shards}
        # A claim that is in force still is: only what the topics hold has to be asked again.
        if fresh := [shard for shard, owned in claimed.items() if owned.epoch < 0]:
            for shard, epoch in (await asyncio.to_thread(self._outbox.claim, fresh)).items():
                claimed[shard].epoch = epoch
        found = await compare(consumer, self._outbox, shards)
        lines: dict[int, list[_Line]] = {}
        for lane, place in sorted(found.items(), key=lambda pair: pair[0].kind):
            lines.setdefault(lane.shard, []).append(_Line(lane, place.next, place.offset))
        for shard, owned in claimed.items():
            owned.claim_at = time.monotonic() + RETRY_SECONDS
            if shard in lines and self._owned.get(shard) is owned:
                owned.lines = tuple(lines[shard])
                self._behind[shard] = owned
                self._learn(owned, found)
        self._has_repeats = True
        self._stirred.set()

    def _learn(self, owned: _Owned, found: Mapping[Lane, Continued]) -> None:
        places = [found[line.lane] for line in owned.lines]
        for line, place in zip(owned.lines, places, strict=True):
            owned.stored[line.lane.kind] = max(owned.stored[line.lane.kind], place.stored)
            if place.next != place.marked:
                log.info("%s is not as marked, going on from %d", f"{line.lane.topic}/{line.lane.partition}", place.next)
        owned.marked = tuple(place.marked for place in places)

    def _claim_later(self, owned: _Owned, pause: float = 0.0) -> None:
        owned.lines, owned.claim_at = (), time.monotonic() + pause
        self._unclaimed.set()

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """A topic that was wiped while nothing is written is noticed too. Raises Stalled, KafkaError."""
        # What is written while the broker answers is not held against its answer.
        written = {line: line.offset for owned in self._owned.values() for line in owned.lines}
        ends = await consumer.end_offsets([TopicPartition(line.lane.topic, line.lane.partition) for line in written])
        for line, offset in written.items():
            if (end := ends[TopicPartition(line.lane.topic, line.lane.partition)]) <= offset:
                self._made_anew(line, f"ends at {end}, we wrote {offset}")
        if not self._waiting():
            self._progressed_at = time.monotonic()
        elif time.monotonic() - self._progressed_at > STALLED_SECONDS:
            raise Stalled(f"{self._waiting()} records wait to be published, and none was taken for {STALLED_SECONDS:g} s")
        # A command that came again elsewhere than the first time is another owner's to repeat.
        self._has_repeats = bool(written)
        self._stirred.set()

    def _made_anew(self, line: _Line, why: str) -> None:
        """Offsets went back: the topic was deleted and made again. It is compared, and filled from the store."""
        owned = self._owned.get(line.lane.shard)
        if owned is not None and line in owned.lines:
            log.warning("%s/%d was made anew: %s", line.lane.topic, line.lane.partition, why)
            self._claim_later(owned)

    # Publishing

    async def _publish(self) -> None:
        async with producing(self._client) as producer:
            try:
                while (sent := await self._turn(producer)) or not self._ending.is_set():
                    if not self._waiting():
                        await self._stirred.wait()
                    elif not sent:
                        await asyncio.sleep(RETRY_SECONDS)
                    self._stirred.clear()
            except KafkaError:
                # Nobody knows what arrived.
                for owned in self._owned.values():
                    if owned.lines:
                        self._claim_later(owned)
                raise

    def _waiting(self) -> int:
        """Records that are in the store and not published."""
        return sum(max(0, owned.stored[x.lane.kind] - x.next) for owned in self._behind.values() for x in owned.lines)

    async def _turn(self, producer: AIOKafkaProducer) -> int:
        """Publish what is new, of every lane at once; how much that was."""
        due = await self._due()
        sent = 0
        if due:
            crashpoint("publish.read")
            sent = await self._send(producer, due)
            crashpoint("publish.sent")
            self._sent.set()
            self._progressed_at = time.monotonic()
            self._on_publish(sent, self._waiting())
        if self._has_repeats:
            await self._repeat(producer)
        return sent

    async def _due(self) -> list[tuple[_Line, list[Outgoing]]]:
        """Of each lane the records that come next: as they were handed over, or else from the store."""
        self._behind = {shard: o for shard, o in self._behind.items() if any(o.stored[x.lane.kind] > x.next for x in o.lines)}
        found: list[tuple[_Line, list[Outgoing]]] = []
        gaps = []
        for shard, owned in self._behind.items():
            for line in owned.lines:
                where = shard, line.lane.kind
                if records := self._backlog.take(where, line.next, SEND_LIMIT):
                    found.append((line, records))
                    continue
                begins = self._backlog.begins(where)
                missing = (owned.stored[line.lane.kind] if begins is None else begins) - line.next
                if missing > 0:
                    gaps.append((line, line.next, missing))
        if gaps:
            most = min(SEND_LIMIT, max(READ_LEAST, READ_LIMIT // len(gaps)))
            found += await asyncio.to_thread(
                lambda: [(line, self._outbox.read(line.lane, start, min(n, most))) for line, start, n in gaps]
            )
        return [(line, records) for line, records in found if records]

    async def _send(self, producer: AIOKafkaProducer, due: Sequence[tuple[_Line, Sequence[Outgoing]]]) -> int:
        futures: list[tuple[_Line, Any]] = []
        try:
            for line, records in due:
                crashpoint("publish.half_sent")
                futures.extend((line, future) for future in await enqueue(producer, line.lane, records))
        finally:
            # Also when enqueuing raised: what is on its way must arrive or fail before anything is sent again.
            answers = await asyncio.gather(*(future for _, future in futures), return_exceptions=True)
        for (line, _), answer in zip(futures, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            self._arrived(line, answer.offset)
        for line, records in due:
            line.next = records[-1].number + 1
        return sum(len(records) for _, records in due)

    async def _repeat(self, producer: AIOKafkaProducer) -> None:
        """Outcomes whose command came again, published once more, byte for byte."""
        self._has_repeats = False
        lines = {
            line.lane.shard: line for owned in self._owned.values() for line in owned.lines if line.lane.kind == "outcomes"
        }
        rows = await asyncio.to_thread(self._outbox.repeats, list(lines))
        # One that is not published for the first time yet would, ahead of its predecessors, make the next owner believe that
        # they are there.
        due = [(row, lines[shard], number) for row, shard, number in rows if number < lines[shard].next]
        if due:
            read = await asyncio.to_thread(lambda: [self._outbox.read(line.lane, n, 1) for _, line, n in due])
            await self._send_again(producer, [(line, records) for (_, line, _), records in zip(due, read, strict=True)])
            await asyncio.to_thread(self._outbox.repeated, [row for row, _, _ in due])
        if rows:
            self._has_repeats = True
            if due:
                self._stirred.set()

    async def _send_again(self, producer: AIOKafkaProducer, records: Sequence[tuple[_Line, Sequence[Outgoing]]]) -> None:
        for line, again in records:
            for future in await enqueue(producer, line.lane, again):
                self._arrived(line, (await future).offset)

    def _arrived(self, line: _Line, offset: int) -> None:
        if offset <= line.offset:
            self._made_anew(line, f"offset {offset} came after {line.offset}")
        line.offset = max(line.offset, offset)

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
        standing = {shard: (owned.standing[0], owned.standing[1]) for shard, owned in moved.items()}
        epochs = {shard: owned.epoch for shard, owned in moved.items()}
        lost = await asyncio.to_thread(self._outbox.mark, standing, epochs)
        crashpoint("publish.marked")
        for shard, owned in moved.items():
            if shard not in lost:
                owned.marked = standing[shard]
            elif owned.epoch == epochs[shard] and owned.lines:
                self._superseded(owned)

    def _superseded(self, owned: _Owned) -> None:
        lane = owned.lines[0].lane
        self._drop(lane.shard)
        log.warning("another process publishes %s/%d now", lane.topic, lane.partition)
        owned.epoch = -1
        self._claim_later(owned, owned.pause)
        owned.pause = min(owned.pause * 2, LONGEST_PAUSE_SECONDS)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, and no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
