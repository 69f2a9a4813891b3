"""The library's own test cases for its port, run against ours on both databases."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from eventsourcing.tests.persistence import AggregateRecorderTestCase, ApplicationRecorderTestCase
from sqlalchemy import Engine

from adapters.sql import engine_for
from adapters.sql.recorder import ShardRecorder, SnapshotRecorder
from tests.databases import upgrade


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest) -> Iterator[None]:
    # The cases are unittest's, which take no parametrised fixture: a class names its database.
    engine = engine_for(request.getfixturevalue(request.cls.database), pool_size=12)
    upgrade(engine, "store")
    request.cls.engine = engine
    yield
    engine.dispose()


class ShardCases(ApplicationRecorderTestCase[ShardRecorder]):
    engine: Engine

    def new_originator_id(self) -> str:
        return f"test/stream/{uuid4()}"

    def create_recorder(self) -> ShardRecorder:
        return ShardRecorder(self.engine, "test")

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class SnapshotCases(AggregateRecorderTestCase):
    engine: Engine

    def new_originator_id(self) -> str:
        return f"test/stream/{uuid4()}"

    def create_recorder(self) -> SnapshotRecorder:
        return SnapshotRecorder(self.engine)


class TestShardsOnSqlite(ShardCases):
    database = "sqlite_url"


class TestShardsOnPostgresql(ShardCases):
    database = "postgres_url"


class TestSnapshotsOnSqlite(SnapshotCases):
    database = "sqlite_url"


class TestSnapshotsOnPostgresql(SnapshotCases):
    database = "postgres_url"


# Collected through their subclasses only.
del ShardCases, SnapshotCases, ApplicationRecorderTestCase, AggregateRecorderTestCase
