"""Connections to either database, so that neither loses what it has acknowledged nor drops a lock in silence."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from threading import Lock
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    ExceptionContext,
    Integer,
    LargeBinary,
    String,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.pool import QueuePool

from adapters.sql.faults import as_sqlalchemys, ends_session

BUSY_SECONDS = 5.0
IDLE_IN_TRANSACTION_SECONDS = 2
# A server whose machine is gone says nothing: without these a question waits for its answer for two hours.
_KEPT_ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 5, "tcp_user_timeout": 15_000}
ROWS_A_STATEMENT = 50


class NotDurable(RuntimeError):
    """The database may lose what it acknowledged. The message says which setting, and what it must be."""


def engine_for(url: str | URL, *, pool_size: int = 5) -> Engine:
    """An engine whose transactions lock from their first statement on SQLite, and time out when suspended on PostgreSQL."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(address, pool_size)
    return _postgresql(address, pool_size)


def _sqlite(address: URL, pool_size: int) -> Engine:
    engine = create_engine(
        address, poolclass=QueuePool, pool_size=pool_size, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, record: Any) -> None:
        record.info["turn"] = turn
        # SQLAlchemy's default leaves a SELECT before the first write outside the transaction; four threads that
        # incremented one row 800 times ended at 201. We begin ourselves.
        connection.isolation_level = None
        connection.execute("pragma page_size=8192")
        _log_ahead(connection)
        # A checkpoint every 4 MB, the default, writes most pages twice while a batch waits; every 64 MB hardly any.
        for pragma in ("synchronous=full", "cache_size=-65536", "wal_autocheckpoint=8192"):
            connection.execute(f"pragma {pragma}")

    # A file has one writer. Among processes SQLite's own waiting decides who is next, which sleeps up to 100 ms at a time;
    # among the threads of one process a lock does it at once. It is held until the connection is back in the pool.
    turn = Lock()

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        if connection.get_execution_options().get("spaceos_reads", False):
            connection.exec_driver_sql("BEGIN")
            return
        take_turn(connection.info)
        if connection.get_execution_options().get("spaceos_replayable", False):
            connection.info["is_lazy"] = True
            connection.exec_driver_sql("pragma synchronous=normal")
        # A deferred transaction that turns into a writing one fails at once when another has written meanwhile.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine, "checkin")
    @event.listens_for(engine, "close")
    @event.listens_for(engine, "invalidate")
    def _(_connection: Any, record: Any, *_: Any) -> None:
        if record.info.pop("has_turn", False):
            turn.release()

    @event.listens_for(engine, "checkin")
    def _(connection: Any, record: Any) -> None:
        if record.info.pop("is_lazy", False) and connection is not None:
            connection.execute("pragma synchronous=full")

    return engine


def take_turn(info: dict[Any, Any]) -> None:
    """Before a transaction that writes to SQLite begins on the connection of this `info`."""
    if not info.get("has_turn"):
        info["has_turn"] = info["turn"].acquire(timeout=BUSY_SECONDS)


def _log_ahead(connection: sqlite3.Connection) -> None:
    """journal_mode=wal. Several processes may open a new file at once, and SQLite does not wait for its turn at this."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _postgresql(address: URL, pool_size: int) -> Engine:
    # A writer that is suspended in mid-transaction holds its shard's row; its successor would wait for ever.
    options = f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s"
    engine = create_engine(
        address,
        pool_size=pool_size,
        max_overflow=5,
        connect_args={"options": options, "connect_timeout": 5, **_KEPT_ALIVE},
        pool_pre_ping=False,
    )

    @event.listens_for(engine, "handle_error")
    def _(context: ExceptionContext) -> None:
        context.is_disconnect = context.is_disconnect or ends_session(context.original_exception)

    # psycopg deallocates all that is prepared when it rolls back, whoever prepared it: sessions begin anew.
    @event.listens_for(engine, "rollback")
    def _(connection: Connection) -> None:
        if not connection.invalidated:
            connection.info.pop("prepared", None)

    @event.listens_for(engine, "reset")
    def _(connection: Any, record: Any, _state: Any) -> None:
        if connection.info.transaction_status:
            record.info.pop("prepared", None)

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent snapshot that takes no lock of writers. Keep it short: on SQLite it holds back checkpoints."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection = connection.execution_options(spaceos_reads=True)
        else:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def replayable(engine: Engine) -> Iterator[Connection]:
    """A transaction of rows and of the position in the log from which they follow: what a power cut takes is folded again.

    SQLite does not wait for the disk then: what was committed may go, whole transactions, the newest first, and with the
    machine whoever believed in them. A commit that waits is ten times as long, and holds back the store's on the same disk.
    PostgreSQL waits: it can lose what it has and leave alive who believes it, with nothing to read that would tell.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(spaceos_replayable=True)
        with connection.begin():
            yield connection


def insert_rows(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Many rows, each with all columns in the table's order, as the driver takes them (no type of ours is applied).

    SQLAlchemy's own executemany costs 5 µs a row more, PostgreSQL's insert 30 µs more than its COPY.
    """
    names = ", ".join(column.name for column in table.columns)
    if connection.dialect.name == "sqlite":
        _insert_on_sqlite(connection, f"insert into {table.name} ({names}) values ", len(table.columns), rows)  # noqa: S608  our names
        return
    raw: Any = connection.connection
    copy = f"copy {table.name} ({names}) from stdin (format binary)"
    with as_sqlalchemys(connection.dialect, connection, copy), raw.cursor() as cursor, cursor.copy(copy) as copying:
        copying.set_types([type_of(column) for column in table.columns])
        for row in rows:
            copying.write_row(row)


def _insert_on_sqlite(connection: Connection, insert: str, columns: int, rows: Sequence[Sequence[Any]]) -> None:
    # The driver gives the interpreter away for each statement, and another thread gives it back when it pleases.
    row, whole = f"({', '.join('?' * columns)})", len(rows) - len(rows) % ROWS_A_STATEMENT
    many = [tuple(chain.from_iterable(rows[at : at + ROWS_A_STATEMENT])) for at in range(0, whole, ROWS_A_STATEMENT)]
    for values, parameters in ((", ".join([row] * ROWS_A_STATEMENT), many), (row, list(map(tuple, rows[whole:])))):
        if parameters:
            connection.exec_driver_sql(insert + values, parameters)


# Text would have each byte as two digits, and more time of the server than of us.
_BINARY = ((BigInteger, "int8"), (Integer, "int4"), (String, "text"), (LargeBinary, "bytea"), (Boolean, "bool"))


def type_of(column: Column[Any]) -> str:
    """PostgreSQL's name of it."""
    return next(name for kind, name in _BINARY if isinstance(column.type, kind))


_REQUIRED_POSTGRESQL = {"fsync": "on", "full_page_writes": "on"}


def assert_durable(engine: Engine) -> dict[str, str]:
    """The settings that make a commit survive a power cut. Raises NotDurable."""
    with reading(engine) as connection:
        if engine.dialect.name == "sqlite":
            mode = str(connection.exec_driver_sql("pragma journal_mode").scalar_one())
            level = int(connection.exec_driver_sql("pragma synchronous").scalar_one())
            found = {"journal_mode": mode, "synchronous": {0: "off", 1: "normal", 2: "full", 3: "extra"}[level]}
            if mode != "wal" or level < 2:
                raise NotDurable(f"SQLite runs with {found}; journal_mode=wal and synchronous=full are required")
            return found
        names = [*_REQUIRED_POSTGRESQL, "synchronous_commit"]
        found = {name: str(connection.execute(text(f"show {name}")).scalar_one()) for name in names}
    for name, value in _REQUIRED_POSTGRESQL.items():
        if found[name] != value:
            raise NotDurable(f"PostgreSQL runs with {name}={found[name]}; it must be {value}")
    if found["synchronous_commit"] == "off":
        raise NotDurable("PostgreSQL runs with synchronous_commit=off, which loses acknowledged commits; it must be on")
    return found
