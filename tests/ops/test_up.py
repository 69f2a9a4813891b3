"""`spaceos up` as an operator meets it: processes that die, freeze, are measured and traced."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.commands import CommandSender, sign_command, watching_outcomes
from adapters.keys import read_key
from contracts import Did
from contracts.identity import Found
from ops.genesis import make_genesis
from ops.local import kafka
from ops.local.processes import free_port
from ops.settings import Settings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
PARTS = ("worker-1", "projectors", "auditor")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


class Up:
    """A deployment of its own, run by `spaceos up`."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.settings = Settings(home=home)
        self.genesis = make_genesis(home / "genesis.json", home / "keys", "up")
        mine = {"HOME": home, "METRICS_PORT": self.port, "TRACES": home / "traces"}
        environment = {**os.environ, **{f"SPACEOS_{name}": str(value) for name, value in mine.items()}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "up", "--json"], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.said: list[dict[str, Any]] = []

    def pids(self) -> dict[str, int]:
        try:
            return dict(json.loads((self.home / "up.json").read_bytes())["parts"])
        except FileNotFoundError:
            return {}

    def metrics(self, part: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + part}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def measures(self, part: int, name: str, reader: str) -> bool:
        lines = self.metrics(part).splitlines()
        return any(line.startswith(f"{name}{{") and f'reader="{reader}"' in line for line in lines)

    def spans(self) -> list[dict[str, Any]]:
        files = (self.home / "traces").glob("*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines() if line.strip()]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("up")
    kafka.start(home)
    found = Up(home)
    try:
        _until(lambda: set(found.pids()) == set(PARTS), "all parts to run")
        yield found
    finally:
        found.process.send_signal(signal.SIGTERM)
        found.process.communicate(timeout=60)
        kafka.stop(home)


def test_a_command_is_traced_and_counted_from_the_client_to_the_view(up: Up) -> None:
    """Who looks for a slow command follows one trace, not three logs."""

    async def send() -> Any:
        roots = [read_key(path) for path in sorted(up.settings.keys.glob("root-*.key"))]
        command = Found(roots=tuple(Did(r.did) for r in roots), quorum=2, chain_id=800_000, profile="consumer")
        traceparent = f"00-{TRACE}-{SPAN}-01"
        signed = sign_command(command, "identity/network/up", roots[0], "up", time=datetime.now(UTC), traceparent=traceparent)
        sender = CommandSender(up.settings.kafka_client_options(), up.settings.partitions)
        await sender.start()
        async with watching_outcomes(up.settings.kafka_client_options(), ["identity"], up.settings.partitions) as outcomes:
            await sender.send([signed])
            answers = await outcomes.wait_for([signed], 60)
        await sender.stop()
        return answers[signed.id]

    answer = asyncio.run(send())

    assert answer.is_accepted
    decided = _until(lambda: [s for s in up.spans() if s["name"] == "decide"], "the decision's span")[0]
    assert decided["context"]["trace_id"] == f"0x{TRACE}"
    assert decided["parent_id"] == f"0x{SPAN}"
    linked = {"trace_id": decided["context"]["trace_id"], "span_id": decided["context"]["span_id"]}
    _until(lambda: [s for s in up.spans() if s["name"] == "apply" and _is_linked(s, linked)], "the view's span")
    _until(lambda: 'outcome="accepted"' in up.metrics(0), "the worker's count")
    _until(lambda: "spaceos_publisher_published_total" in up.metrics(0), "the publisher's count")
    _until(lambda: up.measures(1, "spaceos_reader_events_total", "readers.default"), "the count of the readers' set")
    _until(lambda: up.measures(1, "spaceos_reader_fold_duration_seconds_total", "key_registry"), "the reader's own")


def test_a_second_up_on_the_same_home_says_who_runs_there_and_changes_nothing(up: Up) -> None:
    """Two took each other's shards to and fro, and the one that ended first left an `up.json` without a process in it."""
    before = (up.home / "up.json").read_bytes()

    second = subprocess.run(
        [sys.executable, "-m", "ops.cli", "up", "--json"],
        env={**os.environ, "SPACEOS_HOME": str(up.home)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert second.returncode == 1
    [said] = second.stdout.splitlines()
    assert f"pid {up.process.pid} on " in json.loads(said)["error"]
    assert f"kill {up.process.pid}" in json.loads(said)["remedy"]
    assert (up.home / "up.json").read_bytes() == before


def test_what_is_killed_is_started_again(up: Up) -> None:
    before = up.pids()["worker-1"]

    os.kill(before, signal.SIGKILL)

    _until(lambda: up.pids().get("worker-1", before) != before, "another worker")


def test_what_freezes_is_ended_and_started_again(up: Up) -> None:
    """A frozen process holds its partitions, and on SQLite perhaps the database: it must not be waited for."""
    before = up.pids()["auditor"]

    os.kill(before, signal.SIGSTOP)

    _until(lambda: up.pids().get("auditor", before) != before, "another auditor", seconds=90)
    assert not Path(f"/proc/{before}").exists()


def test_what_is_asked_to_stop_leaves_nothing_behind(up: Up) -> None:
    _until(lambda: set(up.pids()) == set(PARTS), "all parts to run")
    pids = up.pids()

    up.process.send_signal(signal.SIGTERM)
    said, _ = up.process.communicate(timeout=60)

    assert up.process.returncode == 0
    assert not [part for part, pid in pids.items() if Path(f"/proc/{pid}").exists()]
    happened = [json.loads(line) for line in said.splitlines()]
    assert {h["part"] for h in happened if h["what"] == "stopped"} == set(PARTS)
    ended = next(h["detail"] for h in happened if h["part"] == "worker-1" and h["what"] == "ended")
    assert ended.startswith("killed by SIGKILL")
    assert [h for h in happened if h["part"] == "auditor" and h["what"] == "silent"]


def _is_linked(span: dict[str, Any], context: dict[str, str]) -> bool:
    return any({k: link["context"][k] for k in context} == context for link in span["links"])


def _until(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds:g} s for {what}")
