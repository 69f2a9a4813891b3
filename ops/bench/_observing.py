"""Sees rows of a view appear, as a process of its own: it is told of some commands and asks for exactly those, one by one done.

`python -m ops.bench._observing` reads a `Look` as a line of JSON and answers `{"ready": …}`. When its input ends it waits for
what is still missing, and writes what it saw into the look's file. It asks at a pace at which a tenth of a core is the most
that asking takes, and not at all while nothing is missing.
"""

import hashlib
import os
import resource
import select
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

MOST = 400
"""Names in one look."""
LEAST_PAUSE_SECONDS = 0.002
PAUSE_FOR_EACH_SECOND = 9.0
"""After a look it rests nine times as long as the look took."""


class Look(BaseModel):
    """Which rows, and where."""

    url: str
    table: str
    column: str
    inbox: Path
    patience: float = 60.0
    """Seconds for what is missing when the input has ended."""
    results: Path


class Seen(BaseModel):
    """Unix time in seconds of the beginning of the look that saw the row, by name."""

    sent: dict[str, float]
    seen: dict[str, float]
    looks: int
    cpu_seconds: float


def address(inbox: Path) -> str:
    """Linux' abstract one: a path may have 107 bytes, and folders of temporary files have more."""
    return "\0" + hashlib.sha256(str(inbox).encode()).hexdigest()


Ask = Callable[[Collection[str]], list[str]]


def observe(look: Look, inbox: socket.socket, ask: Ask, until: int) -> Seen:
    """Until something comes from the descriptor, or it ends, and nothing is missing, or patience has ended too."""
    found = Seen(sent={}, seen={}, looks=0, cpu_seconds=0.0)
    waiting: dict[str, float] = {}
    began = resource.getrusage(resource.RUSAGE_SELF)
    next_look, deadline, pause = 0.0, float("inf"), LEAST_PAUSE_SECONDS
    listening: list[Any] = [inbox, until]
    while (waiting or deadline == float("inf")) and time.monotonic() < deadline:
        ready, _, _ = select.select(listening, [], [], max(0.0, next_look - time.monotonic()) if waiting else None)
        for sent_at, name in _told(inbox):
            waiting[name] = found.sent[name] = sent_at
        if until in ready:
            listening, deadline = [inbox], time.monotonic() + look.patience
        if waiting and time.monotonic() >= next_look:
            now, started = time.time(), time.monotonic()
            for name in ask(waiting):
                found.seen[name] = now
                del waiting[name]
            found.looks += 1
            pause += 0.1 * (max(LEAST_PAUSE_SECONDS, PAUSE_FOR_EACH_SECOND * (time.monotonic() - started)) - pause)
            next_look = time.monotonic() + pause
    used = resource.getrusage(resource.RUSAGE_SELF)
    found.cpu_seconds = used.ru_utime + used.ru_stime - began.ru_utime - began.ru_stime
    return found


def _told(inbox: socket.socket) -> Iterator[tuple[float, str]]:
    with suppress(BlockingIOError):
        while True:
            sent_at, _, name = inbox.recv(1024).decode().partition(" ")
            yield float(sent_at), name


def asking(look: Look) -> tuple[Ask, int | None]:
    """Which of the names are there, and PostgreSQL's process that answers. Its driver alone: there are hundreds a second."""
    if look.url.startswith("sqlite:///"):
        file = sqlite3.connect(f"file:{look.url.removeprefix('sqlite:///')}?mode=ro", uri=True, isolation_level=None)

        def of_file(names: Collection[str]) -> list[str]:
            some = list(names)[:MOST]
            marks = ",".join("?" * len(some))
            statement = f"SELECT {look.column} FROM {look.table} WHERE {look.column} IN ({marks})"  # noqa: S608  ours alone
            return [row[0] for row in file.execute(statement, some)]

        return of_file, None
    import psycopg

    server = psycopg.connect(look.url.replace("postgresql+psycopg", "postgresql"), autocommit=True, prepare_threshold=0)
    statement = f"SELECT {look.column} FROM {look.table} WHERE {look.column} = ANY(%s)".encode()  # noqa: S608  ours alone

    def of_server(names: Collection[str]) -> list[str]:
        return [row[0] for row in server.execute(statement, [list(names)[:MOST]])]

    return of_server, server.info.backend_pid


def main() -> None:
    look = Look.model_validate_json(_line())
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(address(look.inbox))
    inbox.setblocking(False)
    ask, backend = asking(look)
    ask([""])
    _say({"ready": True, "backend": backend})
    look.results.write_bytes(observe(look, inbox, ask, sys.stdin.fileno()).model_dump_json().encode())


def _line() -> bytes:
    """The first of the input, and not a byte more: what follows is waited for with select."""
    found = b""
    while not found.endswith(b"\n"):
        found += os.read(sys.stdin.fileno(), 1)
    return found


def _say(document: Mapping[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
