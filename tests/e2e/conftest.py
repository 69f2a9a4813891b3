"""A deployment for each test, and the seed from which everything random follows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.local import kafka as local_kafka
from tests import chance
from tests.e2e.harness import Deployment


@pytest.fixture
def seed() -> int:
    return chance.seed()


@pytest.fixture
def deploy(own_broker: Path, tmp_path: Path) -> Iterator[Callable[[str], Deployment]]:
    """Begin a network on a store; its processes end with the test."""
    made: list[Deployment] = []

    def begin(store: str) -> Deployment:
        made.append(Deployment(tmp_path / f"home{len(made)}", local_kafka.address(own_broker), store))
        made[-1].begin()
        return made[-1]

    yield begin
    for deployment in made:
        deployment.end()


@pytest.fixture
def deployment(deploy: Callable[[str], Deployment], store_url: str) -> Deployment:
    """One on either database."""
    return deploy(store_url)


@pytest.fixture
def on_sqlite(deploy: Callable[[str], Deployment], sqlite_url: str) -> Deployment:
    return deploy(sqlite_url)


@pytest.fixture
def on_postgresql(deploy: Callable[[str], Deployment], postgres_url: str) -> Deployment:
    return deploy(postgres_url)
