"""Ids and quantities that every context uses. An id is a type of its own; a unit is part of the name."""

import os
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    Strict,
    StringConstraints,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema


class AtomicText(str):
    """A string with a form of its own. A subclass names its pattern; pydantic checks it at the door.

    Calling the class does not check: what comes from our own signed records has been checked once. In a union it stands
    last: pydantic would write whatever else the field holds as text, by the first member that can.
    """

    pattern: ClassVar[str] = r"^[\x20-\x7e]+$"
    max_length: ClassVar[int] = 256

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        checked = core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(pattern=cls.pattern, max_length=cls.max_length, strict=True),
        )
        # An event takes over what its command had checked: an instance is let through without a second look.
        taken_over = core_schema.union_schema(
            [core_schema.is_instance_schema(cls), checked],
            mode="left_to_right",
            # One error at the field itself, not one for each of the two ways.
            custom_error_type="form",
            custom_error_message=f"is a {cls.__name__}, {cls.pattern} of at most {cls.max_length} characters",
        )
        return core_schema.json_or_python_schema(
            json_schema=checked,
            python_schema=taken_over,
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def fits(cls, text: str) -> bool:
        return len(text) <= cls.max_length and re.fullmatch(cls.pattern, text) is not None

    @classmethod
    def checked(cls, text: str) -> Self:
        """The text as this type. Raises ValueError that names the type."""
        if not cls.fits(text):
            raise ValueError(f"{text[:60]!r} is not a {cls.__name__}")
        return cls(text)


class Did(AtomicText):
    """Who signs: `did:key:z6Mk…` (Ed25519, W3C did:key) or `did:pkh:eip155:<chain>:0x…` (wallet, CAIP-10)."""

    pattern = r"^(did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}|did:pkh:eip155:[1-9][0-9]{0,17}:0x[0-9a-fA-F]{40})$"
    max_length = 90


class Address(AtomicText):
    """An EVM address, EIP-55 or lower case."""

    pattern = r"^0x[0-9a-fA-F]{40}$"
    max_length = 42


class Digest(AtomicText):
    """A SHA-256, 64 lower-case hexadecimal digits."""

    pattern = r"^[0-9a-f]{64}$"
    max_length = 64


class Uuid(AtomicText):
    """A UUID in lower-case hyphenated form (RFC 9562)."""

    pattern = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    max_length = 36


class EventId(Uuid):
    """The id of a recorded event: UUIDv5 of the command's source, id and the event's ordinal."""


class StreamName(AtomicText):
    """`<context>/<kind>/<id>`, the subject of a record and the key of its Kafka message."""

    pattern = r"^[a-z][a-z0-9]*(/[A-Za-z0-9._:+@-]{1,120}){1,3}$"
    max_length = 250


class StreamId(AtomicText):
    """What follows `<context>/<kind>/` where that has no form of its own: the aggregate compares it, or it is a label."""

    pattern = r"^[A-Za-z0-9._:+@-]{1,120}(/[A-Za-z0-9._:+@-]{1,120})?$"
    max_length = 241


class Role(AtomicText):
    """`<context>.<kind>`: what a key is registered for."""

    pattern = r"^[a-z][a-z0-9]*\.[a-z]+$"
    max_length = 60


class Label(AtomicText):
    """A short name that people choose: letters, digits and `._:/+-`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/+ -]*$"
    max_length = 100


class Country(AtomicText):
    """ISO 3166-1 alpha-2."""

    pattern = r"^[A-Z]{2}$"
    max_length = 2


Count = Annotated[int, Strict(), Field(ge=0, le=2**53)]
"""A number of things, or of a unit that the field's name gives. Strict: pydantic's lax `int` takes True and "12"."""

Flag = Annotated[bool, Strict()]


FROM_THE_WIRE = {"from": "wire"}
"""The validation context of what a stranger wrote: there an amount is a string, and nothing else."""


_UNITS = re.compile(r"0|[1-9][0-9]{0,77}")


def _units(value: object, info: ValidationInfo) -> int:
    if type(value) is int and info.context is not FROM_THE_WIRE:
        return value
    if isinstance(value, str) and _UNITS.fullmatch(value):
        return int(value)
    raise ValueError("an amount is a decimal string of whole units, at most 78 digits")


def _bounded(units: int) -> int:
    # By pydantic's `ge` and `lt` these bounds would be compared as 64-bit numbers.
    if not 0 <= units < 10**78:
        raise ValueError("an amount is not negative and has at most 78 digits")
    return units


Money = Annotated[
    int,
    AfterValidator(_bounded),
    BeforeValidator(_units, json_schema_input_type=Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,77})$")]),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""Minor units of an asset, never negative: an int inside, a decimal string on the wire."""


_RFC3339_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
_RFC3339_UTC = re.compile(_RFC3339_PATTERN)


def instant(text: str) -> datetime:
    """The moment that an RFC 3339 UTC time names (`2026-11-24T03:12:35.123456Z`). Raises ValueError."""
    if not _RFC3339_UTC.fullmatch(text):
        raise ValueError("a time is RFC 3339 in UTC, ending in Z, with at most microseconds")
    return datetime.fromisoformat(text)


def rfc3339(moment: datetime) -> str:
    """The one form in which this project writes a time: UTC, microseconds, Z; it sorts as text."""
    # Not strftime, which writes the year 1 with one digit.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return instant(value)
    raise ValueError("a time is an RFC 3339 string in UTC")


Timestamp = Annotated[
    datetime,
    BeforeValidator(_instant, json_schema_input_type=Annotated[str, StringConstraints(pattern=_RFC3339_PATTERN)]),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
]


def uuid7(milliseconds: int | None = None, random: bytes | None = None) -> Uuid:
    """A time-ordered UUID (RFC 9562, 5.7). Time and randomness are arguments where an answer must repeat."""
    stamp = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
    tail = int.from_bytes(os.urandom(10) if random is None else random)
    bits = (stamp << 80) | (7 << 76) | ((tail >> 64 & 0xFFF) << 64) | (2 << 62) | (tail & (2**62 - 1))
    return Uuid(uuid.UUID(int=bits))
