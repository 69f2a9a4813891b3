"""Which event touched which row: a fold that is watched through the session it is given."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Table

from adapters.views.rows import key_of
from contracts import Event, Record
from projections import Key, Projection, Row, Session


@dataclass(frozen=True, slots=True)
class Cause:
    """An event as one looks it up."""

    id: str
    type: str
    shard: str
    sequence: int
    time: str
    actor: str
    stream: str

    @classmethod
    def of(cls, record: Record) -> "Cause":
        return cls(record.id, record.type, record.shard, record.sequence, record.time, record.actor, record.subject)

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Touch:
    """What one event made of one row; None where there is no such row."""

    table: Table
    key: Key
    before: Row | None
    after: Row | None


Saw = Callable[[Record, Sequence[Touch]], None]
"""Hears of each event that was applied, with the rows that it changed."""


def watched(projection: Projection, saw: Saw) -> Projection:
    """The same fold, of which every event is told. An event that fails half-way is not."""

    def project(event: Event, record: Record, session: Session) -> None:
        watching = Watching(session)
        projection.fold(event, record, watching)
        if touches := watching.touches():
            saw(record, touches)

    return replace(projection, project=project)


class Watching:
    """`projections.Session` around another: what one event did, each row from before the event to after it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: dict[tuple[Table, Key], tuple[Row | None, Row | None]] = {}

    def get(self, table: Table, *key: Any) -> Row | None:
        return self._session.get(table, *key)

    def put(self, table: Table, row: Row) -> None:
        key = key_of(table)(row)
        self._note(table, key, dict(row))
        self._session.put(table, row)

    def change(self, table: Table, *key: Any, **values: Any) -> None:
        before = self._session.get(table, *key)
        self._session.change(table, *key, **values)
        self._note(table, key, {**(before or {}), **values}, before)

    def delete(self, table: Table, *key: Any) -> None:
        self._note(table, key, None)
        self._session.delete(table, *key)

    def touches(self) -> list[Touch]:
        """The rows that are not as they were."""
        found = (Touch(table, key, before, after) for (table, key), (before, after) in self._seen.items())
        return [touch for touch in found if touch.before != touch.after]

    def _note(self, table: Table, key: Key, after: Row | None, before: Row | None = None) -> None:
        known = self._seen.get((table, key))
        if known is None:
            known = (before or self._session.get(table, *key), None)
        self._seen[table, key] = (known[0], after)
