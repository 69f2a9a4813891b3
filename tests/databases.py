"""Databases at the newest schema, copied from one that was migrated once: migrating takes longer than most tests."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from adapters.sql import engine_for, schema

_FOLDER = TemporaryDirectory(prefix="spaceos-")


def upgrade(engine: Engine, name: str) -> None:
    """As `adapters.sql.schema.upgrade`, but a SQLite file that is not there yet becomes a copy.

    What is tested of migrations themselves uses the original.
    """
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and not Path(file).exists():
        shutil.copyfile(_migrated(name), file)
    schema.upgrade(engine, name)


@cache
def _migrated(name: str) -> Path:
    path = Path(_FOLDER.name) / f"{name}.db"
    engine = engine_for(f"sqlite:///{path}")
    schema.upgrade(engine, name)
    # The last connection writes what is in the log back into the file.
    engine.dispose()
    return path
