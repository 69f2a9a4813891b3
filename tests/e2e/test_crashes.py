"""kill -9 at every named place, and at random, while clients send: nothing is lost, doubled or reordered."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from adapters.crash import PLACES
from tests.e2e.harness import LONG, Deployment, Kept, Running, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PARTS = {
    ("worker", "--slot", "1"): ("command.", "publish."),
    ("projector", "key_registry", "--slot", "1"): ("project.",),
    ("auditor", "--slot", "1"): ("audit.",),
}
"""Who passes the places whose names begin so."""
ELSEWHERE = ("process.", "todo.")
"""Places of test_money.py."""
READERS = ["key_registry"]


def test_a_process_that_dies_at_any_place_takes_nothing_with_it(deployment: Deployment, seed: int) -> None:
    """Each life is armed with the next place. A place that is never passed leaves its process alive: the test fails."""
    chance = random.Random(seed)
    lives = {
        part: [{"SPACEOS_CRASH": f"{place}:{chance.randint(1, 3)}"} for place in PLACES if place.startswith(places)]
        for part, places in PARTS.items()
    }
    assert sum(map(len, lives.values())) == sum(not place.startswith(ELSEWHERE) for place in PLACES)
    kept = {part: Kept(deployment, part, iter(lives[part])) for part in PARTS}
    client = deployment.client(seed, "--count", "1000000", "--rate", "100", begin=True)

    for name, process in kept.items():
        until(lambda p=process, n=name: len(p.codes) >= len(lives[n]), f"death at {lives[name]}", 150)
    client.signal(signal.SIGTERM)
    deployment.finish(client)
    verdict = deployment.judge(READERS)
    audited = deployment.audit()

    assert audited == {"verified": True, "entries": audited["entries"], "findings": []}
    assert {name: process.codes for name, process in kept.items()} == {n: [-signal.SIGKILL] * len(lives[n]) for n in lives}
    assert verdict["ok"], verdict
    assert verdict["accepted"] > 100
    for process in kept.values():
        process.stop()


def test_killing_whatever_runs_changes_nothing(on_postgresql: Deployment, seed: int) -> None:
    """`spaceos up` with two workers, whose partitions move with every death. On SQLite: test_money.py."""
    deployment = on_postgresql
    chance = random.Random(seed)
    up = deployment.start("up", "--workers", "2", "--json")
    client = deployment.client(seed, "--count", "1000000", "--rate", "100", begin=True)
    until(lambda: deployment.decided() > 100, "100 decisions")
    kills = 0
    while kills < (200 if LONG else 8):
        time.sleep(chance.expovariate(1 / 1.5))
        kills += kill(up, chance.choice(sorted(deployment.parts().items()) or [("", 0)]))
    client.signal(signal.SIGTERM)
    deployment.finish(client)

    verdict = deployment.judge(deployment.all_readers())
    audited = deployment.audit()

    print(f"{kills} kills, {verdict}, {audited}")
    assert verdict["ok"], verdict
    assert audited["verified"], audited
    assert up.stop() == 0


def kill(up: Running, part: tuple[str, int]) -> bool:
    """SIGKILL, if it is a child of this `spaceos up`."""
    name, pid = part
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return False
    if not name or parent != up.pid:
        return False
    os.kill(pid, signal.SIGKILL)
    return True
