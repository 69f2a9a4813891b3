"""Runs inside the transaction that adapters/sql/schema.py opened."""

import importlib
import pkgutil

from alembic import context

import projections
from adapters.sql.schema import compare_by_bytes
from adapters.views.tables import METADATA

for module in pkgutil.iter_modules(projections.__path__):
    importlib.import_module(f"projections.{module.name}")

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=[METADATA, projections.METADATA],
    version_table="alembic_views",
    transactional_ddl=False,
)
context.run_migrations()
compare_by_bytes(context.config.attributes["connection"], [*METADATA.tables, *projections.METADATA.tables])
