"""The client's side: sign a command, publish it, hear what became of it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from adapters.clock import now
from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait
from adapters.keys import Signer
from contracts import CONTENT_TYPE, Command, CommandRecord, partition_of, uuid7


@dataclass(frozen=True, slots=True)
class SignedCommand:
    """A command as it goes to Kafka."""

    id: str
    topic: str
    subject: str
    value: bytes
    signature: str
    traceparent: str | None = None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        found = [("content-type", CONTENT_TYPE.encode()), ("signature", self.signature.encode())]
        if self.traceparent:
            found.append(("traceparent", self.traceparent.encode()))
        return found


def sign_command(
    command: Command,
    subject: str,
    signer: Signer,
    network: str,
    *,
    id: str | None = None,
    time: datetime | None = None,
    expires: datetime | None = None,
    correlationid: str | None = None,
    causationid: str | None = None,
    streamversion: int | None = None,
    traceparent: str | None = None,
    topic: str | None = None,
) -> SignedCommand:
    """Encode and sign. `id` is the idempotency key: a sender that tries again gives the same one, and the same bytes."""
    command_id = id or uuid7()
    value = CommandRecord.encode(
        command, subject=subject, source=signer.did, network=network, id=command_id, time=time or now(),
        expires=expires, correlationid=correlationid, causationid=causationid, streamversion=streamversion,
    )  # fmt: skip
    where = topic or f"{command.wire.context}.commands"
    return SignedCommand(command_id, where, subject, value, signer.sign(value), traceparent)


class CommandSender:
    """Publishes signed commands, idempotently and with all acknowledgements."""

    def __init__(self, client: Mapping[str, Any], partitions: int) -> None:
        self._client, self._partitions = dict(client), partitions
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        producer = AIOKafkaProducer(**self._client, enable_idempotence=True, acks="all", linger_ms=2, max_batch_size=256 * 1024)
        await producer.start()
        self._producer = producer

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def send(self, commands: Sequence[SignedCommand]) -> None:
        """Return when the broker has all of them. Raises KafkaError: then some may be there, and sending all again is right."""
        assert self._producer is not None, "start() comes first"
        futures = []
        try:
            for command in commands:
                futures.append(  # noqa: PERF401  what is on its way must be known when one of them raises
                    await self._producer.send(
                        command.topic, command.value, key=command.subject.encode(), headers=command.headers,
                        partition=partition_of(command.subject, self._partitions),
                    )
                )  # fmt: skip
        finally:
            answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command."""

    command_id: str
    is_accepted: bool
    document: Mapping[str, Any]

    @property
    def refusal(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.document["data"].get("refusal")
        return found


class Outcomes:
    """Hears outcomes that are published from now on."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._pace = Pace(Wait(100), Wait(500))

    async def answers(self, timeout_ms: int = 500) -> list[Answer]:
        """Those that came meanwhile, maybe none; an outcome that is repeated comes twice."""
        polled = await self._consumer.getmany(timeout_ms=timeout_ms)
        self._pace.keep(self._consumer, sum(map(len, polled.values())))
        return [_answer(record.value or b"") for records in polled.values() for record in records]

    async def wait_for(self, command_ids: Collection[str], seconds: float) -> dict[str, Answer]:
        """The outcomes of these commands; those that are missing when the time is over are not among them."""
        wanted, found = set(command_ids), dict[str, Answer]()
        deadline = asyncio.get_running_loop().time() + seconds
        while wanted - found.keys() and asyncio.get_running_loop().time() < deadline:
            for answer in await self.answers(200):
                if answer.command_id in wanted:
                    found[answer.command_id] = answer
        return found


def _answer(value: bytes) -> Answer:
    document = orjson.loads(value)
    return Answer(document["causationid"], document["type"].endswith(".Accepted"), document)


@asynccontextmanager
async def watching_outcomes(
    client: Mapping[str, Any], contexts: Collection[str], partitions: int, gather: float = 0.0
) -> AsyncIterator[Outcomes]:
    """Begin before sending, or an outcome may be missed. Where many come, they are fetched once in `gather` seconds."""
    async with bare_consumer(client, max_poll_records=5000) as consumer:
        places = [TopicPartition(f"{context}.outcomes", n) for context in contexts for n in range(partitions)]
        keep_hot(consumer, gather)
        await tell_topics(consumer, {place.topic for place in places})
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        yield Outcomes(consumer)
