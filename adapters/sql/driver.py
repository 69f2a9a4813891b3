"""Statements as the drivers take them: SQLAlchemy's building of one costs more than the database's answer to it.

The pool, the locks among threads, the exceptions and whoever listens for statements stay SQLAlchemy's. Parameters are `?` on
both databases.
"""

import re
import select
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn
from sqlalchemy import Engine, PoolProxiedConnection

from adapters.sql.engine import take_turn
from adapters.sql.faults import as_sqlalchemys

Rows = list[tuple[Any, ...]]
_Row = tuple[list[bytes | None], list[int]]
"""A row's values, and the format of each."""
LOCK_SECONDS = 5
"""How long a transaction waits for a row of another. Then it is looked at who holds it (`adapters/sql/suspended.py`)."""


class Said(NamedTuple):
    """A statement with its values; of `many` each of the values is a row, and it is said for each."""

    sql: str
    values: Sequence[Any] = ()
    many: bool = False


class Session(ABC):
    """A connection for as long as a question or a transaction takes."""

    def __init__(self, engine: Engine, held: PoolProxiedConnection) -> None:
        self._engine, self._held = engine, held
        self._driver: Any = held.driver_connection

    def ask(self, said: Iterable[Said]) -> list[Rows]:
        """The rows of each statement, in their order. Raises what SQLAlchemy would."""
        with as_sqlalchemys(self._engine.dialect, self._held):
            return self._answers(self._heard(said))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is asked inside is committed at its end, or undone when the session ends."""
        with as_sqlalchemys(self._engine.dialect, self._held):
            self._begin()
        yield
        self.ask([Said("commit")])

    def _heard(self, said: Iterable[Said]) -> Iterator[Said]:
        listeners = self._engine.dispatch.before_cursor_execute
        if not listeners:
            yield from said
            return
        for one in said:
            listeners(None, None, one.sql, one.values, None, one.many)
            yield one

    @abstractmethod
    def _begin(self) -> None: ...

    @abstractmethod
    def _answers(self, said: Iterable[Said]) -> list[Rows]: ...


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """A session of the engine's. Outside of a transaction each statement sees a moment of its own."""
    held = engine.raw_connection()
    made = (_Postgresql if engine.dialect.name == "postgresql" else _Sqlite)(engine, held)
    try:
        yield made
    finally:
        # What was lost is let go already.
        if held.is_valid and isinstance(made, _Postgresql) and made.is_lost:
            held.invalidate()
        else:
            held.close()


class _Sqlite(Session):
    def _begin(self) -> None:
        take_turn(self._held.info)
        self._driver.execute("begin immediate")

    def _answers(self, said: Iterable[Said]) -> list[Rows]:
        driver = self._driver
        return [(driver.executemany if many else driver.execute)(sql, values).fetchall() for sql, values, many in said]


class _Postgresql(Session):
    """What is asked together is one message, with one answer.

    psycopg's own pipeline sends statement by statement: a worker that was suspended between two of them would hold its locks
    for ever, since a server's patience with an idle transaction begins at the end of a message. And it takes eight times
    as long as libpq's. What is larger than the sockets' buffers may still be half sent: see `adapters/sql/suspended.py`.
    """

    def __init__(self, engine: Engine, held: PoolProxiedConnection) -> None:
        super().__init__(engine, held)
        self._libpq: PGconn = self._driver.pgconn
        self._prepared: dict[str, bytes] = held.info.setdefault("prepared", {})
        self._first: tuple[Said, ...] = ()
        self._poll = select.poll()
        self._poll.register(self._libpq.socket, select.POLLIN)
        self.is_lost = False
        """Something is under way, or failed: neither its locks nor what it has prepared is known for certain."""

    def _begin(self) -> None:
        self._first = (Said("begin"), Said(f"set local lock_timeout = '{LOCK_SECONDS}s'"))

    def _answers(self, said: Iterable[Said]) -> list[Rows]:
        first = self._first
        # All of it before the first byte goes out: whoever is suspended while it is made, or cannot make it, has asked nothing
        # yet, and what he holds is let go by the server's patience with an idle transaction.
        message = [(one.sql, _values(one)) for one in (*first, *said)]
        self._first = ()
        self.is_lost = True
        self._libpq.enter_pipeline_mode()
        counts = [self._send(sql, rows) for sql, rows in message]
        self._libpq.pipeline_sync()
        self._flush()
        found = [self._receive(prepared, executed) for prepared, executed in counts]
        self._expect(ExecStatus.PIPELINE_SYNC)
        self._libpq.exit_pipeline_mode()
        self.is_lost = False
        return found[len(first) :]

    def _send(self, sql: str, rows: Sequence[_Row]) -> tuple[int, int]:
        """How many answers there will be: to its preparation, to itself."""
        prepared, name = 0, self._prepared.get(sql)
        if name is None:
            prepared, name = 1, b"spaceos_%d" % next(_NAMES)
            self._libpq.send_prepare(name, _numbered(sql).encode())
            self._prepared[sql] = name
        for values, formats in rows:
            self._libpq.send_query_prepared(name, values, formats, result_format=Format.BINARY)
        return prepared, len(rows)

    def _flush(self) -> None:
        while self._libpq.flush():
            self._poll.modify(self._libpq.socket, select.POLLIN | select.POLLOUT)
            if any(event & select.POLLIN for _, event in self._poll.poll()):
                self._libpq.consume_input()
            self._poll.modify(self._libpq.socket, select.POLLIN)

    def _receive(self, prepared: int, executed: int) -> Rows:
        for _ in range(prepared):
            self._expect(ExecStatus.COMMAND_OK)
        rows: Rows = []
        for _ in range(executed):
            rows += _loaded(self._expect(ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK))
        return rows

    def _expect(self, *wanted: ExecStatus) -> Any:
        while (result := self._next()) is None:
            # Between two answers.
            if self._libpq.status == ConnStatus.BAD:
                raise psycopg.OperationalError("the connection is lost")
        if result.status not in wanted:
            raise psycopg.errors.error_from_result(result)
        return result

    def _next(self) -> Any:
        while self._libpq.is_busy():
            self._poll.poll()
            self._libpq.consume_input()
        return self._libpq.get_result()


_NAMES = count()
"""Never used twice: what was forgotten may still be prepared."""


def _numbered(sql: str) -> str:
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", sql)


def _values(said: Said) -> list[_Row]:
    rows: Sequence[Any] = said.values if said.many else (said.values,)
    found: list[_Row] = []
    for row in rows:
        values = [_dumped(value) for value in row]
        found.append(([value for value, _ in values], [form for _, form in values]))
    return found


_Dumped = tuple[bytes | None, int]


def _dumped(value: Any) -> _Dumped:
    """A parameter and its format. Its type is what the statement makes of it."""
    if value is None:
        return None, Format.TEXT
    if isinstance(value, str):
        return value.encode(), Format.TEXT
    if isinstance(value, bytes):
        return value, Format.BINARY
    if isinstance(value, list):
        return _array(value)
    return str(value).encode(), Format.TEXT


_LENGTH = struct.Struct("!i").pack
_BYTEA, _TEXT = 17, 25


def _array(values: list[Any]) -> _Dumped:
    kind = next((type(value) for value in values if value is not None), None)
    if kind is None or kind in (int, bool):
        # As text, nothing but NULL is an array of any type.
        return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}".encode(), Format.TEXT
    parts = [struct.pack("!iiiii", 1, 1, _BYTEA if kind is bytes else _TEXT, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            item = value if kind is bytes else value.encode()
            parts += (_LENGTH(len(item)), item)
    return b"".join(parts), Format.BINARY


def _integer(value: bytes) -> int:
    return int.from_bytes(value, signed=True)


_LOADERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda value: value == b"\x01",
    **dict.fromkeys((20, 21, 23), _integer),
    **dict.fromkeys((25, 1043), bytes.decode),
}
"""By PostgreSQL's number of the type; whatever is not here is bytes."""


def _loaded(result: Any) -> Rows:
    if not result.ntuples:
        return []
    value = result.get_value
    loaders = [(n, _LOADERS.get(result.ftype(n), bytes)) for n in range(result.nfields)]
    return [
        tuple([None if (item := value(row, n)) is None else load(item) for n, load in loaders]) for row in range(result.ntuples)
    ]
