"""A process that is suspended in mid-transaction, and wakes when a successor has done its work, changes nothing."""

import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.harness import LONG, Deployment, Running, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

READERS = ["key_registry"]
PARTS = {
    "worker": ("worker", "--slot"), "projector": ("projector", "key_registry"), "auditor": ("auditor",),
}  # fmt: skip
HOLD_THE_LOCK = {"command.before_commit", "project.half", "audit.begun", "audit.half"}
ASLEEP_SECONDS = 20 if LONG else 3
CASES = [
    ("on_postgresql", "worker", "command.before_commit:4"),
    ("on_postgresql", "worker", "command.committed:4"),
    ("on_postgresql", "worker", "publish.half_sent:4"),
    ("on_postgresql", "projector", "project.half:3"),
    ("on_postgresql", "auditor", "audit.begun:3"),
    ("on_sqlite", "worker", "command.before_commit:4"),
    ("on_sqlite", "worker", "command.committed:4"),
    ("on_sqlite", "worker", "publish.half_sent:4"),
    ("on_sqlite", "projector", "project.half:3"),
    ("on_sqlite", "auditor", "audit.half:3"),
]
"""Where each database has something of its own to lose; all of them on both with SPACEOS_E2E=long."""
if LONG:
    CASES += [("on_postgresql", "worker", "command.decided:4"), ("on_postgresql", "worker", "publish.read:4")]
    CASES = sorted({(store, part, place) for store in ("on_postgresql", "on_sqlite") for _, part, place in CASES})


def begin(deployment: Deployment, part: str, slot: str, **environment: str) -> Running:
    arguments = [*PARTS[part], slot] if part == "worker" else PARTS[part]
    return deployment.start(*arguments, **environment)


@pytest.mark.parametrize(("store", "part", "place"), CASES, ids=[f"{store}-{place}" for store, _, place in CASES])
def test_a_sleeper_that_wakes_after_its_successor_changes_nothing(
    request: pytest.FixtureRequest, seed: int, store: str, part: str, place: str
) -> None:
    """On SQLite a sleeper in a transaction holds the only lock there is, so there the successor has to wait for it."""
    deployment: Deployment = request.getfixturevalue(store)
    for other in PARTS.keys() - {part}:
        begin(deployment, other, "1")
    sleeper = begin(deployment, part, "1", SPACEOS_SUSPEND=place)
    client = deployment.client(seed, "--count", "1000000", "--rate", "60", "--patience", "6", begin=True)
    until(sleeper.is_stopped, f"suspension at {place}")
    successor = begin(deployment, part, "2")
    holds_the_lock = deployment.store.startswith("sqlite") and place.split(":")[0] in HOLD_THE_LOCK
    if holds_the_lock:
        time.sleep(ASLEEP_SECONDS)
    else:
        before = done(deployment, part)
        until(lambda: done(deployment, part) > before + 100, "work of the successor")
        time.sleep(ASLEEP_SECONDS if LONG else 0)
    sleeper.signal(signal.SIGCONT)
    time.sleep(2)
    client.signal(signal.SIGTERM)
    deployment.finish(client, 180)
    if not sleeper.ended and part in {"projector", "auditor"}:
        sleeper.stop()
    if successor.ended and not sleeper.ended:
        # Whoever finds the lock held, or itself superseded, ends with a reason; a supervisor starts it again.
        successor = begin(deployment, part, "2")

    verdict = deployment.judge(READERS, 120)
    audited = deployment.audit()

    print(verdict, audited)
    assert verdict["ok"], verdict
    assert audited["verified"], audited


def done(deployment: Deployment, part: str) -> int:
    """How much that kind of process has done."""
    statements = {
        "worker": ("select sum(next_outcome) as n from shards", deployment.store),
        "projector": ("select sum(next) as n from positions", deployment.views),
        "auditor": ("select size as n from audit_head", deployment.audit_url),
    }
    return deployment.count(*statements[part])


def test_a_worker_on_an_older_copy_of_the_store_decides_and_publishes_nothing(on_sqlite: Deployment, seed: int) -> None:
    """What it decided would stand beside what is published already."""
    worker = on_sqlite.start("worker", "--slot", "1")
    on_sqlite.finish(on_sqlite.client(seed, "--count", "200", "--rate", "400", begin=True))
    until(on_sqlite.quiet, "quiet")
    assert worker.stop() == 0
    file = Path(on_sqlite.store.removeprefix("sqlite:///"))
    older = file.with_suffix(".older")
    with closing(sqlite3.connect(file)) as now, closing(sqlite3.connect(older)) as backup:
        now.backup(backup)
    worker = on_sqlite.start("worker", "--slot", "1")
    on_sqlite.finish(on_sqlite.client(seed + 1, "--count", "200", "--rate", "400"))
    until(on_sqlite.quiet, "quiet")
    assert worker.stop() == 0
    ends = {topic: on_sqlite.ends(topic) for topic in ("identity.events", "identity.outcomes")}
    for left in (f"{file}-wal", f"{file}-shm"):
        Path(left).unlink(missing_ok=True)
    shutil.copy(older, file)
    decided = on_sqlite.decided()

    refusing = on_sqlite.start("worker", "--slot", "1")

    until(lambda: refusing.log.exists() and "older copy" in refusing.said(1000), "a closed shard")
    time.sleep(ASLEEP_SECONDS)
    assert not refusing.ended
    assert on_sqlite.decided() == decided
    assert {topic: on_sqlite.ends(topic) for topic in ends} == ends
    assert refusing.stop() == 0
