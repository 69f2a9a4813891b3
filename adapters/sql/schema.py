"""Alembic, run by code: from empty to the newest schema on either database, however many processes start at once."""

import re
from collections.abc import Iterator
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
