"""`eventsourcing`'s port on our tables: a shard is an application sequence, its sequence plus one the notification id."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    IntegrityError,
    InterfaceError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    PersistenceError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)
from sqlalchemy import Connection, Engine, exc, insert, select, update

from adapters.sql import tables
from adapters.sql.engine import reading
from adapters.sql.faults import is_transient
from adapters.sql.store import Store
from adapters.sql.wake import wake_for

_NAMES: tuple[tuple[type[exc.DBAPIError], type[PersistenceError]], ...] = (
    (exc.IntegrityError, IntegrityError),
    (exc.DataError, DataError),
    (exc.OperationalError, OperationalError),
    (exc.ProgrammingError, ProgrammingError),
    (exc.InterfaceError, InterfaceError),
)


@contextmanager
def _in_the_librarys_words() -> Iterator[None]:
    try:
        yield
    except exc.SQLAlchemyError as error:
        if is_transient(error):
            raise OperationalError(str(error)) from error
        for ours, theirs in _NAMES:
            if isinstance(error, ours):
                raise theirs(str(error)) from error
        raise PersistenceError(str(error)) from error


class SnapshotRecorder(AggregateRecorder):
    """Snapshots of aggregates: `topic` is the form of the state, so that a changed class passes over old ones."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        del kwargs
        rows = [
            {"stream": str(e.originator_id), "version": e.originator_version, "form": e.topic, "state": e.state}
            for e in stored_events
        ]
        if rows:
            with _in_the_librarys_words(), self._engine.begin() as connection:
                connection.execute(insert(tables.snapshots), rows)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        columns = (tables.snapshots.c.stream, tables.snapshots.c.version, tables.snapshots.c.form, tables.snapshots.c.state)
        return _select(self._engine, columns, originator_id, gt, lte, desc, limit)


class ShardRecorder(ApplicationRecorder):
    """One shard of the store behind the library's `ApplicationRecorder`. It appends what it is given, unsigned."""

    def __init__(self, engine: Engine, context: str, partition: int = 0) -> None:
        self._engine = engine
        self.shard_id = Store(engine).shard(context, partition).id

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int]:
        del kwargs
        if not stored_events:
            return []
        with _in_the_librarys_words(), self._engine.begin() as connection:
            first = self._lock(connection)
            connection.execute(insert(tables.events), [self._row(first + n, event) for n, event in enumerate(stored_events)])
            values = {
                "next_sequence": first + len(stored_events),
                "last_hash": hashlib.sha256(stored_events[-1].state).hexdigest(),
            }
            connection.execute(update(tables.shards).where(tables.shards.c.id == self.shard_id).values(values))
        return list(range(first + 1, first + 1 + len(stored_events)))

    def _lock(self, connection: Connection) -> int:
        statement = select(tables.shards.c.next_sequence).where(tables.shards.c.id == self.shard_id)
        return int(connection.execute(statement.with_for_update()).scalar_one())

    def _row(self, sequence: int, event: StoredEvent) -> dict[str, Any]:
        return {
            "shard": self.shard_id,
            "sequence": sequence,
            "stream": str(event.originator_id),
            "version": event.originator_version,
            "type": event.topic,
            "value": event.state,
            "signature": "",
        }

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        columns = (tables.events.c.stream, tables.events.c.version, tables.events.c.type, tables.events.c.value)
        return _select(self._engine, columns, originator_id, gt, lte, desc, limit)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        table = tables.events
        statement = select(table).where(table.c.shard == self.shard_id).order_by(table.c.sequence).limit(limit)
        if start is not None:
            statement = statement.where(table.c.sequence >= start - 1 + (not inclusive_of_start))
        if stop is not None:
            statement = statement.where(table.c.sequence <= stop - 1)
        if topics:
            statement = statement.where(table.c.type.in_(topics))
        with _in_the_librarys_words(), reading(self._engine) as connection:
            rows = connection.execute(statement).all()
        return [Notification(row.stream, row.version, row.type, bytes(row.value), id=row.sequence + 1) for row in rows]

    def max_notification_id(self) -> int | None:
        with _in_the_librarys_words(), reading(self._engine) as connection:
            statement = select(tables.shards.c.next_sequence).where(tables.shards.c.id == self.shard_id)
            return connection.execute(statement).scalar_one() or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return _ShardSubscription(self, self._engine, gt, topics)


class _ShardSubscription(ListenNotifySubscription[ApplicationRecorder]):
    def __init__(self, recorder: ShardRecorder, engine: Engine, gt: int | None, topics: Sequence[str]) -> None:
        self._wake = wake_for(engine)
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._waking = Thread(target=self._loop_on_wake, daemon=True)
        self._waking.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        try:
            super().__exit__(*args, **kwargs)
        finally:
            self._waking.join()

    def _loop_on_wake(self) -> None:
        while not self._has_been_stopped:
            self._wake.wait(0.2)
            self._has_been_notified.set()
        self._wake.close()


def _select(
    engine: Engine, columns: Any, stream: UUID | str, gt: int | None, lte: int | None, desc: bool, limit: int | None
) -> list[StoredEvent]:
    name, version = columns[0], columns[1]
    statement = select(*columns).where(name == str(stream)).order_by(version.desc() if desc else version.asc())
    if gt is not None:
        statement = statement.where(version > gt)
    if lte is not None:
        statement = statement.where(version <= lte)
    if limit is not None:
        statement = statement.limit(limit)
    with _in_the_librarys_words(), reading(engine) as connection:
        rows = connection.execute(statement).all()
    return [StoredEvent(row[0], row[1], row[2], bytes(row[3])) for row in rows]
