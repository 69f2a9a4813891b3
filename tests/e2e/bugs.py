"""Bugs planted on purpose, so that it is known what the outside checker can find. Nothing here is in the product.

Each is a function that a forked `spaceos` process calls before anything else (tests/forks.py).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy.exc import OperationalError

import adapters.faust.group  # noqa: F401  imported here once, for all forks
import ops.worker.checking as checking
import ops.worker.deciding as deciding
import projections.identity
from adapters.kafka.sending import Sending
from adapters.keys import ed25519_signer
from adapters.sql.driver import session
from adapters.sql.store import Store
from adapters.views import positions
from adapters.views.sets import ReaderSet

BUGS: dict[str, tuple[str, Callable[[], None]]] = {}
"""Each with the invariant that it breaks."""


def plant(invariant: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(bug: Callable[[], None]) -> Callable[[], None]:
        BUGS[bug.__name__] = (invariant, bug)
        return bug

    return register


def every(n: int, *, first: int = 0) -> Callable[[], bool]:
    """True at each n-th call."""
    calls = [first]

    def due() -> bool:
        calls[0] += 1
        return calls[0] % n == 0

    return due


# The command worker


@plant("I3")
def no_dedupe() -> None:
    """What came before is decided again."""
    original, name, due, numbers = deciding._Batch._rule, deciding._identity, every(1), count()
    seen: set[str] = set()

    def rule(self: Any, chunk: Any, checked: Any) -> None:
        self._known.clear()
        original(self, chunk, checked)

    def identity(checked: Any) -> str:
        found = name(checked)
        again = found in seen
        seen.add(found)
        return f"{found} {next(numbers)}" if again and due() else found

    deciding._Batch._rule, deciding._identity = rule, identity  # type: ignore[method-assign]


@plant("I1")
def position_before_the_decision() -> None:
    """The position is advanced first, and the batch then fails: as a consumer that commits offsets on an error does."""
    original, due = Store.commit, every(6)

    def commit(self: Store, batch: Any) -> Any:
        if not due():
            return original(self, batch)
        sealed = batch.seal(batch.now)
        after = [replace(b, position=a.position, position_hash=a.position_hash) for b, a in sealed.shards]
        with session(self.engine) as asking, asking.transaction():
            asking.ask([self._sql.advanced(after)])
        raise busy()

    Store.commit = commit  # type: ignore[method-assign]


@plant("I5")
def no_fence() -> None:
    """A writer that was away writes back the counters in which it believes."""
    original, due = Store.commit, every(8)

    def commit(self: Store, batch: Any) -> Any:
        sealed = original(self, batch)
        if due():
            with session(self.engine) as asking, asking.transaction():
                asking.ask([self._sql.advanced([before for before, _ in sealed.shards])])
        return sealed

    Store.commit = commit  # type: ignore[method-assign]


@plant("I5")
def prevhash_from_memory() -> None:
    """The chain goes on from what this process remembers of the batch before the last."""
    original, remembered = deciding._Batch._seal_chunk, {}

    def seal(self: Any, chunk: Any, time: str, sealed: Any) -> Any:
        stale = remembered.get(chunk.shard.id, chunk.shard.last_hash)
        remembered[chunk.shard.id] = chunk.shard.last_hash
        chunk.shard = replace(chunk.shard, last_hash=stale)
        return original(self, chunk, time, sealed)

    deciding._Batch._seal_chunk = seal  # type: ignore[method-assign]


@plant("I12")
def clients_clock() -> None:
    """A decision has the time that the client's clock shows."""
    original = deciding._Batch._seal_chunk

    def seal(self: Any, chunk: Any, now: datetime, sealed: Any) -> Any:
        times = [ruling.checked.record.time for ruling in chunk.rulings if ruling.checked.record is not None]
        return original(self, chunk, times[-1] if times else now, sealed)

    deciding._Batch._seal_chunk = seal  # type: ignore[method-assign]


@plant("I10")
def revoked_key_cached() -> None:
    """What a key might do once it may do for ever."""
    original, before = deciding.permitted, dict[str, Any]()

    def permitted(known: Any, *more: Any) -> Any:
        if known is not None and not known.revoked:
            before[known.key] = known
        return original(before.get(known.key, known) if known is not None else None, *more)

    deciding.permitted = permitted  # type: ignore[assignment]


@plant("SIG")
def signature_not_checked() -> None:
    checking.keys = type("Trusting", (), {"verify": staticmethod(lambda *_: True)})  # type: ignore[assignment]


@plant("I1")
def one_event_not_inserted() -> None:
    """A command of several events is half stored."""
    original, due = Store._written, every(5)

    def written(self: Store, sealed: Any, repeats: Any) -> Any:
        kept = sealed.events[:-1] if due() else sealed.events
        return original(self, replace(sealed, events=kept), repeats)

    Store._written = written  # type: ignore[method-assign]


@plant("SIG")
def another_key_signs() -> None:
    other, original = ed25519_signer(b"x" * 32), deciding.Decider.__init__

    def init(self: Any, store: Any, signer: Any, *more: Any) -> None:
        original(self, store, replace(signer, sign=other.sign), *more)

    deciding.Decider.__init__ = init  # type: ignore[method-assign]


# The publisher


@plant("I1")
def publisher_skips_after_an_error() -> None:
    """What could not be sent is taken as sent."""
    original, due = Sending._due, every(12)

    async def skipping(self: Sending) -> Any:
        found = await original(self)
        return [(line, records[-1:]) for line, records in found] if due() else found

    Sending._due = skipping  # type: ignore[method-assign]


@plant("I5")
def publisher_sorts() -> None:
    """Not by sequence, but by what looks as good."""
    original = Sending._due

    async def sorting(self: Sending) -> Any:
        found = await original(self)
        return [(line, [*sorted(records[:-1], key=lambda record: record.key), records[-1]]) for line, records in found]

    Sending._due = sorting  # type: ignore[method-assign]


@plant("I5")
def repeats_come_first() -> None:
    """An outcome is repeated before it was published for the first time."""
    original = Sending._turn

    async def turn(self: Sending) -> int:
        lines = [line for owned in self._owned.values() for line in owned.lines]
        real = [line.next for line in lines]
        for line in lines:
            line.next = 10**9
        try:
            await self._repeat()
            await asyncio.gather(*(line.repeating for line in lines if line.repeating is not None))
        finally:
            for line, following in zip(lines, real, strict=True):
                line.next = following
        return await original(self)

    Sending._turn = turn  # type: ignore[method-assign]


# The projector


@plant("I6")
def position_in_another_transaction() -> None:
    """The position is committed, and the transaction of the rows then fails."""
    original, due = ReaderSet._commit_together, every(3)

    def commit(self: Any, members: Any) -> None:
        moves = [move for member in members for move in member.pending()]
        if moves and due():
            with self._engine.begin() as connection:
                positions.advance(connection, moves)
            raise busy()
        original(self, members)

    ReaderSet._commit_together = commit  # type: ignore[method-assign]


@plant("I6")
def poison_event_skipped() -> None:
    """An event that cannot be applied is passed over without a word."""
    original, due = projections.identity.project, every(20)

    def project(event: Any, record: Any, session: Any) -> None:
        with contextlib.suppress(Exception):
            if due():
                raise ValueError("poison")
            original(event, record, session)

    projections.identity.project = project


def busy() -> OperationalError:
    """The database's own word for: try again."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return OperationalError("planted", None, error)
