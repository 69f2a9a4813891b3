"""A shelf: what an aggregate remembers of each of very many, by key."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

V = TypeVar("V")

NAMED_BY = "named_by"


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
    return field(default_factory=Shelf, metadata={NAMED_BY: named_by})


def shelves_of(kind: type[Any]) -> dict[str, tuple[str, ...]]:
    """An aggregate's shelves, and which fields of commands and events name their keys."""
    return {name: at.metadata[NAMED_BY] for name, at in kind.__dataclass_fields__.items() if NAMED_BY in at.metadata}
