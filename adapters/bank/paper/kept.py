"""Where a twin's state is: a JSON text, in memory or in a file that several processes share."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

State = dict[str, Any]


class Kept:
    """One at a time reads the state, changes it and leaves it; whoever raises leaves it as it was."""

    def __init__(self, path: Path | None, empty: Callable[[], State]) -> None:
        self._path = path
        self._text = json.dumps(empty())
        self._lock = threading.Lock()

    @contextmanager
    def opened(self) -> Iterator[State]:
        with self._lock, self._alone():
            before = self._read()
            state = json.loads(before)
            yield state
            after = json.dumps(state)
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

    def _read(self) -> str:
        if self._path is None or not self._path.exists():
            return self._text
        return self._path.read_text(encoding="utf-8")

    def _write(self, text: str) -> None:
        if self._path is None:
            self._text = text
            return
        written = self._path.with_suffix(".new")
        written.write_text(text, encoding="utf-8")
        os.replace(written, self._path)
