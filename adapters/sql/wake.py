"""Hearing of a commit without asking all the time: LISTEN on PostgreSQL, the write-ahead log's changes on SQLite."""

import ctypes
import os
import select
import sqlite3
import struct
import time
from pathlib import Path
from typing import Protocol

import psycopg
from sqlalchemy import Engine

from adapters.sql.faults import is_transient
from adapters.sql.store import CHANNEL


class Wake(Protocol):
    """Waits for commits of others. A return says only that looking may pay; a caller also looks every second."""

    def wait(self, seconds: float) -> bool:
        """True as soon as somebody committed, False when the time is over."""
        ...

    def close(self) -> None: ...


def wake_for(engine: Engine) -> Wake:
    """The best that the database has."""
    if engine.dialect.name == "postgresql":
        return _Listening(engine)
    return _Watching(Path(str(engine.url.database)))


class _Listening:
    def __init__(self, engine: Engine) -> None:
        self._dsn = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: psycopg.Connection | None = None

    def wait(self, seconds: float) -> bool:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._dsn, autocommit=True)
                self._connection.execute(f"listen {CHANNEL}")
                return True  # what was notified while nobody listened
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            if not is_transient(error):
                raise
            self.close()
            time.sleep(min(seconds, 0.2))
            return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")
_SETTLE_SECONDS = 0.05
_STEP_SECONDS = 0.0005


class _Watching:
    """The kernel says when the write-ahead log grows, which is before its commit can be seen: then `data_version` tells.

    Measured, commit to visible at 300/s: 1.8 ms p50, 13 ms p99; polling `data_version` every 2 ms has 2.6 and 16 and
    never sleeps.
    """

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._version = self._data_version()
        self._inotify = _inotify(database.parent)

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._changed(_SETTLE_SECONDS if self._stirred(left) else 0):
                return True
        return self._changed(0)

    def _stirred(self, seconds: float) -> bool:
        if self._inotify is None:
            time.sleep(min(seconds, 0.002))
            return False
        ready, _, _ = select.select([self._inotify], [], [], seconds)
        if ready:
            os.read(self._inotify, 65536)
        return bool(ready)

    def _changed(self, settle: float) -> bool:
        deadline = time.monotonic() + settle
        while True:
            version = self._data_version()
            if version != self._version:
                self._version = version
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_STEP_SECONDS)

    def _data_version(self) -> int:
        return int(self._connection.execute("pragma data_version").fetchone()[0])

    def close(self) -> None:
        self._connection.close()
        if self._inotify is not None:
            os.close(self._inotify)
            self._inotify = None


def _inotify(folder: Path) -> int | None:
    """A descriptor that becomes readable when a file in the folder changes; None where the kernel has no such thing."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_MODIFY) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return descriptor
