"""A context's policy: what may be adopted, when it is in force, and what a halt stops until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contracts import (
    AdoptParameter,
    Command,
    Halt,
    Lift,
    ParameterAdopted,
    ParameterName,
    Parameters,
    ParameterValue,
    command_class,
    contexts,
    languages,
    own_class,
    parameters_class,
    policy_stream,
)
from contracts.identity import RevokeKey
from contracts.inference import OpenRequest, SettleReceipt
from contracts.rewards import CloseEpoch, OpenEpoch, RewardsParameters, SplitFee
from contracts.staking import RequestUnstake, Stake, StakingParameters
from contracts.treasury import Burn, Mint, RequestWithdrawal, SubmitPayout, TreasuryParameters
from domain._policy import (
    AlreadyOver,
    HaltTooLong,
    NotInScope,
    NotMutable,
    NotThePolicy,
    OlderVersion,
    OutOfBounds,
    Policy,
    halted,
    scopes,
)
from tests.domain.given import given, refused, then

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def of(context: str, *changes: tuple[str, Any]) -> Policy:
    """A policy that has adopted these, a day each."""
    policy = Policy(policy_stream(context))
    for n, (name, value) in enumerate(changes):
        policy.adopt(adopting(context, name, value, n + 1), NOW + n * DAY)
    return policy


def adopting(context: str, name: str, value: ParameterValue, version: int = 1) -> AdoptParameter:
    return own_class(AdoptParameter, context)(name=ParameterName(name), value=value, version=version)


def halting(context: str, scope: str, until: datetime) -> Halt:
    return own_class(Halt, context).read({"scope": scope, "until": until.isoformat().replace("+00:00", "Z")})


def split(provider: int, model: int, oracles: int, treasury: int) -> dict[str, int]:
    return {"provider": provider, "model": model, "oracles": oracles, "treasury": treasury}


def test_what_was_never_adopted_is_the_white_papers_and_names_no_policy() -> None:
    found = of("rewards").parameters(RewardsParameters)

    assert found == RewardsParameters()
    assert (found.burn_percent, found.policy_version) == (20, None)


def test_a_parameter_that_is_adopted_is_in_force_from_then_on() -> None:
    policy = of("rewards", ("burn_percent", 25), ("split_percent", split(55, 20, 10, 15)), ("burn_percent", 30))

    found = policy.parameters(RewardsParameters)

    assert (found.burn_percent, found.split_percent.provider, found.policy_version) == (30, 55, 4)
    assert [policy.parameters_at(RewardsParameters, NOW + n * DAY / 2).burn_percent for n in range(-1, 5)] == [
        20, 25, 25, 25, 25, 30,
    ]  # fmt: skip


def test_adopting_twice_records_once_and_names_the_next_policy() -> None:
    policy = Policy(policy_stream("rewards"))
    command = adopting("rewards", "burn_percent", 25, 7)

    then(policy, lambda: policy.adopt(command, NOW), _adopted(command))


def _adopted(command: AdoptParameter) -> Any:
    return own_class(ParameterAdopted, "rewards")(**dict(command), policy_version=2, at=NOW)


@pytest.mark.parametrize(
    ("context", "name", "value"),
    [
        ("rewards", "burn_percent", 51),
        ("rewards", "protocol_fee_bp", 301),
        ("inference", "protocol_fee_bp", 301),
        ("rewards", "burn_percent", {"provider": 3}),
        ("rewards", "split_percent", 60),
        ("rewards", "split_percent", split(60, 20, 10, 11)),
        ("rewards", "split_percent", split(71, 9, 10, 10)),
        ("rewards", "split_percent", {"provider": 60, "model": 20, "oracles": 20}),
        ("rewards", "storage_split_percent", split(75, 5, 10, 10)),
        ("staking", "downtime_threshold_percent", 1),
        ("staking", "downtime_slash_percent", 0),
        ("staking", "bad_proof_slash_percent", 9),
        ("staking", "tier_minimum", {"basic": 10**8, "pro": 10**8, "enterprise": 10**9}),
        ("staking", "tier_minimum", {"basic": 999_999, "pro": 10**8, "enterprise": 10**9}),
        ("treasury", "review_threshold_usd_cents", 50_001),
        ("treasury", "payout_single_max_usd_cents", 49_999),
        ("treasury", "payout_daily_max_usd_cents", 49_999),
    ],
)
def test_a_value_outside_its_bounds_is_refused(context: str, name: str, value: Any) -> None:
    """Alone, beside the others (shares sum to 100, tiers rise, the threshold is not above the single maximum), or too far."""
    policy = of(context)

    refusal = refused(policy, lambda: policy.adopt(adopting(context, name, value), NOW), OutOfBounds)

    assert refusal.field == "value"
    assert len(str(refusal)) > 10


@pytest.mark.parametrize(("burn", "fee"), [(0, 0), (50, 300)])
def test_the_bounds_themselves_may_be_adopted(burn: int, fee: int) -> None:
    found = of("rewards", ("burn_percent", burn), ("protocol_fee_bp", fee)).parameters(RewardsParameters)

    assert (found.burn_percent, found.protocol_fee_bp) == (burn, fee)


def test_a_share_moves_ten_points_at_a_time() -> None:
    policy = of("rewards", ("split_percent", split(70, 10, 10, 10)))

    policy.adopt(adopting("rewards", "split_percent", split(80, 0, 10, 10), 2), NOW)

    assert policy.parameters(RewardsParameters).split_percent.provider == 80


def test_the_single_maximum_may_fall_once_the_threshold_has() -> None:
    policy = of("treasury", ("review_threshold_usd_cents", 20_000), ("payout_single_max_usd_cents", 20_000))

    found = policy.parameters(TreasuryParameters)

    assert (found.review_threshold_usd_cents, found.payout_single_max_usd_cents) == (20_000, 20_000)


@pytest.mark.parametrize("context", contexts())
def test_an_unknown_parameter_is_not_mutable(context: str) -> None:
    policy = of(context)

    refusal = refused(policy, lambda: policy.adopt(adopting(context, "quorum_percent", 1), NOW), NotMutable)

    assert refusal.field == "name"
    assert all(name in str(refusal) for name in parameters_class(context).names())


@pytest.mark.parametrize("name", ["policy_version", "model_config", "names"])
def test_what_is_no_parameter_of_the_class_is_none(name: str) -> None:
    policy = of("rewards")

    refused(policy, lambda: policy.adopt(adopting("rewards", name, 3), NOW), NotMutable)


def test_a_version_that_is_not_newer_is_refused() -> None:
    """The same again is no news; what governance counted before, or another value of the same count, comes too late."""
    policy = of("rewards", ("burn_percent", 25))
    policy.adopt(adopting("rewards", "burn_percent", 30, 4), NOW)
    policy.adopt(adopting("rewards", "burn_percent", 30, 4), NOW)

    for value, version in ((25, 1), (31, 4), (20, 3)):
        command = adopting("rewards", "burn_percent", value, version)
        refused(policy, lambda command=command: policy.adopt(command, NOW), OlderVersion)  # type: ignore[misc]

    assert policy.version == 2


def test_a_policy_has_one_stream() -> None:
    policy = Policy("rewards/policy/mine")

    refused(policy, lambda: policy.adopt(adopting("rewards", "burn_percent", 25), NOW), NotThePolicy)
    refused(policy, lambda: policy.halt(halting("rewards", "rewards", NOW + DAY), NOW), NotThePolicy)
    refused(policy, lambda: policy.lift(own_class(Lift, "rewards")()), NotThePolicy)


def test_bounds_of_today_do_not_judge_what_was_adopted_then() -> None:
    """`apply` has no rule: a value that later code would refuse is read as it was decided."""
    beyond = _adopted(adopting("rewards", "burn_percent", 90))

    policy = given(Policy, policy_stream("rewards"), beyond)

    assert policy.parameters(RewardsParameters).burn_percent == 90


def test_a_snapshot_holds_all_of_it() -> None:
    policy = of("staking", ("tier_minimum", {"basic": 2 * 10**7, "pro": 10**8, "enterprise": 10**9}), ("dispute_seconds", 7200))
    policy.halt(halting("staking", "staking", NOW + DAY), NOW)
    form = TypeAdapter(Policy)

    again = form.validate_json(form.dump_json(policy))

    assert again == policy
    assert again.parameters(StakingParameters) == policy.parameters(StakingParameters)
    assert again.halts == policy.halts


# Halts

new_work: list[tuple[type[Command], str]] = [
    (Mint, "minting"), (RequestWithdrawal, "withdrawals"), (Stake, "staking"), (OpenEpoch, "rewards"),
    (OpenRequest, "inference"),
    (command_class("identity.ProposeKey"), "identity"), (command_class("providers.RegisterProvider"), "providers"),
]  # fmt: skip
in_flight: list[type[Command]] = [Burn, SubmitPayout, RequestUnstake, CloseEpoch, SplitFee, SettleReceipt, RevokeKey]


@pytest.mark.parametrize(("command", "scope"), new_work, ids=lambda found: getattr(found, "__name__", found))
def test_a_halt_refuses_new_work_until_it_ends(command: type[Command], scope: str) -> None:
    """In its last microsecond it does; at its end it is over, without anybody lifting it."""
    context, until = command.wire.context, NOW + DAY
    policy = of(context)
    policy.halt(halting(context, "all" if scope == context and scope in ("identity", "providers") else scope, until), NOW)

    refusal = refused(
        policy, lambda: policy.require_running(command, until - timedelta(microseconds=1)), type(halted(scope)("x"))
    )  # fmt: skip
    policy.require_running(command, until)

    assert type(refusal).__name__ == f"{scope.capitalize()}Halted"
    assert "2026-11-30T12:00:00" in str(refusal)


@pytest.mark.parametrize("context", contexts())
def test_a_halt_of_everything_refuses_the_new_work_of_every_context(context: str) -> None:
    policy = of(context)
    policy.halt(halting(context, "all", NOW + DAY), NOW)

    said = [cls for cls in languages() if issubclass(cls, Command) and cls.wire.context == context]
    for command in said:
        if command.wire.halted_by:
            refused(
                policy, lambda command=command: policy.require_running(command, NOW), type(halted(command.wire.halted_by)("x"))
            )  # type: ignore[misc]
        else:
            policy.require_running(command, NOW)


@pytest.mark.parametrize("command", in_flight, ids=lambda cls: cls.__name__)
def test_what_is_in_flight_goes_on(command: type[Command]) -> None:
    policy = of(command.wire.context)
    policy.halt(halting(command.wire.context, "all", NOW + DAY), NOW)

    policy.require_running(command, NOW)


def test_a_pause_of_minting_stops_no_withdrawal() -> None:
    policy = of("treasury")
    policy.halt(halting("treasury", "minting", NOW + DAY), NOW)

    policy.require_running(RequestWithdrawal, NOW)


def test_what_a_pause_does_not_concern_cannot_be_halted_by_it() -> None:
    """It would be recorded and stop nothing."""
    policy = of("treasury")

    refusal = refused(policy, lambda: policy.halt(halting("treasury", "inference", NOW + DAY), NOW), NotInScope)

    assert "minting" in str(refusal)
    assert scopes("treasury") == ("minting", "withdrawals", "all")


def test_a_halt_is_in_the_future_and_ends_within_seven_days() -> None:
    policy = of("treasury")

    policy.halt(halting("treasury", "minting", NOW + 7 * DAY), NOW)

    refused(policy, lambda: policy.halt(halting("treasury", "withdrawals", NOW), NOW), AlreadyOver)
    too_long = halting("treasury", "withdrawals", NOW + 7 * DAY + timedelta(microseconds=1))
    refused(policy, lambda: policy.halt(too_long, NOW), HaltTooLong)


def test_lifting_ends_one_halt_or_all_of_them_and_nothing_twice() -> None:
    policy, lift = of("treasury"), own_class(Lift, "treasury")
    for scope in ("minting", "withdrawals", "all"):
        policy.halt(halting("treasury", scope, NOW + DAY), NOW)
        policy.halt(halting("treasury", scope, NOW + DAY), NOW)

    policy.lift(lift(scope="all"))
    policy.lift(lift(scope="all"))
    left = dict(policy.halts)
    policy.lift(lift())
    policy.lift(lift())

    assert sorted(left) == ["minting", "withdrawals"]
    assert policy.halts == {}
    assert policy.version == 5


steps = st.lists(
    st.tuples(st.sampled_from(["burn_percent", "protocol_fee_bp"]), st.integers(0, 60), st.integers(1, 6)), max_size=20
)


@for_all(steps)
def test_whatever_is_asked_the_versions_rise_and_the_values_are_within_bounds(asked: list[tuple[str, int, int]]) -> None:
    policy, newest = Policy(policy_stream("rewards")), {"burn_percent": 0, "protocol_fee_bp": 0}
    for name, value, version in asked:
        try:
            policy.adopt(adopting("rewards", name, value, version), NOW)
        except (OutOfBounds, OlderVersion):
            continue
        assert version >= newest[name]
        newest[name] = version
        assert getattr(policy.parameters(RewardsParameters), name) == value <= 50 or name == "protocol_fee_bp"

    again = given(Policy, policy.stream, *policy.pending)
    assert isinstance(again.parameters(RewardsParameters), Parameters)
    assert again.parameters(RewardsParameters) == policy.parameters(RewardsParameters)
