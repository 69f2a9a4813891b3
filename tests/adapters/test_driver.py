"""A session says to either database what it is told, in order, and behaves to the rest of us as SQLAlchemy would."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from adapters.sql import engine_for
from adapters.sql.driver import Said, session
from adapters.sql.engine import IDLE_IN_TRANSACTION_SECONDS

INSERT = Said("insert into things (id, name, body) values (?, ?, ?)")


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    blob = "bytea" if engine.dialect.name == "postgresql" else "blob"
    with engine.begin() as connection:
        connection.execute(text(f"create table things (id bigint primary key, name varchar(99), body {blob})"))
    yield engine
    engine.dispose()


def things(engine: Engine) -> list[tuple[Any, ...]]:
    with session(engine) as asking:
        [rows] = asking.ask([Said("select id, name, body from things order by id")])
    return rows


def insert(*rows: tuple[Any, ...]) -> Said:
    return Said(INSERT.sql, rows, many=True)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
values = st.tuples(st.none() | texts, st.none() | st.binary(max_size=20))


@given(st.lists(values, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_what_is_written_is_read_back(engine: Engine, drawn: list[tuple[str | None, bytes | None]]) -> None:
    """By rows, and on PostgreSQL by columns: quotes, braces and what reads like NULL are text."""
    rows = [(n - 2, *one) for n, one in enumerate(drawn)]
    with session(engine) as asking, asking.transaction():
        asking.ask([Said("delete from things"), insert(*rows)])
    assert things(engine) == rows
    if engine.dialect.name == "postgresql":
        columns = Said(
            "insert into things (id, name, body) select * from unnest(?::int8[], ?::text[], ?::bytea[])",
            [[row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]],
        )
        with session(engine) as asking, asking.transaction():
            asking.ask([Said("delete from things"), columns])
        assert things(engine) == rows


def test_each_statement_has_its_rows_in_order(engine: Engine) -> None:
    with session(engine) as asking, asking.transaction():
        found = asking.ask([insert((1, "a", b"")), Said("select name from things where id = ?", (1,)), Said("select 7")])

    assert found == [[], [("a",)], [(7,)]]


def test_a_megabyte_each_way_stops_nobody(engine: Engine) -> None:
    """Neither waits for the other to read."""
    body = bytes(300_000)
    with session(engine) as asking, asking.transaction():
        found = asking.ask([said for n in range(20) for said in (insert((n, "", body)), Said("select body from things"))])

    assert [len(rows) for rows in found[1::2]] == list(range(1, 21))


def test_what_fails_undoes_the_transaction_and_is_raised_as_sqlalchemy_would(engine: Engine) -> None:
    with pytest.raises(IntegrityError), session(engine) as asking, asking.transaction():
        asking.ask([insert((1, "a", b""), (1, "b", b"")), insert((2, "c", b""))])

    assert things(engine) == []


def test_who_leaves_a_transaction_by_an_error_of_his_own_has_changed_nothing_and_keeps_nobody_waiting(engine: Engine) -> None:
    def leave() -> None:
        with session(engine) as asking, asking.transaction():
            asking.ask([insert((1, "a", b""))])
            raise KeyError

    with pytest.raises(KeyError):
        leave()

    with session(engine) as asking, asking.transaction():
        asking.ask([insert((2, "b", b""))])
    assert things(engine) == [(2, "b", b"")]


def test_threads_of_one_process_take_turns(engine: Engine) -> None:
    """With what is said through SQLAlchemy, too."""
    with session(engine) as asking, asking.transaction():
        asking.ask([insert((0, "0", b""))])

    def count(n: int) -> None:
        if n % 2:
            with engine.begin() as connection:
                connection.execute(text("update things set name = cast(cast(name as integer) + 1 as varchar(9))"))
        else:
            with session(engine) as asking, asking.transaction():
                asking.ask([Said("update things set name = cast(cast(name as integer) + 1 as varchar(9))")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(60)))

    assert things(engine) == [(0, "60", b"")]


def test_who_listens_to_the_engines_statements_hears_these(engine: Engine) -> None:
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: said.append(statement))

    with session(engine) as asking, asking.transaction():
        asking.ask([INSERT._replace(values=(1, "a", b""))])

    assert said == [INSERT.sql, "commit"]


def test_a_listener_that_raises_fails_what_was_to_be_said(engine: Engine) -> None:
    """In the middle of a message: nothing of it is done, and the connection is not used again."""

    def fail(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement == "select 2":
            raise OSError

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(OSError), session(engine) as asking, asking.transaction():  # noqa: PT011  the listener's
        asking.ask([insert((1, "a", b"")), Said("select 2")])
    event.remove(engine, "before_cursor_execute", fail)

    assert things(engine) == []


def test_what_was_prepared_survives_that_psycopg_forgets_everything(postgres_url: str) -> None:
    """It deallocates all when it rolls back, ours as well: the statement would not exist for ever after."""
    engine = engine_for(postgres_url, pool_size=1)
    for leave in (_in_sqlalchemys_hands, _in_the_pools_hands):
        for _ in range(3):
            with session(engine) as asking:
                assert asking.ask([Said("select ?::int8 + 1", (1,))]) == [[(2,)]]
            leave(engine)
    engine.dispose()


def _in_sqlalchemys_hands(engine: Engine) -> None:
    with engine.connect() as connection:
        for _ in range(9):
            connection.execute(text("select 1"))
        connection.rollback()


def _in_the_pools_hands(engine: Engine) -> None:
    raw = engine.raw_connection()
    cursor = raw.cursor()
    for _ in range(9):
        cursor.execute("select 1")
    raw.close()


def test_a_session_that_is_suspended_between_two_messages_is_ended(postgres_url: str) -> None:
    """A pipeline that is sent statement by statement would hold its locks for ever: the server waits for its end."""
    zombie, successor = engine_for(postgres_url), engine_for(postgres_url)
    with zombie.begin() as connection:
        connection.execute(text("create table counted (n integer)"))
        connection.execute(text("insert into counted values (1)"))
    waited: list[float] = []
    change = Said("update counted set n = n + 1")

    def sleep() -> None:
        with session(zombie) as asking, asking.transaction():
            asking.ask([change, Said("select n from counted")])
            started = time.monotonic()
            with session(successor) as other, other.transaction():
                other.ask([change])
            waited.append(time.monotonic() - started)

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        sleep()

    assert waited[0] < IDLE_IN_TRANSACTION_SECONDS + 5
    with session(zombie) as asking:
        assert asking.ask([Said("select n from counted")]) == [[(2,)]]
    for engine in (zombie, successor):
        engine.dispose()


def test_a_server_that_ends_the_session_is_an_error_and_the_next_one_is_new(postgres_url: str) -> None:
    engine, other = engine_for(postgres_url), engine_for(postgres_url)

    def go_on() -> None:
        with session(engine) as asking, asking.transaction():
            [[(mine,)]] = asking.ask([Said("select pg_backend_pid()")])
            with session(other) as ending:
                ending.ask([Said("select pg_terminate_backend(?::int4)", (mine,))])
            asking.ask([Said("select 1"), Said("select 2")])

    with pytest.raises(DBAPIError):
        go_on()

    with session(engine) as asking:
        assert asking.ask([Said("select 1")]) == [[(1,)]]
    for each in (engine, other):
        each.dispose()
