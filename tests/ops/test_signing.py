"""That the log has signed is remembered in the event store, and the doctor says where nothing is signed."""

from pathlib import Path

import pytest

from adapters.audit.signing import Unremembered, sign_head
from adapters.sql import engine_for
from adapters.sql.store import Store
from ops.auditor import LAST_SIGNED, InTheStore, log_signer, open_audit, refusal_to_sign
from ops.compose import Deployment
from ops.doctor import Finding, Health, examine
from ops.genesis import make_genesis
from ops.settings import Settings


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
