"""The publisher's producers: stored records as produce batches, with the headers that their readers expect."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from adapters.sql.outbox import Lane, Outgoing
from contracts import CONTENT_TYPE

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0


class Sent(NamedTuple):
    """A produce batch that is under way."""

    future: Any
    first: int
    """The number of its first record, at the offset that the future tells."""


class Producers:
    """One producer at a time. After a refusal there is another: the broker wants the numbers of one to have no gap.

    Each repeats nothing by itself and waits for all replicas. The one before ends when all that it was given is settled.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._client = dict(client)
        self._current: AIOKafkaProducer | None = None
        self._users: dict[AIOKafkaProducer, int] = {}
        self._making = asyncio.Lock()

    async def current(self) -> AIOKafkaProducer:
        """The one to send with. Raises KafkaError while no broker answers."""
        async with self._making:
            if self._current is None:
                made = AIOKafkaProducer(
                    **self._client, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=1024 * 1024,
                    max_request_size=4 * 1024 * 1024, request_timeout_ms=20_000,
                )  # fmt: skip
                try:
                    await made.start()
                except BaseException:
                    await made.stop()
                    raise
                self._users[made], self._current = 0, made
            return self._current

    def use(self, producer: AIOKafkaProducer) -> None:
        """It was given something that is not settled."""
        self._users[producer] += 1

    async def settled(self, producer: AIOKafkaProducer) -> None:
        """As much as `use` said has arrived or failed."""
        if producer not in self._users:
            return
        self._users[producer] -= 1
        if producer is not self._current and self._users[producer] <= 0:
            await self._stop(producer)

    def discard(self, producer: AIOKafkaProducer) -> None:
        """Nothing more is sent with it."""
        if producer is self._current:
            self._current = None

    async def close(self) -> None:
        """What a broker that is away does not take is in the store."""
        self._current = None
        await asyncio.gather(*(self._stop(producer) for producer in list(self._users)))

    async def _stop(self, producer: AIOKafkaProducer) -> None:
        if self._users.pop(producer, None) is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await producer.stop()
        except TimeoutError:
            log.warning("the broker does not take what is left; it is published from the store later")


async def enqueue(producer: AIOKafkaProducer, lane: Lane, records: Sequence[Outgoing], sent: list[Sent]) -> None:
    """One lane's records in as few produce batches as hold them; each that is under way is added to `sent`.

    Raises KafkaError; what was added is under way all the same.
    """
    batch, first = producer.create_batch(), 0
    for record in records:
        headers = [("content-type", CONTENT_TYPE.encode())]
        if record.signature:
            headers.append(("signature", record.signature.encode()))
        if record.traceparent:
            headers.append(("traceparent", record.traceparent.encode()))
        if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
            sent.append(Sent(await producer.send_batch(batch, lane.topic, partition=lane.partition), first))
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
        if batch.record_count() == 1:
            first = record.number
    if batch.record_count():
        sent.append(Sent(await producer.send_batch(batch, lane.topic, partition=lane.partition), first))
