"""Alembic, run by code: from empty to the newest schema on either database, however many processes start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from adapters.sql.engine import reading

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 7_221_340_113


def upgrade(engine: Engine, name: str) -> None:
    """Bring a database to the newest schema of `migrations/<name>`, in one transaction. At the newest it does nothing.

    A history may have several heads: a context's views follow what all need, and no other context's.
    """
    config = _config(name)
    if current(engine, name) == frozenset(ScriptDirectory.from_config(config).get_heads()):
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Between its statements the migration imports every context's views, which takes seconds on a busy machine.
            connection.execute(text("set local idle_in_transaction_session_timeout = '60s'"))
            connection.execute(text(f"select pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")


def current(engine: Engine, name: str) -> frozenset[str]:
    """The revisions that the database is at; none when it is empty."""
    with reading(engine) as connection:
        return frozenset(context_for(connection, name).get_current_heads())


def context_for(connection: Connection, name: str) -> MigrationContext:
    """Each schema has its own version table, because on PostgreSQL both may live in one database."""
    return MigrationContext.configure(connection, opts={"version_table": f"alembic_{name}"})


def _config(name: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / name))
    config.set_main_option("path_separator", "os")
    return config
