"""Text compares by its bytes, in a database of whatever language."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine, MetaData, String, insert, select, text

from adapters.audit import tables
from adapters.audit.search import Filter, count, search
from adapters.sql import engine_for, reading
from adapters.sql.schema import upgrade
from adapters.views.beside import Beside
from projections.providers import models, routing_table

LANGUAGES = {"C": "", "ICU": "template template0 locale_provider icu icu_locale 'en-US'"}
STREAMS = [
    "inference/request/0189b1b2-0000-7000-8000-000000000009", "identity/key/did:key:z6MkZ", "identity/key/did:key:z6Mkz",
    "identity/key/did:key:z6MkaBC", "identity/key/did:key:z6MkAbc", "audit/reads/2026-01-01",
]  # fmt: skip
PREFIXES = [
    "",
    *STREAMS,
    "identity/key/did:key:z",
    "identity/key/did:key:z6MkA",
    "i",
    "audit/reads/2026-01-01\U0010ffff",
    "\ud7ff",
]


@pytest.fixture(params=[*LANGUAGES, "SQLite"])
def database(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[Engine]:
    if request.param == "SQLite":
        engine = engine_for(sqlite_url)
        yield engine
        engine.dispose()
        return
    server, name = request.getfixturevalue("postgres_server"), f"test_{request.param.lower()}_{uuid4().hex}"
    with psycopg.connect(server.replace("+psycopg", "", 1), autocommit=True) as session:
        session.execute(f"create database {name} {LANGUAGES[request.param]}")  # type: ignore[call-overload]
        engine = engine_for(urlsplit(server)._replace(path=f"/{name}").geturl())
        yield engine
        engine.dispose()
        session.execute(f"drop database {name} with (force)")  # type: ignore[call-overload]


def test_a_search_by_prefix_finds_what_begins_so_and_nothing_else(database: Engine) -> None:
    """By a language's rules `z6MkA` comes between `z6Mka` and `z6Mkz`, and what ends in 9 ends before a colon."""
    upgrade(database, "audit")
    leaf = {"shard": "s/0", "type": "a.B", "actor": "a", "time": "2026", "entry": b""}
    rows = [{**leaf, "leaf": n, "sequence": n, "event": str(n), "stream": stream} for n, stream in enumerate(STREAMS)]
    with database.begin() as connection:
        connection.execute(insert(tables.leaves), rows)

    found = {prefix: count(database, Filter(stream=prefix))[0] for prefix in PREFIXES}

    assert found == {prefix: sum(stream.startswith(prefix) for stream in STREAMS) for prefix in PREFIXES}
    assert [row.stream for row in search(database, Filter(stream="identity/"))] == [s for s in STREAMS if s.startswith("id")]


IN_A_LANGUAGE = """
    select c.relname || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname not like 'alembic%'
        and a.attnum > 0 and not a.attisdropped and a.attcollation = 'pg_catalog."default"'::regcollation
"""


def test_every_text_of_every_table_compares_by_bytes(database: Engine) -> None:
    """Those of a rebuild too, which are the view's when it ends."""
    for name in ("store", "views", "audit", "vault") if database.dialect.name == "postgresql" else ("views",):
        upgrade(database, name)
    beside = Beside(database, routing_table())
    beside.make()

    if database.dialect.name == "postgresql" and "icu" in str(database.url.database):
        with reading(database) as connection:
            assert connection.scalars(text(IN_A_LANGUAGE)).all() == []
    names = ["a", "B", "a-b", "ab", "aB", "é", "_", "Z", "\U00010348", "\uffff"]
    for table in (models, models.to_metadata(MetaData(), name=beside.names[models])):
        empty = {column.name: "" if isinstance(column.type, String) else 0 for column in table.columns}
        with database.begin() as connection:
            connection.execute(insert(table), [{**empty, "model": name, "listed": False} for name in names])
            found = connection.scalars(select(table.c.model).order_by(table.c.model)).all()
        assert found == sorted(names, key=str.encode)
