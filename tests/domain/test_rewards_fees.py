"""Fees: the examples of the white paper's split (9.5, 9.7), and what a division must never do."""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts import Amount, decimals_of, sums
from contracts.providers import ModelId
from contracts.rewards import REWARDS, FeeSplit, FeeTaken, Payee, Reference, Split, SplitFee, TakeFee, fee_stream
from domain.rewards import FeeStream
from domain.rewards.epochs import begin_of
from domain.rewards.fees import (
    KNOWN_EPOCHS,
    AlreadyTaken,
    EpochNotOpen,
    ModelNotNamed,
    NotOfThisStream,
    ReceiptAlreadySplit,
    WrongProtocolFee,
    fee_inside,
    protocol_fee,
)
from tests.domain.given import did, given, refused, then

PAYEE = Payee("0x" + 40 * "a")
OWNER = Payee("0x" + 40 * "b")
MODEL = ModelId("llama-3.1-8b")
NOW = begin_of(20_000)
STREAM = fee_stream("inference", PAYEE, "SPACE")


def a_fee(units: int, receipt: str = "r1", **changes: Any) -> SplitFee:
    fields: dict[str, Any] = {
        "kind": "inference", "receipt": Reference(receipt), "price": Amount.of("SPACE", units), "payee": PAYEE,
        "provider": did("alice"), "model": MODEL, "model_owner": OWNER, "prepaid": False, "epoch": 20_000,
    }  # fmt: skip
    fields |= changes
    return SplitFee(**{"protocol_fee": 0 if fields["prepaid"] else -(-fields["price"].units // 100), **fields})


def asked(commands: Sequence[SplitFee], stream: str = STREAM) -> list[FeeSplit]:
    """What a fresh stream records of these."""
    fees = FeeStream(stream)
    for command in commands:
        fees.split(command, NOW)
    return [event for event in fees.pending if isinstance(event, FeeSplit)]


def classes(event: FeeSplit) -> tuple[int, int, int, int]:
    return event.provider_share, event.model_share, event.oracle_share, event.treasury_share


def test_a_hundred_space_is_divided_as_the_white_paper_says() -> None:
    """Its user pays 101: the treasury's receipt is 11, of which 2.2 are burned."""
    one = 10 ** decimals_of("SPACE")

    [event] = asked([a_fee(100 * one)])

    assert event.price.units + event.protocol_fee == 101 * one
    assert classes(event) == (60 * one, 20 * one, 10 * one, 10 * one)
    assert (event.burn, event.buyback, event.kept) == (22_000, 0, 88_000)


def test_three_fees_of_nine_units_carry_their_remainders() -> None:
    events = asked([a_fee(9, f"r{n}", prepaid=True) for n in range(3)])

    assert [classes(event) for event in events] == [(5, 1, 0, 0), (5, 2, 1, 1), (6, 2, 1, 1)]
    assert [event.rounding for event in events] == [3, 3, 2]


def test_ten_fees_of_one_unit_pay_the_provider_six_units_and_leave_nothing_in_rounding() -> None:
    events = asked([a_fee(1, f"r{n}") for n in range(10)])

    assert sum(event.provider_share for event in events) == 6
    assert events[-1].rounding == 0


def test_fees_of_466_and_4_units_give_the_treasury_46_and_1_and_nobody_a_negative_share() -> None:
    events = asked([a_fee(466, "r1"), a_fee(4, "r2")])

    assert [event.treasury_share for event in events] == [46, 1]
    assert all(share >= 0 for event in events for share in classes(event))


def test_the_same_receipt_twice_splits_once() -> None:
    fees = FeeStream(STREAM)

    then(fees, lambda: fees.split(a_fee(100), NOW), *asked([a_fee(100)]))


@pytest.mark.parametrize("change", [{"price": Amount.of("SPACE", 200)}, {"epoch": 1}, {"model_owner": PAYEE}])
def test_the_same_receipt_with_other_fields_is_refused(change: dict[str, Any]) -> None:
    fees = given(FeeStream, STREAM, *asked([a_fee(100)]))

    refused(fees, lambda: fees.split(a_fee(100, **change), NOW), ReceiptAlreadySplit)


def test_a_repeated_receipt_may_name_no_owner_where_one_was_registered() -> None:
    """The command is the same; what was registered in between is not the sender's."""
    command, fees = a_fee(100, model_owner=None), FeeStream(STREAM)

    fees.split(command, NOW, OWNER)
    fees.split(command, NOW, None)

    [event] = fees.pending
    assert isinstance(event, FeeSplit)
    assert event.model_owner == OWNER


def test_a_receipt_is_divided_within_32_days_and_known_for_ever() -> None:
    fees = FeeStream(STREAM)
    for epoch in range(20_000, 20_000 + KNOWN_EPOCHS):
        fees.split(a_fee(100, f"r{epoch}", epoch=epoch), begin_of(epoch))
    before, later = len(fees.pending), begin_of(20_000 + KNOWN_EPOCHS)

    fees.split(a_fee(100, "r20000", epoch=20_000), later)
    assert len(fees.pending) == before
    fees.split(a_fee(100, "r1", epoch=20_000 + KNOWN_EPOCHS), later)

    refused(fees, lambda: fees.split(a_fee(100, "late", epoch=20_000), later), EpochNotOpen)
    fees.split(a_fee(100, "r20000", epoch=20_000), later)
    refused(fees, lambda: fees.split(a_fee(100, "r20000", epoch=20_001), later), ReceiptAlreadySplit)
    assert len(fees.pending) == before + 1
    fees.split(a_fee(100, "late", epoch=20_001), later)


def test_a_fee_of_a_day_that_has_not_begun_is_refused() -> None:
    """It would end the 32 days of those before."""
    fees = FeeStream(STREAM)

    refused(fees, lambda: fees.split(a_fee(100, epoch=20_001), NOW), EpochNotOpen)
    fees.split(a_fee(100, epoch=20_001), begin_of(20_001))


def test_a_price_of_one_unit_costs_two() -> None:
    [event] = asked([a_fee(1)])

    assert event.price.units + event.protocol_fee == 2


def test_the_protocol_fee_is_rounded_up_and_a_bundle_holds_it() -> None:
    assert 12_345 + protocol_fee(12_345) == 12_469
    assert fee_inside(10_000) == 100
    assert all(fee_inside(price) >= protocol_fee(price - fee_inside(price)) for price in range(2_000))


@pytest.mark.parametrize("wrong", [0, 1, 3])
def test_another_protocol_fee_is_refused(wrong: int) -> None:
    fees = FeeStream(STREAM)

    refused(fees, lambda: fees.split(a_fee(101, protocol_fee=wrong), NOW), WrongProtocolFee)


def test_a_receipt_from_a_bundle_carries_no_protocol_fee() -> None:
    """It was paid inside the bundle."""
    fees = FeeStream(STREAM)

    refused(fees, lambda: fees.split(a_fee(100, prepaid=True, protocol_fee=1), NOW), WrongProtocolFee)
    fees.split(a_fee(100, prepaid=True), NOW)

    [event] = fees.pending
    assert isinstance(event, FeeSplit)
    assert (event.burn, event.kept) == (2, 8)


def test_a_fee_in_a_stablecoin_is_bought_back_and_not_burned() -> None:
    stream = fee_stream("inference", PAYEE, "USD.s")

    [event] = asked([a_fee(0, price=Amount.of("USD.s", 10**18), protocol_fee=10**16)], stream)

    assert (event.burn, event.buyback, event.kept) == (0, 22 * 10**15, 88 * 10**15)
    assert ("treasury:buyback", 22 * 10**15) in {(leg.account, leg.units) for leg in event.legs(stream)}


def test_a_fee_without_a_model_owner_waits_in_escrow() -> None:
    [event] = asked([a_fee(100, model_owner=None)])

    assert {leg.account: leg.units for leg in event.legs(STREAM)}["escrow:model:llama-3.1-8b"] == 20


def test_storage_pays_the_disk_the_model_owners_share() -> None:
    stream = fee_stream("storage", PAYEE, "SPACE")

    [event] = asked([a_fee(100, kind="storage", model=None, model_owner=None)], stream)

    assert classes(event) == (80, 0, 10, 10)
    assert sums(event.legs(stream)) == {"SPACE": 0}


def test_an_inference_without_a_model_is_refused() -> None:
    fees = FeeStream(STREAM)

    refused(fees, lambda: fees.split(a_fee(100, model=None), NOW), ModelNotNamed)


@pytest.mark.parametrize("change", [{"payee": OWNER}, {"kind": "storage"}, {"price": Amount.of("USD.s", 100)}])
def test_a_fee_goes_to_the_stream_of_its_kind_payee_and_asset(change: dict[str, Any]) -> None:
    """Remainders of two payees never meet."""
    fees = FeeStream(STREAM)

    refused(fees, lambda: fees.split(a_fee(100, **change), NOW), NotOfThisStream)


def test_a_change_of_the_split_applies_to_receipts_decided_after_it_and_not_to_open_ones() -> None:
    """What was divided stays so, whoever asks again; the remainders are carried over the change."""
    fees = given(FeeStream, STREAM, *asked([a_fee(9, "r1", prepaid=True)]))
    changed = Split(provider=50, model=20, oracles=10, treasury=20)
    terms = REWARDS.adopted("split_percent", dict(changed), 2)

    fees.split(a_fee(9, "r1", prepaid=True), NOW, None, terms)
    assert fees.pending == []
    fees.split(a_fee(9, "r2", prepaid=True), NOW, None, terms)

    [event] = fees.pending
    assert isinstance(event, FeeSplit)
    # 40 + 450, 80 + 180, 90 + 90 and 90 + 180 hundredths.
    assert classes(event) == (4, 2, 1, 2)
    assert (event.split, event.policy_version) == (changed, 2)
    assert event.rounding == 3


def test_a_taken_fee_is_burned_and_kept_and_its_remainder_carried() -> None:
    stream = fee_stream("vault", "dao", "SPACE")
    fees = FeeStream(stream)
    command = TakeFee(amount=Amount.of("SPACE", 4), source="vault", reference=Reference("v1"), epoch=1)

    fees.take(command, NOW)
    fees.take(command, NOW)
    fees.take(command.model_copy(update={"reference": Reference("v2")}), NOW)

    taken = [event for event in fees.pending if isinstance(event, FeeTaken)]
    assert [(event.burn, event.kept) for event in taken] == [(0, 4), (1, 3)]
    assert all(sums(event.legs(stream)) == {"SPACE": 0} for event in taken)
    refused(fees, lambda: fees.take(command.model_copy(update={"epoch": 2}), NOW), AlreadyTaken)
    refused(fees, lambda: fees.take(command.model_copy(update={"source": "bundle"}), NOW), NotOfThisStream)
