"""Alembic, run by code: from empty to the newest schema on either database, however many processes start at once."""

import re
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from adapters.sql.engine import reading

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 7_221_340_113
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
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Between its statements the migration imports every context's views, which takes seconds on a busy machine.
            connection.execute(text("set local idle_in_transaction_session_timeout = '60s'"))
            connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")


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
