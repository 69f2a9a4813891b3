"""That the log has signed is remembered in the event store, and the doctor says where nothing is signed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.audit import Sequencer
from adapters.audit.signing import Unremembered, sign_head
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.sql.store import Store
from adapters.vouching import vouched_by
from ops.auditor import LAST_SIGNED, InTheStore, log_signer, open_audit, refusal_to_sign
from ops.compose import Deployment
from ops.doctor import Finding, Health, examine
from ops.genesis import make_genesis
from ops.settings import Settings
from tests.adapters.audit.log import NETWORK, WRITER, three

SPACEOS = Path(sys.executable).parent / "spaceos"


@pytest.fixture
def deployment(tmp_path: Path, store_url: str) -> Deployment:
    """A network that was just founded."""
    found = Deployment(Settings(home=tmp_path, store=store_url, audit=f"sqlite:///{tmp_path}/audit.db"))
    make_genesis(found.genesis_path, found.settings.keys, "dev")
    return found


def doctors(deployment: Deployment) -> list[Finding]:
    return [finding for finding in examine(deployment.settings) if finding.subject == "audit log"]


def test_a_new_network_is_asked_nothing(deployment: Deployment) -> None:
    """Neither before there is a store, nor where a worker has begun one."""
    assert refusal_to_sign(deployment) is None
    assert not InTheStore(deployment).has_signed()
    deployment.open_store().engine.dispose()
    open_audit(deployment).dispose()

    assert refusal_to_sign(deployment) is None
    assert doctors(deployment) == []
    assert not InTheStore(deployment).has_signed()


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = Deployment(Settings(home=tmp_path, store=f"sqlite:///{tmp_path}/elsewhere.db"))
    make_genesis(found.genesis_path, found.settings.keys, "dev")

    InTheStore(found).note()

    assert not InTheStore(found).has_signed()
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_log_that_lost_database_and_file_is_known_by_the_store(deployment: Deployment) -> None:
    """It refuses to sign, and says what to do; so does the doctor, also where the database's file is gone."""
    deployment.open_store().engine.dispose()
    for _ in range(2):
        InTheStore(deployment).note()

    assert "is gone" in str(refusal_to_sign(deployment))
    engine = open_audit(deployment)
    last_signed = deployment.settings.home / LAST_SIGNED
    with pytest.raises(Unremembered, match="spaceos audit adopt HEAD"):
        sign_head(engine, log_signer(deployment), last_signed, InTheStore(deployment))
    [finding] = doctors(deployment)
    engine.dispose()

    assert finding.health is Health.WRONG
    assert finding.said.startswith("nothing is signed: heads of this log were signed, the database has none")
    assert "spaceos audit adopt HEAD" in str(finding.remedy)


def test_what_another_log_signed_is_nothing_of_this_one(deployment: Deployment) -> None:
    """A new generation has a name of its own."""
    deployment.open_store().engine.dispose()
    engine = engine_for(deployment.settings.store)
    Store(engine).establish(**{"signed 0": "another/log"})
    engine.dispose()

    assert not InTheStore(deployment).has_signed()


def test_a_file_that_holds_no_head_is_named(deployment: Deployment) -> None:
    open_audit(deployment).dispose()
    (deployment.settings.home / LAST_SIGNED).write_text("half a hea")

    assert "holds no head of this log" in str(refusal_to_sign(deployment))


def test_an_operator_says_which_head_was_the_last_and_the_log_signs_again(tmp_path: Path) -> None:
    """With the witnesses that are reached; another log's head is none."""
    found = Deployment(Settings(home=tmp_path, store=f"sqlite:///{tmp_path}/store.db", audit=f"sqlite:///{tmp_path}/audit.db"))
    make_genesis(found.genesis_path, found.settings.keys, "dev")
    found.open_store().engine.dispose()
    engine, last_signed, shards = open_audit(found), tmp_path / LAST_SIGNED, three(20)
    sequencer = Sequencer(engine, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
    sequencer.claim([shard.name for shard in shards])
    sequencer.apply({shard.name: shard.records for shard in shards})
    note = sign_head(engine, log_signer(found), last_signed, InTheStore(found))
    kept, other = tmp_path / "kept", tmp_path / "other"
    kept.write_text(str(note))
    other.write_text(str(note).replace("dev", "prod"))
    last_signed.unlink()

    assert "is gone" in str(refusal_to_sign(found))
    refused, adopted = adopt(tmp_path, other), adopt(tmp_path, kept)

    assert (refused.returncode, adopted.returncode) == (1, 0), refused.stderr + adopted.stderr
    assert json.loads(adopted.stdout) == {"ok": True, "size": 64, "silent": {}}
    assert refusal_to_sign(found) is None
    assert last_signed.read_text() == note
    engine.dispose()


def adopt(home: Path, head: Path) -> "subprocess.CompletedProcess[str]":
    settings = {
        "SPACEOS_HOME": str(home),
        "SPACEOS_STORE": f"sqlite:///{home}/store.db",
        "SPACEOS_AUDIT": f"sqlite:///{home}/audit.db",
    }
    command = [SPACEOS, "audit", "adopt", head, "--json"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings}, check=False)
