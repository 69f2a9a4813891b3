"""A client that we did not write: confluent-kafka (librdkafka) and the written format, nothing of ours."""

import base64
import hashlib
import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from nacl.signing import SigningKey, VerifyKey

from tests.e2e.harness import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def did(key: SigningKey) -> str:
    """W3C did:key: multicodec 0xed01 and the public key, base58btc."""
    number, text = int.from_bytes(b"\xed\x01" + bytes(key.verify_key), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return f"did:key:z{text}"


def public_key(name: str) -> VerifyKey:
    number = 0
    for character in name.removeprefix("did:key:z"):
        number = number * 58 + BASE58.index(character)
    return VerifyKey(number.to_bytes(34, "big")[2:])


def pae(value: bytes) -> bytes:
    return b"DSSEv1 28 application/cloudevents+json " + str(len(value)).encode() + b" " + value


def signature_of(key: SigningKey, value: bytes) -> bytes:
    return b"ed25519:" + base64.urlsafe_b64encode(key.sign(pae(value)).signature).rstrip(b"=")


def command(key: SigningKey, kind: str, subject: str, data: dict[str, Any]) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    document = {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": did(key), "type": kind, "subject": subject, "time": now,
        "dataschema": f"urn:spaceos:{kind}:1", "network": "dev", "data": data,
    }  # fmt: skip
    return json.dumps(document).encode()


def read(kafka: str, topic: str, wanted: bytes) -> Any:
    """The first record whose value names the wanted bytes."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            record = consumer.poll(1)
            if record is not None and record.error() is None and wanted in record.value():
                return record
    finally:
        consumer.close()
    raise AssertionError(f"nothing on {topic} names {wanted!r}")


def test_a_foreign_client_publishes_a_command_and_verifies_the_event(on_sqlite: Deployment) -> None:
    """What it needs is written down; librdkafka must be told the partitioner of Kafka's Java clients."""
    on_sqlite.start("worker", "--slot", "1")
    secrets = {path.stem: path.read_text().split()[2] for path in (on_sqlite.home / "keys").glob("*.key")}
    root = SigningKey(bytes.fromhex(secrets["root-1"]))
    roots = [did(SigningKey(bytes.fromhex(secrets[f"root-{n}"]))) for n in (1, 2, 3)]
    fields = {"roots": roots, "quorum": 2, "chain_id": 800000, "profile": "consumer"}
    value = command(root, "identity.Found", "identity/network/dev", fields)
    producer = Producer({"bootstrap.servers": on_sqlite.kafka, "partitioner": "murmur2_random"})
    headers = [("content-type", b"application/cloudevents+json"), ("signature", signature_of(root, value))]

    producer.produce("identity.commands", value, key=b"identity/network/dev", headers=headers)
    assert producer.flush(30) == 0
    digest = hashlib.sha256(value).hexdigest()
    outcome = json.loads(read(on_sqlite.kafka, "identity.outcomes", digest.encode()).value())
    record = read(on_sqlite.kafka, "identity.events", digest.encode())

    event = json.loads(record.value())
    assert outcome["type"] == "identity.Accepted"
    assert outcome["data"]["events"][0]["id"] == event["id"]
    assert (event["type"], event["commandhash"], event["actor"]) == ("identity.Founded", digest, did(root))
    signed = dict(record.headers())["signature"].removeprefix(b"ed25519:")
    public_key(event["source"]).verify(pae(record.value()), base64.urlsafe_b64decode(signed + b"=="))
    assert event["source"] == did(SigningKey(bytes.fromhex(secrets["writer"])))


def test_whatever_is_wrong_with_a_command_is_refused_as_what_it_is(deployment: Deployment, seed: int) -> None:
    """Altered, replayed, expired, of another network, of unregistered, revoked and wrong-role keys: each has its name."""
    deployment.start("worker", "--slot", "1")
    deployment.finish(deployment.client(seed, "--count", "400", "--rate", "400", "--bad", "0.9", begin=True))

    verdict = deployment.judge()

    print(verdict)
    assert verdict["ok"], verdict
    assert verdict["refused"] > 200
    assert reasons(deployment) >= {
        "BadSignature", "Expired", "OnAnotherNetwork", "NotInRole", "Revoked", "Misrouted", "Conflict", "Malformed",
        "StreamAdvanced", "BadProof",
    }  # fmt: skip


def reasons(deployment: Deployment) -> set[str]:
    store = Path(deployment.home / "dump" / "store.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, store) if row["table"] == "commands"]
    data = [json.loads(base64.b64decode(row["outcome"]))["data"] for row in rows]
    return {found["refusal"]["name"] for found in data if "refusal" in found}
