"""What can be said of a command before anything is read: its form, its place, its signature."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from adapters import keys
from adapters.kafka.decoding import Unreadable
from contracts import (
    BadRecord,
    Command,
    CommandRecord,
    RefusalReason,
    UnknownType,
    command_class,
    id_type,
    parse_command,
    partition_of,
)


class Incoming(Protocol):
    """A record as aiokafka hands it over."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes]]: ...


@dataclass(slots=True)
class Checked:
    """A record of a commands topic, and what is wrong with it, if anything is."""

    incoming: Incoming
    record: CommandRecord | None = None
    command: Command | None = None
    problem: RefusalReason | None = None
    is_genuine: bool = False
    """Its source did sign it, for here: its outcome stands under its own id. Otherwise under partition and offset."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a worker stands: what it expects of every record of one partition."""

    context: str
    partition: int
    partitions: int
    network: str

    def check(self, incoming: Incoming) -> Checked:
        """Read, place and verify a record. Never raises: what is wrong becomes the record's refusal."""
        if isinstance(incoming, Unreadable):
            return Checked(incoming, problem=_reason("Unreadable", incoming.reason))
        try:
            record = parse_command(incoming.value, incoming.key, incoming.headers)
        except BadRecord as error:
            return Checked(incoming, problem=_reason(error.name, error.rule, error.field))
        checked = Checked(incoming, record)
        try:
            kind = self._place(record)
        except BadRecord as error:
            checked.problem = _reason(error.name, error.rule, error.field)
            return checked
        if not keys.verify(record.source, record.value, record.signature):
            checked.problem = _reason("BadSignature", "the source's key did not sign these bytes", "signature")
            return checked
        checked.is_genuine = True
        named, name = id_type(kind), record.subject.removeprefix(kind.wire.stream + "/")
        if not named.fits(name):
            checked.problem = _reason("Malformed", f"{name[:60]!r} is no {named.__name__}", "subject")
            return checked
        try:
            checked.command = kind.read(record.data)
        except ValidationError as error:
            checked.problem = _first_error(error)
        return checked

    def _place(self, record: CommandRecord) -> type[Command]:
        if record.network != self.network:
            raise BadRecord("network", f"this is {self.network}, the record is for {record.network}", "OnAnotherNetwork")
        try:
            kind = command_class(record.type)
        except UnknownType as error:
            raise BadRecord("type", str(error), "UnknownType") from None
        if kind.wire.context != self.context:
            raise BadRecord("type", f"a command of {kind.wire.context} came on {self.context}.commands", "Misrouted")
        if record.dataschema != kind.wire.dataschema:
            raise BadRecord("dataschema", f"is {kind.wire.dataschema}", "UnknownType")
        if not record.subject.startswith(kind.wire.stream + "/"):
            raise BadRecord("subject", f"{kind.wire.type} addresses {kind.wire.stream}/<id>")
        if partition_of(record.subject, self.partitions) != self.partition:
            raise BadRecord("subject", "belongs to another partition (murmur2 of the key)", "Misrouted")
        return kind


def _reason(name: str, text: str, field: str | None = None) -> RefusalReason:
    return RefusalReason(name=name, text=text[:1000], field=field)


def _first_error(error: ValidationError) -> RefusalReason:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Of a union pydantic also names the member that it tried; fields and list places are what a sender knows.
    path = ".".join(str(part) for part in first["loc"] if str(part).replace("_", "").islower() or isinstance(part, int))
    return _reason("Malformed", first["msg"], f"data.{path}"[:200])
