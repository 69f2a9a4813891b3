"""A client that knows the written format and nothing else: signs commands, good and bad, and writes down what it saw.

    python tests/e2e/client.py --kafka HOST:PORT --keys FOLDER --journal FILE --seed 7 --count 2000

The journal is JSON lines: `invoke` (on disk before the command is sent), `sent` (the broker has it), then `ok`, `fail` or
`info` (nobody knows), and `end`. SIGTERM stops the sending; what was sent is still waited for.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from nacl.signing import SigningKey

CONTENT_TYPE = "application/cloudevents+json"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
IN_FLIGHT = 1500
STEP_SECONDS = 0.05
BEGINNING_SECONDS = 90
"""Processes may still be starting."""


# The written format


class Key:
    """An Ed25519 key and its did:key."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        number, text = int.from_bytes(b"\xed\x01" + bytes(self._key.verify_key), "big"), ""
        while number:
            number, digit = divmod(number, 58)
            text = BASE58[digit] + text
        self.did = "did:key:z" + text

    @classmethod
    def named(cls, name: str) -> "Key":
        return cls(hashlib.sha256(name.encode()).digest())

    @classmethod
    def in_file(cls, path: Path) -> "Key":
        return cls(bytes.fromhex(path.read_text().split()[2]))

    def sign(self, value: bytes) -> str:
        encoded = b"DSSEv1 28 application/cloudevents+json %d " % len(value) + value
        return "ed25519:" + base64.urlsafe_b64encode(self._key.sign(encoded).signature).rstrip(b"=").decode()


def murmur2(key: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def uuid7() -> str:
    bits = int.from_bytes(os.urandom(16), "big") & ~(0xF << 76) & ~(0x3 << 62) & ((1 << 80) - 1)
    return str(uuid.UUID(int=time.time_ns() // 1_000_000 << 80 | bits | 7 << 76 | 2 << 62))


def encode(kind: str, subject: str, source: str, data: dict[str, Any], network: str, **more: Any) -> bytes:
    document = {
        "specversion": "1.0", "id": more.pop("id", None) or uuid7(), "source": source, "type": kind, "subject": subject,
        "time": more.pop("time", None) or rfc3339(datetime.now(UTC)), "dataschema": f"urn:spaceos:{kind}:1",
        "network": network, **more, "data": data,
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


# What is sent


@dataclass
class Call:
    """One command as it goes to Kafka, and what is expected to become of it (nothing: the checker's fold decides)."""

    kind: str
    value: bytes
    signature: str
    key: str
    partition: int
    topic: str
    source: str = ""
    id: str = ""
    expect: Sequence[str] = ()
    copies: int = 1
    n: int = 0
    sent: int = 0
    offset: int | None = None
    ended: bool = False


@dataclass
class World:
    """Whose keys there are, and how a well-formed command is made."""

    roots: list[Key]
    network: str
    partitions: int
    random: random.Random
    skew: float
    gpu: Key = field(default_factory=lambda: Key.named("gpu"))
    revoked: Key = field(default_factory=lambda: Key.named("revoked"))
    stranger: Key = field(default_factory=lambda: Key.named("stranger"))

    def call(self, kind: str, signer: Key, name: str, subject: str, data: dict[str, Any], **more: Any) -> Call:
        expect, network = more.pop("expect", ()), more.pop("network", self.network)
        if self.skew:
            skewed = datetime.now(UTC) + timedelta(seconds=self.random.uniform(-self.skew, self.skew))
            more.setdefault("time", rfc3339(skewed))
        value = encode(name, subject, signer.did, data, network, **more)
        context = name.partition(".")[0]
        call = Call(
            kind, value, signer.sign(value), subject, murmur2(subject.encode()) % self.partitions, f"{context}.commands"
        )
        call.source, call.id, call.expect = signer.did, json.loads(value)["id"], expect
        return call

    def propose(self, key: Key, kind: str = "propose", role: str = "providers.gpu", **more: Any) -> Call:
        signer = more.pop("signer", None) or self.random.choice(self.roots[1:])
        end = rfc3339(datetime.now(UTC) + timedelta(days=30))
        name, subject = more.setdefault("id", uuid7()), f"identity/key/{key.did}"
        wanted = ("spaceos/key-proof/2", self.network, "identity.ProposeKey", signer.did, name, subject, key.did)
        proof = key.sign("\n".join(wanted).encode())
        roles = [{"role": role, "prefix": role.partition(".")[0] + "/"}]
        data = {"key": key.did, "roles": roles, "held_by": "load", "not_after": end, "proof": proof}
        return self.call(kind, signer, "identity.ProposeKey", subject, data, **more)

    def revoke(self, key: Key, signer: Key, **more: Any) -> Call:
        subject = f"identity/key/{key.did}"
        return self.call("revoke", signer, "identity.RevokeKey", subject, {"reason": "retired"}, **more)

    def found(self) -> Call:
        data = {"roots": [root.did for root in self.roots], "quorum": 2, "chain_id": 800000, "profile": "consumer"}
        expect = ("Accepted",)
        return self.call("found", self.roots[0], "identity.Found", f"identity/network/{self.network}", data, expect=expect)

    def beginning(self) -> Iterator[list[Call]]:
        """What the load relies on; each step waits for the one before."""
        yield [self.found()]
        yield [self.propose(key, expect=("Accepted",)) for key in (self.gpu, self.revoked)]
        yield [self.revoke(self.revoked, self.roots[1], expect=("Accepted",))]

    def fresh(self) -> Key:
        return Key(self.random.randbytes(32))

    # good commands

    def life(self) -> list[Call]:
        """A key's life in one stream, which keeps its order: registered, maybe narrowed, maybe ended, maybe used after."""
        key = self.fresh()
        calls = [self.propose(key)]
        if self.random.random() < 0.2:
            data = {"role": "providers.gpu", "prefix": "providers/"}
            calls.append(self.call("withdraw", key, "identity.WithdrawRole", f"identity/key/{key.did}", data))
        if self.random.random() < 0.2:
            calls.append(self.revoke(key, self.random.choice([key, *self.roots[1:]])))
            calls.append(self.revoke(key, key, streamversion=0) if self.random.random() < 0.5 else self.revoke(key, key))
        return calls

    def repeated(self) -> list[Call]:
        call = self.propose(self.fresh(), "repeated")
        call.copies = self.random.randint(2, 5)
        return [call]

    # bad ones

    def bad(self) -> list[Call]:
        return self.random.choice(
            [self.altered, self.expired, self.elsewhere, self.unregistered, self.ended, self.wrong_role, self.replayed,
             self.conflict, self.unreadable, self.wrong_version, self.stripped, self.unproven]
        )()  # fmt: skip

    def altered(self) -> list[Call]:
        call = self.propose(self.fresh(), "altered", expect=("BadSignature",))
        call.value = call.value.replace(b'"held_by":"load"', b'"held_by":"loae"')
        return [call]

    def expired(self) -> list[Call]:
        past = rfc3339(datetime.now(UTC) - timedelta(minutes=1))
        return [self.propose(self.fresh(), "expired", expires=past, expect=("Expired",))]

    def elsewhere(self) -> list[Call]:
        return [self.propose(self.fresh(), "elsewhere", network="other", expect=("OnAnotherNetwork",))]

    def unregistered(self) -> list[Call]:
        return [self.propose(self.fresh(), "unregistered", signer=self.stranger, expect=("NotInRole",))]

    def ended(self) -> list[Call]:
        return [self.propose(self.fresh(), "ended", signer=self.revoked, expect=("Revoked",))]

    def wrong_role(self) -> list[Call]:
        return [self.propose(self.fresh(), "wrong_role", signer=self.gpu, expect=("NotInRole",))]

    def wrong_version(self) -> list[Call]:
        return [self.propose(self.fresh(), "wrong_version", streamversion=3, expect=("StreamAdvanced",))]

    def unproven(self) -> list[Call]:
        key = self.fresh()
        call = self.propose(key, "unproven", expect=("BadProof",))
        document = json.loads(call.value)
        document["data"]["proof"] = self.stranger.sign(b"something else")
        call.value = json.dumps(document, separators=(",", ":")).encode()
        signer = next(root for root in self.roots if root.did == call.source)
        call.signature = signer.sign(call.value)
        return [call]

    def replayed(self) -> list[Call]:
        """A valid command, and its very bytes on a partition where its stream does not live."""
        call = self.propose(self.fresh(), "valid")
        other = (call.partition + 1 + self.random.randrange(self.partitions - 1)) % self.partitions
        again = Call("replayed", call.value, call.signature, call.key, other, call.topic, expect=("Misrouted",))
        return [call, again]

    def conflict(self) -> list[Call]:
        """Two commands with one id: whichever comes first has it."""
        key, name, either = self.fresh(), uuid7(), ("Accepted", "Conflict")
        signer = self.roots[1]
        return [self.propose(key, "conflict", id=name, signer=signer, expect=either) for _ in range(2)]

    def unreadable(self) -> list[Call]:
        value = self.random.choice(
            [b"{", b"[]", b'{"specversion":"1.0","specversion":"1.0"}', b'{"a":1.5}', b"\xff\xfe", b"{" * 500, b'{"a":NaN}']
        )
        return [Call("unreadable", value, "ed25519:AAAA", "identity/key/x", 0, "identity.commands", expect=("Malformed",))]

    def stripped(self) -> list[Call]:
        call = self.propose(self.fresh(), "stripped", expect=("BadSignature",))
        call.signature = ""
        return [call]

    def next(self, badness: float) -> list[Call]:
        draw = self.random.random()
        if draw < badness:
            return self.bad()
        return self.repeated() if draw < badness + 0.08 else self.life()


# How it is written down


class Journal:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def write(self, f: str, **line: Any) -> None:
        self._file.write(json.dumps({"f": f, "wall": time.time(), "mono": time.monotonic(), **line}) + "\n")

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.write("end")
        self.sync()
        self._file.close()


class Client:
    """Sends, listens to the outcomes, concludes."""

    def __init__(self, world: World, journal: Journal, kafka: str, patience: float) -> None:
        self.world, self.journal, self.patience = world, journal, patience
        self._producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=2, request_timeout_ms=20_000)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )  # fmt: skip
        self.calls: dict[int, Call] = {}
        self._waiting: dict[str, list[Call]] = {}
        self._heard: dict[str, tuple[bool, str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.progressed_at = time.monotonic()
        self.stopping = False

    async def start(self) -> None:
        await self._producer.start()
        await self._consumer.start()
        topics = sorted({f"{context}.outcomes" for context in CONTEXTS})
        self._consumer.assign([TopicPartition(topic, n) for topic in topics for n in range(self.world.partitions)])
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        self._listening.cancel()
        await self._producer.stop()
        await self._consumer.stop()

    @property
    def open(self) -> int:
        return sum(not call.ended for call in self.calls.values())

    async def send(self, calls: Sequence[Call]) -> None:
        """Write down, sync, send; in this order for each partition."""
        for call in calls:
            call.n = len(self.calls)
            self.calls[call.n] = call
            self.journal.write(
                "invoke", n=call.n, kind=call.kind, id=call.id, source=call.source, topic=call.topic,
                partition=call.partition, hash=hashlib.sha256(call.value).hexdigest(), expect=list(call.expect),
                value=base64.b64encode(call.value).decode(), signature=call.signature, key=call.key,
            )  # fmt: skip
        self.journal.sync()
        for call in calls:
            if call.id:
                self._waiting.setdefault(call.id, []).append(call)
            for _ in range(call.copies):
                await self._produce(call)

    async def _produce(self, call: Call) -> None:
        headers = [("content-type", CONTENT_TYPE.encode()), ("signature", call.signature.encode())]
        try:
            future = await self._producer.send(
                call.topic, call.value, key=call.key.encode(), headers=headers, partition=call.partition
            )
        except KafkaError:
            call.sent += 1
            return
        task = asyncio.create_task(self._acknowledge(call, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _acknowledge(self, call: Call, future: Any) -> None:
        try:
            answer = await future
        except KafkaError:
            return
        finally:
            call.sent += 1
        self.progressed_at = time.monotonic()
        if call.offset is None:
            call.offset = answer.offset
            self.journal.write("sent", n=call.n, partition=answer.partition, offset=answer.offset)
            self._waiting.setdefault(f"{call.topic}/{answer.partition}@{answer.offset}", []).append(call)
            self._match(f"{call.topic}/{answer.partition}@{answer.offset}")

    async def _listen(self) -> None:
        while True:
            try:
                polled = await self._consumer.getmany(timeout_ms=200)
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            for records in polled.values():
                for record in records:
                    self._hear(record.value)

    def _hear(self, value: bytes) -> None:
        document = json.loads(value)
        causation, accepted = document["causationid"].partition("#")[0], document["type"].endswith(".Accepted")
        found = (accepted, hashlib.sha256(value).hexdigest(), document["data"]["commandhash"])
        self._heard.setdefault(causation, found)
        self.progressed_at = time.monotonic()
        self._match(causation)

    def _match(self, causation: str) -> None:
        found = self._heard.get(causation)
        for call in self._waiting.get(causation, ()) if found else ():
            if not call.ended and found and found[2] == hashlib.sha256(call.value).hexdigest():
                call.ended = True
                self.journal.write("ok" if found[0] else "fail", n=call.n, outcome=found[1])

    async def conclude(self, patience: float | None = None) -> None:
        """Wait for what is open, as long as something moves; what is still open then is unknown."""
        self.progressed_at = time.monotonic()
        while self.open and time.monotonic() - self.progressed_at < (patience or self.patience):  # noqa: ASYNC110  patience has no event
            await asyncio.sleep(STEP_SECONDS)
        for call in self.calls.values():
            if not call.ended:
                call.ended = True
                self.journal.write("info", n=call.n)


CONTEXTS = ("identity",)


async def run(options: argparse.Namespace) -> None:
    roots = [Key.in_file(options.keys / f"root-{n}.key") for n in (1, 2, 3)]
    world = World(roots, options.network, options.partitions, random.Random(options.seed), options.skew)
    journal = Journal(options.journal)
    client = Client(world, journal, options.kafka, options.patience)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: setattr(client, "stopping", True))
    await client.start()
    if options.begin:
        for calls in world.beginning():
            await client.send(calls)
            await client.conclude(BEGINNING_SECONDS)
    await _load(client, options)
    await client.conclude()
    await client.stop()
    journal.close()


async def _load(client: Client, options: argparse.Namespace) -> None:
    owed = 0.0
    while len(client.calls) < options.count and not client.stopping:
        owed += options.rate * STEP_SECONDS
        calls: list[Call] = []
        while owed >= 1 and client.open + len(calls) < IN_FLIGHT:
            made = client.world.next(options.bad)
            calls += made
            owed -= len(made)
        if calls:
            await client.send(calls)
        await asyncio.sleep(STEP_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--network", default="dev")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--bad", type=float, default=0.3, help="the share of commands that are to be refused")
    parser.add_argument("--skew", type=float, default=0, help="seconds by which the clocks of the signers are wrong")
    parser.add_argument("--patience", type=float, default=30)
    parser.add_argument("--begin", action="store_true", help="found the network first")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
