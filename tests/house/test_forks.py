"""The processes that tests fork are as real as those that a user starts, and cheap."""

import os
import signal
import sys
from pathlib import Path

from tests import forks


def loaded() -> int:
    """What a fork says of itself."""
    print("ops.serve" in sys.modules, os.getcwd(), os.environ.get("HOME"), sys.stdin.read(), os.getpgid(0) == os.getpid())
    print("to whom it concerns", file=sys.stderr)
    sys.exit(7)


def test_a_fork_finds_the_system_imported_and_has_streams_and_surroundings_of_its_own() -> None:
    done = forks.run("tests.house.test_forks:loaded", [], {"HOME": "here"}, given="asked")

    assert done.stdout == f"True {forks.ROOT} here asked True\n"
    assert done.stderr == "to whom it concerns\n"
    assert done.returncode == 7


def test_a_fork_dies_as_any_process_does(tmp_path: Path) -> None:
    process = forks.Forked("time:sleep", [], os.environ, tmp_path / "out", tmp_path / "err", first="signal:pause")
    assert process.poll() is None

    process.send_signal(signal.SIGKILL)

    assert process.wait(10) == -signal.SIGKILL
