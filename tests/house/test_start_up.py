"""Settings under which something would be lost in silence are refused before anything starts."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event

from adapters.sql import NotDurable, assert_durable, engine_for, replayable, schema
from ops.compose import open_engine
from ops.settings import InvalidSettings, Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    yield engine
    engine.dispose()


def test_a_database_as_we_open_it_is_durable(engine: Engine) -> None:
    found = assert_durable(engine)

    assert found.get("synchronous_commit", "on") != "off"
    assert found.get("synchronous", "full") == "full"


@pytest.mark.parametrize("pragma", ["synchronous=normal", "synchronous=off", "journal_mode=delete"])
def test_sqlite_that_may_lose_a_commit_is_refused(sqlite_url: str, pragma: str) -> None:
    """NORMAL keeps the database whole and loses the last commits at a power cut: those that were acknowledged."""
    engine = engine_for(sqlite_url)

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute(f"pragma {pragma}")

    with pytest.raises(NotDurable, match=pragma.partition("=")[0]):
        assert_durable(engine)
    engine.dispose()


def test_only_what_is_folded_again_is_not_waited_for_and_nothing_after_it(sqlite_url: str) -> None:
    """One connection serves both, one after the other."""
    engine = engine_for(sqlite_url, pool_size=1)
    levels = []
    for begin in (engine.begin, lambda: replayable(engine), lambda: replayable(engine), engine.begin):
        with begin() as connection:
            levels.append(connection.exec_driver_sql("pragma synchronous").scalar_one())
    with pytest.raises(ZeroDivisionError), replayable(engine):
        raise ZeroDivisionError
    assert_durable(engine)
    engine.dispose()

    assert levels == [2, 1, 1, 2]


def test_postgresql_that_may_lose_a_commit_is_refused(postgres_url: str) -> None:
    """An operator's ALTER DATABASE is enough, and nothing of ours would notice."""
    plain = postgres_url.replace("+psycopg", "", 1)
    with psycopg.connect(plain, autocommit=True) as session:
        session.execute(f'alter database "{postgres_url.rpartition("/")[2]}" set synchronous_commit = off')

    with pytest.raises(NotDurable, match="synchronous_commit"):
        open_engine(postgres_url, "store")


def test_the_options_that_lose_events_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """dependencies.md: a tailing reader missed 5,651 of 118,663 events."""
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", "y")

    with pytest.raises(InvalidSettings, match="POSTGRES_ENABLE_DB_FUNCTIONS"):
        Settings()


@pytest.mark.filterwarnings("ignore::faust.exceptions.AlreadyConfiguredWarning")
@pytest.mark.parametrize(
    ("name", "value"), [("processing_guarantee", "exactly_once"), ("stream_wait_empty", True), ("producer_threaded", True)]
)
def test_faust_is_refused_where_it_would_lose_events(name: str, value: object) -> None:
    """Its transactional ids follow the output's partitions: a killed worker lost 644 of 300,000."""
    from adapters.faust.chunks import WrongSettings, assert_safe, make_app

    async def resume(*_: Any) -> int:
        raise NotImplementedError

    app = make_app("house", {"bootstrap_servers": "localhost:1"}, resume)  # type: ignore[arg-type]
    assert_safe(app)
    setattr(app.conf, name, value)

    with pytest.raises(WrongSettings, match=name):
        assert_safe(app)


def test_faust_ignores_or_refuses_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads its settings from there too."""
    from adapters.faust.chunks import WrongSettings, make_app

    monkeypatch.setenv("PROCESSING_GUARANTEE", "exactly_once")

    async def resume(*_: Any) -> int:
        raise NotImplementedError

    try:
        app = make_app("house", {"bootstrap_servers": "localhost:1"}, resume)  # type: ignore[arg-type]
    except WrongSettings:
        return
    assert app.conf.processing_guarantee.value == "at_least_once"


@pytest.mark.parametrize("name", ["store", "views", "audit", "vault"])
def test_the_newest_revisions_are_read_without_alembic_as_alembic_reads_them(name: str) -> None:
    """A process that starts again compares them, and Alembic takes a fifth of its start."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations" / name))
    config.set_main_option("path_separator", "os")

    assert schema.heads(name) == frozenset(ScriptDirectory.from_config(config).get_heads())
