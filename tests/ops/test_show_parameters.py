"""`spaceos show parameters`: what a context decides by, before anything was adopted and after."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.sql import engine_for
from commands.rewards import Rewards
from contracts import Halt, own_class, policy_stream
from ops.cli import app
from ops.cli.output import Failure
from tests.commands.test_rewards import GENESIS
from tests.databases import upgrade
from tests.streams.test_policies import POLICIES, SPLIT, adopt
from tests.streams.town import Town


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    monkeypatch.setenv("SPACEOS_VIEWS", f"sqlite:///{tmp_path}/views.db")
    return Town(tmp_path, [Rewards], POLICIES, GENESIS)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["show", "parameters", *arguments], env={"COLUMNS": "300"})


def test_what_is_in_force_stands_beside_its_default_and_bounds(town: Town) -> None:
    adopt(town, "rewards.burn_percent", 33, 4)
    adopt(town, "rewards.split_percent", SPLIT)
    until = town.now + timedelta(days=1)
    town.ask(own_class(Halt, "rewards")(scope="rewards", until=until), policy_stream("rewards"))

    found = run("rewards")

    lines = {line.split()[0]: line.split()[1:5] for line in found.stdout.splitlines() if line.strip().startswith("rewards.")}
    assert lines["rewards.burn_percent"] == ["33", "20", "0–50", "4"]
    assert lines["rewards.split_percent.provider"] == ["55", "60", "0–100", "1"]
    assert lines["rewards.protocol_fee_bp"][:3] == ["100", "100", "0–300"]
    assert "staking" not in found.stdout
    assert "Halts" in found.stdout


def test_a_program_is_told_the_same(town: Town) -> None:
    adopt(town, "rewards.burn_percent", 33)

    said = json.loads(run("--json").stdout)

    named = {f"{each['context']}.{each['name']}": each for each in said["parameters"]}
    assert (named["rewards.burn_percent"]["value"], named["rewards.burn_percent"]["default"]) == (33, 20)
    assert named["staking.tier_minimum"]["bounds"]["basic"] == [1_000_000, 100_000_000]
    assert named["staking.tier_minimum"]["version"] is None
    assert said["halts"] == []


def test_a_context_that_is_none_is_named_with_those_that_are(town: Town) -> None:
    found = run("governor")

    assert isinstance(found.exception, Failure)
    assert "treasury" in (found.exception.remedy or "")
    del town


def test_nothing_is_halted_or_adopted_in_views_that_were_just_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(engine_for(f"sqlite:///{tmp_path}/views.db"), "views")
    monkeypatch.setenv("SPACEOS_VIEWS", f"sqlite:///{tmp_path}/views.db")

    assert all(each["value"] == each["default"] for each in json.loads(run("--json").stdout)["parameters"])
