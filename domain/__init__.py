"""The rules: aggregates that decide. Pure: no clock, no network, no database; time, randomness and keys are arguments.

A module here is a context. What they share is this file: how an aggregate records, how it refuses, and, beside it, what it
keeps on a shelf because there will be a million of it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts import Event
from domain._shelf import Shelf, shelf, shelves_of

__all__ = ["Aggregate", "DustNotAllowed", "Refused", "Shelf", "StreamAdvanced", "shelf", "shelves_of"]

E = TypeVar("E", bound=Event)


class Refused(Exception):
    """The rules say no. A subclass is named as the state that forbids; its docstring is the rule.

    It becomes an outcome and is never retried. `field` names the part of the command that is to blame, where one is.
    """

    def __init__(self, text: str = "", field: str | None = None) -> None:
        super().__init__(text or (type(self).__doc__ or type(self).__name__).partition("\n")[0])
        self.field = field


class StreamAdvanced(Refused):
    """The stream is not at the version that the command expects."""


class DustNotAllowed(Refused):
    """Part of the amount is too small for the decimals of where it goes; it is refused before anything moves."""


@dataclass
class Aggregate(Generic[E]):
    """One stream's state. Its dataclass fields are its snapshot, so they are plain values; a Shelf is kept entry by entry.

    Public methods decide: they may raise Refused and call `record`. `apply` only assigns: it also runs on replay.
    """

    stream: str
    version: int = 0

    def __post_init__(self) -> None:
        # No field: what waits to be appended is no part of the state, nor of a snapshot.
        self.pending: list[E] = []

    @property
    def id(self) -> str:
        """The last part of the stream's name."""
        return self.stream.split("/", 2)[-1]

    def record(self, event: E) -> None:
        """State a fact: it changes the state now and is appended when the batch commits."""
        self.apply(event)
        self.version += 1
        self.pending.append(event)

    def replay(self, event: E) -> None:
        """A fact from the store."""
        self.apply(event)
        self.version += 1

    @abstractmethod
    def apply(self, event: E) -> None:
        """Assign what the event says. No rule, no refusal."""
