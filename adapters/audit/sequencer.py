"""The sequencer: records of every shard, verified, in one order, appended with a seal in one transaction.

Any number may run. The head's row is locked while one appends, and a shard's row moves only from where the appender
believes it is and under the epoch of its claim: what a sleeper had in hand is void when it wakes.
"""

import logging
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, insert, select, update

from adapters.audit import tables
from adapters.audit.batches import Batch, Chunks, Delivered, Leaf, Stretch, seal_leaf
from adapters.audit.log import Head, read_head
from adapters.audit.tables import or_keep
from adapters.crash import crashpoint
from adapters.sql import insert_rows, reading
from adapters.tlog.entries import merged, record_entry
from adapters.tlog.tiles import HEIGHT, TILE_BYTES, WIDTH
from adapters.tlog.tree import HASH_BYTES, Frontier, leaf_hash
from adapters.views.chain import ChainBroken, follow
from adapters.views.places import Applied
from adapters.views.positions import Fenced, Position
from adapters.views.strangers import Strangers
from adapters.vouching import Vouch, signature_of
from contracts import ZERO_HASH

log = logging.getLogger(__name__)

READER = "audit_log"


class AnotherNetwork(RuntimeError):
    """The database holds the log of another network."""


class Sequencer:
    """Appends what it is handed. One thread at a time. Methods raise SQLAlchemy's errors; after those, doubt and repeat."""

    def __init__(self, engine: Engine, network: str, vouch: Vouch) -> None:
        """For whom nobody vouches is passed over: each record is verified, because each has to survive on its own."""
        self.engine, self._network, self._vouch = engine, network, vouch
        self._strangers = Strangers(READER)
        self._places: dict[str, Position] = {}
        self._halted: dict[str, str] = {}
        self._doubtful = False
        self._last_batch = -1
        """The newest batch that was seen here."""
        self._beside = ThreadPoolExecutor(1, thread_name_prefix=f"{READER}-appending")

    @property
    def halted(self) -> Mapping[str, str]:
        """The shards that do not go on, and why."""
        return dict(self._halted)

    def claim(self, shards: Collection[str]) -> Mapping[str, Position]:
        """Own exactly these shards from now on; whoever had them is fenced. Raises AnotherNetwork."""
        with self.engine.begin() as connection:
            self._establish(connection)
            rows = [_claimed(connection, shard) for shard in sorted(shards)]
        self._places = {row.shard: _position(row) for row in rows}
        self._halted = {row.shard: row.halted for row in rows if row.halted}
        self._doubtful = False
        return dict(self._places)

    def position(self, shard: str) -> Position:
        """The record that the log wants next of the shard."""
        return self._places[shard]

    def released(self) -> list[str]:
        """Shards that stood still here and that an operator has released since."""
        if not self._halted:
            return []
        waiting = select(tables.shards.c.shard).where(tables.shards.c.halted.is_not(None))
        with reading(self.engine) as connection:
            still = set(connection.scalars(waiting))
        return sorted(self._halted.keys() - still)

    def apply(self, chunks: Chunks) -> dict[str, Applied]:
        """Append what continues each shard, as one batch with its seal. Halted shards stay where they are."""
        [answers] = self.apply_each([chunks])
        return answers

    def apply_each(self, batches: Iterable[Chunks]) -> Generator[dict[str, Applied], None, None]:
        """As `apply`, one after the other; while the database takes one in, the next is verified.

        Each is answered when it is committed. Before an answer is taken, nothing of the next is in the database.
        """
        if self._doubtful:
            self._believe()
        with self._doubting():
            batch: Batch | None = None
            for chunks in batches:
                if batch is None:
                    batch = self._verified(chunks)
                    continue
                appending = self._beside.submit(self._append, batch.advancing)
                try:
                    following = self._verified(chunks, batch)
                finally:
                    wait([appending])
                appending.result()
                yield self._applied(batch)
                batch = following
            if batch is not None:
                self._append(batch.advancing)
                yield self._applied(batch)

    def seal_idle(self) -> None:
        """An empty batch: silence is visible, and a log whose newest entries were cut off is noticed.

        Where somebody has appended since the last look there was none: the next look begins from there.
        """
        with self._doubting(), self.engine.begin() as connection:
            head = read_head(connection, lock=True)
            if head is None:
                return
            if head.batch == self._last_batch:
                self._write(connection, head, {})
            else:
                self._last_batch = head.batch

    # Before the transaction

    def _verified(self, chunks: Chunks, before: Batch | None = None) -> Batch:
        """What continues the shards, as they will be after the batch before."""
        advanced = {shard: stretch.end for shard, stretch in before.advancing.items()} if before else {}
        broken = before.broken if before else {}
        batch = Batch()
        for shard in sorted(chunks):
            if shard not in self._places:
                continue
            batch.shards.append(shard)
            if shard in self._halted or shard in broken:
                continue
            begin = advanced.get(shard, self._places[shard])
            try:
                batch.stretches[shard] = self._stretch(shard, begin, chunks[shard])
            except (ChainBroken, KeyError, ValueError) as error:
                batch.broken[shard] = f"{type(error).__name__}: {error}"
        return batch

    def _stretch(self, shard: str, begin: Position, records: Sequence[Delivered]) -> Stretch:
        found = follow(shard, begin, records, read=_unread, vouch=self._vouch, each=True)
        if found.strangers:
            self._strangers.meet(shard, found.strangers)
        leaves: list[Leaf] = []
        for fact in found.facts:
            event, kind, stream, actor, time = _NAMED(fact.record.document)
            entry = record_entry(signature_of(fact.delivered.headers), fact.record.value)
            leaves.append(Leaf(shard, fact.sequence, event, kind, stream, actor, time, entry))
        return Stretch(begin, replace(found.end, epoch=begin.epoch), leaves, found.gap)

    def halt(self, shard: str, why: str) -> None:
        """The rest of the shard waits for an operator; other shards flow. Raises Fenced where another carries it on."""
        place = self._places[shard]
        mine = {"shard_is": shard, "next_is": place.next, "hash_is": place.last_hash, "epoch_is": place.epoch}
        with self._doubting(), self.engine.begin() as connection:
            if connection.execute(_HALT, {**mine, "why": why[:2000]}).rowcount != 1:
                raise Fenced(f"{READER} {shard} is no longer at {place.next} under epoch {place.epoch}")
        log.error("%s is halted at %d: %s", shard, place.next, why)
        self._halted[shard] = why

    # The transaction

    def _append(self, stretches: Mapping[str, Stretch]) -> None:
        if not stretches:
            return
        with self.engine.begin() as connection:
            head = read_head(connection, lock=True)
            assert head is not None, "claim() comes first"
            crashpoint("audit.begun")
            self._advance(connection, stretches)
            crashpoint("audit.half")
            self._write(connection, head, stretches)
        crashpoint("audit.committed")

    def _advance(self, connection: Connection, stretches: Mapping[str, Stretch]) -> None:
        for shard, stretch in sorted(stretches.items()):
            before, after = stretch.begin, stretch.end
            values = {
                "shard_is": shard, "next_is": before.next, "hash_is": before.last_hash, "epoch_is": before.epoch,
                "to_next": after.next, "to_hash": after.last_hash, "to_time": after.last_time, "to_offset": after.offset,
            }  # fmt: skip
            if connection.execute(_ADVANCE, values).rowcount != 1:
                raise Fenced(f"{READER} {shard} is no longer at {before.next} under epoch {before.epoch}")

    def _write(self, connection: Connection, head: Head, stretches: Mapping[str, Stretch]) -> None:
        leaves = merged({shard: stretch.leaves for shard, stretch in stretches.items()})
        leaves.append(seal_leaf(head.batch, head.size, stretches))
        insert_rows(connection, tables.leaves, [(index, *leaf) for index, leaf in enumerate(leaves, head.size)])
        frontier = Frontier(head.size, list(head.frontier.roots))
        levels = frontier.extend(b"".join([leaf_hash(leaf.entry) for leaf in leaves]))
        self._extend(connection, head.size, levels[::HEIGHT])
        grown = {"size": frontier.size, "batch": head.batch + 1, "roots": b"".join(frontier.roots)}
        connection.execute(update(tables.head).where(tables.head.c.size == head.size).values(**grown))
        self._last_batch = head.batch + 1

    def _extend(self, connection: Connection, size: int, levels: Sequence[bytes]) -> None:
        """A level's hashes behind those that a tree of that size has: its last tile, if it is partial, and new ones."""
        new: list[dict[str, Any]] = []
        for level, hashes in enumerate(levels):
            number, width = divmod(size >> HEIGHT * level, WIDTH)
            room = (WIDTH - width) * HASH_BYTES if width else 0
            if room:
                where = (tables.tiles.c.level == level) & (tables.tiles.c.number == number)
                known = connection.execute(select(tables.tiles.c.hashes).where(where)).scalar_one()
                connection.execute(update(tables.tiles).where(where).values(hashes=bytes(known) + hashes[:room]))
                number += 1
            new += [
                {"level": level, "number": number + n, "hashes": hashes[at : at + TILE_BYTES]}
                for n, at in enumerate(range(room, len(hashes), TILE_BYTES))
            ]
        if new:
            connection.execute(insert(tables.tiles), new)

    # What is believed

    def _applied(self, batch: Batch) -> dict[str, Applied]:
        """Of a batch that is committed."""
        self._places.update({shard: stretch.end for shard, stretch in batch.advancing.items()})
        for shard, why in batch.broken.items():
            self.halt(shard, why)
        answers = {shard: Applied(self._places[shard], 0) for shard in batch.shards}
        for shard, stretch in batch.stretches.items():
            answers[shard] = Applied(self._places[shard], len(stretch.leaves), gap=stretch.gap)
        return answers

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # Also after a commit whose answer was lost: the rows tell what happened.
            self._doubtful = True
            raise

    def _establish(self, connection: Connection) -> None:
        head = read_head(connection, lock=True)
        if head is None:
            first = {"id": 1, "network": self._network, "size": 0, "batch": 0, "roots": b""}
            connection.execute(or_keep(connection, tables.head), first)
        elif head.network != self._network:
            raise AnotherNetwork(f"the audit log is of the network {head.network}, this is {self._network}")

    def _believe(self) -> None:
        with reading(self.engine) as connection:
            found = {row.shard: row for row in connection.execute(select(tables.shards))}
        for shard, mine in self._places.items():
            row = found.get(shard)
            if row is None or row.epoch != mine.epoch:
                raise Fenced(f"{READER} {shard}: another sequencer has claimed it")
            self._places[shard] = _position(row)
        self._doubtful = False


def _unread(document: Mapping[str, Any]) -> None:
    # The log holds bytes: what an event says is for those who read it.
    del document


def release_shard(engine: Engine, shard: str) -> str | None:
    """An operator has looked into it: the shard may be tried again. Why it stood still; None if it did not."""
    with engine.begin() as connection:
        where = (tables.shards.c.shard == shard) & tables.shards.c.halted.is_not(None)
        why = connection.execute(select(tables.shards.c.halted).where(where)).scalar()
        connection.execute(update(tables.shards).where(where).values(halted=None))
    return why


_NAMED = itemgetter("id", "type", "subject", "actor", "time")

_MINE = update(tables.shards).where(
    tables.shards.c.shard == bindparam("shard_is"),
    tables.shards.c.next == bindparam("next_is"),
    tables.shards.c.last_hash == bindparam("hash_is"),
    tables.shards.c.epoch == bindparam("epoch_is"),
)
"""The row of a shard that nobody else has claimed or advanced: nothing of it is changed in another way."""
_ADVANCE = _MINE.values(
    next=bindparam("to_next"), last_hash=bindparam("to_hash"), last_time=bindparam("to_time"), offset=bindparam("to_offset")
)
_HALT = _MINE.values(halted=bindparam("why"))


def _claimed(connection: Connection, shard: str) -> Any:
    start = {"shard": shard, "next": 0, "last_hash": ZERO_HASH, "last_time": "", "offset": 0, "epoch": 0, "halted": None}
    connection.execute(or_keep(connection, tables.shards), start)
    raised = update(tables.shards).where(tables.shards.c.shard == shard).values(epoch=tables.shards.c.epoch + 1)
    return connection.execute(raised.returning(*tables.shards.c)).one()


def _position(row: Any) -> Position:
    return Position(row.next, row.last_hash, row.last_time, row.offset, row.epoch)
