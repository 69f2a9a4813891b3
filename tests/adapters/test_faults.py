"""What is transient, asked of what the drivers really raise."""

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, make_url, text
from sqlalchemy.pool import QueuePool

from adapters.sql import engine_for, insert_rows, is_transient, reading
from adapters.sql.driver import Said, session
from adapters.sql.faults import as_sqlalchemys

PAIRS = Table("pairs", MetaData(), Column("k", String(3), primary_key=True), Column("v", String(3)))


@contextmanager
def database(url: str) -> Iterator[Engine]:
    engine = engine_for(url)
    PAIRS.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[Engine]:
    with database(postgres_url) as engine:
        yield engine


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Engine]:
    with database(sqlite_url) as engine:
        yield engine


@contextmanager
def plain(url: str) -> Iterator[psycopg.Connection]:
    """A session that no server ends by itself."""
    with closing(psycopg.connect(url.replace("+psycopg", "", 1))) as connection:
        yield connection


def file_of(engine: Engine) -> str:
    return str(engine.url.database)


def raised(act: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  which one, and what it says of itself, is the question
        act()
    return caught.value


def do(engine: Engine, *statements: str) -> BaseException:
    def act() -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    return raised(act)


WRONG = {
    "no such table": "select * from nothing",
    "no such column": "select nothing from pairs",
    "not SQL": "selec 1",
    "not null": "insert into pairs values (null, 'x')",
    "unique": "insert into pairs values ('a', 'x'), ('a', 'y')",
}


@pytest.mark.parametrize("statement", WRONG.values(), ids=WRONG)
def test_an_answer_is_not_transient(store_url: str, statement: str) -> None:
    """SQLite says "no such table" with the class with which it says "locked": who tried again would never end."""
    with database(store_url) as engine:
        assert not is_transient(do(engine, statement))


REFUSED_BY_POSTGRESQL = {
    "too long": "insert into pairs values ('long', 'x')",
    "no number": "select 'x'::int",
    "too large": "select 2147483648::int",
    "divided by zero": "select 1/0",
    "another type": "select lower(1)",
    "no right": "set role pg_monitor; select * from pairs",
}


@pytest.mark.parametrize("statement", REFUSED_BY_POSTGRESQL.values(), ids=REFUSED_BY_POSTGRESQL)
def test_what_postgresql_refuses_is_not_transient(postgresql: Engine, statement: str) -> None:
    assert not is_transient(do(postgresql, statement))


def test_what_the_driver_refuses_to_send_is_not_transient(postgresql: Engine) -> None:
    """It has no state, as what a lost connection raises has none."""

    def ask() -> None:
        with reading(postgresql) as connection:
            connection.execute(text("select :nul"), {"nul": "a\0b"})

    assert not is_transient(raised(ask))


STATES = [
    "08006", "25006", "25P03", "25P04", "26000", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01",
    "57P02", "57P03", "58030", "XX000", "XX001",
]  # fmt: skip
FINAL_STATES = ["0A000", "22001", "22003", "22021", "22P02", "23502", "23505", "25P02", "42601", "42703", "42P01", "P0001"]


@pytest.mark.parametrize("state", [*STATES, *FINAL_STATES])
def test_postgresqls_states_are_judged_by_what_they_say(postgresql: Engine, state: str) -> None:
    """The driver makes an InternalError of a time-out, an OperationalError of what is too complex: the class says nothing."""
    error = do(postgresql, f"do $$ begin raise exception 'asked for' using errcode = '{state}'; end $$")

    assert is_transient(error) is (state in STATES)


def kill(engine: Engine, session: int) -> None:
    with engine.begin() as connection:
        # Whoever looks himself sees what he saw first, for as long as his transaction lasts.
        assert connection.scalar(text("select pg_terminate_backend(:session, 10000)"), {"session": session})


@pytest.mark.parametrize("then", ["ask", "commit", "ask twice", "copy"])
def test_a_session_that_was_ended_is_transient_whatever_is_tried_next(postgresql: Engine, postgres_url: str, then: str) -> None:
    """An operator, a server that stops. COPY is the driver's own, so SQLAlchemy neither wraps nor notices what it raises."""

    def act() -> None:
        with postgresql.begin() as connection:
            with database(postgres_url) as other:
                kill(other, connection.scalar(text("select pg_backend_pid()")))
            if then == "copy":
                insert_rows(connection, PAIRS, [("a", "x")])
            if then == "ask twice":
                assert is_transient(raised(lambda: connection.execute(text("select 1"))))
            if then != "commit":
                connection.execute(text("select 1"))

    error = raised(act)

    assert is_transient(error)
    with postgresql.begin() as connection:
        assert connection.scalar(text("select 1")) == 1


def test_a_session_that_was_suspended_in_its_transaction_is_transient(postgresql: Engine, postgres_url: str) -> None:
    """25P03, an InternalError; then an OperationalError without a state. A worker took the first for the command's fault."""
    with plain(postgres_url) as connection:
        connection.execute("set idle_in_transaction_session_timeout = '10ms'")
        time.sleep(0.2)
        first, second = (raised(lambda: connection.execute("select 1")) for _ in range(2))

    assert isinstance(first, psycopg.errors.IdleInTransactionSessionTimeout)
    assert is_transient(first)
    assert is_transient(second)


def test_time_outs_of_statements_and_locks_are_transient(postgresql: Engine, postgres_url: str) -> None:
    with plain(postgres_url) as holder:
        holder.execute("lock table pairs")

        assert is_transient(do(postgresql, "set local lock_timeout = '20ms'", "select * from pairs"))
        assert is_transient(do(postgresql, "set local statement_timeout = '20ms'", "select * from pairs"))
        assert is_transient(do(postgresql, "lock table pairs nowait"))


def test_a_transaction_that_lost_a_race_is_transient(postgresql: Engine) -> None:
    """REPEATABLE READ, as all our readers have it."""
    with postgresql.begin() as connection:
        connection.execute(text("insert into pairs values ('a', 'x')"))

    def race() -> None:
        with postgresql.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            connection.execute(text("select * from pairs"))
            with postgresql.begin() as other:
                other.execute(text("update pairs set v = 'y'"))
            connection.execute(text("update pairs set v = 'z'"))

    assert is_transient(raised(race))


def test_a_read_only_server_is_transient(postgresql: Engine) -> None:
    """What was replaced by its standby answers so until its clients are sent on."""
    assert is_transient(do(postgresql, "set transaction read only", "insert into pairs values ('a', 'x')"))


def test_a_server_that_lets_nobody_in_is_transient(postgresql: Engine, postgres_url: str) -> None:
    """Refused, too many, starting up, a wrong password: while a session is opened the driver knows no state of it."""
    with postgresql.begin() as connection:
        role = f"r{postgres_url[-12:]}"
        connection.execute(text(f"create role {role} login password 'x' connection limit 0"))
    full = make_url(postgres_url).set(username=role, password="x")
    try:
        assert is_transient(raised(engine_for(full).connect))
        assert is_transient(raised(engine_for(full.set(port=1)).connect))
    finally:
        with postgresql.begin() as connection:
            connection.execute(text(f"drop role {role}"))


def test_a_statement_that_a_migration_made_invalid_is_transient(postgresql: Engine, postgres_url: str) -> None:
    """A column is made wider while a reader runs: the server will not answer what was prepared before, and then will."""

    def ask() -> None:
        with postgresql.begin() as connection:
            for _ in range(8):
                connection.execute(text("select * from pairs where k = 'a'"))

    ask()
    with database(postgres_url) as other, other.begin() as connection:
        connection.execute(text("alter table pairs alter v type varchar(9)"))

    assert is_transient(raised(ask))
    ask()


def test_a_statement_that_is_prepared_no_more_is_transient_and_its_session_is_not_asked_again(postgresql: Engine) -> None:
    """Behind a proxy the session is another server's after a failover, and knows nothing of what was prepared."""

    sessions: list[int] = []

    def ask() -> None:
        with postgresql.connect() as connection:
            sessions.append(int(connection.scalar(text("select pg_backend_pid()")) or 0))
            for n in range(9):
                if n == 8:
                    connection.exec_driver_sql("do $$ begin execute 'deallocate all'; end $$")
                connection.execute(text("select * from pairs where k = 'b'"))

    assert is_transient(raised(ask))
    assert is_transient(raised(ask))
    assert len(set(sessions)) == 2


@pytest.mark.parametrize("by", ["a session", "COPY"])
def test_a_server_that_was_started_again_costs_one_attempt(postgres_url: str, by: str) -> None:
    """It cost one for each connection that the pool had made."""
    with database(postgres_url) as engine, database(postgres_url) as other:
        held = [engine.connect() for _ in range(4)]
        sessions = [int(each.scalar(text("select pg_backend_pid()")) or 0) for each in held]
        for each in held:
            each.close()
        for each in sessions:
            kill(other, each)

        def ask() -> None:
            if by == "COPY":
                with engine.connect() as connection:
                    driver: Any = connection.connection
                    with as_sqlalchemys(engine.dialect, connection), driver.cursor() as cursor:
                        cursor.execute("select 1")
            else:
                with session(engine) as asking:
                    asking.ask([Said("select 1")])

        assert is_transient(raised(ask))
        for _ in sessions:
            ask()


def test_a_pool_that_has_no_connection_left_is_transient(store_url: str) -> None:
    engine = create_engine(make_url(store_url), poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect():
        assert is_transient(raised(engine.connect))
    engine.dispose()


# SQLite


def test_a_file_that_somebody_else_writes_is_transient(sqlite: Engine) -> None:
    with closing(sqlite3.connect(file_of(sqlite), timeout=0)) as mine, sqlite.begin():
        error = raised(lambda: mine.execute("begin immediate"))

    assert is_transient(error)


def test_a_table_that_is_being_read_is_transient(sqlite: Engine) -> None:
    """SQLITE_LOCKED, not SQLITE_BUSY: within one connection."""
    with closing(sqlite3.connect(file_of(sqlite), isolation_level=None)) as mine:
        mine.execute("insert into pairs values ('a', 'x'), ('b', 'x')")
        rows = mine.execute("select * from pairs")
        rows.fetchone()

        assert is_transient(raised(lambda: mine.execute("drop table pairs")))


def test_a_full_disk_is_transient(sqlite: Engine) -> None:
    """SQLITE_FULL where the file may not grow, SQLITE_IOERR where the system does not let it."""
    numbers = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 5000)"
    filled = f"{numbers} insert into pairs select x, x from n"
    assert is_transient(do(sqlite, "pragma max_page_count = 4", filled))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, limits[1]))
    try:
        error = do(sqlite, "pragma max_page_count = 1000000", filled)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_transient(error)


def test_a_file_that_cannot_be_opened_or_read_is_transient(tmp_path: Path) -> None:
    """A folder that is not mounted; a file of which somebody else's program made something else."""
    assert is_transient(raised(engine_for(f"sqlite:///{tmp_path}/nowhere/x.db").connect))

    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all, and longer than its header would be " * 100)
    assert is_transient(raised(engine_for(f"sqlite:///{other}").connect))


def test_a_file_that_may_not_be_written_is_transient(sqlite: Engine) -> None:
    """A file system that the kernel has made read-only after an error."""
    with closing(sqlite3.connect(f"file:{file_of(sqlite)}?mode=ro", uri=True)) as mine:
        assert is_transient(raised(lambda: mine.execute("insert into pairs values ('a', 'x')")))


def test_a_connection_that_we_closed_is_a_fault_of_ours() -> None:
    mine = sqlite3.connect(":memory:")
    mine.close()

    assert not is_transient(raised(lambda: mine.execute("select 1")))


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), OSError("x"), TimeoutError("x")])
def test_what_no_database_said_is_not_transient(error: Exception) -> None:
    assert not is_transient(error)
