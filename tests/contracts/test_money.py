"""Amounts: exact upwards, dust refused downwards, and legs that add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import Amount, Dust, OtherMoney, decimals_of, move, sums, written
from contracts._money import DECIMALS
from contracts._values import FROM_THE_WIRE

ASSETS = st.sampled_from([*DECIMALS, "USDT.ethereum"])


def kin(asset: str) -> list[str]:
    return [other for other in DECIMALS if other.partition(".")[0] == asset.partition(".")[0]]


@given(ASSETS, st.integers(0, 10**40), st.data())
def test_the_same_money_elsewhere_is_worth_the_same_or_refused(asset: str, units: int, data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(kin(asset)))
    scaled = units * 10 ** decimals_of(target)

    try:
        found = Amount.of(asset, units).to(target)
    except Dust:
        assert scaled % 10 ** decimals_of(asset) != 0
    else:
        assert found.units * 10 ** decimals_of(asset) == scaled


def test_a_cent_is_ten_thousand_million_million_units_of_its_coin() -> None:
    assert Amount.of("USD.bank", 250_00).to("USD.s").units == 250 * 10**18


def test_one_unit_of_a_coin_is_dust_at_a_bank() -> None:
    with pytest.raises(Dust):
        Amount.of("USD.s", 250 * 10**18 + 1).to("USD.bank")


def test_one_money_never_becomes_another() -> None:
    with pytest.raises(OtherMoney):
        Amount.of("EUR.bank", 1).to("USD.s")


@pytest.mark.parametrize("asset", ["PLN", "USD.x", "usd", "USDT.", "BTC.s"])
def test_an_asset_that_the_network_does_not_know_is_refused(asset: str) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"asset": asset, "units": "1"}, context=FROM_THE_WIRE)


@pytest.mark.parametrize("units", [1, 1.0, True, "1.0", "-1", "01", " 1", None])
def test_units_on_the_wire_are_decimal_strings(units: object) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"asset": "SPACE", "units": units}, context=FROM_THE_WIRE)


@given(st.integers(0, 10**60))
def test_what_moves_adds_up_to_nothing(units: int) -> None:
    assert sums(move("pool:rewards", "payable:x", "SPACE", units)) == {"SPACE": 0}


def test_amounts_are_written_for_people() -> None:
    assert [written(123_450_000, "SPACE"), written(-1, "USD.bank"), written(10**18, "USD.s")] == ["12,345.00", "-0.01", "1.00"]
