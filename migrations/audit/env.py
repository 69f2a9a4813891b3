"""Runs inside the transaction that adapters/sql/schema.py opened."""

from alembic import context

from adapters.audit.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="alembic_audit",
    transactional_ddl=False,
)
context.run_migrations()
