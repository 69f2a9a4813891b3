"""Setting up: a machine that lacks something is told what, and one that may install it does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a bare Debian has besides Python.
BARE = ("cat", "dirname", "env", "grep", "mkdir", "mktemp", "rm", "sha256sum", "sh", "tail", "tee")


class Machine:
    """A machine with nothing but a shell and what `has` puts on it."""

    def __init__(self, place: Path) -> None:
        self.programs = place / "bin"
        self.project = place / "project"
        (self.project / "ops").mkdir(parents=True)
        shutil.copy(ROOT / "ops" / "setup.sh", self.project / "ops")
        for name in ("requirements.lock", "pyproject.toml"):
            (self.project / name).touch()
        self.programs.mkdir()
        for name in BARE:
            (self.programs / name).symlink_to(str(shutil.which(name)))
        self.has("python3", "exit 0")
        self.has("initdb", "exit 0")

    def has(self, program: str, script: str) -> None:
        path = self.programs / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_up(self, *needs: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "HOME": str(self.project)}
        command = ["/bin/sh", "ops/setup.sh", *needs]
        return subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_who_may_not_install_gets_one_line_to_hand_on(machine: Machine) -> None:
    machine.has("apt-get", "exit 1")
    machine.has("id", "echo 1000")

    run = machine.set_up("java", "postgresql")

    assert run.returncode == 1
    assert "Java 17 or later, Maven" in run.stderr
    line = run.stderr.splitlines()[-1].strip()
    assert line == "apt-get update && apt-get install -y --no-install-recommends default-jre-headless maven"


def test_a_java_that_is_too_old_counts_as_missing(machine: Machine) -> None:
    machine.has("java", "echo 'openjdk version \"11.0.2\"' >&2")
    machine.has("mvn", "exit 0")

    run = machine.set_up("java")

    assert run.returncode == 1
    assert "Missing: Java 17 or later. Install" in run.stderr


def test_who_may_install_is_told_what_is_installed(machine: Machine) -> None:
    machine.has("apt-get", f"echo $* >>{machine.project}/asked")
    machine.has("id", "echo 0")

    run = machine.set_up("java")

    assert "Installing with apt-get: default-jre-headless maven" in run.stderr
    asked = (machine.project / "asked").read_text()
    assert "update" in asked
    assert "--no-install-recommends default-jre-headless maven" in asked


def test_an_install_that_fails_shows_why_and_goes_no_further(machine: Machine) -> None:
    machine.has("apt-get", "echo E: no such package; exit 100")
    machine.has("id", "echo 0")

    run = machine.set_up("java")

    assert run.returncode != 0
    assert "E: no such package" in run.stderr
    assert not (machine.project / ".venv").exists()


def test_what_is_in_place_is_left_alone(machine: Machine) -> None:
    """The second run is what people wait for every day."""
    (machine.project / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "activate"):
        tool = machine.project / ".venv" / "bin" / name
        tool.write_text(f"#!/bin/sh\n# {machine.project}/.venv\necho $* >>{machine.project}/asked\n")
        tool.chmod(0o755)

    first, second = machine.set_up(), machine.set_up()

    assert first.returncode == second.returncode == 0, first.stderr
    assert "Installing the Python packages" in first.stderr
    assert second.stderr == ""
    asked = (machine.project / "asked").read_text()
    assert asked.count("--require-hashes") == 1
    assert asked.count("--editable") == 1


def test_a_changed_lock_is_installed(machine: Machine) -> None:
    test_what_is_in_place_is_left_alone(machine)

    (machine.project / "requirements.lock").write_text("one==1\n")

    assert "Installing the Python packages" in machine.set_up().stderr


def test_make_hands_options_on() -> None:
    """Each target's ARGS reach its program."""
    for target in ("demo", "test", "check", "bench"):
        environment = {**os.environ, "MAKEFLAGS": ""}
        command = ["make", "--dry-run", target, "ARGS=--some-option"]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

        assert "--some-option" in said
