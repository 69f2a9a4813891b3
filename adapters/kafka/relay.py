"""The relay: what the store holds, published byte for byte, in order, at least once.

One relay publishes for all shards. A second one claims a higher epoch and the first ends; what both send meanwhile are
exact repeats, which readers drop by (shard, sequence).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.crash import crashpoint
from adapters.kafka.bare import bare_consumer, record_at
from adapters.sql import is_transient
from adapters.sql.outbox import Lane, Outbox, Outgoing, Superseded
from adapters.sql.wake import wake_for
from contracts import CONTENT_TYPE

log = logging.getLogger(__name__)

READ_LIMIT = 2_000
"""Records of one lane that are read and sent together."""
MARK_SECONDS = 0.25
"""Marks wait for each other: a mark that is lost in a crash costs repeats, not records."""
WATCH_SECONDS = 5.0


class StoreBehind(RuntimeError):
    """The topic holds records that the store does not have: the store was restored from an older backup."""


class Forked(RuntimeError):
    """The topic holds other bytes at a sequence than the store: somebody else publishes there."""


class TopicMadeAnew(Exception):
    """Offsets went back: the topic was deleted and made again. It is compared and filled from the store."""


class Relay:
    """Publishes until stopped. Raises Superseded, StoreBehind, Forked; a broker or database that is away is waited for."""

    def __init__(
        self,
        outbox: Outbox,
        client: Mapping[str, Any],
        *,
        on_publish: Callable[[int, int], None] = lambda _sent, _waiting: None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._outbox, self._client = outbox, dict(client)
        self._on_publish, self._on_turn = on_publish, on_turn
        self._stopping = False
        self._epochs: dict[int, int] = {}
        self._next: dict[Lane, int] = {}
        self._unmarked: dict[Lane, int] = {}
        self._offsets: dict[Lane, int] = {}
        self._marked_at = 0.0

    def stop(self) -> None:
        """Send and mark what was read, then return from `run`."""
        self._stopping = True

    async def run(self) -> None:
        wake = wake_for(self._outbox.engine)
        try:
            while not self._stopping:
                try:
                    await self._publish_until_stopped(wake)
                except TopicMadeAnew as error:
                    log.warning("%s", error)
                except Exception as error:
                    if not (is_transient(error) or isinstance(error, KafkaError | ConnectionError)):
                        raise
                    log.warning("waiting for broker or database: %s", str(error).partition("\n")[0])
                    self._on_turn()
                    await asyncio.sleep(0.5)
        finally:
            wake.close()

    async def _publish_until_stopped(self, wake: Any) -> None:
        producer = AIOKafkaProducer(
            **self._client, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=1024 * 1024,
            max_request_size=4 * 1024 * 1024, request_timeout_ms=20_000,
        )  # fmt: skip
        await producer.start()
        watching: asyncio.Task[None] | None = None
        try:
            self._unmarked.clear()
            await self._claim()
            # Beside the publishing: connecting and asking takes a consumer most of a second.
            watching = asyncio.create_task(self._watch_forever())
            while not self._stopping:
                self._on_turn()
                if not await self._turn(producer):
                    await self._mark()
                    await asyncio.to_thread(wake.wait, 1.0)
                if watching.done():
                    watching.result()
            await self._mark()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await producer.stop()

    # Claiming

    async def _claim(self, only: Collection[int] | None = None) -> None:
        """Take all shards, or those that a worker has just made, and find in each topic what the last relay left there."""
        taken = await asyncio.to_thread(self._outbox.claim, only)
        lanes = {x: n for x, n in (await asyncio.to_thread(self._outbox.lanes)).items() if x.shard in taken}
        self._epochs.update(taken)
        async with bare_consumer(self._client) as consumer:
            found = {lane: await self._compare(consumer, lane, *known) for lane, known in lanes.items()}
        self._next.update(found)
        moved = {lane: n for lane, n in found.items() if n != lanes[lane][1]}
        if moved:
            places = {f"{lane.topic}/{lane.partition}": n for lane, n in moved.items()}
            log.info("topics hold otherwise than marked, going on from: %s", places)
        await asyncio.to_thread(self._outbox.mark, moved, self._epochs)

    async def _compare(self, consumer: AIOKafkaConsumer, lane: Lane, stored: int, marked: int) -> int:
        """The first record that the topic lacks. Raises StoreBehind, Forked."""
        partition = TopicPartition(lane.topic, lane.partition)
        consumer.assign([partition])
        begin = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        self._offsets[lane] = end - 1
        if begin == end:
            return 0
        last = await record_at(consumer, partition, end - 1)
        number = _number(last.value)
        if number >= stored:
            raise StoreBehind(
                f"{lane.topic}/{lane.partition} holds {number}, the store ends before {stored}: it is an older copy"
            )
        found = await asyncio.to_thread(self._outbox.read, lane, number, 1)
        if found[0].value != last.value:
            raise Forked(f"{lane.topic}/{lane.partition} holds other bytes at {number} than the store")
        # Ends with less than was marked: an outcome that was repeated, or a topic that was made anew. Only reading tells.
        if number + 1 >= marked and _number((await record_at(consumer, partition, begin)).value) == 0:
            return number + 1
        return await self._first_missing(consumer, partition, begin, end)

    async def _first_missing(self, consumer: AIOKafkaConsumer, partition: TopicPartition, begin: int, end: int) -> int:
        # A topic that was made anew while it was being written to begins in the middle, and may hold the rest behind.
        wanted = 0
        consumer.seek(partition, begin)
        while await consumer.position(partition) < end:
            for record in (await consumer.getmany(partition, timeout_ms=1000)).get(partition, []):
                wanted += _number(record.value or b"") == wanted
        return wanted

    # Publishing

    async def _turn(self, producer: AIOKafkaProducer) -> bool:
        """Publish what is new, of every lane at once; whether there was any."""
        counts, epochs, has_repeats = await asyncio.to_thread(self._outbox.counts)
        if fresh := {shard for shard, _ in counts} - self._epochs.keys():
            await self._claim(fresh)
            return True
        if any(epochs.get(shard) != epoch for shard, epoch in self._epochs.items()):
            raise Superseded("another relay has claimed the shards")
        ahead = [lane for lane, n in self._next.items() if counts[lane.shard, lane.kind] > n]
        waiting = sum(counts[lane.shard, lane.kind] - self._next[lane] for lane in ahead)
        sent = 0
        if ahead:
            reads = await asyncio.to_thread(lambda: [(x, self._outbox.read(x, self._next[x], READ_LIMIT)) for x in ahead])
            crashpoint("relay.read")
            sent = await self._send(producer, reads)
            crashpoint("relay.sent")
        if has_repeats:
            await self._repeat(producer)
        self._on_publish(sent, waiting - sent)
        if time.monotonic() - self._marked_at > MARK_SECONDS:
            await self._mark()
        return sent > 0

    async def _send(self, producer: AIOKafkaProducer, reads: Sequence[tuple[Lane, Sequence[Outgoing]]]) -> int:
        futures: list[tuple[Lane, Any]] = []
        try:
            for lane, records in reads:
                crashpoint("relay.half_sent")
                futures.extend((lane, future) for future in await _enqueue(producer, lane, records))
        finally:
            # Also when enqueuing raised: what is on its way must arrive or fail before anything is sent again.
            answers = await asyncio.gather(*(future for _, future in futures), return_exceptions=True)
        for (lane, _), answer in zip(futures, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            self._arrived(lane, answer.offset)
        for lane, records in reads:
            if records:
                self._next[lane] = self._unmarked[lane] = records[-1].number + 1
        return sum(len(records) for _, records in reads)

    async def _repeat(self, producer: AIOKafkaProducer) -> None:
        """Outcomes whose command came again, published once more, byte for byte."""
        rows = await asyncio.to_thread(self._outbox.repeats)
        lanes = {lane.shard: lane for lane in self._next if lane.kind == "outcomes"}
        # One that was committed since this turn read is not published for the first time yet: ahead of its predecessors
        # it would make the next relay believe that they are there.
        due = [(row, lanes[s], n) for row, s, n in rows if s in lanes and n < self._next[lanes[s]]]
        for _, lane, number in due:
            found = await asyncio.to_thread(self._outbox.read, lane, number, 1)
            for future in await _enqueue(producer, lane, found):
                self._arrived(lane, (await future).offset)
        if due:
            await asyncio.to_thread(self._outbox.mark, {}, self._epochs, [row for row, _, _ in due])

    def _arrived(self, lane: Lane, offset: int) -> None:
        if offset <= self._offsets.get(lane, -1):
            raise TopicMadeAnew(
                f"{lane.topic}/{lane.partition} was made anew: offset {offset} came after {self._offsets[lane]}"
            )
        self._offsets[lane] = offset

    # Marking and watching

    async def _mark(self) -> None:
        self._marked_at = time.monotonic()
        if self._unmarked:
            await asyncio.to_thread(self._outbox.mark, self._unmarked, self._epochs)
            crashpoint("relay.marked")
            self._unmarked = {}

    async def _watch_forever(self) -> None:
        """A topic that was wiped while nothing is written is noticed too. Raises TopicMadeAnew, KafkaError."""
        async with bare_consumer(self._client) as consumer:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                # What is written while the broker answers is not held against its answer.
                written = dict(self._offsets)
                ends = await consumer.end_offsets([TopicPartition(lane.topic, lane.partition) for lane in written])
                for lane, offset in written.items():
                    if (end := ends[TopicPartition(lane.topic, lane.partition)]) <= offset:
                        raise TopicMadeAnew(f"{lane.topic}/{lane.partition} ends at {end}, we wrote {offset}: it was made anew")


async def _enqueue(producer: AIOKafkaProducer, lane: Lane, records: Sequence[Outgoing]) -> list[Any]:
    """One lane's records in as few produce batches as hold them; a future for each batch."""
    futures = []
    batch = producer.create_batch()
    for record in records:
        headers = [("content-type", CONTENT_TYPE.encode())]
        if record.signature:
            headers.append(("signature", record.signature.encode()))
        if record.traceparent:
            headers.append(("traceparent", record.traceparent.encode()))
        if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
            futures.append(await producer.send_batch(batch, lane.topic, partition=lane.partition))
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    if batch.record_count():
        futures.append(await producer.send_batch(batch, lane.topic, partition=lane.partition))
    return futures


def _number(value: bytes) -> int:
    return int(orjson.loads(value)["sequence"])
