"""Reading the log: its head, its tiles and entries, where an event is, and the proof of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, bindparam, func, or_, select

from adapters.audit import tables
from adapters.sql import reading
from adapters.tlog.proofs import TlogProof
from adapters.tlog.tiles import WIDTH, Tile, TiledTree, pack_entries
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
        return TiledTree(self.tiles, size)

    def root(self, size: int) -> bytes:
        """The root at that size, computed from tiles."""
        return self.tree(size).root() if size else EMPTY_ROOT

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile, or of a bundle of entries. Raises NotInLog."""
        return self.tiles([tile])[0]

    def tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """As `tile`, of one snapshot. Raises NotInLog for the first that is not there."""
        with reading(self.engine) as connection:
            return _read(connection, tiles)

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
        with reading(self.engine) as connection:
            return _checkpoint(connection, covering)

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
        with reading(self.engine) as connection:
            size, note = _checkpoint(connection, covering=index)
            tree = TiledTree(partial(_read, connection), size)
            return TlogProof(index, tree.inclusion(index), note)


_CHECKPOINT: Final = (
    select(tables.checkpoints.c.size, tables.checkpoints.c.note).order_by(tables.checkpoints.c.size.desc()).limit(1)
)


@lru_cache(maxsize=64)
def _tiles(count: int) -> Select[Any]:
    """So many tiles, by `level0`, `number0` and so on."""
    # SQLite answers `(level, number) in (...)` with a scan of the whole table, and this from the index.
    columns = tables.tiles.c
    places = [(columns.level == bindparam(f"level{n}")) & (columns.number == bindparam(f"number{n}")) for n in range(count)]
    return select(tables.tiles).where(or_(*places))


def _checkpoint(connection: Connection, covering: int) -> tuple[int, str]:
    row = connection.execute(_CHECKPOINT).first()
    if row is None or row.size <= covering:
        raise NotInLog(f"no signed checkpoint covers entry {covering} yet")
    return row.size, row.note


def _read(connection: Connection, tiles: Sequence[Tile]) -> list[bytes]:
    """Whatever number of tiles of hashes in one round trip."""
    places = [(tile.level, tile.index) for tile in tiles if tile.level is not None]
    named = {f"{name}{n}": at for n, place in enumerate(places) for name, at in zip(("level", "number"), place, strict=True)}
    rows = connection.execute(_tiles(len(places)), named) if places else ()
    stored: dict[tuple[int | None, int], bytes] = {(row.level, row.number): row.hashes for row in rows}
    return [
        _bundle(connection, tile) if tile.level is None else _beginning(tile, stored.get((tile.level, tile.index), b""))
        for tile in tiles
    ]


def _beginning(tile: Tile, hashes: bytes) -> bytes:
    if len(hashes) < tile.width * HASH_BYTES:
        raise NotInLog(f"the log has no {tile.path}")
    return bytes(hashes[: tile.width * HASH_BYTES])


def _bundle(connection: Connection, tile: Tile) -> bytes:
    leaves = tables.leaves.c
    first = tile.index * WIDTH
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
