"""Sets of readers by settings, who reads what for people, and parked streams of every kind of reader."""

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from adapters.sql import engine_for
from adapters.views import Projector
from adapters.views.states import LIVE, UNREAD, States
from adapters.views.tables import reader_sets
from ops.compose import DEFAULT_SET, Deployment, NoSuchReader, NoSuchSet
from ops.genesis import make_genesis
from ops.readers import lagging_readers
from ops.serve import parts_of
from ops.settings import Settings
from tests.databases import upgrade
from tests.forks import SPACEOS, run


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    found = Deployment(Settings(home=tmp_path, sets={"slow": ("decision_log",), "money": ("ledger", "heartbeats")}))
    make_genesis(found.genesis_path, found.settings.keys, "dev")
    return found


def test_every_reader_is_in_one_set_and_each_set_is_a_process(deployment: Deployment) -> None:
    named = {name: [stream.name for stream in deployment.streams_of(name)] for name in (DEFAULT_SET, "slow", "money")}

    assert named["slow"] == ["decision_log"]
    assert named["money"] == ["heartbeats", "ledger"]
    everything = [stream for streams in named.values() for stream in streams]
    assert sorted(everything) == sorted(stream.name for stream in deployment.streams)
    assert {"projectors", "projector-slow", "projector-money"} <= {part.name for part in parts_of(deployment, 1)}


def test_a_set_that_nobody_named_and_a_reader_that_nobody_wires_are_said(deployment: Deployment, tmp_path: Path) -> None:
    with pytest.raises(NoSuchSet, match=r"no set of readers ledger, there are: default, slow, money; it is read by money"):
        deployment.streams_of("ledger")
    wrong = Deployment(Settings(home=tmp_path, sets={"slow": ("decision_logs",)}))
    with pytest.raises(NoSuchReader, match="SPACEOS_SETS has decision_logs in slow"):
        parts_of(wrong, 1)


def test_people_see_what_is_behind_and_what_nobody_reads(deployment: Deployment) -> None:
    settings = deployment.settings
    store = deployment.open_store()
    store.shard("identity", 0)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update shards set next_sequence = 7")
    views = engine_for(settings.views)
    upgrade(views, "views")
    projector = Projector(views, deployment.projection("key_registry"))
    found = projector.claim(["identity.events/0"])
    states = States(views, DEFAULT_SET)
    states.claimed([projector.name], {projector.name: found})
    states.tell(set())

    (live,) = lagging_readers(deployment)
    with views.begin() as connection:
        connection.execute(update(reader_sets).values(seen="2026-01-01T00:00:00.000000Z"))
    environment = {"SPACEOS_HOME": str(settings.home), "PATH": ""}
    shown = run(SPACEOS, ["readers", "--json"], environment)
    drawn = run(SPACEOS, ["readers"], environment)

    assert (live.reader.set, live.reader.state, live.behind) == (DEFAULT_SET, LIVE, 7)
    (line,) = json.loads(shown.stdout)["readers"]
    assert (line["reader"], line["state"], line["behind"]) == ("key_registry", UNREAD, 7)
    assert shown.returncode == drawn.returncode == 1
    assert "Readers of the set default" in drawn.stdout
    assert max(map(len, drawn.stdout.splitlines())) <= 80
