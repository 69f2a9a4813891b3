"""Who rebuilds a view that somebody else rebuilds is told who that is, before anything is touched or recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.sql import engine_for
from adapters.views.exclusive import Exclusive
from ops.cli.output import Exit
from ops.genesis import make_genesis
from tests.databases import upgrade


@pytest.mark.parametrize("command", ["rebuild", "rebuild --verify", "back", "retire"])
def test_the_second_is_refused_with_the_first_ones_name(tmp_path: Path, command: str) -> None:
    make_genesis(tmp_path / "genesis.json", tmp_path / "keys", "dev")
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    # Nobody listens there: who is refused has asked no broker.
    environment = {**os.environ, "SPACEOS_HOME": str(tmp_path), "SPACEOS_KAFKA": "127.0.0.1:1"}
    verb, *options = command.split()

    with Exclusive(engine, "key_registry", "a rebuild"):
        asked = subprocess.run(
            [sys.executable, "-m", "ops.cli", verb, "key_registry", *options, "--json"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert asked.returncode == Exit.FOUND_WRONG
    assert f"key_registry is taken: a rebuild of key_registry, pid {os.getpid()}" in json.loads(asked.stdout)["error"]
    engine.dispose()
