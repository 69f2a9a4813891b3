"""Runs inside the transaction that adapters/sql/schema.py opened."""

from alembic import context

from adapters.sql.schema import compare_by_bytes
from adapters.vault.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="alembic_vault",
    transactional_ddl=False,
)
context.run_migrations()
compare_by_bytes(context.config.attributes["connection"], METADATA.tables)
