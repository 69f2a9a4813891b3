"""Whatever becomes of a shard's owners: each record once in its order, then exact repeats at worst, as the store has it."""

import asyncio
import json
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from adapters.kafka import lanes, sending
from adapters.kafka import publisher as publishing
from adapters.kafka.authentic import signed_by
from adapters.kafka.publisher import Publisher
from adapters.sql import engine_for, tables
from adapters.sql.outbox import Lane, Mark, Outbox, Standing
from tests.adapters.publishing import PARTITIONS, PATIENCE_SECONDS, WRITER, Network, eventually, level, running, value


@pytest.fixture
def network(kafka: str, store_url: str) -> Iterator[Network]:
    engine = engine_for(store_url)
    yield Network(engine, kafka)
    engine.dispose()


def test_what_is_handed_over_is_published_without_a_look_at_the_store(network: Network) -> None:
    """Reading back what was just committed is what a relay cost."""
    asked: list[str] = []
    sent = 0

    def count(records: int, _: int) -> None:
        nonlocal sent
        sent += records

    async def run() -> None:
        publisher = Publisher(network.outbox, network.client, signed_by({WRITER.did}, "test"), on_publish=count)
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            event.listen(network.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
            for n in range(20):
                publisher.hand_over(network.commit(n % PARTITIONS, events=3, commands=2))
            await eventually(lambda: sent == 20 * 5, "publication")
        assert not [statement for statement in asked if "FROM events" in statement or "FROM commands" in statement]
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_what_a_dead_owner_left_is_published_by_the_next(network: Network) -> None:
    network.commit(0)
    network.commit(1, events=5, commands=0)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await eventually(network.is_published, "publication")
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    marks = network.outbox.standing([shard.id for shard in network.rows.values()])
    assert all(standing.marked == standing.stored for standing in marks.values())


def test_what_a_dead_owner_published_and_did_not_mark_is_marked_by_the_next_though_nothing_more_comes(network: Network) -> None:
    """Its shard would show records that wait to be published for as long as nobody writes there."""
    network.commit(0, events=3, commands=2)

    async def run() -> None:
        await network.send("events", *map(value, range(3)))
        await network.send("outcomes", *map(value, range(2)))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)

            def is_marked() -> bool:
                marks = network.outbox.standing([shard.id for shard in network.rows.values()])
                return all(standing.marked == standing.stored for standing in marks.values())

            await eventually(is_marked, "the mark")

    asyncio.run(run())


def test_a_batch_that_was_not_handed_over_is_read_from_the_store_in_its_place(network: Network) -> None:
    """The reply to a commit was lost: the worker reads its row again, and remembers nothing of the batch."""

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            network.commit(0)
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
            network.commit(0)
            publisher.own(network.rows.values())
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_more_than_may_be_held_is_published_in_order_all_the_same(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away costs memory up to a bound; what is beyond it is in the store."""
    monkeypatch.setattr(publishing, "HELD_BYTES", 200)
    monkeypatch.setattr(sending, "SEND_LIMIT", 7)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        for n in range(40):
            publisher.hand_over(network.commit(n % 2))
        assert 0 < publisher._backlog.bytes <= 200
        async with running(publisher):
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())


def test_a_shard_is_claimed_when_it_comes_and_not_when_it_stays(network: Network) -> None:
    """Every rebalance tells a worker all that it has. With claims of everything two workers took shards to and fro."""

    async def run() -> None:
        one, two = network.publisher(), network.publisher()
        one.own(network.rows.values())
        async with running(one, two):
            await level(network, one)
            for _ in range(3):
                one.own(network.rows[n] for n in (0, 1))
                two.own([network.rows[2]])
                await level(network, two, 2)
                one.hand_over(network.commit(0))
                two.hand_over(network.commit(2))
                await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    assert network.epochs() == {0: 1, 1: 1, 2: 2}


def test_who_loses_one_shard_goes_on_with_the_others(network: Network) -> None:
    async def run() -> None:
        sleeper, successor = network.publisher(), network.publisher()
        sleeper.own(network.rows.values())
        async with running(sleeper, successor):
            await level(network, sleeper)
            successor.own([network.rows[0]])
            await level(network, successor, 0)
            # Both believe that it is theirs: what the sleeper still sends are exact repeats.
            sealed = network.commit(0)
            sleeper.hand_over(sealed)
            successor.hand_over(sealed)
            await eventually(lambda: not sleeper.is_level(network.rows[0].id), "loss")
            sleeper.hand_over(network.commit(1))
            successor.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
            assert sleeper.is_level(network.rows[1].id)

    asyncio.run(run())
    assert network.epochs() == {0: 2, 1: 1, 2: 1}


def test_a_superseded_owner_that_claims_a_fresh_shard_ends_nobody(network: Network) -> None:
    """Two relays ended each other: either had claimed what the other held."""

    async def run() -> None:
        sleeper, successor = network.publisher(), network.publisher()
        async with running(sleeper, successor):
            for publisher in (sleeper, successor):
                publisher.own(network.rows[n] for n in (0, 1))
                await level(network, publisher, 0, 1)
            for publisher in (successor, sleeper):
                publisher.own(network.rows.values())
                await level(network, publisher, 2)
            for n in range(PARTITIONS):
                successor.hand_over(network.commit(n))
            await eventually(network.is_published, "publication")
            assert successor.is_level(network.rows[0].id)

    asyncio.run(run())


def test_a_shard_that_was_taken_and_is_still_assigned_is_taken_back_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay of an earlier version took all shards when it started, and ends when it has lost one."""
    monkeypatch.setattr(lanes, "CLAIM_AGAIN_SECONDS", 0.2)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            await asyncio.to_thread(network.outbox.claim, [shard.id for shard in network.rows.values()])
            publisher.hand_over(network.commit(0))
            await eventually(lambda: network.epochs()[0] == 3, "another claim")
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")

    asyncio.run(run())
    assert network.epochs() == {0: 3, 1: 2, 2: 2}


class Watched(Outbox):
    """An outbox at which something happens while its first answer is on the way."""

    def __init__(self, network: Network, then: Any) -> None:
        super().__init__(network.engine)
        self._then = then

    def standing(self, among: Collection[int] | None = None) -> dict[Lane, Standing]:
        found, then = super().standing(among), self._then
        self._then = None
        if then is not None:
            then()
        return found


def test_an_owner_that_publishes_while_its_successor_claims_is_no_older_copy(network: Network) -> None:
    """The successor had counted the store before it asked where the topic ends."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        old = network.publisher()

        async def go_on() -> None:
            old.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")

        successor = network.publisher(
            Watched(network, lambda: asyncio.run_coroutine_threadsafe(go_on(), loop).result(PATIENCE_SECONDS))
        )
        old.own(network.rows.values())
        async with running(old, successor):
            await level(network, old)
            successor.own(network.rows.values())
            await level(network, successor)
        assert await network.published() == network.stored()

    asyncio.run(run())


@pytest.mark.parametrize("left", [[2], [0, 1, 0], [1, 2, 0, 1], [0, 1, 2, 1], [0, 1, 2, 3, 0, 1, 2]])
def test_whatever_is_left_on_a_topic_is_completed(network: Network, left: list[int]) -> None:
    """One that was made anew while it was written to begins in the middle; who woke late repeats what is there."""
    network.commit(0, events=6, commands=6)

    async def run() -> None:
        await network.send("events", *map(value, left))
        await network.send("outcomes", *map(value, left))
        network.outbox.claim([network.rows[0].id])
        network.outbox.mark({network.rows[0].id: (Mark(4), Mark(4))}, network.epochs() | {network.rows[0].id: 1})
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await eventually(lambda: whole(network), "publication")

    asyncio.run(run())


async def whole(network: Network) -> bool:
    """Every record is there, and after the first one of the log each follows its predecessor's first."""
    wanted = network.stored()
    for place, values in (await network.published()).items():
        expected = 0
        for number in (json.loads(found)["sequence"] for found in values):
            expected += number == expected
        if expected != len(wanted[place]):
            return False
    return True


@pytest.mark.parametrize("is_writing", [True, False])
def test_a_topic_that_was_made_anew_is_filled_again(
    network: Network, monkeypatch: pytest.MonkeyPatch, is_writing: bool
) -> None:
    monkeypatch.setattr(publishing, "WATCH_SECONDS", 0.3)

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            for n in range(6):
                publisher.hand_over(network.commit(n % PARTITIONS))
            await eventually(network.is_published, "publication")
            await network.wipe("events", "outcomes")
            if is_writing:
                publisher.hand_over(network.commit(0))
            await eventually(lambda: whole(network), "publication")

    asyncio.run(run())


def test_an_outcome_whose_command_came_again_is_published_again(network: Network) -> None:
    """Also where another worker was told of it: a command may come twice in one batch, and elsewhere than before."""

    async def run() -> None:
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            publisher.hand_over(network.commit(0, again=[1, 0]), has_repeats=True)
            await eventually(network.is_published, "publication")
            await eventually(lambda: network.repeats() == 0, "repeats")
            found = (await network.published())[f"{network.context}.outcomes", 0]
            assert found == [value(n) for n in (0, 1, 1, 0)]

    asyncio.run(run())


def test_a_claim_goes_on_where_the_table_stands(network: Network) -> None:
    """An earlier version's relay left its epochs and marks."""
    network.commit(0)
    first = network.rows[0].id
    with network.engine.begin() as connection:
        connection.execute(tables.relays.insert().values(shard=first, epoch=41, next_event=3, next_outcome=2))

    async def run() -> None:
        await network.send("events", *(value(n) for n in range(3)))
        await network.send("outcomes", *(value(n) for n in range(2)))
        publisher = network.publisher()
        publisher.own(network.rows.values())
        async with running(publisher):
            await level(network, publisher)
            publisher.hand_over(network.commit(0))
            await eventually(network.is_published, "publication")
        assert await network.published() == network.stored()

    asyncio.run(run())
    assert network.epochs()[0] == 42


Step = tuple[str, int, int, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hand over", "hand over", "forget", "move", "kill", "wait"]),
        st.integers(0, 1), st.integers(0, 1), st.booleans(),
    ),
    min_size=4,
    max_size=16,
)  # fmt: skip


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whoever_publishes_each_record_comes_first_in_its_order(kafka: str, tmp_path_factory: Any, steps: list[Step]) -> None:
    """Two owners, of whom either may hold a shard, lose it and not hear of it, die, or be handed what the other committed."""
    engine = engine_for(f"sqlite:///{tmp_path_factory.mktemp('property')}/store.db")
    network = Network(engine, kafka)

    async def run() -> None:
        publishers = [network.publisher(), network.publisher()]
        tasks = [asyncio.create_task(publisher.run()) for publisher in publishers]
        owned: list[set[int]] = [{0, 1}, set()]

        def tell(which: int) -> None:
            publishers[which].own(network.rows[n] for n in sorted(owned[which]))

        tell(0)
        for kind, which, partition, hears in steps:
            match kind:
                case "hand over":
                    publishers[which].hand_over(network.commit(partition))
                case "forget":
                    network.commit(partition)
                case "move":
                    owned[which].add(partition)
                    owned[1 - which].discard(partition)
                    tell(which)
                    if hears:
                        tell(1 - which)
                case "kill":
                    tasks[which].cancel()
                    await asyncio.gather(tasks[which], return_exceptions=True)
                    publishers[which] = network.publisher()
                    tasks[which] = asyncio.create_task(publishers[which].run())
                    tell(which)
                case _:
                    await asyncio.sleep(0.05)
        tell(0)
        tell(1)
        await eventually(network.is_published, "publication")
        for publisher in publishers:
            publisher.stop()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    engine.dispose()
