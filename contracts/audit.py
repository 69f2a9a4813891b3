"""Audit: what people decide about the log: holds, erasures, witnesses, schemas; who read it; and where it had to stop.

These are records like all others, so they are entries of the log that they speak of.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._sealed import Sealed, SealingKeyId
from contracts._values import AtomicText, Count, Did, Digest, EventId, Label, StreamId, Timestamp
from contracts.custody import RetentionClass, Year

RETENTION_DAYS: dict[RetentionClass, int] = {
    "none": 0, "ai-log": 184, "kyc": 5 * 366, "broker": 6 * 366, "financial": 7 * 366, "custody": 10 * 366,
}  # fmt: skip
"""How long after the end of a key's year its records must stay readable: at least six months for logs of AI systems (EU AI
Act, article 26), five years for KYC, six for brokers (SEC rule 17a-4). Counsel may lengthen them."""
ERASURE_DAYS = 30
"""An erasure that nothing bars is done within so many days."""


class HoldId(AtomicText):
    """A hold's name, `2026-117`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    max_length = 60


class StreamPrefix(AtomicText):
    """The beginning of streams' names."""

    pattern = r"^[a-z][A-Za-z0-9/._:+@-]*$"
    max_length = 250


class TypeName(AtomicText):
    """An event's type, `identity.KeyProposed`."""

    pattern = r"^[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*$"
    max_length = 120


class WitnessKey(AtomicText):
    """A C2SP verifier key: name, id and key, with plus signs between."""

    pattern = r"^[!-*,-~]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44,}$"
    max_length = 300


class Urn(AtomicText):
    """A schema and its version, `urn:spaceos:identity.KeyProposed:1`."""

    pattern = r"^urn:spaceos:[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*:[1-9][0-9]{0,5}$"
    max_length = 160


PersonTag = Digest
"""A person as the vault alone can name them: HMAC-SHA256 under a key of its own. Nobody else knows whose a tag is."""
Tags = Annotated[tuple[PersonTag, ...], Field(max_length=200)]


class Scope(Value):
    """What a hold covers. One that names neither keys nor persons bars every erasure: nobody knows which keys a stream will
    yet need. One on a person covers keys that are made later, too."""

    streams: Annotated[tuple[StreamPrefix, ...], Field(max_length=64)] = ()
    types: Annotated[tuple[TypeName, ...], Field(max_length=64)] = ()
    keys: Annotated[tuple[SealingKeyId, ...], Field(max_length=500)] = ()
    persons: Annotated[tuple[PersonTag, ...], Field(max_length=64)] = ()
    since: Timestamp | None = None
    until: Timestamp | None = None


class ErasedKey(Value):
    """A sealing key that is to be destroyed, with what its making said of it."""

    key: SealingKeyId
    retention_class: RetentionClass
    year: Year


Keys = Annotated[tuple[SealingKeyId, ...], Field(min_length=1, max_length=200)]
Shreddings = Annotated[tuple[EventId, ...], Field(min_length=1, max_length=200)]
Basis = Literal["request", "court", "end"]


STREAM_IDS: Mapping[str, type[AtomicText]] = {
    "class": StreamId, "erasure": StreamId, "hold": StreamId, "key": SealingKeyId, "log": StreamId, "reads": StreamId,
    "schema": StreamId, "shard": StreamId,
}  # fmt: skip
"""What the streams of each kind are named by."""


class PlaceHold(Command, role="audit.officer", stream="audit/hold"):
    """Nothing that the scope covers is erased until the hold is released. One officer suffices."""

    hold: HoldId
    scope: Scope
    matter: Label
    basis: Sealed | None = None


class ReleaseHold(Command, role="audit.officer", stream="audit/hold"):
    """End a hold: another officer than the one who placed it."""

    hold: HoldId


class NoteKey(Command, role="audit.process", stream="audit/key"):
    """Say of a sealing key what custody.KeyCreated said of it: for which class and year it was made."""

    retention_class: RetentionClass
    year: Year
    cause: EventId


class OrderErasure(Command, role="audit.officer", stream="audit/erasure"):
    """Destroy a person's keys. It takes the same order by two officers.

    What a key was made for is read where it was noted; what an order says of it, as older ones do, counts for nothing.
    """

    keys: Annotated[tuple[ErasedKey | SealingKeyId, ...], Field(min_length=1, max_length=200)]
    basis: Basis
    cause: EventId | None = None


class ResumeErasure(Command, role="audit.process", stream="audit/erasure"):
    """Look again whether anything bars it, right before it is carried out."""

    tags: Tags = ()
    """Of the persons whose keys they are, as the vault has them: a hold on one of them bars it."""


class ConfirmErasure(Command, role="audit.process", stream="audit/erasure"):
    """The keys are destroyed, as these custody.KeyShredded say."""

    shredded: Shreddings


class PublishSchema(Command, role="audit.publisher", stream="audit/schema"):
    """Declare a schema's version: its digest, how long its records are kept, and its sealed fields."""

    urn: Urn
    digest: Digest
    retention_class: RetentionClass
    sealed_fields: Annotated[tuple[Label, ...], Field(max_length=64)] = ()


class ExpireRetention(Command, role="audit.clock", stream="audit/class"):
    """The keys of a class and year were destroyed because their time is over."""

    keys: Keys
    shredded: Shreddings
    tags: Tags = ()
    """Of the persons whose keys they were."""


class RecordRead(Command, role="audit.reader", stream="audit/reads"):
    """Somebody is about to read entries. The answer leaves after this is recorded."""

    purpose: Label
    what: Literal["entries", "search", "export"]
    filter_digest: Digest
    filter: Sealed | None = None
    first: Count
    last: Count
    count: Count


class RecordServed(Command, role="audit.sequencer", stream="audit/reads"):
    """The log's server is about to hand entries to somebody who showed a token. The answer leaves after this is sent."""

    reader: Did
    purpose: Label
    filter_digest: Digest
    first: Count
    last: Count
    count: Count


class RecordPack(Command, role="audit.reader", stream="audit/reads"):
    """A pack or bundle was written."""

    pack: Label
    manifest_digest: Digest
    size: Count


class AddWitness(Command, role="audit.keyholder", stream="audit/log"):
    """Ask somebody to cosign the log's heads. It takes two keyholders."""

    name: Label
    key: WitnessKey
    group: Label


class RetireWitness(Command, role="audit.keyholder", stream="audit/log"):
    """Ask no more. It takes two keyholders."""

    name: Label
    cause: Label


class RotateLogKey(Command, role="audit.keyholder", stream="audit/log"):
    """From now on another key signs the heads; both do for the overlap. It takes two keyholders."""

    key: WitnessKey
    overlap_seconds: Annotated[Count, Field(ge=3_600, le=7_776_000)]


class HaltShard(Command, role="audit.sequencer", stream="audit/shard"):
    """The record of that sequence may not be in the log; the shard waits for an operator."""

    sequence: Count
    evidence: Digest
    reason: Annotated[str, Field(max_length=1000)]


class ResumeShard(Command, role="audit.operator", stream="audit/shard"):
    """Somebody has looked into it: try again from that sequence."""

    sequence: Count


class ReportTampering(Command, role=("audit.reader", "audit.sequencer"), stream="audit/shard"):
    """An entry or a tile is not as it was written."""

    index: Count
    evidence: Digest
    check: Label


class HoldPlaced(Event):
    hold: HoldId
    scope: Scope
    matter: Label
    placed_by: Did
    basis: Sealed | None = None
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""


class HoldReleased(Event):
    hold: HoldId
    released_by: Did


class KeyNoted(Event):
    retention_class: RetentionClass
    year: Year
    cause: EventId


class ErasureProposed(Event):
    keys: tuple[ErasedKey, ...]
    basis: Basis
    proposed_by: Did
    cause: EventId | None = None
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""


class ErasureOrdered(Event):
    keys: Keys
    basis: Basis
    cause: EventId | None = None


class ErasureDeferred(Event):
    keys: Keys
    basis: Basis
    bars: Annotated[tuple[Label, ...], Field(min_length=1)]
    """Each hold or class that stands against it."""
    until: Timestamp | None = None
    """When the last class ends; absent where a hold bars, whose end nobody knows."""


class PersonErased(Event):
    keys: Keys
    shredded: Shreddings


class SchemaPublished(Event):
    urn: Urn
    digest: Digest
    retention_class: RetentionClass
    sealed_fields: tuple[Label, ...] = ()


class RetentionExpired(Event):
    keys: Keys
    shredded: Shreddings


class LogRead(Event):
    reader: Did
    purpose: Label
    what: str
    filter_digest: Digest
    filter: Sealed | None = None
    first: Count
    last: Count
    count: Count


class PackExported(Event):
    reader: Did
    pack: Label
    manifest_digest: Digest
    size: Count


class LogChangeProposed(Event):
    """One keyholder has asked for a change of the log; `digest` is of what he asked."""

    digest: Digest
    proposed_by: Did
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""


class WitnessAdded(Event):
    name: Label
    key: WitnessKey
    group: Label


class WitnessRetired(Event):
    name: Label
    cause: Label


class LogKeyRotated(Event):
    key: WitnessKey
    overlap_seconds: Count


class ShardHalted(Event):
    sequence: Count
    evidence: Digest
    reason: str


class ShardResumed(Event):
    sequence: Count
    resumed_by: Did


class TamperingReported(Event):
    index: Count
    evidence: Digest
    check: Label
    reported_by: Did


AuditCommand = (
    PlaceHold
    | ReleaseHold
    | NoteKey
    | OrderErasure
    | ResumeErasure
    | ConfirmErasure
    | PublishSchema
    | ExpireRetention
    | RecordRead
    | RecordServed
    | RecordPack
    | AddWitness
    | RetireWitness
    | RotateLogKey
    | HaltShard
    | ResumeShard
    | ReportTampering
)
HoldEvent = HoldPlaced | HoldReleased
ErasureEvent = ErasureProposed | ErasureOrdered | ErasureDeferred | PersonErased
LogEvent = LogChangeProposed | WitnessAdded | WitnessRetired | LogKeyRotated
ShardEvent = ShardHalted | ShardResumed | TamperingReported
ReadEvent = LogRead | PackExported

AuditEvent = HoldEvent | ErasureEvent | LogEvent | ShardEvent | ReadEvent | SchemaPublished | RetentionExpired | KeyNoted
