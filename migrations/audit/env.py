"""Runs inside the transaction that adapters/sql/schema.py opened."""

from alembic import context

from adapters.audit.tables import METADATA
from adapters.sql.schema import compare_by_bytes

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="alembic_audit",
    transactional_ddl=False,
)
context.run_migrations()
compare_by_bytes(context.config.attributes["connection"], METADATA.tables)
