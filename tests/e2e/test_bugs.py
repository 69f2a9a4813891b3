"""What the outside checker can find: each bug that is planted, by the invariant that it breaks. A zero means nothing else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.bugs import BUGS
from tests.e2e.harness import ROOT, Deployment, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READERS = ["key_registry"]


class Nursery:
    """Forks processes with a bug in them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.bugs"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, deployment: Deployment, bug: str, *arguments: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        log = deployment.logs / f"{arguments[0]}.log"
        order = {"bug": bug, "arguments": arguments, "environment": deployment.environment(), "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip().isdigit()

    def clear(self) -> None:
        """Kill what was forked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("null\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "none left"

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
def nursery(forks: Nursery) -> Iterator[Nursery]:
    yield forks
    forks.clear()


def observed(deployment: Deployment, nursery: Nursery, bug: str, seed: int) -> dict[str, Any]:
    """What the checker says of a small load on a system with that bug."""
    for arguments in (("worker",), ("relay",), ("projector", "key_registry")):
        nursery.start(deployment, bug, *arguments)
    options = ("--count", "300", "--rate", "120", "--patience", "3", "--skew", "600")
    deployment.finish(deployment.client(seed, *options, begin=True))
    try:
        until(lambda: deployment.quiet(READERS), "quiet", 60 if not bug else 3)
    except AssertionError:
        # A system with a bug may never come to rest; without one it must.
        assert bug, "not quiet"
    verdict = deployment.verdict()
    print(bug, verdict)
    return verdict


def test_without_a_bug_the_same_load_is_found_right(on_sqlite: Deployment, nursery: Nursery, seed: int) -> None:
    assert observed(on_sqlite, nursery, "", seed)["ok"]


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(on_sqlite: Deployment, nursery: Nursery, seed: int, bug: str) -> None:
    verdict = observed(on_sqlite, nursery, bug, seed)

    assert BUGS[bug][0] in verdict["broken"], verdict
