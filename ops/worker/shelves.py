"""What a batch looks up on shelves that are not at hand: fetched together as far as its commands tell, and only once."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from adapters.sql.store import Sealed, ShelfRow, Store
from contracts import Command, Event
from domain import Aggregate
from ops.worker.forms import Form, form_of

Place = tuple[str, str]
"""Stream and key."""


class Shelves:
    """The source of every shelf whose aggregate stands on a snapshot: the rows that belong to that snapshot."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._standing: dict[str, int] = {}
        """The version of the snapshot on which each stream's aggregate stands."""
        self.begin({})

    def begin(self, asked: Mapping[str, Sequence[Command]]) -> None:
        """A batch of these commands to these streams. What was fetched for the one before is not kept."""
        self._asked = asked
        self._found: dict[Place, dict[str, Any]] = {}
        self._foreseen: set[str] = set()
        self._consulted: set[str] = set()

    def forget(self) -> None:
        self._standing.clear()
        self.begin({})

    def stand(self, aggregate: Aggregate[Any], version: int) -> None:
        """What was on the aggregate's shelves at that version, which is that of its snapshot, is looked up from now on."""
        form = form_of(type(aggregate))
        if form.shelves:
            self._standing[aggregate.stream] = version
            for name in form.shelves:
                getattr(aggregate, name).shelve(partial(self._look_up, form, aggregate.stream, name))

    def leave(self, stream: str) -> None:
        """Its aggregate is at hand no more, or with all that it has."""
        self._standing.pop(stream, None)

    def foresee(self, aggregate: Aggregate[Any], events: Iterable[Event]) -> None:
        """Before these events are replayed and the batch's commands decided: fetch what both look up."""
        form, stream = form_of(type(aggregate)), aggregate.stream
        self._fetch(form, {(stream, key) for said in (*events, *self._asked.get(stream, ())) for key in form.keys(said)})

    def changes(self, aggregate: Aggregate[Any], sealed: Sealed) -> None:
        """Add what a snapshot of the aggregate leaves out and its shelves' rows do not say yet."""
        form, stream = form_of(type(aggregate)), aggregate.stream
        if form.shelves and stream not in self._standing:
            # Rows of another form may be there.
            sealed.emptied.append(stream)
        for name, adapter in form.shelves.items():
            for key, value in getattr(aggregate, name).changes().items():
                if value is None:
                    sealed.unshelved.append((stream, key, name))
                else:
                    sealed.shelved.append(ShelfRow(stream, key, name, adapter.dump_json(value)))

    def _look_up(self, form: Form, stream: str, shelf: str, key: str) -> Any:
        if (stream, key) not in self._found:
            self._fetch(form, {(stream, key), *self._foreseeable(form, stream)})
        return self._found[stream, key].get(shelf)

    def _foreseeable(self, form: Form, stream: str) -> Iterable[Place]:
        """What else the batch's commands will look up: first each in its own stream, then others in this one."""
        kind = _kind(stream)
        if kind not in self._foreseen:
            self._foreseen.add(kind)
            for own in self._asked.keys() & self._standing.keys():
                if _kind(own) == kind:
                    yield from ((own, key) for command in self._asked[own] for key in form.keys(command))
        elif stream not in self._consulted:
            self._consulted.add(stream)
            for other, commands in self._asked.items():
                if _kind(other) != kind and other.partition("/")[0] == stream.partition("/")[0]:
                    yield stream, other.split("/", 2)[-1]
                    yield from ((stream, key) for command in commands for key in form.keys(command))

    def _fetch(self, form: Form, places: set[Place]) -> None:
        missing = places - self._found.keys()
        if not missing:
            return
        rows = self._store.shelved(self._standing, missing)
        self._found.update((place, {}) for place in missing)
        for row in rows:
            self._found[row.stream, row.key][row.shelf] = form.shelves[row.shelf].validate_json(row.state)


def _kind(stream: str) -> str:
    """`<context>/<kind>`, of which all aggregates are of one class."""
    return "/".join(stream.split("/", 2)[:2])
