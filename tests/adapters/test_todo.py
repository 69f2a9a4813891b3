"""What is due is sent once, by one of those that could; what was refused is remembered; what fails holds back nothing else."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from sqlalchemy import Column, Engine, Integer, MetaData, Table, select

from adapters.kafka.commands import Answer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.views.tables import positions
from adapters.views.todo import AGAIN_SECONDS, LEASE_SECONDS, REST_SECONDS, TodoRunner
from adapters.views.wishes import Wish
from contracts import Command, rfc3339
from contracts.identity import RevokeKey
from streams import Desk, Errand, Task, TodoList

START = datetime(2026, 11, 25, 12, tzinfo=UTC)

ERRANDS = Table("test_errands", MetaData(), Column("n", Integer, primary_key=True))


@dataclass
class Outbox:
    """What was sent. `down` is a broker that is away."""

    wishes: list[Wish] = field(default_factory=list)
    down: bool = False

    async def send(self, wishes: Sequence[Wish]) -> None:
        if self.down:
            raise KafkaConnectionError
        self.wishes += wishes

    @property
    def subjects(self) -> list[str]:
        return [wish.subject for wish in self.wishes]


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def plan(desk: Desk) -> Iterable[Task]:
    """A command for each row; where that was refused, another."""
    for n in desk.connection.scalars(select(ERRANDS.c.n).order_by(ERRANDS.c.n)):
        yield Task(RevokeKey(reason="retired"), f"identity/key/{n}", f"end:{n}", START)
        if refusal := desk.refusal(f"end:{n}"):
            yield Task(RevokeKey(reason="mistaken"), f"identity/key/{n}.{refusal.name}", f"instead:{n}", refusal.at)


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    with engine.begin() as connection:
        ERRANDS.metadata.create_all(connection)
    yield engine
    engine.dispose()


@dataclass
class World:
    views: Engine
    outbox: Outbox = field(default_factory=Outbox)
    clock: Clock = field(default_factory=Clock)

    def runner(self, listed: Any = plan) -> TodoRunner:
        return TodoRunner(self.views, TodoList("ends", listed), self.outbox.send, self.clock)

    def due(self, *numbers: int) -> None:
        with self.views.begin() as connection:
            connection.execute(ERRANDS.insert(), [{"n": n} for n in numbers])

    def done(self, n: int) -> None:
        with self.views.begin() as connection:
            connection.execute(ERRANDS.delete().where(ERRANDS.c.n == n))


@pytest.fixture
def world(views: Engine) -> World:
    return World(views)


def turn(runner: TodoRunner) -> int:
    return asyncio.run(runner.turn())


def refused(wish: Wish, name: str) -> Answer:
    data = {"refusal": {"name": name, "text": "no", "field": None}, "time": rfc3339(START + timedelta(seconds=3))}
    return Answer(wish.id, False, {"data": data})


def test_what_is_due_is_sent_once_and_again_only_after_a_while(world: World) -> None:
    """Its command or its outcome may be under way; after that it may have been lost, and its id makes two one."""
    world.due(1, 2)
    runner = world.runner()

    sent = [turn(runner), turn(runner)]
    world.clock.pass_seconds(AGAIN_SECONDS + 1)
    sent.append(turn(runner))

    assert sent == [2, 0, 2]
    ids = [wish.id for wish in world.outbox.wishes]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_what_the_views_show_as_done_is_not_sent(world: World) -> None:
    world.due(1, 2)
    runner = world.runner()
    turn(runner)
    world.done(1)
    world.clock.pass_seconds(AGAIN_SECONDS + 1)

    turn(runner)

    assert world.outbox.subjects == ["identity/key/1", "identity/key/2", "identity/key/2"]


def test_a_list_on_which_nothing_is_due_rests_until_a_reader_moves_or_time_passes(world: World) -> None:
    """Forty lists that plan twice a second for nothing take a third of a core."""
    planned: list[datetime] = []

    def counted(desk: Desk) -> Iterable[Task]:
        planned.append(desk.now)
        yield from plan(desk)

    async def live() -> list[int]:
        stop, runner = asyncio.Event(), TodoRunner(world.views, TodoList("ends", counted, 0.01), world.outbox.send, world.clock)
        working, counts = asyncio.create_task(runner.run(stop)), []
        await _until(lambda: len(planned) == 1)
        await asyncio.sleep(0.3)
        counts.append(len(planned))
        _move_a_reader(world.views)
        await _until(lambda: len(planned) == 2)
        world.clock.pass_seconds(REST_SECONDS)
        await _until(lambda: len(planned) == 3)
        world.due(1)
        _move_a_reader(world.views)
        await _until(lambda: len(world.outbox.wishes) == 1)
        busy = len(planned)
        await _until(lambda: len(planned) > busy + 3)
        stop.set()
        await working
        return counts

    assert asyncio.run(live()) == [1]


def _move_a_reader(views: Engine) -> None:
    row = {"reader": "r", "shard": "identity.events/0", "next": 1, "last_hash": "", "last_time": "", "offset": 0, "epoch": 0}
    with views.begin() as connection:
        if not connection.execute(positions.update().values(next=positions.c.next + 1)).rowcount:
            connection.execute(positions.insert().values(**row, generation=0))


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  what is waited for happens in a thread
            await asyncio.sleep(0.01)


def test_whoever_starts_again_sends_the_same_commands(world: World) -> None:
    """Its predecessor died after sending: nobody remembers, and nobody needs to."""
    world.due(7)
    turn(world.runner())
    world.clock.pass_seconds(LEASE_SECONDS + 1)

    turn(world.runner())

    first, second = world.outbox.wishes
    assert first == second


def test_somebody_else_s_list_is_left_alone_until_the_lease_is_over(world: World) -> None:
    world.due(1)
    mine, other = world.runner(), world.runner()
    turn(mine)

    assert turn(other) == 0
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    assert turn(other) == 1


def test_a_lease_is_renewed_as_long_as_its_holder_works(world: World) -> None:
    mine, other = world.runner(), world.runner()
    for _ in range(5):
        turn(mine)
        world.clock.pass_seconds(LEASE_SECONDS * 0.6)

    world.due(1)
    assert (turn(other), turn(mine)) == (0, 1)


def test_a_refused_task_is_not_sent_again_and_the_plan_says_what_becomes_of_it(world: World) -> None:
    world.due(1)
    runner = world.runner()
    turn(runner)

    asyncio.run(runner.hear([refused(world.outbox.wishes[0], "NotYet")]))
    turn(runner)
    world.clock.pass_seconds(AGAIN_SECONDS + 1)
    turn(world.runner())

    assert world.outbox.subjects[:2] == ["identity/key/1", "identity/key/1.NotYet"]
    assert set(world.outbox.subjects[2:]) <= {"identity/key/1.NotYet"}


def test_a_refusal_that_nobody_heard_is_heard_when_the_task_is_sent_again(world: World) -> None:
    """Outcomes are repeated byte for byte."""
    world.due(1)
    first = world.runner()
    turn(first)
    answer = refused(world.outbox.wishes[0], "NotYet")
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    second = world.runner()
    turn(second)

    asyncio.run(second.hear([answer, answer]))
    turn(second)

    assert world.outbox.subjects[-1] == "identity/key/1.NotYet"


def test_what_others_were_refused_is_nothing_of_this_list(world: World) -> None:
    world.due(1)
    runner = world.runner()
    turn(runner)
    strange = Wish("0190a3c0-0000-7000-8000-000000000000", RevokeKey(reason="retired"), "x", START, None, None, None)

    asyncio.run(runner.hear([refused(strange, "NotYet")]))
    turn(runner)

    assert world.outbox.subjects == ["identity/key/1"]


def test_what_was_not_sent_because_the_broker_was_away_is_still_due(world: World) -> None:
    world.due(1)
    runner = world.runner()
    world.outbox.down = True
    with pytest.raises(KafkaConnectionError):
        turn(runner)
    world.outbox.down = False

    assert turn(runner) == 1


class NoAnswer(Exception):
    pass


def test_an_errand_that_fails_holds_back_no_other_and_is_run_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    answers: dict[int, list[Any]] = {
        1: [NoAnswer(), None, RevokeKey(reason="retired")],
        2: [RevokeKey(reason="mistaken")],
    }

    def ask(n: int) -> Command | None:
        answer: Command | NoAnswer | None = answers[n].pop(0)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    def errands(desk: Desk) -> Iterable[Errand]:
        for n in desk.connection.scalars(select(ERRANDS.c.n).order_by(ERRANDS.c.n)):
            yield Errand(lambda n=n: ask(n), f"identity/key/{n}", f"ask:{n}", START)  # type: ignore[misc]

    world.due(1, 2)
    runner = world.runner(errands)
    with caplog.at_level(logging.CRITICAL, logger="adapters.views.todo"):
        sent = [turn(runner) for _ in range(4)]

    assert sent == [1, 0, 1, 0]
    assert world.outbox.subjects == ["identity/key/2", "identity/key/1"]


def test_a_list_that_is_run_goes_on_after_a_failure_and_ends_when_asked(world: World) -> None:
    """What went wrong once (a view that is being swapped, a database that restarts) does not end the work."""
    world.due(1)
    failures = iter([RuntimeError("once")])

    def failing(desk: Desk) -> Iterable[Task]:
        for failure in failures:
            raise failure
        yield from plan(desk)

    async def run() -> None:
        stop, runner = asyncio.Event(), world.runner(failing)
        running = asyncio.create_task(runner.run(stop))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if world.outbox.wishes:
                break
        stop.set()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())

    assert world.outbox.subjects == ["identity/key/1"]
    assert turn(world.runner()) == 1, "the lease was given up"
