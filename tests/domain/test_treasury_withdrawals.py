"""Withdrawals and the limits: by rule below them, by two persons above, and never twice."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts import Address, Amount, Label, Sealed
from contracts.treasury import (
    OUTFLOW,
    BankReference,
    ConfirmPayout,
    EscrowWithdrawal,
    FundWithdrawal,
    OutflowReleased,
    OutflowReserved,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    Rail,
    Rate,
    Reference,
    ReissueWithdrawal,
    ReleaseOutflow,
    RequestWithdrawal,
    ReserveOutflow,
    ReturnPayout,
    ReviewRequired,
    ReviewWithdrawal,
    RouteWithdrawal,
    SubmitPayout,
    WithdrawalApproved,
    WithdrawalCancelled,
    WithdrawalEscrowed,
    WithdrawalFunded,
    WithdrawalId,
    WithdrawalReissued,
    WithdrawalRejected,
    WithdrawalRequested,
    WithdrawalReviewed,
)
from domain import DustNotAllowed
from domain.treasury import (
    AccountFrozen,
    AddressedWrongly,
    AlreadyFunded,
    AlreadyRouted,
    AmountDiffers,
    AttemptsUsed,
    NotApproved,
    NotBurned,
    NotEscrowed,
    NotExpired,
    NotFunded,
    NotMinted,
    NotOurCurrency,
    NotReserved,
    NotReturned,
    NotSubmitted,
    NotUnderReview,
    OverDailyLimit,
    OverSingleLimit,
    PayoutPending,
    ReferenceUsed,
    RequesterCannotReview,
    SamePerson,
    WithdrawalClosed,
)
from domain.treasury.outflow import Outflow
from domain.treasury.stablecoin import Burning
from domain.treasury.withdrawals import Withdrawal, in_usd_cents
from tests.domain.given import did, digest, given, refused, then
from tests.domain.test_treasury import ALICE, BOB, CENT, NOW, tx

CAROL = did("carol")
WALLET = Address("0x" + "1" * 40)
SEALED = Sealed.model_validate({"key": "0" * 32, "nonce": "A" * 32, "body": "A" * 40, "commitment": "0" * 64})
NAME = "treasury/withdrawal/alice.1"


def request(cents: int = 40_000, currency: str = "USD", **changes: Any) -> RequestWithdrawal:
    amount = Amount.of(f"{currency}.s", cents * CENT)
    fields: dict[str, Any] = {"amount": amount, "destination": SEALED, "destination_digest": digest("iban")}
    return RequestWithdrawal(**{**fields, **changes})


def requested(cents: int = 40_000, currency: str = "USD") -> WithdrawalRequested:
    payout = Amount.of(f"{currency}.bank", cents)
    return WithdrawalRequested(**dict(request(cents, currency)), payout=payout, requested_by=ALICE, person=ALICE)


def escrow(cents: int = 40_000, currency: str = "USD") -> EscrowWithdrawal:
    return EscrowWithdrawal(amount=Amount.of(f"{currency}.s", cents * CENT), wallet=WALLET, transaction=tx("escrow"), block=5)


def escrowed(cents: int = 40_000, currency: str = "USD") -> WithdrawalEscrowed:
    return WithdrawalEscrowed(**dict(escrow(cents, currency)))


def approved(cents: int = 40_000) -> WithdrawalApproved:
    return WithdrawalApproved(route="automatic", usd_cents=cents)


def under_review(cents: int = 60_000) -> ReviewRequired:
    return ReviewRequired(usd_cents=cents, reasons=("above_threshold", "over_single"), at=NOW)


def funded(cents: int = 40_000) -> WithdrawalFunded:
    return WithdrawalFunded(transaction=tx("burn"), payout=Amount.of("USD.bank", cents))


def submitted(attempt: int = 1) -> PayoutSubmitted:
    return PayoutSubmitted(rail=Rail("wise"), attempt=attempt, key=Label(f"alice.1:{attempt}"))


def a_withdrawal(*events: Any, cents: int = 40_000) -> Withdrawal:
    return given(Withdrawal, NAME, requested(cents), escrowed(cents), *events)


def route(withdrawal: Withdrawal, cents: int, now: datetime = NOW, **more: Any) -> None:
    facts = {"reserved": more.pop("reserved", cents), "is_frozen": more.pop("is_frozen", False)}
    withdrawal.route_it(RouteWithdrawal(usd_cents=cents, **more), now, **facts)


def review(withdrawal: Withdrawal, who: Any, verdict: Any = "approve", *, key: Any = None, reissuing: bool = False) -> None:
    withdrawal.review(ReviewWithdrawal(verdict=verdict), actor=key or who, person=who, is_reissuing=reissuing)


def reviewed(who: Any, verdict: Any = "approve", key: Any = None) -> WithdrawalReviewed:
    return WithdrawalReviewed(verdict=verdict, reviewed_by=key or who, person=who)


# Request and escrow


def test_a_withdrawal_is_asked_for_once_in_whole_cents_of_our_currencies() -> None:
    withdrawal = given(Withdrawal, NAME)

    def ask(command: RequestWithdrawal) -> None:
        withdrawal.request(command, actor=ALICE, person=ALICE, is_frozen=False)

    refused(withdrawal, lambda: ask(request(amount=Amount.of("USD.s", CENT + 1))), DustNotAllowed)
    refused(withdrawal, lambda: ask(request(amount=Amount.of("USDT.s", 5))), NotOurCurrency)
    then(withdrawal, lambda: ask(request()), requested())
    refused(withdrawal, lambda: ask(request(50)), ReferenceUsed)


def test_a_withdrawal_from_a_frozen_account_is_refused() -> None:
    withdrawal, misnamed = given(Withdrawal, NAME), given(Withdrawal, "treasury/withdrawal/alice")

    refused(withdrawal, lambda: withdrawal.request(request(), actor=ALICE, person=ALICE, is_frozen=True), AccountFrozen)
    refused(misnamed, lambda: misnamed.request(request(), actor=ALICE, person=ALICE, is_frozen=False), AddressedWrongly)


def test_the_coins_in_escrow_are_those_that_were_asked_for() -> None:
    withdrawal = given(Withdrawal, NAME, requested())

    refused(withdrawal, lambda: withdrawal.put_in_escrow(escrow(40_001)), AmountDiffers)
    then(withdrawal, lambda: withdrawal.put_in_escrow(escrow()), escrowed())
    other = escrow().model_copy(update={"transaction": tx("other")})
    refused(withdrawal, lambda: withdrawal.put_in_escrow(other), WithdrawalClosed)


def test_a_withdrawal_is_cancelled_until_it_is_approved() -> None:
    for events in ((), (escrowed(),), (escrowed(), under_review())):
        withdrawal = given(Withdrawal, NAME, requested(), *events)
        then(withdrawal, withdrawal.cancel, WithdrawalCancelled())

    for done in (approved(), funded(), submitted()):
        refused(withdrawal := a_withdrawal(approved(), done), withdrawal.cancel, AlreadyFunded)
    refused(withdrawal := given(Withdrawal, NAME), withdrawal.cancel, WithdrawalClosed)


def test_coins_that_come_after_the_cancellation_are_noted_so_that_they_are_released() -> None:
    withdrawal = given(Withdrawal, NAME, requested(), WithdrawalCancelled())

    then(withdrawal, lambda: withdrawal.put_in_escrow(escrow()), escrowed())

    assert withdrawal.state == "cancelled"
    refused(withdrawal, lambda: route(withdrawal, 40_000), WithdrawalClosed)


# Routes


def test_a_small_payout_that_is_counted_goes_without_being_asked() -> None:
    withdrawal = a_withdrawal()

    refused(withdrawal, lambda: route(withdrawal, 40_000, reserved=None), NotReserved)
    then(withdrawal, lambda: route(withdrawal, 40_000), approved())
    refused(withdrawal, lambda: route(withdrawal, 40_001), AlreadyRouted)


@pytest.mark.parametrize(("cents", "reasons"), [(50_000, ()), (50_001, ("above_threshold", "over_single"))])
def test_500_dollars_go_without_review_and_one_cent_more_does_not(cents: int, reasons: Any) -> None:
    """Whatever the process that routes them says."""
    withdrawal = a_withdrawal(cents=cents)
    expected = ReviewRequired(usd_cents=cents, reasons=reasons, at=NOW) if reasons else approved(cents)

    then(withdrawal, lambda: route(withdrawal, cents), expected)


def test_reasons_are_kept_in_one_order_and_a_freeze_is_one_of_them() -> None:
    withdrawal = a_withdrawal(cents=60_000)
    asked = {"reasons": ("new_destination", "over_daily"), "is_frozen": True}

    route(withdrawal, 60_000, **asked)

    assert withdrawal.reasons == ["above_threshold", "over_single", "over_daily", "new_destination", "account_frozen"]
    route(withdrawal, 60_000, now=NOW + timedelta(hours=1), **asked)
    assert len(withdrawal.pending) == 1


def test_a_withdrawal_is_routed_when_its_coins_are_in_escrow() -> None:
    withdrawal = given(Withdrawal, NAME, requested())

    refused(withdrawal, lambda: route(withdrawal, 40_000), NotEscrowed)


def euros(cents: int, answer: Rate | None, usd_cents: int) -> Withdrawal:
    withdrawal = given(Withdrawal, NAME, requested(cents, "EUR"), escrowed(cents, "EUR"))
    route(withdrawal, usd_cents, answer=answer)
    return withdrawal


def answer(age: timedelta = timedelta(0), rate: int = 108_420_000) -> Rate:
    return Rate(rate=rate, answered_at=NOW - age)


def test_euros_are_limited_in_us_cents_rounded_up() -> None:
    """461.17 EUR at 1.0842 = 500.01 USD: review."""
    assert in_usd_cents(Amount.of("EUR.bank", 46_117), answer()) == 50_001
    assert euros(46_117, answer(), 50_001).reasons == ["above_threshold", "over_single"]
    assert euros(46_116, answer(), 49_999).state == "approved"
    with pytest.raises(AmountDiffers):
        euros(46_117, answer(), 50_000)


def test_a_rate_older_than_a_day_sends_any_withdrawal_in_euro_to_review() -> None:
    day = timedelta(days=1)

    assert euros(100, answer(day), 109).state == "approved"
    assert euros(100, answer(day + timedelta(seconds=1)), 109).reasons == ["stale_rate"]
    assert euros(100, answer(-day), 109).reasons == ["stale_rate"]
    assert euros(100, None, 0).reasons == ["stale_rate"]


def test_dollars_are_their_own_cents() -> None:
    withdrawal = a_withdrawal()

    refused(withdrawal, lambda: route(withdrawal, 39_999), AmountDiffers)


# Reviews


def test_two_persons_approve_what_is_large() -> None:
    withdrawal = a_withdrawal(under_review(), cents=60_000)

    review(withdrawal, BOB)
    assert withdrawal.state == "under_review"
    review(withdrawal, CAROL)

    assert withdrawal.pending == [reviewed(BOB), reviewed(CAROL), WithdrawalApproved(route="reviewed", usd_cents=60_000)]
    refused(withdrawal, lambda: review(withdrawal, did("dave")), NotUnderReview)


def test_the_rotated_key_of_the_first_reviewer_does_not_count_as_a_second_person() -> None:
    withdrawal = a_withdrawal(under_review(), reviewed(BOB), cents=60_000)

    refused(withdrawal, lambda: review(withdrawal, BOB, key=did("bob's next key")), SamePerson)


def test_nobody_reviews_his_own_withdrawal_with_whichever_key() -> None:
    withdrawal = a_withdrawal(under_review(), cents=60_000)

    refused(withdrawal, lambda: review(withdrawal, ALICE, key=did("alice's next key")), RequesterCannotReview)


def test_one_person_rejects() -> None:
    withdrawal = a_withdrawal(under_review(), reviewed(BOB), cents=60_000)

    review(withdrawal, BOB, "reject")

    assert withdrawal.pending == [reviewed(BOB, "reject"), WithdrawalRejected(cause="reviewer")]
    refused(withdrawal, withdrawal.cancel, WithdrawalClosed)


def test_a_review_that_nobody_answers_is_rejected_after_three_days() -> None:
    withdrawal = a_withdrawal(under_review(), reviewed(BOB), cents=60_000)

    refused(withdrawal, lambda: withdrawal.lapse(NOW + timedelta(hours=72) - timedelta(microseconds=1)), NotExpired)
    then(withdrawal, lambda: withdrawal.lapse(NOW + timedelta(hours=72)), WithdrawalRejected(cause="unanswered"))
    refused(other := a_withdrawal(approved()), lambda: other.lapse(NOW + timedelta(days=9)), NotUnderReview)


# Burn and payout


def fund(withdrawal: Withdrawal, cents: int = 40_000, burned: int | None = 40_000, reserved: int | None = 40_000) -> None:
    burning = None if burned is None else Burning(burned * CENT, burned, tx("burn"))
    command = FundWithdrawal(transaction=tx("burn"), payout=Amount.of("USD.bank", cents))
    withdrawal.fund(command, burning=burning, reserved=reserved)


def test_a_payout_follows_its_burn_and_is_exactly_that() -> None:
    withdrawal = a_withdrawal(approved())

    refused(withdrawal, lambda: fund(withdrawal, burned=None), NotBurned)
    refused(withdrawal, lambda: fund(withdrawal, cents=40_001), NotBurned)
    refused(withdrawal, lambda: fund(withdrawal, cents=39_999, burned=39_999), NotBurned)
    refused(withdrawal, lambda: fund(withdrawal, reserved=None), NotReserved)
    then(withdrawal, lambda: fund(withdrawal), funded())
    refused(other := a_withdrawal(), lambda: fund(other), NotApproved)


def submit(withdrawal: Withdrawal, attempt: int = 1) -> None:
    withdrawal.submit(SubmitPayout(rail=Rail("wise"), attempt=attempt))


PAID = PayoutPaid(
    bank_reference=BankReference("w1"), booked_at=NOW, rail=Rail("wise"), payout=Amount.of("USD.bank", 40_000)
)  # fmt: skip


def confirm(withdrawal: Withdrawal, reference: str = "w1") -> None:
    withdrawal.confirm(ConfirmPayout(bank_reference=BankReference(reference), booked_at=NOW))


def take_back(withdrawal: Withdrawal, reference: str = "r1") -> None:
    command = ReturnPayout(bank_reference=BankReference(reference), booked_at=NOW, reason=Label("AC04"))
    withdrawal.take_back(command)


def returned(paid: bool) -> PayoutReturned:
    fields = {**dict(PAID), "bank_reference": BankReference("r1")}
    return PayoutReturned(**fields, reason=Label("AC04"), paid=paid)


def test_the_bank_is_told_once_under_the_attempts_own_key() -> None:
    withdrawal = a_withdrawal(approved(), funded())

    then(withdrawal, lambda: submit(withdrawal), submitted())
    refused(withdrawal, lambda: submit(withdrawal, 2), PayoutPending)
    refused(other := a_withdrawal(approved()), lambda: submit(other), NotFunded)
    refused(third := a_withdrawal(approved(), funded()), lambda: submit(third, 2), NotReturned)


def test_a_payout_is_paid_when_the_bank_has_booked_it() -> None:
    withdrawal = a_withdrawal(approved(), funded(), submitted())

    then(withdrawal, lambda: confirm(withdrawal), PAID)
    refused(withdrawal, lambda: confirm(withdrawal, "w2"), NotSubmitted)
    refused(withdrawal, lambda: submit(withdrawal, 2), PayoutPending)
    refused(other := a_withdrawal(approved(), funded()), lambda: confirm(other), NotSubmitted)


@pytest.mark.parametrize("paid", [True, False])
def test_a_payout_returned_after_it_was_reported_paid_is_one_that_came_back(paid: bool) -> None:
    withdrawal = a_withdrawal(approved(), funded(), submitted(), *([PAID] if paid else []))

    then(withdrawal, lambda: take_back(withdrawal), returned(paid))
    refused(withdrawal, lambda: take_back(withdrawal, "r2"), NotSubmitted)
    refused(withdrawal, lambda: submit(withdrawal, 2), NotReturned)


def test_a_payout_returned_after_it_was_reported_paid_reissues_exactly_what_was_burned() -> None:
    withdrawal = a_withdrawal(approved(), funded(), submitted(), PAID, returned(True))
    command = ReissueWithdrawal(reference=Reference("return:alice.1"))

    withdrawal.require_returned(payout=Amount.of("USD.bank", 40_000))
    withdrawal.require_returned(coins=Amount.of("USD.s", 40_000 * CENT))
    with pytest.raises(AmountDiffers):
        withdrawal.require_returned(coins=Amount.of("USD.s", 40_001 * CENT))
    refused(withdrawal, lambda: withdrawal.reissue(command, is_confirmed=False), NotMinted)
    then(withdrawal, lambda: withdrawal.reissue(command, is_confirmed=True), WithdrawalReissued(**dict(command)))
    refused(withdrawal, lambda: submit(withdrawal, 2), NotReturned)
    other = ReissueWithdrawal(reference=Reference("return:bob.1"))
    refused(withdrawal, lambda: withdrawal.reissue(other, is_confirmed=True), NotReturned)


def test_the_bank_is_tried_again_only_by_a_reviewer_and_then_nothing_is_issued() -> None:
    withdrawal = a_withdrawal(approved(), funded(), submitted(), returned(False))

    refused(withdrawal, lambda: review(withdrawal, ALICE), RequesterCannotReview)
    refused(withdrawal, lambda: review(withdrawal, BOB, reissuing=True), NotUnderReview)
    review(withdrawal, BOB)
    with pytest.raises(NotReturned):
        withdrawal.require_returned()
    refused(withdrawal, lambda: review(withdrawal, BOB), NotUnderReview)
    submit(withdrawal, 2)
    take_back(withdrawal, "r2")

    refused(withdrawal, lambda: submit(withdrawal, 3), AttemptsUsed)
    assert withdrawal.submitted == submitted(2)


def test_what_came_back_from_the_last_attempt_cannot_wait_for_another_one() -> None:
    """A reviewer's consent that no attempt can use would keep its coins from ever being issued again."""
    withdrawal = a_withdrawal(approved(), funded(), submitted(), returned(False))
    review(withdrawal, BOB)
    submit(withdrawal, 2)
    take_back(withdrawal, "r2")

    refused(withdrawal, lambda: review(withdrawal, BOB), AttemptsUsed)
    withdrawal.require_returned(payout=Amount.of("USD.bank", 40_000))


# The limits


def reserve(outflow: Outflow, name: str, cents: int, now: datetime = NOW, *, reviewed: bool = False) -> None:
    outflow.reserve(ReserveOutflow(withdrawal=WithdrawalId(name), usd_cents=cents, reviewed=reviewed), now)


def an_outflow(*payouts: tuple[str, int, datetime, bool]) -> Outflow:
    outflow = given(Outflow, OUTFLOW)
    for name, cents, at, is_reviewed in payouts:
        reserve(outflow, name, cents, at, reviewed=is_reviewed)
    outflow.pending.clear()
    return outflow


def test_a_payout_is_counted_once() -> None:
    outflow = an_outflow()
    event = OutflowReserved(withdrawal=WithdrawalId("a.1"), usd_cents=50_000, reviewed=False, at=NOW, window_usd_cents=50_000)

    then(outflow, lambda: reserve(outflow, "a.1", 50_000), event)
    refused(outflow, lambda: reserve(outflow, "a.1", 49_999), ReferenceUsed)
    refused(outflow, lambda: reserve(outflow, "a.2", 50_001), OverSingleLimit)
    elsewhere = given(Outflow, "treasury/outflow/EUR")
    refused(elsewhere, lambda: reserve(elsewhere, "a.1", 5), AddressedWrongly)


def test_a_payout_at_23_59_and_one_at_00_01_share_a_window() -> None:
    """A calendar day would let twice the limit out around midnight."""
    evening, night = NOW.replace(hour=23, minute=59), NOW.replace(day=25, hour=0, minute=1)
    outflow = an_outflow(*((f"a.{n}", 50_000, evening, False) for n in range(10)))

    refused(outflow, lambda: reserve(outflow, "b.1", 1, night), OverDailyLimit)
    refused(outflow, lambda: reserve(outflow, "b.1", 1, evening + timedelta(hours=24, seconds=-1)), OverDailyLimit)
    reserve(outflow, "b.1", 50_000, evening + timedelta(hours=24))


def test_a_reviewed_payout_of_4800_dollars_leaves_200_dollars_for_the_automatic_path() -> None:
    outflow = an_outflow(("a.1", 480_000, NOW, True))

    refused(outflow, lambda: reserve(outflow, "b.1", 20_001), OverDailyLimit)
    reserve(outflow, "b.1", 20_000)
    reserve(outflow, "c.1", 10**9, reviewed=True)

    assert outflow.window(NOW) == 500_000 + 10**9


def test_what_will_not_be_paid_is_counted_no_more() -> None:
    outflow = an_outflow(("a.1", 50_000, NOW, False))
    release = ReleaseOutflow(withdrawal=WithdrawalId("a.1"))

    outflow.release(release)

    assert outflow.pending == [OutflowReleased(withdrawal=WithdrawalId("a.1"))]
    assert outflow.window(NOW) == 0
    refused(outflow, lambda: outflow.release(release), NotReserved)


def test_who_approved_a_payout_may_also_have_the_bank_tried_again_and_it_is_not_approved_anew() -> None:
    history = (under_review(40_000), reviewed(BOB), reviewed(CAROL), WithdrawalApproved(route="reviewed", usd_cents=40_000))
    withdrawal = a_withdrawal(*history, funded(), submitted(), returned(False))

    review(withdrawal, BOB)

    assert withdrawal.pending == [reviewed(BOB)]
    assert withdrawal.state == "returned"
