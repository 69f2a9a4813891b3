"""A stranger who may write to every topic: all that a topic can carry, from a seed. `--count` records, and then it ends."""

import argparse
import asyncio
import json
import os
import random
import uuid
from typing import Any

# The builder in C takes only what it would send itself.
os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"

from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as Place

from adapters.keys import ed25519_signer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
STRANGER = ed25519_signer(b"s" * 32)


class Misnamed(str):
    """A header's name that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


class Stranger:
    """Makes records of the kinds in `kinds`, out of what it finds on the topic and out of nothing."""

    def __init__(self, kafka: str, chance: random.Random, partitions: int) -> None:
        self._kafka, self._chance, self._partitions = kafka, chance, partitions
        self._reader = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
        self.kinds = (
            self.garbage, self.truncated, self.forged, self.forged_ahead, self.copied, self.elsewhere, self.refused, self.empty,
        )  # fmt: skip

    def garbage(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        del topic, partition
        return self._chance.randbytes(self._chance.choice((0, 1, 9, 500, 70_000))), [("signature", self._chance.randbytes(9))]

    def empty(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        del topic, partition
        return self._chance.choice((None, b"", b"{}", b"[]", b"null", b"[" * 20_000, b'{"sequence":"1"}')), None

    def truncated(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        value, headers = self._last(topic, partition)
        return (value or b"{}")[: self._chance.randrange(1, 400)], headers

    def forged(self, topic: str, partition: int, ahead: int = 1) -> tuple[bytes | None, Any]:
        """What would follow the last record."""
        value, headers = self._last(topic, partition)
        try:
            document = json.loads(value or b"{}")
            sequence = int(document["sequence"]) + ahead
        except Exception:  # it reads what it has written itself
            return self.empty(topic, partition)
        if self._chance.random() < 0.5:
            document["source"] = STRANGER.did
        document |= {"sequence": f"{sequence:020d}", "id": str(uuid.uuid4())}
        if "prevhash" in document and ahead == 1:
            from hashlib import sha256

            document["prevhash"] = sha256(value or b"").hexdigest()
        forged = json.dumps(document, separators=(",", ":")).encode()
        signature = STRANGER.sign(forged).encode()
        return forged, self._chance.choice((headers, [("signature", signature)], None))

    def forged_ahead(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        return self.forged(topic, partition, self._chance.choice((-3, 0, 2, 1_000_000)))

    def copied(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        """A genuine record, where it does not belong or once more."""
        return self._last(topic, self._chance.randrange(self._partitions) if self._chance.random() < 0.3 else partition)

    def elsewhere(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        """A genuine record of another topic."""
        other = self._chance.choice(("identity.events", "identity.commands", "identity.outcomes"))
        return self._last(other if other != topic else "providers.events", partition)

    def refused(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        del partition
        document = {
            "specversion": "1.0", "id": str(uuid.uuid4()), "source": STRANGER.did, "subject": "identity/network/dev",
            "type": f"{topic.partition('.')[0]}.Refused", "time": "2026-01-01T00:00:00.000000Z", "network": "dev",
            "sequence": f"{self._chance.randrange(50):020d}", "shard": "x", "causationid": str(uuid.uuid4()),
            "data": {"commandhash": "0" * 64, "refusal": {"name": "[/red]\x1b[2J", "text": "no"}},
        }  # fmt: skip
        value = json.dumps(document).encode()
        return value, [("signature", STRANGER.sign(value).encode())]

    def _last(self, topic: str, partition: int) -> tuple[bytes | None, Any]:
        try:
            begin, end = self._reader.get_watermark_offsets(Place(topic, partition), timeout=5, cached=False)
            if begin == end:
                return None, None
            self._reader.assign([Place(topic, partition, max(begin, end - self._chance.choice((1, 1, 1, 2, 10))))])
            record = self._reader.poll(2)
            # Asking for headers raises where the name of one is no text, and we send such.
            return (None, None) if record is None or record.error() else (record.value(), record.headers())
        except (KafkaException, UnicodeDecodeError):
            return None, None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    stranger = Stranger(options.kafka, chance, options.partitions)
    producers = {codec: Producer({"bootstrap.servers": options.kafka, "compression.codec": codec}) for codec in CODECS}
    topics = [
        f"{context}.{kind}" for context in ("identity", "providers", "treasury") for kind in ("events", "commands", "outcomes")
    ]
    topics.append("liveness.heartbeats")
    for n in range(options.count):
        topic, partition = chance.choice(topics), chance.randrange(options.partitions)
        value, headers = chance.choice(stranger.kinds)(topic, partition)
        key = chance.choice((None, b"", b"identity/key/x", b"\xff\xff", b"k" * 300))
        producer = producers[chance.choice(CODECS)]
        try:
            producer.produce(topic, value, key=key, headers=headers, partition=partition)
        except (KafkaException, TypeError, BufferError):
            producer.flush(10)
        producer.poll(0)
        if n % max(options.count // 12, 1) == 0:
            asyncio.run(awkward(options.kafka, topic, partition, chance))
    for producer in producers.values():
        producer.flush(30)


async def awkward(kafka: str, topic: str, partition: int, chance: random.Random) -> None:
    """A header that is no text, batches that inflate, transactions that commit, abort and stay open for a while."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await producer.send_and_wait(topic, b"{}", headers=[(Misnamed("xx"), b"1")], partition=partition)
    bomb = {"max_request_size": 17_000_000, "max_batch_size": 17_000_000, "compression_type": chance.choice(CODECS[1:])}
    async with AIOKafkaProducer(bootstrap_servers=kafka, **bomb) as producer:
        # Of which snappy leaves 750 kB: as large as a batch may be where anybody writes.
        await producer.send_and_wait(topic, b"\0" * 16_000_000, partition=partition)
    brief = {"transactional_id": uuid.uuid4().hex, "transaction_timeout_ms": 5_000}
    async with AIOKafkaProducer(bootstrap_servers=kafka, **brief) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"{}", partition=partition)
        await asyncio.sleep(chance.choice((0, 0.5)))
        await (producer.commit_transaction() if chance.random() < 0.5 else producer.abort_transaction())


if __name__ == "__main__":
    main()
