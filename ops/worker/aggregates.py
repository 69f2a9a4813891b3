"""The aggregates that a worker has at hand: a cache over the store, true as long as its shards are the worker's."""

import hashlib
from collections.abc import Collection
from typing import Any, TypeVar

from eventsourcing.application import LRUCache
from pydantic import TypeAdapter

from adapters.sql.store import SnapshotRow, Store
from contracts import Event, parse_event, read_event
from domain import Aggregate

A = TypeVar("A", bound=Aggregate[Any])

SNAPSHOT_EVERY = 500
"""Versions between two snapshots of a stream; most streams end long before the first."""

_Loaded = tuple[SnapshotRow | None, int, list[bytes]]


class Aggregates:
    """Loads many streams with one query, keeps what it loaded, and knows what the batch has recorded so far."""

    def __init__(self, store: Store, size: int = 20_000) -> None:
        self._store = store
        self._cache: LRUCache[str, Aggregate[Any]] = LRUCache(size)
        self._size = size
        self._fetched: dict[str, _Loaded | None] = {}
        self.recorded: dict[str, list[Event]] = {}
        """What this batch has recorded in each stream."""
        self.touched: dict[str, int] = {}
        """Streams that this batch loaded, with the version before it."""

    def begin(self, streams: Collection[str]) -> None:
        """A batch that addresses these streams: fetch those that are not at hand."""
        self.recorded, self.touched = {}, {}
        missing = [stream for stream in streams if stream not in self._cache.cache]
        found = self._store.streams(missing)
        self._fetched = {stream: found.get(stream) for stream in missing}

    def load(self, kind: type[A], stream: str) -> A:
        """The aggregate as of now, this batch included."""
        try:
            found = self._cache.get(stream)
        except KeyError:
            found = self._build(kind, stream)
            self._cache.put(stream, found)
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
        self._cache.put(aggregate.stream, clean)

    def forget(self) -> None:
        """Whatever was believed, it is not so: read everything again."""
        self._cache = LRUCache(self._size)
        self._fetched = {}

    def snapshots(self) -> list[SnapshotRow]:
        """Of the streams that passed a multiple of SNAPSHOT_EVERY in this batch."""
        rows = []
        for stream in self.recorded:
            aggregate = self._cache.get(stream)
            if aggregate.version // SNAPSHOT_EVERY > self.touched[stream] // SNAPSHOT_EVERY:
                adapter, form = _form(type(aggregate))
                rows.append(SnapshotRow(stream, aggregate.version, form, adapter.dump_json(aggregate)))
        return rows

    def _build(self, kind: type[A], stream: str) -> A:
        loaded = self._fetched.pop(stream) if stream in self._fetched else self._store.streams([stream]).get(stream)
        if loaded is not None and loaded[0] is not None and loaded[0].form != _form(kind)[1]:
            loaded = self._store.streams([stream], snapshots=False).get(stream)
        return rebuild(kind, stream, loaded)


def rebuild(kind: type[A], stream: str, loaded: _Loaded | None) -> A:
    """An aggregate from its snapshot, where there is one, and the events after it."""
    snapshot, _, values = loaded or (None, 0, [])
    aggregate: A = kind(stream) if snapshot is None else _form(kind)[0].validate_json(snapshot.state)
    for value in values:
        aggregate.replay(read_event(parse_event(value).document))
    return aggregate


_FORMS: dict[type[Any], tuple[TypeAdapter[Any], str]] = {}


def _form(kind: type[Any]) -> tuple[TypeAdapter[Any], str]:
    """How the class is written as JSON, and a name for that form which changes with its fields."""
    if kind not in _FORMS:
        _FORMS[kind] = _make_form(kind)
    return _FORMS[kind]


def _make_form(kind: type[Any]) -> tuple[TypeAdapter[Any], str]:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    digest = hashlib.sha256(repr(sorted(adapter.json_schema().items(), key=str)).encode()).hexdigest()
    return adapter, f"{kind.__name__}:{digest[:32]}"
