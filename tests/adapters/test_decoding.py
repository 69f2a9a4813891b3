"""Whatever a client puts on the wire: what can be read is read, and what cannot is passed over in its place."""

import asyncio
import gzip
import hashlib
import inspect
import resource
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import cramjam
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher

from adapters.kafka import decoding
from adapters.kafka.bare import bare_consumer
from adapters.kafka.decoding import MOST_INFLATED_BYTES, MOST_RECORD_BYTES, Inflated, Unreadable, guard
from adapters.kafka.topics import Topic, create_topics
from tests.adapters.wire import send_misnamed

CODECS = ["gzip", "snappy", "lz4", "zstd"]

# What the guard stands in for: read what changed, then write its new digest here.
READ: dict[str, tuple[Any, str]] = {
    "PartitionRecords._unpack_records": (decoding._Real._unpack_records, "5f8fc80fec92c638"),
    "PartitionRecords.__init__": (decoding._Real.__init__, "8f05447bfe26dc8f"),
}


@pytest.mark.dependency
@pytest.mark.parametrize("method", READ)
def test_the_private_methods_are_those_that_were_read(method: str) -> None:
    code, digest = READ[method]
    assert hashlib.sha256(inspect.cleandoc(inspect.getsource(code)).encode()).hexdigest()[:16] == digest


def test_every_consumer_of_a_process_is_guarded_and_once() -> None:
    guarded = fetcher.PartitionRecords
    guard()

    assert fetcher.PartitionRecords is guarded
    assert guarded.__mro__[1] is decoding._Real


def read_back(kafka: str, send: Callable[[Any, str], Awaitable[None]], wanted: int, **producer: Any) -> list[Any]:
    """So many records of a topic of its own, after something was sent there and one sound record behind it."""
    topic, client = f"wire-{uuid4().hex}", {"bootstrap_servers": kafka}

    async def run() -> list[Any]:
        await create_topics([Topic(topic, 1)], client)
        async with AIOKafkaProducer(**client, **producer) as sending:
            await send(sending, topic)
        async with AIOKafkaProducer(**client) as sending:
            await sending.send_and_wait(topic, b"sound")
        async with bare_consumer(client, auto_offset_reset="earliest") as consumer:
            consumer.assign([TopicPartition(topic, 0)])
            return await _records(consumer, wanted)

    return asyncio.run(run())


async def _records(consumer: AIOKafkaConsumer, wanted: int) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(30):
        while len(found) < wanted:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_what_a_client_compresses_is_read(kafka: str, codec: str) -> None:
    async def send(producer: Any, topic: str) -> None:
        await asyncio.gather(*[await producer.send(topic, b"%d" % n * 2_000) for n in range(10)])

    found = read_back(kafka, send, 11, compression_type=codec, linger_ms=50)

    assert [record.value for record in found] == [*(b"%d" % n * 2_000 for n in range(10)), b"sound"]


def test_a_header_whose_name_is_no_text_is_passed_over_with_its_record(kafka: str) -> None:
    async def send(producer: Any, topic: str) -> None:
        await producer.send_and_wait(topic, b"before", headers=[("good", b"1")])
        await asyncio.to_thread(send_misnamed, kafka, topic)

    before, bad, sound = read_back(kafka, send, 3)

    assert (before.value, sound.value) == (b"before", b"sound")
    assert isinstance(bad, Unreadable)
    assert (bad.offset, bad.value, bad.reason) == (1, None, "the name of a header is not UTF-8")


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_inflates_too_far_is_passed_over_and_takes_no_memory(kafka: str, codec: str) -> None:
    async def send(producer: Any, topic: str) -> None:
        for _ in range(3):
            await producer.send_and_wait(topic, b"\0" * 40_000_000)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_back(kafka, send, 4, compression_type=codec, max_request_size=50_000_000, max_batch_size=50_000_000)

    assert [isinstance(record, Unreadable) for record in found] == [True] * 3 + [False]
    assert "inflates to more than" in found[0].reason
    # What the sender took is in it.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def test_a_record_larger_than_any_of_ours_is_passed_over(kafka: str) -> None:
    async def send(producer: Any, topic: str) -> None:
        await producer.send_and_wait(topic, b"x" * (MOST_RECORD_BYTES + 1))
        await producer.send_and_wait(topic, b"y" * MOST_RECORD_BYTES)

    large, fits, _ = read_back(kafka, send, 3, max_request_size=4_000_000)

    assert (large.value, large.offset, len(fits.value)) == (None, 0, MOST_RECORD_BYTES)


@pytest.mark.parametrize("codec", CODECS)
def test_an_inflater_stops_at_the_limit_and_gives_what_fits(codec: str) -> None:
    decode = decoding._DECODERS[f"{codec}_decode"]
    compress: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
        "snappy": lambda data: bytes(cramjam.snappy.compress_raw(data)),
        "lz4": lambda data: bytes(cramjam.lz4.compress(data)),
        "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
    }
    fits = bytes(range(256)) * (MOST_INFLATED_BYTES // 256)

    assert decode(memoryview(compress[codec](fits))) == fits
    assert decode(compress[codec](b"ab")) == b"ab"
    with pytest.raises(Inflated):
        decode(compress[codec](fits + b"x"))
    with pytest.raises(Inflated):
        decode(compress[codec](b"\0" * 50_000_000))
    with pytest.raises(Exception, match=r"\w"):
        decode(compress[codec](fits)[:-9])
