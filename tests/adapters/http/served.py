"""Real servers on loopback, a client that knows nothing of ours, and logs to serve."""

import asyncio
import gzip
import http.client
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from adapters.audit import AuditLog, Sequencer, sign_head
from adapters.audit.policy import Policy
from adapters.http import serving
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.tlog.notes import COSIGNATURE, NoteSigner
from adapters.vouching import vouched_by
from tests.adapters.audit.log import NETWORK, WRITER, SignedShard
from tests.databases import upgrade

SIGNER = NoteSigner.of("audit.example/test/1", bytes(32))
WITNESSES = [NoteSigner.of(f"witness.example/w{n}", bytes([n + 1]) * 32, COSIGNATURE) for n in range(4)]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def unpacked(self) -> bytes:
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body


def fetch(base: str, path: str, method: str = "GET", /, **headers: str) -> Answer:
    """One request without a body, its path as it stands here."""
    return send(base, path, method, None, headers)


def send(base: str, path: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    """One request."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


@contextmanager
def listening(make: Callable[[], web.Application]) -> Iterator[str]:
    """Serve the application from a thread of its own, and say where."""
    started: Future[tuple[str, Callable[[], None]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            loop.call_soon_threadsafe(stop.set)

        async with serving(make(), "127.0.0.1", 0) as port:
            started.set_result((f"http://127.0.0.1:{port}", end))
            await stop.wait()

    thread = Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    base, stop = started.result(timeout=20)
    try:
        yield base
    finally:
        stop()
        thread.join(20)


class Log:
    """A log of three shards, as much of it appended and signed as a test wants."""

    def __init__(self, url: str, folder: Path, shards: list[SignedShard]) -> None:
        self.engine, self.last, self.shards = engine_for(url), folder / "last-signed", shards
        upgrade(self.engine, "audit")
        self.audit = AuditLog(self.engine)
        self.sequencer = Sequencer(self.engine, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
        self.sequencer.claim([shard.name for shard in shards])

    def append(self, start: int, end: int) -> None:
        self.sequencer.apply({shard.name: shard.records[start:end] for shard in self.shards})

    def sign(self) -> str:
        note = sign_head(self.engine, SIGNER, self.last)
        assert note is not None, "nothing was appended"
        return note

    def grow(self, start: int, end: int) -> str:
        self.append(start, end)
        return self.sign()

    @property
    def size(self) -> int:
        return self.audit.checkpoint()[0]


@contextmanager
def log_in(folder: Path, name: str, count: int, url: str | None = None) -> Iterator[Log]:
    """A log in a database of its own, with shards of `count` records that nobody has appended yet."""
    (folder / name).mkdir()
    made = Log(url or f"sqlite:///{folder}/{name}/audit.db", folder / name, [SignedShard(n).fill(count) for n in range(3)])
    try:
        yield made
    finally:
        made.engine.dispose()


def policy_of(urls: dict[int, str | None], quorum: int = 1) -> Policy:
    """`urls`: the witness's number to where it is; so many of them are enough."""
    lines = [f"log {SIGNER.key}"]
    lines += [f"witness w{n} {WITNESSES[n].key} {url or ''}" for n, url in urls.items()]
    lines += [f"group g {quorum} " + " ".join(f"w{n}" for n in urls), "quorum g"]
    return Policy.parse("".join(f"{line}\n" for line in lines).encode())
