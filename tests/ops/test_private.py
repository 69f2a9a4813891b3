"""A home and all that is in it are for whoever runs the deployment, whatever the umask."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops.compose import keep_private
from ops.doctor import Health, examine
from ops.settings import Settings


def open_to_others(home: Path) -> list[str]:
    return [str(path) for path in (home, *home.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nothing_that_a_command_makes_can_be_read_by_others(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "SPACEOS_HOME": str(home)}

    for arguments in (["key", "genesis", "dev"], ["key", "new", "other"], ["contracts", "--help"]):
        command = [sys.executable, "-m", "ops.cli", *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True, umask=umask)

    assert list(home.rglob("*.key"))
    assert open_to_others(home) == []


def test_a_home_that_others_can_enter_is_wrong_and_closed_at_the_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    [finding] = [found for found in examine(Settings(home=home)) if found.subject == "home"]

    keep_private(home)

    assert (finding.health, finding.remedy) == (Health.WRONG, f"chmod 700 {home}")
    assert open_to_others(home) == []
