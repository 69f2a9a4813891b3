"""`spaceos up` in a home whose broker lets in whom it knows: what is asked is done, and strangers are kept out."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError

from ops.genesis import make_genesis
from ops.local import kafka
from ops.settings import Settings
from tests.e2e.harness import until
from tests.forks import SPACEOS, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


PARTS = ("worker-1", "projectors", "auditor")


class Secured:
    """A deployment that is begun, started and asked by an operator's own commands."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, kafka_secure=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPACEOS_")}
        cache = {"SPACEOS_CACHE": os.environ["SPACEOS_CACHE"]} if "SPACEOS_CACHE" in os.environ else {}
        self.environment = {**kept, **cache, "SPACEOS_HOME": str(home), "SPACEOS_KAFKA_SECURE": "1"}
        self.genesis = make_genesis(home / "genesis.json", home / "keys", "dev")
        command = [sys.executable, "-m", "ops.cli", "up", "--json"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)

    def spaceos(self, *arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        return run(SPACEOS, [*arguments], self.environment, given=given)

    def is_up(self) -> bool:
        """All parts were started: topics and rules are there."""
        path = self.settings.home / "up.json"
        return path.exists() and len(json.loads(path.read_bytes())["parts"]) == len(PARTS)

    def end(self) -> list[dict[str, object]]:
        """What `spaceos up` had to tell."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=60)
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    kafka.start(tmp_path, settings=Settings(home=tmp_path, kafka_secure=True))
    found = Secured(tmp_path)
    yield found
    if found.process.poll() is None:
        found.end()
    kafka.stop(tmp_path)


def test_what_is_asked_is_decided_and_shown_and_nobody_else_writes_what_the_worker_does(secured: Secured) -> None:
    data = {"roots": secured.genesis.roots(), "quorum": 2, "chain_id": 800_000, "profile": "consumer"}
    line = json.dumps({"type": "identity.Found", "subject": "identity/network/dev", "data": data})

    until(secured.is_up, "the start")

    [said] = secured.spaceos("send", "-k", "root-1", "--timeout-seconds", "60", "--json", given=line).stdout.splitlines()

    assert json.loads(said)["outcome"] == "accepted", said
    until(lambda: _is_read(secured), "the view")
    until(lambda: _is_logged(secured), "the audit log")
    for user in ("clients", "readers"):
        for topic in ("identity.events", "identity.outcomes"):
            with pytest.raises(TopicAuthorizationFailedError):
                asyncio.run(_write(secured.settings, user, topic))
    doctor = json.loads(secured.spaceos("doctor", "--json").stdout)
    assert [(one["subject"], one["health"]) for one in doctor["findings"] if one["subject"] in ("Kafka", "doors")] == [
        ("Kafka", "ok"), ("doors", "ok"),
    ]  # fmt: skip
    told = secured.end()
    assert {one["what"] for one in told} <= {"started", "stopped"}, "nobody had to be started again"
    logs = "".join(path.read_text() for path in (secured.settings.home / "logs").glob("*.log"))
    assert "in the clear" not in logs
    assert "AuthorizationFailed" not in logs


def _is_read(secured: Secured) -> bool:
    """The key registry has applied what was recorded."""
    found = json.loads(secured.spaceos("readers", "--json").stdout or '{"readers": []}')["readers"]
    return any(one["reader"] == "key_registry" and one["next"] and one["state"] == "live" for one in found)


def _is_logged(secured: Secured) -> bool:
    return secured.spaceos("audit", "checkpoint").returncode == 0


async def _write(settings: Settings, user: str, topic: str) -> None:
    async with AIOKafkaProducer(**settings.kafka_client_options(user)) as producer:  # type: ignore[arg-type]
        await producer.send_and_wait(topic, b"{}", partition=0)
