"""Works off a to-do list: plan from the views, send what is due, remember what was refused.

Nothing is remembered of what was sent but in memory: whoever starts again plans again, sends the same commands with the
same ids, and hears the same outcomes. A command whose effect the views do not show yet is sent again after a while.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, delete, func, insert, select

from adapters.clock import now as machine_clock
from adapters.crash import crashpoint
from adapters.kafka.commands import Answer
from adapters.sql import is_transient, reading
from adapters.views.readers import OneThread
from adapters.views.tables import leases, positions, refused_tasks
from adapters.views.wishes import Send, Wish, derived_uuid7
from contracts import Command, instant, rfc3339

log = logging.getLogger(__name__)

MOST = 2_000
"""Tasks that are sent at a time; what is left is due in the next turn."""
AGAIN_SECONDS = 20.0
"""A task that is still due is sent again after this: its command or its outcome may be under way."""
LEASE_SECONDS = 4.0
REST_SECONDS = 3.0
"""A list on which nothing was due is planned again when the views have changed, or after this: time alone makes things due."""
LOOK_SECONDS = 0.2
PAUSE_SECONDS = (0.5, 30.0)
"""After a failure: the first pause and the longest, each twice the one before."""


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


@dataclass(frozen=True, slots=True)
class Refused:
    """`streams.Refusal`."""

    name: str
    text: str
    at: datetime


_ALL_POSITIONS = select(func.count(), func.sum(positions.c.next), func.sum(positions.c.epoch), func.sum(positions.c.generation))


class Pulse:
    """Changes whenever a reader has moved. All lists of a process ask one: it looks a few times a second for all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._looked = -LOOK_SECONDS
        self._seen: tuple[object, ...] = ()

    def now(self) -> tuple[object, ...]:
        with self._lock:
            if time.monotonic() >= self._looked + LOOK_SECONDS:
                self._looked = time.monotonic()
                with reading(self._engine) as connection:
                    self._seen = tuple(connection.execute(_ALL_POSITIONS).one())
            return self._seen


class Leases:
    """Whose a list is, for LEASE_SECONDS at a time. All lists of a process are renewed together, with one commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._until: dict[str, datetime] = {}
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"

    def has(self, name: str, now: datetime) -> bool:
        """Whether the list is ours from now on. Nobody else takes it before its end."""
        with self._lock:
            until = self._until.get(name)
            if until is None or not until - timedelta(seconds=LEASE_SECONDS) <= now < until:
                return self._take(name, now)
            if until <= now + timedelta(seconds=LEASE_SECONDS / 2):
                self._renew(now)
            return name in self._until

    def give_up(self, name: str) -> None:
        with self._lock, self._engine.begin() as connection:
            self._until.pop(name, None)
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == self._holder))

    def _renew(self, now: datetime) -> None:
        until = now + timedelta(seconds=LEASE_SECONDS)
        # One that ended while we slept may be another's by now: it is taken anew, or not.
        mine = (leases.c.holder == self._holder) & leases.c.name.in_([name for name, end in self._until.items() if end > now])
        with self._engine.begin() as connection:
            connection.execute(leases.update().where(mine).values(until=rfc3339(until)))
            names = connection.scalars(select(leases.c.name).where(mine)).all()
        self._until = dict.fromkeys(names, until)

    def _take(self, name: str, now: datetime) -> bool:
        self._until.pop(name, None)
        until = now + timedelta(seconds=LEASE_SECONDS)
        mine = {"holder": self._holder, "until": rfc3339(until)}
        with reading(self._engine) as connection:
            held = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
        if held is not None and held.holder != self._holder and held.until > rfc3339(now):
            return False
        with self._engine.begin() as connection:
            held = connection.execute(select(leases).where(leases.c.name == name).with_for_update()).one_or_none()
            if held is None:
                connection.execute(insert(leases).values(name=name, **mine))
            elif held.holder != self._holder and held.until > rfc3339(now):
                return False
            else:
                connection.execute(leases.update().where(leases.c.name == name).values(**mine))
        self._until[name] = until
        return True


@dataclass
class OnDesk:
    """`streams.Desk` over one snapshot of the views."""

    list: str
    connection: Connection
    now: datetime
    _known: dict[str, Refused] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = refused_tasks
        rows = self.connection.execute(select(table).where(table.c.list == self.list))
        self._known = {row.key: Refused(row.name, row.text, instant(row.at)) for row in rows}

    def refusal(self, key: str) -> Refused | None:
        return self._known.get(key)


class TodoRunner:
    """One list. `send` signs and publishes; what became of it reaches `hear`."""

    def __init__(
        self,
        engine: Engine,
        listing: Listing,
        send: Send,
        clock: Callable[[], datetime] | None = None,
        pulse: Pulse | None = None,
        held: Leases | None = None,
    ) -> None:
        """`pulse` and `held` may be shared by the lists of a process."""
        self.name = listing.name
        self._pulse, self._leases = pulse or Pulse(engine), held or Leases(engine)
        self._rested: tuple[tuple[object, ...], datetime] | None = None
        """The pulse and the time at which nothing was due."""
        self._engine, self._list, self._send = engine, listing, send
        self._clock = clock or machine_clock
        self._in_thread = OneThread(listing.name)
        self._sent: dict[str, tuple[str, datetime]] = {}

    async def run(self, stop: asyncio.Event, on_life: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set. A plan that fails is logged and tried again: what is due stays due."""
        pause = PAUSE_SECONDS[0]
        while not stop.is_set():
            on_life()
            try:
                if not await self._in_thread(self._may_rest):
                    await self.turn()
                pause, wait = PAUSE_SECONDS[0], self._list.every_seconds
            except Exception as error:
                log.log(logging.WARNING if is_transient(error) else logging.ERROR, "%s: %r", self.name, error, exc_info=True)
                pause, wait = min(pause * 2, PAUSE_SECONDS[1]), pause
            await _until(stop, wait, on_life)
        await self._in_thread(self._leases.give_up, self.name)

    async def turn(self) -> int:
        """Plan once and send; how many were sent. Somebody else's list is left alone."""
        now = self._clock()
        due = await self._in_thread(self._due, now)
        wishes = await self._in_thread(self._wishes, due) if due else []
        if wishes:
            # Before they are sent: an outcome may be heard before the broker's last acknowledgement.
            self._sent.update({wish.id: (key, now) for key, wish in wishes})
            try:
                await self._send([wish for _, wish in wishes])
            except BaseException:
                for _, wish in wishes:
                    self._sent.pop(wish.id, None)
                raise
            crashpoint("todo.sent")
        return len(wishes)

    async def hear(self, answers: Sequence[Answer]) -> None:
        """Outcomes of any commands; a refusal of one of this list's is remembered."""
        mine = [(self._sent[answer.command_id][0], answer) for answer in answers if answer.command_id in self._sent]
        refused = [(key, answer) for key, answer in mine if not answer.is_accepted]
        if refused:
            self._rested = None
            await self._in_thread(self._remember, refused)

    def _may_rest(self) -> bool:
        """Nothing was due, no reader has moved since, and no time has passed; a clock that was moved has."""
        if self._rested is None:
            return False
        seen, at = self._rested
        return timedelta() <= self._clock() - at < timedelta(seconds=REST_SECONDS) and self._pulse.now() == seen

    def _due(self, now: datetime) -> list[Planned]:
        self._rested = None
        if not self._leases.has(self.name, now):
            return []
        self._forget(now)
        # Before the views are read: what changes in between is seen the next time.
        seen, is_empty = self._pulse.now(), True
        found: dict[str, Planned] = {}
        with reading(self._engine) as connection:
            desk = OnDesk(self.name, connection, now)
            for task in self._list.plan(desk):
                if desk.refusal(task.key) is not None:
                    continue
                is_empty = False
                if not self._was_sent(task):
                    found[task.key] = task
                    if len(found) == MOST:
                        break
        if is_empty:
            self._rested = (seen, now)
        return list(found.values())

    def _wishes(self, due: Sequence[Planned]) -> list[tuple[str, Wish]]:
        found = []
        for task in due:
            try:
                command = _command(task)
            except Exception:
                # One that cannot be run holds back no other; it is still due in the next turn.
                log.exception("%s: %s", self.name, task.key)
                continue
            crashpoint("todo.asked")
            if command is not None:
                found.append((task.key, Wish(self._id(task), command, task.subject, task.at, task.cause, None, None)))
        return found

    def _was_sent(self, task: Planned) -> bool:
        return self._id(task) in self._sent

    def _forget(self, now: datetime) -> None:
        again = now - timedelta(seconds=AGAIN_SECONDS)
        self._sent = {command: entry for command, entry in self._sent.items() if entry[1] > again}

    def _id(self, task: Planned) -> str:
        return derived_uuid7(task.at, f"{self.name}\n{task.key}")

    def _remember(self, refused: Sequence[tuple[str, Answer]]) -> None:
        rows = {key: self._row(key, answer) for key, answer in refused}
        table = refused_tasks
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.list == self.name, table.c.key.in_(rows)))
            connection.execute(insert(table), list(rows.values()))

    def _row(self, key: str, answer: Answer) -> dict[str, str]:
        refusal = answer.refusal or {}
        log.info("%s: %s was refused: %s %s", self.name, key, refusal.get("name"), refusal.get("text"))
        said = {"name": refusal.get("name", ""), "text": refusal.get("text", ""), "at": answer.document["data"]["time"]}
        return {"list": self.name, "key": key, **said}


def _command(task: Any) -> Command | None:
    found: Command | None = task.call() if hasattr(task, "call") else task.command
    return found


async def _until(stop: asyncio.Event, seconds: float, on_life: Callable[[], None]) -> None:
    """Wait so long, or until it is set; a long wait shows signs of life."""
    end = asyncio.get_running_loop().time() + seconds
    while not stop.is_set() and (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.wait_for(stop.wait(), min(left, 1.0))
        except TimeoutError:
            on_life()
