"""Both databases hold the same rows and refuse the same, in the same words."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, product
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    select,
)

from adapters.sql import engine_for, reading
from adapters.views import Projector, digest, parked_streams
from adapters.views.columns import Unwritable
from adapters.views.rows import Changes
from adapters.views.tables import METADATA, parked, positions
from adapters.views.writing import COPY_FROM_ROWS, Writer
from contracts import Digest
from projections import MoneyColumn, Projection, Session
from tests.adapters.shards import Shard

VIEW = MetaData()
odd = Table(
    "odd",
    VIEW,
    Column("key", String(6), primary_key=True),
    Column("short", String(6)),
    Column("text", Text),
    Column("small", Integer),
    Column("large", BigInteger),
    Column("money", MoneyColumn()),
    Column("flag", Boolean),
    Column("bytes", LargeBinary),
)
EMPTY = dict.fromkeys(column.name for column in odd.columns)


@contextmanager
def database(url: str) -> Iterator[Engine]:
    engine = engine_for(url)
    METADATA.create_all(engine)
    VIEW.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    with database(store_url) as engine:
        yield engine


HELD = {
    "short": ["", "a", "a     ", "\U00010348" * 6, "é", Digest("f" * 6), "\x01\x7f", "'\"\\\t\n", None],
    "text": ["", " ", "x" * 10_000, r"\N", "\\N", "\ufffe\U0010ffff", "a\u0301", None],
    "small": [0, -(2**31), 2**31 - 1, True, None],
    "large": [0, -(2**63), 2**63 - 1, 2**53, 2**53 + 1, None],
    "money": [0, 10**78 - 1, -(10**77), -1, 2**63, 2**64, None],
    "flag": [True, False, None],
    "bytes": [b"", b"\x00\xff", memoryview(b"x"), None],
}
REFUSED = {
    "short": ["1234567", "123456 ", "a\x00b", "\ud800", 1, b"a"],
    "text": ["a\x00b", "\udfff", 5, b"x"],
    "small": [2**31, -(2**31) - 1, 2**70, 1.5, "1"],
    "large": [2**63, -(2**63) - 1, 2**70, 1.0, "1"],
    "money": [10**78, -(10**78), 1.0, "1"],
    "flag": [1, 0, "true"],
    "bytes": ["x", 5],
}


def row(column: str, value: Any, key: str = "k") -> dict[str, Any]:
    return {**EMPTY, "key": key, column: value}


def rows_of(column: str) -> list[dict[str, Any]]:
    return [row(column, value, f"k{n}") for n, value in enumerate(HELD[column] * COPY_FROM_ROWS)]


def kinds(rows: list[dict[str, Any]]) -> Iterator[Changes]:
    """The ways of writing: COPY, arrays, blocks of many rows and of one."""
    yield Changes(unsure=rows)
    yield Changes(changed=rows)
    yield Changes(new=rows)


def test_what_is_held_comes_back_as_it_was(views: Engine) -> None:
    for column, changes in chain.from_iterable(product([name], kinds(rows_of(name))) for name in HELD):
        with views.begin() as connection:
            connection.execute(delete(odd))
            Writer(odd).write(connection, changes)
            found = dict(connection.execute(select(odd.c.key, odd.c[column])).all())

        assert found == {each["key"]: each[column] for each in rows_of(column)}


def test_what_one_database_would_refuse_or_change_neither_is_given(views: Engine) -> None:
    """PostgreSQL cuts off what is cast to a length, and spaces at the end even where nothing is cast; SQLite holds anything."""
    good = [row("text", "x", f"k{n}") for n in range(COPY_FROM_ROWS)]
    refused = chain.from_iterable(product([name], values) for name, values in REFUSED.items())
    tried = chain.from_iterable(product([name], kinds([*good, row(name, value)])) for name, value in refused)
    for column, changes in tried:
        with pytest.raises(Unwritable, match=rf"odd\.{column}: "), views.begin() as connection:
            Writer(odd).write(connection, changes)


def project(event: Any, record: Any, session: Session) -> None:
    """Counts in one row for each reason: two reasons that share six characters are two."""
    found = session.get(odd, event.reason)
    session.put(odd, {**EMPTY, "key": event.reason, "small": found["small"] + 1 if found else 1})


ODD = Projection("odd", ("tally",), (odd,), project)
TEXTS = ["short", "longer-a", "longer-b", "nul\x00", "spaces    ", "short", "longer-a", ""]


def folded(engine: Engine, size: int, *, restarted: bool) -> tuple[Any, list[Any]]:
    with engine.begin() as connection:
        for table in (odd, positions, parked):
            connection.execute(delete(table))
    shard = Shard()
    for n, reason in enumerate(TEXTS * 3):
        shard.append(f"s{n % len(TEXTS)}", reason)
    projector = Projector(engine, ODD)
    projector.claim([shard.name])
    for at in range(0, len(shard.values), size):
        projector.apply({shard.name: shard.deliveries(at, min(at + size, len(shard.values)))})
        if restarted:
            projector = Projector(engine, ODD)
            projector.claim([shard.name])
    with reading(engine) as connection:
        waiting = sorted((p.stream, p.sequence, p.waiting, p.reason) for p in parked_streams(connection))
        return digest(connection, ODD), waiting


def test_one_log_has_one_digest_and_parks_the_same_on_both_databases(sqlite_url: str, postgres_url: str) -> None:
    """Whatever the size of a chunk, and whether the reader knows its rows or has to ask for them."""
    found = []
    for url in (sqlite_url, postgres_url):
        with database(url) as engine:
            sizes = product((1, 7, 24), (False, True))
            found += [folded(engine, size, restarted=restarted) for size, restarted in sizes]

    assert all(each == found[0] for each in found)
    assert [stream for stream, *_ in found[0][1]] == [f"tally/key/s{n}" for n in (1, 2, 3, 4, 6)]
