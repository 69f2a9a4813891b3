"""Reading the log: its head, its tiles and entries, where an event is, and the proof of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from adapters.audit import tables
from adapters.sql import reading
from adapters.tlog.proofs import TlogProof
from adapters.tlog.tiles import Tile, TiledTree, pack_entries
from adapters.tlog.tree import EMPTY_ROOT, HASH_BYTES, Frontier


class NotInLog(LookupError):
    """The log has no such entry, tile or checkpoint, or no checkpoint covers it yet."""


@dataclass(frozen=True, slots=True)
class Head:
    """The tree as it is in the database, signed or not."""

    network: str
    size: int
    batch: int
    frontier: Frontier

    @property
    def root(self) -> bytes:
        return self.frontier.root()


class AuditLog:
    """One log, to read. Every method is a snapshot of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def head(self) -> Head | None:
        """None before anything was appended."""
        with reading(self.engine) as connection:
            return read_head(connection)

    def tree(self, size: int) -> TiledTree:
        """The tree as it was at that size."""
        return TiledTree(self.tile, size)

    def root(self, size: int) -> bytes:
        """The root at that size, computed from tiles."""
        return self.tree(size).root() if size else EMPTY_ROOT

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile, or of a bundle of entries. Raises NotInLog."""
        with reading(self.engine) as connection:
            if tile.level is None:
                return self._bundle(connection, tile)
            where = (tables.tiles.c.level == tile.level) & (tables.tiles.c.number == tile.index)
            found = connection.execute(select(tables.tiles.c.hashes).where(where)).scalar()
        if found is None or len(found) < tile.width * HASH_BYTES:
            raise NotInLog(f"the log has no {tile.path}")
        return bytes(found)[: tile.width * HASH_BYTES]

    def entry(self, index: int) -> bytes:
        """The leaf's bytes. Raises NotInLog."""
        with reading(self.engine) as connection:
            found = connection.execute(select(tables.leaves.c.entry).where(tables.leaves.c.leaf == index)).scalar()
        if found is None:
            raise NotInLog(f"the log has no entry {index}")
        return bytes(found)

    def index_of(self, event: str) -> int:
        """Where the event with that id is. Raises NotInLog."""
        with reading(self.engine) as connection:
            found = connection.execute(select(tables.leaves.c.leaf).where(tables.leaves.c.event == event)).scalar()
        if found is None:
            raise NotInLog(f"no event {event} is in the log")
        return int(found)

    def event_at(self, index: int) -> str:
        """The id of the event in that entry. Raises NotInLog, also where the entry is a seal."""
        where = (tables.leaves.c.leaf == index) & (tables.leaves.c.shard != "")
        with reading(self.engine) as connection:
            found = connection.execute(select(tables.leaves.c.event).where(where)).scalar()
        if found is None:
            raise NotInLog(f"entry {index} holds no event")
        return str(found)

    def checkpoint(self, covering: int = 0) -> tuple[int, str]:
        """The newest signed head, of more leaves than `covering`: its size and its note. Raises NotInLog."""
        statement = select(tables.checkpoints.c.size, tables.checkpoints.c.note).order_by(tables.checkpoints.c.size.desc())
        with reading(self.engine) as connection:
            row = connection.execute(statement.limit(1)).first()
        if row is None or row.size <= covering:
            raise NotInLog(f"no signed checkpoint covers entry {covering} yet")
        return row.size, row.note

    def positions(self) -> dict[str, int]:
        """Each shard's next sequence."""
        with reading(self.engine) as connection:
            return {row.shard: row.next for row in connection.execute(select(tables.shards.c.shard, tables.shards.c.next))}

    def checkpoint_size(self) -> int:
        """The size of the newest signed head; 0 before there is one."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.max(tables.checkpoints.c.size))).scalar() or 0

    def is_signed(self) -> bool:
        """Whether a checkpoint covers all that there is."""
        with reading(self.engine) as connection:
            head = read_head(connection)
        return head is not None and head.size == self.checkpoint_size()

    def prove(self, index: int) -> TlogProof:
        """That the entry is in the newest signed tree. Raises NotInLog."""
        size, note = self.checkpoint(covering=index)
        return TlogProof(index, self.tree(size).inclusion(index), note)

    def _bundle(self, connection: Connection, tile: Tile) -> bytes:
        leaves = tables.leaves.c
        first = tile.index * 256
        where = (leaves.leaf >= first) & (leaves.leaf < first + tile.width)
        entries = list(connection.scalars(select(leaves.entry).where(where).order_by(leaves.leaf)))
        if len(entries) < tile.width:
            raise NotInLog(f"the log has no {tile.path}")
        return pack_entries(map(bytes, entries))


def read_head(connection: Connection, *, lock: bool = False) -> Head | None:
    """The head's row; locked, nobody else appends until the transaction ends."""
    statement: Any = select(tables.head)
    row = connection.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        return None
    raw = bytes(row.roots)
    roots = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
    return Head(row.network, row.size, row.batch, Frontier(row.size, roots))
