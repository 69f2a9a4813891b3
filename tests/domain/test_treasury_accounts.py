"""Prepaid accounts, reconciliations and corrections of the ledger."""

from datetime import timedelta
from typing import Any

import pytest

from contracts import Amount
from contracts.treasury import (
    AccountId,
    AccountOpened,
    Adjust,
    Adjusted,
    AdjustmentProposed,
    BreakClosed,
    BreakFound,
    BreakId,
    Capture,
    Captured,
    CloseBreak,
    Credit,
    Credited,
    Debit,
    Debited,
    ExpireHold,
    Freeze,
    Frozen,
    Held,
    Hold,
    HoldExpired,
    HoldId,
    LedgerAccount,
    OpenAccount,
    ProposedLeg,
    Purpose,
    Reconcile,
    Reconciled,
    Reference,
    Release,
    Released,
    Slot,
    Unfreeze,
    Unfrozen,
    Words,
)
from domain.treasury import (
    AccountFrozen,
    AddressedWrongly,
    AlreadyProposed,
    AlreadyReconciled,
    ExceedsHold,
    HoldClosed,
    HoldTooLong,
    NoSuchBreak,
    NotACounter,
    NotExpired,
    NotFrozen,
    NotOpen,
    NotProposed,
    OtherAsset,
    Overdrawn,
    ReferenceUsed,
    SamePerson,
    Unbalanced,
)
from domain.treasury.accounts import Account
from domain.treasury.adjustment import Adjustment
from domain.treasury.reconciliation import Reconciliation
from tests.domain.given import given, refused, then
from tests.domain.test_treasury import ALICE, BOB, CENT, NOW, coins, usd

COLLECTOR = LedgerAccount("collector")
OPENED = AccountOpened(owner=AccountId("alice"), asset="USD.s")  # type: ignore[arg-type]


def credit(units: int, reference: str = "log.1", **changes: Any) -> Credit:
    return Credit(**{"amount": coins(units), "counter": COLLECTOR, "reference": Reference(reference), **changes})


def debit(units: int, reference: str = "out.1", **changes: Any) -> Debit:
    return Debit(**{"amount": coins(units), "counter": COLLECTOR, "reference": Reference(reference), **changes})


def hold(units: int, name: str = "h1", seconds: int = 3_600, purpose: str = "block") -> Hold:
    expires = NOW + timedelta(seconds=seconds)
    return Hold(hold=HoldId(name), amount=coins(units), purpose=Purpose(purpose), expires_at=expires)


def capture(units: int, name: str = "h1", counter: str = "fees:clearing") -> Capture:
    return Capture(hold=HoldId(name), amount=coins(units), counter=LedgerAccount(counter))


def freeze(units: int, cause: str = "dp_1") -> Freeze:
    return Freeze(amount=coins(units), cause=Reference(cause))


def an_account(units: int = 100) -> Account:
    return given(Account, "treasury/account/alice.USD.s", OPENED, Credited(**dict(credit(units, "first"))))


RELEASE, EXPIRE, BLOCK = Release(hold=HoldId("h1")), ExpireHold(hold=HoldId("h1")), Purpose("block")


def test_an_account_is_opened_under_its_own_name() -> None:
    account, other = given(Account, "treasury/account/alice.USD.s"), given(Account, "treasury/account/bob.USD.s")
    command = OpenAccount(owner=AccountId("alice"), asset="USD.s")  # type: ignore[arg-type]

    refused(account, lambda: account.credit(credit(5)), NotOpen)
    refused(account, lambda: account.release(RELEASE), NotOpen)
    then(account, lambda: account.open(command), OPENED)
    refused(other, lambda: other.open(command), AddressedWrongly)


def test_money_moves_once_under_one_reference() -> None:
    account = an_account()

    then(account, lambda: account.credit(credit(5)), Credited(**dict(credit(5))))
    refused(account, lambda: account.credit(credit(6)), ReferenceUsed)
    refused(account, lambda: account.debit(debit(5, "log.1")), ReferenceUsed)
    refused(account, lambda: account.credit(credit(6, "log.2", amount=usd(5))), OtherAsset)
    account.pending.clear()
    then(account, lambda: account.debit(debit(105)), Debited(**dict(debit(105))))
    assert account.posted == 0


@pytest.mark.parametrize("counter", ["account:bob", "supply", "holders", "backing:USD.s"])
def test_what_an_aggregate_keeps_moves_by_its_own_commands_only(counter: str) -> None:
    account = an_account()

    refused(account, lambda: account.credit(credit(5, counter=LedgerAccount(counter))), NotACounter)
    refused(account, lambda: account.debit(debit(5, counter=LedgerAccount(counter))), NotACounter)
    account.hold(hold(5), NOW, is_by_holder=True)
    refused(account, lambda: account.capture(capture(5, counter=counter)), NotACounter)


def test_what_is_held_is_available_for_nothing_else() -> None:
    account = an_account()

    then(account, lambda: account.hold(hold(60), NOW, is_by_holder=True), Held(**dict(hold(60))))
    refused(account, lambda: account.hold(hold(61), NOW, is_by_holder=True), ReferenceUsed)
    refused(account, lambda: account.hold(hold(41, "h2"), NOW, is_by_holder=True), Overdrawn)
    refused(account, lambda: account.debit(debit(41)), Overdrawn)
    account.hold(hold(40, "h2"), NOW, is_by_holder=True)

    assert account.available == 0


@pytest.mark.parametrize("seconds", [0, -1, 86_401])
def test_a_hold_ends_within_a_day(seconds: int) -> None:
    account = an_account()

    refused(account, lambda: account.hold(hold(5, seconds=seconds), NOW, is_by_holder=True), HoldTooLong)


def test_what_is_captured_and_what_is_returned_are_what_was_held() -> None:
    account = an_account()
    account.hold(hold(60), NOW, is_by_holder=True)
    account.pending.clear()

    refused(account, lambda: account.capture(capture(61)), ExceedsHold)
    event = Captured(**dict(capture(45)), returned=coins(15), purpose=BLOCK)
    then(account, lambda: account.capture(capture(45)), event)
    refused(account, lambda: account.capture(capture(44)), HoldClosed)
    refused(account, lambda: account.release(RELEASE), HoldClosed)

    assert (account.posted, account.held, account.available) == (55, 0, 55)


def test_a_hold_is_released_or_expires_in_its_time() -> None:
    account = an_account()
    account.hold(hold(60), NOW, is_by_holder=True)
    account.hold(hold(40, "h2"), NOW, is_by_holder=True)
    account.pending.clear()
    later = NOW + timedelta(seconds=3_600)

    then(account, lambda: account.release(RELEASE), Released(hold=HoldId("h1"), purpose=BLOCK))
    account.pending.clear()
    second = ExpireHold(hold=HoldId("h2"))
    refused(account, lambda: account.expire(second, later - timedelta(microseconds=1)), NotExpired)
    then(account, lambda: account.expire(second, later), HoldExpired(hold=HoldId("h2"), purpose=BLOCK))
    refused(account, lambda: account.capture(capture(5, "h2")), HoldClosed)
    refused(account, lambda: account.capture(capture(5, "h3")), HoldClosed)
    assert account.available == 100


def test_a_hold_whose_capture_is_on_the_way_is_captured_or_expired_and_never_both() -> None:
    """Whichever the stream has first; time alone ends nothing."""
    late = NOW + timedelta(days=2)
    captured, expired = an_account(), an_account()
    for account in (captured, expired):
        account.hold(hold(60), NOW, is_by_holder=True)

    captured.capture(capture(60))
    expired.expire(EXPIRE, late)

    refused(captured, lambda: captured.expire(EXPIRE, late), HoldClosed)
    refused(expired, lambda: expired.capture(capture(60)), HoldClosed)
    assert (captured.posted, expired.posted) == (40, 100)


def test_what_is_frozen_stays_also_when_it_comes_later() -> None:
    account = an_account()

    then(account, lambda: account.freeze(freeze(150)), Frozen(**dict(freeze(150))))
    refused(account, lambda: account.freeze(freeze(151)), ReferenceUsed)
    assert account.available == 0
    account.credit(credit(60))
    refused(account, lambda: account.debit(debit(11)), AccountFrozen)
    refused(account, lambda: account.hold(hold(11), NOW, is_by_holder=True), AccountFrozen)
    refused(account, lambda: account.hold(hold(161), NOW, is_by_holder=True), Overdrawn)
    account.debit(debit(10))
    account.pending.clear()

    account.unfreeze(Unfreeze(cause=Reference("dp_1")))

    assert account.pending == [Unfrozen(cause=Reference("dp_1"))]
    assert account.available == 150
    refused(account, lambda: account.unfreeze(Unfreeze(cause=Reference("dp_1"))), NotFrozen)


def test_a_hold_that_was_there_before_the_freeze_is_captured() -> None:
    account = an_account()
    account.hold(hold(60), NOW, is_by_holder=True)
    account.freeze(freeze(100))

    account.capture(capture(60))

    assert (account.posted, account.available) == (40, 0)


# Reconciliation


def slot(bank: int = 0, evm: int = 0, books: int | None = None, **changes: Any) -> Reconcile:
    native = Amount.of("USD", 0)
    fields: dict[str, Any] = {
        "slot": Slot("2026-11-24T06"), "block": 7, "bank": usd(bank), "owed": usd(0), "evm_supply": coins(evm * CENT),
        "native_supply": native, "native_locked": native, "in_flight": coins(0),
        "books_supply": coins((evm if books is None else books) * CENT),
    }  # fmt: skip
    return Reconcile(**{**fields, **changes})


def reconciled(command: Reconcile, surplus: int = 0) -> Reconciled:
    return Reconciled(**dict(command), surplus=coins(surplus * CENT))


def found(kind: Any, cents: int) -> BreakFound:
    name = BreakId(f"2026-11-24T06.{kind}")
    return BreakFound(slot=Slot("2026-11-24T06"), break_id=name, kind=kind, amount=coins(cents * CENT))


def a_reconciliation() -> Reconciliation:
    return given(Reconciliation, "treasury/reconciliation/USD.s")


def test_a_currency_with_no_supply_and_no_bank_balance_reconciles_without_a_division() -> None:
    nothing = a_reconciliation()

    then(nothing, lambda: nothing.reconcile(slot()), reconciled(slot()))


def test_what_is_locked_in_the_bridge_is_counted_once() -> None:
    """EVM supply + native supply − native locked + mints in flight."""
    coin = a_reconciliation()
    native = {"native_supply": Amount.of("USD", 3_000), "native_locked": Amount.of("USD", 1_000)}
    command = slot(125, 100, 125, in_flight=coins(5 * CENT), **native)

    then(coin, lambda: coin.reconcile(command), reconciled(command))
    refused(coin, lambda: coin.reconcile(slot(126, 100, 125, in_flight=coins(5 * CENT), **native)), AlreadyReconciled)


def test_a_surplus_is_shown_and_a_deficit_is_a_break() -> None:
    rich, poor, owing = a_reconciliation(), a_reconciliation(), a_reconciliation()

    then(rich, lambda: rich.reconcile(slot(120, 100)), reconciled(slot(120, 100), 20))
    then(poor, lambda: poor.reconcile(slot(99, 100)), reconciled(slot(99, 100)), found("deficit", 1))
    more = slot(100, 100, owed=usd(130))
    then(owing, lambda: owing.reconcile(more), reconciled(more), found("deficit", 100))


def test_books_that_differ_from_the_chain_are_a_break() -> None:
    coin = a_reconciliation()

    then(coin, lambda: coin.reconcile(slot(100, 100, 98)), reconciled(slot(100, 100, 98)), found("books_differ", 2))


def test_a_capture_that_nobody_divided_within_a_day_is_a_break() -> None:
    coin, other = a_reconciliation(), a_reconciliation()
    command = slot(100, 100, undivided=coins(3 * CENT))

    then(coin, lambda: coin.reconcile(command), reconciled(command), found("undivided", 3))
    then(other, lambda: other.reconcile(slot(100, 100, undivided=coins(0))), reconciled(slot(100, 100, undivided=coins(0))))


def test_a_source_that_stays_silent_is_a_break_and_the_slot_may_still_be_reconciled() -> None:
    coin = a_reconciliation()

    then(coin, lambda: coin.reconcile(slot(100, 100, owed=None)), found("missing_source", 0))
    coin.pending.clear()
    then(coin, lambda: coin.reconcile(slot(100, 100)), reconciled(slot(100, 100)))


def test_figures_are_in_the_assets_that_they_are_counted_in() -> None:
    coin, other = a_reconciliation(), given(Reconciliation, "treasury/reconciliation/USDT.s")

    refused(coin, lambda: coin.reconcile(slot(bank=0, evm_supply=Amount.of("EUR.s", 1))), OtherAsset)
    refused(other, lambda: other.reconcile(slot()), AddressedWrongly)


def test_a_break_is_closed_with_one_explanation() -> None:
    coin = a_reconciliation()
    coin.reconcile(slot(99, 100))
    coin.pending.clear()
    close = CloseBreak(break_id=BreakId("2026-11-24T06.deficit"), explanation=Words("a payout was booked late"))

    then(coin, lambda: coin.close(close, actor=ALICE), BreakClosed(**dict(close), closed_by=ALICE))
    refused(coin, lambda: coin.close(close.model_copy(update={"explanation": Words("no")}), actor=ALICE), ReferenceUsed)
    none = close.model_copy(update={"break_id": BreakId("2026-11-24T06.books_differ")})
    refused(coin, lambda: coin.close(none, actor=ALICE), NoSuchBreak)


# Corrections


def leg(account: str, direction: Any, cents: int) -> ProposedLeg:
    return ProposedLeg(account=LedgerAccount(account), direction=direction, amount=usd(cents))


CAPITAL = (leg("bank:wire", "in", 5_000), leg("capital", "out", 5_000))


def adjust(*lines: ProposedLeg) -> Adjust:
    return Adjust(lines=lines or CAPITAL, reason=Words("credit of 24 November, our own"))


def propose(adjustment: Adjustment, command: Adjust) -> None:
    adjustment.propose(command, actor=ALICE, person=ALICE)


def test_a_correction_takes_two_persons_and_posts_what_was_proposed() -> None:
    adjustment = given(Adjustment, "treasury/adjustment/7")
    refused(adjustment, lambda: adjustment.approve(actor=BOB, person=BOB), NotProposed)

    then(
        adjustment, lambda: propose(adjustment, adjust()),
        AdjustmentProposed(**dict(adjust()), proposed_by=ALICE, person=ALICE),
    )  # fmt: skip
    adjustment.pending.clear()
    refused(adjustment, lambda: adjustment.approve(actor=BOB, person=ALICE), SamePerson)
    event = Adjusted(**dict(adjust()), approved_by=BOB, person=BOB)
    then(adjustment, lambda: adjustment.approve(actor=BOB, person=BOB), event)
    assert [(posted.account, posted.units) for posted in event.legs("")] == [("bank:wire", 5_000), ("capital", -5_000)]


def test_a_correction_is_balanced_and_leaves_the_balances_of_aggregates_alone() -> None:
    adjustment = given(Adjustment, "treasury/adjustment/7")

    refused(adjustment, lambda: propose(adjustment, adjust(CAPITAL[0], leg("capital", "out", 4_999))), Unbalanced)
    refused(adjustment, lambda: propose(adjustment, adjust(CAPITAL[0], leg("account:bob", "out", 5_000))), NotACounter)
    propose(adjustment, adjust())
    refused(adjustment, lambda: propose(adjustment, adjust(*reversed(CAPITAL))), AlreadyProposed)
