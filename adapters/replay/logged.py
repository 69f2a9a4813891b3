"""The audit log's entries as a source: byte for byte what was published, also where Kafka has dropped it."""

from collections.abc import AsyncIterator, Collection

from sqlalchemy import Engine, func, select

from adapters.audit import tables
from adapters.audit.log import AuditLog
from adapters.replay.cuts import Cut
from adapters.replay.sources import PIECE_RECORDS, Published, RangeMissing
from adapters.sql import reading
from adapters.tlog.entries import RecordEntry, Seal, read_entry

_LEAVES = tables.leaves.c


class LogSource:
    """Reads the log's database. Each page is a snapshot of its own; entries never change."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def shards(self, topics: Collection[str]) -> list[str]:
        with reading(self.engine) as connection:
            known = connection.scalars(select(tables.shards.c.shard).order_by(tables.shards.c.shard))
            return [shard for shard in known if shard.rpartition("/")[0] in topics]

    async def ends(self, shards: Collection[str]) -> dict[str, int]:
        statement = select(_LEAVES.shard, func.max(_LEAVES.sequence)).where(_LEAVES.shard.in_(shards)).group_by(_LEAVES.shard)
        with reading(self.engine) as connection:
            found = {shard: last + 1 for shard, last in connection.execute(statement)}
        return {shard: found.get(shard, 0) for shard in shards}

    async def read(self, shard: str, start: int, end: int) -> AsyncIterator[list[Published]]:
        expected = start
        while expected < end:
            piece = self._page(shard, expected, min(end, expected + PIECE_RECORDS))
            if [record.sequence for record in piece] != list(range(expected, expected + len(piece))) or not piece:
                raise RangeMissing(f"the audit log does not hold {shard} from {expected} on, and {end} records were asked for")
            expected += len(piece)
            yield piece

    async def place_of(self, event: str, shards: Collection[str]) -> tuple[str, int] | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(_LEAVES.shard, _LEAVES.sequence).where(_LEAVES.event == event)).first()
        return (row.shard, row.sequence) if row is not None and row.shard in shards else None

    def cut_at(self, size: int) -> Cut:
        """What the seals among the first `size` leaves say. Raises RangeMissing where the log is shorter."""
        head = AuditLog(self.engine).head()
        if head is None or head.size < size:
            raise RangeMissing(
                f"the audit log has {0 if head is None else head.size} leaves, the checkpoint would be of {size}"
            )
        seals = select(_LEAVES.entry).where(_LEAVES.shard == "", _LEAVES.leaf < size).order_by(_LEAVES.leaf)
        cut: dict[str, int] = {}
        with reading(self.engine) as connection:
            for entry in connection.scalars(seals):
                seal = read_entry(bytes(entry))
                assert isinstance(seal, Seal)
                cut.update({place.shard: place.end for place in seal.cuts})
        return cut

    def _page(self, shard: str, start: int, end: int) -> list[Published]:
        statement = (
            select(_LEAVES.leaf, _LEAVES.sequence, _LEAVES.entry)
            .where(_LEAVES.shard == shard, _LEAVES.sequence >= start, _LEAVES.sequence < end)
            .order_by(_LEAVES.sequence)
        )
        with reading(self.engine) as connection:
            rows = connection.execute(statement).all()
        return [Published(row.leaf, row.sequence, *_parts(bytes(row.entry))) for row in rows]


def _parts(entry: bytes) -> tuple[bytes, str]:
    found = read_entry(entry)
    assert isinstance(found, RecordEntry)
    return found.value, found.signature
