"""The signed record: whatever comes is a command record or a BadRecord, and what we write is what we read."""

import contextlib
import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import (
    MAX_RECORD_BYTES,
    BadRecord,
    CommandRecord,
    Record,
    event_id,
    outcome_id,
    pae,
    parse_command,
    parse_event,
    partition_of,
    rfc3339,
)
from contracts._record import _NAMESPACE
from contracts.identity import KeyRevoked, RevokeKey

KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
SUBJECT = f"identity/key/{KEY}"
ID = "01935c5e-7e33-7000-8000-000000000000"
NOW = datetime(2026, 11, 24, 3, 12, 35, 123456, tzinfo=UTC)
SIGNED = [("signature", b"ed25519:" + b"A" * 86)]


def command(**more: Any) -> bytes:
    asked = {"subject": SUBJECT, "source": KEY, "network": "test", "id": ID, "time": NOW}
    return CommandRecord.encode(RevokeKey(reason="retired"), **{**asked, **more})


headers = st.lists(
    st.tuples(st.sampled_from(["signature", "traceparent", "content-type", "x"]), st.none() | st.binary(max_size=70)),
    max_size=4,
)


@given(st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=40), headers)
def test_arbitrary_bytes_are_a_bad_record_and_nothing_else(
    value: bytes | None, key: bytes | None, found: list[tuple[str, bytes]]
) -> None:
    """Any other exception would end the worker, which would come back to the same record for ever."""
    with contextlib.suppress(BadRecord):
        parse_command(value, key, found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=60) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
attributes = st.sampled_from([*json.loads(command()), "expires", "correlationid", "causationid", "streamversion", "actor", ""])


@given(st.dictionaries(attributes, json_values, max_size=3), st.sets(attributes, max_size=2), headers)
@settings(max_examples=300)
def test_a_record_with_strange_attributes_is_read_or_is_a_bad_record(
    changes: dict[str, Any], missing: set[str], found: list[tuple[str, bytes]]
) -> None:
    document = {name: item for name, item in {**json.loads(command()), **changes}.items() if name not in missing}
    value = json.dumps(document).encode("utf-8", "surrogatepass")

    try:
        record = parse_command(value, str(document.get("subject")).encode("utf-8", "replace"), found or SIGNED)
    except BadRecord:
        return

    # What is read can be stored and written again.
    assert record.signature.isprintable()
    assert record.subject.encode("ascii")
    assert record.expires is None or rfc3339(record.expires)


optional = st.fixed_dictionaries(
    {},
    optional={
        "expires": st.datetimes(timezones=st.just(UTC)),
        "correlationid": st.uuids().map(str),
        "causationid": st.uuids().map(str),
        "streamversion": st.integers(0, 2**53),
    },
)


@given(optional)
def test_a_command_is_read_as_it_was_written(more: dict[str, Any]) -> None:
    value = command(**more)

    record = parse_command(value, SUBJECT.encode(), SIGNED)

    read = {name: getattr(record, name) for name in more}
    assert read == more
    assert (record.id, record.source, record.subject, record.network, record.time) == (ID, KEY, SUBJECT, "test", NOW)
    assert record.hash == hashlib.sha256(value).hexdigest()
    assert record.data == {"reason": "retired"}


def test_a_header_without_a_value_is_a_missing_header() -> None:
    """Kafka has null headers; a worker that fell over one would fall again after its restart."""
    with pytest.raises(BadRecord, match="signature"):
        parse_command(command(), SUBJECT.encode(), [("signature", None)])  # type: ignore[list-item]

    record = parse_command(command(), SUBJECT.encode(), [*SIGNED, ("traceparent", None)])  # type: ignore[list-item]
    assert record.traceparent is None


@pytest.mark.parametrize("signature", [b"a\0b", b"a\nb", b"\x7f", "ed25519:é".encode(), b"\xff", b"e" * 201, b""])
def test_a_signature_that_no_database_would_store_is_refused(signature: bytes) -> None:
    """PostgreSQL has no text with a NUL: the batch would fail there, and the worker come back to it for ever."""
    with pytest.raises(BadRecord) as refusal:
        parse_command(command(), SUBJECT.encode(), [("signature", signature)])

    assert (refusal.value.name, refusal.value.field) == ("BadSignature", "signature")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", False),
        (b"\xff", False),
    ],
)
def test_a_trace_is_taken_over_only_in_its_form(sent: bytes, kept: bool) -> None:
    record = parse_command(command(), SUBJECT.encode(), [*SIGNED, ("traceparent", sent)])

    assert record.traceparent == (sent.decode() if kept else None)


def test_a_record_has_at_most_60_000_bytes() -> None:
    """A reader may rely on it."""
    document = json.loads(command())
    document["data"] = {"reason": ""}
    space = MAX_RECORD_BYTES - len(json.dumps(document))
    document["data"] = {"reason": "x" * space}
    value = json.dumps(document).encode()

    assert parse_command(value, SUBJECT.encode(), SIGNED).value == value
    with pytest.raises(BadRecord) as refusal:
        parse_command(value[:-1] + b" }", SUBJECT.encode(), SIGNED)
    assert refusal.value.name == "TooLarge"


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 1_000))
def test_derived_ids_are_uuid_5(source: str, command_id: str, ordinal: int) -> None:
    """The standard library's is the witness; ours is the same and cheaper."""
    source, command_id = (text.encode("utf-8", "replace").decode() for text in (source, command_id))

    assert event_id(source, command_id, ordinal) == str(uuid.uuid5(_NAMESPACE, f"{source}\n{command_id}\n{ordinal}"))
    assert outcome_id(source, command_id) == str(uuid.uuid5(_NAMESPACE, f"{source}\n{command_id}\noutcome"))


@given(st.binary(max_size=300))
def test_what_is_signed_says_how_long_it_is(value: bytes) -> None:
    """DSSE: no value is another value's beginning."""
    kind = b"application/cloudevents+json"

    assert pae(value) == b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(value)).encode(), value])


def test_an_event_links_to_its_command_and_to_the_record_before_it() -> None:
    asked = parse_command(command(correlationid=ID), SUBJECT.encode(), SIGNED)
    event = KeyRevoked(key=KEY, reason="retired")

    value = Record.encode(
        event, id=event_id(KEY, ID, 0), command=asked, source=KEY, time=rfc3339(NOW), shard="identity.events/0", sequence=7,
        streamversion=1, prevhash="a" * 64,
    )  # fmt: skip

    record = parse_event(value)
    assert (record.shard, record.sequence, record.streamversion) == ("identity.events/0", 7, 1)
    assert (record.causationid, record.commandhash, record.actor) == (ID, asked.hash, KEY)
    assert record.stream_id == KEY
    assert record.document["prevhash"] == "a" * 64
    assert record.document["sequence"] == f"{7:020d}"


# From the tests of Apache Kafka's own clients (UtilsTest.testMurmur2).
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "murmur2"), JAVA.items())
def test_a_key_goes_where_a_java_client_sends_it(key: str, murmur2: int) -> None:
    for partitions in (1, 4, 7, 1_000):
        assert partition_of(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions


@pytest.mark.dependency
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_key_goes_where_aiokafka_sends_it(key: str) -> None:
    from aiokafka.partitioner import DefaultPartitioner

    partitions = list(range(12))

    assert DefaultPartitioner()(key.encode(), partitions, partitions) == partition_of(key, 12)
