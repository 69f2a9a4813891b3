"""Real servers for the tests: those that the environment names, else containers, else local processes of our own.

A server that cannot be had fails the tests that need it: a suite that skips them would be green on a bare machine.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from ops.local import kafka as local_kafka
from ops.local import postgres as local_postgres
from ops.local.processes import free_port
from ops.settings import Settings
from tests.brokers import clear
from tests.chance import pytest_configure as pytest_configure
from tests.chance import pytest_sessionstart as pytest_sessionstart

KAFKA_IMAGE = "apache/kafka:4.4.0"
POSTGRES_IMAGE = "postgres:15"

# Brokers of tests live for a minute: what the second compiler gains they never see.
os.environ.setdefault(local_kafka.JVM_OPTIONS, "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that all tests share: topics and groups need names of their own."""
    if given := os.environ.get("SPACEOS_TEST_KAFKA"):
        yield given
    elif _docker_answers():
        yield from _kafka_container()
    else:
        home = tmp_path_factory.mktemp("kafka")
        yield local_kafka.start(home)
        local_kafka.stop(home)


@pytest.fixture(scope="session")
def handed_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("broker")
    yield home
    local_kafka.stop(home)


@pytest.fixture(scope="module")
def own_broker(handed_on: Path) -> Path:
    """The home of a broker that is this module's alone: it may use any topic, and kill it.

    It is handed on from module to module, since a JVM is quick only after a minute.
    """
    clear(local_kafka.start(handed_on))
    return handed_on


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that all tests share, by a user who may create databases."""
    if given := os.environ.get("SPACEOS_TEST_POSTGRES"):
        yield Settings(store=given).store
    elif _docker_answers():
        from testcontainers.postgres import PostgresContainer

        with PostgresContainer(POSTGRES_IMAGE, driver="psycopg") as container:
            yield container.get_connection_url()
    else:
        home = tmp_path_factory.mktemp("postgres")
        yield local_postgres.start(home)
        local_postgres.remove(home)


@contextmanager
def fresh_postgres(server: str) -> Iterator[str]:
    """A database of that server, for as long as it is needed."""
    name = f"test_{uuid4().hex}"
    _run(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    _run(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh PostgreSQL database."""
    with fresh_postgres(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite database."""
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database; the test runs once on each kind."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


def _run(server: str, statement: sql.Composed) -> None:
    with psycopg.connect(server.replace("+psycopg", "", 1), autocommit=True) as session:
        session.execute(statement)


def _docker_answers() -> bool:
    import docker

    try:
        docker.from_env(timeout=2).ping()
    except docker.errors.DockerException:
        return False
    return True


def _kafka_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    # A broker tells its clients where it is, so the port outside must be known before it starts.
    port = free_port()
    settings = {
        "PROCESS_ROLES": "broker,controller",
        "NODE_ID": "1",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "TRANSACTION_MAX_TIMEOUT_MS": "10000",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in settings.items():
        container = container.with_env(f"KAFKA_{name}", value)
    with container:
        deadline = time.monotonic() + 60
        while not local_kafka.answers(f"127.0.0.1:{port}"):
            assert time.monotonic() < deadline, f"no answer from {KAFKA_IMAGE}: {container.get_logs()}"
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
