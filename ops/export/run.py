"""One export: read each shard between two cuts, check it, hand it to the writer."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from adapters.parquet import Manifest, Writer
from adapters.parquet.writing import ShardWriter
from adapters.replay import BadPosition, Cut, Source
from adapters.replay.cuts import Position, is_before
from adapters.replay.logged import LogSource
from adapters.replay.resolving import resolve
from adapters.replay.sources import Published
from contracts import Event, languages

Verify = Callable[[str, bytes, str], bool]
"""`(did, value, signature)`: whether one of the network's writers signed it."""
Progress = Callable[[int, int], None]
"""`(records done, records in all)`."""


class NotSigned(Exception):
    """A record that no writer of the network signed. Nothing is exported."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to take away."""

    network: str
    topics: Collection[str]
    begin: Position
    end: Position
    types: Collection[str] | None = None
    """Of events; None is all of them. Records of other types are followed, so that the chain is whole."""
    values: bool = False
    verify: Verify | None = None


async def export(
    asked: Asked,
    folder: Path,
    source: Source,
    log: LogSource | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Manifest:
    """Write the folder. `log` knows what a checkpoint covers.

    Raises BadPosition, RangeMissing, ChainBroken, NotSigned, FolderTaken, and what a broker or database raises.
    """
    with Writer(folder, asked.network, values=asked.values, verified=asked.verify is not None) as writer:
        begin = await resolve(asked.begin, source, asked.topics, log)
        end = await resolve(asked.end, source, asked.topics, log)
        if not is_before(begin, end):
            raise BadPosition("the export would end before it begins")
        await _Export(asked, writer, source, progress).run(begin, end)
        return await asyncio.to_thread(writer.finish, asked.types)


def event_types(words: Collection[str]) -> list[str]:
    """The types that are meant, by their names, `inference.RouteDecided`, or a context's, `inference`. Raises LookupError."""
    known = sorted(cls.wire.type for cls in languages() if issubclass(cls, Event))
    found: set[str] = set()
    for word in words:
        meant = {name for name in known if word in (name, name.partition(".")[0])}
        if not meant:
            raise LookupError(f"no context says {word}; there are: {', '.join(known)}")
        found |= meant
    return sorted(found)


class _Export:
    """Files are made in a thread while the next shard is read."""

    def __init__(self, asked: Asked, writer: Writer, source: Source, progress: Progress) -> None:
        self._asked, self._writer, self._source, self._progress = asked, writer, source, progress
        self._done = self._total = 0

    async def run(self, begin: Cut, end: Cut) -> None:
        self._total = sum(end.values()) - sum(begin.values())
        making: asyncio.Task[None] | None = None
        try:
            for shard in sorted(end):
                found = self._writer.shard(shard, begin.get(shard, 0))
                await self._read(found, end[shard])
                if making is not None:
                    await making
                making = asyncio.create_task(asyncio.to_thread(found.finish))
        finally:
            # Also after a failure: what is written to is about to be removed.
            if making is not None:
                await making

    async def _read(self, found: ShardWriter, end: int) -> None:
        chain = found.chain
        if chain.start == end:
            return
        # The record before tells from which hash the first one hangs.
        async for piece in self._source.read(chain.shard, chain.next, end):
            for record in piece:
                self._verify(chain.shard, record)
                found.take(record.value, record.signature, self._asked.types)
            self._done += len(piece)
            self._progress(min(self._done, self._total), self._total)

    def _verify(self, shard: str, record: Published) -> None:
        verify = self._asked.verify
        if verify is not None and not verify(_source_of(record.value), record.value, record.signature):
            raise NotSigned(f"{shard} {record.sequence} is signed by no writer of {self._asked.network}")


def _source_of(value: bytes) -> str:
    found: Mapping[str, object] = orjson.loads(value)
    return str(found.get("source", ""))
