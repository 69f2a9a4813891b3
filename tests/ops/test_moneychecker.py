"""The outside checker of money finds what it is there to find: claims that no root gives."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ops.moneychecker import Judge

ALICE, BOB = "0x" + "a" * 40, "0x" + "b" * 40
EPOCH = 20_417


def earned(payee: str, units: int, cumulative: int, epoch: int = EPOCH, asset: str = "SPACE") -> dict[str, Any]:
    data = {"amount": amount(units, asset), "source": "fee", "epoch": epoch, "cumulative": str(cumulative)}
    return {"type": "rewards.Earned", "subject": f"rewards/earner/{payee}.{asset}", "data": data}


def published(total: int, epoch: int = EPOCH) -> dict[str, Any]:
    data = {"root": "0x" + "1" * 64, "totals": [amount(total)], "claims": 1, "table_digest": "2" * 64}
    return {"type": "rewards.RootPublished", "subject": f"rewards/epoch/{epoch}", "data": data}


def confirmed(epoch: int = EPOCH) -> dict[str, Any]:
    return {"type": "rewards.RootConfirmed", "subject": f"rewards/epoch/{epoch}", "data": {"transaction": "0x", "block": 1}}


def claimed(payee: str, units: int, log: int = 0) -> dict[str, Any]:
    data = {"amount": amount(units), "transaction": "0x" + "3" * 64, "log": log, "block": 2, "claimed": str(units)}
    return {"type": "rewards.Claimed", "subject": f"rewards/earner/{payee}.SPACE", "data": data}


def amount(units: int, asset: str = "SPACE") -> dict[str, str]:
    return {"asset": asset, "units": str(units)}


def judged(folder: Path, *events: dict[str, Any], invariant: str = "M8") -> list[str]:
    """What is said of the invariant, in order."""
    with (folder / "store.jsonl").open("w") as file:
        for n, event in enumerate(events):
            document = {"id": f"e{n}", **event, "time": f"2026-11-25T00:00:{n:02}Z", "shard": "rewards.events/0", "sequence": n}
            value = base64.b64encode(json.dumps(document).encode()).decode()
            file.write(json.dumps({"table": "events", "value": value}) + "\n")
    return [problem.text for problem in Judge(folder).judge() if problem.invariant == invariant]


HISTORY = (earned(ALICE, 500, 500), earned(BOB, 70, 70), published(570), confirmed(), claimed(ALICE, 500))


def test_claims_within_a_root_are_as_they_must_be(tmp_path: Path) -> None:
    later = (earned(ALICE, 1, 501, EPOCH + 1), published(571, EPOCH + 1), claimed(ALICE, 1, log=1))

    assert judged(tmp_path, *HISTORY, *later) == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ((*HISTORY, claimed(ALICE, 1, log=1)), "501 units claimed, 500 under a root, 500 earned"),
        ((earned(ALICE, 5, 5), claimed(ALICE, 5)), "5 units claimed, 0 under a root, 5 earned"),
        (
            (*HISTORY, earned(ALICE, 9, 509, EPOCH + 1), claimed(ALICE, 9, log=1)),
            "509 units claimed, 500 under a root, 509 earned",
        ),
        ((*HISTORY[:2], published(571)), "the root's totals are {'SPACE': 571}, what was earned is {'SPACE': 570}"),
        ((earned(ALICE, 5, 6),), "5 units were earned, the event says 6"),
        ((*HISTORY, earned(BOB, 1, 71)), f"was earned under epoch {EPOCH}, whose root was out"),
        ((confirmed(),), "its root was never published"),
        ((*HISTORY[:4], claimed(ALICE, 100), claimed(ALICE, 100)), f"the log 0 of 0x{'3' * 64} was recorded before"),
    ],
)
def test_whatever_no_root_gives_is_found(tmp_path: Path, events: tuple[dict[str, Any], ...], text: str) -> None:
    assert judged(tmp_path, *events) == [text]


BOND = "staking/collateral/bond/rack-7"


def held(units: int = 500, purpose: str = f"stake:{BOND}", hold: str = "h-1") -> dict[str, Any]:
    data = {"hold": hold, "amount": amount(units), "purpose": purpose, "expires_at": "2026-11-26T00:00:00Z"}
    return {"type": "treasury.Held", "subject": "treasury/account/alice.SPACE", "data": data}


def staked(units: int = 500, cause: str = "e0", stream: str = BOND, hold: str = "h-1") -> dict[str, Any]:
    said = {"amount": str(units), "hold": hold, "account": "treasury/account/alice.SPACE", "active": str(units), "epoch": EPOCH}
    return {"type": "staking.Staked", "subject": stream, "data": {**said, "cause": cause}}


def released(hold: str = "h-1") -> dict[str, Any]:
    data = {"hold": hold, "purpose": f"stake:{BOND}"}
    return {"type": "treasury.Released", "subject": "treasury/account/alice.SPACE", "data": data}


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ((held(), staked()), []),
        ((held(), staked(501)), ["it is not what e0 says was held, of whom, and for whom"]),
        ((held(), staked(hold="h-2")), ["it is not what e0 says was held, of whom, and for whom"]),
        ((held(), staked(stream=f"{BOND}0")), ["it is not what e0 says was held, of whom, and for whom"]),
        ((held(), staked(cause="e9")), ["it names e9, which is no hold of the treasury"]),
        ((held(), staked(), staked()), ["e0 was staked before"]),
        ((held(), released(), staked()), ["what e0 says was held was let go, and is at stake"]),
        ((held(), staked(), released()), ["what e0 says was held was let go, and is at stake"]),
    ],
)
def test_a_stake_is_what_its_cause_held_and_once(tmp_path: Path, events: tuple[dict[str, Any], ...], text: list[str]) -> None:
    assert judged(tmp_path, *events, invariant="M7") == text
