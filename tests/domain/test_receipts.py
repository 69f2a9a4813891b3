"""What a provider claims against what the router observed; what is owed, and to whom."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from contracts import Address, Amount, Count, Did, Label, Uuid
from contracts.inference import (
    DISPUTE_SECONDS,
    RECEIPT_SECONDS,
    REQUEST_SECONDS,
    UNSETTLED_SECONDS,
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    AttemptStarted,
    CloseRequest,
    Considered,
    Constraints,
    DisputeResolved,
    EndAttempt,
    Funds,
    NotePayment,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptPaid,
    ReceiptRefuted,
    ReceiptSettled,
    RefuteReceipt,
    RequestClosed,
    ResolveDispute,
    SettleReceipt,
    StartAttempt,
    Step,
    SubmitReceipt,
)
from contracts.providers import OfferId
from contracts.treasury import AccountId, HoldId
from domain.inference import (
    AlreadyClosed,
    AlreadyEnded,
    AlreadyMatched,
    AlreadyOpened,
    AlreadyRefuted,
    AlreadySettled,
    AlreadyWon,
    BeyondObserved,
    HalfAnEnd,
    NoRate,
    NoSuchAttempt,
    NoSuchReceipt,
    NotDisputed,
    NotHeld,
    NothingOwed,
    NotInChain,
    NotMatched,
    NotOpen,
    NotSettled,
    NotYetLost,
    OtherRequest,
    OtherTerms,
    OutOfTurn,
    Owed,
    OwnReceipt,
    PaidOtherwise,
    Request,
    StillRunning,
    TooLate,
    TooManyAttempts,
    TooManyReceipts,
    WindowClosed,
)
from domain.inference.billing import most_of, protocol_fee, to_be_held
from tests.domain.given import did, digest, refused, then
from tests.domain.test_inference import ALICE, BOB, CAROL, NOW, opening
from tests.domain.test_inference import request as unopened

OPENED = digest("the signed OpenRequest")
ANSWER = digest("answer")
WEIGHTS = digest("weights")
PROMPT_PRICE, COMPLETION_PRICE = 200_000_000_000, 600_000_000_000
COST = 100 * PROMPT_PRICE + 50 * COMPLETION_PRICE
"""Of `opening`: 100 tokens of prompt, 50 of completion at most."""
PAYEE, OWNER = Address("0x" + "ab" * 20), Address("0x" + "cd" * 20)
EPOCH = (NOW - datetime(1970, 1, 1, tzinfo=NOW.tzinfo)).days
FUNDS = Funds(account=AccountId("acme"), asset="USD.s", hold=HoldId("h1"), amount=to_be_held(2 * COST))
CONSIDERED = (
    Considered(offer=ALICE, cost=COST), Considered(offer=BOB, cost=2 * COST), Considered(offer=CAROL, cost=1, reason="stale"),
)  # fmt: skip


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def opened(**changes: Any) -> Request:
    ours = unopened()
    ours.open(opening(**{"considered": CONSIDERED, "funds": FUNDS, **changes}), NOW, OPENED)
    ours.pending.clear()
    return ours


def an_end(outcome: str = "completed", **changes: Any) -> EndAttempt:
    fields: dict[str, Any] = {
        "number": 1, "outcome": outcome, "delivered_bytes": 160, "prompt_tokens": 100, "completion_tokens": 40,
        "method": "tokenizer", "finish_reason": Label("stop"), "first_token_ms": 90, "response_hash": ANSWER,
    }  # fmt: skip
    return EndAttempt(**{**fields, **changes})


def nothing(outcome: str = "failed", **changes: Any) -> EndAttempt:
    """An end before anything was delivered."""
    silent = {"delivered_bytes": 0, "completion_tokens": 0, "response_hash": None, "finish_reason": None}
    return an_end(outcome, **{**silent, **({"failure": "connect"} if outcome == "failed" else {}), **changes})


def a_receipt(**changes: Any) -> SubmitReceipt:
    fields: dict[str, Any] = {
        "number": 1, "offer": ALICE, "model_digest": WEIGHTS, "opened": OPENED, "request_hash": digest("body"),
        "response_hash": ANSWER, "prompt_tokens": 100, "completion_tokens": 40, "started_at": NOW, "ended_at": after(5),
        "finish_reason": Label("stop"), "partial": False,
    }  # fmt: skip
    return SubmitReceipt(**{**fields, **changes})


def terms(**changes: Any) -> SettleReceipt:
    fields: dict[str, Any] = {
        "device": did("alice"), "payee": PAYEE, "model_owner": OWNER, "model_digest": WEIGHTS, "prompt_price": PROMPT_PRICE,
        "completion_price": COMPLETION_PRICE, "epoch": EPOCH,
    }  # fmt: skip
    return SettleReceipt(**{**fields, **changes})


def ended(command: EndAttempt | None = None, **changes: Any) -> Request:
    ours = opened(**changes)
    ours.end(command or an_end(), after(10))
    ours.pending.clear()
    return ours


def submit(ours: Request, receipt: SubmitReceipt | None = None, by: str = "alice", seconds: float = 20) -> None:
    ours.submit(receipt or a_receipt(), did(by), did(by), after(seconds))


def matched(command: EndAttempt | None = None, receipt: SubmitReceipt | None = None, **changes: Any) -> Request:
    ours = ended(command, **changes)
    submit(ours, receipt)
    ours.pending.clear()
    return ours


def disputed(receipt: SubmitReceipt | None = None) -> Request:
    return matched(receipt=receipt or a_receipt(completion_tokens=1_000_000))


def the_bill(ours: Request) -> ReceiptSettled:
    [event] = ours.pending
    assert isinstance(event, ReceiptSettled)
    return event


# Funds


def test_a_request_names_what_is_held_for_it() -> None:
    ours = unopened()

    ours.open(opening(considered=CONSIDERED, funds=FUNDS), NOW, OPENED)

    assert ours.opened is not None
    assert (ours.opened.funds, ours.opened.opened) == (FUNDS, OPENED)


def test_a_request_needs_the_dearest_of_its_chain_and_one_per_cent_held() -> None:
    ours, needed = unopened(), 2 * COST + -(-2 * COST // 100)
    one_less = FUNDS.model_copy(update={"amount": needed - 1})

    refused(ours, lambda: ours.open(opening(considered=CONSIDERED, funds=one_less), NOW, OPENED), NotHeld)
    ours.open(opening(considered=CONSIDERED, funds=FUNDS.model_copy(update={"amount": needed})), NOW, OPENED)

    assert len(ours.pending) == 2


def test_a_request_that_is_paid_in_space_has_no_rate() -> None:
    ours, space = unopened(), FUNDS.model_copy(update={"asset": "SPACE"})

    assert refused(ours, lambda: ours.open(opening(considered=CONSIDERED, funds=space), NOW), NoRate).field == "funds"


def test_the_same_wish_signed_again_opens_nothing_new() -> None:
    """It has another id and so another hash; receipts are for the first."""
    ours = opened()

    ours.open(opening(considered=CONSIDERED, funds=FUNDS), NOW, digest("signed again"))

    assert not ours.pending
    assert ours.opened is not None
    assert ours.opened.opened == OPENED


def test_a_request_is_not_opened_again_with_other_funds() -> None:
    ours = opened()
    other = FUNDS.model_copy(update={"hold": HoldId("h2")})

    refused(ours, lambda: ours.open(opening(considered=CONSIDERED, funds=other), NOW, OPENED), AlreadyOpened)


# Attempts


def test_a_provider_that_dies_before_the_first_token_is_replaced_after_it_is_reported() -> None:
    ours = opened()
    then_bob = StartAttempt(number=2, offer=BOB)

    refused(ours, lambda: ours.start(then_bob), OutOfTurn)
    ours.end(nothing(failure="first_token"), after(30))
    ours.start(then_bob)
    ours.start(then_bob)

    failed, started = ours.pending
    assert isinstance(failed, AttemptFailed)
    assert failed.before_first_token
    assert started == AttemptStarted(number=2, offer=BOB)


def test_after_a_delivered_byte_nobody_else_is_tried() -> None:
    """Else it is delivered twice."""
    ours = ended(an_end("failed", failure="idle", finish_reason=None))

    refused(ours, lambda: ours.start(StartAttempt(number=2, offer=BOB)), AlreadyWon)


def test_only_the_chain_is_tried_and_four_times() -> None:
    ours = opened()
    for number in (1, 2, 3):
        ours.end(nothing(number=number), after(number))
        refused(ours, lambda n=number: ours.start(StartAttempt(number=n + 1, offer=CAROL)), NotInChain)  # type: ignore[misc]
        ours.start(StartAttempt(number=number + 1, offer=BOB))
    ours.end(nothing(number=4), after(4))

    refused(ours, lambda: ours.start(StartAttempt(number=5, offer=BOB)), TooManyAttempts)


def test_attempts_are_numbered_in_their_order() -> None:
    ours = ended(nothing())

    refused(ours, lambda: ours.start(StartAttempt(number=3, offer=BOB)), OutOfTurn)
    ours.start(StartAttempt(number=2, offer=BOB))
    refused(ours, lambda: ours.start(StartAttempt(number=2, offer=ALICE)), OutOfTurn)


def test_a_race_has_one_winner_and_the_loser_is_cancelled_and_unpaid() -> None:
    ours = opened(strategy="parallel")
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(number=2), after(3))

    refused(ours, lambda: ours.end(an_end(number=1), after(4)), AlreadyWon)
    ours.end(an_end("cancelled", number=1, cause="race", finish_reason=None), after(4))
    submit(ours, a_receipt(number=1), "alice")
    submit(ours, a_receipt(number=2, offer=BOB), "bob")

    assert ours.winner == 2
    lost, won = ours.pending[-2:]
    assert isinstance(lost, ReceiptDisputed)
    assert lost.cause == "not_owed"
    assert isinstance(won, ReceiptMatched)


def test_an_attempt_ends_once() -> None:
    ours = opened()

    then(ours, lambda: ours.end(an_end(), after(10)), *_ends(AttemptCompleted))

    refused(ours, lambda: ours.end(an_end(completion_tokens=41), after(10)), AlreadyEnded)
    refused(ours, lambda: ours.end(nothing(), after(10)), AlreadyEnded)
    ours.end(an_end(), after(99))
    assert len(ours.pending) == 1, "the same end, told later, is the same end"
    refused(ours, lambda: ours.end(an_end(number=2), after(10)), NoSuchAttempt)


def _ends(kind: type[AttemptCompleted]) -> tuple[AttemptCompleted]:
    said = an_end().model_dump(exclude={"outcome", "failure", "cause"})
    return (kind(**said, offer=ALICE, ended_at=after(10)),)


@pytest.mark.parametrize(
    "half",
    [
        an_end("failed"), an_end("cancelled"), an_end(failure="idle"), an_end(cause="client"), an_end(response_hash=None),
        an_end(finish_reason=None), nothing(response_hash=ANSWER), nothing("completed", finish_reason=Label("stop")),
    ],
    ids=["no failure", "no cause", "a failure too many", "a cause too many", "no hash", "no reason", "a hash of nothing",
         "an empty answer"],
)  # fmt: skip
def test_an_end_says_all_that_belongs_to_it(half: EndAttempt) -> None:
    ours = opened()

    refused(ours, lambda: ours.end(half, after(10)), HalfAnEnd)


@pytest.mark.parametrize("failure", ["empty_body", "error_frame", "missing_usage"])
def test_a_200_that_is_none_is_a_failure_of_its_own_class(failure: str) -> None:
    ours = opened()

    ours.end(nothing(failure=failure), after(10))

    [event] = ours.pending
    assert isinstance(event, AttemptFailed)
    assert event.failure == failure


def test_a_usage_of_zero_is_zero_and_not_missing() -> None:
    ours = matched(an_end(completion_tokens=0), a_receipt(completion_tokens=0))

    ours.settle(terms())

    assert the_bill(ours).price == 100 * PROMPT_PRICE


def test_after_the_client_has_gone_nobody_else_is_tried() -> None:
    ours = ended(nothing("cancelled", cause="client"))

    refused(ours, lambda: ours.start(StartAttempt(number=2, offer=BOB)), AlreadyClosed)


# Receipts


def test_a_receipt_that_agrees_with_what_was_observed_matches() -> None:
    ours, claim = ended(), a_receipt()

    then(ours, lambda: submit(ours), ReceiptMatched(device=did("alice"), person=did("alice"), **dict(claim)))


def test_one_million_claimed_tokens_for_eight_words_is_disputed() -> None:
    ours = ended(an_end(completion_tokens=8))
    claim = a_receipt(completion_tokens=1_000_000)

    then(
        ours, lambda: submit(ours, claim),
        ReceiptDisputed(device=did("alice"), person=did("alice"), cause="completion_tokens", **dict(claim)),
    )  # fmt: skip
    refused(ours, lambda: ours.settle(terms()), NotMatched)


@pytest.mark.parametrize(
    ("method", "observed", "most"),
    [
        ("tokenizer", 0, 8), ("tokenizer", 40, 48), ("tokenizer", 449, 457), ("tokenizer", 450, 459),
        ("tokenizer", 10_000, 10_200),
        ("bytes", 0, 16), ("bytes", 64, 80), ("bytes", 68, 85), ("bytes", 1_000, 1_250),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_a_claim_may_exceed_what_was_counted_by_the_tolerance_and_by_no_token_more(
    method: str, observed: Count, most: Count, field: str
) -> None:
    """2 % or 8 tokens where a tokenizer counts, 25 % or 16 where bytes are counted."""
    for claim, kind in ((most, ReceiptMatched), (most + 1, ReceiptDisputed)):
        counted: dict[str, Any] = {"method": method, field: observed}
        ours = ended(an_end(**counted))
        submit(ours, a_receipt(**{field: claim}))

        assert type(ours.pending[0]) is kind


def test_who_claims_less_is_paid_less() -> None:
    ours = matched(receipt=a_receipt(completion_tokens=3))

    ours.settle(terms())

    assert the_bill(ours).completion_tokens == 3


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"request_hash": digest("another body")}, "request_hash"), ({"response_hash": digest("another")}, "response_hash"),
        ({"prompt_tokens": 109}, "prompt_tokens"), ({"completion_tokens": 49}, "completion_tokens"),
    ],
)  # fmt: skip
def test_a_receipt_that_says_something_else_is_disputed_with_its_cause(changes: dict[str, Any], cause: str) -> None:
    ours = ended()

    submit(ours, a_receipt(**changes))

    [event] = ours.pending
    assert isinstance(event, ReceiptDisputed)
    assert event.cause == cause


def test_a_disputed_receipt_may_be_corrected_in_time_and_one_that_stands_may_not() -> None:
    ours = disputed()

    submit(ours)
    refused(ours, lambda: submit(ours, a_receipt(completion_tokens=41)), AlreadyMatched)

    assert [type(event) for event in ours.pending] == [ReceiptMatched]


def test_a_receipt_twice_settles_once() -> None:
    ours = matched()

    submit(ours)
    ours.settle(terms())
    submit(ours)
    ours.settle(terms())

    assert [type(event) for event in ours.pending] == [ReceiptSettled]


def test_a_receipt_for_another_request_or_after_settlement_is_refused() -> None:
    ours = ended()
    refused(ours, lambda: submit(ours, a_receipt(opened=digest("another OpenRequest"))), OtherRequest)
    refused(ours, lambda: submit(ours, a_receipt(number=2)), NoSuchAttempt)
    refused(ours, lambda: submit(ours, a_receipt(offer=BOB)), NoSuchAttempt)
    submit(ours)
    ours.settle(terms())
    ours.pending.clear()

    refused(ours, lambda: submit(ours, a_receipt(completion_tokens=39)), AlreadySettled)
    refused(ours, lambda: submit(ours, by="bob"), AlreadySettled)


def test_a_receipt_that_takes_no_money_needs_not_name_the_signed_request() -> None:
    """Nor did requests keep their hash before there were funds; the salted hash of the body tells them apart."""
    ours = ended(funds=None)

    submit(ours, a_receipt(opened=digest("another OpenRequest")))
    submit(ours, a_receipt(request_hash=digest("another body")), "bob")

    assert [type(event) for event in ours.pending] == [ReceiptMatched, ReceiptDisputed]


def test_a_receipt_comes_within_600_seconds_of_the_end() -> None:
    in_time, late = ended(), ended()

    submit(in_time, seconds=10 + RECEIPT_SECONDS)
    refused(late, lambda: submit(late, seconds=10 + RECEIPT_SECONDS + 0.001), TooLate)

    assert len(in_time.pending) == 1


def test_before_the_router_has_said_what_it_observed_there_is_nothing_to_match() -> None:
    ours = opened()

    refused(ours, lambda: submit(ours), StillRunning)


def test_somebody_else_s_receipt_does_not_stand_in_the_way() -> None:
    """All that it says is in the log for everybody to repeat; only the offer's device is paid."""
    ours = ended()

    submit(ours, by="mallory")
    submit(ours)
    ours.settle(terms())

    assert [type(event) for event in ours.pending] == [ReceiptMatched, ReceiptMatched, ReceiptSettled]
    assert ours.settled is not None
    assert ours.settled.provider == did("alice")


def test_a_request_has_no_more_receipts_than_it_can_have_had() -> None:
    ours = ended()
    for number in range(32):
        submit(ours, by=f"mallory {number}")
    ours.pending.clear()

    refused(ours, lambda: submit(ours), TooManyReceipts)


# Disputes


RESOLVED = ResolveDispute(device=did("alice"), prompt_tokens=100, completion_tokens=40, basis=Label("counted again"))
ARBITER = did("arbiter")


def resolve(ours: Request, command: ResolveDispute = RESOLVED, by: Did = ARBITER, seconds: float = 3_600) -> None:
    ours.resolve(command, by, by, after(seconds))


def test_a_resolved_dispute_is_settled_by_the_arbiter_s_numbers() -> None:
    ours = disputed()
    event = DisputeResolved(number=1, resolved_by=ARBITER, person=ARBITER, **dict(RESOLVED))

    then(ours, lambda: resolve(ours), event)
    ours.settle(terms())

    assert ours.settled is not None
    assert (ours.settled.prompt_tokens, ours.settled.completion_tokens) == (100, 40)


def test_an_arbiter_gives_no_more_than_was_observed_with_its_tolerance() -> None:
    ours = disputed()

    for field, most in (("prompt_tokens", 108), ("completion_tokens", 48)):
        beyond = RESOLVED.model_copy(update={field: most + 1})
        assert refused(ours, lambda asked=beyond: resolve(ours, asked), BeyondObserved).field == field  # type: ignore[misc]
    resolve(ours, RESOLVED.model_copy(update={"completion_tokens": 48}))

    assert len(ours.pending) == 1


def test_nobody_resolves_a_dispute_over_his_own_receipt() -> None:
    ours = disputed()

    refused(ours, lambda: ours.resolve(RESOLVED, ARBITER, did("alice"), after(60)), OwnReceipt)


def test_what_is_not_in_dispute_is_not_resolved() -> None:
    silent, standing = ended(nothing()), matched()
    refused(silent, lambda: resolve(silent), NothingOwed)
    refused(standing, lambda: resolve(standing), NotDisputed)

    ours = disputed()
    refused(ours, lambda: resolve(ours, RESOLVED.model_copy(update={"device": did("bob")})), NotDisputed)
    resolve(ours)
    ours.pending.clear()
    refused(ours, lambda: resolve(ours, RESOLVED.model_copy(update={"completion_tokens": 1})), NotDisputed)


def test_a_dispute_is_resolved_and_a_receipt_refuted_within_seven_days() -> None:
    refute = RefuteReceipt(device=did("alice"), evidence=digest("probe"))
    late = 10 + DISPUTE_SECONDS + 0.001

    ours = disputed()
    refused(ours, lambda: resolve(ours, seconds=late), WindowClosed)
    refused(ours, lambda: ours.refute(refute, did("oracle"), after(late)), WindowClosed)
    resolve(ours, seconds=10 + DISPUTE_SECONDS)
    ours.refute(refute, did("oracle"), after(10 + DISPUTE_SECONDS))

    assert [type(event) for event in ours.pending] == [DisputeResolved, ReceiptRefuted]


def test_what_was_settled_is_not_in_dispute_any_more() -> None:
    ours = ended()
    submit(ours, by="alice")
    submit(ours, a_receipt(completion_tokens=1_000_000), "mallory")
    ours.settle(terms())
    ours.pending.clear()

    refused(ours, lambda: resolve(ours, RESOLVED.model_copy(update={"device": did("mallory")})), AlreadySettled)


def test_a_refuted_receipt_is_not_settled() -> None:
    ours, refute = matched(), RefuteReceipt(device=did("alice"), evidence=digest("probe"))
    event = ReceiptRefuted(device=did("alice"), number=1, evidence=digest("probe"), refuted_by=did("oracle"))

    then(ours, lambda: ours.refute(refute, did("oracle"), after(60)), event)

    refused(ours, lambda: ours.settle(terms()), NotMatched)
    refused(ours, lambda: submit(ours, a_receipt(completion_tokens=1)), AlreadyMatched)
    other = RefuteReceipt(device=did("alice"), evidence=digest("another probe"))
    refused(ours, lambda: ours.refute(other, did("oracle"), after(60)), AlreadyRefuted)
    stranger = RefuteReceipt(device=did("bob"), evidence=digest("probe"))
    refused(ours, lambda: ours.refute(stranger, did("oracle"), after(60)), NoSuchReceipt)


# The bill


def test_a_receipt_is_settled_by_the_offer_s_prices_with_one_per_cent_on_top() -> None:
    ours = matched()
    price = 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE

    ours.settle(terms())

    assert the_bill(ours) == ReceiptSettled(
        account=AccountId("acme"), hold=HoldId("h1"), provider=did("alice"), payee=PAYEE, model=opening().model,
        model_owner=OWNER, asset="USD.s", price=price, protocol_fee=price // 100, prepaid=False, epoch=EPOCH,
        prompt_tokens=100, completion_tokens=40, prompt_price=PROMPT_PRICE, completion_price=COMPLETION_PRICE,
        model_digest=WEIGHTS,
    )  # fmt: skip


def test_a_bill_that_was_captured_in_full_is_paid_once() -> None:
    ours = matched()
    ours.settle(terms())
    bill, owed = the_bill(ours), to_be_held(100 * PROMPT_PRICE + 40 * COMPLETION_PRICE)

    ours.note_payment(NotePayment(hold=HoldId("h1"), amount=Amount.of("USD.s", owed)))
    ours.note_payment(NotePayment(hold=HoldId("h1"), amount=Amount.of("USD.s", owed)))

    [_, paid] = ours.pending
    assert paid == ReceiptPaid(
        hold=HoldId("h1"), provider=did("alice"), payee=PAYEE, model=bill.model, model_owner=OWNER, asset="USD.s",
        price=bill.price, protocol_fee=bill.protocol_fee, prepaid=False, epoch=EPOCH,
    )  # fmt: skip


def test_what_is_owed_is_paid_from_its_hold_to_the_unit_or_not_at_all() -> None:
    """A router may name a hold that has less than it says: what it gave waits, and nothing is divided."""
    ours = matched()
    with pytest.raises(NotSettled):
        ours.note_payment(NotePayment(hold=HoldId("h1"), amount=Amount.of("USD.s", 1)))
    ours.settle(terms())
    owed = to_be_held(100 * PROMPT_PRICE + 40 * COMPLETION_PRICE)

    for hold, units, asset, harm in [
        ("h2", owed, "USD.s", NotSettled), ("h1", owed - 1, "USD.s", PaidOtherwise),
        ("h1", owed + 1, "USD.s", PaidOtherwise), ("h1", owed, "SPACE", PaidOtherwise),
    ]:  # fmt: skip
        with pytest.raises(harm):
            ours.note_payment(NotePayment(hold=HoldId(hold), amount=Amount.of(asset, units)))

    assert the_bill(ours).hold == "h1"


def test_the_protocol_fee_is_rounded_up() -> None:
    assert [protocol_fee(price) for price in (0, 1, 100, 101, 10**24 + 1)] == [0, 1, 1, 2, 10**22 + 1]


def test_without_funds_a_request_settles_to_a_record() -> None:
    ours = matched(funds=None)

    ours.settle(terms())

    bill = the_bill(ours)
    assert (bill.account, bill.hold, bill.asset) == (None, None, "USD.s")
    assert bill.price == 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE


def test_a_price_change_after_the_decision_does_not_change_the_bill() -> None:
    """Prices that do not give the cost that the router signed are somebody's mistake."""
    ours = matched()

    for changes in ({"prompt_price": PROMPT_PRICE + 1}, {"completion_price": 2 * COMPLETION_PRICE}):
        other = terms(**changes)
        assert refused(ours, lambda asked=other: ours.settle(asked), OtherTerms).field == "prompt_price"  # type: ignore[misc]
    ours.settle(terms())

    assert the_bill(ours).price == 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE


def test_a_second_attempt_is_billed_at_its_own_offer_s_price() -> None:
    ours = ended(nothing())
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(number=2), after(20))
    submit(ours, a_receipt(number=2, offer=BOB), "bob")
    ours.pending.clear()

    refused(ours, lambda: ours.settle(terms(device=did("bob"))), OtherTerms)
    bobs = terms(device=did("bob"), prompt_price=2 * PROMPT_PRICE, completion_price=2 * COMPLETION_PRICE)
    ours.settle(bobs)

    assert the_bill(ours).price == 2 * (100 * PROMPT_PRICE + 40 * COMPLETION_PRICE)


def test_the_receipt_of_another_device_than_the_offer_s_is_not_settled() -> None:
    ours = ended()
    submit(ours, by="mallory")
    ours.pending.clear()

    assert refused(ours, lambda: ours.settle(terms()), NotMatched).field == "device"


@pytest.mark.parametrize(
    ("changes", "field"), [({"model_digest": digest("other weights")}, "model_digest"), ({"epoch": EPOCH + 1}, "epoch")]
)
def test_terms_that_are_not_those_of_the_decision_are_refused(changes: dict[str, Any], field: str) -> None:
    ours = matched()

    assert refused(ours, lambda: ours.settle(terms(**changes)), OtherTerms).field == field


def test_nobody_pays_for_more_than_was_asked_for() -> None:
    """A model that runs on, and a count within the tolerance above the greatest number of tokens."""
    ours = matched(an_end(completion_tokens=70, prompt_tokens=104), a_receipt(completion_tokens=78, prompt_tokens=112))

    ours.settle(terms())

    bill = the_bill(ours)
    assert (bill.prompt_tokens, bill.completion_tokens) == (100, 50)
    assert bill.price + bill.protocol_fee == to_be_held(COST)


def test_a_client_that_disconnects_pays_for_what_was_delivered() -> None:
    cut = an_end("cancelled", cause="client", completion_tokens=11, finish_reason=None)
    ours = matched(cut, a_receipt(completion_tokens=11, partial=True))

    ours.settle(terms())

    assert the_bill(ours).completion_tokens == 11


def test_an_answer_that_broke_off_is_paid_as_far_as_it_came() -> None:
    broken = an_end("failed", failure="idle", completion_tokens=7, finish_reason=None)
    ours = matched(broken, a_receipt(completion_tokens=7, partial=True))

    ours.settle(terms())

    assert the_bill(ours).completion_tokens == 7


def test_a_settled_request_is_not_settled_otherwise() -> None:
    ours = matched()
    ours.settle(terms())
    ours.pending.clear()

    refused(ours, lambda: ours.settle(terms(payee=OWNER)), AlreadySettled)


def test_what_was_not_opened_is_not_settled_tried_or_closed() -> None:
    ours = unopened()

    refused(ours, lambda: ours.settle(terms()), NotOpen)
    refused(ours, lambda: ours.start(StartAttempt(number=2, offer=BOB)), NotOpen)
    refused(ours, lambda: ours.close(CloseRequest(cause="client"), NOW), NotOpen)
    refused(ours, lambda: submit(ours), NoSuchAttempt)
    refused(ours, lambda: ours.end(an_end(), NOW), NoSuchAttempt)


# The end of a request


def test_a_router_that_dies_leaves_no_open_hold() -> None:
    ours = opened()
    lost = CloseRequest(cause="router_lost")

    refused(ours, lambda: ours.close(lost, after(REQUEST_SECONDS - 60.001)), NotYetLost)
    then(ours, lambda: ours.close(lost, after(REQUEST_SECONDS)), RequestClosed(cause="router_lost", funds=FUNDS))
    refused(ours, lambda: submit(ours), TooLate)
    refused(ours, lambda: ours.end(an_end(), after(901)), AlreadyClosed)
    refused(ours, lambda: ours.start(StartAttempt(number=2, offer=BOB)), AlreadyClosed)


def test_a_router_that_has_said_all_is_not_lost() -> None:
    ours = ended()

    refused(ours, lambda: ours.close(CloseRequest(cause="router_lost"), after(REQUEST_SECONDS)), NotYetLost)


def test_a_winner_s_receipt_is_waited_for_though_the_loser_s_end_was_lost() -> None:
    ours, lost = opened(strategy="parallel"), CloseRequest(cause="router_lost")
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(number=2), after(800))
    submit(ours, a_receipt(number=2, offer=BOB), "bob", 801)
    ours.pending.clear()

    refused(ours, lambda: ours.close(lost, after(REQUEST_SECONDS)), NotYetLost)
    refused(ours, lambda: ours.close(lost, after(800 + RECEIPT_SECONDS + 1)), Owed)
    ours.close(lost, after(800 + RECEIPT_SECONDS + UNSETTLED_SECONDS + 1))

    assert len(ours.pending) == 1


def test_without_a_receipt_in_600_seconds_nobody_is_charged() -> None:
    ours, unpaid = ended(), CloseRequest(cause="no_receipt")

    refused(ours, lambda: ours.close(unpaid, after(10 + RECEIPT_SECONDS)), NotYetLost)
    then(
        ours, lambda: ours.close(unpaid, after(10 + RECEIPT_SECONDS + 1)), RequestClosed(cause="no_receipt", funds=FUNDS)
    )  # fmt: skip
    refused(ours, lambda: ours.settle(terms()), NotMatched)


def test_a_receipt_that_stands_is_settled_before_anything_is_closed() -> None:
    """And if nobody could settle it in an hour, it is not the offer's device that signed it."""
    ours, unpaid = matched(), CloseRequest(cause="no_receipt")

    refused(ours, lambda: ours.close(unpaid, after(10 + RECEIPT_SECONDS + UNSETTLED_SECONDS)), Owed)
    ours.close(unpaid, after(10 + RECEIPT_SECONDS + UNSETTLED_SECONDS + 1))

    assert len(ours.pending) == 1
    refused(ours, lambda: ours.settle(terms()), AlreadyClosed)


def test_a_disputed_receipt_holds_up_no_money() -> None:
    """What is resolved after the request was closed is held anew, and taken alone."""
    ours = disputed()

    ours.close(CloseRequest(cause="no_receipt"), after(10 + RECEIPT_SECONDS + 1))
    resolve(ours)
    ours.settle(terms())

    assert [type(event) for event in ours.pending] == [RequestClosed, DisputeResolved, ReceiptSettled]
    assert ours.settled is not None
    assert (ours.settled.account, ours.settled.hold) == (AccountId("acme"), HoldId(f"{ours.id}.late"))
    assert ours.settled.held_anew


@pytest.mark.parametrize("cause", ["client", "budget", "revoked"])
def test_a_request_that_was_given_up_is_closed_at_once_if_nothing_was_delivered(cause: Any) -> None:
    running, silent, delivered = opened(), ended(nothing("cancelled", cause=cause)), ended()

    refused(running, lambda: running.close(CloseRequest(cause=cause), after(11)), StillRunning)
    then(
        silent, lambda: silent.close(CloseRequest(cause=cause), after(11)), RequestClosed(cause=cause, funds=FUNDS)
    )  # fmt: skip
    refused(delivered, lambda: delivered.close(CloseRequest(cause=cause), after(11)), Owed)


def test_a_request_is_closed_once_and_not_after_it_was_settled() -> None:
    ours = ended(nothing("cancelled", cause="client"))
    ours.close(CloseRequest(cause="client"), after(11))
    ours.pending.clear()
    refused(ours, lambda: ours.close(CloseRequest(cause="budget"), after(12)), AlreadyClosed)

    paid = matched()
    paid.settle(terms())
    paid.pending.clear()
    refused(paid, lambda: paid.close(CloseRequest(cause="no_receipt"), after(10_000)), AlreadySettled)


def test_a_loser_s_end_is_still_told_after_settlement() -> None:
    ours = opened(strategy="parallel")
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(), after(3))
    submit(ours)
    ours.settle(terms())
    ours.pending.clear()

    ours.end(nothing("cancelled", number=2, cause="race"), after(5))

    assert isinstance(ours.pending[0], AttemptCancelled)


def test_a_snapshot_is_the_request_with_all_that_was_claimed() -> None:
    form = TypeAdapter(Request)
    ours = disputed()
    submit(ours, by="mallory")
    resolve(ours)
    ours.settle(terms())

    again = form.validate_json(form.dump_json(ours))

    assert again == ours
    assert again.winner == 1
    assert most_of(40, "tokenizer") == 48


def test_steps_and_constraints_go_with_attempts() -> None:
    """A chain of its own (white paper 5.3, `custom`) is tried as it was decided."""
    steps = Constraints(steps=(Step(offer=BOB), Step(offer=ALICE)))
    ours = opened(strategy="custom", constraints=steps, chain=(BOB, ALICE))

    ours.end(nothing(), after(1))
    ours.start(StartAttempt(number=2, offer=ALICE))

    assert ours.attempts[1].offer == OfferId("bob")
    assert Uuid(ours.id)
