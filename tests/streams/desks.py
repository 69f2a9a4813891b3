"""Desks of tests, and a check of every plan: what nothing wakes a list for, it has nothing to say about."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine

from adapters.sql import reading
from adapters.views.todo.watching import ProgressSignal, Watch
from streams import Errand, Projection, Refusal, Task, all_streams

LONG = timedelta(days=400)
INSTANT = timedelta(microseconds=1)


class Nowhere:
    """A world that reaches neither bank nor chain."""

    network = "test"
    outside = None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        raise NotImplementedError


@cache
def watch() -> Watch:
    """Over the tables of every context."""
    return Watch(found for found in all_streams(Nowhere()) if isinstance(found, Projection))


@dataclass
class Seat:
    """A list's desk."""

    connection: Connection
    now: datetime
    refusals: Mapping[str, Refusal]
    wakes: datetime | None = None

    def refusal(self, key: str) -> Refusal | None:
        return self.refusals.get(key)

    def is_due(self, moment: datetime) -> bool:
        self.wake_at(moment)
        return moment <= self.now

    def wake_at(self, moment: datetime | None) -> None:
        if moment is not None and moment > self.now and (self.wakes is None or moment < self.wakes):
            self.wakes = moment


Planned = Task | Errand
Plan = Callable[[Any], Iterable[Planned]]


@dataclass
class _Slept:
    """What a list said when it was planned last, and what would wake it."""

    plan: Plan
    now: datetime
    wakes: datetime | None
    reads: frozenset[str]
    refused: Collection[str]
    said: Collection[str]


@dataclass
class Desks:
    """Plans lists, and sees that none of them would have slept through what it says."""

    engine: Engine
    _last: dict[str, _Slept] = field(default_factory=dict)
    _signals: dict[str, ProgressSignal] = field(default_factory=dict)

    def plan(
        self, name: str, plan: Plan, now: datetime, refusals: Mapping[str, Refusal], *, woken: bool = False
    ) -> list[Planned]:
        """What is due and was not refused. `woken` by what it saw outside."""
        moved = self._signals.setdefault(name, ProgressSignal(self.engine)).moved()
        last = self._last.get(name)
        wakes, reads, due = self._planned(plan, now, refusals)
        said = {task.key for task in due}
        if last is not None and last.plan == plan and not woken and self._sleeps(last, now, moved, refusals):
            assert said <= set(last.said), f"{name} sleeps until {last.wakes} through {sorted(said - set(last.said))[:3]}"
        until = now + LONG if wakes is None else wakes - INSTANT
        _, _, later = self._planned(plan, until, refusals)
        assert {task.key for task in later} <= said, f"{name} sleeps until {wakes} through {[task.key for task in later][:3]}"
        self._last[name] = _Slept(plan, now, wakes, reads, set(refusals), said)
        return due

    def _planned(
        self, plan: Plan, now: datetime, refusals: Mapping[str, Refusal]
    ) -> tuple[datetime | None, frozenset[str], list[Planned]]:
        with reading(self.engine) as connection, watch().over(connection) as reads:
            seat = Seat(connection, now, refusals)
            due = [task for task in plan(seat) if task.key not in refusals]
        return seat.wakes, frozenset(reads), due

    def _sleeps(self, last: _Slept, now: datetime, moved: frozenset[str], refusals: Mapping[str, Refusal]) -> bool:
        is_night = last.now <= now and (last.wakes is None or now < last.wakes)
        return is_night and moved.isdisjoint(last.reads) and set(refusals) == last.refused
