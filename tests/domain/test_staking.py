"""What is at risk: it leaves late, cases hold it, and nothing is taken twice."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from contracts import Address, Amount, Label, StreamName
from contracts.staking import (
    DEVICE_BOND,
    SPACE,
    CancelUnstake,
    DeclineDevice,
    DeviceDeregistered,
    DeviceRegistered,
    DeviceResumed,
    DeviceSuspended,
    HeldForCase,
    HoldReleased,
    KeyTombstoned,
    PartOfRequest,
    RegistrationAsked,
    RegistrationDeclined,
    ReleaseHold,
    SerialClaimed,
    SerialFreed,
    Slashed,
    Staked,
    SubjectName,
    SuspendDevice,
    TierChanged,
    Tombstone,
    UnstakeCancelled,
    UnstakeRequested,
    Withdraw,
    Withdrawn,
    collateral_stream,
    key_claim_stream,
    serial_stream,
)
from contracts.treasury import Purpose
from domain.staking import (
    AddressedWrongly,
    AlreadyRegistered,
    AlreadySlashed,
    BelowMinimum,
    BoundElsewhere,
    CasePending,
    ExceedsActive,
    HoldUsed,
    NoSuchRequest,
    NotAsked,
    NotClaimed,
    NotHeld,
    NothingLeft,
    NotRegistered,
    NotSuspended,
    RequestUsed,
    StillBonding,
    StillRegistered,
    Tombstoned,
)
from domain.staking.arithmetic import (
    dispute_bond,
    drawn,
    is_breach,
    meets_sla,
    signatures_needed,
    slash_of,
    space_staking_reward,
    tier_of,
)
from domain.staking.collateral import Collateral
from domain.staking.devices import Claim
from tests.domain.given import did, digest, given, refused, then
from tests.domain.staking import (
    ACCOUNT,
    CASE,
    DEVICE,
    MIDNIGHT,
    NOON,
    SEED,
    TODAY,
    WALLET,
    a_bond,
    a_registration,
    a_stake,
    another_case,
    hold,
    request_id,
    slash,
    stake,
    unstake,
)

BOND = collateral_stream("bond", DEVICE)
WEEK = timedelta(days=7)
WITHDRAW = Withdraw(request=request_id(1), account=ACCOUNT)
NOBODY = Collateral(collateral_stream("oracle", DEVICE))

# The numbers


@pytest.mark.parametrize(("expected", "no", "yes"), [(288, 14, 15), (200, 10, 11)])
def test_fourteen_of_288_missed_is_no_breach_and_fifteen_is(expected: int, no: int, yes: int) -> None:
    assert not is_breach(no, expected)
    assert is_breach(yes, expected)


def test_an_epoch_that_left_143_slots_breaches_nobody() -> None:
    assert not is_breach(143, 143)
    assert is_breach(8, 144)


def test_exactly_five_percent_missed_is_no_breach() -> None:
    assert not any(is_breach(expected // 20, expected) for expected in range(160, 289, 20))


def test_ninety_nine_percent_meets_the_promise() -> None:
    assert meets_sla(2, 200)
    assert not meets_sla(3, 200)
    assert meets_sla(0, 0)


@pytest.mark.parametrize(
    ("base", "percent", "taken"),
    [(100 * SPACE, 10, 10 * SPACE), (15, 10, 2), (1_000, 10, 100), (1, 10, 1), (0, 50, 0), (10**60 + 1, 50, 5 * 10**59 + 1)],
)
def test_a_slash_is_rounded_up(base: int, percent: int, taken: int) -> None:
    assert slash_of(base, percent) == taken


@pytest.mark.parametrize(("panel", "needed"), [(0, 3), (3, 3), (4, 3), (5, 4), (6, 4), (7, 5)])
def test_two_thirds_of_the_panel_attest_and_three_at_least(panel: int, needed: int) -> None:
    assert signatures_needed(panel) == needed


@pytest.mark.parametrize(
    ("slash", "bond"), [(50_000 * SPACE, 5_000 * SPACE), (0, 10 * SPACE), (100 * SPACE, 10 * SPACE), (1_000_001, 100_001)]
)
def test_a_dispute_costs_a_tenth_of_the_slash_and_ten_space_at_least(slash: int, bond: int) -> None:
    assert dispute_bond(slash) == bond


def test_space_staking_owes_an_eighth_a_year() -> None:
    stake = 1_000 * 10**18

    assert space_staking_reward(stake, 31_536_000) == 125 * 10**18
    assert space_staking_reward(stake, 86_400) == 342_465_753_424_657_534


@pytest.mark.parametrize(
    ("space", "below", "tier"), [(1_000, "free", "basic"), (10_000, "basic", "pro"), (100_000, "pro", "enterprise")]
)
def test_a_tier_begins_at_its_minimum(space: int, below: str, tier: str) -> None:
    assert (tier_of(space * SPACE - 1), tier_of(space * SPACE)) == (below, tier)


@each(st.permutations([str(did(f"oracle {n}")) for n in range(12)]))
def test_a_panel_is_a_function_of_its_seed_and_not_of_who_lists_the_oracles(oracles: list[str]) -> None:
    panel = drawn(SEED, oracles)

    assert panel == drawn(SEED, sorted(oracles))
    assert panel == drawn(SEED, panel)
    assert len(panel) == 7


# Stake and unstake


def test_a_stake_is_recorded_once_for_its_hold() -> None:
    bond = given(Collateral, BOND)

    held, account, cause = said = stake(DEVICE_BOND, NOON, BOND)

    then(
        bond, lambda: bond.stake(*said, NOON),
        Staked(amount=DEVICE_BOND, hold=held.hold, account=account, active=DEVICE_BOND, epoch=TODAY, cause=cause),
    )  # fmt: skip
    refused(bond, lambda: bond.stake(*stake(DEVICE_BOND + 1, NOON, BOND), NOON), HoldUsed)
    bond.pending = []
    then(bond, lambda: bond.stake(*said, held.expires_at + timedelta(days=1)))


def test_what_is_held_for_another_stream_in_other_money_or_no_longer_is_no_stake() -> None:
    bond = given(Collateral, BOND)
    held, account, cause = stake(DEVICE_BOND, NOON, BOND)
    others: list[tuple[dict[str, Any], datetime]] = [
        ({"purpose": Purpose(f"bond:{BOND}")}, NOON),
        ({"purpose": Purpose(f"stake:{BOND}-2")}, NOON),
        ({"purpose": Purpose("stake:" + collateral_stream("stake", WALLET))}, NOON),
        ({"amount": Amount.of("USD.s", 10**30)}, NOON),
        ({}, held.expires_at),
    ]

    for change, at in others:
        refused(bond, lambda: bond.stake(held.model_copy(update=change), account, cause, at), NotHeld)  # noqa: B023
    then_last = held.expires_at - timedelta(microseconds=1)
    bond.stake(held, account, cause, then_last)
    assert bond.holding.active == DEVICE_BOND


def test_whose_the_hold_is_is_said_by_the_record_that_is_carried() -> None:
    bond = given(Collateral, BOND)
    said = stake(DEVICE_BOND, NOON, BOND, account=StreamName("treasury/account/alice.EUR"))

    assert refused(bond, lambda: bond.stake(*said, NOON), AddressedWrongly).field == "held"


def test_a_hold_of_another_account_may_have_the_same_name() -> None:
    bond = a_bond()

    bond.stake(*stake(5, NOON, BOND, account=StreamName("treasury/account/bob.SPACE")), NOON)

    assert bond.holding.active == DEVICE_BOND + 5


@pytest.mark.parametrize(("kind", "subject", "minimum"), [("bond", DEVICE, 100), ("oracle", did("oracle"), 10_000)])
def test_less_than_the_minimum_is_not_staked(kind: str, subject: str, minimum: int) -> None:
    found = given(Collateral, collateral_stream(kind, subject))

    refused(found, lambda: found.stake(*stake(minimum * SPACE - 1, NOON, found.stream), NOON), BelowMinimum)
    found.stake(*stake(minimum * SPACE, NOON, found.stream), NOON)


@pytest.mark.parametrize(
    "stream", ["staking/collateral/stake/0x" + "A" * 40, "staking/collateral/stake/alice", "staking/collateral/oracle/alice",
               "staking/collateral/house/alice", "staking/collateral/alice"],
)  # fmt: skip
def test_a_collateral_has_one_name(stream: str) -> None:
    """A wallet in other letters would be a second stake of one wallet."""
    found = given(Collateral, stream)

    refused(found, lambda: found.stake(*stake(10**9, NOON, stream), NOON), AddressedWrongly)


def test_what_is_unstaked_leaves_seven_days_later_and_not_a_moment_before() -> None:
    bond = a_bond()

    then(
        bond, lambda: bond.request_unstake(unstake(30), request_id(1), NOON),
        UnstakeRequested(amount=30, request=request_id(1), releasable_at=NOON + WEEK, epoch=TODAY),
    )  # fmt: skip
    refused(bond, lambda: bond.withdraw(WITHDRAW, NOON + WEEK - timedelta(microseconds=1)), StillBonding)
    bond.pending = []
    then(
        bond, lambda: bond.withdraw(WITHDRAW, NOON + WEEK),
        Withdrawn(request=request_id(1), amount=30, account=ACCOUNT, epoch=TODAY + 7),
    )  # fmt: skip


def test_a_request_has_one_amount() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(30), request_id(1), NOON)

    refused(bond, lambda: bond.request_unstake(unstake(31), request_id(1), NOON), RequestUsed)


def test_no_more_than_is_active_is_unstaked() -> None:
    bond = a_bond()

    refused(bond, lambda: bond.request_unstake(unstake(DEVICE_BOND + 1), request_id(1), NOON), ExceedsActive)


def test_a_request_is_cancelled_once() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(30), request_id(1), NOON)
    bond.pending = []

    cancel = CancelUnstake(request=request_id(1))
    then(bond, lambda: bond.cancel(cancel, NOON), UnstakeCancelled(request=request_id(1), amount=30, epoch=TODAY))
    assert bond.holding.active == DEVICE_BOND
    refused(bond, lambda: bond.withdraw(WITHDRAW, NOON + WEEK), NoSuchRequest)


def test_what_was_never_requested_is_neither_cancelled_nor_withdrawn() -> None:
    bond = a_bond()

    refused(bond, lambda: bond.cancel(CancelUnstake(request=request_id(1)), NOON), NoSuchRequest)
    refused(bond, lambda: bond.withdraw(WITHDRAW, NOON), NoSuchRequest)


def test_a_stake_returns_to_an_account_of_space_and_nowhere_else() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(30), request_id(1), NOON)

    for account in ("treasury/account/alice.USD", "treasury/withdrawal/alice.SPACE"):
        wrong = Withdraw(request=request_id(1), account=StreamName(account))
        refused(bond, partial(bond.withdraw, wrong, NOON + WEEK), AddressedWrongly)


def test_only_space_is_staked() -> None:
    """A hold of euro would be counted as if it were SPACE."""
    bond = given(Collateral, BOND)

    refused(
        bond, lambda: bond.stake(*stake(DEVICE_BOND, NOON, BOND, account=StreamName("treasury/account/alice.EUR")), NOON),
        AddressedWrongly,
    )  # fmt: skip


# Tiers


def test_a_provider_that_drops_below_pro_at_noon_keeps_pro_until_midnight() -> None:
    found = a_stake(10_000 * SPACE)

    then(
        found, lambda: found.request_unstake(unstake(1), request_id(1), NOON),
        UnstakeRequested(amount=1, request=request_id(1), releasable_at=NOON + WEEK, epoch=TODAY),
        TierChanged(tier="basic", from_epoch=TODAY + 1),
    )  # fmt: skip


def test_a_tier_that_is_regained_before_midnight_was_never_lost() -> None:
    found = a_stake(10_000 * SPACE)
    found.request_unstake(unstake(1), request_id(1), NOON)
    found.pending = []

    found.cancel(CancelUnstake(request=request_id(1)), MIDNIGHT - timedelta(seconds=1))

    assert found.pending[-1] == TierChanged(tier="pro", from_epoch=TODAY + 1)


def test_a_bond_gives_no_tier() -> None:
    bond = given(Collateral, BOND)

    bond.stake(*stake(200_000 * SPACE, NOON, BOND), NOON)

    assert [type(event).__name__ for event in bond.pending] == ["Staked"]


# Cases


def test_a_case_holds_and_takes_once() -> None:
    bond = a_bond()

    then(bond, lambda: bond.hold(hold(100_000)), HeldForCase(case=CASE, from_active=100_000, from_unbonding=()))
    bond.pending = []
    then(bond, lambda: bond.slash(slash(), NOON), Slashed(case=CASE, amount=100_000, left=900_000, epoch=TODAY))
    refused(bond, lambda: bond.release(ReleaseHold(case=CASE)), AlreadySlashed)
    refused(bond, lambda: bond.hold(hold(100_000)), AlreadySlashed)


def test_executing_the_same_case_twice_slashes_once() -> None:
    bond = a_bond()
    bond.hold(hold(100_000))

    bond.slash(slash(), NOON)
    bond.slash(slash(), MIDNIGHT)

    assert bond.holding.slashed == 100_000


def test_a_case_that_holds_nothing_takes_nothing() -> None:
    bond = a_bond()

    refused(bond, lambda: bond.slash(slash(), NOON), NotHeld)
    refused(bond, lambda: bond.release(ReleaseHold(case=CASE)), NotHeld)


def test_an_unstake_requested_before_the_offence_is_still_slashable_on_the_day_of_the_offence() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(DEVICE_BOND), request_id(1), NOON - timedelta(days=1))
    bond.pending = []

    bond.hold(hold(100_000))
    bond.slash(slash(), NOON)

    part = PartOfRequest(request=request_id(1), units=100_000)
    assert bond.pending[0] == HeldForCase(case=CASE, from_active=0, from_unbonding=(part,))
    assert bond.holding.unbonding == 900_000


def test_two_cases_racing_for_one_bond_never_take_more_than_it_holds() -> None:
    bond = a_bond()

    bond.hold(hold(700_000))
    bond.hold(hold(700_000, another_case(2)))
    refused(bond, lambda: bond.hold(hold(700_000, another_case(3))), NothingLeft)
    bond.slash(slash(another_case(2)), NOON)
    bond.slash(slash(), NOON)

    assert (bond.holding.slashed, bond.holding.at_risk) == (DEVICE_BOND, 0)


def test_slashing_a_remainder_of_one_unit_takes_one_unit_and_never_zero() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(DEVICE_BOND - 1), request_id(1), NOON - WEEK)
    bond.withdraw(WITHDRAW, NOON)
    bond.pending = []

    bond.hold(hold(100_000))

    assert bond.pending == [HeldForCase(case=CASE, from_active=1, from_unbonding=())]
    assert slash_of(1, 10) == 1


def test_what_a_case_holds_is_not_unstaked() -> None:
    bond = a_bond()
    bond.hold(hold(400_000))

    refused(bond, lambda: bond.request_unstake(unstake(600_001), request_id(1), NOON), CasePending)
    bond.request_unstake(unstake(600_000), request_id(1), NOON)


def test_a_held_amount_cannot_be_withdrawn_and_the_rest_can() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(DEVICE_BOND), request_id(1), NOON)
    bond.hold(hold(400_000))
    bond.pending = []

    bond.withdraw(WITHDRAW, NOON + WEEK)

    assert bond.pending == [Withdrawn(request=request_id(1), amount=600_000, account=ACCOUNT, epoch=TODAY + 7)]
    refused(bond, lambda: bond.withdraw(WITHDRAW, NOON + WEEK), CasePending)


def test_a_void_restores_exactly_what_was_held() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(600_000), request_id(1), NOON)
    bond.hold(hold(700_000))
    bond.pending = []

    then(bond, lambda: bond.release(ReleaseHold(case=CASE)), HoldReleased(case=CASE))
    assert (bond.holding.free_active, bond.holding.free_of(request_id(1))) == (400_000, 600_000)


def test_a_request_that_is_cancelled_takes_its_hold_along() -> None:
    bond = a_bond()
    bond.request_unstake(unstake(600_000), request_id(1), NOON)
    bond.hold(hold(700_000))

    bond.cancel(CancelUnstake(request=request_id(1)), NOON)

    assert (bond.holding.active, bond.holding.free_active) == (DEVICE_BOND, 300_000)


def test_what_was_at_risk_when_an_epoch_began_is_remembered() -> None:
    bond = a_bond(at=NOON - timedelta(days=3))
    bond.stake(*stake(7, NOON, BOND, "h-2"), NOON)
    bond.request_unstake(unstake(100), request_id(1), NOON)

    found = [bond.holding.at_start_of(TODAY + days) for days in (-3, -2, 0, 1)]

    assert found == [0, DEVICE_BOND, DEVICE_BOND, DEVICE_BOND + 7]


def test_a_long_history_keeps_what_a_case_may_still_ask_for() -> None:
    bond = a_bond(at=NOON - timedelta(days=100))
    for day in range(100):
        at = NOON - timedelta(days=99 - day)
        bond.stake(*stake(1, at, BOND, f"day-{day}"), at)

    assert len(bond.holding.levels) < 16
    assert [bond.holding.at_start_of(TODAY - days) for days in (0, 7)] == [DEVICE_BOND + 99, DEVICE_BOND + 92]


def test_a_tombstoned_key_neither_stakes_nor_registers() -> None:
    bond = a_bond()
    then(bond, lambda: bond.tombstone(Tombstone(case=CASE, key=DEVICE)), KeyTombstoned(case=CASE, key=DEVICE))

    refused(bond, lambda: bond.stake(*stake(1, NOON, BOND, "h-2"), NOON), Tombstoned)
    refused(bond, lambda: bond.register(a_registration(), NOBODY), Tombstoned)


def test_the_key_of_an_oracle_that_lied_registers_no_device() -> None:
    oracle = given(Collateral, collateral_stream("oracle", DEVICE), KeyTombstoned(case=CASE, key=DEVICE))

    refused(bond := a_bond(), lambda: bond.register(a_registration(), oracle), Tombstoned)


# Devices

ASKED = RegistrationAsked(**dict(a_registration()))
REGISTERED = DeviceRegistered(first_epoch=TODAY + 1, **dict(ASKED))


def registered(*more: object) -> Collateral:
    return given(Collateral, BOND, *a_bond_events(), ASKED, REGISTERED, *more)  # type: ignore[arg-type]


def a_bond_events() -> tuple[Staked]:
    held, account, cause = stake(DEVICE_BOND, NOON - timedelta(days=3), BOND)
    return (
        Staked(
            amount=DEVICE_BOND, hold=held.hold, account=account, active=DEVICE_BOND, epoch=TODAY - 3, cause=cause
        ),
    )  # fmt: skip


def test_a_device_registered_at_noon_has_no_expected_slots_until_midnight() -> None:
    bond = a_bond()
    then(bond, lambda: bond.register(a_registration(), NOBODY), ASKED)
    bond.pending = []

    then(bond, lambda: bond.admit(NOON, is_claimed=True), REGISTERED)
    assert REGISTERED.first_epoch == TODAY + 1


def test_a_device_registered_at_midnight_counts_at_once() -> None:
    bond = given(Collateral, BOND, *a_bond_events(), ASKED)

    bond.admit(MIDNIGHT, is_claimed=True)

    assert bond.registered is not None
    assert bond.registered.first_epoch == TODAY + 1


def test_a_device_without_its_bond_is_not_registered() -> None:
    bond = given(Collateral, BOND)

    refused(bond, lambda: bond.register(a_registration(), NOBODY), BelowMinimum)


def test_a_registered_device_registers_again_with_the_same_only() -> None:
    bond = registered()

    bond.register(a_registration(), NOBODY)
    refused(bond, lambda: bond.register(a_registration(wallet="0x" + "b" * 40), NOBODY), AlreadyRegistered)
    assert bond.pending == []


def test_nobody_is_admitted_who_did_not_ask_or_whose_claims_are_not_its_own() -> None:
    refused(bond := a_bond(), lambda: bond.admit(NOON, is_claimed=True), NotAsked)
    bond.register(a_registration(), NOBODY)

    refused(bond, lambda: bond.admit(NOON, is_claimed=False), NotClaimed)


def test_a_declined_device_may_ask_again() -> None:
    bond = given(Collateral, BOND, *a_bond_events(), ASKED)
    decline = DeclineDevice(cause=Label("BoundElsewhere"))

    then(bond, lambda: bond.decline(decline), RegistrationDeclined(cause=Label("BoundElsewhere")))
    bond.register(a_registration(serial="another"), NOBODY)
    assert bond.asked is not None
    refused(given(Collateral, BOND), lambda: given(Collateral, BOND).decline(decline), NotAsked)


def test_a_device_is_deregistered_once() -> None:
    bond = registered()

    then(bond, bond.deregister, DeviceDeregistered(device_key=DEVICE, serial_hash=digest("serial")))
    refused(other := a_bond(), other.deregister, NotRegistered)


def test_a_case_suspends_once_and_its_owner_resumes() -> None:
    bond = registered()
    then(bond, lambda: bond.suspend(SuspendDevice(cause=CASE)), DeviceSuspended(cause=CASE))
    bond.pending = []
    then(bond, lambda: bond.resume(NOON), DeviceResumed(first_epoch=TODAY + 1))

    bond.suspend(SuspendDevice(cause=CASE))

    assert not bond.is_suspended


def test_a_device_below_its_bond_is_not_resumed_until_it_is_topped_up() -> None:
    bond = registered(DeviceSuspended(cause=CASE))
    bond.hold(hold(100_000))
    bond.slash(slash(), NOON)

    refused(bond, lambda: bond.resume(NOON), BelowMinimum)
    bond.stake(*stake(100_000, NOON, BOND, "h-2"), NOON)
    bond.resume(NOON)


def test_only_a_suspended_device_is_resumed_and_only_a_registered_one_suspended() -> None:
    refused(bond := registered(), lambda: bond.resume(NOON), NotSuspended)
    refused(other := a_bond(), lambda: other.resume(NOON), NotRegistered)
    refused(other, lambda: other.suspend(SuspendDevice(cause=CASE)), NotRegistered)


# Claims

SERIAL = serial_stream(digest("serial"))


def test_a_serial_number_belongs_to_one_bond() -> None:
    claim = given(Claim, SERIAL)

    then(claim, lambda: claim.claim(SubjectName(DEVICE)), SerialClaimed(device=SubjectName(DEVICE)))
    refused(claim, lambda: claim.claim(SubjectName("another")), BoundElsewhere)


def test_a_serial_number_is_freed_when_its_device_has_left_and_no_case_follows_it() -> None:
    claim, bond = given(Claim, SERIAL, SerialClaimed(device=SubjectName(DEVICE))), registered()
    refused(claim, lambda: claim.free(bond), StillRegistered)
    bond.deregister()
    bond.hold(hold(1))
    refused(claim, lambda: claim.free(bond), CasePending)
    bond.release(ReleaseHold(case=CASE))

    then(claim, lambda: claim.free(bond), SerialFreed(device=SubjectName(DEVICE)))


def test_a_tombstoned_key_is_never_free_again() -> None:
    claim = given(Claim, key_claim_stream(DEVICE), SerialClaimed(device=SubjectName(DEVICE)))
    bond = registered(KeyTombstoned(case=CASE, key=DEVICE))
    bond.deregister()

    refused(claim, lambda: claim.free(bond), Tombstoned)


def test_an_owner_is_known_in_lower_case() -> None:
    """As the stream of the wallet's stake is named."""
    bond = given(
        Collateral, BOND, *a_bond_events(), REGISTERED.model_copy(update={"wallet": Address(WALLET.upper().replace("X", "x"))})
    )

    assert bond.wallet == WALLET
