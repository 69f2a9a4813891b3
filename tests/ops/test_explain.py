"""A slash as a person would like to read it, and the same for programs; computed again, it is the same or says what differs."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from adapters.audit.sequencer import Sequencer
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.vouching import vouched_by
from contracts.staking import SPACE, Attest, Dispute, ProveEquivocation, ResolveDispute, case_id, case_stream
from ops.cli import app
from ops.cli.output import Exit, Failure
from projections.staking.tables import cases
from tests.adapters.audit.log import NETWORK, WRITER, Arrived
from tests.commands.test_staking import KEYS, signed
from tests.databases import upgrade
from tests.domain.given import digest
from tests.streams.test_staking import CASE, DEVICE, Village

ORACLES = KEYS[:7]


@pytest.fixture
def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Village:
    found = Village(tmp_path)
    found.stake("bond", DEVICE, 100 * SPACE)
    found.register()
    for key in ORACLES:
        found.stake("oracle", key.did, 10_000 * SPACE)
    monkeypatch.setenv("SPACEOS_VIEWS", f"sqlite:///{tmp_path}/views.db")
    return found


def audit_log(village: Village, tmp_path: Path, lacking: str = "") -> str:
    """What happened, in an audit log; the option that names it."""
    url = f"sqlite:///{tmp_path}/audit.db"
    engine = engine_for(url)
    upgrade(engine, "audit")
    shards: dict[str, list[Arrived]] = {}
    for _, record in village.log:
        arrived = shards.setdefault(record.shard, [])
        arrived.append(Arrived(len(arrived), record.value, [("signature", WRITER.sign(record.value).encode())]))
    if lacking:
        shards[lacking].pop()
    sequencer = Sequencer(engine, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
    sequencer.claim(list(shards))
    sequencer.apply(shards)
    engine.dispose()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "300"})


def told(*arguments: str) -> str:
    found = run(*arguments)
    assert found.exit_code == Exit.OK, found.output
    return found.output


def document(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(*arguments, "--json"))
    return found


def test_an_executed_slash_is_told_from_its_evidence_to_its_verdict(village: Village) -> None:
    village.a_day(missed=20)
    village.attest(count=5)
    village.wait(hours=25)

    text = told("slash", CASE)

    for said in (
        f"Downtime of {DEVICE}, 2026-11-24: executed",
        "20 of 288 slots were missed (6.94 %); more than 5 % is a breach",
        "a panel of 7", "5 equal signatures attest", "5 of 7 signed: 20 missed", "was silent",
        "100.00 SPACE × 10 % = 10.00 SPACE", "10.00 SPACE slashed", "nobody disputed it; the window closed at",
        "10.00 SPACE burned",
    ):  # fmt: skip
        assert said in text
    for oracle in village.opened().panel:
        assert oracle in text


def test_an_open_case_says_what_it_waits_for(village: Village) -> None:
    village.a_day(missed=20)

    assert "none yet: witnesses are heard until 2026-11-25 06:10:00 UTC" in told("slash", f"staking/case/{CASE}")
    [waiting] = document("cases")["cases"]
    assert waiting["case"] == CASE
    assert CASE in told("cases")


def test_a_dispute_is_told_with_its_vote_and_its_bond(village: Village) -> None:
    village.a_day(missed=20)
    village.attest()
    hold = village.hold(10 * SPACE, f"bond:{case_stream(CASE)}")
    village.work()
    [disputed] = village.ask(Dispute(hold=hold, statement=digest("I was up")), case_stream(CASE))
    vote = ResolveDispute(proposal=disputed.proposal, upheld=False, quorum_met=False)  # type: ignore[attr-defined]
    village.ask(vote, case_stream(CASE))
    village.work()

    text = told("slash", CASE)

    for said in ("disputed under the proposal", "the vote had no quorum", "10.00 SPACE released", "is returned", "void since"):
        assert said in text


def a_lie(village: Village) -> tuple[str, ProveEquivocation]:
    """An oracle signs 15 and 14: the case about it."""
    liar, stream = ORACLES[0], case_stream(CASE)
    said = [signed(Attest(missed=missed, root=digest("beats")), stream, liar) for missed in (15, 14)]
    evidence = digest(f"staking.Attest\n{stream}\n{liar.did}")
    case, lie = case_id(liar.did, "proof", 0, evidence), ProveEquivocation(first=said[0], second=said[1])
    village.ask(lie, case_stream(case))
    return case, lie


def test_a_lie_that_proves_itself_needs_no_witness(village: Village) -> None:
    village.a_day(missed=20)
    case, lie = a_lie(village)

    text = told("slash", case)

    assert "2 signed records" in text
    assert "none is needed" in text
    assert document("slash", case)["attested"]["proof"][0]["value"] == lie.first.value


def test_a_program_is_told_everything(village: Village) -> None:
    village.a_day(missed=20)
    village.attest()

    found = document("slash", CASE)

    assert found["opened"]["uptime"]["missed"] == 20
    assert len(found["findings"]) == 5
    assert found["taken"] == [{"kind": "bond", "subject": DEVICE, "units": "100000", "state": "held"}]
    assert found["recomputed"] is None


def test_a_case_that_is_none_is_said_to_be_none(village: Village) -> None:
    del village
    found = run("slash", "nobody.downtime.1")

    assert isinstance(found.exception, Failure)
    assert "there is no case" in str(found.exception)


def test_computed_again_from_the_log_a_case_is_the_same(village: Village, tmp_path: Path) -> None:
    village.a_day(missed=20)
    again = ("slash", CASE, "--recompute", "--source", "log", "--log", audit_log(village, tmp_path))

    assert "the same: 20 of 288 missed, a panel of 7, 10.00 SPACE" in told(*again)
    assert document(*again)["recomputed"]["uptime"] == document(*again)["opened"]["uptime"]


def test_what_the_log_says_otherwise_is_told_and_ends_with_one(village: Village, tmp_path: Path) -> None:
    """A view that somebody has changed."""
    village.a_day(missed=20)
    log = audit_log(village, tmp_path)
    forged = village.opened().model_copy(update={"seed": digest("mine")})
    with village.engine.begin() as connection:
        connection.execute(update(cases).values(opened=forged.json_bytes().decode()))

    found = run("slash", CASE, "--recompute", "--source", "log", "--log", log)

    assert found.exit_code == Exit.FOUND_WRONG
    assert f"seed: the case says {digest('mine')}, the log gives" in found.output


def test_a_log_that_lacks_a_record_is_named(village: Village, tmp_path: Path) -> None:
    village.a_day(missed=20)
    log = audit_log(village, tmp_path, lacking="liveness.events/0")

    found = run("slash", CASE, "--recompute", "--source", "log", "--log", log)

    assert "no record closes epoch" in str(found.exception)


def test_a_bad_proof_is_verified_and_not_computed(village: Village, tmp_path: Path) -> None:
    village.a_day(missed=20)
    case = a_lie(village)[0]

    found = run("slash", case, "--recompute", "--source", "log", "--log", audit_log(village, tmp_path))

    assert "not computed but verified" in str(found.exception)


def test_a_source_that_is_none_is_wrong_usage(village: Village) -> None:
    village.a_day(missed=20)

    found = run("slash", CASE, "--recompute", "--source", "hearsay")

    assert isinstance(found.exception, Failure)
    assert found.exception.exit_code == Exit.USAGE
