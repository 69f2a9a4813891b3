"""One at a time may make, swap or drop a view's other versions: a lock that ends with its holder, and says who that is."""

import os
import re
import time
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, Self

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from adapters.locks import AlreadyRuns, Holder, hold, lock_of

ENDING_SECONDS = 5.0
"""A lock that nobody is seen to hold is waited for so long: the server ends a session a little after its process."""


class ViewTaken(RuntimeError):
    """Somebody else rebuilds, swaps or retires that view. The message says who, since when, and what to do."""


class Exclusive:
    """A view's versions are ours while we are in it, again and again if need be. Raises ViewTaken on entering.

    PostgreSQL's lock is that of a session, SQLite's that of a file beside the database: neither outlives the process that
    holds it, and a process that is merely suspended keeps it.
    """

    def __init__(self, engine: Engine, view: str, what: str) -> None:
        """`what` is done, as a noun: `a rebuild`. Whoever comes second is told."""
        self._engine, self._view, self._what = engine, view, f"{what} of {view}"
        self._said = f"{self._what}, {Holder.here(self._what)}"
        self._depth, self._stack = 0, ExitStack()
        self._session: Connection | None = None

    def __enter__(self) -> Self:
        if not self._depth:
            (self._lock_session if self._engine.dialect.name == "postgresql" else self._lock_file)()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._stack.close()
            self._session = None

    @property
    def is_held(self) -> bool:
        """False once PostgreSQL has lost our session: then the lock may be another's."""
        try:
            if self._session is not None:
                self._session.exec_driver_sql(f"select 1 {self._comment}")
        except SQLAlchemyError:
            # Also one that says that the session was found broken before.
            return False
        return self._depth > 0

    def _lock_session(self) -> None:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # Out of the pool: a lock must not come back with a connection that somebody else is given.
        connection.detach()
        self._stack.callback(_end, connection)
        key = int.from_bytes(sha256(f"view {self._view}".encode()).digest()[:8], signed=True)
        # The server shows a session's last statement to whoever asks, so the holder's name is in it.
        deadline = time.monotonic() + ENDING_SECONDS
        while not connection.exec_driver_sql(f"select pg_try_advisory_lock({key}) {self._comment}").scalar_one():
            holder = connection.execute(_HOLDER, {"high": key >> 32 & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}).scalar()
            if holder is not None or time.monotonic() > deadline:
                self._stack.close()
                self._refuse(_COMMENT.findall(holder or ""))
            # It was let go between the two, or by a session that is just being ended.
            time.sleep(0.05)
        self._session = connection

    def _lock_file(self) -> None:
        database = Path(str(self._engine.url.database))
        try:
            descriptor = hold(lock_of(database.parent, f"{database.stem}-{self._view}"), self._what)
        except AlreadyRuns as error:
            self._refuse([f"{error.holder.what}, {error.holder}"] if error.holder else [])
        self._stack.callback(os.close, descriptor)

    @property
    def _comment(self) -> str:
        return f"/* {_STRANGE.sub('_', self._said)} */"

    def _refuse(self, holders: list[str]) -> NoReturn:
        who = holders[0] if holders else "another process, which does not say which it is"
        raise ViewTaken(f"{self._view} is taken: {who}. Wait until that has ended, or end it")


def _end(session: Connection) -> None:
    try:
        # By ourselves: to the next who asks, a session that is only being ended still holds its locks.
        session.exec_driver_sql("select pg_advisory_unlock_all()")
    except SQLAlchemyError:
        pass
    finally:
        session.close()


_STRANGE = re.compile(r"[^\w .,:+-]")
_COMMENT = re.compile(r"/\* (.*?) \*/")
_HOLDER = text(
    "select a.query from pg_locks l join pg_stat_activity a on a.pid = l.pid "
    "where l.locktype = 'advisory' and l.granted and l.objsubid = 1 "
    "and l.database = (select oid from pg_database where datname = current_database()) "
    "and l.classid::bigint = :high and l.objid::bigint = :low"
)
