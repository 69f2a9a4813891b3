"""What runs once in a home runs once, says who it is, and may run again when that process has ended, however it ended."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.locks import AlreadyRuns, held, hold, holders, lock_of
from ops.doctor import examine
from ops.settings import Settings
from ops.supervisor import Supervisor

HOLD = """
import sys
from pathlib import Path
from adapters.locks import hold, lock_of
hold(lock_of(Path(sys.argv[1]), "up"), "spaceos up")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the home."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_says_who_holds_it_and_what_to_do(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(AlreadyRuns, match=f"spaceos up runs already in {tmp_path}: pid {other.pid} on .+ since 2") as error:
        hold(lock_of(tmp_path, "up"), "spaceos up")

    assert f"kill {other.pid}" in error.value.remedy
    assert "SPACEOS_HOME" in error.value.remedy


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    """A file that has to be deleted by hand after a crash would be deleted by hand at the wrong moment."""
    other.send_signal(signal.SIGKILL)
    other.wait()

    assert holders(tmp_path / "locks") == []
    with held(lock_of(tmp_path, "up"), "spaceos up"):
        assert [holder.pid for holder in holders(tmp_path / "locks")] == [os.getpid()]


def test_a_lock_is_not_inherited_by_what_its_holder_starts(tmp_path: Path) -> None:
    """A server that outlives its command would hold it for good."""
    with held(lock_of(tmp_path, "up"), "spaceos up"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert holders(tmp_path / "locks") == []
    finally:
        child.kill()
        child.wait()


def test_who_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """The doctor may be asked at any time."""
    with held(lock_of(tmp_path, "up"), "spaceos up"):
        pass
    looking = (
        f"from pathlib import Path\nfrom adapters.locks import holders\nwhile True: holders(Path({str(tmp_path / 'locks')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", looking]) as process:
        try:
            for _ in range(300):
                with held(lock_of(tmp_path, "up"), "spaceos up"):
                    pass
        finally:
            process.kill()


def test_a_lock_of_a_release_that_did_not_name_itself_is_a_lock(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    lock_of(tmp_path, "up").write_bytes(b"")

    with pytest.raises(AlreadyRuns, match="it has not said who it is"):
        hold(lock_of(tmp_path, "up"), "spaceos up")
    assert holders(tmp_path / "locks") == []


def test_nobody_supervises_where_somebody_does(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    """The second would overwrite `up.json`, and its processes take the shards of the first one's to and fro."""
    with pytest.raises(AlreadyRuns):
        Supervisor([], tmp_path, lambda _: None)


def test_who_has_stopped_supervising_may_be_followed(tmp_path: Path) -> None:
    async def run() -> None:
        for _ in range(2):
            supervisor = Supervisor([], tmp_path, lambda _: None)
            supervisor.stop()
            await supervisor.run()

    asyncio.run(run())

    assert holders(tmp_path / "locks") == []


def test_the_doctor_says_who_runs(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    said = [finding.said for finding in examine(Settings(home=tmp_path)) if finding.subject == "processes"]

    assert len(said) == 1
    assert said[0].startswith(f"spaceos up runs: pid {other.pid} on ")


def test_who_cannot_write_who_he_is_holds_nothing(tmp_path: Path) -> None:
    """A full disk. The descriptor that was left open held the lock for the rest of the process's life."""
    file = lock_of(tmp_path, "up")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError):  # noqa: PT011  as the system says it
            hold(file, "spaceos up")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    os.close(hold(file, "spaceos up"))
