"""A deployment in which something happened: the demo's main job, small, with its own broker; its processes have ended."""

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.compose import Deployment
from ops.demo.run import Options, run
from ops.genesis import make_genesis
from ops.settings import Settings
from tests import forks


@dataclass
class Played:
    """Its settings are in `environment`; `spaceos` runs a command in it."""

    home: Path
    kafka: str

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, kafka=self.kafka)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.settings)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPACEOS_")}
        return {**kept, "SPACEOS_HOME": str(self.home), "SPACEOS_KAFKA": self.kafka}

    def spaceos(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forks.run(forks.SPACEOS, arguments, self.environment)


def play(home: Path, kafka: str, requests: int = 200, machines: int = 20) -> Played:
    """Begin a network and let it work."""
    made = Played(home, kafka)
    make_genesis(home / "genesis.json", home / "keys", "dev")
    before = dict(os.environ)
    os.environ.update({"SPACEOS_HOME": str(home), "SPACEOS_KAFKA": kafka})
    try:
        result = asyncio.run(
            run(made.deployment, Options(limit=requests, rate=400, providers=machines), _stage, lambda _happening: None)
        )
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert result.tally.is_ok, result.tally.problems
    return made


def _stage(title: str, total: int) -> Any:
    del title, total
    return lambda _done: None
