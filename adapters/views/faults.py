"""Which errors are the world's, so that the same may be tried again, and which are ours."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

_TRANSIENT_SQLITE = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
# Connection lost, resources, intervention of an operator; the idle time-out; serialisation, deadlock, lock not available.
_TRANSIENT_POSTGRESQL = ("08", "53", "57", "58", "25P03", "40001", "40P01", "55P03")


class Unwritable(ValueError):
    """A row that the driver cannot even send: a number too large, a character that the database does not have."""


def is_transient(error: BaseException) -> bool:
    """Whether the database did not answer, rather than refused. SQLite says "no such table" with the same class."""
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _TRANSIENT_SQLITE
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return str(state).startswith(_TRANSIENT_POSTGRESQL)
