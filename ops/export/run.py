"""One export: read each shard between two cuts, check it, hand it to the writer."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from adapters.parquet import Manifest, Writer
from adapters.parquet.writing import ShardWriter
from adapters.replay import BadPosition, Cut, Source
from adapters.replay.cuts import is_before
from adapters.replay.folding import Check, unchecked
from contracts import Event, languages

Progress = Callable[[int, int], None]
"""`(records done, records in all)`."""


class NoSuchType(LookupError):
    """No context records events of that name."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to take away: every shard of `end`, from its place in `begin` on."""

    network: str
    begin: Cut
    end: Cut
    types: Collection[str] | None = None
    """Of events; None is all of them. Records of other types are followed, so that the chain is whole."""
    values: bool = False
    check: Check | None = None
    """More than the chain, which is always followed."""


async def export(asked: Asked, folder: Path, source: Source, progress: Progress = lambda _done, _total: None) -> Manifest:
    """Write the folder.

    Raises BadPosition, RangeMissing, ChainBroken, FolderTaken, NotExportable, what the check raises, and what a broker or
    database raises; then there is no folder.
    """
    if not is_before(asked.begin, asked.end):
        raise BadPosition("the export would end before it begins")
    with Writer(folder, asked.network, values=asked.values, verified=asked.check is not None) as writer:
        await _Export(asked, writer, source, progress).run()
        return await asyncio.to_thread(writer.finish, asked.types)


def event_types(words: Collection[str]) -> list[str]:
    """The types that are meant, by their names, `inference.RouteDecided`, or a context's, `inference`. Raises NoSuchType."""
    known = sorted(cls.wire.type for cls in languages() if issubclass(cls, Event))
    found: set[str] = set()
    for word in words:
        meant = {name for name in known if word in (name, name.partition(".")[0])}
        if not meant:
            raise NoSuchType(f"no context says {word}; there are: {', '.join(known)}")
        found |= meant
    return sorted(found)


class _Export:
    """Files are made in a thread while the next shard is read."""

    def __init__(self, asked: Asked, writer: Writer, source: Source, progress: Progress) -> None:
        self._asked, self._writer, self._source, self._progress = asked, writer, source, progress
        self._check = asked.check or unchecked
        self._done, self._total = 0, sum(asked.end.values()) - sum(asked.begin.values())

    async def run(self) -> None:
        making: asyncio.Task[None] | None = None
        try:
            for shard, end in sorted(self._asked.end.items()):
                found = self._writer.shard(shard, self._asked.begin.get(shard, 0))
                await self._read(found, end)
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
        # The record before `start` tells from which hash the first one hangs.
        async for piece in self._source.read(chain.shard, chain.next, end):
            for record in piece:
                self._check(chain.shard, record)
                found.take(record.value, record.signature, self._asked.types)
            self._done += len(piece)
            self._progress(min(self._done, self._total), self._total)
