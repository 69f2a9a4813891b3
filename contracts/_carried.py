"""A carried record: another context's signed event inside a command.

Whoever asks for value to move must not be who decides it. So a command brings along what another context has recorded, in the
record's exact bytes and with its writer's signature, and the decision takes amounts, recipients and references from that. The
event that follows names the record by its id (`cause`) and never repeats its bytes.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar, Self, get_args

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from contracts._json import BadDocument, parse_strictly
from contracts._language import Command, Value
from contracts._record import BadRecord, Record
from contracts._values import AtomicText, Did, instant


class Base64Url(AtomicText):
    """Bytes in base64url without padding (RFC 4648, section 5)."""

    pattern = r"^[A-Za-z0-9_-]+$"
    max_length = 80_000


class Signature(AtomicText):
    """As in the header `signature` of a record: `ed25519:<base64url>` or `eip191:0x<hexadecimal>`."""

    pattern = r"^(ed25519:[A-Za-z0-9_-]{86}|eip191:0x[0-9a-f]{130})$"
    max_length = 150


class Carried(Value):
    """A record as it stands on its topic: its value, and the signature of its header. A subclass says of which events."""

    carries: ClassVar[tuple[str, ...]] = ()
    """The record's `type` is one of these."""

    value: Base64Url
    signature: Signature

    def __init_subclass__(cls, *, of: str | tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.carries = (of,) if isinstance(of, str) else of

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler.resolve_ref_schema(handler(schema))
        return {**found, "x-carries": list(cls.carries)}

    @classmethod
    def of(cls, value: bytes, signature: str) -> Self:
        """As a command brings it. Raises ValueError where that is no signature of a record."""
        return cls(value=_base64url(value), signature=Signature.checked(signature))

    def record(self) -> Record:
        """The record as it says of itself; nobody has verified it. Raises BadRecord."""
        try:
            value = base64.b64decode(f"{self.value}{'=' * (-len(self.value) % 4)}", altchars=b"-_", validate=True)
        except binascii.Error:
            raise BadRecord("value", "is base64url without padding (RFC 4648, section 5)") from None
        # One record has one spelling.
        if _base64url(value) != self.value:
            raise BadRecord("value", "is base64url, the bits that it does not use are zero (RFC 4648, section 3.5)")
        try:
            document = parse_strictly(value)
        except BadDocument as error:
            raise BadRecord("value", error.rule) from None
        if wrong := next((name for name in _TEXTS if type(document.get(name)) is not str), None):
            raise BadRecord(wrong, "is said by every record of an event")
        if not Did.fits(document["source"]):
            raise BadRecord("source", "is did:key:z6Mk… or did:pkh:eip155:…")
        if not _SEQUENCE.fullmatch(document["sequence"]):
            raise BadRecord("sequence", "is a number of 20 digits, below 2^63")
        if type(document.get("data")) is not dict:
            raise BadRecord("data", "is an object")
        try:
            instant(document["time"])
        except ValueError as error:
            raise BadRecord("time", str(error)) from None
        if document["type"] not in self.carries:
            raise BadRecord("type", f"is {' or '.join(self.carries)}")
        return Record(value, document)


_TEXTS = ("id", "source", "type", "subject", "time", "dataschema", "network", "shard", "sequence")
_SEQUENCE = re.compile(r"0[0-8][0-9]{18}")


def _base64url(value: bytes) -> Base64Url:
    return Base64Url(base64.urlsafe_b64encode(value).rstrip(b"=").decode())


def carried_by(command: Command) -> Iterator[Carried]:
    """What the command brings along."""
    for name in _carrying(type(command)):
        found = getattr(command, name)
        yield from found if isinstance(found, tuple) else () if found is None else (found,)


@cache
def _carrying(kind: type[Command]) -> tuple[str, ...]:
    """The fields that hold a carried record, or may, or several."""
    return tuple(name for name, field in kind.model_fields.items() if any(_is_carried(of) for of in _members(field.annotation)))


def _members(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _members(part)


def _is_carried(of: Any) -> bool:
    return isinstance(of, type) and issubclass(of, Carried)
