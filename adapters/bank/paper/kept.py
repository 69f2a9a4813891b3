"""Where a twin's state is: a JSON text, in memory or in a file that several processes share."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

State = dict[str, Any]


class Kept:
    """One at a time reads the state, changes it and leaves it; whoever raises leaves it as it was."""

    def __init__(self, path: Path | None, empty: Callable[[], State]) -> None:
        self._path = path
        self._text = _written(empty())
        self._lock = threading.Lock()

    @contextmanager
    def opened(self) -> Iterator[State]:
        with self._lock, self._alone():
            before = self._read()
            state = orjson.loads(before)
            yield state
            after = _written(state)
            if after != before:
                self._write(after)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held against other processes. The lock has a file of its own, since the state's is replaced."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> bytes:
        if self._path is None or not self._path.exists():
            return self._text
        return self._path.read_bytes()

    def _write(self, text: bytes) -> None:
        if self._path is None:
            self._text = text
            return
        written = self._path.with_suffix(".new")
        written.write_bytes(text)
        os.replace(written, self._path)


def _written(state: State) -> bytes:
    # An asset's name is a kind of str, which as a key is refused without being asked for.
    return orjson.dumps(state, option=orjson.OPT_NON_STR_KEYS)
