"""The log against what it is of: the topics and the event store must hold the same bytes, each record in its place.

What is newer than the log has yet to be read by it. So it need not be there, but it must continue the log: signed by a
writer, with the next sequence, naming the hash of the record before it.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from aiokafka import TopicPartition
from sqlalchemy import Engine, func, select, text

from adapters.audit import tables
from adapters.audit.checking import Finding, Verify
from adapters.kafka.bare import bare_consumer
from adapters.sql import reading
from adapters.tlog.entries import record_entry
from contracts import ZERO_HASH, shard_name

PAGE = 2_000
_STORED = text(
    "select e.sequence, e.stream, e.version, e.type, e.value, e.signature from events e join shards s on s.id = e.shard "
    "where s.context = :context and s.partition = :partition and e.sequence >= :start order by e.sequence limit :rows"
)


def entries_of(engine: Engine, shard: str, end: int) -> Iterator[tuple[int, int, bytes]]:
    """A shard's `(sequence, leaf, entry)` below the sequence `end`, in their order."""
    leaves, start = tables.leaves.c, 0
    while True:
        where = (leaves.shard == shard) & (leaves.sequence >= start) & (leaves.sequence < end)
        page = select(leaves.sequence, leaves.leaf, leaves.entry).where(where).order_by(leaves.sequence).limit(PAGE)
        with reading(engine) as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield row.sequence, row.leaf, bytes(row.entry)
        if len(rows) < PAGE:
            return
        start = rows[-1].sequence + 1


def ends_of(engine: Engine) -> dict[str, int]:
    """Of each shard that has entries the sequence after its last one, whatever the table of positions says."""
    leaves = tables.leaves.c
    last = select(leaves.shard, func.max(leaves.sequence)).where(leaves.shard != "").group_by(leaves.shard)
    with reading(engine) as connection:
        return {row[0]: row[1] + 1 for row in connection.execute(last.order_by(leaves.shard))}


def compare_positions(engine: Engine) -> Iterator[Finding]:
    """Every shard that has entries has a position. What a position says is checked with the log itself."""
    ends = ends_of(engine)
    with reading(engine) as connection:
        known = set(connection.scalars(select(tables.shards.c.shard)))
    for shard in sorted(ends.keys() - known):
        yield Finding("position", shard, f"has no position, and the log has its records to {ends[shard] - 1}")


async def compare_topics(
    engine: Engine, client: Mapping[str, Any], verify: Verify, topics: Collection[str] = ()
) -> AsyncIterator[Finding]:
    """Every record that the log holds, byte for byte, in its topic; also what a writer signed there besides, with other bytes.

    What nobody entitled signed was passed over by everybody who reads the topic, and says nothing of the log.
    `topics` are those of which the log holds everything, sooner or later.
    """
    ends = ends_of(engine)
    async with bare_consumer(client, max_poll_records=5_000) as consumer:
        cluster = await consumer._client.fetch_all_metadata()
        there = {shard_name(topic, n): 0 for topic in topics for n in cluster.partitions_for_topic(topic) or ()}
        places = {shard: _place(shard) for shard in sorted(there | ends)}
        offsets = await consumer.end_offsets([place for place in places.values() if _is_there(cluster, place)])
        for shard, place in places.items():
            end = ends.get(shard, 0)
            logged = {sequence: sha256(entry).digest() for sequence, _, entry in entries_of(engine, shard, end)}
            published = await _published(consumer, place, offsets.get(place, 0), _Copy(shard, end, logged, verify))
            for finding in _compared("topic", shard, entries_of(engine, shard, end), published, verify):
                yield finding


def _place(shard: str) -> TopicPartition:
    topic, _, partition = shard.rpartition("/")
    return TopicPartition(topic, int(partition))


def _is_there(cluster: Any, place: TopicPartition) -> bool:
    return place.partition in (cluster.partitions_for_topic(place.topic) or ())


def compare_store(engine: Engine, store: Engine, verify: Verify) -> Iterator[Finding]:
    """Every record that the log holds, byte for byte, in the event store."""
    ends = ends_of(engine)
    for shard, end in sorted((dict.fromkeys(_stored_shards(store), 0) | ends).items()):
        yield from _compared("store", shard, entries_of(engine, shard, end), _stored(store, shard, end), verify)


@dataclass
class _Copy:
    """A shard as it is elsewhere. `end` is the log's next sequence of it."""

    shard: str
    end: int
    logged: Mapping[int, bytes] = field(default_factory=dict)
    """By sequence: of the log's entries, whose signatures were verified."""
    signed: Verify | None = None
    """Where strangers may write: what else counts only if a writer signed it."""
    hashes: dict[int, set[bytes]] = field(default_factory=dict)
    """By sequence: of the records that claim it."""
    newer: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """Signature and value, from `end` on."""
    wrong: list[tuple[str, str]] = field(default_factory=list)
    """`(where, what)` of records that need not be compared to be wrong."""
    _highest: int = -1

    def add(self, where: str, signature: str, value: bytes) -> None:
        sequence = _sequence(value, self.shard)
        if self.signed is not None and (sequence is None or not self._counts(sequence, signature, value)):
            return
        if sequence is None:
            self.wrong.append((where, "is there and is no record of this shard"))
            return
        if sequence not in self.hashes and sequence < self._highest:
            self.wrong.append((f"{self.shard} {sequence}", f"stands behind {self._highest} there"))
        self._highest = max(self._highest, sequence)
        self.hashes.setdefault(sequence, set()).add(_hash(signature, value))
        if sequence >= self.end:
            self.newer[sequence] = signature, value

    def _counts(self, sequence: int, signature: str, value: bytes) -> bool:
        if self.logged.get(sequence) == _hash(signature, value):
            return True
        return self.signed is not None and self.signed(str(orjson.loads(value).get("source")), value, signature)


def _compared(
    check: str, shard: str, entries: Iterable[tuple[int, int, bytes]], there: _Copy, verify: Verify
) -> Iterator[Finding]:
    last_hash = ZERO_HASH
    for sequence, leaf, entry in entries:
        where = f"{shard} {sequence} (entry {leaf})"
        if (copies := there.hashes.get(sequence)) is None:
            yield Finding(check, where, "is in the log and not there")
        elif copies != {sha256(entry).digest()}:
            yield Finding(check, where, "has other bytes there, or another signature")
        last_hash = sha256(entry.partition(b"\n")[2].partition(b"\n")[2]).hexdigest()
    for where, what in there.wrong:
        yield Finding(check, where, what)
    yield from _newer(check, there, last_hash, verify)


def _newer(check: str, there: _Copy, last_hash: str, verify: Verify) -> Iterator[Finding]:
    """What does not continue the log. The first is named: nothing behind it can be judged."""
    for expected, (sequence, (signature, value)) in enumerate(sorted(there.newer.items()), there.end):
        document = orjson.loads(value)
        what = None
        if sequence != expected:
            what = f"the log lacks {expected}, which would come before it"
        elif len(there.hashes[sequence]) > 1:
            what = "it is there twice, with other bytes"
        elif document.get("prevhash") != last_hash:
            what = "it does not name the hash of the record before it"
        elif not verify(str(document.get("source")), value, signature):
            what = "no writer of this network signed it"
        if what is not None:
            yield Finding(check, f"{there.shard} {sequence}", f"is newer than the log and does not continue it: {what}")
            return
        last_hash = sha256(value).hexdigest()


async def _published(consumer: Any, place: TopicPartition, end: int, found: _Copy) -> _Copy:
    """What stands before the offset `end`."""
    if not end:
        return found
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=1_000)).get(place, []):
            signature = (dict(record.headers).get("signature") or b"").decode("ascii", "replace")
            found.add(f"{found.shard} offset {record.offset}", signature, record.value or b"")
    return found


def _stored_shards(store: Engine) -> list[str]:
    """Those that have events."""
    statement = text("select context, partition from shards where id in (select distinct shard from events)")
    with reading(store) as connection:
        return [shard_name(f"{row.context}.events", row.partition) for row in connection.execute(statement)]


def _stored(store: Engine, shard: str, log_end: int) -> _Copy:
    topic, _, partition = shard.rpartition("/")
    where, found, start = {"context": topic.removesuffix(".events"), "partition": int(partition)}, _Copy(shard, log_end), 0
    while True:
        # Page after page: PostgreSQL ends a session that hashes for two seconds in its transaction.
        with reading(store) as connection:
            rows = connection.execute(_STORED, {**where, "start": start, "rows": PAGE}).all()
        for row in rows:
            place = f"{shard} row {row.sequence}"
            found.add(place, row.signature, bytes(row.value))
            if not _is_listed_as(row, bytes(row.value)):
                found.wrong.append((place, "is listed under other names than its bytes say"))
        if len(rows) < PAGE:
            return found
        start = rows[-1].sequence + 1


def _is_listed_as(row: Any, value: bytes) -> bool:
    try:
        document = orjson.loads(value)
        said = int(document["sequence"]), document["subject"], document["streamversion"], document["type"]
    except (ValueError, KeyError, TypeError):
        return False
    return bool(said == (row.sequence, row.stream, row.version, row.type))


def _sequence(value: bytes, shard: str) -> int | None:
    try:
        document = orjson.loads(value)
        sequence = int(document["sequence"])
    except (ValueError, KeyError, TypeError):
        return None
    return sequence if document.get("shard") == shard and sequence >= 0 else None


def _hash(signature: str, value: bytes) -> bytes:
    try:
        return sha256(record_entry(signature, value)).digest()
    except ValueError:
        # No entry can have these bytes.
        return b""
