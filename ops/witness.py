"""A witness (c2sp.org/tlog-witness): cosigns a log's head if it continues the last one that it cosigned, and no other.

What it cosigned last is durable before the answer leaves, and asking again for the same head gives the same answer. It is
meant to run where the log does not: beside the log it protects against bugs, not against whoever owns the machine.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from aiohttp import web
from sqlalchemy import Connection, Engine, text

from adapters import keys
from adapters.http import new_app, serving
from adapters.seldom import Seldom
from adapters.sql import assert_durable, engine_for, reading
from adapters.tlog.checkpoints import Checkpoint
from adapters.tlog.notes import COSIGNATURE, NoteInvalid, NoteKey, NoteSigner, open_note
from adapters.tlog.submissions import PATH, SIZE_TYPE, Submission, SubmissionInvalid
from adapters.tlog.tree import EMPTY_ROOT, ProofInvalid, verify_consistency
from ops.heartbeat import BEAT_SECONDS, Heartbeat

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 131_072
"""16 signatures have room, also of the long kinds that are ignored here."""

_SCHEMA: Final = (
    "create table if not exists heads (origin text primary key, size integer not null, root blob not null,"
    " posix_seconds integer not null)",
    "create trigger if not exists heads_only_grow before update on heads when new.size <= old.size"
    " begin select raise(abort, 'a cosigned tree only grows'); end",
    # An `insert or replace` asks neither of the others.
    "create trigger if not exists heads_once before insert on heads"
    " when exists (select 1 from heads where origin = new.origin and size >= new.size)"
    " begin select raise(abort, 'a cosigned tree only grows'); end",
    "create trigger if not exists heads_stay before delete on heads begin select raise(abort, 'a cosigned tree stays'); end",
)


class Refusing(Exception):
    """The head is not cosigned: the status that says why, and a sentence."""

    def __init__(self, status: int, why: str, *, known_size: int | None = None) -> None:
        super().__init__(why)
        self.status, self.known_size = status, known_size


class Witness:
    """Remembers, for each log that it knows, the last head it cosigned. Any number of threads and processes may ask."""

    def __init__(self, signer: NoteSigner, database: Path, logs: Iterable[NoteKey], *, now: Callable[[], float] = time.time):
        """The logs' names are their origins; a log may have several keys. Raises ValueError for a key that cannot cosign."""
        if signer.key.kind != COSIGNATURE:
            raise ValueError(f"{signer.key.name} is no witness's key: it is not of the kind that cosigns")
        self._signer, self._now = signer, now
        self._keys: defaultdict[str, list[NoteKey]] = defaultdict(list)
        for key in logs:
            self._keys[key.name].append(key)
        self.engine = _opened(database)

    @property
    def key(self) -> NoteKey:
        return self._signer.key

    def add(self, body: bytes) -> str:
        """The cosignature's line for a submitted head. Raises Refusing."""
        try:
            asked = Submission.parse(body)
            note = asked.checkpoint.encode()
            head = Checkpoint.parse(asked.checkpoint[: asked.checkpoint.rfind("\n\n") + 1])
        except (SubmissionInvalid, NoteInvalid) as error:
            raise Refusing(400, str(error)) from None
        if head.origin not in self._keys:
            raise Refusing(404, f"the log {head.origin[:80]!r} is not known here")
        try:
            signed = open_note(note, self._keys[head.origin]).text
        except NoteInvalid as error:
            raise Refusing(403, str(error)) from None
        if asked.old > head.size:
            raise Refusing(400, f"a tree of {head.size} leaves does not continue one of {asked.old}")
        return self._signer.line(signed, self._witnessed(asked, head))

    def heads(self) -> dict[str, int]:
        """The sizes that were cosigned last."""
        with reading(self.engine) as connection:
            return {row.origin: row.size for row in connection.execute(text("select origin, size from heads"))}

    def _witnessed(self, asked: Submission, head: Checkpoint) -> int:
        """When this head was cosigned first; from now on it is the last one. Committed when this returns."""
        # The lock is taken before the last head is read: of two requests the second finds what the first one stored.
        with self.engine.begin() as connection:
            last = connection.execute(text("select * from heads where origin = :origin"), {"origin": head.origin}).first()
            size, root = (0, EMPTY_ROOT) if last is None else (int(last.size), bytes(last.root))
            if asked.old != size:
                raise Refusing(409, f"the last head that was cosigned has {size} leaves", known_size=size)
            _continues(asked, head, root)
            if last is not None and size == head.size:
                return int(last.posix_seconds)
            return self._remember(connection, head)

    def _remember(self, connection: Connection, head: Checkpoint) -> int:
        seconds = int(self._now())
        statement = text(
            "insert into heads values (:origin, :size, :root, :seconds) on conflict (origin)"
            " do update set size = :size, root = :root, posix_seconds = :seconds"
        )
        values = {"origin": head.origin, "size": head.size, "root": head.root, "seconds": seconds}
        connection.execute(statement, values)
        return seconds


def _continues(asked: Submission, head: Checkpoint, root: bytes) -> None:
    """Raises Refusing unless the head continues the tree with that root, of the submission's old size."""
    if asked.old == head.size and root != head.root and not asked.proof and asked.old:
        raise Refusing(409, f"another tree of {head.size} leaves was cosigned: the log was forked")
    try:
        verify_consistency(asked.old, head.size, asked.proof, root, head.root)
    except ProofInvalid as error:
        raise Refusing(422, f"the tree of {head.size} leaves does not continue that of {asked.old}: {error}") from None


def witness_app(witness: Witness) -> web.Application:
    """`POST /add-checkpoint`, and `GET /`, which says who cosigns what."""
    app = new_app(MAX_BODY_BYTES)
    # One thread: a file has one writer, and the others would only wait for it.
    thread, seldom = ThreadPoolExecutor(1, "witness"), Seldom()

    async def add_checkpoint(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            line = await asyncio.get_running_loop().run_in_executor(thread, witness.add, body)
        except Refusing as refusing:
            if times := seldom.count(str(refusing.status)):
                log.warning("not cosigned (%d): %s (%d of them)", refusing.status, refusing, times)
            if refusing.known_size is not None:
                return web.Response(status=409, body=f"{refusing.known_size}\n".encode(), content_type=SIZE_TYPE)
            return web.Response(status=refusing.status, text=f"{refusing}\n")
        return web.Response(text=line)

    async def show(_request: web.Request) -> web.Response:
        heads = await asyncio.get_running_loop().run_in_executor(thread, witness.heads)
        return web.Response(text="".join([f"{witness.key}\n", *(f"{origin} {size}\n" for origin, size in heads.items())]))

    async def close(_app: web.Application) -> None:
        thread.shutdown()

    app.router.add_post(f"/{PATH}", add_checkpoint)
    app.router.add_get("/", show)
    app.on_cleanup.append(close)
    return app


async def run_witness(
    name: str,
    key_file: Path,
    database: Path,
    logs: Iterable[NoteKey],
    *,
    host: str,
    port: int,
    stop: asyncio.Event,
    on_listening: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until asked to stop. `name` is the key's; `on_listening` hears the port. Raises KeyFileUnsafe, OSError."""
    witness = Witness(NoteSigner.of(name, keys.read_seed(key_file), COSIGNATURE), database, logs)
    heartbeat = Heartbeat()
    try:
        async with serving(witness_app(witness), host, port) as listening:
            log.info("%s cosigns on port %d", witness.key, listening)
            on_listening(listening)
            while not stop.is_set():
                heartbeat.beat()
                await _wait(stop, BEAT_SECONDS)
    finally:
        witness.engine.dispose()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _opened(database: Path) -> Engine:
    database.parent.mkdir(parents=True, exist_ok=True)
    engine = engine_for(f"sqlite:///{database}")
    with engine.begin() as connection:
        for statement in _SCHEMA:
            connection.execute(text(statement))
    assert_durable(engine)
    return engine
