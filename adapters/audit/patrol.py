"""Reading the running log back: one random entry, its proof and a random tile at a time, held against the last signed head.

A look at a tile of the lowest level reads its 256 entries, so a changed entry of a log of n is found in about n / 256 looks.
For what does not fit the signing can be stopped, as by a witness's refusal: until an operator has looked into it.
"""

import re
import time
from collections.abc import Iterator
from hashlib import sha256
from random import Random, SystemRandom
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Engine, select

from adapters.audit import tables
from adapters.audit.checking import Finding, Verify
from adapters.audit.cosignatures import Refusal, last_refusal, record_refusal_after, standing_refusal
from adapters.audit.log import AuditLog, NotInLog
from adapters.sql import reading
from adapters.telemetry import counter
from adapters.tlog.checkpoints import Checkpoint, open_checkpoint
from adapters.tlog.entries import EntryInvalid, RecordEntry, read_entry
from adapters.tlog.notes import NoteInvalid, NoteKey
from adapters.tlog.tiles import HEIGHT, WIDTH, TilesInconsistent, tile_of, unpack_entries
from adapters.tlog.tree import HASH_BYTES, ProofInvalid, leaf_hash, root_of, verify_inclusion

LOOKS = ("spaceos.audit.patrol.looks", "{look}", "Random places of the audit log that were read back and verified")
TAMPERING = ("spaceos.audit.tampering", "{finding}", "Places of the audit log that were not as they were written")

PATROL: Final = "patrol"
"""Stands for a witness where it refuses a head."""
STATUS: Final = 422
"""What a witness answers to a root that does not fit (c2sp.org/tlog-witness)."""
NO_SHARD: Final = "log"
"""Under this name is reported what belongs to no shard: a seal, a tile, a head."""

_SHARD = re.compile(r"[a-z][a-z0-9]*\.events/[0-9]{1,5}")


class Tampering(NamedTuple):
    """What was found, the shard that it is reported under, the entry (of a tile the first) and what stands there now."""

    finding: Finding
    shard: str
    entry: int
    evidence: str
    """SHA-256, hexadecimal, of the bytes that do not fit; of no bytes where nothing is there."""

    @property
    def text(self) -> str:
        return f"{self.finding.check}: {self.finding.where} {self.finding.text}"


class Patrol:
    """Looks at one log. Raises SQLAlchemy's errors."""

    def __init__(self, engine: Engine, key: NoteKey, verify: Verify, *, chance: Random | None = None) -> None:
        """`verify` says whether a record's source may write and has signed it."""
        self._engine, self._key, self._verify = engine, key, verify
        # Nobody shall know where the next look falls.
        self._log, self._chance = AuditLog(engine), chance or SystemRandom()
        self._size, self._known = 0, 0

    def turn(self) -> list[Tampering]:
        """One look: what does not fit."""
        self._known = last_refusal(self._engine)
        found = list(self._look())
        counter(LOOKS).add(1)
        if found:
            counter(TAMPERING).add(len(found))
        return found

    def is_distrusted(self) -> bool:
        """Whether something was found, here or by a witness, that nobody has looked into yet."""
        return standing_refusal(self._engine) is not None

    def distrust(self, found: Tampering, posix_seconds: int | None = None) -> None:
        """Nothing more is signed, unless that was so already or an operator has looked into it since the look began."""
        now = round(time.time()) if posix_seconds is None else posix_seconds
        record_refusal_after(self._engine, Refusal(now, self._size, PATROL, STATUS, found.text), self._known)

    def _look(self) -> Iterator[Tampering]:
        try:
            size, note = self._log.checkpoint()
        except NotInLog:
            return
        self._size = size
        try:
            head, _ = open_checkpoint(note.encode(), self._key)
        except NoteInvalid as error:
            yield Tampering(Finding("checkpoint", str(size), str(error)), NO_SHARD, size, _digest(note.encode()))
            return
        yield from self._entry(self._chance.randrange(head.size), head)
        yield from self._tile(head.size)

    def _entry(self, index: int, head: Checkpoint) -> Iterator[Tampering]:
        where = f"entry {index}"
        with reading(self._engine) as connection:
            row = connection.execute(select(tables.leaves).where(tables.leaves.c.leaf == index)).first()
        if row is None:
            yield Tampering(Finding("entries", where, "is not there"), NO_SHARD, index, _digest(b""))
            return
        entry = bytes(row.entry)
        shard = row.shard if _SHARD.fullmatch(row.shard) else NO_SHARD
        for check, text in (*self._proof(index, entry, head), *self._record(row, entry)):
            yield Tampering(Finding(check, where, text), shard, index, _digest(entry))

    def _proof(self, index: int, entry: bytes, head: Checkpoint) -> Iterator[tuple[str, str]]:
        try:
            path = self._log.tree(head.size).inclusion(index)
            verify_inclusion(leaf_hash(entry), index, head.size, path, head.root)
        except (ProofInvalid, NotInLog, TilesInconsistent) as error:
            yield "proof", f"is not proved by the head of {head.size} entries: {error}"

    def _record(self, row: Any, entry: bytes) -> Iterator[tuple[str, str]]:
        try:
            found = read_entry(entry)
            if not isinstance(found, RecordEntry):
                return
            document = orjson.loads(found.value)
            names = ("shard", "id", "type", "subject", "actor", "time")
            said = (int(document["sequence"]), *(document[name] for name in names))
            is_signed = self._verify(document["source"], found.value, found.signature)
        except (EntryInvalid, ValueError, KeyError, TypeError) as error:
            yield "entries", f"holds neither a record nor a seal: {error}"
            return
        if not is_signed:
            yield "signature", "was not signed by a writer of this network"
        if said != (row.sequence, row.shard, row.event, row.type, row.stream, row.actor, row.time):
            yield "index", "is listed under other names than its bytes say"

    def _tile(self, size: int) -> Iterator[Tampering]:
        """All hashes of a tile of the lowest level; of a higher one a random hash, since each is of a whole tile below."""
        level = self._chance.randrange((size.bit_length() - 1) // HEIGHT + 1)
        tile = tile_of(level, self._chance.randrange(((size >> HEIGHT * level) + WIDTH - 1) // WIDTH), size)
        at = 0 if level == 0 else self._chance.randrange(tile.width)
        raw, text = b"", "does not follow from what is below it"
        try:
            raw = self._log.tile(tile)
            wanted, stored = self._below(level, tile.index, at, size), raw[at * HASH_BYTES :]
            is_right = stored == wanted if level == 0 else stored[:HASH_BYTES] == wanted
        except (NotInLog, TilesInconsistent) as error:
            is_right, text = False, str(error)
        if not is_right:
            first = tile.index * WIDTH << HEIGHT * level
            yield Tampering(Finding("tile", tile.path, text), NO_SHARD, first, _digest(raw))

    def _below(self, level: int, number: int, at: int, size: int) -> bytes:
        """What the tile's hashes, or the one at a place of a higher tile, must be."""
        if level == 0:
            bundle = self._log.tile(tile_of(None, number, size))
            return b"".join(leaf_hash(entry) for entry in unpack_entries(bundle))
        below = self._log.tile(tile_of(level - 1, number * WIDTH + at, size))
        return root_of(below[n : n + HASH_BYTES] for n in range(0, len(below), HASH_BYTES))


def _digest(raw: bytes) -> str:
    return sha256(raw).hexdigest()
