"""What listens to what: the only place where contexts meet.

A module here is a context; `streams(world)` yields what it wires, and `ops/compose.py` walks the package. A projection is
read into SQL; a process turns events into commands; a collector turns signed facts that no rule decides on one by one
(heartbeats) into commands of many; a to-do list turns what the views show as due into commands.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection

from adapters.bank.calling import Calls
from adapters.bank.ports import Bank, Chain
from contracts import Command, Event, EventId, Record, Sealed
from projections import Projection

__all__ = [
    "Collector", "Desk", "Errand", "Intent", "Outside", "Process", "Projection", "RawRecord", "Refusal", "Stream", "Task",
    "TodoList", "World", "all_streams", "unless_halted",
]  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class Task:
    """A command that is due. Its id follows from the list, `key` and `at`: planned again, it is the same command."""

    command: Command
    subject: str
    key: str
    """Names the errand within its list, `pay:<withdrawal>:<attempt>`; at most 200 characters."""
    at: datetime
    """Since when it is due, as the views say; never the desk's own time."""
    cause: EventId | None = None


@dataclass(frozen=True, slots=True)
class Errand:
    """A call to the outside (a bank, a chain) whose answer is a command; None as long as there is nothing to say.

    It is called outside the snapshot, and again until what it did shows in the views: it must bear that.
    """

    call: Callable[[], Command | None]
    subject: str
    key: str
    at: datetime
    cause: EventId | None = None


class Refusal(Protocol):
    """Why a task was not done."""

    @property
    def name(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def at(self) -> datetime: ...


class Desk(Protocol):
    """What a plan may look at."""

    @property
    def connection(self) -> Connection:
        """The views, in one snapshot, to read from."""
        ...

    @property
    def now(self) -> datetime: ...

    def is_due(self, moment: datetime) -> bool:
        """Whether the time has come. If not, the list is planned again when it comes."""
        ...

    def wake_at(self, moment: datetime | None) -> None:
        """The list is planned again then, where that is later than now. What a query compares with the time is named so."""
        ...

    def refusal(self, key: str) -> Refusal | None:
        """What the list's task of that key was refused with, whenever that was."""
        ...


@dataclass(frozen=True)
class TodoList:
    """A process that spans streams or waits for time. `plan` yields all that is due and not yet done as the views show it.

    It remembers nothing: whoever runs it may die anywhere, and two that run it send the same commands. A task that was
    refused is not sent again; what becomes of it then is for the plan to say.

    It is planned when the views that it read have changed, and when the time has come that it named (`Desk.is_due`). So it
    reads by SQLAlchemy's statements only, and asks nobody but the views: what has to be asked outside first is asked by `look`.
    """

    name: str
    plan: Callable[[Desk], Iterable[Task | Errand]]
    every_seconds: float = 0.5
    """Between two plans where the views change all the time, between two runs of an errand, and between two looks."""
    look: Callable[[], bool] | None = None
    """Asks a bank or a chain what is new. True: the list is to be planned."""


Stream = Projection | Process | Collector | TodoList


@dataclass(frozen=True)
class Outside:
    """Where money really is: a bank, a chain, and the operator's calls to its contracts."""

    bank: Bank
    rail: str
    """Of the bank's account: part of each deposit's name."""
    chain: Chain
    calls: Calls
    reveal: Callable[[Sealed, str, str, str], str]
    """`(field, stream, command's id, JSON pointer)` to its text. Raises where its key is destroyed."""


AFTER_A_HALT = timedelta(hours=1)
MOST_HALTED = 1_000


def unless_halted(command: Command, subject: str, key: str, at: datetime, desk: Desk) -> Iterator[Task]:
    """What a halt refuses is asked again each hour, until it is done: a halt ends by itself, or is lifted."""
    for number in range(MOST_HALTED):
        name = f"{key}:{number}" if number else key
        refusal = desk.refusal(name)
        if refusal is None:
            if desk.is_due(at):
                yield Task(command, subject, name, at)
            return
        if not refusal.name.endswith("Halted"):
            return
        at = refusal.at + AFTER_A_HALT


class World(Protocol):
    """What a wired stream may know of its deployment."""

    @property
    def network(self) -> str: ...

    @property
    def outside(self) -> Outside | None:
        """None where this deployment reaches neither bank nor chain."""
        ...

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        """Whether the key of that DID signed the value."""
        ...


def all_streams(world: World) -> Iterator[Stream]:
    """Everything that every context wires, in the order of their names."""
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            yield from importlib.import_module(f"streams.{module}").streams(world)
