"""Fold the log again from its first record, beside the live view; compare; take its place.

Reads Kafka by explicit assignment, so no group notices. The live view is neither emptied nor locked, but for the moment
in which the names change. A rebuild that dies leaves tables that the next one drops. There is one at a time.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from adapters.sql import is_transient, reading
from adapters.views.beside import Beside
from adapters.views.digest import Digest, digest
from adapters.views.exclusive import Exclusive
from adapters.views.folding import Folder, LogShort, MakeParts, end_with_parent, fold_in_process, insist
from adapters.views.positions import Fenced, Position, positions_of

BATCH_RECORDS = 50_000
"""Of one transaction. A rebuild that dies begins again, so a commit buys nothing but memory: rows are written once a batch."""
STARTING_EVENTS = 75_000
"""So many are folded by this process until another one has been started."""
SWAP_SECONDS = 60.0
LOOK_SECONDS = 0.25

Progress = Callable[[int, int], None]
"""`(events done, events in all)`."""


class DigestsDiffer(Exception):
    """The view is not the fold of its log. Both digests are in the message; the live view is as it was."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found: both digests at the cut, the seconds of the fold, and whether the new view is live now."""

    projection: str
    cut: Mapping[str, int]
    live: Digest
    rebuilt: Digest
    events: int
    seconds: float
    swapped: bool

    @property
    def equal(self) -> bool:
        return self.live == self.rebuilt


class Rebuild:
    """One projection, rebuilt. `meaning_changed` swaps although the digests differ: then the code says something new."""

    def __init__(
        self,
        make: MakeParts,
        *,
        batch_records: int = BATCH_RECORDS,
        processes: int | None = None,
        meaning_changed: bool = False,
        keep: bool = False,
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        """`processes` are as many as there are cores, if the log is long enough. `keep` what was live, to go back to it."""
        self._make, self._parts = make, make()
        self._name = self._parts.projection.name
        self._batch_records, self._processes = batch_records, processes or os.cpu_count() or 1
        self._meaning_changed, self._keep, self._progress = meaning_changed, keep, progress
        self._beside = Beside(self._parts.engine, self._parts.projection)
        self.exclusive = Exclusive(self._parts.engine, self._name, "a rebuild")

    async def verify(self) -> Rebuilt:
        """Whether the live view is the fold of its log; nothing is swapped. Raises ViewTaken, LogShort, ChainBroken, Lost."""
        return await self._run(swap=False)

    async def swap(self) -> Rebuilt:
        """And put the new view in its place. Raises DigestsDiffer besides, and Changed."""
        return await self._run(swap=True)

    async def _run(self, *, swap: bool) -> Rebuilt:
        with self.exclusive:
            try:
                await insist(self._beside.make)
                return await self._rebuild(swap=swap)
            finally:
                # Where the lock was lost, the tables may be those of whoever has it now.
                if self.exclusive.is_held:
                    await insist(self._beside.drop)

    async def _rebuild(self, *, swap: bool) -> Rebuilt:
        cut, live = await insist(self._live)
        ends = {shard: position.next for shard, position in cut.items()}
        async with Folder(self._parts, self._batch_records) as folder:
            began = time.monotonic()
            await self._fold(folder, ends)
            seconds = time.monotonic() - began
            rebuilt = await insist(self._digest, ends)
            if swap:
                self._compare(live, rebuilt)
                await insist(self._beside.index)
                await swap_in(folder, self._beside, cut, keep=self._keep)
        return Rebuilt(self._name, ends, live, rebuilt, sum(ends.values()), seconds, swap)

    def _live(self) -> tuple[dict[str, Position], Digest]:
        # One snapshot: the digest belongs to exactly these positions.
        with reading(self._parts.engine) as connection:
            return positions_of(connection, self._name), digest(connection, self._parts.projection)

    def _digest(self, ends: Mapping[str, int]) -> Digest:
        with reading(self._parts.engine) as connection:
            found = {shard: position.next for shard, position in positions_of(connection, self._beside.reader).items()}
            if found != ends:
                raise Fenced(f"{self._beside.reader} is at {found} instead of {ends}: another rebuild has begun")
            return digest(connection, self._parts.projection, self._beside.names)

    def _compare(self, live: Digest, rebuilt: Digest) -> None:
        if live != rebuilt and not self._meaning_changed:
            raise DigestsDiffer(
                f"{self._name}: the live view's digest is {live.sha256} ({live.rows} rows), "
                f"that of its log {rebuilt.sha256} ({rebuilt.rows} rows); nothing was swapped"
            )

    async def _fold(self, folder: Folder, ends: Mapping[str, int]) -> None:
        if unknown := ends.keys() - set(folder.shards):
            raise LogShort(f"there is no {', '.join(sorted(unknown))}, which {self._name} has read")
        total = sum(ends.values())
        looking = asyncio.create_task(self._look(total))
        try:
            mine, *others = self._shares(ends)
            await self._fold_together(folder, mine, others)
        finally:
            looking.cancel()
        self._progress(total, total)

    def _shares(self, ends: Mapping[str, int]) -> list[dict[str, int]]:
        """The shards for each process, the longest dealt out first; this process begins at once, the others have to start."""
        loads = [0] + [STARTING_EVENTS] * (self._processes - 1)
        shares: list[dict[str, int]] = [{} for _ in loads]
        for shard, end in sorted(ends.items(), key=lambda item: -item[1]):
            least = loads.index(min(loads))
            shares[least][shard] = end
            loads[least] += end
        return [shares[0], *filter(None, shares[1:])]

    async def _fold_together(self, folder: Folder, mine: Mapping[str, int], others: list[dict[str, int]]) -> None:
        loop = asyncio.get_running_loop()
        # Not forked: a fork would share the sockets and locks of this process.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max(len(others), 1), spawn, initializer=end_with_parent) as pool:
            work = [loop.run_in_executor(pool, fold_in_process, self._make, share, self._batch_records) for share in others]
            await folder.fold(mine)
            await asyncio.gather(*work)

    async def _look(self, total: int) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._progress(await asyncio.to_thread(self._done), total)

    def _done(self) -> int:
        with reading(self._parts.engine) as connection:
            return sum(position.next for position in positions_of(connection, self._beside.reader).values())


async def swap_in(folder: Folder, beside: Beside, cut: Mapping[str, Position], *, keep: bool) -> None:
    """Follow until we are where the live reader is, or further; then change the names.

    `cut` are the live positions at which the digests were compared. Raises LogShort, Changed, Fenced.
    """
    generations = {shard: position.generation for shard, position in cut.items()}
    deadline = time.monotonic() + SWAP_SECONDS
    await folder.follow(0.0)
    while not await _try_to_swap(beside, generations, folder.epochs(), keep):
        if time.monotonic() > deadline:
            raise LogShort(f"{beside.reader} could not catch up with the live view in {SWAP_SECONDS:.0f} s")
        await folder.follow(0.05)


async def _try_to_swap(beside: Beside, generations: Mapping[str, int], epochs: Mapping[str, int], keep: bool) -> bool:
    try:
        return await asyncio.to_thread(beside.swap, generations, epochs, keep=keep)
    except IntegrityError:
        # The live reader has claimed a shard of which it had no position a moment ago.
        return False
    except Exception as error:
        if not is_transient(error):
            raise
        if not await insist(beside.has_swapped, generations, epochs):
            return False
        if not keep:
            await insist(beside.drop_kept)
        return True
