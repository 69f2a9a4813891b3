"""The event store on SQLAlchemy Core, the same on SQLite and PostgreSQL: one counter row per shard orders everything."""

from adapters.sql.engine import NotDurable, assert_durable, engine_for, insert_rows, reading, replayable
from adapters.sql.faults import is_transient

__all__ = ["NotDurable", "assert_durable", "engine_for", "insert_rows", "is_transient", "reading", "replayable"]
