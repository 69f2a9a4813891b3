"""A town in memory: services decide, views follow at once, lists and processes are worked off. Time is moved by hand."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, select

from adapters.bank.ports import NoAnswer
from adapters.keys import verify
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from adapters.views.parked import parked_streams
from commands import Asked, Service
from contracts import (
    ZERO_HASH,
    Command,
    CommandRecord,
    Event,
    Record,
    event_id,
    parse_command,
    parse_event,
    rfc3339,
    uuid7,
)
from domain import Aggregate, Refused
from ops.moneychecker import Judge
from projections.ledger import balances, entries
from streams import Errand, Intent, Process, Projection, Stream, Task, TodoList
from tests.adapters.audit.log import NETWORK, WRITER
from tests.databases import upgrade
from tests.streams.desks import Desks

T = TypeVar("T")
STORE = WRITER.did


class Paper:
    """Streams in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Aggregate[Any]] = {}

    def load(self, kind: Any, stream: str) -> Any:
        found = self.kept.setdefault(stream, kind(stream))
        assert type(found) is kind
        return found


class _Permitted(Asked):
    """Everybody is registered here for everything."""

    def may(self, key: str, role: str, stream: str) -> bool:
        del key, role, stream
        return True


@dataclass
class Refusal:
    """What a list's task was refused with."""

    name: str
    text: str
    at: datetime


class Town:
    """Contexts without a broker. What a service refuses leaves no trace."""

    def __init__(self, path: Path, services: Iterable[type[Service]], streams: Iterable[Stream], now: datetime) -> None:
        self.now = now
        self.streams = Paper()
        self.services = {kind.context: kind(self.streams, verify) for kind in services}
        self.wired = list(streams)
        self.engine: Engine = engine_for(f"sqlite:///{path}/views.db")
        upgrade(self.engine, "views")
        self.desks = Desks(self.engine)
        self.of = {Projector(self.engine, wired): wired for wired in self.wired if isinstance(wired, Projection)}
        self.log: list[tuple[Event, Record]] = []
        self.heads: dict[str, tuple[int, str]] = {}
        self.versions: dict[str, int] = {}
        self.waiting: list[Intent] = []
        self.outside: list[tuple[Command, str]] = []
        """Commands for contexts that are not in town."""
        self.refusals: dict[str, dict[str, Refusal]] = {}
        self.sent: set[tuple[str, str, datetime]] = set()
        self.serial = 0

    def wire(self, *more: Stream) -> None:
        """Something else that listens, from the beginning of its topics on."""
        self.wired += more
        self.of.update({Projector(self.engine, wired): wired for wired in more if isinstance(wired, Projection)})

    def ask(self, command: Command, subject: str, by: str = STORE) -> list[Event]:
        """The events. Raises Refused."""
        self.serial += 1
        value = CommandRecord.encode(
            command, subject=subject, source=by, network=NETWORK, id=uuid7(self.serial, bytes(10)), time=self.now
        )  # fmt: skip
        asked = parse_command(value, subject.encode(), [("signature", b"x")])
        before = deepcopy(self.streams.kept)
        service = self.services[command.wire.context]
        try:
            said = type(command).read(asked.data)
            aggregate = service.decide(said, _Permitted(asked, self.now, by, stands=self.stands))
        except Refused:
            self.streams.kept = before
            raise
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        for ordinal, event in enumerate(events):
            self._append(event, asked, ordinal)
        return events

    def happened(self, event: Event, subject: str) -> Record:
        """A fact of a context that is not in town."""
        self.serial += 1
        value = CommandRecord.encode(
            event, subject=subject, source=STORE, network=NETWORK, id=uuid7(self.serial, bytes(10)), time=self.now  # type: ignore[arg-type]
        )  # fmt: skip
        return self._append(event, parse_command(value, subject.encode(), [("signature", b"x")]), 0)

    def stands(self, record: Record) -> bool:
        """Whether it was recorded here."""
        return any(record.value == recorded.value for _, recorded in self.log)

    def work(self) -> None:
        """Until nothing is due."""
        for _ in range(100):
            if not (self._react() or self._list()):
                return
        raise AssertionError("the lists never end")

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.work()

    @contextmanager
    def views(self) -> Iterator[Connection]:
        with reading(self.engine) as connection:
            yield connection

    def balances(self) -> dict[str, int]:
        """Every account of the ledger that is not zero."""
        found: dict[str, int] = {}
        for event, record in self.log:
            for leg in event.legs(record.subject):
                found[leg.account] = found.get(leg.account, 0) + leg.units
        return {account: units for account, units in found.items() if units}

    def judge(self, folder: Path) -> list[Any]:
        """What the outside checker of money says of all that happened."""
        rows = [{"table": "events", "value": b64encode(record.value).decode()} for _, record in self.log]
        _written(folder / "store.jsonl", rows)
        with self.views() as connection:
            shown = [
                {"table": table.name, **row._mapping}
                for table in (entries, balances)
                for row in connection.execute(select(table))
            ]
        _written(folder / "views.jsonl", shown)
        return Judge(folder).judge()

    def names(self, context: str = "") -> list[str]:
        return [type(event).__name__ for event, record in self.log if record.type.startswith(context)]

    def _append(self, event: Event, asked: CommandRecord, ordinal: int) -> Record:
        shard = f"{event.wire.context}.events/0"
        sequence, head = self.heads.get(shard, (0, ZERO_HASH))
        self.versions[asked.subject] = self.versions.get(asked.subject, 0) + 1
        value = Record.encode(
            event, id=event_id(asked.source, asked.id, ordinal), command=asked, source=STORE, time=rfc3339(self.now),
            shard=shard, sequence=sequence, streamversion=self.versions[asked.subject], prevhash=head,
        )  # fmt: skip
        self.heads[shard] = (sequence + 1, sha256(value).hexdigest())
        record = parse_event(value)
        self.log.append((event, record))
        for projector, projection in self.of.items():
            if event.wire.context in projection.contexts:
                if sequence == 0:
                    projector.claim([f"{context}.events/0" for context in projection.contexts])
                projector.apply({shard: [Published(sequence, sequence, value, WRITER.sign(value))]})
                with reading(self.engine) as connection:
                    assert not parked_streams(connection, projection.name)
        for wired in self.wired:
            if isinstance(wired, Process) and event.wire.context in wired.contexts:
                self.waiting += wired.react(event, record)
        return record

    def _react(self) -> bool:
        waiting, self.waiting = self.waiting, []
        for intent in waiting:
            if intent.command.wire.context in self.services:
                self.ask(intent.command, intent.subject)
            else:
                self.outside.append((intent.command, intent.subject))
        return bool(waiting)

    def _list(self) -> bool:
        todos = [wired for wired in self.wired if isinstance(wired, TodoList)]
        return any([self._done(todo.name, task) for todo in todos for task in self._due(todo)])  # noqa: C419  all of them

    def _done(self, name: str, task: Any) -> bool:
        """Whether there was anything to send."""
        try:
            command = task.call() if isinstance(task, Errand) else task.command
        except NoAnswer:
            return False
        if command is not None:
            self._send(name, Task(command, task.subject, task.key, task.at, task.cause))
        return command is not None

    def _due(self, todo: TodoList) -> list[Any]:
        known, woken = self.refusals.setdefault(todo.name, {}), todo.look is not None and todo.look()
        due = self.desks.plan(todo.name, todo.plan, self.now, known, woken=woken)
        return [task for task in due if (todo.name, task.key, task.at) not in self.sent]

    def _send(self, name: str, task: Task) -> None:
        assert len(task.key) <= 200
        assert task.at <= self.now
        self.sent.add((name, task.key, task.at))
        try:
            self.ask(task.command, task.subject)
        except Refused as refusal:
            self.refusals[name][task.key] = Refusal(type(refusal).__name__, str(refusal), self.now)


def _written(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))


def patiently(ask: Callable[[], T]) -> T:
    """A person who tries again."""
    for _ in range(100):
        try:
            return ask()
        except NoAnswer:
            continue
    raise AssertionError("it never answers")
