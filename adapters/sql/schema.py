"""Alembic, run by code: from empty to the newest schema on either database, however many processes start at once."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from adapters.sql.engine import BUSY_SECONDS, reading

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 7_221_340_113
_PATIENCE_SECONDS = 60
_NAMED = re.compile(r"^(down_revision|revision)\b[^=]*=(.*)$", re.M)


def upgrade(engine: Engine, name: str) -> None:
    """Bring a database to the newest schema of `migrations/<name>`, in one transaction. At the newest it does nothing.

    A history may have several heads: a context's views follow what all need, and no other context's.
    """
    # A process that starts again in a hurry finds the newest schema, and needs neither Alembic nor what the scripts import.
    if current(engine, name) == heads(name):
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / name))
    config.set_main_option("path_separator", "os")
    with _patient(engine) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"set local idle_in_transaction_session_timeout = '{_PATIENCE_SECONDS}s'"))
            connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")


@contextmanager
def _patient(engine: Engine) -> Iterator[Connection]:
    """A connection that waits for whoever migrates now.

    Between its statements a migration imports every context's views, which takes seconds on a busy machine.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            yield connection
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"pragma busy_timeout={_PATIENCE_SECONDS * 1000}")
        try:
            yield connection
        finally:
            driver.execute(f"pragma busy_timeout={BUSY_SECONDS * 1000:.0f}")


# Of a database with ICU's rules, the name of its collation says nothing; before version 15 there is none.
_BYTEWISE = r"""
    select datcollate ~* '^(C|POSIX|C\.utf-?8)$' and coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') <> 'i'
    from pg_database d where datname = current_database()
"""
_IN_ITS_LANGUAGE = """
    select c.relname, string_agg(
        format('alter column %I type %s collate "C"', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = current_schema()::regnamespace and c.relname = any(:tables)
        and a.attnum > 0 and not a.attisdropped and a.attcollation = 'pg_catalog."default"'::regcollation
    group by c.relname
"""


def compare_by_bytes(connection: Connection, tables: Iterable[str]) -> None:
    """Have the tables' text sort and compare as SQLite's does, whatever the language of a PostgreSQL database.

    By a language's rules what begins with a prefix is no range, pages overlap, and two databases disagree who is first.
    """
    if connection.dialect.name != "postgresql" or connection.scalar(text(_BYTEWISE)):
        return
    for table, changes in connection.execute(text(_IN_ITS_LANGUAGE), {"tables": list(tables)}).all():
        connection.exec_driver_sql(f'alter table "{table}" {changes}')


def heads(name: str) -> frozenset[str]:
    """The newest revisions of `migrations/<name>`, as the scripts name them."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for script in (_MIGRATIONS / name / "versions").glob("*.py"):
        for kind, value in _NAMED.findall(script.read_text()):
            (revisions if kind == "revision" else followed).update(re.findall(r"""["']([^"']+)["']""", value))
    return frozenset(revisions - followed)


def current(engine: Engine, name: str) -> frozenset[str]:
    """The revisions that the database is at; none when it is empty.

    Each schema has its own version table, because on PostgreSQL both may live in one database.
    """
    table = f"alembic_{name}"
    with reading(engine) as connection:
        if not inspect(connection).has_table(table):
            return frozenset()
        return frozenset(connection.scalars(text(f"select version_num from {table}")))  # noqa: S608  a name of ours
