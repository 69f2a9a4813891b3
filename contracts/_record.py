"""The signed record, version 1: a CloudEvents 1.0 document in structured JSON mode, signed over exactly its bytes.

Kafka key: the UTF-8 `subject`. Value: the document. Headers: `content-type`, `signature`, and an unsigned `traceparent`.
The signature is over DSSE's pre-authentication encoding of the value (`pae`), so nothing needs a canonical form.
"""

import hashlib
import re
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from contracts._json import BadDocument, parse_strictly
from contracts._language import Command, Event
from contracts._values import Did, StreamName, Uuid, instant, rfc3339

CONTENT_TYPE: Final = "application/cloudevents+json"
MAX_RECORD_BYTES: Final = 60_000
"""A reader may rely on it: an entry of the audit log counts its length in 16 bits."""
ZERO_HASH: Final = "0" * 64
"""`prevhash` of the first record of a shard."""

_NAMESPACE: Final = uuid.UUID("6ba8c1de-52cc-5f3e-9d55-0a3c4d1f7e21")
"""Of the UUIDv5 ids that are derived here."""
_NAMESPACE_HASHED: Final = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)


class BadRecord(ValueError):
    """The record breaks the format. `field` is the attribute, `rule` what it must be; `name` the refusal it becomes."""

    def __init__(self, field: str, rule: str, name: str = "Malformed") -> None:
        super().__init__(f"{field}: {rule}")
        self.field, self.rule, self.name = field, rule, name


def pae(value: bytes) -> bytes:
    """What is signed: DSSE v1 pre-authentication encoding of the value under its content type."""
    return b"DSSEv1 28 application/cloudevents+json %d %b" % (len(value), value)


def dataschema(name: str, version: int = 1) -> str:
    """`urn:spaceos:<name>:<version>`."""
    return f"urn:spaceos:{name}:{version}"


def shard_name(topic: str, partition: int) -> str:
    """`providers.events/3`: one partition of one topic."""
    return f"{topic}/{partition}"


def event_id(source: str, command_id: str, ordinal: int) -> str:
    """The id of the n-th event that a command caused: UUIDv5, so deciding twice names the same event."""
    return _uuid5(f"{source}\n{command_id}\n{ordinal}")


def outcome_id(source: str, command_id: str) -> str:
    """The id of a command's outcome."""
    return _uuid5(f"{source}\n{command_id}\noutcome")


def _uuid5(name: str) -> str:
    # The standard library's takes 4 µs, and a command needs two.
    hashing = _NAMESPACE_HASHED.copy()
    hashing.update(name.encode())
    digest = hashing.hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: murmur2 as in Kafka's Java clients. librdkafka must be told (`partitioner=murmur2_random`)."""
    data = key.encode()
    length = len(data)
    h = 0x9747B28C ^ length
    words = length >> 2
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * 0x5BD1E995 & 0xFFFFFFFF
        k = (k ^ k >> 24) * 0x5BD1E995 & 0xFFFFFFFF
        h = h * 0x5BD1E995 & 0xFFFFFFFF ^ k
    if tail := data[words * 4 :]:
        h = (h ^ int.from_bytes(tail, "little")) * 0x5BD1E995 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


# Not frozen: the slots of a frozen dataclass are set one by one through object.__setattr__, 3 µs a command.
@dataclass(slots=True)
class CommandRecord:
    """A command as it came: well-formed, neither verified nor authorised yet. Times are the signer's."""

    value: bytes
    signature: str
    hash: str
    """SHA-256 of the value, hexadecimal."""
    id: str
    source: str
    type: str
    subject: str
    network: str
    dataschema: str
    time: datetime
    expires: datetime | None
    correlationid: str | None
    causationid: str | None
    streamversion: int | None
    data: Mapping[str, Any]
    traceparent: str | None = None

    @staticmethod
    def encode(
        command: Command,
        *,
        subject: str,
        source: str,
        network: str,
        id: str,
        time: datetime,
        expires: datetime | None = None,
        correlationid: str | None = None,
        causationid: str | None = None,
        streamversion: int | None = None,
    ) -> bytes:
        """The value to sign and send."""
        document: dict[str, Any] = {
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": command.wire.type,
            "subject": subject,
            "time": rfc3339(time),
            "dataschema": command.wire.dataschema,
            "network": network,
        }
        if expires is not None:
            document["expires"] = rfc3339(expires)
        if correlationid is not None:
            document["correlationid"] = correlationid
        if causationid is not None:
            document["causationid"] = causationid
        if streamversion is not None:
            document["streamversion"] = streamversion
        document["data"] = orjson.Fragment(command.json_bytes())
        return orjson.dumps(document)


_COMMAND_REQUIRED = ("specversion", "id", "source", "type", "subject", "time", "dataschema", "network", "data")
_COMMAND_ALLOWED = {*_COMMAND_REQUIRED, "expires", "correlationid", "causationid", "streamversion", "datacontenttype"}
_TYPE = re.compile(r"[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*")
_NETWORK = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_DID = re.compile(Did.pattern)
_UUID = re.compile(Uuid.pattern)
_STREAM = re.compile(StreamName.pattern)


def parse_command(value: bytes | None, key: bytes | None, headers: Iterable[tuple[str, bytes]]) -> CommandRecord:
    """Bytes of a stranger as a command record. Raises BadRecord, which names the attribute and the rule."""
    if not value:
        raise BadRecord("value", "a command has a value")
    if len(value) > MAX_RECORD_BYTES:
        raise BadRecord("value", f"a record is at most {MAX_RECORD_BYTES} bytes, this has {len(value)}", "TooLarge")
    try:
        document = parse_strictly(value)
    except BadDocument as error:
        raise BadRecord("value", error.rule) from None
    for name in _COMMAND_REQUIRED:
        if name not in document:
            raise BadRecord(name, "is required")
    if surplus := document.keys() - _COMMAND_ALLOWED:
        raise BadRecord(min(surplus)[:40], "is no attribute of a command")
    if document["specversion"] != "1.0":
        raise BadRecord("specversion", 'is "1.0"')
    subject = _text(document, "subject", _STREAM, "is <context>/<kind>/<id>", StreamName.max_length)
    if key != subject.encode():
        raise BadRecord("subject", "equals the Kafka key")
    data = document["data"]
    if type(data) is not dict:
        raise BadRecord("data", "is an object")
    streamversion = document.get("streamversion")
    if "streamversion" in document and (type(streamversion) is not int or streamversion < 0):
        raise BadRecord("streamversion", "is a whole number, the version that the stream is expected to have")
    if "datacontenttype" in document and document["datacontenttype"] != "application/json":
        raise BadRecord("datacontenttype", 'is "application/json", where it is said')
    found = dict(headers)
    # A header's value may be null.
    signature = (found.get("signature") or b"")[:201].decode("ascii", "replace")
    if not signature or len(signature) > 200 or not signature.isascii() or not signature.isprintable():
        raise BadRecord("signature", "is a header, ed25519:<base64url> or eip191:<0x…>", "BadSignature")
    trace = (found.get("traceparent") or b"").decode("ascii", "replace")
    return CommandRecord(
        value=value,
        signature=signature,
        hash=hashlib.sha256(value).hexdigest(),
        id=_text(document, "id", _UUID, "is a UUID in lower case"),
        source=_text(document, "source", _DID, "is did:key:z6Mk… or did:pkh:eip155:…"),
        type=_text(document, "type", _TYPE, "is <context>.<Command>"),
        subject=subject,
        network=_text(document, "network", _NETWORK, "is the name of a deployment"),
        dataschema=_text(document, "dataschema", None, "is urn:spaceos:<type>:<version>"),
        time=_time(document, "time"),
        expires=_time(document, "expires") if "expires" in document else None,
        correlationid=_text(document, "correlationid", _UUID, "is a UUID") if "correlationid" in document else None,
        causationid=_text(document, "causationid", _UUID, "is a UUID") if "causationid" in document else None,
        streamversion=streamversion,
        data=data,
        traceparent=trace if _TRACEPARENT.fullmatch(trace) else None,
    )


def _text(document: Mapping[str, Any], name: str, form: re.Pattern[str] | None, rule: str, limit: int = 120) -> str:
    text = document[name]
    if type(text) is not str or len(text) > limit or (form is not None and not form.fullmatch(text)):
        raise BadRecord(name, rule)
    return text


def _time(document: Mapping[str, Any], name: str) -> datetime:
    try:
        return instant(_text(document, name, None, "is an RFC 3339 time"))
    except ValueError:
        raise BadRecord(name, "is an RFC 3339 time in UTC") from None


class Record:
    """An event of our own log: its bytes and what they say. Reading it does not verify it; the chain does."""

    __slots__ = ("document", "headers", "value")

    def __init__(self, value: bytes, document: Mapping[str, Any], headers: Sequence[tuple[str, bytes | None]] = ()) -> None:
        self.value = value
        self.document = document
        self.headers = headers

    @property
    def signature(self) -> str:
        """As its header says it; empty where that is not known."""
        return (dict(self.headers).get("signature") or b"").decode("ascii", "replace")

    @property
    def id(self) -> str:
        return self.document["id"]  # type: ignore[no-any-return]

    @property
    def source(self) -> str:
        return self.document["source"]  # type: ignore[no-any-return]

    @property
    def type(self) -> str:
        return self.document["type"]  # type: ignore[no-any-return]

    @property
    def subject(self) -> str:
        return self.document["subject"]  # type: ignore[no-any-return]

    @property
    def stream_id(self) -> str:
        """What follows `<context>/<kind>/` in the subject."""
        return self.subject.split("/", 2)[-1]

    @property
    def shard(self) -> str:
        return self.document["shard"]  # type: ignore[no-any-return]

    @property
    def sequence(self) -> int:
        return int(self.document["sequence"])

    @property
    def streamversion(self) -> int:
        return self.document["streamversion"]  # type: ignore[no-any-return]

    @property
    def time(self) -> str:
        """RFC 3339 with microseconds, which sorts as text."""
        return self.document["time"]  # type: ignore[no-any-return]

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.document["time"])

    @property
    def actor(self) -> str:
        return self.document["actor"]  # type: ignore[no-any-return]

    @property
    def causationid(self) -> str:
        return self.document["causationid"]  # type: ignore[no-any-return]

    @property
    def commandhash(self) -> str:
        return self.document["commandhash"]  # type: ignore[no-any-return]

    @property
    def network(self) -> str:
        return self.document["network"]  # type: ignore[no-any-return]

    @staticmethod
    def encode(
        event: Event,
        *,
        id: str,
        command: CommandRecord,
        source: str,
        time: str,
        shard: str,
        sequence: int,
        streamversion: int,
        prevhash: str,
    ) -> bytes:
        """The value to sign, store and publish."""
        return orjson.dumps(
            {
                "specversion": "1.0",
                "id": id,
                "source": source,
                "type": event.wire.type,
                "subject": command.subject,
                "time": time,
                "dataschema": event.wire.dataschema,
                "network": command.network,
                "correlationid": command.correlationid or command.id,
                "causationid": command.id,
                "shard": shard,
                "sequence": f"{sequence:020d}",
                "streamversion": streamversion,
                "prevhash": prevhash,
                "actor": command.source,
                "commandhash": command.hash,
                "data": orjson.Fragment(event.json_bytes()),
            }
        )


def parse_event(value: bytes, headers: Sequence[tuple[str, bytes | None]] = ()) -> Record:
    """A record of our own log. Raises orjson.JSONDecodeError; whether the bytes are ours is the chain's to say."""
    return Record(value, orjson.loads(value), headers)
