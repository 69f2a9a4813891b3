"""The published vectors: our code reproduces and refuses exactly these, and a reader that shares none of our code agrees."""

import base64
import ctypes
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import base58
import confluent_kafka
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from adapters.keys import ed25519_signer, verify, wallet_signer
from commands._carried import opened
from contracts import BadRecord, Record, event_id, instant, outcome_id, pae, partition_of, read_event
from contracts.treasury import HeldRecord
from domain.identity.authority import WriterInterval
from ops.worker.checking import Door

FOLDER = Path(__file__).resolve().parents[2] / "contracts" / "vectors"


def read(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return found


def each(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", read(name), ids=lambda vector: vector.get("name", ""))


# A reader that shares no code with ours: the standard library, PyNaCl, eth-account


def encoded(value: bytes) -> bytes:
    return b"DSSEv1 28 application/cloudevents+json " + str(len(value)).encode() + b" " + value


def signed_by(did: str, value: bytes, signature: str) -> bool:
    """Whether the signature holds, for signatures in their right form."""
    scheme, _, text = signature.partition(":")
    if scheme == "ed25519":
        public = base58.b58decode(did.removeprefix("did:key:z"))[2:]
        try:
            VerifyKey(public).verify(encoded(value), base64.urlsafe_b64decode(text + "=="))
        except BadSignatureError:
            return False
        return True
    message = encode_defunct(text=hashlib.sha256(encoded(value)).hexdigest())
    return str(Account.recover_message(message, signature=text)).lower() == did.rpartition(":")[2]


# What holds


@each("keys")
def test_a_key_has_the_did_that_is_written(vector: dict[str, Any]) -> None:
    secret = bytes.fromhex(vector["secret"])
    if vector["kind"] == "ed25519":
        assert ed25519_signer(secret).did == vector["did"]
        public = bytes(SigningKey(secret).verify_key)
        assert vector["did"] == "did:key:z" + base58.b58encode(b"\xed\x01" + public).decode()
    else:
        assert wallet_signer(secret).did == vector["did"]
        assert vector["did"] == f"did:pkh:eip155:800000:{Account.from_key(secret).address.lower()}"


@each("pae")
def test_what_is_signed_is_written(vector: dict[str, Any]) -> None:
    assert pae(vector["value"].encode()).decode() == vector["pae"]
    assert encoded(vector["value"].encode()).decode() == vector["pae"]


@each("records")
def test_a_record_has_the_hash_and_the_signature_that_are_written(vector: dict[str, Any]) -> None:
    value, document = vector["value"].encode(), json.loads(vector["value"])
    signature = vector["headers"].get("signature")

    assert hashlib.sha256(value).hexdigest() == vector["sha256"]
    assert vector["key"] == document["subject"]
    if signature is not None:
        assert verify(document["source"], value, signature)
        assert signed_by(document["source"], value, signature)
        assert not verify(document["source"], value.replace(b"1.0", b"1.1", 1), signature)


def test_events_are_chained_and_their_ids_follow_from_their_command() -> None:
    """What a stranger checks of a shard, with nothing but the written format."""
    vectors = {vector["name"]: vector for vector in read("records")}
    asked = vectors["a command signed with Ed25519"]
    events = [vector for vector in vectors.values() if vector["kind"] == "event"]
    before = "0" * 64

    for n, vector in enumerate(events):
        document, cause = json.loads(vector["value"]), json.loads(asked["value"])
        assert document["prevhash"] == before
        assert int(document["sequence"]) == n
        assert document["commandhash"] == asked["sha256"]
        assert (document["actor"], document["causationid"]) == (cause["source"], cause["id"])
        assert read_event(document)
        before = vector["sha256"]


@each("proofs")
def test_a_proof_is_a_signature_over_its_text(vector: dict[str, Any]) -> None:
    said = ("network", "type", "source", "id", "subject", "did")
    assert vector["text"] == "\n".join(["spaceos/key-proof/2", *(vector[name] for name in said)])
    assert verify(vector["did"], vector["text"].encode(), vector["proof"])
    assert signed_by(vector["did"], vector["text"].encode(), vector["proof"])


@each("ids")
def test_an_id_follows_from_the_command(vector: dict[str, Any]) -> None:
    namespace = uuid.UUID("6ba8c1de-52cc-5f3e-9d55-0a3c4d1f7e21")
    if vector["of"] == "event":
        assert event_id(vector["source"], vector["command"], vector["ordinal"]) == vector["id"]
    else:
        assert outcome_id(vector["source"], vector["command"]) == vector["id"]
    last = vector.get("ordinal", "outcome")
    assert str(uuid.uuid5(namespace, f"{vector['source']}\n{vector['command']}\n{last}")) == vector["id"]


def librdkafka_partition(key: bytes, partitions: int) -> int:
    """What the C library behind kcat and confluent-kafka computes, when it is told `partitioner=murmur2_random`."""
    [path] = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    function = ctypes.CDLL(str(path)).rd_kafka_msg_partitioner_murmur2
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    function.restype, function.argtypes = number, [pointer, ctypes.c_char_p, ctypes.c_size_t, number, pointer, pointer]
    return int(function(None, key, len(key), partitions, None, None))


@each("partitions")
def test_a_key_goes_to_the_partition_that_is_written(vector: dict[str, Any]) -> None:
    key, partitions = vector["key"], vector["partitions"]

    assert partition_of(key, partitions) == vector["partition"]
    assert librdkafka_partition(key.encode(), partitions) == vector["partition"]


@each("signatures")
def test_a_signature_holds_or_not_as_is_written(vector: dict[str, Any]) -> None:
    assert verify(vector["did"], vector["value"].encode(), vector["signature"]) is vector["valid"]
    if vector["valid"]:
        assert signed_by(vector["did"], vector["value"].encode(), vector["signature"])


@pytest.mark.dependency
@pytest.mark.parametrize("name", ["the malleable twin, high s", "v of 0", "v of 1"])
def test_eth_account_takes_what_we_refuse(name: str) -> None:
    """If it refuses one day, our own check is needed no more."""
    [vector] = [vector for vector in read("signatures") if vector["name"] == name]
    message = encode_defunct(text=hashlib.sha256(encoded(vector["value"].encode())).hexdigest())

    recovered = Account.recover_message(message, signature=vector["signature"].removeprefix("eip191:"))

    assert recovered.startswith("0x")
    assert not verify(vector["did"], vector["value"].encode(), vector["signature"])


# At the door


@dataclass
class Incoming:
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Iterable[tuple[str, bytes]]


def incoming(vector: Mapping[str, Any]) -> Incoming:
    if "value_base64" in vector:
        value: bytes | None = base64.b64decode(vector["value_base64"])
    elif "value_parts" in vector:
        value = "".join(text * times for text, times in vector["value_parts"]).encode()
    else:
        value = None if vector["value"] is None else vector["value"].encode()
    key = None if vector["key"] is None else vector["key"].encode()
    return Incoming(0, key, value, [(name, text.encode()) for name, text in vector["headers"].items()])


@each("accepted")
def test_what_is_to_be_accepted_is_accepted(vector: dict[str, Any]) -> None:
    checked = Door(**vector["door"]).check(incoming(vector))

    assert checked.problem is None
    assert checked.is_genuine
    assert checked.command is not None
    assert signed_by(json.loads(vector["value"])["source"], vector["value"].encode(), vector["headers"]["signature"])


@each("refused")
def test_what_is_to_be_refused_is_refused_with_that_name_and_field(vector: dict[str, Any]) -> None:
    checked = Door(**vector["door"]).check(incoming(vector))

    assert checked.command is None
    assert checked.problem is not None
    assert {"name": checked.problem.name, "field": checked.problem.field} == vector["refusal"]


@each("refused")
def test_what_is_refused_is_well_signed_unless_its_signature_is_what_is_refused(vector: dict[str, Any]) -> None:
    """Otherwise a vector could be refused for another fault than its own."""
    if vector["refusal"]["name"] == "BadSignature" or vector["name"] == "no value":
        return
    given = incoming(vector)
    [signature] = [value.decode() for name, value in given.headers if name == "signature"]

    [alice] = [key for key in read("keys") if key["name"] == "alice"]
    assert given.value is not None
    assert signed_by(alice["did"], given.value, signature)


@each("carried")
def test_a_carried_record_is_believed_or_refused_as_is_written(vector: dict[str, Any]) -> None:
    """With nothing but what the vector says: who might sign then, and what the store has in that place."""
    writer = vector["writer"]
    entitled = WriterInterval(writer["key"], writer["prefix"], instant(writer["since"]), instant(writer["until"]))

    def stands(record: Record) -> bool:
        is_entitled = record.source == entitled.key and entitled.covers(record.subject, record.moment)
        return is_entitled and hashlib.sha256(record.value).hexdigest() == vector["recorded"]

    assert list(HeldRecord.carries) == vector["carries"]
    if vector["refused"] is None:
        record = opened(HeldRecord(**vector["carried"]), vector["network"], verify, stands)
        assert record.value == base64.urlsafe_b64decode(vector["carried"]["value"] + "==")
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011  of pydantic, or ours
        opened(HeldRecord(**vector["carried"]), vector["network"], verify, stands)
    assert _blamed(caught.value) == vector["refused"]


def _blamed(error: ValueError) -> str:
    """The record's attribute, or, of what is no carried record at all, the field."""
    return error.field if isinstance(error, BadRecord) else str(error.errors()[0]["loc"][0])  # type: ignore[attr-defined]
