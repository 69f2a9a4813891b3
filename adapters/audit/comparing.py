"""The log against what it is of: the topics and the event store must hold the same bytes, the registry the same authority."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson
from aiokafka import TopicPartition
from sqlalchemy import Engine, select, text

from adapters.audit import tables
from adapters.audit.checking import Finding
from adapters.kafka.bare import bare_consumer
from adapters.sql import reading
from adapters.tlog.entries import record_entry

PAGE = 2_000


def entries_of(engine: Engine, shard: str) -> Iterator[tuple[int, int, bytes]]:
    """A shard's `(sequence, leaf, entry)`, in their order."""
    leaves, start = tables.leaves.c, 0
    while True:
        where = (leaves.shard == shard) & (leaves.sequence >= start)
        page = select(leaves.sequence, leaves.leaf, leaves.entry).where(where).order_by(leaves.sequence).limit(PAGE)
        with reading(engine) as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield row.sequence, row.leaf, bytes(row.entry)
        if len(rows) < PAGE:
            return
        start = rows[-1].sequence + 1


def shards_of(engine: Engine) -> list[str]:
    """The shards that the log holds."""
    with reading(engine) as connection:
        return list(connection.scalars(select(tables.shards.c.shard).order_by(tables.shards.c.shard)))


async def compare_topics(engine: Engine, client: Mapping[str, Any]) -> AsyncIterator[Finding]:
    """Every record that the log holds, byte for byte, in its topic; also what is there twice with other bytes."""
    async with bare_consumer(client, max_poll_records=5_000) as consumer:
        for shard in shards_of(engine):
            topic, _, partition = shard.rpartition("/")
            published = await _published(consumer, TopicPartition(topic, int(partition)))
            for finding in _compared("topic", shard, entries_of(engine, shard), published):
                yield finding


def compare_store(engine: Engine, store: Engine) -> Iterator[Finding]:
    """Every record that the log holds, byte for byte, in the event store."""
    for shard in shards_of(engine):
        yield from _compared("store", shard, entries_of(engine, shard), _stored(store, shard))


def _compared(
    check: str, shard: str, entries: Iterable[tuple[int, int, bytes]], there: dict[int, set[bytes]]
) -> Iterator[Finding]:
    last = -1
    for sequence, leaf, entry in entries:
        last = sequence
        where = f"{shard} {sequence} (entry {leaf})"
        if (copies := there.get(sequence)) is None:
            yield Finding(check, where, "is in the log and not there")
        elif copies != {sha256(entry).digest()}:
            yield Finding(check, where, "has other bytes there, or another signature")
    # What is newer than the log has yet to be read; a sequence below it that the log lacks cannot be.
    for sequence in sorted(number for number in there if number < 0):
        yield Finding(check, f"{shard} offset {-sequence - 1}", f"is there and is no record of this shard (log's last: {last})")


async def _published(consumer: Any, place: TopicPartition) -> dict[int, set[bytes]]:
    """Sequence to the hashes of the records that claim it; what claims none stands under minus its offset minus one."""
    found: dict[int, set[bytes]] = {}
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    await consumer.seek_to_beginning(place)
    while await consumer.position(place) < end:
        for record in (await consumer.getmany(place, timeout_ms=1_000)).get(place, []):
            signature = (dict(record.headers).get("signature") or b"").decode("ascii", "replace")
            sequence = _sequence(record.value or b"", f"{place.topic}/{place.partition}")
            copies = found.setdefault(-record.offset - 1 if sequence is None else sequence, set())
            copies.add(sha256(record_entry(signature, record.value or b"")).digest())
    return found


def _sequence(value: bytes, shard: str) -> int | None:
    try:
        document = orjson.loads(value)
        return int(document["sequence"]) if document["shard"] == shard else None
    except (ValueError, KeyError, TypeError):
        return None


def _stored(store: Engine, shard: str) -> dict[int, set[bytes]]:
    statement = text(
        "select e.sequence, e.value, e.signature from events e join shards s on s.id = e.shard "
        "where s.context = :context and s.partition = :partition"
    )
    topic, _, partition = shard.rpartition("/")
    with reading(store) as connection:
        rows = connection.execute(statement, {"context": topic.removesuffix(".events"), "partition": int(partition)})
        return {row.sequence: {sha256(record_entry(row.signature, bytes(row.value))).digest()} for row in rows}
