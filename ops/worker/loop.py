"""The worker's life: poll, decide, commit, poll; and for every failure one cure: forget, read the rows, seek to them."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from adapters.crash import crashpoint
from adapters.kafka.assigning import assignor_of, partitions_now
from adapters.kafka.pace import Pace, Wait
from adapters.sql import is_transient
from adapters.sql.store import Fenced, IntegrityError, Sealed, Shard, Store, StreamMoved
from adapters.telemetry import is_sampled, start_decision
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

log = logging.getLogger(__name__)

MAX_BATCH = 1000
"""Commands decided and committed together."""
POLL_MS = 200
BUSY = Wait(10, 65_536)
"""Where commands flow, batches are worth 10 ms. A worker to which nothing comes would ask a hundred times a second."""
IDLE = Wait(200)
RECOVERY_SECONDS = 0.2
STALLED_SECONDS = 15.0
"""Behind the end of a partition for so long without progress: the client did not notice that the topic was made anew."""


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
    progressed_at: float
    sought: int = -1
    """The last position that was sought because a poll began beyond it."""


class Worker:
    """Consumes every context's commands; positions are in SQL, Kafka's own are never read."""

    def __init__(
        self,
        store: Store,
        decider: Decider,
        contexts: Sequence[str],
        client: Mapping[str, Any],
        *,
        on_batch: Callable[[Sealed, float], None] = lambda _sealed, _seconds: None,
        on_poll: Callable[[], None] = lambda: None,
        instance: str | None = None,
    ) -> None:
        self._store, self._decider = store, decider
        self._topics = [f"{context}.commands" for context in contexts]
        self._client, self._instance = dict(client), instance
        self._on_batch, self._on_poll = on_batch, on_poll
        self._places: dict[aiokafka.TopicPartition, _Place] = {}
        self._stop = asyncio.Event()
        self._checked_ends_at = time.monotonic()
        self._pace = Pace(BUSY, IDLE)

    def stop(self) -> None:
        """Finish the batch in hand and return from `run`."""
        self._stop.set()

    async def run(self) -> None:
        """Until stopped. Raises CommandsLost, Stalled; whatever else fails is recovered from."""
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
        try:
            partitions.update(await partitions_now(consumer, self._topics))
            consumer.subscribe(self._topics, listener=_Forgetful(self._places))
            while not self._stop.is_set():
                self._on_poll()
                await self._turn(consumer)
        finally:
            await consumer.stop()

    async def _turn(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        try:
            for partition in consumer.assignment() - self._places.keys():
                await self._settle(consumer, partition)
            polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_BATCH)
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
            for partition in error.args[0]:
                await self._settle(consumer, partition)
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
        sealed = await asyncio.to_thread(self._decide, chunks)
        after = {shard.id: shard for _, shard in sealed.shards}
        for place, _ in chunks:
            place.shard, place.progressed_at = after[place.shard.id], time.monotonic()
        self._on_batch(sealed, time.perf_counter() - started)

    def _decide(self, chunks: Sequence[tuple["_Place", list[Any]]]) -> Sealed:
        crashpoint("command.received")
        checked = [Chunk(place.shard, [place.door.check(record) for record in records]) for place, records in chunks]
        crashpoint("command.verified")
        with _traced(checked):
            return self._decider.commit(checked)

    # Finding the place

    async def _settle(self, consumer: aiokafka.AIOKafkaConsumer, partition: aiokafka.TopicPartition) -> None:
        """Read the counter row and seek to the record before its position, which must be the one consumed last."""
        context = partition.topic.removesuffix(".commands")
        shard = await asyncio.to_thread(self._store.shard, context, partition.partition)
        begin = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        if shard.position > end:
            log.warning("%s ends at %d, we were at %d: the topic was made anew", partition, end, shard.position)
            shard = await self._start_over(shard, begin)
        elif shard.position < begin:
            raise CommandsLost(f"{partition.topic}/{partition.partition} begins at {begin}, {shard.position} is next")
        is_first = shard.position <= begin or not shard.position_hash
        consumer.seek(partition, shard.position if is_first else shard.position - 1)
        count = len(consumer.partitions_for_topic(partition.topic) or ())
        door = Door(context, partition.partition, count, self._decider.network)
        self._places[partition] = _Place(door, shard, is_first, time.monotonic())

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
        ends = await consumer.end_offsets(list(self._places))
        for partition, end in ends.items():
            place = self._places.get(partition)
            if place is None:
                continue
            if end == place.shard.position:
                place.progressed_at = now
            elif now - place.progressed_at > STALLED_SECONDS:
                raise Stalled(f"{partition.topic}/{partition.partition} ends at {end}, we stay at {place.shard.position}")


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
