"""What happened, counted from what is there: store, topics and views, each read by itself, and compared.

Nothing is taken from what the sender remembers. An exact repeat on a topic is what a publisher may leave behind when it is
killed; it is counted apart, because readers drop it. A duplicate is an event that exists twice under two numbers, or a row
that was applied twice.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import TopicPartition
from sqlalchemy import Engine, select

from adapters.kafka.bare import bare_consumer
from adapters.sql import reading, tables
from adapters.views.tables import positions
from contracts import ZERO_HASH


@dataclass
class Tally:
    """The demo's last word."""

    commands: int = 0
    accepted: int = 0
    refused: int = 0
    events: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    repeated_on_topics: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order or self.problems)

    def complain(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)


@dataclass
class _Stored:
    """The store by itself: each shard's event hashes in order, and the ids that outcomes promise."""

    hashes: dict[str, list[str]] = field(default_factory=dict)
    promised: dict[str, tuple[str, int]] = field(default_factory=dict)


async def tally(store: Engine, views: Engine, client: Mapping[str, Any], readers: Mapping[str, Sequence[str]]) -> Tally:
    """Count and compare. `readers` are the projections with the contexts that each reads."""
    result = Tally()
    stored = _read_store(store, result)
    on_topics = await _read_topics(client, stored, result)
    _compare_promises(stored, on_topics, result)
    _compare_views(views, readers, stored, result)
    return result


def _read_store(engine: Engine, result: Tally) -> _Stored:
    found = _Stored()
    events, commands, shards = tables.events, tables.commands, tables.shards
    with reading(engine) as connection:
        names = {row.id: f"{row.context}.events/{row.partition}" for row in connection.execute(select(shards))}
        found.hashes = {name: [] for name in names.values()}
        ids: set[str] = set()
        statement = select(events.c.shard, events.c.sequence, events.c.value).order_by(events.c.shard, events.c.sequence)
        for shard, sequence, value in connection.execute(statement.execution_options(yield_per=5000)):
            _count_event(found.hashes[names[shard]], names[shard], sequence, bytes(value), ids, result)
        for outcome in connection.scalars(select(commands.c.outcome).execution_options(yield_per=5000)):
            _count_outcome(orjson.loads(outcome), found, result)
    return found


def _count_event(hashes: list[str], shard: str, sequence: int, value: bytes, ids: set[str], result: Tally) -> None:
    document = orjson.loads(value)
    result.events += 1
    if sequence != len(hashes) or document["prevhash"] != (hashes[-1] if hashes else ZERO_HASH):
        result.out_of_order += 1
        result.complain(f"store: {shard} {sequence} does not follow {len(hashes) - 1}")
    if document["id"] in ids:
        result.duplicated += 1
        result.complain(f"store: event {document['id']} exists twice")
    ids.add(document["id"])
    hashes.append(hashlib.sha256(value).hexdigest())


def _count_outcome(document: Mapping[str, Any], found: _Stored, result: Tally) -> None:
    result.commands += 1
    data = document["data"]
    if refusal := data.get("refusal"):
        result.refused += 1
        result.refusals[refusal["name"]] = result.refusals.get(refusal["name"], 0) + 1
        return
    result.accepted += 1
    for event in data["events"]:
        found.promised[event["id"]] = (event["shard"], event["sequence"])


async def _read_topics(client: Mapping[str, Any], stored: _Stored, result: Tally) -> dict[str, tuple[str, int]]:
    """Every events topic from its first record to its end: event id to place."""
    places: dict[str, tuple[str, int]] = {}
    async with bare_consumer(client, max_poll_records=10_000) as consumer:
        for shard, hashes in stored.hashes.items():
            topic, _, partition = shard.rpartition("/")
            await _read_shard(consumer, TopicPartition(topic, int(partition)), hashes, places, result)
    return places


async def _read_shard(
    consumer: Any, partition: TopicPartition, hashes: Sequence[str], places: dict[str, tuple[str, int]], result: Tally
) -> None:
    shard, wanted = f"{partition.topic}/{partition.partition}", 0
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    await consumer.seek_to_beginning(partition)
    while await consumer.position(partition) < end:
        for record in (await consumer.getmany(partition, timeout_ms=1000)).get(partition, []):
            document = orjson.loads(record.value)
            sequence = int(document["sequence"])
            if sequence >= len(hashes) or hashlib.sha256(record.value).hexdigest() != hashes[sequence]:
                result.complain(f"topic: {shard} holds other bytes at {sequence} than the store")
                result.duplicated += 1
            elif sequence < wanted:
                result.repeated_on_topics += 1
            elif sequence > wanted:
                result.out_of_order += 1
                result.complain(f"topic: {shard} goes from {wanted - 1} to {sequence}")
            else:
                places[document["id"]] = (shard, sequence)
                wanted += 1
    if wanted < len(hashes):
        result.lost += len(hashes) - wanted
        result.complain(f"topic: {shard} ends before {wanted}, the store before {len(hashes)}")


def _compare_promises(stored: _Stored, on_topics: Mapping[str, tuple[str, int]], result: Tally) -> None:
    """Every accepted command has exactly its events, where its outcome says; every event has its command."""
    for name, place in stored.promised.items():
        if on_topics.get(name) != place:
            result.lost += 1
            result.complain(
                f"outcome promises event {name} at {place[0]} {place[1]}; the topic has it at {on_topics.get(name)}"
            )
    if surplus := on_topics.keys() - stored.promised.keys():
        result.duplicated += len(surplus)
        result.complain(f"{len(surplus)} events on topics that no outcome names, {min(surplus)} for one")


def _compare_views(views: Engine, readers: Mapping[str, Sequence[str]], stored: _Stored, result: Tally) -> None:
    """Each reader has applied each of its shards to the end: its last record's hash is the store's."""
    with reading(views) as connection:
        rows = {(row.reader, row.shard): (row.next, row.last_hash) for row in connection.execute(select(positions))}
    for reader, contexts in readers.items():
        for shard, hashes in stored.hashes.items():
            if shard.partition(".")[0] not in contexts or not hashes:
                continue
            applied, last_hash = rows.get((reader, shard), (0, ""))
            if applied != len(hashes):
                result.lost += max(0, len(hashes) - applied)
                result.complain(f"view: {reader} has applied {applied} of {len(hashes)} in {shard}")
            elif last_hash != hashes[-1]:
                result.complain(f"view: {reader} applied another record {applied - 1} in {shard}")
