"""The client's side: sign a command, publish it, hear what became of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from adapters.clock import now
from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.kafka.hot import keep_hot
from adapters.kafka.pace import Pace, Wait
from adapters.keys import Signer
from adapters.seldom import Seldom
from adapters.vouching import Vouch, anybody
from contracts import CONTENT_TYPE, Command, CommandRecord, partition_of, uuid7

log = logging.getLogger(__name__)


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
    """What became of a command. A refusal is signed, since nothing else records it; an acceptance names events that are."""

    command_id: str
    is_accepted: bool
    document: Mapping[str, Any]

    @property
    def refusal(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.document["data"].get("refusal")
        return found

    def is_to(self, command: SignedCommand) -> bool:
        """Whether it answers these bytes: anybody can write under a command's id."""
        found: str = self.document["data"]["commandhash"]
        return self.command_id == command.id and found == sha256(command.value).hexdigest()


class Outcomes:
    """Hears outcomes that are published from now on, and passes over what is none and refusals that nobody entitled signed."""

    def __init__(self, consumer: AIOKafkaConsumer, vouch: Vouch = anybody) -> None:
        self._consumer, self._vouch = consumer, vouch
        self._pace, self._seldom = Pace(Wait(100), Wait(500)), Seldom()

    async def answers(self, timeout_ms: int = 500) -> list[Answer]:
        """Those that came meanwhile, maybe none; an outcome that is repeated comes twice."""
        polled = await self._consumer.getmany(timeout_ms=timeout_ms)
        self._pace.keep(self._consumer, sum(map(len, polled.values())))
        found = [(record, answer_in(record, self._vouch)) for records in polled.values() for record in records]
        strange = [record for record, answer in found if answer is None]
        if strange and (records := self._seldom.count("strange", len(strange))):
            last = strange[-1]
            log.warning(
                "passed over %d records that are no outcomes, the last at %s/%d offset %d",
                records, last.topic, last.partition, last.offset,
            )  # fmt: skip
        return [answer for _, answer in found if answer is not None]

    async def wait_for(self, commands: Collection[SignedCommand], seconds: float) -> dict[str, Answer]:
        """The outcomes of these commands, by id; those that are missing when the time is over are not among them."""
        wanted, found = {command.id: command for command in commands}, dict[str, Answer]()
        deadline = asyncio.get_running_loop().time() + seconds
        while wanted.keys() - found.keys() and asyncio.get_running_loop().time() < deadline:
            for answer in await self.answers(200):
                if answer.command_id in wanted and answer.is_to(wanted[answer.command_id]):
                    found[answer.command_id] = answer
        return found


def answer_in(record: Any, vouch: Vouch) -> Answer | None:
    """The answer in an outcome's record; None where it is none, or a refusal that nobody entitled signed."""
    try:
        document = orjson.loads(record.value or b"")
        data, kind, command = document["data"], document["type"], document["causationid"]
        is_accepted = kind.endswith(".Accepted")
        is_one = (
            record.topic == f"{kind.rpartition('.')[0]}.outcomes"
            and isinstance(command, str)
            and isinstance(data["commandhash"], str)
            and (isinstance(data["events"], list) if is_accepted else isinstance(data["refusal"]["name"], str))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not is_one or (not is_accepted and not vouch(document, record.value, record.headers)):
        return None
    return Answer(command, is_accepted, document)


@asynccontextmanager
async def watching_outcomes(
    client: Mapping[str, Any], contexts: Collection[str], partitions: int, gather: float = 0.0, vouch: Vouch = anybody
) -> AsyncIterator[Outcomes]:
    """Begin before sending, or an outcome may be missed. Where many come, they are fetched once in `gather` seconds."""
    async with bare_consumer(client, max_poll_records=5000) as consumer:
        places = [TopicPartition(f"{context}.outcomes", n) for context in contexts for n in range(partitions)]
        keep_hot(consumer, gather)
        await tell_topics(consumer, {place.topic for place in places})
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        yield Outcomes(consumer, vouch)
