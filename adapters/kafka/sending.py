"""Sending what a publisher's shards have: every lane by itself, so that one that takes nothing keeps no other waiting."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from adapters.crash import crashpoint
from adapters.kafka.backlog import Backlog
from adapters.kafka.lanes import LONGEST_SETBACK_SECONDS, RETRY_SECONDS, Line, Owned
from adapters.kafka.producing import Producers, Sent, enqueue
from adapters.sql import is_transient
from adapters.sql.outbox import Outbox, Outgoing

log = logging.getLogger(__name__)

SEND_LIMIT = 2_000
"""Records of one lane that are sent together."""
READ_LIMIT, READ_LEAST = 20_000, 100
"""Records that are read from the store together, of all lanes; and of one of them at least, if it has so many."""
REPEAT_LIMIT = 500
"""Repeats that are read together, of all lanes."""
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
ENDING_SECONDS = 2.0
"""Who is to end waits so long for lanes that take nothing; the next owner publishes from the store."""


class Sending:
    """Takes what `backlog` or the store holds of the owned shards to their topics."""

    def __init__(
        self,
        outbox: Outbox,
        client: Mapping[str, Any],
        owned: Mapping[int, Owned],
        backlog: Backlog,
        *,
        claim_later: Callable[[Owned, float], None],
        on_sent: Callable[[int], None],
    ) -> None:
        self._outbox, self._client, self._owned, self.backlog = outbox, dict(client), owned, backlog
        self._claim_later, self._on_sent = claim_later, on_sent
        self.behind: dict[int, Owned] = {}
        """Those of which something may be stored and not sent."""
        self.has_repeats = False
        self.stirred = asyncio.Event()
        self.taken_at = time.monotonic()
        """When anything was last taken."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._producers = Producers(client)

    @property
    def waiting(self) -> int:
        """Records that are in the store and not published."""
        return sum(owned.waiting(line) for owned in self.behind.values() for line in owned.lines)

    def under_way(self) -> list[Line]:
        """The lanes that have been given something new and have not answered."""
        return [line for owned in self._owned.values() for line in owned.lines if line.sending is not None]

    async def run(self, ending: asyncio.Event) -> None:
        """Until it is set and all is sent. Raises KafkaError, and what the database raises."""
        self._producers = Producers(self._client)
        ended_at: float | None = None
        try:
            while True:
                started = await self._turn()
                if ending.is_set():
                    ended_at = ended_at or time.monotonic()
                    if not started and (not self._tasks or time.monotonic() - ended_at > ENDING_SECONDS):
                        return
                # Something that waits and is not under way is looked at again; so is a time that comes.
                pause = RETRY_SECONDS if ending.is_set() or self.waiting or self.has_repeats else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self.stirred.wait()
                self.stirred.clear()
        finally:
            await self._producers.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _turn(self) -> int:
        """Begin to send what is new, of every lane that is free, and what is repeated; how many lanes began."""
        due = await self._due()
        if due:
            crashpoint("publish.read")
        for line, records in due:
            line.sending, line.since = self._start(self._send(line, records)), time.monotonic()
        return len(due) + (await self._repeat() if self.has_repeats else 0)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _due(self) -> list[tuple[Line, list[Outgoing]]]:
        """Of each lane the records that come next: as they were handed over, or else from the store."""
        self.behind = {shard: o for shard, o in self.behind.items() if any(o.waiting(line) for line in o.lines)}
        found: list[tuple[Line, list[Outgoing]]] = []
        gaps: list[tuple[Line, int, int]] = []
        for shard, owned in self.behind.items():
            for line in owned.lines:
                if line.sending is not None:
                    continue
                where, most = (shard, line.lane.kind), SEND_LIMIT if line.next >= owned.single.get(line.lane.kind, 0) else 1
                if records := self.backlog.take(where, line.next, most):
                    found.append((line, records))
                    continue
                begins = self.backlog.begins(where)
                missing = (owned.stored[line.lane.kind] if begins is None else begins) - line.next
                if missing > 0:
                    gaps.append((line, line.next, min(missing, most)))
        if gaps:
            most = min(SEND_LIMIT, max(READ_LEAST, READ_LIMIT // len(gaps)))
            read = await asyncio.to_thread(
                lambda: [(line, self._outbox.read(line.lane, start, min(n, most))) for line, start, n in gaps]
            )
            found += read
        return [(line, records) for line, records in found if records and self._is_ours(line)]

    def _is_ours(self, line: Line) -> bool:
        owned = self._owned.get(line.lane.shard)
        return owned is not None and line in owned.lines

    async def _send(self, line: Line, records: Sequence[Outgoing]) -> None:
        crashpoint("publish.half_sent")
        try:
            if await self._delivered(line, records, is_new=True):
                crashpoint("publish.sent")
                line.next = records[-1].number + 1
                if (owned := self._owned.get(line.lane.shard)) is not None and line in owned.lines:
                    owned.setback = 0.0
                self._on_sent(len(records))
        finally:
            line.sending, line.is_told = None, False
            self.stirred.set()

    async def _delivered(self, line: Line, records: Sequence[Outgoing], *, is_new: bool) -> bool:
        """Whether the broker took all of it; if not, the lane is compared again before anything else is sent there."""
        sent: list[Sent] = []
        producer: AIOKafkaProducer | None = None
        failed: BaseException | None = None
        try:
            producer = await self._producers.current()
            self._producers.use(producer)
            await enqueue(producer, line.lane, records, sent)
        except (KafkaError, OSError) as error:
            failed = error
        # Also when enqueuing raised: what is on its way must arrive or fail before anything is sent again.
        answers = await asyncio.gather(*(batch.future for batch in sent), return_exceptions=True)
        for batch, answer in zip(sent, answers, strict=True):
            if isinstance(answer, BaseException):
                failed = failed or answer
            elif failed is None:
                self.taken_at = time.monotonic()
                self._arrived(line, answer.offset, batch.first, is_new=is_new)
        if failed is not None and producer is not None:
            self._producers.discard(producer)
        if producer is not None:
            await self._producers.settled(producer)
        if failed is None:
            return True
        if not isinstance(failed, KafkaError | OSError):
            raise failed
        self._refused(line, records, failed)
        return False

    def _refused(self, line: Line, records: Sequence[Outgoing], error: Exception) -> None:
        """Nobody knows what arrived. What the broker will refuse again is not offered to it in a hurry."""
        owned = self._owned.get(line.lane.shard)
        if owned is None or line not in owned.lines:
            return
        first, last = records[0], records[-1]
        what = f"record {first.number} ({len(first.value)} bytes)" if first is last else f"{first.number} to {last.number}"
        if isinstance(error, BrokerResponseError) and not error.retriable:
            owned.setback = min(max(owned.setback * 2, RETRY_SECONDS), LONGEST_SETBACK_SECONDS)
            if isinstance(error, _TOO_LARGE):
                owned.single[line.lane.kind] = last.number + 1
        else:
            owned.setback = RETRY_SECONDS
        log.warning("%s takes no %s, again in %g s: %r", line, what, owned.setback, error)
        self._claim_later(owned, owned.setback)

    def _arrived(self, line: Line, offset: int, number: int, *, is_new: bool) -> None:
        # A batch that the broker has twice may have no offset any more.
        if offset < 0:
            return
        if offset <= line.offset and self._is_ours(line):
            log.warning("%s was made anew: offset %d came after %d", line, offset, line.offset)
            self._claim_later(self._owned[line.lane.shard], 0.0)
        line.offset = max(line.offset, offset)
        # A repeat may have overtaken what is new: then what is new lies before it, and is not counted yet.
        if is_new or line.sending is None:
            line.seen = max(line.seen, (offset, number))

    # Repeats

    async def _repeat(self) -> int:
        """Outcomes whose command came again are published once more, byte for byte; how many lanes begin to."""
        self.has_repeats = False
        now = time.monotonic()
        free = {
            line.lane.shard: line
            for owned in self._owned.values()
            for line in owned.lines
            if line.lane.kind == "outcomes" and line.repeating is None and line.repeat_at <= now
        }
        if not free:
            return 0
        rows = await asyncio.to_thread(self._outbox.repeats, list(free), REPEAT_LIMIT)
        self.has_repeats = self.has_repeats or bool(rows)
        # One that is not published for the first time yet would, ahead of its predecessors, make the next owner believe that
        # they are there.
        due: dict[int, list[tuple[int, int]]] = {}
        for row, shard, number in rows:
            if number < free[shard].next:
                due.setdefault(shard, []).append((row, number))
        for shard, asked in due.items():
            free[shard].repeating = self._start(self._send_again(free[shard], asked))
        return len(due)

    async def _send_again(self, line: Line, asked: Sequence[tuple[int, int]]) -> None:
        """Row id and number of each. Whoever asked several times before the answer is answered once."""
        numbers = list(dict.fromkeys(number for _, number in asked))
        try:
            found = (await asyncio.to_thread(self._outbox.some, {line.lane: numbers}))[line.lane]
            if await self._delivered(line, [found[number] for number in numbers], is_new=False):
                await asyncio.to_thread(self._outbox.repeated, [row for row, _ in asked])
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("%s: repeats wait for the database: %s", line, str(error).partition("\n")[0])
            line.repeat_at = time.monotonic() + RETRY_SECONDS
        finally:
            line.repeating, self.has_repeats = None, True
            self.stirred.set()
