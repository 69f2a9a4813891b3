"""Asking audit: holds and erasures, reads, schemas, witnesses, and shards that stand still."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar, assert_never

from commands import Service
from contracts.audit import (
    AddWitness,
    AuditCommand,
    ConfirmErasure,
    ExpireRetention,
    HaltShard,
    NoteKey,
    OrderErasure,
    PlaceHold,
    PublishSchema,
    RecordPack,
    RecordRead,
    RecordServed,
    ReleaseHold,
    ReportTampering,
    ResumeErasure,
    ResumeShard,
    RetireWitness,
    RotateLogKey,
)
from domain.audit import AddressedWrongly
from domain.audit.erasing import Erasure, Holds, NotedKey, Retention, names_of
from domain.audit.log import READER_ROLE, Log, Reads, Schema, Shard

OfNetwork = TypeVar("OfNetwork", Holds, Log)


class Audit(Service):
    """What people decide about the log."""

    def handle(self, command: AuditCommand) -> None:
        actor, person, now = self.asked.actor, self.asked.person, self.asked.now
        match command:
            case PlaceHold():
                self._of_network(Holds).place(command, actor=actor, person=person)
            case ReleaseHold():
                self._of_network(Holds).release(command, actor=actor, person=person)
            case OrderErasure():
                noted = self._noted(names_of(command))
                self.load(Erasure).order(command, self._holds(), noted, actor=actor, person=person, now=now)
            case ResumeErasure():
                erasure = self.load(Erasure)
                erasure.resume(command, self._holds(), self._noted([key.key for key in erasure.keys]), now=now)
            case NoteKey():
                self.load(NotedKey).note(command)
            case ConfirmErasure():
                self.load(Erasure).confirm(command)
            case PublishSchema():
                self.load(Schema).publish(command)
            case ExpireRetention():
                self.load(Retention).expire(command, self._holds(), now=now)
            case RecordRead():
                self.load(Reads).read(command, actor=actor)
            case RecordServed():
                self.load(Reads).serve(command, is_entitled=self.asked.may(command.reader, READER_ROLE, self.asked.stream))
            case RecordPack():
                self.load(Reads).pack(command, actor=actor)
            case AddWitness() | RetireWitness() | RotateLogKey():
                digest = hashlib.sha256(command.wire.type.encode() + command.json_bytes()).hexdigest()
                self._of_network(Log).change(command, digest=digest, actor=actor, person=person)
            case HaltShard():
                self.load(Shard).halt(command)
            case ResumeShard():
                self.load(Shard).resume(command, actor=actor)
            case ReportTampering():
                self.load(Shard).report(command, actor=actor)
            case _:
                assert_never(command)

    def _of_network(self, kind: type[OfNetwork]) -> OfNetwork:
        """The one of its kind. Raises AddressedWrongly: a second register would hide holds from the first."""
        if self.asked.stream_id != self.asked.record.network:
            raise AddressedWrongly(
                f"this network's is {self.asked.stream.rpartition('/')[0]}/{self.asked.record.network}", "subject"
            )
        return self.load(kind)

    def _noted(self, keys: Iterable[str]) -> Mapping[str, NotedKey]:
        return {key: self.read(NotedKey, f"audit/key/{key}") for key in keys}

    def _holds(self) -> Holds:
        return self.read(Holds, f"audit/hold/{self.asked.record.network}")
