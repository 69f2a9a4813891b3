"""What the worker really decided, in the form that the store really keeps, is verified by the file that shares no code."""

from pathlib import Path

import pytest

from adapters.audit import AuditLog, Sequencer, sign_head
from adapters.audit.packs import Enclosed, commands_in, write_bundle, write_pack
from adapters.audit.search import Filter
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.sql.outbox import Outbox
from adapters.vouching import vouched_by
from ops.auditor import log_signer
from tests.adapters.audit.log import Arrived
from tests.databases import upgrade
from tests.independent.verifier import Stranger
from tests.ops.test_checker import Network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network is founded, keys come, act and go, one of them a wallet's."""
    made = Network(tmp_path_factory.mktemp("network"))
    made.live()
    return made


@pytest.fixture(scope="module")
def log(network: Network) -> AuditLog:
    home = network.settings.home
    engine = engine_for(f"sqlite:///{home}/audit.db")
    upgrade(engine, "audit")
    outbox = Outbox(network.store.engine)
    lanes = {f"{lane.topic}/{lane.partition}": (lane, standing.stored) for lane, standing in outbox.standing().items()}
    shards = {name: found for name, found in lanes.items() if ".events/" in name}
    sequencer = Sequencer(engine, "dev", vouched_by("dev", network.deployment.genesis.writers(), verify))
    sequencer.claim(sorted(shards))
    for name, (lane, count) in shards.items():
        records = [
            Arrived(n, out.value, [("signature", (out.signature or "").encode())])
            for n, out in enumerate(outbox.read(lane, 0, count))
        ]
        sequencer.apply({name: records})
    assert not sequencer.halted
    sign_head(engine, log_signer(network.deployment), home / "last-signed")
    return AuditLog(engine)


@pytest.fixture
def given(network: Network, tmp_path: Path) -> list[object]:
    policy = tmp_path / "policy"
    policy.write_text(f"log {network.deployment.genesis.log}\nquorum none\n")
    return ["--policy", policy, "--genesis", network.deployment.genesis_path]


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_what_was_decided_is_verified_with_its_commands(
    network: Network, log: AuditLog, given: list[object], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    enclosed, target = Enclosed(commands=commands_in(network.store.engine)), tmp_path / "p.zip"
    stranger = Stranger.in_folder(tmp_path_factory.mktemp("stranger"), "coincurve", "Crypto")

    if kind == "whole":
        write_bundle(log, target, Filter(first=0), enclosed)
    else:
        write_pack(log, target, stream="identity/network/dev", enclosed=enclosed)
    found = stranger.verify(target, *given)

    assert (found.code, found.answer["found"], found.answer["unclear"]) == (0, [], [])
    assert "0 commands" not in found.answer["verified"]
