"""What is on a topic beside what the store has: ours, other writers', strangers'."""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from adapters.kafka import publisher as publishing
from adapters.kafka.authentic import signed_by
from adapters.kafka.bare import bare_consumer
from adapters.kafka.comparing import Comparing, Continued
from adapters.sql import engine_for
from adapters.sql.outbox import Lane, Mark, Outbox, Outgoing, closed_shards
from adapters.sql.store import CommandRow, Decided, EventRow, Sealed
from tests.adapters.publishing import STRANGER, WRITER, Network, eventually, level, running, value


@pytest.fixture
def network(kafka: str, store_url: str) -> Iterator[Network]:
    engine = engine_for(store_url)
    yield Network(engine, kafka)
    engine.dispose()


@pytest.mark.parametrize("kind", ["events", "outcomes"])
@pytest.mark.parametrize("last", ["the highest", "a repeat"])
def test_a_shard_whose_store_is_behind_its_topics_is_closed_until_it_is_not(
    network: Network, monkeypatch: pytest.MonkeyPatch, kind: str, last: str
) -> None:
    """An older backup. What came last on the topic may be a repeat, which the copy has. The other shards go on."""
    monkeypatch.setattr(publishing, "CLOSED_SECONDS", 0.3)
    network.commit(0, events=4, commands=4)
    shard = network.rows[0].id

    async def run() -> None:
        await network.send("events", *(value(n) for n in range(4)))
        await network.send("outcomes", *(value(n) for n in range(4)))
        ahead = network.made(kind, 4)
        await network.leave(kind, ahead)
        if last == "a repeat":
            await network.send(kind, value(2))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher, 1, 2)
            await eventually(lambda: publisher.closed(shard) is not None, "closing")
            assert "holds 4, the store ends before 4: it is an older copy" in str(publisher.closed(shard))
            assert "older copy" in closed_shards(network.engine)[f"{network.context}/0"]
            assert not publisher.is_level(shard)
            publisher.hand_over(network.commit(1))
            catch_up(network, kind, *ahead)
            await level(network, publisher, 0)
            assert publisher.closed(shard) is None
            assert closed_shards(network.engine) == {}
            publisher.own(network.rows.values())
            await eventually(lambda: publisher._sending.waiting == 0, "publication")

    asyncio.run(run())


def catch_up(network: Network, kind: str, record: bytes, headers: list[tuple[str, bytes]]) -> None:
    """The store gets what the topic of shard 0 has."""
    before, signature = network.rows[0], headers[0][1].decode()
    more = (1, 0) if kind == "events" else (0, 1)
    after = replace(
        before, next_sequence=before.next_sequence + more[0], next_outcome=before.next_outcome + more[1],
        position=before.position + 1,
    )  # fmt: skip
    sealed = Sealed(shards=[(before, after)])
    if kind == "events":
        sealed.events = [EventRow(before.id, 4, "k", 9, "T", record, signature, None)]
    else:
        sealed.commands = [CommandRow(before.id, 4, uuid4().hex, "", "k", b"", "", record, signature, None)]
    network.store.commit(Decided([before], now=datetime.now(UTC), seal=lambda _: sealed))
    network.rows[0] = after


def test_a_shard_whose_topic_has_other_bytes_with_a_writers_signature_is_closed(network: Network) -> None:
    network.commit(0)

    async def run() -> None:
        await network.send("events", value(0))
        await network.leave("events", network.made("events", 1))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher, 1, 2)
            await eventually(lambda: publisher.closed(network.rows[0].id) is not None, "closing")
            assert "other bytes at 1" in str(publisher.closed(network.rows[0].id))

    asyncio.run(run())
    assert network.outbox.standing([network.rows[0].id])[Lane(network.rows[0].id, network.context, 0, "events")].marked == 0


STRANGE = {
    "not JSON": lambda _: (b"hello", []),
    "a tombstone": lambda _: (None, []),
    "JSON without a sequence": lambda _: (b'{"a":1}', []),
    "a list": lambda _: (b"[1]", []),
    "a number": lambda _: (b"1", []),
    "a sequence that no database holds": lambda _: (json.dumps({"sequence": "9" * 40}).encode(), []),
    "a sequence of another kind": lambda _: (b'{"sequence":[1]}', []),
    "unsigned, far ahead": lambda n: (n.made("events", 10**9)[0], []),
    "unsigned, other bytes": lambda n: (n.made("events", 1)[0], []),
    "a stranger's signature": lambda n: n.made("events", 10**9, STRANGER),
    "two signatures": lambda n: (n.made("events", 9)[0], [*n.made("events", 9)[1], ("signature", b"x")]),
    "a signature that is no text": lambda n: (n.made("events", 9)[0], [("signature", b"\xff")]),
    "another shard's": lambda n: n.made("events", 9, shard=f"{n.context}.events/1"),
    "the outcomes'": lambda n: n.made("outcomes", 9),
    "another network's": lambda n: n.made("events", 9, network="other"),
    "one of ours without its signature": lambda _: (value(1), []),
}


NONE_THERE = {("outcomes", "the outcomes'"), ("outcomes", "one of ours without its signature")}


@pytest.mark.parametrize(("kind", "which"), sorted({(k, w) for k in ("events", "outcomes") for w in STRANGE} - NONE_THERE))
def test_what_strangers_leave_on_a_topic_ends_and_closes_nothing(
    network: Network, caplog: pytest.LogCaptureFixture, which: str, kind: str
) -> None:
    """One record that was no JSON of ours, last on a topic, ended every worker that claimed the shard, for ever."""
    network.commit(0)
    record = STRANGE[which](network)

    async def run() -> None:
        await network.send("events", value(0))
        await network.send("outcomes", value(0))
        await network.leave(kind, record)
        for _ in range(2):
            publisher = network.publisher()
            publisher.own(network.rows.values())
            async with running(publisher):
                await level(network, publisher)
                publisher.hand_over(network.commit(0))
                await eventually(lambda p=publisher: p._sending.waiting == 0, "publication")
            assert publisher._comparing.strangers == 1
        found = (await network.published())[f"{network.context}.{kind}", 0]
        kept = [one for n, one in enumerate(found) if n != 1]
        assert kept == network.stored()[f"{network.context}.{kind}", 0]

    asyncio.run(run())
    assert len([1 for said in caplog.messages if "strange records" in said]) == 2


def test_strangers_are_told_of_once(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """Not at every look."""
    network.commit(0)

    async def run() -> None:
        await network.leave("events", (b"hello", []), (None, []))
        comparing = Comparing(network.outbox, signed_by({WRITER.did}, "test"))
        async with bare_consumer(network.client) as consumer:
            for _ in range(3):
                await comparing.compare(consumer, [network.rows[0].id])
            assert comparing.strangers == 2
            await network.leave("events", (b"again", []))
            await comparing.compare(consumer, [network.rows[0].id])
        assert comparing.strangers == 3

    asyncio.run(run())
    assert [said.partition("holds ")[2] for said in caplog.messages if "strange records" in said] == [
        "2 strange records from offset 0 on; passed over", "1 strange records from offset 2 on; passed over",
    ]  # fmt: skip


class Counting(Outbox):
    """An outbox that counts of how many of a topic's records it was asked."""

    asked = 0

    def some(self, wanted: Mapping[Lane, Collection[int]]) -> dict[Lane, dict[int, Outgoing]]:
        self.asked += sum(map(len, wanted.values()))
        return super().some(wanted)


async def compared(network: Network, outbox: Outbox, kind: str) -> Continued:
    """Of shard 0."""
    shard = network.rows[0].id
    async with bare_consumer(network.client) as consumer:
        found = await Comparing(outbox, signed_by({WRITER.did}, "test")).compare(consumer, [shard])
    assert not found.closed
    return found.lanes[Lane(shard, network.context, 0, kind)]


@pytest.mark.parametrize("is_noted", [True, False])
@pytest.mark.parametrize("repeats", [0, 70, 5_000])
def test_a_claim_reads_of_a_long_topic_what_came_after_its_mark(network: Network, repeats: int, is_noted: bool) -> None:
    """With more than 4,000 repeats at its end, each claim read all. Without an offset beside the mark it is looked for."""
    outbox, wanted = Counting(network.engine), 12_000
    sealed = network.commit(0, events=0, commands=wanted)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            publisher.hand_over(sealed)
            await eventually(lambda: publisher._sending.waiting == 0, "publication")
            await network.send("outcomes", *[value(7)] * repeats)
            # Repeats of its own move the mark's offset.
            network.repeat(7)
            publisher.hand_over(network.commit(0, events=0, commands=0), has_repeats=True)
            await eventually(lambda: network.repeats() == 0, "repeats")
        if not is_noted:
            network.mark(Mark(0), Mark(wanted))
        assert (await compared(network, outbox, "outcomes")).next == wanted
        assert outbox.asked < (1_500 if is_noted else 1_500 + 8 * (repeats + 64))

    asyncio.run(run())


HOLES = {
    "no repeats": [*range(10), *range(15, 20)],
    "as many repeats as are lacking": [*range(10), *range(5, 10), *range(15, 20)],
    "what lacks is before the highest's repeat": [*range(10), 11, 9, 11, 9],
}


@pytest.mark.parametrize("offset", [-1, 9, 3, 100])
@pytest.mark.parametrize("on_topic", HOLES.values(), ids=HOLES)
def test_what_a_topic_lacks_is_found_by_reading_it(network: Network, on_topic: list[int], offset: int) -> None:
    """Repeats, strangers and markers make as many offsets as you like: their number says nothing of what is missing."""
    network.commit(0, events=20, commands=0)

    async def run() -> None:
        await network.send("events", *map(value, on_topic))
        network.mark(Mark(10, offset, offset), Mark(0))
        assert (await compared(network, network.outbox, "events")).next == 10

    asyncio.run(run())


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_topic_that_ends_with_a_transactions_marker_is_compared(network: Network, is_marked: bool) -> None:
    """At its last offset there is no record: who waited for one waited for ever."""
    network.commit(0, events=4, commands=0)

    async def run() -> None:
        await network.send("events", *map(value, range(3)))
        brief = {"transactional_id": uuid4().hex, "transaction_timeout_ms": 5_000}
        async with AIOKafkaProducer(**network.client, **brief) as producer:
            for _ in range(3):
                async with producer.transaction():
                    await producer.send_and_wait(f"{network.context}.events", b"strange", partition=0)
        if is_marked:
            network.mark(Mark(3, 2, 2), Mark(0))
        assert (await compared(network, network.outbox, "events")).next == 3

    asyncio.run(run())


@pytest.mark.parametrize("left", [[2, 3, 0, 1, 2], [0, 1], [0, 1, 0, 1, 2, 2, 3]])
def test_a_mark_of_a_topic_that_was_made_anew_is_not_believed(network: Network, left: list[int]) -> None:
    """What is at its offset is another record, or it begins in the middle."""
    network.commit(0, events=6, commands=0)

    async def run() -> None:
        await network.send("events", *map(value, left))
        network.mark(Mark(4, 3, 3), Mark(0))
        wanted = 0
        for number in left:
            wanted += number == wanted
        assert (await compared(network, network.outbox, "events")).next == wanted

    asyncio.run(run())
