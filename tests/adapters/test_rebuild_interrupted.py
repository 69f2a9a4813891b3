"""A database that does not answer for a moment delays a rebuild, and changes nothing of what it comes to."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from adapters.sql import engine_for, reading
from adapters.views import Projector, folding, positions_of
from adapters.views.back import go_back
from adapters.views.beside import Beside
from adapters.views.folding import Folder, Parts
from adapters.views.positions import Fenced
from adapters.views.rebuild import Rebuild
from contracts import Event, Record
from projections import Projection, Session
from tests.adapters.logs import Log, eventually, open_views, view_digest
from tests.adapters.shards import tally_projection
from tests.adapters.test_rebuild import project, tables, url_of

BATCH = 60


@pytest.fixture
def log(kafka: str) -> Log:
    return Log(kafka, f"i{uuid4().hex[:12]}")


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


@dataclass
class Interruptions:
    """Interrupts an engine's transactions, some before they begin or commit, some after they have committed."""

    url: str
    chance: random.Random
    share: float = 0.35
    before: int = 0
    after: int = 0

    def engine(self) -> Engine:
        engine = engine_for(self.url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", lambda connection, _record: connection.execute("pragma busy_timeout = 20"))
            event.listen(engine, "begin", self._lock)
        event.listen(engine, "commit", self._commit)
        return engine

    def _lock(self, connection: Connection) -> None:
        if connection.get_execution_options().get("spaceos_reads") or self.chance.random() > self.share / 2:
            return
        self.before += 1
        connection.exec_driver_sql("rollback")
        other = sqlite3.connect(str(connection.engine.url.database), isolation_level=None)
        try:
            other.execute("begin immediate")
            connection.exec_driver_sql("begin immediate")
        finally:
            other.close()

    def _commit(self, connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("spaceos_reads") or options.get("postgresql_readonly") or self.chance.random() > self.share:
            return
        if connection.dialect.name == "sqlite" or self.chance.random() < 0.5:
            self.after += 1
            lose_the_answer(connection)
        else:
            self.before += 1
            end_session(connection)


def lose_the_answer(connection: Connection) -> None:
    """To the commit that is about to be sent."""
    connection.connection.commit()
    if connection.dialect.name == "postgresql":
        end_session(connection)
        return
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    raise OperationalError("COMMIT", None, error)


def end_session(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    other = engine_for(connection.engine.url)
    with other.begin() as admin:
        admin.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid})
    other.dispose()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rebuild_goes_on_from_what_is_committed_until_it_is_done(
    log: Log, views: Engine, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that failed as the last of a fold left it with fewer rows, or none, and the view was called different.

    A swap whose answer was lost was called failed.
    """
    monkeypatch.setattr(folding, "PAUSE_SECONDS", 0.01)
    log.publish(log.fill(600))
    project(log, views)
    live = view_digest(views)
    interrupted = Interruptions(url_of(views), random.Random(seed))
    engine = interrupted.engine()

    def parts() -> Parts:
        return Parts(engine, tally_projection(log.context), log.client)

    assert asyncio.run(Rebuild(parts, batch_records=BATCH, processes=1).verify()).equal
    found = asyncio.run(Rebuild(parts, batch_records=BATCH, processes=1, keep=True).swap())
    log.publish(log.fill(200))
    project(log, views)
    now = view_digest(views)
    back = asyncio.run(go_back(parts, batch_records=BATCH))

    assert interrupted.before
    assert interrupted.after
    assert (found.equal, found.swapped, found.live.sha256, back.equal, view_digest(views)) == (True, True, live, True, now)
    with reading(views) as connection:
        assert {position.generation for position in positions_of(connection, "tally").values()} == {2}
        assert not positions_of(connection, "tally__next")
    assert tables(views) == {"tallies", "entries", "tallies__old", "entries__old"}
    engine.dispose()


@pytest.mark.parametrize("keep", [True, False])
def test_a_swap_whose_answer_is_lost_is_a_swap(log: Log, views: Engine, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried again, found another generation than it had compared, and was called failed."""
    monkeypatch.setattr(folding, "PAUSE_SECONDS", 0.01)
    log.publish(log.fill(60))
    project(log, views)
    engine, renaming, lost = engine_for(views.url), list[Connection](), list[Connection]()

    @event.listens_for(engine, "before_cursor_execute")
    def _(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if "rename to" in statement and not lost:
            renaming.append(connection)

    @event.listens_for(engine, "commit")
    def _(connection: Connection) -> None:
        if renaming and renaming[-1] is connection and not lost:
            lost.append(connection)
            lose_the_answer(connection)

    def parts() -> Parts:
        return Parts(engine, tally_projection(log.context), log.client)

    assert asyncio.run(Rebuild(parts, processes=1, keep=keep).swap()).swapped
    assert lost
    if keep:
        lost.clear()
        assert asyncio.run(go_back(parts)).swapped
        assert lost

    with reading(views) as connection:
        assert {position.generation for position in positions_of(connection, "tally").values()} == {1 + keep}
    assert tables(views) == {"tallies", "entries", *(("tallies__old", "entries__old") if keep else ())}
    engine.dispose()


def test_a_database_that_does_not_come_back_ends_the_rebuild(log: Log, views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither tries for ever nor answers."""
    for name, seconds in (("PAUSE_SECONDS", 0.01), ("PATIENCE_SECONDS", 0.5)):
        monkeypatch.setattr(folding, name, seconds)
    log.publish(log.fill(60))
    project(log, views)
    interrupted = Interruptions(url_of(views), random.Random(1), share=2.0)
    engine = interrupted.engine()

    with pytest.raises(DBAPIError):
        asyncio.run(Rebuild(lambda: Parts(engine, tally_projection(log.context), log.client), processes=1).verify())
    engine.dispose()


def test_what_a_killed_rebuild_left_running_is_fenced_by_the_next(log: Log, views: Engine) -> None:
    """A process of it that was suspended has claimed the very shards of the same name."""
    log.publish(log.fill(60))
    project(log, views)
    shards = [shard.name for shard in log.shards]
    left = Beside(views, tally_projection(log.context))
    left.make()
    orphan = Projector(views, tally_projection(log.context), reader=left.reader, names=left.names)
    orphan.claim(shards)
    for shard in log.shards:
        orphan.fold({shard.name: shard.deliveries()})

    again = Beside(views, tally_projection(log.context))
    again.make()
    Projector(views, tally_projection(log.context), reader=again.reader, names=again.names).claim(shards)

    with pytest.raises(Fenced):
        orphan.commit()
    with pytest.raises(Fenced, match="another rebuild"):
        left.swap(dict.fromkeys(shards, 0), dict.fromkeys(shards, 1))


POOL = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from adapters.views.folding import end_with_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60).result()
"""


def test_the_processes_of_a_killed_rebuild_end_with_it(tmp_path: Path) -> None:
    program = tmp_path / "pool.py"
    program.write_text(POOL)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        child = Path(f"/proc/{maker.stdout.readline().strip()}")
        assert child.exists()

        maker.kill()

    eventually(lambda: not child.exists() or child.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z")


class Slow(str):
    """Text that takes long to be written down: a busy machine."""

    __slots__ = ()

    def __str__(self) -> str:
        time.sleep(0.001)
        return "".join(self)


def test_a_batch_that_takes_longer_to_build_than_a_session_may_idle_is_written(log: Log, postgres_url: str) -> None:
    """PostgreSQL ends a transaction that is idle for two seconds; the batch was begun again, for ever."""
    slow = Table(
        "slow", MetaData(), Column("stream", String(250), primary_key=True), Column("said", String(60), nullable=False)
    )

    def project(event: Event, record: Record, session: Session) -> None:
        del event
        session.get(slow, record.subject)
        session.put(slow, {"stream": record.subject, "said": Slow(record.id)})

    views = open_views(postgres_url)
    slow.create(views)
    shard = log.shards[0]
    for n in range(5_000):
        # New in the first batch, changed in the second.
        shard.append(f"s{n % 2_500}")
    log.publish((0, value) for value in shard.values)
    projection = Projection("slow", (log.context,), (slow,), project)
    beside = Beside(views, projection)
    beside.make()

    async def fold() -> None:
        async with Folder(Parts(views, projection, log.client), 2_500) as folder:
            await folder.fold({shard.name: 5_000})

    asyncio.run(asyncio.wait_for(fold(), 60))

    with reading(views) as connection:
        assert positions_of(connection, beside.reader)[shard.name].next == 5_000
        assert connection.execute(text("select count(*) from slow__next")).scalar() == 2_500
    views.dispose()
