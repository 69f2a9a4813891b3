"""A slot has one process: two with one name would take the group from each other for ever."""

import os
from pathlib import Path

import pytest

from adapters.locks import AlreadyRuns
from ops.compose import Deployment
from ops.serve import hold_slot, parts_of
from ops.settings import Settings


def test_a_slot_is_held_once_by_each_kind_of_process(tmp_path: Path) -> None:
    names = [hold_slot(tmp_path, kind, "1") for kind in ("worker", "projector", "auditor")]

    with pytest.raises(AlreadyRuns, match=f"projector 1 runs already in {tmp_path}: pid {os.getpid()} on "):
        hold_slot(tmp_path, "projector", "1")

    assert names[0] is not None
    assert hold_slot(tmp_path, "projector", "2") != names[1]
    assert hold_slot(tmp_path, "projector", None) is None


def test_whatever_is_started_again_and_reads_in_a_group_has_a_slot(tmp_path: Path) -> None:
    """Without one, whoever is killed waits six seconds for his own old session."""
    parts = parts_of(Deployment(Settings(home=tmp_path)), workers=2)

    assert not [part.name for part in parts if "--slot" not in part.arguments]


def test_each_part_is_let_in_as_what_it_is(tmp_path: Path) -> None:
    """Whoever the supervisor's own environment names."""
    parts = parts_of(Deployment(Settings(home=tmp_path, kafka_user="clients")), workers=2)

    users = {part.name: part.environment["SPACEOS_KAFKA_USER"] for part in parts}
    assert users == {"worker-1": "worker", "worker-2": "worker", "projectors": "readers", "auditor": "readers"}
