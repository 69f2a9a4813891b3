"""One list: what would have it planned again, what it has sent, and what it has asked the outside."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from sqlalchemy import Engine

from adapters.crash import crashpoint
from adapters.kafka.commands import Answer
from adapters.sql import reading
from adapters.views.todo.desk import OnDesk, Refusals
from adapters.views.todo.watching import Watch
from adapters.views.wishes import Send, Wish, derived_uuid7
from contracts import Command

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MOST = 2_000
"""Tasks that are sent at a time; what is left is due in the next turn."""
AGAIN_SECONDS = 20.0
"""A task that is still due is sent again after this: its command or its outcome may be under way."""
REST_SECONDS = 60.0
"""A list is planned after this in any case: whatever was overlooked is late, and not lost."""
ASKING_SECONDS = 2.0
"""Errands are run for so long; then what they said is sent, and the rest is run."""
WAITED_PARTS, SLOWER = 20, 10
"""An errand without an answer is run again after a twentieth of the time that it has waited for one: after the list's pause at
first, and after ten times that in the end."""


class Planned(Protocol):
    """`streams.Task` with its `command`, or `streams.Errand` with its `call`."""

    @property
    def subject(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def at(self) -> datetime: ...

    @property
    def cause(self) -> str | None: ...


class Listing(Protocol):
    """`streams.TodoList`."""

    @property
    def name(self) -> str: ...

    @property
    def plan(self) -> Callable[[Any], Iterable[Planned]]: ...

    @property
    def every_seconds(self) -> float: ...

    @property
    def look(self) -> Callable[[], bool] | None: ...


class InThread(Protocol):
    """Makes calls that block."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...


@dataclass(frozen=True)
class Means:
    """What the lists of a process share."""

    engine: Engine
    watch: Watch
    send: Send
    clock: Callable[[], datetime]
    plans: InThread
    """One thread, for whatever asks the views."""
    outside: InThread
    """Several, for whatever asks a bank or a chain."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An errand that had nothing to say: since when it has been run, and when it is run again."""

    first: datetime
    again: datetime


@dataclass
class _Plan:
    """What a plan said, less what is under way."""

    now: datetime
    wakes: datetime
    reads: set[str] = field(default_factory=set)
    tasks: list[Planned] = field(default_factory=list)
    errands: list[Planned] = field(default_factory=list)
    is_cut: bool = False
    """There is more."""


class TodoRunner:
    """What is done for a list, whenever there is cause to. It is run by one task at a time."""

    def __init__(self, listing: Listing, means: Means) -> None:
        self.name, self._list, self._means = listing.name, listing, means
        self.every_seconds = listing.every_seconds
        self._pause = timedelta(seconds=listing.every_seconds)
        self._refusals = Refusals(means.engine, listing.name)
        self._sent: dict[str, tuple[str, datetime]] = {}
        """A command's id to its task's key, and when it was sent."""
        self._asked: dict[str, _Asked] = {}
        self._round: set[str] = set()
        """Errands that were run since all of them were: where they are many, each has its turn before the first has another."""
        self._last: _Plan | None = None
        self._moved: set[str] = set()
        self._is_woken = True
        self._looks_at: datetime | None = None
        self._plan_seconds = 0.0

    def moved(self, readers: Iterable[str]) -> None:
        self._moved.update(readers)

    def wake(self) -> None:
        self._is_woken = True

    def take_over(self) -> None:
        """The list is ours, and was not."""
        self._refusals.forget()
        self.wake()

    def has_cause(self, now: datetime) -> bool:
        return self._must_plan(now) or self._must_look(now)

    def wait_seconds(self, now: datetime) -> float:
        """Of one that has no cause: until there is one by time alone."""
        times = [self._last.wakes] if self._last is not None else []
        if self._looks_at is not None:
            times.append(self._looks_at)
        return min(((at - now).total_seconds() for at in times), default=0.0)

    def cost_seconds(self) -> float:
        """What the last plan took of the thread in which all lists plan."""
        return self._plan_seconds

    async def turn(self) -> int:
        """Look, plan, send, ask; how many commands were sent."""
        try:
            return await self._turn(self._means.clock())
        except BaseException:
            self.wake()
            raise

    async def hear(self, answers: Sequence[Answer]) -> None:
        """Outcomes of any commands; a refusal of one of this list's is remembered."""
        mine = [(self._sent[answer.command_id][0], answer) for answer in answers if answer.command_id in self._sent]
        refused = {key: answer for key, answer in mine if not answer.is_accepted}
        if refused:
            for key, answer in refused.items():
                said = answer.refusal or {}
                log.info("%s: %s was refused: %s %s", self.name, key, said.get("name"), said.get("text"))
            await self._means.plans(self._refusals.remember, refused)
            self.wake()

    def _must_plan(self, now: datetime) -> bool:
        last = self._last
        if self._is_woken or last is None or not self._moved.isdisjoint(last.reads):
            return True
        # A clock that was put back is a cause too.
        return not last.now <= now < last.wakes

    def _must_look(self, now: datetime) -> bool:
        if self._list.look is None:
            return False
        return self._looks_at is None or not self._looks_at - self._pause <= now < self._looks_at

    async def _turn(self, now: datetime) -> int:
        if self._list.look is not None and self._must_look(now):
            self._looks_at = now + self._pause
            if await self._means.outside(self._list.look):
                self.wake()
        if not self._must_plan(now):
            return 0
        # Before the views are read: what changes meanwhile is cause for another plan.
        self._moved.clear()
        self._is_woken = False
        self._forget(now)
        plan = await self._means.plans(self._plan, now)
        sent = await self._send([(task, _command_of(task)) for task in plan.tasks], now)
        if plan.errands:
            sent += await self._run_errands(plan)
        elif not plan.is_cut:
            # Whoever was still to be asked in this round is done otherwise: the next begins with those that were.
            self._round.clear()
        self._last = self._closed(plan, sent)
        return sent

    def _plan(self, now: datetime) -> _Plan:
        began = time.monotonic()
        self._refusals.read()
        plan = _Plan(now, now + timedelta(seconds=REST_SECONDS))
        with reading(self._means.engine) as connection, self._means.watch.over(connection) as plan.reads:
            desk = OnDesk(connection, now, self._refusals)
            open_errands = self._sort(plan, desk)
        if desk.wakes is not None:
            plan.wakes = min(plan.wakes, desk.wakes)
        if not plan.is_cut:
            self._asked = {key: asked for key, asked in self._asked.items() if key in open_errands}
        self._plan_seconds = time.monotonic() - began
        return plan

    def _sort(self, plan: _Plan, desk: OnDesk) -> set[str]:
        """Into what is to be sent, what is to be asked, and what has to wait. The keys of all errands that are open."""
        keys: set[str] = set()
        for task in self._list.plan(desk):
            if len(plan.tasks) + len(plan.errands) == MOST:
                plan.is_cut = True
                break
            if desk.refusal(task.key) is not None:
                continue
            if (sent := self._sent.get(self._id(task))) is not None:
                desk.wake_at(sent[1] + timedelta(seconds=AGAIN_SECONDS))
            elif not hasattr(task, "call"):
                plan.tasks.append(task)
            else:
                keys.add(task.key)
                asked = self._asked.get(task.key)
                if task.key not in self._round and (asked is None or not asked.first <= plan.now < asked.again):
                    plan.errands.append(task)
        return keys

    async def _run_errands(self, plan: _Plan) -> int:
        answers = await self._means.outside(self._ask, plan.errands)
        now = self._means.clock()
        for task, command in answers:
            self._round.add(task.key)
            asked = self._asked.pop(task.key, None)
            if command is None:
                first = plan.now if asked is None else asked.first
                pause = min(max(self._pause, (now - first) / WAITED_PARTS), SLOWER * self._pause)
                self._asked[task.key] = _Asked(first, now + pause)
        plan.is_cut = plan.is_cut or len(answers) < len(plan.errands)
        if not plan.is_cut:
            self._round.clear()
        return await self._send(answers, now)

    def _ask(self, errands: Sequence[Planned]) -> list[tuple[Planned, Command | None]]:
        """Of each that there was time for, what it said."""
        found, until = [], time.monotonic() + ASKING_SECONDS
        for errand in errands:
            command = None
            try:
                command = _command_of(errand)
            except Exception:
                # One that cannot be run holds back no other; it is still due in the next turn.
                log.exception("%s: %s", self.name, errand.key)
            else:
                crashpoint("todo.asked")
            found.append((errand, command))
            if time.monotonic() > until:
                break
        return found

    async def _send(self, answers: Iterable[tuple[Planned, Command | None]], now: datetime) -> int:
        wishes = [
            (task.key, Wish(self._id(task), command, task.subject, task.at, task.cause, None, None))
            for task, command in answers
            if command is not None
        ]
        if wishes:
            # Before they are sent: an outcome may be heard before the broker's last acknowledgement.
            self._sent.update({wish.id: (key, now) for key, wish in wishes})
            try:
                await self._means.send([wish for _, wish in wishes])
            except BaseException:
                for _, wish in wishes:
                    self._sent.pop(wish.id, None)
                raise
            crashpoint("todo.sent")
        return len(wishes)

    def _closed(self, plan: _Plan, sent: int) -> _Plan:
        """With the next time that is a cause by itself."""
        times = [plan.wakes, *(asked.again for asked in self._asked.values())]
        if sent:
            times.append(plan.now + timedelta(seconds=AGAIN_SECONDS))
        plan.wakes = plan.now if plan.is_cut else min(times)
        return plan

    def _forget(self, now: datetime) -> None:
        again = now - timedelta(seconds=AGAIN_SECONDS)
        self._sent = {command: entry for command, entry in self._sent.items() if again < entry[1] <= now}

    def _id(self, task: Planned) -> str:
        return derived_uuid7(task.at, f"{self.name}\n{task.key}")


def _command_of(task: Any) -> Command | None:
    found: Command | None = task.call() if hasattr(task, "call") else task.command
    return found
