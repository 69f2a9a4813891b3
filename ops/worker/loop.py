"""The worker's life: poll, decide, commit, hand over, poll; for every failure one cure: forget, read the rows, seek to them."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from adapters.crash import crashpoint
from adapters.kafka.assigning import assignor_of, partitions_now
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait
from adapters.kafka.producing import STOP_SECONDS
from adapters.kafka.publisher import Publisher
from adapters.kafka.topics import PartitionsChanged
from adapters.sql import is_transient
from adapters.sql.store import Fenced, IntegrityError, Sealed, Shard, Store, StreamMoved
from adapters.telemetry import is_sampled, start_decision
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BATCH = 1000
"""Commands decided and committed together."""
POLL_MS = 200
OPENING_MS = 10
"""A poll of those partitions that are open, while others are still compared with their topics."""
BUSY, IDLE = Wait(100), Wait(500)
GATHER_SECONDS = 0.015
"""Where commands flow, batches are worth so much time: a batch of one costs half of what a batch of ten does."""
RECOVERY_SECONDS = 0.2
STALLED_SECONDS = 15.0
"""Behind the end of a partition for so long without progress: the client did not notice that the topic was made anew."""
LONGEST_SECONDS = 60.0
"""What takes longer than that is not alive."""


class CommandsLost(RuntimeError):
    """The commands topic begins after our position: what lay between was deleted before it was decided."""


class Stalled(RuntimeError):
    """The topic goes on and we do not see it. Ending the process is the cure: a new consumer finds it."""


@dataclass(slots=True)
class _Place:
    """A partition that is ours: the counter row that we believe in, once it is known to be the topic's."""

    door: Door
    shard: Shard
    is_confirmed: bool
    """The record before the position was seen and is the one that we consumed last."""
    is_open: bool
    """Its topics hold nothing that the store has not. On an older copy of the store nothing is decided."""
    progressed_at: float
    sought: int = -1
    """The last position that was sought because a poll began beyond it."""


class Worker:
    """Consumes every context's commands and publishes what it decides; positions are in SQL, Kafka's own are never read."""

    def __init__(
        self,
        store: Store,
        decider: Decider,
        publisher: Publisher,
        contexts: Sequence[str],
        client: Mapping[str, Any],
        partitions: int,
        *,
        on_batch: Callable[[Sealed, float], None] = lambda _sealed, _seconds: None,
        on_poll: Callable[[], None] = lambda: None,
        instance: str | None = None,
    ) -> None:
        self._store, self._decider, self._publisher = store, decider, publisher
        self._topics = [f"{context}.commands" for context in contexts]
        self._client, self._partitions, self._instance = dict(client), partitions, instance
        self._on_batch, self._on_poll = on_batch, on_poll
        self._places: dict[aiokafka.TopicPartition, _Place] = {}
        self._assigned: frozenset[aiokafka.TopicPartition] = frozenset()
        self._stop = asyncio.Event()
        self._checked_ends_at = time.monotonic()
        self._pace = Pace(BUSY, IDLE)

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Until stopped. Raises CommandsLost, PartitionsChanged, Stalled; whatever else fails is recovered from."""
        partitions: dict[str, int] = {}
        consumer = aiokafka.AIOKafkaConsumer(
            **self._client,
            group_id="spaceos.worker",
            group_instance_id=self._instance,
            partition_assignment_strategy=[assignor_of(partitions)],
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            fetch_max_wait_ms=BUSY.ms,
            fetch_min_bytes=BUSY.bytes,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            max_poll_records=MAX_BATCH,
            # A topic that is made anew is assigned again when its metadata are seen; five minutes is aiokafka's pace.
            metadata_max_age_ms=5_000,
        )
        await consumer.start()
        keep_hot(consumer, GATHER_SECONDS)
        publishing = asyncio.create_task(self._publisher.run())
        try:
            partitions.update(await partitions_now(consumer, self._topics))
            self._compare_partitions(partitions)
            consumer.subscribe(self._topics, listener=_Forgetful(self._places))
            while not self._stop.is_set():
                self._on_poll()
                await self._turn(consumer)
                if publishing.done():
                    publishing.result()
            # Before the group hears of our leaving: the next owner finds nothing left to do.
            await self._publish_the_rest(publishing)
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await consumer.stop()

    async def _publish_the_rest(self, publishing: "asyncio.Task[None]") -> None:
        self._publisher.stop()
        with suppress(TimeoutError):
            # A broker that is away is not waited for: the next owner publishes from the store.
            await asyncio.wait_for(publishing, STOP_SECONDS)

    async def _turn(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        try:
            await self._keep_to(consumer)
            waiting = any(not place.is_open for place in self._places.values())
            polled = await consumer.getmany(timeout_ms=OPENING_MS if waiting else POLL_MS, max_records=MAX_BATCH)
            self._pace.keep(consumer, sum(map(len, polled.values())))
            chunks = []
            for partition, records in polled.items():
                place = self._places.get(partition)
                if place is not None and (ready := await self._ready(consumer, partition, place, records)):
                    chunks.append((place, ready))
            if chunks:
                await self._commit(chunks)
            await self._watch_ends(consumer)
        except OffsetOutOfRangeError as error:
            await self._settle(consumer, error.args[0])
        except NoOffsetForPartitionError:
            # An assignment came between settling and polling; Kafka's own offset is none, and is never asked for.
            return
        except KafkaError as error:
            log.warning("broker: %r", error)
            await asyncio.sleep(RECOVERY_SECONDS)
        except Exception as error:
            # Two workers that insert one command at once are told so by the database only.
            if not (is_transient(error) or isinstance(error, Fenced | StreamMoved | IntegrityError)):
                raise
            log.warning("batch void, starting again from the counter rows: %s", str(error).partition("\n")[0])
            self._decider.forget()
            self._places.clear()
            await asyncio.sleep(RECOVERY_SECONDS)

    async def _commit(self, chunks: Sequence[tuple["_Place", list[Any]]]) -> None:
        started = time.perf_counter()
        # It may wait for a row that somebody holds in his sleep.
        sealed = await self._alive(asyncio.to_thread(self._decide, chunks))
        after = {shard.id: shard for _, shard in sealed.shards}
        for place, _ in chunks:
            place.shard, place.progressed_at = after[place.shard.id], time.monotonic()
        # A command that came again has no row of its own.
        has_repeats = len(sealed.commands) < sum(len(records) for _, records in chunks)
        self._publisher.hand_over(sealed, has_repeats=has_repeats)
        self._on_batch(sealed, time.perf_counter() - started)

    def _decide(self, chunks: Sequence[tuple["_Place", list[Any]]]) -> Sealed:
        crashpoint("command.received")
        checked = [Chunk(place.shard, [place.door.check(record) for record in records]) for place, records in chunks]
        crashpoint("command.verified")
        with _traced(checked):
            return self._decider.commit(checked)

    # Finding the place

    async def _keep_to(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """What is assigned now, and nothing else, is decided and published here."""
        assigned = frozenset(consumer.assignment())
        # Settled while a rebalance was under way, and gone with it.
        for partition in self._places.keys() - assigned:
            del self._places[partition]
        if missing := assigned - self._places.keys():
            await self._settle(consumer, missing)
        if (missing or assigned != self._assigned) and assigned == self._places.keys() == consumer.assignment():
            self._assigned = assigned
            self._publisher.own(place.shard for place in self._places.values())
        opened = [p for p, place in self._places.items() if not place.is_open and self._publisher.is_level(place.shard.id)]
        for partition in opened:
            self._places[partition].is_open, self._places[partition].progressed_at = True, time.monotonic()
        consumer.resume(*opened)
        closed = [p for p, place in self._places.items() if place.is_open and self._publisher.closed(place.shard.id)]
        for partition in closed:
            self._places[partition].is_open = False
        consumer.pause(*closed)

    async def _settle(self, consumer: aiokafka.AIOKafkaConsumer, partitions: Collection[aiokafka.TopicPartition]) -> None:
        """Read the counter rows and seek to the records before their positions, which must be those consumed last."""
        where = [(partition.topic.removesuffix(".commands"), partition.partition) for partition in partitions]
        shards = await self._alive(asyncio.to_thread(self._store.shards_at, where))
        begins = await self._alive(consumer.beginning_offsets(list(partitions)))
        ends = await self._alive(consumer.end_offsets(list(partitions)))
        for partition, shard in zip(partitions, shards, strict=True):
            await self._settle_at(consumer, partition, shard, begins[partition], ends[partition])

    async def _settle_at(
        self, consumer: aiokafka.AIOKafkaConsumer, partition: aiokafka.TopicPartition, shard: Shard, begin: int, end: int
    ) -> None:
        if shard.position > end:
            log.warning("%s ends at %d, we were at %d: the topic was made anew", partition, end, shard.position)
            shard = await self._start_over(shard, begin)
        elif shard.position < begin:
            raise CommandsLost(f"{partition.topic}/{partition.partition} begins at {begin}, {shard.position} is next")
        if partition not in consumer.assignment():
            return
        is_first = shard.position <= begin or not shard.position_hash
        consumer.seek(partition, shard.position if is_first else shard.position - 1)
        door = Door(shard.context, partition.partition, self._partitions, self._decider.network)
        is_open = self._publisher.is_level(shard.id)
        (consumer.resume if is_open else consumer.pause)(partition)
        self._places[partition] = _Place(door, shard, is_first, is_open, time.monotonic())

    async def _alive(self, work: Awaitable[T]) -> T:
        """Its result; meanwhile there are signs of life, for as long as anything may take that ends."""
        doing, began = asyncio.ensure_future(work), time.monotonic()
        while not (await asyncio.wait([doing], timeout=1.0))[0]:
            if time.monotonic() - began < LONGEST_SECONDS:
                self._on_poll()
        return doing.result()

    async def _start_over(self, shard: Shard, begin: int) -> Shard:
        return await asyncio.to_thread(self._store.start_over, shard, begin)

    async def _ready(
        self, consumer: aiokafka.AIOKafkaConsumer, partition: aiokafka.TopicPartition, place: "_Place", records: Sequence[Any]
    ) -> list[Any]:
        """The records from the position on; none where the poll brought something else, which is sought again."""
        position, first = place.shard.position, records[0]
        if not place.is_confirmed:
            if first.offset == position - 1 and hashlib.sha256(first.value or b"").hexdigest() != place.shard.position_hash:
                log.warning("%s holds another record at %d: the topic was made anew", partition, first.offset)
                await self._start_over(place.shard, (await consumer.beginning_offsets([partition]))[partition])
                self._places.pop(partition, None)
                return []
            place.is_confirmed = True
        fresh = [record for record in records if record.offset >= position]
        if fresh and first.offset > position and place.sought != position:
            # The first poll after an assignment may begin elsewhere. A gap that is still there after a seek is one that
            # the broker left: the markers of a client's transaction.
            place.sought = position
            consumer.seek(partition, position)
            return []
        return fresh

    async def _watch_ends(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        now = time.monotonic()
        if now - self._checked_ends_at < 5.0 or not self._places:
            return
        self._checked_ends_at = now
        self._compare_partitions({topic: len(consumer.partitions_for_topic(topic) or ()) for topic in self._topics})
        await self._pass_markers(consumer)
        ends = await consumer.end_offsets(list(self._places))
        for partition, end in ends.items():
            place = self._places.get(partition)
            if place is None:
                continue
            # One that is not open waits for its topics, which no new consumer would mend. The publisher says so.
            if end == place.shard.position or not place.is_open:
                place.progressed_at = now
            elif now - place.progressed_at > STALLED_SECONDS:
                raise Stalled(f"{partition.topic}/{partition.partition} ends at {end}, we stay at {place.shard.position}")

    def _compare_partitions(self, known: Mapping[str, int]) -> None:
        # Another owner would decide what belongs here: before anything is decided, and not only where a record comes.
        for topic, found in known.items():
            if found and found != self._partitions:
                raise PartitionsChanged(topic, found, self._partitions)

    async def _pass_markers(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Move the positions behind what no poll returns: the markers of clients' transactions. Raises Fenced.

        Left before them, a position looks like a stall, and like lost commands once they and what was before them are deleted.
        """
        for partition, place in list(self._places.items()):
            if not place.is_open or partition not in consumer.assignment():
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    reached = await consumer.position(partition)
                    if reached > place.shard.position and place.is_confirmed:
                        place.shard = await asyncio.to_thread(self._store.pass_over, place.shard, reached)


@contextmanager
def _traced(chunks: Sequence[Chunk]) -> Iterator[None]:
    """A span for each command whose client keeps its trace; the event carries it on to the views."""
    spans = []
    for chunk in chunks:
        for checked in chunk.records:
            record = checked.record
            if record is not None and record.traceparent is not None and is_sampled(record.traceparent):
                span, record.traceparent = start_decision(record.traceparent, record.type)
                spans.append(span)
    try:
        yield
    finally:
        for span in spans:
            span.end()


class _Forgetful(ConsumerRebalanceListener):  # type: ignore[misc]
    """A rebalance makes the worker read its rows again. aiokafka swallows what a listener raises: nothing here can fail."""

    def __init__(self, places: dict[aiokafka.TopicPartition, _Place]) -> None:
        self._places = places

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  awaited, whatever its stub says
        self, revoked: Iterable[aiokafka.TopicPartition]
    ) -> None:
        for partition in revoked:
            self._places.pop(partition, None)

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Iterable[aiokafka.TopicPartition]
    ) -> None:
        for partition in assigned:
            self._places.pop(partition, None)
