"""One stream's aggregate as of a position: its events applied to the class that they change."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import TypeAdapter

import domain
from adapters.replay.cuts import Cut
from adapters.replay.folding import Check, unchecked
from adapters.replay.sources import Source
from contracts import Event, is_policy, parse_event, partition_of, read_event, shard_name
from domain import Aggregate
from domain._policy import Policy


class NoSuchStream(LookupError):
    """Nothing was recorded in that stream up to the position."""


def aggregates_of(context: str) -> list[type[Aggregate[Any]]]:
    """The aggregate classes of a context but its policy, in the order of their names."""
    return sorted(set(_aggregates(context)), key=lambda kind: kind.__name__)


async def aggregate_at(
    source: Source, stream: str, cut: Cut, partitions: int, check: Check = unchecked
) -> dict[str, dict[str, Any]]:
    """Class to its fields as JSON values. One class, unless a context has two that the same stream's events change.

    Which class a stream has is nowhere written but in its rules: it is the one that its events are not passed over by.
    Raises NoSuchStream.
    """
    context = stream.partition("/")[0]
    shard = shard_name(f"{context}.events", partition_of(stream, partitions))
    events = [event async for event in _events(source, stream, shard, cut.get(shard, 0), check)]
    if not events:
        raise NoSuchStream(f"nothing was recorded in {stream} up to there")
    kinds = [Policy] if is_policy(type(events[0])) else aggregates_of(context)
    states = (_state(kind, stream, events) for kind in kinds)
    return {name: fields for name, fields, is_changed in states if is_changed}


async def _events(source: Source, stream: str, shard: str, end: int, check: Check) -> AsyncIterator[Event]:
    async for piece in source.read(shard, 0, end):
        for published in piece:
            record = parse_event(published.value)
            if record.subject == stream:
                check(shard, published)
                yield read_event(record.document)


def _state(kind: type[Aggregate[Any]], stream: str, events: list[Event]) -> tuple[str, dict[str, Any], bool]:
    aggregate, adapter = kind(stream), TypeAdapter(kind)
    fresh = adapter.dump_python(aggregate, mode="json")
    for event in events:
        aggregate.replay(event)
    fields = adapter.dump_python(aggregate, mode="json")
    return kind.__name__, fields, {**fields, "version": 0} != fresh


def _aggregates(context: str) -> Iterator[type[Aggregate[Any]]]:
    if context not in {module.name for module in pkgutil.iter_modules(domain.__path__)}:
        return
    package = importlib.import_module(f"domain.{context}")
    modules = [package]
    if hasattr(package, "__path__"):
        modules += [importlib.import_module(f"domain.{context}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, Aggregate) and thing.__module__ == module.__name__:
                yield thing
