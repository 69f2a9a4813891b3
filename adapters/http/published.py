"""What of the log may be shown: nothing beyond the newest signed head. Tiles are kept in memory, since they never change."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final, NamedTuple

from sqlalchemy import select

from adapters.audit import AuditLog, tables
from adapters.audit.cosignatures import Cosignature, cosignatures_of, newest_witnessed, note_of, standing_refusal
from adapters.audit.log import NotInLog
from adapters.audit.policy import Policy
from adapters.sql import reading
from adapters.tlog.proofs import TlogProof
from adapters.tlog.submissions import Submission
from adapters.tlog.tiles import CACHED_TILES, HEIGHT, WIDTH, Fetch, Tile, TiledTree

CACHED_BYTES: Final = 64 << 20
LOOK_SECONDS: Final = 1.0
"""Heads are signed at most so often: a newer witnessed one is not looked for more often either."""


class Kept(NamedTuple):
    """A tile or a bundle, and what tells it from any other."""

    raw: bytes
    tag: str


class ShardState(NamedTuple):
    name: str
    next: int
    is_halted: bool


class Overview(NamedTuple):
    """The newest signed head, with what a reader wants to know of it."""

    note: str
    size: int
    newest_record: str | None
    """Its RFC 3339 time."""
    cosignatures: list[Cosignature]
    witnessed: int | None
    shards: list[ShardState]
    is_refused: bool


class Published:
    """One log and the policy that its witnesses follow. Methods read the database: from threads, any number at a time."""

    def __init__(self, log: AuditLog, policy: Policy | None = None, *, cached_bytes: int = CACHED_BYTES) -> None:
        self.log, self.policy = log, policy
        self._kept = _Kept(CACHED_TILES, cached_bytes)
        self._signed = 0
        self._witnessed: tuple[int, str] | None = None
        self._looked_at = -LOOK_SECONDS
        self._looking = Lock()

    def checkpoint(self) -> tuple[int, str]:
        """The newest signed head: its size and note. Raises NotInLog."""
        size, note = self.log.checkpoint()
        self._signed = max(self._signed, size)
        return size, note

    def tile(self, tile: Tile) -> Kept:
        """A tile or a bundle that a signed head covers. Raises NotInLog."""
        needed = tile.index * WIDTH + tile.width << HEIGHT * (tile.level or 0)
        if needed > self._signed and needed > self.checkpoint()[0]:
            raise NotInLog(f"no signed checkpoint covers {tile.path} yet")
        return self._kept.get([tile], self.log.tiles)[0]

    def proof(self, index: int, size: int | None = None) -> TlogProof:
        """That the entry is in the head of that size, else in the newest witnessed one, else in the newest.

        Raises NotInLog where there is no such head, IndexError where it does not cover the entry.
        """
        size, note = self._covering(index) if size is None else (size, self._cosigned(size))
        return TlogProof(index, self._tree(size).inclusion(index), note)

    def consistency(self, old: int, new: int | None = None) -> Submission:
        """That the tree of `old` leaves is a prefix of a signed one's. Raises NotInLog, IndexError as `proof` does."""
        size, note = self.checkpoint() if new is None else (new, self._cosigned(new))
        return Submission(old, self._tree(size).consistency(old), note)

    def witnessed(self) -> tuple[int, str]:
        """The newest head that meets the policy, with its cosignatures. Raises NotInLog."""
        if self.policy is None:
            raise NotInLog("this log has no policy: its heads are signed by nobody but the log")
        with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                above = self._witnessed[0] if self._witnessed else -1
                self._witnessed = newest_witnessed(self.log.engine, self.policy, above) or self._witnessed
                self._looked_at = time.monotonic()
        if self._witnessed is None:
            raise NotInLog("no head meets the policy yet: its witnesses have not cosigned, or not enough of them")
        return self._witnessed

    def overview(self) -> Overview:
        """Raises NotInLog."""
        size, note = self.checkpoint()
        cosigned = cosignatures_of(self.log.engine, self.policy, size) if self.policy else []
        try:
            witnessed = self.witnessed()[0]
        except NotInLog:
            witnessed = None
        refused = standing_refusal(self.log.engine) is not None
        return Overview(note, size, self._newest_record(size), cosigned, witnessed, self._shards(), refused)

    def _covering(self, index: int) -> tuple[int, str]:
        if self.policy is not None and self.policy.quorum is not None:
            try:
                if (found := self.witnessed())[0] > index:
                    return found
            except NotInLog:
                pass
        return self.checkpoint()

    def _cosigned(self, size: int) -> str:
        """The head of exactly that size with what cosignatures it has."""
        lines = cosignatures_of(self.log.engine, self.policy, size) if self.policy else []
        return note_of(self.log.engine, size) + "".join(cosignature.line for cosignature in lines)

    def _tree(self, size: int) -> TiledTree:
        return TiledTree(lambda tiles: [kept.raw for kept in self._kept.get(tiles, self.log.tiles)], size)

    def _newest_record(self, size: int) -> str | None:
        leaves = tables.leaves.c
        statement = select(leaves.time).where(leaves.leaf < size, leaves.time != "").order_by(leaves.leaf.desc()).limit(1)
        with reading(self.log.engine) as connection:
            return connection.execute(statement).scalar()

    def _shards(self) -> list[ShardState]:
        shards = tables.shards.c
        with reading(self.log.engine) as connection:
            rows = connection.execute(select(shards.shard, shards.next, shards.halted).order_by(shards.shard)).all()
        return [ShardState(row.shard, row.next, row.halted is not None) for row in rows]


class _Kept:
    """What was used last, up to a number of tiles and of bytes. A partial tile never changes either: its width names it."""

    def __init__(self, tiles: int, size_bytes: int) -> None:
        self._tiles, self._bytes_allowed, self._bytes = tiles, size_bytes, 0
        self._found: OrderedDict[Tile, Kept] = OrderedDict()
        self._lock = Lock()

    def get(self, tiles: Sequence[Tile], fetch: Fetch) -> list[Kept]:
        with self._lock:
            found = {tile: self._found[tile] for tile in tiles if tile in self._found}
            for tile in found:
                self._found.move_to_end(tile)
        missing = [tile for tile in tiles if tile not in found]
        fetched = {tile: Kept(raw, _tag(raw)) for tile, raw in zip(missing, fetch(missing) if missing else (), strict=True)}
        with self._lock:
            for tile, kept in fetched.items():
                self._keep(tile, kept)
        found |= fetched
        return [found[tile] for tile in tiles]

    def _keep(self, tile: Tile, kept: Kept) -> None:
        if tile in self._found:
            return
        self._found[tile] = kept
        self._bytes += len(kept.raw)
        while len(self._found) > self._tiles or self._bytes > self._bytes_allowed:
            _, gone = self._found.popitem(last=False)
            self._bytes -= len(gone.raw)


def _tag(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]
