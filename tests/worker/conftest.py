from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from adapters.sql import tables
from tests.worker.world import World, open_world


@pytest.fixture(scope="session")
def worlds_on_postgresql(postgres_server: str) -> Iterator[str]:
    """One database for all of them: making and migrating one takes longer than most of these tests."""
    name = f"worlds_{uuid4().hex}"
    plain = postgres_server.replace("+psycopg", "", 1)
    with psycopg.connect(plain, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield f"{postgres_server.rpartition('/')[0]}/{name}"
    with psycopg.connect(plain, autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty network; each test runs on both databases."""
    world = open_world(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "worlds_on_postgresql"))
    yield world
    if request.param == "postgresql":
        with world.engine.begin() as connection:
            connection.execute(text(f"truncate {', '.join(tables.METADATA.tables)} restart identity cascade"))
    world.engine.dispose()
