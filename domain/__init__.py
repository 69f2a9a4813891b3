"""The rules: aggregates that decide. Pure: no clock, no network, no database; time, randomness and keys are arguments.

A module here is a context. What they share is this file: how an aggregate records, how it refuses, and what it keeps on a shelf
because there will be a million of it.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from contracts import Event

E = TypeVar("E", bound=Event)
V = TypeVar("V")

_NAMED_BY = "named_by"


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


@dataclass
class Shelf(Generic[V]):
    """Values by key that are looked up one by one, so that they need not all be at hand: no rule counts or walks them.

    A value is never changed in its place: another one is put there. Without a source everything is at hand, as in an
    aggregate that was made from its events alone.
    """

    entries: dict[str, V] = field(default_factory=dict)
    """Those at hand: all of them, or those that differ from the source's."""

    def __post_init__(self) -> None:
        # No fields: where the others are is no part of the state.
        self._source: Callable[[str], V | None] | None = None
        self._removed: set[str] = set()

    def get(self, key: str) -> V | None:
        found = self.entries.get(key)
        if found is None and self._source is not None and key not in self._removed:
            return self._source(key)
        return found

    def __getitem__(self, key: str) -> V:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __setitem__(self, key: str, value: V) -> None:
        self.entries[key] = value

    def remove(self, key: str) -> None:
        """Whether or not it is there."""
        self.entries.pop(key, None)
        if self._source is not None:
            self._removed.add(key)

    def changes(self) -> dict[str, V | None]:
        """What the source does not know yet; None is what it has and should not."""
        return {**self.entries, **dict.fromkeys(self._removed - self.entries.keys())}

    def shelve(self, source: Callable[[str], V | None]) -> None:
        """The source has everything: nothing is kept at hand but what changes from now on."""
        self.entries, self._removed, self._source = {}, set(), source


def shelf(*named_by: str) -> Any:
    """An aggregate's field for a shelf, and the fields of commands and events that name its keys: these are fetched together.

    A key that is found otherwise is fetched when it is looked up.
    """
    return field(default_factory=Shelf, metadata={_NAMED_BY: named_by})


def shelves_of(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """An aggregate's shelves, and which fields of commands and events name their keys."""
    return {name: at.metadata[_NAMED_BY] for name, at in kind.__dataclass_fields__.items() if _NAMED_BY in at.metadata}
