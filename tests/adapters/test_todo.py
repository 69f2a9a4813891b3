"""What is due is sent once, by one of those that could; what was refused is remembered; what fails holds back nothing else."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from sqlalchemy import Engine, event, select, text

from adapters.kafka.commands import Answer
from adapters.sql import engine_for
from adapters.views.positions import last_heard, positions_in
from adapters.views.tables import positions
from adapters.views.todo import AGAIN_SECONDS, LEASE_SECONDS, LOOK_SECONDS, MOST, REST_SECONDS, Lists, Unwatched
from adapters.views.todo import desk as desks
from adapters.views.todo import runner as runners
from adapters.views.wishes import Wish
from contracts import Command, rfc3339
from contracts.identity import RevokeKey
from streams import Desk, Errand, Task, TodoList
from tests.adapters.listed import ERRANDS, OTHERS, START, VIEWS, move
from tests.databases import upgrade


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

    def lists(self, *plans: Callable[[Any], Iterable[Any]], every_seconds: float = 0.5) -> Lists:
        """A process."""
        named = {"ends" if n == 0 else f"ends {n}": listed for n, listed in enumerate(plans or (plan,))}
        listings = [TodoList(name, listed, every_seconds) for name, listed in named.items()]
        return Lists(self.views, listings, VIEWS, self.outbox.send, self.clock)

    def due(self, *numbers: int) -> None:
        with self.views.begin() as connection:
            connection.execute(ERRANDS.insert(), [{"n": n} for n in numbers])
            move(connection, "errands")

    def done(self, n: int) -> None:
        with self.views.begin() as connection:
            connection.execute(ERRANDS.delete().where(ERRANDS.c.n == n))
            move(connection, "errands")


@pytest.fixture
def world(views: Engine) -> World:
    return World(views)


def turn(lists: Lists) -> int:
    return asyncio.run(lists.turn())


@dataclass
class Counted:
    """A plan that counts how often it was made."""

    plan: Callable[[Any], Iterable[Any]] = plan
    times: int = 0

    def __call__(self, desk: Desk) -> Iterable[Any]:
        self.times += 1
        yield from self.plan(desk)


def refused(wish: Wish, name: str) -> Answer:
    data = {"refusal": {"name": name, "text": "no", "field": None}, "time": rfc3339(START + timedelta(seconds=3))}
    return Answer(wish.id, False, {"data": data})


def test_what_is_due_is_sent_once_and_again_only_after_a_while(world: World) -> None:
    """Its command or its outcome may be under way; after that it may have been lost, and its id makes two one."""
    world.due(1, 2)
    runner = world.lists()

    sent = [turn(runner), turn(runner)]
    world.clock.pass_seconds(AGAIN_SECONDS + 1)
    sent.append(turn(runner))

    assert sent == [2, 0, 2]
    ids = [wish.id for wish in world.outbox.wishes]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


def test_what_the_views_show_as_done_is_not_sent(world: World) -> None:
    world.due(1, 2)
    runner = world.lists()
    turn(runner)
    world.done(1)
    world.clock.pass_seconds(AGAIN_SECONDS + 1)

    turn(runner)

    assert world.outbox.subjects == ["identity/key/1", "identity/key/2", "identity/key/2"]


def test_whoever_starts_again_sends_the_same_commands(world: World) -> None:
    """Its predecessor died after sending: nobody remembers, and nobody needs to."""
    world.due(7)
    turn(world.lists())
    world.clock.pass_seconds(LEASE_SECONDS + 1)

    turn(world.lists())

    first, second = world.outbox.wishes
    assert first == second


def test_somebody_else_s_list_is_left_alone_until_the_lease_is_over(world: World) -> None:
    world.due(1)
    mine, other = world.lists(), world.lists()
    turn(mine)

    assert turn(other) == 0
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    assert turn(other) == 1


def test_a_lease_is_renewed_as_long_as_its_holder_works(world: World) -> None:
    mine, other = world.lists(), world.lists()
    for _ in range(20):
        turn(mine)
        world.clock.pass_seconds(LOOK_SECONDS)

    world.due(1)
    assert (turn(other), turn(mine)) == (0, 1)


def test_a_refused_task_is_not_sent_again_and_the_plan_says_what_becomes_of_it(world: World) -> None:
    world.due(1)
    runner = world.lists()
    turn(runner)

    asyncio.run(runner.hear([refused(world.outbox.wishes[0], "NotYet")]))
    turn(runner)
    world.clock.pass_seconds(AGAIN_SECONDS + 1)
    turn(world.lists())

    assert world.outbox.subjects[:2] == ["identity/key/1", "identity/key/1.NotYet"]
    assert set(world.outbox.subjects[2:]) <= {"identity/key/1.NotYet"}


def test_a_refusal_that_nobody_heard_is_heard_when_the_task_is_sent_again(world: World) -> None:
    """Outcomes are repeated byte for byte."""
    world.due(1)
    first = world.lists()
    turn(first)
    answer = refused(world.outbox.wishes[0], "NotYet")
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    second = world.lists()
    turn(second)

    asyncio.run(second.hear([answer, answer]))
    turn(second)

    assert world.outbox.subjects[-1] == "identity/key/1.NotYet"


def test_what_others_were_refused_is_nothing_of_this_list(world: World) -> None:
    world.due(1)
    runner = world.lists()
    turn(runner)
    strange = Wish("0190a3c0-0000-7000-8000-000000000000", RevokeKey(reason="retired"), "x", START, None, None, None)

    asyncio.run(runner.hear([refused(strange, "NotYet")]))
    turn(runner)

    assert world.outbox.subjects == ["identity/key/1"]


def test_what_was_not_sent_because_the_broker_was_away_is_still_due(world: World) -> None:
    world.due(1)
    runner = world.lists()
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
    runner = world.lists(errands)
    with caplog.at_level(logging.CRITICAL, logger="adapters.views.todo"):
        sent = []
        for _ in range(4):
            sent.append(turn(runner))
            world.clock.pass_seconds(0.5)

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
        stop, runner = asyncio.Event(), world.lists(failing)
        running = asyncio.create_task(runner.run(stop))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if world.outbox.wishes:
                break
        stop.set()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())

    assert world.outbox.subjects == ["identity/key/1"]
    assert turn(world.lists()) == 1, "the lease was given up"


# Cause


def test_a_list_is_planned_when_a_reader_moves_whose_table_it_read_and_no_other(world: World) -> None:
    """Nobody names what a plan reads: it is taken from its statements."""
    counted = Counted()
    lists = world.lists(counted)
    seen = []
    for reader in (None, "others", "errands", None):
        if reader is not None:
            with world.views.begin() as connection:
                move(connection, reader)
        turn(lists)
        seen.append(counted.times)

    assert seen == [1, 1, 2, 2]


def test_events_that_change_no_row_wake_no_list_but_one_that_asks_for_the_position(world: World) -> None:
    """Nearly every event means nothing to nearly every view: lists that were woken by all of them took a fifth of a core."""

    def rows(desk: Desk) -> Iterable[Task]:
        desk.connection.execute(select(ERRANDS.c.n)).all()
        return ()

    def place(desk: Desk) -> Iterable[Task]:
        positions_in("errands", desk.connection)
        return ()

    by_rows, by_place = Counted(rows), Counted(place)
    lists = world.lists(by_rows, by_place)
    turn(lists)
    with world.views.begin() as connection:
        move(connection, "errands")
    turn(lists)
    with world.views.begin() as connection:
        connection.execute(positions.update().values(next=positions.c.next + 1))
    turn(lists)

    assert (by_rows.times, by_place.times) == (2, 3)


def test_what_a_plan_did_not_come_to_read_does_not_wake_it(world: World) -> None:
    """It asks for the second table only when the first has a row; from then on that one wakes it too."""

    def either(desk: Desk) -> Iterable[Task]:
        if desk.connection.execute(select(ERRANDS.c.n)).first() is not None:
            for n in desk.connection.scalars(select(OTHERS.c.n)):
                yield Task(RevokeKey(reason="retired"), f"identity/key/{n}", f"end:{n}", START)

    counted = Counted(either)
    lists = world.lists(counted)
    seen = []
    for changes in ((), ("others",), ("errands",), ("others",)):
        with world.views.begin() as connection:
            for reader in changes:
                move(connection, reader)
            if "errands" in changes:
                connection.execute(ERRANDS.insert().values(n=1))
        turn(lists)
        seen.append(counted.times)

    assert seen == [1, 1, 2, 3]


def test_a_reader_that_tells_of_its_progress_is_not_looked_for(world: World) -> None:
    """What it told wakes those lists that read its tables."""
    both = Counted(), Counted(lambda desk: iter(desk.connection.scalars(select(OTHERS.c.n)).all()))
    lists = world.lists(*both)
    turn(lists)

    lists.moved(["others"])
    turn(lists)

    assert [each.times for each in both] == [1, 2]


def test_a_reader_s_position_wakes_whoever_asked_for_it(world: World) -> None:
    def waiting(desk: Desk) -> Iterable[Task]:
        if last_heard("heartbeats", desk.connection) is not None:
            yield Task(RevokeKey(reason="retired"), "identity/key/1", "end:1", START)

    lists = world.lists(waiting)
    before = turn(lists)
    with world.views.begin() as connection:
        move(connection, "heartbeats")
        connection.execute(positions.update().values(last_time=rfc3339(START)))

    assert (before, turn(lists)) == (0, 1)


@pytest.mark.parametrize(
    "read", [select(positions.c.next), text("select n from test_errands")], ids=["a table of no view", "text"]
)
def test_a_plan_that_reads_what_nobody_would_wake_it_for_fails(world: World, read: Any) -> None:
    lists = world.lists(lambda desk: desk.connection.execute(read).all())

    with pytest.raises(Unwatched):
        turn(lists)


def test_a_list_is_planned_when_the_time_comes_that_its_plan_waits_for(world: World) -> None:
    due = START + timedelta(seconds=30)

    def later(desk: Desk) -> Iterable[Task]:
        if desk.is_due(due):
            yield Task(RevokeKey(reason="retired"), "identity/key/1", "end:1", due)

    counted = Counted(later)
    lists = world.lists(counted)
    seen = []
    for seconds in (0, 29, 1, 1):
        world.clock.pass_seconds(seconds)
        seen.append((turn(lists), counted.times))

    assert seen == [(0, 1), (0, 1), (1, 2), (0, 2)]


def test_a_clock_that_is_put_forward_or_back_is_noticed(world: World) -> None:
    counted = Counted()
    lists = world.lists(counted)
    seen = []
    for seconds in (0, -3600, 0, 86_400):
        world.clock.pass_seconds(seconds)
        turn(lists)
        seen.append(counted.times)

    assert seen == [1, 2, 2, 3]


def test_a_list_that_nothing_wakes_is_planned_after_a_while_in_any_case(world: World) -> None:
    """Whatever was overlooked is late, and not lost."""
    counted = Counted()
    lists = world.lists(counted)
    for _ in range(int(3 * REST_SECONDS / LOOK_SECONDS)):
        turn(lists)
        world.clock.pass_seconds(LOOK_SECONDS)

    assert counted.times == 3


def test_a_refusal_is_cause_for_a_plan_and_an_acceptance_is_none(world: World) -> None:
    counted = Counted()
    world.due(1, 2)
    lists = world.lists(counted)
    turn(lists)
    wishes = world.outbox.wishes
    seen = []
    for answer in (Answer(wishes[0].id, True, {}), refused(wishes[1], "NotYet")):
        asyncio.run(lists.hear([answer]))
        turn(lists)
        seen.append(counted.times)

    assert seen == [1, 2]


def test_lists_that_rest_cost_no_more_than_one(world: World) -> None:
    """Forty that ask the database twice a second, each for itself, take a third of a core."""
    counts = []
    for number in (1, 40):
        lists = world.lists(*[plan] * number)
        turn(lists)
        statements: list[str] = []
        with counting(world.views, statements):
            for _ in range(20):
                world.clock.pass_seconds(LOOK_SECONDS)
                turn(lists)
        counts.append(len(statements))
        world.clock.pass_seconds(LEASE_SECONDS)

    assert counts[0] == counts[1]
    assert "update" not in " ".join(statements).lower().replace("do update", "")


@contextmanager
def counting(views: Engine, statements: list[str]) -> Iterator[None]:
    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(views, "before_cursor_execute", count)
    yield
    event.remove(views, "before_cursor_execute", count)


# Many, and slow ones


def test_more_than_can_be_sent_at_a_time_is_sent_in_turns(world: World) -> None:
    world.due(*range(MOST + 5))
    lists = world.lists()

    assert [turn(lists), turn(lists), turn(lists)] == [MOST, 5, 0]


@dataclass
class Silent:
    """A bank that has no answer, and remembers what it was asked."""

    asked: list[int] = field(default_factory=list)

    def plan(self, desk: Desk) -> Iterable[Errand]:
        for n in desk.connection.scalars(select(ERRANDS.c.n).order_by(ERRANDS.c.n)):
            yield Errand(partial(self._ask, n), f"identity/key/{n}", f"ask:{n}", START)

    def _ask(self, n: int) -> None:
        self.asked.append(n)


def test_errands_without_an_answer_do_not_starve_those_behind_them(world: World) -> None:
    """The oldest stand first in the plan, and a thousand of them may never be answered."""
    world.due(*range(MOST + 1))
    bank = Silent()
    lists = world.lists(bank.plan)

    turn(lists)
    world.clock.pass_seconds(1)
    turn(lists)

    assert bank.asked == list(range(MOST + 1))


def test_each_errand_has_its_turn_before_the_first_has_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the bank is: in a turn it is asked for a while only."""
    monkeypatch.setattr(runners, "ASKING_SECONDS", 0)
    world.due(1, 2, 3)
    bank = Silent()
    lists = world.lists(bank.plan)
    for _ in range(7):
        turn(lists)
        world.clock.pass_seconds(1)

    assert bank.asked == [1, 2, 3, 1, 2, 3, 1]


def test_an_errand_that_waits_is_run_less_and_less_often(world: World) -> None:
    """What a bank says of a payout after a month is not asked for twice a second."""
    world.due(1)
    bank, asked = Silent(), []
    lists = world.lists(bank.plan)
    for _ in range(2 * 600):
        turn(lists)
        asked.append(len(bank.asked))
        world.clock.pass_seconds(0.5)

    assert asked[:4] == [1, 2, 3, 4]
    assert asked[-1] - asked[-1 - 2 * 60] == 12


def test_a_bank_that_is_silent_and_a_plan_that_fails_hold_up_no_other_list(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()

    def hanging(desk: Desk) -> Iterable[Errand]:
        yield Errand(lambda: released.wait(30) and None, "identity/key/0", "hang", desk.now)

    def failing(desk: Desk) -> Iterable[Task]:
        raise RuntimeError(str(desk.now))

    async def live() -> list[str]:
        stop, lists = asyncio.Event(), world.lists(hanging, failing, plan)
        working = asyncio.create_task(lists.run(stop))
        for n in (1, 2):
            world.due(n)
            lists.moved(["errands"])
            await _until(lambda n=n: len(world.outbox.wishes) == n)  # type: ignore[misc]
        found = world.outbox.subjects
        stop.set()
        released.set()
        await working
        return found

    with caplog.at_level(logging.CRITICAL, logger="adapters.views.todo"):
        assert asyncio.run(live()) == ["identity/key/1", "identity/key/2"]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  what is waited for happens in a thread
            await asyncio.sleep(0.01)


def test_refusals_that_do_not_fit_into_memory_are_looked_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They grow with all history, and a plan needs a few."""
    monkeypatch.setattr(desks, "KEPT", 2)
    world.due(1, 2, 3, 4)
    first = world.lists()
    turn(first)
    asyncio.run(first.hear([refused(wish, "NotYet") for wish in world.outbox.wishes]))
    turn(first)
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    turn(world.lists())

    assert world.outbox.subjects[4:8] == [f"identity/key/{n}.NotYet" for n in (1, 2, 3, 4)]
    assert world.outbox.subjects[8:] == world.outbox.subjects[4:8]


def test_a_look_outside_is_cause_for_a_plan_where_it_found_something(world: World) -> None:
    found, planned = iter([False, True, False]), []

    def credited(desk: Desk) -> Iterable[Task]:
        planned.append(desk.now)
        return ()

    looked = TodoList("credits", credited, 1, look=lambda: next(found))
    lists = Lists(world.views, [looked], VIEWS, world.outbox.send, world.clock)
    for _ in range(6):
        turn(lists)
        world.clock.pass_seconds(0.5)

    assert planned == [START, START + timedelta(seconds=1)]
    assert next(found, None) is None
