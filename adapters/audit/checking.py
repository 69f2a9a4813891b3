"""The whole log checked against itself: entries, tree, tiles, seals, chains, signatures and signed heads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Engine, select

from adapters.audit import tables
from adapters.audit.log import AuditLog, read_head
from adapters.sql import reading
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.entries import Cut, EntryInvalid, RecordEntry, Seal, Timed, merged, read_entry
from adapters.tlog.notes import NoteInvalid, NoteKey
from adapters.tlog.tiles import HEIGHT, WIDTH
from adapters.tlog.tree import HASH_BYTES, Frontier, leaf_hash
from contracts import ZERO_HASH

PAGE = 1_000

Verify = Callable[[str, bytes, str], bool]


class Finding(NamedTuple):
    """Something that is not as it was written: which check tells, where, and what is wrong."""

    check: str
    where: str
    text: str


Progress = Callable[[int, int], None]
"""`(entries checked, entries in all)`."""


def _quietly(done: int, total: int) -> None:
    del done, total


def check_log(engine: Engine, key: NoteKey, verify: Verify, progress: Progress = _quietly) -> Iterator[Finding]:
    """Everything that is wrong, the first places first. Nothing is changed; nothing found means that all of it fits.

    `verify` says whether a record's source may write and has signed it. The log may grow meanwhile.
    """
    yield from _Check(engine, key, verify, progress).run()


@dataclass
class _Batch:
    first: int = 0
    shards: dict[str, list[Timed]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    order: list[bytes] = field(default_factory=list)


class _Check:
    def __init__(self, engine: Engine, key: NoteKey, verify: Verify, progress: Progress) -> None:
        self._engine, self._key, self._verify, self._progress = engine, key, verify, progress
        self._frontier = Frontier()
        self._nodes: dict[int, list[bytes]] = {}
        self._next: dict[str, tuple[int, str]] = {}
        self._batch, self._batches = _Batch(), 0
        # One snapshot of what changes. Leaves are read afterwards, up to its head: they only ever grow.
        with reading(engine) as connection:
            self._head = read_head(connection)
            self._shards = connection.execute(select(tables.shards)).all()
            self._signed_heads = connection.execute(select(tables.checkpoints)).all()
            rows = connection.execute(select(tables.tiles)).all()
        self._stored_tiles = {(row.level, row.number): bytes(row.hashes) for row in rows}

    def run(self) -> Iterator[Finding]:
        signed = {row.size: row for row in self._signed_heads}
        for row in self._rows():
            yield from self._leaf(row)
            self._progress(self._frontier.size, self._head.size if self._head else 0)
            if (head := signed.pop(self._frontier.size, None)) is not None:
                yield from self._signed(head)
        for size in sorted(signed):
            yield Finding("checkpoint", str(size), f"was signed, and the log has {self._frontier.size} leaves")
        yield from self._tiles()
        yield from self._at_the_end()

    def _rows(self) -> Iterator[Any]:
        start = 0
        while True:
            page = select(tables.leaves).where(tables.leaves.c.leaf >= start).order_by(tables.leaves.c.leaf).limit(PAGE)
            with reading(self._engine) as connection:
                rows = connection.execute(page).all()
            end = self._head.size if self._head else None
            for row in rows:
                if end is not None and row.leaf >= end and self._has_grown():
                    return
                yield row
            if not rows:
                return
            start = rows[-1].leaf + 1

    def _has_grown(self) -> bool:
        """Whether the log was appended to since the snapshot; otherwise there is nothing beyond its head."""
        now = AuditLog(self._engine).head()
        return now is not None and self._head is not None and now.size > self._head.size

    def _leaf(self, row: Any) -> Iterator[Finding]:
        entry, where = bytes(row.entry), f"entry {row.leaf}"
        if row.leaf != self._frontier.size:
            yield Finding("entries", where, f"follows entry {self._frontier.size - 1}: what is between was removed")
        try:
            found = read_entry(entry)
        except EntryInvalid as error:
            yield Finding("entries", where, str(error))
        else:
            yield from self._seal(found, where) if isinstance(found, Seal) else self._record(found, entry, row, where)
        self._frontier.append(leaf_hash(entry), self._note)

    def _note(self, height: int, _index: int, found: bytes) -> None:
        if height % HEIGHT == 0:
            self._nodes.setdefault(height // HEIGHT, []).append(found)

    def _record(self, found: RecordEntry, entry: bytes, row: Any, where: str) -> Iterator[Finding]:
        try:
            document = orjson.loads(found.value)
            shard, sequence, source = document["shard"], int(document["sequence"]), document["source"]
            said = (shard, sequence, document["id"], document["type"], document["subject"], document["actor"], document["time"])
        except (ValueError, KeyError, TypeError) as error:
            yield Finding("entries", where, f"holds no record: {error!r}")
            return
        if said != (row.shard, row.sequence, row.event, row.type, row.stream, row.actor, row.time):
            yield Finding("index", where, "is listed under other names than its bytes say")
        if not self._verify(source, found.value, found.signature):
            yield Finding("signature", where, f"{source} did not sign the record {shard} {sequence}")
        expected, last_hash = self._next.get(shard, (0, ZERO_HASH))
        if sequence != expected:
            yield Finding("sequence", where, f"is {shard} {sequence}, and {expected} is next")
        if document["prevhash"] != last_hash:
            yield Finding("chain", where, f"{shard} {sequence} does not name the hash of the record before it")
        digest = sha256(found.value).hexdigest()
        self._next[shard] = (sequence + 1, digest)
        self._batch.shards.setdefault(shard, []).append(Timed(document["time"], sequence, entry))
        self._batch.heads[shard] = digest
        self._batch.order.append(entry)

    def _seal(self, seal: Seal, where: str) -> Iterator[Finding]:
        batch, self._batch = self._batch, _Batch(first=self._frontier.size + 1)
        cuts = tuple(
            Cut(shard, records[0].sequence, records[-1].sequence + 1, batch.heads[shard])
            for shard, records in sorted(batch.shards.items())
        )
        if (seal.batch, seal.first) != (self._batches, batch.first):
            yield Finding("seal", where, f"seals batch {seal.batch} from {seal.first}, {self._batches} begins at {batch.first}")
        if seal.cuts != cuts:
            yield Finding("seal", where, "names other records than stand before it")
        if batch.order != [timed.entry for timed in merged(batch.shards)]:
            yield Finding("order", where, "the records before it are in another order than the rule's")
        self._batches += 1

    def _signed(self, row: Any) -> Iterator[Finding]:
        where, root = f"checkpoint {row.size}", self._frontier.root()
        try:
            checkpoint, _ = open_checkpoint(row.note.encode(), self._key)
        except NoteInvalid as error:
            yield Finding("checkpoint", where, str(error))
            return
        if (checkpoint.size, checkpoint.root) != (row.size, root) or bytes(row.root) != root:
            yield Finding("checkpoint", where, "was signed with another root than the entries have: history was rewritten")

    def _tiles(self) -> Iterator[Finding]:
        found = dict(self._stored_tiles)
        for level, hashes in sorted(self._nodes.items()):
            for index in range((len(hashes) + WIDTH - 1) // WIDTH):
                wanted = b"".join(hashes[index * WIDTH : (index + 1) * WIDTH])
                raw = found.pop((level, index), b"")
                if raw != wanted:
                    yield Finding(
                        "tile", f"tile/{level}/{index}", f"has {len(raw) // HASH_BYTES} hashes, or others than follow"
                    )
        for level, index in sorted(found):
            yield Finding("tile", f"tile/{level}/{index}", "should not be there")

    def _at_the_end(self) -> Iterator[Finding]:
        head, size, roots = self._head, self._frontier.size, self._frontier.roots
        if head is None:
            if size:
                yield Finding("head", "head", "is missing")
            return
        if (head.size, head.batch, head.frontier.roots) != (size, self._batches, roots):
            yield Finding(
                "head", "head", f"says {head.size} leaves in {head.batch} batches, there are {size} in {self._batches}"
            )
        for row in self._shards:
            if (row.next, row.last_hash) != self._next.get(row.shard, (0, ZERO_HASH)):
                yield Finding(
                    "position", row.shard, f"stands at {row.next}, the log's next is {self._next.get(row.shard, (0,))[0]}"
                )
