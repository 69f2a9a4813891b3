"""Whose a list is, for LEASE_SECONDS at a time: one process works each list. Only to spare work: two send the same commands."""

import os
import socket
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from adapters.sql import reading
from adapters.views.tables import leases
from contracts import instant, rfc3339

LEASE_SECONDS = 6.0
RENEWED_BEFORE_SECONDS = 2.0
"""So long before its end a lease is renewed: time enough for a database that is busy."""


class Leases:
    """All lists of a process, taken and renewed with one statement."""

    def __init__(self, engine: Engine, names: Collection[str]) -> None:
        self._engine, self._names = engine, sorted(names)
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"
        self._held: frozenset[str] = frozenset()
        self._asked: tuple[datetime, datetime] | None = None
        """When the database was asked, and when it is asked again."""

    def held(self, now: datetime) -> frozenset[str]:
        """Those that are ours, for RENEWED_BEFORE_SECONDS at least. Most calls ask no database."""
        if self._asked is None or not self._asked[0] <= now < self._asked[1]:
            self._asked = None
            again = now + timedelta(seconds=LEASE_SECONDS - RENEWED_BEFORE_SECONDS)
            ends = [] if self._held else self._ends(now)
            # A process that only waits for another one to die writes nothing.
            if len(ends) == len(self._names):
                self._held = frozenset()
            else:
                self._held, ends = self._take(now), []
            self._asked = now, min([again, *ends])
        return self._held

    def give_up(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(leases).where(leases.c.holder == self._holder, leases.c.name.in_(self._names)))
        self._held, self._asked = frozenset(), None

    def _ends(self, now: datetime) -> list[datetime]:
        """Of those that are another's."""
        theirs = (leases.c.holder != self._holder) & (leases.c.until > rfc3339(now))
        with reading(self._engine) as connection:
            rows = connection.scalars(select(leases.c.until).where(theirs, leases.c.name.in_(self._names)))
            return [instant(until) for until in rows]

    def _take(self, now: datetime) -> frozenset[str]:
        """What is nobody's, or over; what is ours is renewed, as one that ended while we slept may be if nobody took it."""
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        until = rfc3339(now + timedelta(seconds=LEASE_SECONDS))
        # In the order of their names, so that two processes do not wait for each other.
        rows = [{"name": name, "holder": self._holder, "until": until} for name in self._names]
        statement = dialect.insert(leases).values(rows)
        new = {"holder": statement.excluded.holder, "until": statement.excluded.until}
        may = (leases.c.holder == self._holder) | (leases.c.until <= rfc3339(now))
        taken = statement.on_conflict_do_update(index_elements=[leases.c.name], set_=new, where=may).returning(leases.c.name)
        with self._engine.begin() as connection:
            return frozenset(connection.scalars(taken).all())
