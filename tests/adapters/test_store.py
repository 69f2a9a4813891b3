"""The store on both databases: one deployment each, made by any number of processes, with locks that hold."""

import multiprocessing
import pkgutil
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine, MetaData, select, text, update
from sqlalchemy.exc import DBAPIError

import projections
from adapters.audit.tables import METADATA as AUDIT
from adapters.sql import engine_for, reading, schema, tables
from adapters.sql.engine import BUSY_SECONDS, IDLE_IN_TRANSACTION_SECONDS
from adapters.sql.schema import upgrade
from adapters.sql.store import AnotherDeployment, Store
from adapters.sql.wake import wake_for
from adapters.vault.tables import METADATA as VAULT
from adapters.views.tables import METADATA as READERS
from commands import Grant
from projections import METADATA as VIEWS

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "store")
    yield engine
    engine.dispose()


# One deployment


def test_a_store_is_of_one_network_for_ever(engine: Engine) -> None:
    """Keys and partitions of another would make nonsense of what is recorded."""
    store = Store(engine)
    store.establish(network="dev", partitions="4")

    store.establish(network="dev", partitions="4")
    for other in ({"network": "prod"}, {"partitions": "8"}):
        with pytest.raises(AnotherDeployment, match=next(iter(other.values()))):
            store.establish(**other)

    assert store.facts() == {"network": "dev", "partitions": "4"}


def test_what_contradicts_establishes_nothing(engine: Engine) -> None:
    store = Store(engine)
    store.establish(network="dev")

    with pytest.raises(AnotherDeployment):
        store.establish(partitions="4", network="prod")

    assert store.facts() == {"network": "dev"}


def test_planting_again_changes_nothing_and_revives_nobody(engine: Engine) -> None:
    """A key of the genesis that lost its role would have it back after every restart."""
    store = Store(engine)
    grants = [Grant("a", "x.y", "x/", NOW), Grant("a", "x.z", "x/", NOW), Grant("b", "x.y", "", NOW)]
    store.plant(grants)
    before = store.look(keys=["a", "b"]).authority
    with engine.begin() as connection:
        connection.execute(tables.authority_grants.delete().where(tables.authority_grants.c.role == "x.z"))
        connection.execute(update(tables.authority_keys).where(tables.authority_keys.c.key == "b").values(revoked=True))

    store.plant(grants)

    after = store.look(keys=["a", "b"]).authority
    assert len(before["a"].grants) == 2
    assert [grant.role for grant in after["a"].grants] == ["x.y"]
    assert after["b"].revoked


# Migrations


@pytest.mark.parametrize(
    ("name", "metadata"),
    [("store", [tables.METADATA]), ("views", [READERS, VIEWS]), ("audit", [AUDIT]), ("vault", [VAULT])],
)
def test_migrations_from_empty_make_exactly_the_tables_of_the_code(store_url: str, name: str, metadata: list[MetaData]) -> None:
    for module in pkgutil.iter_modules(projections.__path__):
        __import__(f"projections.{module.name}")
    wanted = MetaData()
    for one in metadata:
        for table in one.tables.values():
            if table.name not in wanted.tables:
                table.to_metadata(wanted)
    engine = engine_for(store_url)
    upgrade(engine, name)

    with engine.connect() as connection:
        options = {"version_table": f"alembic_{name}", "compare_type": True, "compare_server_default": True}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), wanted)

    assert differences == []
    engine.dispose()


UPGRADE = """
import sys
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from commands import Grant
from datetime import datetime, UTC
sys.stdin.readline()
engine = engine_for(sys.argv[1])
upgrade(engine, "store")
store = Store(engine)
store.establish(network="dev", partitions="4")
store.plant([Grant("a", "x.y", "x/", datetime(2026, 1, 1, tzinfo=UTC))])
store.shard("identity", 0)
"""


def test_four_processes_that_meet_an_empty_database_make_it_together(store_url: str) -> None:
    """A supervisor starts them all at once, on a machine where nothing is yet."""
    started = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, store_url], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    time.sleep(1.5)
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()

    errors = [process.communicate(timeout=60)[1].decode() for process in started]

    assert [process.returncode for process in started] == [0] * 4, "\n".join(errors)
    store = Store(engine_for(store_url))
    assert store.facts() == {"network": "dev", "partitions": "4"}
    assert len(store.shards()) == 1
    store.engine.dispose()


def _open(url: str, at: float) -> None:
    engine = engine_for(url)
    time.sleep(max(0.0, at - time.time()))
    with engine.begin() as connection:
        connection.execute(text("create table if not exists opened (n int)"))


def test_a_new_file_that_several_processes_open_at_the_same_moment_is_locked_to_none_of_them(tmp_path: Path) -> None:
    """SQLite does not wait when it switches to its log: 5 of 100 such openings failed, and the worker with them."""
    forks = multiprocessing.get_context("fork")
    codes: list[int | None] = []
    for n in range(60):
        opening = [forks.Process(target=_open, args=(f"sqlite:///{tmp_path}/{n}.db", time.time() + 0.02)) for _ in range(4)]
        for process in opening:
            process.start()
        for process in opening:
            process.join(60)
        codes += [process.exitcode for process in opening]

    assert set(codes) == {0}


def test_whoever_finds_a_migration_going_on_waits_for_it(sqlite_url: str) -> None:
    """However long it takes: longer than any other transaction is waited for."""
    migrating, waiting = engine_for(sqlite_url), engine_for(sqlite_url)
    with ThreadPoolExecutor(1) as pool, migrating.begin() as connection:
        connection.execute(text("create table half (n int)"))
        other = pool.submit(upgrade, waiting, "store")
        time.sleep(BUSY_SECONDS + 0.5)
        assert not other.done()
        connection.rollback()
    other.result()

    Store(waiting).shard("identity", 0)
    for engine in (migrating, waiting):
        engine.dispose()


# Locks


def _increment(engine: Engine, times: int) -> None:
    """Read, then write what follows from it: what the default of SQLAlchemy on SQLite loses."""
    for _ in range(times):
        with engine.begin() as connection:
            row = select(tables.shards.c.next_sequence).with_for_update()
            found = connection.execute(row).scalar_one()
            connection.execute(update(tables.shards).values(next_sequence=found + 1))


def test_no_update_is_lost_between_threads(engine: Engine) -> None:
    Store(engine).shard("identity", 0)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(_increment, engine, 50) for _ in range(4)]:
            done.result()

    assert Store(engine).shard("identity", 0).next_sequence == 200


def test_a_row_that_is_locked_for_update_makes_others_wait(engine: Engine) -> None:
    """SQLite's dialect drops the lock in silence; there the transaction that begins is the lock."""
    store = Store(engine)
    store.shard("identity", 0)
    locked, done = Event(), Event()
    order: list[str] = []

    def wait() -> None:
        locked.wait(10)
        with engine.begin() as connection:
            connection.execute(select(tables.shards).with_for_update()).one()
            order.append("second")
        done.set()

    waiting = Thread(target=wait)
    waiting.start()
    with engine.begin() as connection:
        connection.execute(select(tables.shards).with_for_update()).one()
        locked.set()
        time.sleep(0.3)
        order.append("first")
    waiting.join(10)

    assert order == ["first", "second"]
    assert done.is_set()


@pytest.mark.dependency
def test_sqlite_drops_the_lock_in_silence(sqlite_url: str) -> None:
    """If it does not one day, BEGIN IMMEDIATE is no longer what we rely on."""
    engine = engine_for(sqlite_url)

    assert "FOR UPDATE" not in str(select(tables.shards).with_for_update().compile(engine)).upper()
    engine.dispose()


def test_a_reader_sees_one_moment_and_keeps_no_writer_waiting(engine: Engine) -> None:
    store = Store(engine)
    store.shard("identity", 0)

    with reading(engine) as connection:
        before = connection.execute(select(tables.shards.c.next_sequence)).scalar_one()
        _increment(engine, 1)
        after = connection.execute(select(tables.shards.c.next_sequence)).scalar_one()

    assert (before, after) == (0, 0)
    assert store.shard("identity", 0).next_sequence == 1


def test_whoever_only_reads_cannot_write(postgres_url: str) -> None:
    engine = engine_for(postgres_url)
    upgrade(engine, "store")

    with pytest.raises(DBAPIError, match="read-only"), reading(engine) as connection:
        connection.execute(text("delete from events"))
    engine.dispose()


def test_a_writer_that_is_suspended_in_its_transaction_is_ended_and_changes_nothing(postgres_url: str) -> None:
    """It holds its shard's row; its successor would wait for ever."""
    suspended, successor = engine_for(postgres_url), engine_for(postgres_url)
    upgrade(suspended, "store")
    Store(suspended).shard("identity", 0)
    with suspended.connect() as zombie:
        zombie.execute(update(tables.shards).values(next_sequence=99))
        started = time.monotonic()

        _increment(successor, 1)

        waited = time.monotonic() - started
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            zombie.execute(text("select 1"))
    assert waited < IDLE_IN_TRANSACTION_SECONDS + 5
    assert Store(successor).shard("identity", 0).next_sequence == 1
    for engine in (suspended, successor):
        engine.dispose()


def test_a_process_of_an_earlier_version_does_not_start_on_a_newer_schema(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that is started again for ever would take all shards from those who own them, again and again."""
    engine = engine_for(store_url)
    upgrade(engine, "store")
    earlier = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, earlier)
    max((earlier / "store" / "versions").glob("0*.py")).unlink()
    monkeypatch.setattr(schema, "_MIGRATIONS", earlier)

    with pytest.raises(CommandError, match="Can't locate revision"):
        upgrade(engine, "store")
    engine.dispose()


# Being woken


def test_a_commit_wakes_whoever_waits(engine: Engine) -> None:
    """Long before the poll that every reader also makes."""
    store = Store(engine)
    store.shard("identity", 0)
    wake = wake_for(engine)
    wake.wait(0.1)
    woken: list[bool] = []
    waiting = Thread(target=lambda: woken.append(wake.wait(20)))
    waiting.start()
    time.sleep(0.2)

    with engine.begin() as connection:
        connection.execute(update(tables.shards).values(next_sequence=1))
        if engine.dialect.name == "postgresql":
            connection.execute(text("notify spaceos_committed"))
    waiting.join(20)

    assert woken == [True]
    wake.close()


def test_nobody_is_woken_without_a_commit(engine: Engine) -> None:
    Store(engine).shard("identity", 0)
    wake = wake_for(engine)
    wake.wait(0.1)

    assert wake.wait(0.2) is False
    wake.close()


def test_what_committed_before_anybody_listened_is_not_missed(engine: Engine) -> None:
    """The first look comes after the listening began, or never."""
    if engine.dialect.name == "postgresql":
        assert wake_for(engine).wait(5) is True
    else:
        wake = wake_for(engine)
        Store(engine).shard("identity", 0)
        assert wake.wait(5) is True


# Reading


def test_many_names_are_asked_with_one_statement(engine: Engine) -> None:
    """And names that would be SQL or JSON elsewhere are names."""
    store = Store(engine)
    names = [f"k{n}" for n in range(3_000)] + ["'; drop table events; --", '"]', "\\", "é"]
    store.plant(Grant(name, "x.y", "x/", NOW + timedelta(days=1)) for name in names)

    found = store.look(keys=[*names, "nobody"]).authority

    assert found.keys() == set(names)
    assert all(len(known.grants) == 1 for known in found.values())
    assert store.look().known == {}
    assert store.look(identities=["x y"]).known == {}
    assert store.streams(["identity/key/x"]) == {}


def test_a_shard_is_made_once_whoever_asks_first(engine: Engine) -> None:
    store = Store(engine)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: Store(engine).shard("identity", 3), range(8)))

    assert len(set(made)) == 1
    assert made[0] == store.shard("identity", 3)


# SQLite's one writer


def test_writers_of_one_process_take_turns_and_whoever_fails_gives_his_back(sqlite_url: str) -> None:
    """However a transaction ends: by a commit, an error, a savepoint undone, a connection that is thrown away."""
    engine = engine_for(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("create table counted (n integer)"))

    def write(n: int) -> None:
        with suppress(Undone), engine.begin() as connection:
            connection.execute(text("insert into counted values (:n)"), {"n": n})
            if n % 4 == 1:
                raise Undone
            if n % 4 == 2:
                with suppress(Undone), connection.begin_nested():
                    connection.execute(text("insert into counted values (-1)"))
                    raise Undone
            if n % 4 == 3:
                connection.invalidate()
                raise Undone

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))

    with engine.connect() as connection:
        found = sorted(connection.scalars(text("select n from counted")))
    assert found == [n for n in range(40) if n % 4 in (0, 2)]
    engine.dispose()


class Undone(Exception):
    """The transaction shall not be."""
