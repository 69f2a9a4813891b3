"""The aggregates that a worker has at hand: a cache over the store, true as long as its shards are the worker's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from eventsourcing.application import LRUCache

from adapters.sql.store import LoadedStream, Sealed, SnapshotRow, Store
from contracts import Command, Event, parse_event, read_event
from domain import Aggregate
from ops.worker.forms import form_of
from ops.worker.shelves import Shelves

A = TypeVar("A", bound=Aggregate[Any])

SNAPSHOT_EVERY = 500
"""Versions between two snapshots of a stream; most streams end long before the first."""


class Aggregates:
    """Loads many streams with one query, keeps what it loaded, and knows what the batch has recorded so far."""

    def __init__(self, store: Store, size: int = 20_000) -> None:
        self._store = store
        self._cache: LRUCache[str, Aggregate[Any]] = LRUCache(size)
        self._size = size
        self._fetched: dict[str, LoadedStream | None] = {}
        self._shelves = Shelves(store)
        self.recorded: dict[str, list[Event]] = {}
        """What this batch has recorded in each stream."""
        self.touched: dict[str, int] = {}
        """Streams that this batch loaded, with the version before it."""

    def missing(self, streams: Iterable[str]) -> list[str]:
        """Those that are not at hand."""
        return [stream for stream in streams if stream not in self._cache.cache]

    def begin(self, asked: Mapping[str, Sequence[Command]], found: Mapping[str, LoadedStream]) -> None:
        """A batch of these commands to these streams; what there is in the store of those that are not at hand."""
        self.recorded, self.touched = {}, {}
        self._shelves.begin(asked)
        self._fetched = {stream: found.get(stream) for stream in self.missing(asked)}

    def load(self, kind: type[A], stream: str) -> A:
        """The aggregate as of now, this batch included."""
        try:
            found = self._cache.get(stream)
        except KeyError:
            found = self._build(kind, stream)
            self._keep(found)
        if type(found) is not kind:
            raise TypeError(f"{stream} is a {type(found).__name__}, not a {kind.__name__}")
        if stream not in self.touched:
            self.touched[stream] = found.version
        return found

    def take(self, aggregate: Aggregate[Any]) -> list[Event]:
        """What it recorded for this command."""
        # A list of its own even when it is empty: the aggregate goes on, and would write into what was taken.
        taken: list[Event] = aggregate.pending
        aggregate.pending = []
        if taken:
            self.recorded.setdefault(aggregate.stream, []).extend(taken)
        return taken

    def undo(self, aggregate: Aggregate[Any]) -> None:
        """A refusal after something was recorded: history holds what happened, so it never was."""
        self._cache.get(aggregate.stream, evict=True)
        clean = self._build(type(aggregate), aggregate.stream)
        for event in self.recorded.get(aggregate.stream, ()):
            clean.replay(event)
        self._keep(clean)

    def forget(self) -> None:
        """Whatever was believed, it is not so: read everything again."""
        self._cache = LRUCache(self._size)
        self._fetched = {}
        self._shelves.forget()

    def snapshot(self, sealed: Sealed) -> None:
        """Add those of streams that passed a multiple of SNAPSHOT_EVERY in this batch, with what changed on their shelves."""
        for stream in self.recorded:
            aggregate = self._cache.get(stream)
            if aggregate.version // SNAPSHOT_EVERY > self.touched[stream] // SNAPSHOT_EVERY:
                form = form_of(type(aggregate))
                sealed.snapshots.append(SnapshotRow(stream, aggregate.version, form.name, form.dump(aggregate)))
                self._shelves.changes(aggregate, sealed)

    def committed(self, sealed: Sealed) -> None:
        """The batch is durable: what its snapshots left out is on the shelves, and need not be at hand any more."""
        for snapshot in sealed.snapshots:
            self._shelves.stand(self._cache.get(snapshot.stream), snapshot.version)

    def _keep(self, aggregate: Aggregate[Any]) -> None:
        evicted: Any = self._cache.put(aggregate.stream, aggregate)
        if evicted[0] is not None:
            self._shelves.leave(evicted[0])

    def _build(self, kind: type[A], stream: str) -> A:
        loaded = self._fetched.pop(stream) if stream in self._fetched else self._store.streams([stream]).get(stream)
        if loaded is not None and loaded[0] is not None and loaded[0].form != form_of(kind).name:
            loaded = self._store.streams([stream], snapshots=False).get(stream)
        snapshot, _, values = loaded or (None, 0, [])
        events = [read_event(parse_event(value).document) for value in values]
        if snapshot is None:
            self._shelves.leave(stream)
            return replayed(kind(stream), events)
        aggregate: A = form_of(kind).read(snapshot.state)
        self._shelves.stand(aggregate, snapshot.version)
        self._shelves.foresee(aggregate, events)
        return replayed(aggregate, events)


def replayed(aggregate: A, events: Iterable[Event]) -> A:
    """The aggregate to which this has happened besides."""
    for event in events:
        aggregate.replay(event)
    return aggregate
