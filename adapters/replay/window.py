"""A window of a topic's raw records: its places, and the records between them, or an error where some are gone."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapters.replay.authentic import authentic
from adapters.replay.cuts import BadPosition
from adapters.replay.ordering import in_order
from adapters.replay.raw import RawRecord, RawTopic
from adapters.replay.sources import RangeMissing
from adapters.vouching import Vouch, anybody
from contracts import shard_name

Offsets = Mapping[int, int]
"""Partition to an offset."""

_OFFSET = re.compile(r"(\d{1,4})=(\d{1,18})")


@dataclass(slots=True)
class Seen:
    """What went through a window. The digest is over every record: partition, offset, key and value, each with its length."""

    records: int = 0
    partitions: dict[int, int] = field(default_factory=dict)
    hashed: Any = field(default_factory=hashlib.sha256)

    def note(self, record: RawRecord) -> None:
        self.records += 1
        self.partitions[record.partition] = self.partitions.get(record.partition, 0) + 1
        for part in (b"%d/%d" % (record.partition, record.offset), record.key, record.value):
            self.hashed.update(b"%d:" % len(part) + part)

    @property
    def digest(self) -> str:
        found: str = self.hashed.hexdigest()
        return found


async def offsets_of(topic: RawTopic, text: str, moment_ms: Callable[[str], int | None]) -> Offsets:
    """What `start`, `held`, `now`, `offset:N`, `0=12,1=40` or a time means in this topic.

    `moment_ms` reads a time; a time is the broker's, of when it appended. Raises BadPosition, RangeMissing.
    """
    bounds = await topic.bounds()
    if text == "start":
        return dict.fromkeys(bounds, 0)
    if text in ("held", "now"):
        return {partition: bound[text == "now"] for partition, bound in bounds.items()}
    if text.startswith("offset:") and text[7:].isdigit():
        return dict.fromkeys(bounds, int(text[7:]))
    if "=" in text:
        return _literal(text, bounds)
    moment = moment_ms(text)
    if moment is None:
        raise BadPosition(f"{text!r} is no place in a topic; there are: start, held, now, offset:N, 0=12,1=40, and a time")
    return await _at(topic, moment, bounds)


async def records_in(topic: RawTopic, start: Offsets, end: Offsets) -> AsyncIterator[RawRecord]:
    """Partition after partition. Raises RangeMissing where records of the window are not held (any more, or yet)."""
    bounds = await topic.bounds()
    for partition in topic.partitions:
        _refuse_gone(topic.topic, partition, start.get(partition, 0), end.get(partition, 0), bounds[partition])
    for partition in topic.partitions:
        async for record in topic.read(partition, start.get(partition, 0), end.get(partition, 0)):
            yield record


async def records_by_sequence(
    topic: RawTopic, start: Mapping[str, int], end: Mapping[str, int], vouch: Vouch = anybody
) -> AsyncIterator[RawRecord]:
    """Of an events topic, the records between two cuts, each once and in order. Raises RangeMissing."""
    for partition, (first, last) in (await topic.bounds()).items():
        shard = f"{topic.topic}/{partition}"
        expected, until = start.get(shard, 0), end.get(shard, 0)
        if expected >= until:
            continue
        async for _, record in in_order(shard, expected, until, first, partial(_numbered, topic, partition, last, vouch)):
            yield record


def _numbered(topic: RawTopic, partition: int, last: int, vouch: Vouch, offset: int) -> AsyncIterator[tuple[int, RawRecord]]:
    return authentic(shard_name(topic.topic, partition), topic.read(partition, offset, last), vouch)


def _refuse_gone(topic: str, partition: int, start: int, end: int, bound: tuple[int, int]) -> None:
    first, last = bound
    if start > end:
        raise BadPosition(f"{topic}/{partition}: the window ends at {end}, before it begins at {start}")
    if start < first and start < end:
        raise RangeMissing(f"{topic}/{partition} begins at {first}: what the window has from {start} on was deleted")
    if end > last:
        raise RangeMissing(f"{topic}/{partition} ends at {last}, the window at {end}")


def _literal(text: str, bounds: Mapping[int, tuple[int, int]]) -> Offsets:
    found: dict[int, int] = {}
    for part in text.split(","):
        match = _OFFSET.fullmatch(part.strip())
        if match is None or int(match[1]) not in bounds:
            raise BadPosition(f"{part!r} is no offset of a partition; the partitions are {', '.join(map(str, bounds))}")
        found[int(match[1])] = int(match[2])
    return {partition: found.get(partition, 0) for partition in bounds}


async def _at(topic: RawTopic, moment_ms: int, bounds: Mapping[int, tuple[int, int]]) -> Offsets:
    found = await topic.offsets_at(moment_ms)
    for partition, offset in found.items():
        first = bounds[partition][0]
        if first and offset == first:
            raise RangeMissing(
                f"{topic.topic}/{partition} begins at offset {first}: what was deleted may be of that time; "
                "`held` begins with what is left"
            )
    return found
