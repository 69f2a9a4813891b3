"""Custody: keys that others rely on. Here are those under which personal data is sealed (white paper 11.2).

The key itself is in the vault; what the log knows of it is that it was made, for which kind of record, and that it was
destroyed. Whose it is stands nowhere but in the vault.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event
from contracts._sealed import SealingKeyId
from contracts._values import AtomicText, EventId

RetentionClass = Literal["none", "ai-log", "kyc", "broker", "financial", "custody"]
Year = Annotated[int, Field(ge=2020, le=9999, strict=True)]


STREAM_IDS: Mapping[str, type[AtomicText]] = {"key": SealingKeyId}
"""What the streams of each kind are named by."""


class CreateKey(Command, role="custody.process", stream="custody/key"):
    """A sealing key was made: one for each person, retention class and year."""

    kind: Literal["sealing"]
    retention_class: RetentionClass
    year: Year


class Shred(Command, role="custody.process", stream="custody/key"):
    """The key was destroyed because of that event; the vault no longer has it."""

    cause: EventId


class KeyCreated(Event):
    kind: str
    retention_class: RetentionClass
    year: Year


class KeyShredded(Event):
    cause: EventId


CustodyCommand = CreateKey | Shred
CustodyEvent = KeyCreated | KeyShredded
