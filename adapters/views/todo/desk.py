"""What a plan has before it: one snapshot of the views, the time, and what was refused before."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, Select, delete, insert, select

from adapters.kafka.commands import Answer
from adapters.sql import reading
from adapters.views.tables import refused_tasks as table
from contracts import instant

KEPT = 10_000
"""Refusals of a list in memory; what is forgotten is read when a plan asks for it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`streams.Refusal`."""

    name: str
    text: str
    at: datetime


class Refusals:
    """A list's refused tasks. Whoever holds its lease is the only one who writes them, so they are read once.

    One that another process remembered meanwhile is heard again when its task is sent again.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._list = engine, name
        self._known: OrderedDict[str, Refused | None] = OrderedDict()
        self._is_read = self._is_all = False

    def forget(self) -> None:
        """Another process may have written."""
        self._is_read = False

    def read(self) -> None:
        """Once, before a plan asks: all of them, or as many as are kept."""
        if not self._is_read:
            with reading(self._engine) as connection:
                rows = connection.execute(self._rows().order_by(table.c.at.desc(), table.c.key).limit(KEPT)).all()
            self._known = OrderedDict((row.key, Refused(row.name, row.text, instant(row.at))) for row in reversed(rows))
            self._is_read, self._is_all = True, len(rows) < KEPT

    def find(self, key: str) -> Refused | None:
        if key in self._known or self._is_all:
            return self._known.get(key)
        # Not in the plan's snapshot: a refusal counts when it was heard.
        with reading(self._engine) as connection:
            row = connection.execute(self._rows().where(table.c.key == key)).one_or_none()
        found = None if row is None else Refused(row.name, row.text, instant(row.at))
        self._keep(key, found)
        return found

    def remember(self, answers: dict[str, Answer]) -> None:
        """By the task's key. An outcome that is heard again writes the same row."""
        rows = [_row(key, answer) for key, answer in answers.items()]
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.list == self._list, table.c.key.in_(list(answers))))
            connection.execute(insert(table), [{"list": self._list, **row} for row in rows])
        for row in rows:
            self._keep(row["key"], Refused(row["name"], row["text"], instant(row["at"])))

    def _keep(self, key: str, refused: Refused | None) -> None:
        self._known[key] = refused
        self._known.move_to_end(key)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
            self._is_all = False

    def _rows(self) -> Select[*tuple[str, ...]]:
        return select(table).where(table.c.list == self._list)


def _row(key: str, answer: Answer) -> dict[str, str]:
    refusal = answer.refusal or {}
    said = {"name": refusal.get("name", ""), "text": refusal.get("text", ""), "at": answer.document["data"]["time"]}
    return {"key": key, **said}


@dataclass
class OnDesk:
    """`streams.Desk` over one snapshot of the views."""

    connection: Connection
    now: datetime
    _refusals: Refusals
    wakes: datetime | None = field(default=None, init=False)
    """The first of the times that the plan waits for."""

    def refusal(self, key: str) -> Refused | None:
        return self._refusals.find(key)

    def is_due(self, moment: datetime) -> bool:
        self.wake_at(moment)
        return moment <= self.now

    def wake_at(self, moment: datetime | None) -> None:
        if moment is not None and moment > self.now and (self.wakes is None or moment < self.wakes):
            self.wakes = moment
