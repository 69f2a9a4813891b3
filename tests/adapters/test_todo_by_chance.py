"""Chance plays readers, time, the rules and death: everything due is sent, and nothing is planned without cause."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiokafka.errors import KafkaConnectionError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, select

from adapters.kafka.commands import Answer
from adapters.sql import engine_for
from adapters.views.tables import leases, positions, refused_tasks
from adapters.views.todo import AGAIN_SECONDS, LEASE_SECONDS, LOOK_SECONDS, REST_SECONDS, Lists
from adapters.views.wishes import Wish
from contracts import instant, rfc3339
from contracts.identity import RevokeKey
from streams import Desk, Task, TodoList
from tests.adapters.listed import ERRANDS, START, VIEWS, move
from tests.databases import upgrade

NAMES = ("first", "second")


@dataclass
class Process:
    """With two lists over the same rows."""

    lists: Lists
    plans: list[tuple[str, datetime]] = field(default_factory=list)
    """Since it was last asked for."""
    causes: set[str] = field(default_factory=lambda: set(NAMES))
    """Lists that there is cause to plan."""
    last: dict[str, datetime] = field(default_factory=dict)


class Office(RuleBasedStateMachine):
    """Rows become due, now or later; two processes work them off. `views` is set by the test."""

    views: Engine

    @initialize()
    def begin(self) -> None:
        with self.views.begin() as connection:
            for table in (ERRANDS, positions, leases, refused_tasks):
                connection.execute(table.delete())
        self.now, self.is_down = START, False
        self.at: dict[int, datetime] = {}
        self.sent: dict[str, tuple[str, datetime]] = {}
        """Subject to the command's id and the time when it was sent last."""
        self.processes = [self._started(), self._started()]

    @rule(seconds=st.sampled_from([0, 0, 1, 7, 30]))
    def something_comes(self, seconds: int) -> None:
        number = len(self.at)
        self.at[number] = self.now + timedelta(seconds=seconds)
        with self.views.begin() as connection:
            connection.execute(ERRANDS.insert().values(n=number, at=rfc3339(self.at[number])))
            move(connection, "errands")
        self._all_have_cause()

    @rule()
    def something_else_moves(self) -> None:
        with self.views.begin() as connection:
            move(connection, "others")

    @rule(seconds=st.sampled_from([0.5, 1, 3, 10]))
    def time_passes(self, seconds: float) -> None:
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.now += timedelta(seconds=LOOK_SECONDS)
            self._turns()

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), is_accepted=st.booleans())
    def it_is_decided(self, data: st.DataObject, is_accepted: bool) -> None:
        subject = data.draw(st.sampled_from(sorted(self.sent)))
        self._decide(subject, is_accepted)

    @rule(which=st.integers(0, 1))
    def a_process_dies(self, which: int) -> None:
        self.processes[which] = self._started()

    @rule()
    def the_broker_comes_and_goes(self) -> None:
        self.is_down = not self.is_down

    def teardown(self) -> None:
        """In the end the world is well, and nothing is left."""
        self.is_down = False
        for _ in range(4):
            for _ in range(int((LEASE_SECONDS + AGAIN_SECONDS + 10) / LOOK_SECONDS)):
                self.now += timedelta(seconds=LOOK_SECONDS)
                self._turns()
            for subject in list(self.sent):
                self._decide(subject, is_accepted=True)
        with self.views.connect() as connection:
            assert connection.scalars(select(ERRANDS.c.n)).all() == []

    def _turns(self) -> None:
        for process in self.processes:
            again = [sent + timedelta(seconds=AGAIN_SECONDS) for _, sent in self.sent.values()]
            try:
                asyncio.run(process.lists.turn())
            except KafkaConnectionError:
                process.causes.update(NAMES)
            for name, planned in process.plans:
                last = process.last.get(name)
                is_time = last is not None and any(
                    last < at <= self.now for at in (*self.at.values(), *again, last + timedelta(seconds=REST_SECONDS))
                )
                assert last is None or name in process.causes or is_time, f"{name} was planned at {planned}, after {last}"
                process.last[name] = planned
                if not self.is_down:
                    process.causes.discard(name)
            process.plans.clear()

    def _decide(self, subject: str, is_accepted: bool) -> None:
        command, _ = self.sent.pop(subject)
        _, number, _ = subject.split("/")[-1].split(".")
        said = {} if is_accepted else {"refusal": {"name": "NotYet", "text": "no"}}
        answer = Answer(command, is_accepted, {"data": {**said, "time": rfc3339(self.now)}})
        for process in self.processes:
            asyncio.run(process.lists.hear([answer]))
        if is_accepted:
            with self.views.begin() as connection:
                connection.execute(ERRANDS.delete().where(ERRANDS.c.n == int(number)))
                move(connection, "errands")
        self._all_have_cause()

    def _all_have_cause(self) -> None:
        for process in self.processes:
            process.causes.update(NAMES)

    def _started(self) -> Process:
        process = Process(None)  # type: ignore[arg-type]
        listings = [TodoList(name, lambda desk, name=name: self._plan(name, process, desk)) for name in NAMES]  # type: ignore[misc]
        process.lists = Lists(self.views, listings, VIEWS, self._send, lambda: self.now)
        return process

    def _plan(self, name: str, process: Process, desk: Desk) -> Iterable[Task]:
        process.plans.append((name, desk.now))
        for row in desk.connection.execute(select(ERRANDS).order_by(ERRANDS.c.n)):
            at = instant(row.at)
            if desk.is_due(at):
                subject = f"identity/key/{name}.{row.n}"
                yield Task(RevokeKey(reason="retired"), f"{subject}.end", f"end:{row.n}", at)
                if (refusal := desk.refusal(f"end:{row.n}")) is not None:
                    yield Task(RevokeKey(reason="mistaken"), f"{subject}.instead", f"instead:{row.n}", refusal.at)

    async def _send(self, wishes: Sequence[Wish]) -> None:
        if self.is_down:
            raise KafkaConnectionError
        self.sent.update({wish.subject: (wish.id, self.now) for wish in wishes})


def test_everything_due_is_sent_and_nothing_is_planned_without_cause(store_url: str) -> None:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    with engine.begin() as connection:
        ERRANDS.metadata.create_all(connection)
    machine = type("Machine", (Office,), {"views": engine})
    bounds = settings(max_examples=6, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=bounds)
    engine.dispose()
