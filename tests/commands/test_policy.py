"""What a context was told to decide by is what it decides by; what it was told to stop it stops, and nothing else."""

import types
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from adapters.keys import verify
from commands import Asked, Stands, service_class
from contracts import (
    AdoptParameter,
    Command,
    CommandRecord,
    Event,
    Halt,
    Lift,
    ParameterName,
    Record,
    contexts,
    own_class,
    parse_command,
    policy_stream,
    read_event,
    uuid7,
)
from contracts._policy import ParameterSetRecord
from contracts.inference import ReceiptSettled
from contracts.rewards import FeeSplit, Split
from contracts.staking import SPACE, CaseAttested, CaseOpened, HoldForCase, ReviewTier, Uptime, case_stream
from contracts.treasury import Mint, Reference, RequestWithdrawal, RouteWithdrawal, withdrawal_stream
from domain import Refused
from domain._policy import Policy
from domain.inference import NotHeld
from domain.rewards.fees import WrongProtocolFee
from domain.staking import NotBreached, OtherTerms
from domain.treasury import OverDailyLimit, OverSingleLimit, StaleReserves
from tests.commands.carrying import Elsewhere
from tests.commands.test_identity import Paper
from tests.commands.test_inference import Desk as InferenceDesk
from tests.commands.test_rewards import FEES, begun, fee
from tests.commands.test_rewards import Desk as RewardsDesk
from tests.commands.test_staking import BOND, CASE, LATER, PANEL
from tests.commands.test_staking import Desk as StakingDesk
from tests.commands.test_treasury import ALICE, COIN, WALLET, coins
from tests.commands.test_treasury import Desk as TreasuryDesk
from tests.domain.given import did, digest
from tests.domain.staking import MIDNIGHT, NOON, ROOT, TODAY, an_accusation, finding
from tests.domain.staking import WALLET as STAKER
from tests.domain.test_inference import NOW, opening
from tests.domain.test_receipts import CONSIDERED, FUNDS, a_receipt, after, an_end, terms
from tests.domain.test_treasury_withdrawals import SEALED

DAY = timedelta(days=1)


def asked(
    streams: Paper, context: str, command: Command, now: datetime, subject: str | None = None, stands: Stands | None = None
) -> list[Any]:
    """The events. Raises Refused."""
    service, stream = service_class(context)(streams, verify), subject or policy_stream(context)
    record = CommandRecord.encode(command, subject=stream, source=did("p"), network="dev", id=uuid7(1, bytes(10)), time=now)
    parsed = parse_command(record, stream.encode(), [("signature", b"x")])
    aggregate = service.decide(type(command).read(parsed.data), Asked(parsed, now, stands=stands))
    assert aggregate is not None
    events, aggregate.pending = aggregate.pending, []
    return events


def adopt(streams: Paper, name: str, value: Any, now: datetime, version: int = 1) -> list[Any]:
    """`name` is `<context>.<parameter>`."""
    context, _, parameter = name.partition(".")
    command = own_class(AdoptParameter, context)(name=ParameterName(parameter), value=value, version=version)
    return asked(streams, context, command, now)


def halt(streams: Paper, context: str, scope: Any, now: datetime, until: datetime) -> list[Any]:
    return asked(streams, context, own_class(Halt, context)(scope=scope, until=until), now)


def refuses(name: str, ask: Callable[[], object]) -> None:
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            ask()
        assert type(caught.value).__name__ == name


@pytest.mark.parametrize("context", contexts())
def test_every_context_adopts_halts_and_lifts(context: str) -> None:
    """By the one mechanism: no context has a line of its own for it."""
    streams = Paper()

    refuses("NotMutable", lambda: adopt(streams, f"{context}.nothing", 1, NOON))
    [halted] = halt(streams, context, "all", NOON, NOON + DAY)
    again = halt(streams, context, "all", NOON, NOON + DAY)
    [lifted] = asked(streams, context, own_class(Lift, context)(), NOON)

    assert (halted.wire.type, again, lifted.wire.type) == (f"{context}.Halted", [], f"{context}.Lifted")
    assert streams.load(Policy, policy_stream(context)).version == 2


# Rewards


def divided(desk: RewardsDesk, n: int, price: int, fee_bp: int = 100) -> FeeSplit:
    command = fee(n, price).model_copy(update={"protocol_fee": -(-price * fee_bp // 10_000)})
    [event] = desk.ask(command, FEES)
    assert isinstance(event, FeeSplit)
    return event


def streams_of(desk: Any) -> Any:
    return desk.service._streams


SPLIT = {"provider": 55, "model": 20, "oracles": 10, "treasury": 15}


def test_a_change_of_the_split_applies_to_receipts_decided_after_it() -> None:
    desk = begun()
    before = divided(desk, 1, 1_000)
    adopt(streams_of(desk), "rewards.split_percent", SPLIT, desk.now)

    after = divided(desk, 2, 1_000)
    again = desk.ask(fee(1, 1_000), FEES)

    assert (before.provider_share, before.policy_version) == (600, None)
    assert (after.provider_share, after.split, after.policy_version) == (550, Split(**SPLIT), 2)
    assert again == []


def test_half_of_the_treasurys_receipts_are_burned_once_that_is_adopted() -> None:
    desk = begun()
    adopt(streams_of(desk), "rewards.burn_percent", 50, desk.now)

    event = divided(desk, 1, 100_000)

    assert (event.treasury_share + event.protocol_fee, event.burn) == (11_000, 5_500)


def test_a_bill_of_before_is_divided_by_the_fee_that_was_paid_on_it() -> None:
    desk = begun()
    adopt(streams_of(desk), "rewards.protocol_fee_bp", 250, desk.now)

    assert divided(desk, 1, 1_000, fee_bp=100).protocol_fee == 10
    assert divided(desk, 2, 1_000, fee_bp=250).protocol_fee == 25
    with pytest.raises(WrongProtocolFee):
        divided(desk, 3, 1_000, fee_bp=200)


moves = st.one_of(
    st.tuples(st.just("fee"), st.integers(1, 10**6)),
    st.tuples(st.just("burn"), st.integers(0, 50)),
    st.tuples(st.just("shift"), st.integers(-10, 10)),
)  # fmt: skip


@for_all(st.lists(moves, max_size=30))
def test_whatever_is_adopted_between_fees_nothing_is_lost_and_each_has_the_split_of_its_decision(
    asked_for: Sequence[tuple[str, int]],
) -> None:
    desk, shares, version, paid, given, carried = begun(), [60, 20, 10, 10], 1, 0, 0, 0
    burn = 20
    for n, (what, number) in enumerate(asked_for):
        if what == "fee":
            event = divided(desk, n, number)
            paid += event.price.units + event.protocol_fee
            given += sum((event.provider_share, event.model_share, event.oracle_share, event.burn, event.buyback, event.kept))
            carried = event.rounding
            assert (event.split, event.policy_version) == (_split(shares), version if version > 1 else None)
            assert 0 <= 100 * event.burn - burn * (event.treasury_share + event.protocol_fee) + 99 < 200
        elif what == "burn":
            adopt(streams_of(desk), "rewards.burn_percent", burn := number, desk.now, n + 1)
            version += 1
        elif min(wanted := [shares[0] + number, shares[1] - number, *shares[2:]]) >= 0:
            adopt(streams_of(desk), "rewards.split_percent", dict(_split(wanted)), desk.now, n + 1)
            shares, version = wanted, version + 1

    assert paid == given + carried


def _split(shares: Sequence[int]) -> Split:
    return Split(provider=shares[0], model=shares[1], oracles=shares[2], treasury=shares[3])


# Staking


def test_a_breach_is_judged_by_the_threshold_of_the_day_on_which_it_began() -> None:
    desk = StakingDesk()
    desk.bond()
    desk.register()
    adopt(desk.streams, "staking.downtime_threshold_percent", 6, NOON)

    [opened] = desk.ask(an_accusation(panel=PANEL), case_stream(CASE), LATER)

    assert isinstance(opened, CaseOpened)
    assert (opened.percent, opened.policy_version, opened.threshold_percent) == (10, 1, None)


def test_what_was_adopted_before_the_day_decides_whether_there_is_a_breach_and_what_it_costs() -> None:
    desk = StakingDesk()
    desk.bond()
    desk.register()
    for n, (name, value) in enumerate([("downtime_slash_percent", 20), ("downtime_threshold_percent", 6)]):
        adopt(desk.streams, f"staking.{name}", value, MIDNIGHT - DAY, n + 1)
    accusation = an_accusation(panel=PANEL, percent=20, policy_version=3)
    more = accusation.model_copy(update={"uptime": Uptime(expected=288, excused=0, missed=18, root=ROOT)})

    desk.refuses(OtherTerms, an_accusation(panel=PANEL), case_stream(CASE), LATER)
    desk.refuses(NotBreached, accusation, case_stream(CASE), LATER)
    [opened] = desk.ask(more, case_stream(CASE), LATER)
    for oracle in PANEL[:5]:
        said = desk.ask(finding(missed=18), case_stream(CASE), LATER, by=oracle)

    assert (opened.threshold_percent, opened.policy_version) == (6, 3)
    assert isinstance(said[-1], CaseAttested)
    assert [share.units for share in said[-1].amounts] == [20 * SPACE]


def test_a_parameter_changed_while_a_case_is_open_does_not_change_the_case() -> None:
    desk = StakingDesk()
    desk.bond()
    desk.register()
    desk.accuse(signatures=4)
    names = [
        ("downtime_slash_percent", 20), ("downtime_threshold_percent", 20), ("dispute_seconds", 3_600),
        ("appeal_seconds", 3_600),
    ]  # fmt: skip
    for name, value in names:
        adopt(desk.streams, f"staking.{name}", value, LATER)

    attested = desk.ask(finding(), case_stream(CASE), LATER, by=PANEL[4])[-1]

    assert isinstance(attested, CaseAttested)
    assert [share.units for share in attested.amounts] == [10 * SPACE]
    assert attested.dispute_until == LATER + DAY
    desk.ask(HoldForCase(case=CASE, amount=10 * SPACE), BOND, LATER)


def test_a_tier_needs_what_was_adopted_from_the_next_change_or_review_on() -> None:
    desk, stream = StakingDesk(), f"staking/collateral/stake/{STAKER}"
    desk.stake(1_500 * SPACE, stream, NOON)
    minimum = {"basic": 2_000 * SPACE, "pro": 10_000 * SPACE, "enterprise": 100_000 * SPACE}
    adopt(desk.streams, "staking.tier_minimum", minimum, NOON)

    [changed] = desk.ask(ReviewTier(), stream)
    again = desk.ask(ReviewTier(), stream)

    assert (changed.tier, changed.from_epoch, changed.policy_version) == ("free", TODAY + 1, 2)
    assert again == []


# Treasury


def test_limits_that_were_adopted_decide_what_is_paid_without_a_review() -> None:
    desk = TreasuryDesk()
    desk.attest(10**6)
    desk.configure()
    for n, (name, value) in enumerate(
        [("review_threshold", 10_000), ("payout_single_max", 20_000), ("payout_daily_max", 30_000)]
    ):
        adopt(desk.paper, f"treasury.{name}_usd_cents", value, desk.now, n + 1)
    for name in ("alice.1", "alice.2"):
        desk.escrowed(name, 15_000)

    with pytest.raises(OverSingleLimit):
        desk.reserve("alice.3", 20_001)
    [first] = desk.reserve("alice.1", 15_000)
    with pytest.raises(OverDailyLimit):
        desk.reserve("alice.2", 15_001)
    [review] = desk.ask(RouteWithdrawal(usd_cents=15_000), withdrawal_stream("alice.1"))

    assert getattr(first, "policy_version", None) == 4
    assert (getattr(review, "reasons", None), getattr(review, "policy_version", None)) == (("above_threshold",), 4)


def test_reserves_are_as_fresh_as_was_adopted() -> None:
    desk = TreasuryDesk()
    desk.attest(10**6)
    desk.configure()
    adopt(desk.paper, "treasury.reserves_age_max_seconds", 3_600, desk.now)
    desk.now += timedelta(seconds=3_601)

    with pytest.raises(StaleReserves):
        desk.mint("ch_1", 100)


@pytest.mark.parametrize(("held", "paused"), [(95_000, False), (94_999, True)])
def test_a_deficit_of_exactly_what_was_adopted_pauses_nothing(held: int, paused: bool) -> None:
    desk = TreasuryDesk()
    desk.attest(100_000)
    desk.configure()
    desk.mint("ch_1", 100_000)
    adopt(desk.paper, "treasury.deficit_pause_percent", 5, desk.now)
    desk.now += timedelta(minutes=1)

    desk.attest(held)

    assert [type(event).__name__ for _, event in desk.history[-2:]].count("MintingPaused") == paused


# Inference


def test_a_request_is_billed_at_the_fee_of_its_opening() -> None:
    """What was held for it covers no other."""
    before, during = InferenceDesk(), InferenceDesk()
    adopt(streams_of(before), "inference.protocol_fee_bp", 300, after(0))
    with pytest.raises(NotHeld):
        before.ask(opening(considered=CONSIDERED, funds=FUNDS))
    opened = during.opened()
    adopt(streams_of(during), "inference.protocol_fee_bp", 300, after(1))
    during.ask(an_end(), now=after(9))
    during.ask(a_receipt(opened=opened), "alice", after(10))
    [bill] = during.ask(terms(), "process", after(11))

    assert isinstance(bill, ReceiptSettled)
    assert bill.protocol_fee == -(-bill.price // 100)
    more = FUNDS.model_copy(update={"amount": FUNDS.amount // 101 * 103})
    [first, _] = before.ask(opening(considered=CONSIDERED, funds=more))
    assert (first.protocol_fee_bp, first.policy_version) == (300, 2)


# Halts


def test_a_pause_of_minting_stops_mints_and_nothing_that_is_under_way() -> None:
    desk = TreasuryDesk()
    desk.attest(10**6)
    desk.configure()
    desk.issue("ch_1", 40_000)
    halt(desk.paper, "treasury", "minting", desk.now, desk.now + DAY)

    refuses("MintingHalted", lambda: desk.mint("ch_2", 100))
    desk.escrowed("alice.1", 20_000)
    desk.reserve("alice.1", 20_000)
    desk.now += DAY
    desk.attest(10**6)

    assert desk.ask(Mint(amount=coins(100), reference=Reference("capital-1"), to=WALLET), COIN)


def test_a_halt_of_withdrawals_lets_those_that_were_asked_for_go_on() -> None:
    desk = TreasuryDesk()
    desk.attest(10**6)
    desk.configure()
    desk.issue("ch_1", 40_000)
    stream = desk.escrowed("alice.1", 20_000)
    halt(desk.paper, "treasury", "withdrawals", desk.now, desk.now + DAY)
    asking = RequestWithdrawal(amount=coins(1), destination=SEALED, destination_digest=digest("iban"))

    refuses("WithdrawalsHalted", lambda: desk.ask(asking, withdrawal_stream("alice.2"), by=ALICE))
    desk.reserve("alice.1", 20_000)
    [routed] = desk.ask(RouteWithdrawal(usd_cents=20_000), stream)

    assert type(routed).__name__ == "WithdrawalApproved"


def test_a_halt_of_staking_traps_nobody() -> None:
    desk = StakingDesk()
    desk.bond()
    desk.register()
    desk.accuse(signatures=4)
    halt(desk.streams, "staking", "staking", LATER, LATER + DAY)

    refuses("StakingHalted", lambda: desk.stake(SPACE, BOND, LATER))
    said = desk.ask(finding(), case_stream(CASE), LATER, by=PANEL[4])

    assert type(said[-1]).__name__ == "CaseAttested"


def test_lifting_lets_new_work_begin_at_once() -> None:
    desk = InferenceDesk()
    halt(streams_of(desk), "inference", "inference", NOW, NOW + DAY)
    refuses("InferenceHalted", desk.opened)
    asked(streams_of(desk), "inference", own_class(Lift, "inference")(scope="inference"), NOW)

    assert desk.opened()


# What was recorded before there were policies


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("staking.TierChanged", {"tier": "basic", "from_epoch": 3}),
        ("treasury.MintingPaused", {"cause": "deficit"}),
        ("treasury.WithdrawalRejected", {"cause": "unanswered"}),
    ],
)
def test_an_event_recorded_before_reads_as_it_did_and_is_written_the_same(type: str, data: dict[str, Any]) -> None:
    """No byte of a record, a view's row or a digest changes for it."""
    event = read_event({"dataschema": f"urn:spaceos:{type}:1", "data": data})

    assert event.model_dump(mode="json", exclude_none=True) == data
    assert getattr(event, "policy_version", None) is None


# What governance set, carried


ParameterSet = types.new_class(
    "ParameterSet", (Event,), {},
    lambda body: body.update({"__module__": "contracts.governance", "__annotations__": {"value": int, "version": int}}),
)  # fmt: skip
"""As the context that is to come will record it."""


def was_set(elsewhere: Elsewhere, value: int = 7, version: int = 1, name: str = "staking.downtime_threshold_percent") -> Record:
    return elsewhere.record(ParameterSet(value=value, version=version), f"governance/parameter/{name}", NOON)  # type: ignore[call-arg]


def adopting(record: Record, value: int = 7, version: int = 1) -> Command:
    return own_class(AdoptParameter, "staking")(
        name=ParameterName("downtime_threshold_percent"), value=value, version=version,
        cause=ParameterSetRecord.of(record.value, record.signature),
    )  # fmt: skip


def test_what_governance_set_is_adopted_and_names_its_record() -> None:
    streams, elsewhere = Paper(), Elsewhere("dev")
    record = was_set(elsewhere)

    [adopted] = asked(streams, "staking", adopting(record), NOON, stands=elsewhere.stands)

    assert (adopted.value, adopted.cause) == (7, record.id)
    assert asked(streams, "staking", adopting(record), NOON, stands=elsewhere.stands) == []


def test_what_differs_from_its_cause_is_adopted_by_nobody() -> None:
    streams, elsewhere = Paper(), Elsewhere("dev")
    record = was_set(elsewhere)
    others = [
        adopting(record, value=8), adopting(record, version=2),
        adopting(was_set(elsewhere, name="staking.downtime_slash_percent")),
        adopting(was_set(elsewhere, name="rewards.downtime_threshold_percent")),
        adopting(elsewhere.signed(ParameterSet(value=7, version=1), record.subject, NOON)),  # type: ignore[call-arg]
    ]  # fmt: skip

    for command in others:
        refuses("CauseDiffers", lambda: asked(streams, "staking", command, NOON, stands=elsewhere.stands))  # noqa: B023

    assert streams.load(Policy, policy_stream("staking")).version == 0
