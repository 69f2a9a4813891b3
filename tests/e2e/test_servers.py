"""The broker and the database die and come back; topics are deleted and made again."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.local import kafka as local_kafka
from ops.local import postgres as local_postgres
from tests.e2e.harness import LONG, Deployment, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("database")
    local_postgres.start(home)
    yield home
    local_postgres.remove(home)


def under_load(deployment: Deployment, seed: int, harm: Callable[[], None]) -> dict[str, object]:
    """`spaceos up`, a client that sends, the harm, and what the checker says."""
    up = deployment.start("up", "--workers", "1", "--json")
    client = deployment.client(seed, "--count", "1000000", "--rate", "150", "--patience", "6", begin=True)
    until(lambda: deployment.decided() > 200, "200 decisions")
    harm()
    before = until(lambda: deployment.decided(), "an answer of the store")
    until(lambda: deployment.decided() > before + 200, "200 decisions after it")
    client.signal(signal.SIGTERM)
    deployment.finish(client, 180)
    verdict = deployment.judge(deployment.all_readers(), 120)
    print(verdict)
    assert up.stop() == 0
    return verdict


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.skipif(not LONG, reason="SPACEOS_E2E=long"))])
def test_a_broker_that_is_killed_and_comes_back_is_waited_for(
    on_sqlite: Deployment, own_broker: Path, seed: int, seconds: float
) -> None:
    def harm() -> None:
        assert local_kafka.kill(own_broker)
        time.sleep(seconds)
        local_kafka.start(own_broker)

    assert under_load(on_sqlite, seed, harm)["ok"]


def test_a_database_that_is_killed_and_comes_back_is_waited_for(
    deploy: Callable[[str], Deployment], own_postgres: Path, seed: int
) -> None:
    deployment = deploy(local_postgres.create_database(own_postgres, "facts"))

    def harm() -> None:
        assert local_postgres.kill(own_postgres)
        time.sleep(2)
        local_postgres.start(own_postgres)

    assert under_load(deployment, seed, harm)["ok"]


@pytest.mark.parametrize("topic", ["identity.events", "identity.outcomes"])
def test_a_published_topic_that_is_made_anew_is_filled_from_the_store(on_sqlite: Deployment, seed: int, topic: str) -> None:
    verdict = under_load(on_sqlite, seed, lambda: on_sqlite.make_anew(topic))

    assert verdict["ok"]


def test_a_commands_topic_that_is_made_anew_is_read_from_its_beginning(on_sqlite: Deployment, seed: int) -> None:
    """What lay in it undecided is gone with it, and its senders know nothing of it; what was decided stays decided."""
    verdict = under_load(on_sqlite, seed, lambda: on_sqlite.make_anew("identity.commands"))

    assert verdict["ok"]
