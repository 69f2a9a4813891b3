"""Staking's language: what moves value adds up, and the longest names fit where they stand."""

import pytest

from contracts import Did, Event, StreamName, sums, uuid7
from contracts.liveness import SLOTS_PER_EPOCH
from contracts.staking import (
    EXPECTED_MINIMUM,
    BondPosted,
    CaseExecuted,
    CaseId,
    CaseVoided,
    Dripped,
    PostedBond,
    Share,
    Slashed,
    Staked,
    SubjectName,
    Withdrawn,
    case_id,
    case_stream,
    collateral_stream,
    key_claim_stream,
    named_collateral,
)
from contracts.treasury import HoldId, Purpose
from tests.domain.given import did, digest

ACCOUNT = StreamName("treasury/account/alice.SPACE")
HOLD, OTHER = HoldId("h-1"), HoldId("h-2")
REQUEST = uuid7(1, bytes(10))
DEVICE = did("alice")
BOND = collateral_stream("bond", DEVICE)
CASE = case_id(DEVICE, "downtime", 20_782, digest("evidence"))
BONDS = (PostedBond(hold=HOLD, account=ACCOUNT, units=100_000), PostedBond(hold=OTHER, account=ACCOUNT, units=200_000))
SHARE = Share(kind="bond", subject=SubjectName(DEVICE), units=10)
NOON = "2026-11-24T12:00:00.000000Z"

MOVING: list[tuple[str, Event]] = [
    (BOND, Staked(amount=7, hold=HOLD, account=ACCOUNT, active=7, epoch=1)),
    (BOND, Withdrawn(request=REQUEST, amount=7, account=ACCOUNT, epoch=1)),
    (BOND, Slashed(case=CASE, amount=7, left=0, epoch=1)),
    (case_stream(CASE), BondPosted(hold=HOLD, account=ACCOUNT, amount=7)),
    (case_stream(CASE), CaseVoided(cause="no_quorum", returned=BONDS)),
    (case_stream(CASE), CaseExecuted(amounts=(SHARE,), burned=BONDS[:1], returned=BONDS[1:])),
    ("staking/faucet/0x00", Dripped.read({"amount": "7", "next_at": NOON, "day": 1})),
]


@pytest.mark.parametrize(("stream", "event"), MOVING, ids=lambda value: type(value).__name__)
def test_what_moves_value_adds_up_to_nothing(stream: str, event: Event) -> None:
    legs = list(event.legs(stream))

    assert legs
    assert sums(legs) == {"SPACE": 0}


def test_a_stake_is_paid_from_the_captured_hold_and_a_slash_is_burned() -> None:
    postings = {(leg.account, leg.units) for _, event in MOVING[:3] for leg in event.legs(BOND)}

    account = f"stake:bond:{DEVICE}"
    assert postings == {
        (account, 7),
        (account, -7),
        (f"hold:bond:{DEVICE}", -7),
        (f"due:bond:{DEVICE}", 7),
        ("treasury:burn", 7),
    }


def test_a_lost_bond_is_burned_and_an_unused_one_returns() -> None:
    legs = {(leg.account, leg.units) for leg in MOVING[5][1].legs(case_stream(CASE))}

    case = f"stake:dispute:{CASE}"
    assert legs == {("treasury:burn", 100_000), (case, -100_000), (f"due:dispute:{CASE}", 200_000), (case, -200_000)}


@pytest.mark.parametrize("subject", [did("a"), Did(f"did:pkh:eip155:8453:0x{'a' * 40}"), "0x" + "f" * 40])
def test_every_subject_has_streams_and_cases_that_are_names(subject: str) -> None:
    for case in (case_id(subject, "downtime", 20_782, "0" * 64), case_id(subject, "proof", 20_782, digest("x"))):
        assert CaseId.checked(case) == case
        assert StreamName.checked(case_stream(case))
        assert Purpose.checked(f"bond:{case_stream(case)}")
    for kind in ("stake", "bond", "oracle"):
        assert named_collateral(StreamName.checked(collateral_stream(kind, subject))) == (kind, subject)


def test_what_is_no_collateral_has_no_name() -> None:
    assert named_collateral("staking/collateral/house/alice") == ("", "")
    assert named_collateral("staking/case/x") == ("", "")


def test_a_key_is_claimed_by_its_hash_as_a_serial_number_is() -> None:
    assert StreamName.checked(key_claim_stream(DEVICE)) == f"staking/serial/{digest(DEVICE)}"


def test_half_of_an_epochs_slots_are_enough_to_judge() -> None:
    assert (EXPECTED_MINIMUM, SLOTS_PER_EPOCH) == (144, 288)
