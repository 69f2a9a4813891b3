"""What the outside checker can find: each bug that is planted, by the invariant that it breaks. A zero means nothing else."""

from typing import Any

import pytest

from tests.e2e.bugs import BUGS
from tests.e2e.harness import Deployment, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READERS = ["key_registry"]


def observed(deployment: Deployment, bug: str, seed: int) -> dict[str, Any]:
    """What the checker says of a small load on a system with that bug."""
    for arguments in (("worker",), ("projector", "key_registry")):
        deployment.start(*arguments, first=f"tests.e2e.bugs:{bug}" if bug else None)
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


def test_without_a_bug_the_same_load_is_found_right(on_sqlite: Deployment, seed: int) -> None:
    assert observed(on_sqlite, "", seed)["ok"]


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(on_sqlite: Deployment, seed: int, bug: str) -> None:
    verdict = observed(on_sqlite, bug, seed)

    assert BUGS[bug][0] in verdict["broken"], verdict
