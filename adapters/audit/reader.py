"""The sequencer in a group, and what the log does by the clock: sign its head, seal silence, give up on gaps."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from aiokafka import TopicPartition

from adapters.audit.batches import Chunks, Delivered
from adapters.audit.cosignatures import Refusal, standing_refusal
from adapters.audit.sequencer import READER, Sequencer
from adapters.audit.signing import Elsewhere, sign_head
from adapters.kafka.locate import Looking, Places, locate_all
from adapters.tlog.notes import NoteSigner
from adapters.views.places import Applied
from adapters.views.positions import Fenced
from adapters.views.readers import OneThread, sought
from contracts import shard_name

log = logging.getLogger(__name__)

BATCH_RECORDS = 1_000
BATCH_SHARDS = 500
"""A seal names each of its batch's shards, 110 bytes each, and an entry's length has 16 bits (c2sp.org/tlog-tiles)."""
GATHER_SECONDS = 0.15
"""What flows is taken in batches worth so much time: a seal for every record would be waste."""
GAP_SECONDS = 30.0
SIGN_SECONDS = 1.0
IDLE_SECONDS = 60.0
SAY_SECONDS = 60.0
"""That nothing is signed is said again so often."""

OnHalt = Callable[[str, int, str], Awaitable[None]]
"""`(shard, sequence, why)`."""


class Released(RuntimeError):
    """An operator released a shard. What came of it meanwhile was let go, so the process begins again from its positions."""


async def _nobody(shard: str, sequence: int, why: str) -> None:
    del shard, sequence, why


class SequencerReader:
    """Hands the sequencer batches of a fair size, and remembers which shards wait for what is missing."""

    def __init__(self, sequencer: Sequencer, topics: Sequence[str], *, on_halt: OnHalt = _nobody) -> None:
        """`on_halt` hears of each shard once that stops."""
        self.name, self.topics = READER, topics
        self.in_thread = OneThread(READER)
        self._sequencer, self._on_halt = sequencer, on_halt
        self._told: set[str] = set()
        self._gaps: dict[str, tuple[int, float]] = {}
        self.applied_at = time.monotonic()

    async def claim(self, shards: Collection[str]) -> None:
        await self.in_thread(self._sequencer.claim, shards)
        self._told = set(self._sequencer.halted)
        self._gaps.clear()

    async def resume(self, look: Looking, tps: Collection[TopicPartition], *, thorough: bool) -> Places:
        return await locate_all(look, {tp: sought(self._sequencer.position(shard_name(*tp))) for tp in tps}, thorough=thorough)

    async def apply(self, chunks: Chunks) -> Mapping[str, Applied]:
        found: dict[str, Applied] = {}
        batches = self._sequencer.apply_each(batches_of(chunks))
        # One by one: what the clock does comes between two batches.
        while (answers := await self.in_thread(next, batches, None)) is not None:
            for shard, applied in answers.items():
                before = found[shard].events if shard in found else 0
                found[shard] = Applied(applied.position, before + applied.events, gap=applied.gap)
        self.applied_at = time.monotonic()
        self._watch_gaps(found)
        await self.tell_halts()
        return found

    async def give_up_on_gaps(self) -> None:
        """Halt every shard whose next record has been missing for GAP_SECONDS while later ones came."""
        for shard, (wanted, since) in list(self._gaps.items()):
            if self._sequencer.position(shard).next != wanted:
                del self._gaps[shard]
            elif time.monotonic() - since > GAP_SECONDS and shard not in self._sequencer.halted:
                why = f"record {wanted} has been missing for {GAP_SECONDS:.0f} s while later ones came"
                try:
                    await self.in_thread(self._sequencer.halt, shard, why)
                except Fenced as fenced:
                    # What is missing here is for its new owner to wait for.
                    log.warning("%s", fenced)
                    del self._gaps[shard]
        await self.tell_halts()

    async def tell_halts(self) -> None:
        for shard, why in self._sequencer.halted.items():
            if shard not in self._told:
                await self._on_halt(shard, self._sequencer.position(shard).next, why)
                self._told.add(shard)

    def _watch_gaps(self, found: Mapping[str, Applied]) -> None:
        for shard, applied in found.items():
            wanted = applied.position.next
            if applied.gap is None:
                self._gaps.pop(shard, None)
            elif self._gaps.get(shard, (None, 0))[0] != wanted:
                self._gaps[shard] = (wanted, time.monotonic())


def batches_of(chunks: Chunks) -> Iterator[dict[str, Sequence[Delivered]]]:
    """Of at most BATCH_RECORDS records and BATCH_SHARDS shards, each shard's records in their order."""
    batch: dict[str, Sequence[Delivered]] = {}
    room = BATCH_RECORDS
    for shard, records in sorted(chunks.items()):
        start = 0
        while start < len(records):
            if not room or len(batch) == BATCH_SHARDS:
                yield batch
                batch, room = {}, BATCH_RECORDS
            batch[shard] = records[start : start + room]
            start += len(batch[shard])
            room -= len(batch[shard])
    if batch:
        yield batch


async def _unwatched(note: str) -> None:
    del note


class Clock:
    """Every second: the head is signed if it grew, silence is sealed, gaps are given up on, released shards begin again.

    While a refusal of a witness or the patrol stands, nothing is signed, and that is said each minute. Leaves are taken on:
    they are evidence too, and a process that ended would only be started again.
    """

    def __init__(
        self,
        reader: SequencerReader,
        sequencer: Sequencer,
        signer: NoteSigner,
        last_signed: Path,
        elsewhere: Elsewhere | None = None,
        *,
        on_signed: Callable[[str], Awaitable[None]] = _unwatched,
    ) -> None:
        """`on_signed` is handed the note; what it raises ends `run`."""
        self._reader, self._sequencer = reader, sequencer
        self._signing = signer, last_signed, elsewhere
        self._on_signed = on_signed
        self._said: tuple[Refusal, float] | None = None

    async def run(self) -> None:
        """For ever. Raises Released, RolledBack, Forked, Unremembered, and SQLAlchemy's errors."""
        while True:
            await self.turn()
            await asyncio.sleep(SIGN_SECONDS)

    async def turn(self) -> None:
        in_thread = self._reader.in_thread
        if released := await in_thread(self._sequencer.released):
            raise Released(f"{', '.join(released)} was released by an operator")
        await self._reader.give_up_on_gaps()
        if time.monotonic() - self._reader.applied_at > IDLE_SECONDS:
            await in_thread(self._sequencer.seal_idle)
            self._reader.applied_at = time.monotonic()
        refusal = await in_thread(standing_refusal, self._sequencer.engine)
        self._say(refusal)
        if refusal is not None:
            return
        if (note := await in_thread(sign_head, self._sequencer.engine, *self._signing)) is not None:
            await self._on_signed(note)

    def _say(self, refusal: Refusal | None) -> None:
        now = time.monotonic()
        if refusal is None:
            if self._said is not None:
                log.warning("heads are signed again")
                self._said = None
        elif self._said is None or self._said[0] != refusal or now - self._said[1] >= SAY_SECONDS:
            log.error(
                "NOTHING IS SIGNED: %s refused the head of %d entries: %s. Once you know why: spaceos audit witness trust",
                refusal.witness.partition("+")[0], refusal.size, refusal.answer,
            )  # fmt: skip
            self._said = refusal, now
