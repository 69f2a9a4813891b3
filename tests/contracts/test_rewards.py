"""The language of rewards: what it takes, what it refuses at the door, and that every posting is balanced."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import Address, Amount, moves_value, sums
from contracts.providers import ModelId
from contracts.rewards import (
    BUCKET_UNITS,
    CAP_UNITS,
    REWARDS,
    ChainHash,
    Claimed,
    Earned,
    EpochMinted,
    EscrowLapsed,
    FeeSplit,
    FeeTaken,
    Issued,
    Left,
    MintEpoch,
    Paid,
    Payee,
    Recipient,
    Reference,
    RewardsCommand,
    RewardsEvent,
    SplitFee,
    SupplyBurned,
    earner_stream,
    epoch_stream,
    fee_stream,
    model_stream,
    payee_of,
    position_stream,
)
from tests.domain.given import did

PAYEE = Payee("0x" + 40 * "a")
units = st.integers(0, 10**30)


def test_the_shares_of_the_cap_and_of_a_fee_are_whole() -> None:
    assert sum(BUCKET_UNITS.values()) == CAP_UNITS == 10**9 * 10**4
    for split in (REWARDS.split_percent, REWARDS.storage_split_percent):
        assert split.provider + split.model + split.oracles + split.treasury == 100


def test_an_address_is_a_payee_in_one_way_only() -> None:
    mixed = Address("0x" + "aB" * 20)

    assert payee_of(mixed) == "0x" + "ab" * 20
    with pytest.raises(ValueError, match="Payee"):
        Payee.checked(mixed)


@pytest.mark.parametrize("change", [{"price": {"asset": "GOLD", "units": "1"}}, {"payee": "0x1"}, {"protocol_fee": "-1"}])
def test_a_fee_that_is_not_well_formed_is_refused_at_the_door(change: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "kind": "inference", "receipt": "r1", "price": {"asset": "SPACE", "units": "100"}, "protocol_fee": "1",
        "payee": PAYEE, "provider": did("alice"), "model": "m", "prepaid": False, "epoch": 1,
    }  # fmt: skip

    assert SplitFee.read(said).price == Amount.of("SPACE", 100)
    with pytest.raises(ValidationError):
        SplitFee.read({**said, **change})


def test_money_on_the_wire_is_a_decimal_string() -> None:
    with pytest.raises(ValidationError):
        MintEpoch.read({"epoch": "1", "until": "2027-01-01T00:00:00Z"})
    event = EpochMinted.model_validate({"epoch": 1, "until": "2027-01-01T00:00:00Z", "amount": 5, "issued_total": 6})
    assert b'"amount":"5"' in event.json_bytes()


def test_what_moves_value_says_so() -> None:
    named = {cls.__name__ for cls in RewardsEvent.__args__ if moves_value(cls)}

    assert named == {
        "FeeSplit", "FeeTaken", "EpochMinted", "Issued", "SupplyBurned", "Paid", "Earned", "Claimed", "EscrowLapsed",
    }  # fmt: skip
    assert len(RewardsCommand.__args__) == 24


@given(parts=st.lists(units, min_size=7, max_size=7), price=units, fee=units, owner=st.booleans(), storage=st.booleans())
@settings(max_examples=200)
def test_a_divided_fee_is_balanced_whatever_it_says(parts: list[int], price: int, fee: int, owner: bool, storage: bool) -> None:
    """A posting rule is a pure function of the fields: what does not add up is in rounding, and the checks see it there."""
    names = ("provider_share", "model_share", "oracle_share", "treasury_share", "burn", "buyback", "kept")
    event = FeeSplit(
        kind="storage" if storage else "inference", receipt=Reference("r"), price=Amount.of("SPACE", price), protocol_fee=fee,
        payee=PAYEE, provider=did("alice"), model=None if storage else ModelId("m"), model_owner=PAYEE if owner else None,
        prepaid=False, epoch=1, split=REWARDS.split_percent, rounding=0, left=Left(), **dict(zip(names, parts, strict=True)),
    )  # fmt: skip
    stream = fee_stream("inference", PAYEE, "SPACE")

    assert sums(event.legs(stream)) == {"SPACE": 0}


@given(amount=units)
def test_every_other_posting_is_balanced(amount: int) -> None:
    space = Amount.of("SPACE", amount)
    hash_ = ChainHash("0x" + 64 * "1")
    events: list[tuple[Any, str]] = [
        (FeeTaken(amount=space, source="vault", reference=Reference("v"), epoch=1, burn=amount // 5, buyback=0,
                  kept=amount - amount // 5, left=Left()), fee_stream("vault", "dao", "SPACE")),
        (EpochMinted(epoch=1, until=NOW, amount=amount, issued_total=amount), "rewards/emission/SPACE"),
        (Issued(bucket="team", amount=amount, to=Recipient("eosio"), reference=Reference("g"), issued_total=amount), ""),
        (SupplyBurned(amount=amount, source="slash", reference=Reference("b"), burned_total=amount), ""),
        (Paid(epoch=1, pool=1, owed_total=1, amount=amount, lapsed=0), position_stream(PAYEE)),
        (Earned(amount=space, source="oracle", epoch=1, cumulative=amount), earner_stream(PAYEE, "SPACE")),
        (Claimed(amount=space, transaction=hash_, log=0, claimed=amount), earner_stream(PAYEE, "SPACE")),
        (EscrowLapsed(epoch=1, amount=space), model_stream("m")),
    ]  # fmt: skip

    for event, stream in events:
        legs = list(event.legs(stream))
        assert set(sums(legs).values()) <= {0}
        assert bool(legs) >= bool(amount)


NOW = datetime(2027, 1, 1, tzinfo=UTC)


def test_streams_are_named_as_they_are_read() -> None:
    assert fee_stream("inference", PAYEE, "USD.s") == f"rewards/fees/inference.{PAYEE}.USD.s"
    assert earner_stream(PAYEE, "USD.s") == f"rewards/earner/{PAYEE}.USD.s"
    assert epoch_stream(7) == "rewards/epoch/7"
    [gain, _] = Earned(amount=Amount.of("USD.s", 5), source="fee", epoch=1, cumulative=5).legs(earner_stream(PAYEE, "USD.s"))
    assert (gain.account, gain.asset) == (f"payable:payee:{PAYEE}", "USD.s")
