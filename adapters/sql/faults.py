"""Which errors of a database are the world's, so that the same may be tried again, and which are an answer."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, PoolProxiedConnection, exc
from sqlalchemy.engine import Dialect

# What a file is, rather than what stands in it: busy, full, unreadable, not to be written.
_TRANSIENT_SQLITE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
}  # fmt: skip
_UNPREPARED = "26000"
"""What was prepared is prepared no more: behind a proxy there is another server, or another of its sessions."""
_OF_THE_SESSION = ("08", "25P03", _UNPREPARED, "57P")
"""After these the session is over, or knows nothing of what it knew. The driver may not have noticed yet."""
# Connection lost; read-only, as a server is that was replaced; the time-outs of a transaction; a statement that another
# server prepared; serialisation and deadlock; resources; lock not available; intervention of an operator; the server's
# system; a server that contradicts itself.
_TRANSIENT_POSTGRESQL = ("08", "25006", "25P03", "25P04", _UNPREPARED, "40", "53", "55P03", "57", "58", "XX")
_INVALIDATED = "8s2b"
"""SQLAlchemy's number of what follows when the connection was lost in mid-transaction and somebody goes on asking."""


def is_transient(error: BaseException) -> bool:
    """Whether the database did not answer, rather than refused. The drivers' own errors are judged like SQLAlchemy's.

    Their classes do not tell: SQLite says "no such table" as it says "locked", and PostgreSQL ends a session that was
    suspended with an InternalError.
    """
    if isinstance(error, exc.PendingRollbackError):
        return error.code == _INVALIDATED
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_transient(error.orig))
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _TRANSIENT_SQLITE
    if isinstance(error, psycopg.Error):
        return _is_transient_on_postgresql(error)
    # No connection of the pool became free.
    return isinstance(error, exc.TimeoutError)


def _is_transient_on_postgresql(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        # While a session is opened, the driver knows no state of what the server says, a wrong password's neither;
        # that one was lost has none at all.
        return isinstance(error, psycopg.OperationalError)
    # A prepared statement whose table was migrated is prepared anew when it comes again.
    outdated = error.sqlstate == "0A000" and error.diag.source_function == "RevalidateCachedQuery"
    return outdated or error.sqlstate.startswith(_TRANSIENT_POSTGRESQL)


@contextmanager
def as_sqlalchemys(dialect: Dialect, held: Connection | PoolProxiedConnection, statement: str | None = None) -> Iterator[None]:
    """What the driver raises when it is used directly, as SQLAlchemy would raise it.

    A connection that was lost is let go, and with it all that the pool made before: a server that was started again, or
    replaced, has ended every one of them, and each would cost somebody an attempt.
    """
    driver: Any = dialect.dbapi
    try:
        yield
    except driver.Error as error:
        proxied = held.connection if isinstance(held, Connection) else held
        lost = dialect.is_disconnect(error, proxied.driver_connection, None) or ends_session(error)
        if lost:
            pool: Any = proxied._pool
            pool._invalidate(proxied, error, _checkin=False)
            held.invalidate(error)
        raise exc.DBAPIError.instance(
            statement, None, error, driver.Error, dialect=dialect, connection_invalidated=lost
        ) from error


def ends_session(error: BaseException | None) -> bool:
    """Whether nothing is to be asked of the session any more."""
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_OF_THE_SESSION)
