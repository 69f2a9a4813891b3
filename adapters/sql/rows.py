"""What the store holds and is told, as values: counter rows, authority, records, a batch before and after it is sealed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from commands import AuthorityChange
from domain.identity.authority import Granted, KeyAuthority


class Fenced(Exception):
    """The shard is not as the worker believes: another one has written. The batch is void."""


class AuthorityMoved(Exception):
    """A key that a decision relied on changed since it was read. The batch is decided again."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__(f"authority changed meanwhile: {', '.join(sorted(keys))[:200]}")
        self.keys = keys


class StreamMoved(Exception):
    """A stream that a decision looked at advanced since it was read. The batch is decided again."""

    def __init__(self, streams: Collection[str]) -> None:
        super().__init__(f"streams advanced meanwhile: {', '.join(sorted(streams))[:200]}")
        self.streams = streams


class AnotherDeployment(RuntimeError):
    """The store belongs to another network, or was made with other settings that can never change."""


class GenesisDiffers(AnotherDeployment):
    """The genesis is not the one with which the network began: nothing is planted, and no process starts."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's counter row. What differs from the worker's belief in any column voids its batch."""

    id: int
    context: str
    partition: int
    next_sequence: int
    last_hash: str
    last_time: str
    next_outcome: int
    position: int
    position_hash: str
    incarnation: int

    @property
    def events(self) -> str:
        return f"{self.context}.events/{self.partition}"


class EventRow(NamedTuple):
    shard: int
    sequence: int
    stream: str
    version: int
    type: str
    value: bytes
    signature: str
    traceparent: str | None


class CommandRow(NamedTuple):
    shard: int
    number: int
    identity: str
    hash: str
    subject: str
    command: bytes
    signature: str
    outcome: bytes
    outcome_signature: str | None
    traceparent: str | None
    kept: bool | None = None
    """None: its bytes are kept for good; true: a stranger's, while it is among the newest; false: its bytes were let go."""


class SnapshotRow(NamedTuple):
    stream: str
    version: int
    form: str
    state: bytes


class ShelfRow(NamedTuple):
    """A value on one of an aggregate's shelves, as of the stream's snapshot."""

    stream: str
    key: str
    shelf: str
    state: bytes


class Known(NamedTuple):
    """A command that has its outcome."""

    hash: str
    shard: int
    number: int


LoadedStream = tuple[SnapshotRow | None, int, list[bytes]]
"""Its newest snapshot, its shard's id, and the values of the events after that."""


@dataclass(slots=True)
class Seen:
    """What a batch is decided from. What does not exist is not there."""

    now: datetime
    """Drawn after the rest was read, by the one clock that all workers have on PostgreSQL; the machine's on SQLite."""
    known: dict[str, Known] = field(default_factory=dict)
    authority: dict[str, KeyAuthority] = field(default_factory=dict)
    streams: dict[str, LoadedStream] = field(default_factory=dict)


@dataclass(slots=True)
class Sealed:
    """A batch as rows: numbered, chained and signed."""

    shards: list[tuple[Shard, Shard]]
    """As believed, as it will be."""
    events: list[EventRow] = field(default_factory=list)
    commands: list[CommandRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    authority: list[tuple[AuthorityChange, str, int]] = field(default_factory=list)
    """Changes with the shard and sequence of the event that makes them."""
    emptied: list[str] = field(default_factory=list)
    """Streams of whose shelves nothing that was written before is true: removed first."""
    shelved: list[ShelfRow] = field(default_factory=list)
    """What has changed on shelves since the snapshots before."""
    unshelved: list[tuple[str, str, str]] = field(default_factory=list)
    """Stream, key and shelf of what is there no more."""


class Question(NamedTuple):
    """Which keys have a role, or were given something by a key since then."""

    of: str
    """A role, or a key."""
    since: str | None = None
    """Of what a key gave: an RFC 3339 time."""


@dataclass(slots=True)
class Decided:
    """A batch before it is sealed: what it believes, what it relied on, and how to seal it at a time."""

    shards: Sequence[Shard]
    now: datetime
    """When it was decided."""
    seal: Callable[[datetime], Sealed]
    relied: Mapping[str, KeyAuthority | None] = field(default_factory=dict)
    looked_at: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Streams that it does not append to: shard id and version as read."""
    changed_keys: Collection[str] = ()
    """Keys whose authority it changes: its time is drawn again, and it is signed, under their lock."""
    repeats: Sequence[tuple[int, int]] = ()
    answers: Mapping["Question", frozenset[str]] = field(default_factory=dict)
    """Which keys the authority table named when it was asked for more than one by name."""
    policies: Collection[str] = ()
    """Policies that it appends to: who decides by one of them meanwhile does so before or after it."""


__all__ = [
    "AnotherDeployment", "AuthorityMoved", "CommandRow", "Decided", "EventRow", "Fenced", "GenesisDiffers", "Granted",
    "KeyAuthority", "Known", "LoadedStream", "Question", "Sealed", "Seen", "Shard", "ShelfRow", "SnapshotRow", "StreamMoved",
]  # fmt: skip
