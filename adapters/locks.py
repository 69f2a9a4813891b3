"""What runs once in a home, and who runs it: locks that name their holder and end with his process, however it ends."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

LOOKING_SECONDS = 0.2
"""Whoever only looks has the lock for an instant, and is waited for."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as he wrote when he took it."""

    what: str
    """What he is, in words: `worker 1`, `spaceos up`."""
    pid: int
    host: str
    since: str

    @classmethod
    def here(cls, what: str) -> "Holder":
        """This process, now."""
        return cls(what, os.getpid(), socket.gethostname(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.since}"


class AlreadyRuns(RuntimeError):
    """Another process does here what one may do at a time."""

    def __init__(self, what: str, home: Path, holder: Holder | None) -> None:
        super().__init__(f"{what} runs already in {home}: {holder or 'it has not said who it is'}")
        self.holder = holder
        here = f": kill {holder.pid}" if holder is not None and holder.host == socket.gethostname() else ""
        self.remedy = f"end it first{here}; another network has a home of its own (SPACEOS_HOME)"


def hold(file: Path, what: str, *, within_seconds: float = LOOKING_SECONDS) -> int:
    """Take the lock until this process ends or the returned descriptor is closed.

    Raises AlreadyRuns after that time, OSError where the holder's name finds no room.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not handed on to whatever is started: a lock lives as long as its last descriptor.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + within_seconds
        while not _lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AlreadyRuns(what, file.parent.parent, _read(descriptor))
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, orjson.dumps(Holder.here(what)), 0)
    except BaseException:
        # Or this process would hold for its life what it was told that it has not got.
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def held(file: Path, what: str, *, within_seconds: float = LOOKING_SECONDS) -> Iterator[None]:
    """Hold the lock meanwhile. Raises AlreadyRuns."""
    descriptor = hold(file, what, within_seconds=within_seconds)
    try:
        yield
    finally:
        os.close(descriptor)


def holders(folder: Path) -> list[Holder]:
    """Those who hold locks in that folder now."""
    return [holder for file in sorted(folder.glob("*.lock")) if (holder := _holder(file)) is not None]


def lock_of(home: Path, name: str) -> Path:
    return home / "locks" / f"{name}.lock"


def _holder(file: Path) -> Holder | None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return None if _lock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """False if another has it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Holder | None:
    """None for an instant after the lock was taken, and of a release that did not say it."""
    with suppress(ValueError, TypeError):
        return Holder(**orjson.loads(os.pread(descriptor, 4096, 0)))
    return None
