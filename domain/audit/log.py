"""The log itself: who cosigns it, who reads it, which schemas it holds, and where it had to stop."""

from dataclasses import dataclass, field
from typing import assert_never

from contracts import Did, Digest
from contracts.audit import (
    AddWitness,
    HaltShard,
    LogChangeProposed,
    LogEvent,
    LogKeyRotated,
    LogRead,
    PackExported,
    PublishSchema,
    ReadEvent,
    RecordPack,
    RecordRead,
    RecordServed,
    ReportTampering,
    ResumeShard,
    RetireWitness,
    RotateLogKey,
    SchemaPublished,
    ShardEvent,
    ShardHalted,
    ShardResumed,
    TamperingReported,
    WitnessAdded,
    WitnessRetired,
)
from domain import Aggregate
from domain.audit import (
    AddressedWrongly,
    AlreadyKnown,
    AlreadyPublished,
    NotEntitled,
    NotHalted,
    NotKnown,
    SamePerson,
    VersionNotNext,
)

READER_ROLE = "audit.reader"


@dataclass
class Schema(Aggregate[SchemaPublished]):
    """The published versions of one message."""

    versions: list[SchemaPublished] = field(default_factory=list)

    def publish(self, command: PublishSchema) -> None:
        name, _, version = command.urn.removeprefix("urn:spaceos:").rpartition(":")
        if name != self.id:
            raise AddressedWrongly(f"the stream is of {self.id}", "urn")
        event = SchemaPublished(
            urn=command.urn, digest=command.digest, retention_class=command.retention_class,
            sealed_fields=command.sealed_fields,
        )  # fmt: skip
        known = self.versions[int(version) - 1] if int(version) <= len(self.versions) else None
        if known == event:
            return
        if known is not None:
            raise AlreadyPublished(f"{command.urn} is {known.digest}, {known.retention_class}", "urn")
        if int(version) != len(self.versions) + 1:
            raise VersionNotNext(f"version {len(self.versions) + 1} is the next", "urn")
        self.record(event)

    def apply(self, event: SchemaPublished) -> None:
        match event:
            case SchemaPublished():
                self.versions.append(event)
            case _:
                assert_never(event)


@dataclass
class Reads(Aggregate[ReadEvent]):
    """A day's reads. Whoever has the role and says why may read."""

    def read(self, command: RecordRead, *, actor: str) -> None:
        self.record(
            LogRead(
                reader=Did(actor), purpose=command.purpose, what=command.what, filter_digest=command.filter_digest,
                filter=command.filter, first=command.first, last=command.last, count=command.count,
            )
        )  # fmt: skip

    def serve(self, command: RecordServed, *, is_entitled: bool) -> None:
        """The server asks for a reader who showed a token: it is the reader who must have the role now. Raises NotEntitled."""
        if not is_entitled:
            raise NotEntitled(f"{command.reader} has not the role {READER_ROLE} for these reads now", "reader")
        self.record(
            LogRead(
                reader=command.reader, purpose=command.purpose, what="entries", filter_digest=command.filter_digest,
                first=command.first, last=command.last, count=command.count,
            )
        )  # fmt: skip

    def pack(self, command: RecordPack, *, actor: str) -> None:
        self.record(
            PackExported(reader=Did(actor), pack=command.pack, manifest_digest=command.manifest_digest, size=command.size)
        )

    def apply(self, event: ReadEvent) -> None:
        match event:
            case LogRead() | PackExported():
                pass
            case _:
                assert_never(event)


LogChange = AddWitness | RetireWitness | RotateLogKey


@dataclass
class Log(Aggregate[LogEvent]):
    """Who signs the log's heads and who cosigns them. Each change takes the same words of two keyholders."""

    witnesses: dict[str, str] = field(default_factory=dict)
    proposed: dict[str, str] = field(default_factory=dict)
    """Digest of what was asked to the person who asked first."""
    key: str = ""

    def change(self, command: LogChange, *, digest: str, actor: str, person: str) -> None:
        """`digest` is of the command's data: the same for the same words of another person."""
        match command:
            case AddWitness(name=name, key=key) if name in self.witnesses:
                if self.witnesses[name] != key:
                    raise AlreadyKnown(field="name")
                return
            case RetireWitness(name=name) if name not in self.witnesses:
                raise NotKnown(field="name")
            case RotateLogKey(key=key) if key == self.key:
                return
            case _:
                pass
        first = self.proposed.get(digest)
        if first is None:
            self.record(LogChangeProposed(digest=Digest(digest), proposed_by=Did(actor), person=Did(person)))
        elif first == person:
            raise SamePerson("a change of the log takes a second keyholder")
        else:
            self.record(_changed(command))

    def apply(self, event: LogEvent) -> None:
        match event:
            case LogChangeProposed(digest=digest, proposed_by=actor, person=person):
                self.proposed[digest] = person or actor
            case WitnessAdded(name=name, key=key):
                self.witnesses[name] = key
                self.proposed.clear()
            case WitnessRetired(name=name):
                del self.witnesses[name]
                self.proposed.clear()
            case LogKeyRotated(key=key):
                self.key = key
                self.proposed.clear()
            case _:
                assert_never(event)


@dataclass
class Shard(Aggregate[ShardEvent]):
    """One shard of the log: whether it stands still, and what was found in it."""

    halted_at: int | None = None
    reported: list[tuple[int, str]] = field(default_factory=list)

    def halt(self, command: HaltShard) -> None:
        if self.halted_at is None:
            self.record(ShardHalted(sequence=command.sequence, evidence=command.evidence, reason=command.reason))

    def resume(self, command: ResumeShard, *, actor: str) -> None:
        if self.halted_at is None:
            raise NotHalted
        if self.halted_at != command.sequence:
            raise NotHalted(f"it stands still at {self.halted_at}", "sequence")
        self.record(ShardResumed(sequence=command.sequence, resumed_by=Did(actor)))

    def report(self, command: ReportTampering, *, actor: str) -> None:
        if (command.index, command.evidence) not in self.reported:
            self.record(
                TamperingReported(index=command.index, evidence=command.evidence, check=command.check, reported_by=Did(actor))
            )

    def apply(self, event: ShardEvent) -> None:
        match event:
            case ShardHalted(sequence=sequence):
                self.halted_at = sequence
            case ShardResumed():
                self.halted_at = None
            case TamperingReported(index=index, evidence=evidence):
                self.reported.append((index, evidence))
            case _:
                assert_never(event)


def _changed(command: LogChange) -> WitnessAdded | WitnessRetired | LogKeyRotated:
    match command:
        case AddWitness(name=name, key=key, group=group):
            return WitnessAdded(name=name, key=key, group=group)
        case RetireWitness(name=name, cause=cause):
            return WitnessRetired(name=name, cause=cause)
        case RotateLogKey(key=key, overlap_seconds=seconds):
            return LogKeyRotated(key=key, overlap_seconds=seconds)
        case _:
            assert_never(command)
