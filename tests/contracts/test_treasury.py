"""What treasury's events post: per asset the legs sum to zero, and each line is where an accountant would put it."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from contracts import Amount, Leg, event_class, languages, moves_value, sums
from contracts.treasury import (
    BackingReceived,
    BackingWrittenDown,
    Burned,
    Captured,
    Credited,
    Debited,
    DepositLost,
    DepositRefunded,
    DepositSettled,
    Mint,
    MintConfirmed,
    Minted,
    MintFailed,
    PayoutPaid,
    PayoutReturned,
    Rail,
    slot_of,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
COIN, DEPOSIT = "treasury/stablecoin/USD.s", "treasury/deposit/stripe.ch_1"
WITHDRAWAL, ACCOUNT = "treasury/withdrawal/alice.1", "treasury/account/alice.USD.s"
BANK, COINS = Amount.of("USD.bank", 250), Amount.of("USD.s", 250 * 10**16)
TX = "0x" + "a" * 64

MADE: dict[type, dict[str, Any]] = {
    BackingReceived: {"amount": BANK, "reference": "stripe.ch_1", "origin": "deposit", "at": NOW},
    BackingWrittenDown: {"amount": BANK, "reference": "stripe.ch_1", "cause": "chargeback", "at": NOW},
    Minted: {"amount": COINS, "reference": "stripe.ch_1", "to": "0x" + "1" * 40, "minter": "did:key:z6Mk" + "2" * 44},
    MintConfirmed: {"amount": COINS, "reference": "stripe.ch_1", "transaction": TX, "block": 7},
    MintFailed: {"amount": COINS, "reference": "stripe.ch_1", "transaction": TX, "cause": "reverted"},
    Burned: {"amount": COINS, "payout": BANK, "withdrawal": "alice.1", "transaction": TX, "block": 7, "at": NOW},
    DepositSettled: {"net": BANK, "fee": Amount.of("USD.bank", 8), "available_on": NOW},
    DepositRefunded: {"amount": BANK, "reference": "re_1", "settled": True},
    DepositLost: {"amount": BANK, "dispute": "dp_1", "settled": True, "issued": True},
    PayoutPaid: {"payout": BANK, "rail": "wise", "bank_reference": "w1", "booked_at": NOW},
    PayoutReturned: {
        "payout": BANK, "rail": "wise", "bank_reference": "w1", "booked_at": NOW, "reason": "AC04", "paid": True,
    },
    Credited: {"amount": COINS, "counter": "collector", "reference": "r"},
    Debited: {"amount": COINS, "counter": "collector", "reference": "r"},
    Captured: {
        "amount": COINS, "counter": "fees:clearing", "hold": "h", "returned": Amount.of("USD.s", 0), "purpose": "block",
    },
}  # fmt: skip


def legs(kind: type, stream: str, **changes: Any) -> set[Leg]:
    fields = {**MADE[kind], **changes}
    after = {"supply": Amount.of("USD.s", 0), "reserves": Amount.of("USD.bank", 0)}
    event = kind(**fields, **{name: value for name, value in after.items() if name in kind.model_fields})  # type: ignore[attr-defined]
    found = list(event.legs(stream))
    assert not any(sums(found).values())
    return set(found)


def bank(account: str, units: int = 250) -> Leg:
    return Leg(account, "USD.bank", units)


def coins(account: str, sign: int = 1) -> Leg:
    return Leg(account, "USD.s", sign * 250 * 10**16)


def test_a_deposit_is_owed_until_it_backs_coins() -> None:
    assert legs(DepositSettled, DEPOSIT) == {bank("bank:stripe"), bank("due:deposits", -250)}
    assert legs(BackingReceived, COIN) == {bank("due:deposits"), bank("backing:USD.s", -250)}
    assert legs(DepositRefunded, DEPOSIT) == {bank("bank:stripe", -250), bank("due:deposits")}


def test_what_was_never_booked_as_ours_posts_nothing() -> None:
    assert legs(DepositRefunded, DEPOSIT, settled=False) == set()
    assert legs(DepositLost, DEPOSIT, settled=False) == set()
    assert legs(PayoutReturned, WITHDRAWAL, paid=False) == set()


def test_a_chargeback_is_a_loss_that_the_backing_bears() -> None:
    assert legs(DepositLost, DEPOSIT) == {bank("bank:stripe", -250), bank("loss:chargeback")}
    assert legs(BackingWrittenDown, COIN) == {bank("loss:chargeback", -250), bank("backing:USD.s")}


def test_what_is_lost_before_anything_was_issued_is_the_depositors() -> None:
    """So that what was owed to him is owed no more, whether or not it backed anything in between."""
    settled, lost = legs(DepositSettled, DEPOSIT), legs(DepositLost, DEPOSIT, issued=False)
    backed, written = legs(BackingReceived, COIN), legs(BackingWrittenDown, COIN, cause="unissued")

    assert totals(settled | lost) == {}
    assert totals([*settled, *backed, *lost, *written]) == {}


def totals(found: Any) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for leg in found:
        counted[leg.account] += leg.units
    return {account: units for account, units in counted.items() if units}


def test_coins_go_from_supply_through_flight_to_holders_and_back() -> None:
    assert legs(Minted, COIN) == {coins("supply", -1), coins("inflight")}
    assert legs(MintConfirmed, COIN) == {coins("inflight", -1), coins("holders")}
    assert legs(MintFailed, COIN) == {coins("inflight", -1), coins("supply")}
    assert legs(Burned, COIN) == {
        coins("holders", -1), coins("supply"), bank("backing:USD.s"), bank("due:payouts", -250),
    }  # fmt: skip


def test_a_payout_is_owed_until_the_bank_has_booked_it() -> None:
    assert legs(PayoutPaid, WITHDRAWAL) == {bank("due:payouts"), bank("bank:wise", -250)}
    assert legs(PayoutReturned, WITHDRAWAL) == {bank("due:payouts", -250), bank("bank:wise")}
    assert legs(BackingReceived, COIN, origin="returned_payout") == {bank("due:payouts"), bank("backing:USD.s", -250)}
    assert legs(BackingReceived, COIN, origin="capital") == {bank("capital"), bank("backing:USD.s", -250)}


def test_an_account_moves_against_the_account_that_was_named() -> None:
    assert legs(Credited, ACCOUNT) == {coins("account:alice"), coins("collector", -1)}
    assert legs(Debited, ACCOUNT) == {coins("account:alice", -1), coins("collector")}
    assert legs(Captured, ACCOUNT) == {coins("account:alice", -1), coins("fees:clearing")}


def test_every_event_that_moves_value_has_its_posting_shown_here() -> None:
    moving = {cls for cls in languages() if cls.wire.context == "treasury" and moves_value(cls)}

    assert moving - {event_class("treasury.Adjusted")} == set(MADE)


def test_a_mint_of_nothing_is_no_mint() -> None:
    with pytest.raises(ValidationError, match="not zero"):
        Mint.read({"amount": {"asset": "USD.s", "units": "0"}, "reference": "r", "to": "0x" + "1" * 40})


def test_slots_begin_at_00_06_12_and_18_utc() -> None:
    assert [slot_of(NOW.replace(hour=hour)) for hour in (0, 5, 6, 17, 23)] == [
        "2026-11-24T00", "2026-11-24T00", "2026-11-24T06", "2026-11-24T12", "2026-11-24T18",
    ]  # fmt: skip
    assert Rail.checked("wise")
