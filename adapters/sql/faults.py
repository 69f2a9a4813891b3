"""Which errors of a database are the world's, so that the same may be tried again, and which are an answer."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, exc

# What a file is, rather than what stands in it: busy, full, unreadable, not to be written.
_TRANSIENT_SQLITE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
}  # fmt: skip
# Connection lost; read-only, as a server is that was replaced; the time-outs of a transaction; serialisation and deadlock;
# resources; lock not available; intervention of an operator; the server's system; a server that contradicts itself.
_TRANSIENT_POSTGRESQL = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57", "58", "XX")
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
def as_sqlalchemys(connection: Connection, statement: str) -> Iterator[None]:
    """What the driver raises when it is used directly, as SQLAlchemy would raise it; a connection that was lost is let go."""
    try:
        yield
    except psycopg.Error as error:
        lost = connection.dialect.is_disconnect(error, connection.connection.driver_connection, None)  # type: ignore[arg-type]
        if lost:
            connection.invalidate(error)
        raise exc.DBAPIError.instance(
            statement, None, error, psycopg.Error, dialect=connection.dialect, connection_invalidated=lost
        ) from error
