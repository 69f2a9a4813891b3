"""A set of readers against a plain fold, whatever happens between: deaths, thieves, poison, redrives, a lame broker."""

import asyncio
from collections.abc import Iterator, Sequence

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from adapters.sql import reading
from adapters.views import parked_streams, positions_of, sets, states, tables
from adapters.views.processes import ProcessReader
from adapters.views.sets import ReaderSet
from adapters.views.wishes import Wish
from tests.adapters.shards import Shard, broken
from tests.adapters.test_processes import CLOSE
from tests.adapters.test_sets import digests, folded, named, open_with_copies, projector, send

REASONS = ("retired", "amend", "close", "bad", "worse")
STEPS = st.one_of(
    st.tuples(
        st.just("append"), st.integers(0, 1), st.lists(st.tuples(st.integers(0, 2), st.sampled_from(REASONS)), max_size=9)
    ),
    st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 12)),
    st.tuples(st.just("rewind"), st.integers(0, 1), st.integers(0, 8)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("zombie"), st.integers(0, 1), st.integers(1, 9)),
    st.tuples(st.just("steal"), st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 9)),
    st.tuples(st.just("take back")),
    st.tuples(st.just("catch up")),
    st.tuples(st.just("break"), st.sampled_from(("bad", "worse"))),
    st.tuples(st.just("mend"), st.sampled_from(("bad", "worse"))),
    st.tuples(st.just("redrive")),
    st.tuples(st.just("broker"), st.booleans()),
)


class Town:
    """Two shards, two projections and a process; a set that reads them, and those that came before it."""

    def __init__(self, views: Engine) -> None:
        self.views = views
        self.shards = [Shard(partition=n) for n in range(2)]
        self.sent: dict[str, Wish] = {}
        self.is_down = False
        self.zombies: list[ReaderSet] = []
        self.readers: ReaderSet
        self.at: dict[str, int] = {}

    async def send(self, wishes: Sequence[Wish]) -> None:
        if self.is_down:
            raise KafkaConnectionError
        for wish in wishes:
            assert self.sent.setdefault(wish.id, wish) == wish

    async def restart(self, *, is_dead: bool = True) -> None:
        if not is_dead:
            self.zombies.append(self.readers)
        members = [projector(self.views, "a"), projector(self.views, "b"), ProcessReader(self.views, CLOSE, self.send)]
        self.readers = ReaderSet(self.views, "readers", members)
        await self.readers.claim([shard.name for shard in self.shards])
        self.at = {shard.name: self.lowest(shard) for shard in self.shards}

    def lowest(self, shard: Shard) -> int:
        position = self.readers._lowest(shard.name)
        return len(shard.values) if position is None else position.next

    async def deliver(self, readers: ReaderSet, shard: Shard, start: int, count: int) -> None:
        applied = await readers.apply({shard.name: shard.deliveries(start, min(start + count, len(shard.values)))})
        if readers is self.readers:
            found = applied.get(shard.name)
            is_gap = found is not None and found.gap is not None
            self.at[shard.name] = self.lowest(shard) if is_gap else min(start + count, len(shard.values))
        await self.try_to_send(readers)

    async def try_to_send(self, readers: ReaderSet) -> None:
        if not self.is_down:
            await send(readers)

    async def step(self, what: str, *given: object) -> None:
        match (what, *given):
            case ("append", int(n), list(events)):
                for stream, reason in events:
                    self.shards[n].append(f"p{n}-{stream}", reason)
            case ("deliver", int(n), int(count)):
                await self.deliver(self.readers, self.shards[n], self.at[self.shards[n].name], count)
            case ("rewind", int(n), int(back)):
                name = self.shards[n].name
                self.at[name] = max(0, self.at[name] - back)
            case ("restart", bool(is_dead)):
                await self.restart(is_dead=is_dead)
            case ("zombie", int(n), int(count)):
                for zombie in self.zombies[-2:]:
                    await self.deliver(zombie, self.shards[n], self.at[self.shards[n].name], count)
            case ("steal", str(name), int(n), int(count)):
                thief, shard = projector(self.views, name), self.shards[n]
                at = thief.claim([shard.name])[shard.name].next
                thief.apply({shard.name: shard.deliveries(at, min(at + count, len(shard.values)))})
            case ("take back",):
                await self.readers.look_after()
                await self.readers.look_after()
            case ("catch up",):
                for shard in self.shards:
                    if (position := await self.readers.behind_at(shard.name)) is not None:
                        await self.readers.catch_up({shard.name: shard.deliveries(position.next)})
            case ("break", str(reason)):
                broken.add(reason)
            case ("mend", str(reason)):
                broken.discard(reason)
            case ("redrive",):
                await self.redrive()
            case ("broker", bool(is_down)):
                self.is_down = is_down
            case _:
                raise AssertionError(what)

    async def redrive(self) -> None:
        with reading(self.views) as connection:
            waiting = parked_streams(connection)
        for stream in waiting:
            if stream.reader in {"a", "b"}:
                projector(self.views, stream.reader).redrive(stream.stream)
            elif not self.is_down:
                await ProcessReader(self.views, CLOSE, self.send).redrive(stream.stream)

    async def come_to_an_end(self) -> None:
        """By those that read now: what they have in memory has to be right."""
        broken.clear()
        self.is_down = False
        for round_ in range(4):
            await self.step("take back")
            for shard in self.shards:
                await self.step("catch up")
                await self.deliver(self.readers, shard, self.at[shard.name], len(shard.values) + 1)
            if round_ == 1:
                # When all that was folded before is remembered, what it parks among it. Nothing is parked after this.
                await self.redrive()

    def check(self) -> None:
        """First sent, then remembered; and no reader is where it cannot be."""
        with reading(self.views) as connection:
            parked = {
                (row.shard, row.sequence) for row in connection.execute(select(tables.parked)) if row.reader == CLOSE.name
            }
            come = positions_of(connection, CLOSE.name)
        for shard in self.shards:
            done = come[shard.name].next
            closed = [n for n, value in enumerate(shard.values[:done]) if b'"reason":"close"' in value]
            for n in closed:
                cause = orjson.loads(shard.values[n])["id"]
                assert (shard.name, n) in parked or sum(wish.causationid == cause for wish in self.sent.values()) == 2


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_with_copies(store_url)
    yield engine
    engine.dispose()
    broken.clear()


@pytest.mark.timeout(300)
def test_whatever_happens_views_are_the_fold_and_commands_are_sent(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "GONE_SECONDS", -1.0)
    monkeypatch.setattr(sets, "NEAR_RECORDS", 6)

    @settings(max_examples=15 if views.dialect.name == "sqlite" else 5)
    @given(st.lists(STEPS, min_size=20, max_size=60))
    def live(steps: list[tuple[object, ...]]) -> None:
        broken.clear()
        clear(views)
        town = Town(views)

        async def run() -> None:
            await town.restart()
            for step in steps:
                await town.step(*step)  # type: ignore[arg-type]
                town.check()
            await town.come_to_an_end()

        asyncio.run(run())

        assert digests(views, ("a", "b")) == {folded(views, *town.shards)}
        closed = sum(b'"reason":"close"' in value for shard in town.shards for value in shard.values)
        assert len(town.sent) == 2 * closed
        with reading(views) as connection:
            assert parked_streams(connection) == []

    live()


def clear(views: Engine) -> None:
    with views.begin() as connection:
        tables = ["positions", "parked", "reader_states", "reader_sets", "tallies", "entries"]
        for table in [*tables, *(copy for name in "ab" for copy in named(name).values())]:
            connection.exec_driver_sql(f'delete from "{table}"')
