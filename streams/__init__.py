"""What listens to what: the only place where contexts meet.

A module here is a context; `streams(world)` yields what it wires, and `ops/compose.py` walks the package. A projection is
read into SQL; a process turns events into commands; a collector turns signed facts that no rule decides on one by one
(heartbeats) into commands of many.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts import Command, Event, Record
from projections import Projection

__all__ = ["Collector", "Intent", "Process", "Projection", "RawRecord", "Stream", "World", "all_streams"]


@dataclass(frozen=True)
class Intent:
    """A command that a process wants sent. Its id follows from what caused it, so that a redelivery sends the same one."""

    command: Command
    subject: str
    ordinal: int = 0


@dataclass(frozen=True)
class Process:
    """`react` is a pure function of the event; sending, position and retries are the reader's."""

    name: str
    contexts: tuple[str, ...]
    react: Callable[[Event, Record], Iterable[Intent]]


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record of a topic that is no context's events: nobody has verified it yet."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int
    """When the broker appended it: the only time of receipt that a redelivery does not change."""


@dataclass(frozen=True)
class Collector:
    """`collect` turns a chunk of raw records into few commands. It must say the same again when it reads the same again."""

    name: str
    topic: str
    collect: Callable[[Sequence[RawRecord]], Iterable[Intent]]


Stream = Projection | Process | Collector


class World(Protocol):
    """What a wired stream may know of its deployment."""

    @property
    def network(self) -> str: ...

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        """Whether the key of that DID signed the value."""
        ...


def all_streams(world: World) -> Iterator[Stream]:
    """Everything that every context wires, in the order of their names."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            yield from importlib.import_module(f"streams.{module}").streams(world)
