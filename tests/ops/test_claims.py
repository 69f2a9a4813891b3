"""What a holder reads before it calls the contract, and what everybody reads of roots."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.views.tables import refused_tasks
from contracts.rewards import SPACE
from domain.rewards.claims import Claim, proves
from ops.cli import app
from ops.cli.output import Exit, Failure
from streams.rewards.claiming import CLAIMS
from tests.commands.test_rewards import OWNER, PAYEE, N
from tests.streams.test_claiming import USD, ClaimTown, night


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClaimTown:
    """A root of SPACE and dollars is on the chain."""
    found = ClaimTown(tmp_path)
    found.receive(1_000, USD)
    night(found)
    monkeypatch.setenv("SPACEOS_HOME", str(tmp_path))
    monkeypatch.setenv("SPACEOS_VIEWS", f"sqlite:///{tmp_path}/views.db")
    monkeypatch.setenv("SPACEOS_OUTSIDE", "paper")
    return found


def told(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["show", *arguments], env={"COLUMNS": "300"})
    assert found.exit_code == Exit.OK, found.output
    return found.output


def document(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(*arguments, "--json"))
    return found


def test_a_claim_is_told_as_the_contract_takes_it(town: ClaimTown) -> None:
    found = document("claim", PAYEE.upper().replace("X", "x"))

    assert found["contract"] == town.chain.rewards
    assert [(each["asset"], each["root"]["epoch"]) for each in found["claims"]] == [(SPACE, N), (USD, N)]
    for each in found["claims"]:
        call = each["call"]
        row = Claim(call["account"], call["token"], int(call["cumulative"]))
        assert proves(row, [bytes.fromhex(node[2:]) for node in call["proof"]], each["root"]["root"])
        town.send(row, tuple(call["proof"]))
    town.turns(2)

    assert [(each["claimable"], each["claimed"] == each["earned"]) for each in document("claim", PAYEE)["claims"]] == [
        ("0", True), ("0", True),
    ]  # fmt: skip


def test_a_claim_is_told_to_people_with_each_argument(town: ClaimTown) -> None:
    state = town.claim_of(PAYEE, USD)

    lines = told("claim", PAYEE)

    assert state.claim is not None
    for argument in (f"{town.chain.rewards}.claim(", state.claim.token, str(state.claim.cumulative), *state.proof):
        assert argument in lines
    assert "the root of" not in lines


def test_a_newer_root_that_waits_is_told(town: ClaimTown) -> None:
    town.receive(1_000)
    town.sleep()

    assert "waits for the contract" in told("claim", PAYEE)
    assert {each["waiting"] for each in document("claim", PAYEE)["claims"]} == {N + 1}


def test_a_wallet_that_earned_nothing_has_no_claim(town: ClaimTown) -> None:
    assert "nothing was earned" in told("claim", "0x" + "77" * 20)


def test_a_proof_that_would_not_hold_is_not_told(town: ClaimTown, monkeypatch: pytest.MonkeyPatch) -> None:
    """This shell reaches no chain, so it knows no coin's contract."""
    monkeypatch.delenv("SPACEOS_OUTSIDE")

    found = CliRunner().invoke(app, ["show", "claim", PAYEE])

    assert isinstance(found.exception, Failure)
    assert "USD.s" in str(found.exception)
    assert "SPACEOS_OUTSIDE" in str(found.exception.remedy)


def test_what_the_contract_paid_and_the_books_refuse_ends_with_one(town: ClaimTown) -> None:
    row = {"list": CLAIMS, "key": f"claim:0x{'c' * 64}:3", "name": "ExceedsEarned", "text": "0 units are earned", "at": "now"}
    with town.engine.begin() as connection:
        connection.execute(refused_tasks.insert().values(**row))

    found = CliRunner().invoke(app, ["show", "rewards"], env={"COLUMNS": "300"})

    assert found.exit_code == Exit.FOUND_WRONG
    assert f"ExceedsEarned 0x{'c' * 64}:3 0 units are earned" in found.output


def test_roots_are_shown_with_their_block_and_wallets_with_what_they_may_claim(town: ClaimTown) -> None:
    town.claim(PAYEE)
    town.turns(2)
    town.sleep()

    found, lines = document("rewards"), told("rewards")

    blocks = {day["epoch"]: day["block"] for day in found["epochs"]}
    assert blocks[N] is not None
    assert f"confirmed in block {blocks[N]}" in lines
    assert "published" in lines
    claimable = {(each["payee"], each["asset"]): each["claimable"] for each in found["payees"]}
    assert claimable[PAYEE, SPACE] == 0
    assert claimable[OWNER, SPACE] == town.claim_of(OWNER).claimable > 0
