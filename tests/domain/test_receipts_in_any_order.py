"""A request against a naive model of it: whoever asks what in whatever order, nobody pays more than was held, or twice."""

from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts import Amount, Label
from contracts.inference import (
    AttemptCancelled,
    AttemptCompleted,
    AttemptFailed,
    CloseRequest,
    Considered,
    EndAttempt,
    Funds,
    NotePayment,
    ReceiptMatched,
    ReceiptPaid,
    ReceiptSettled,
    RefuteReceipt,
    RequestClosed,
    ResolveDispute,
    SettleReceipt,
    StartAttempt,
    SubmitReceipt,
)
from contracts.providers import OfferId
from contracts.treasury import AccountId, HoldId
from domain import Refused
from domain.inference import Request
from domain.inference.billing import most_of, protocol_fee
from tests.domain.given import did, digest
from tests.domain.test_inference import NOW, opening
from tests.domain.test_inference import request as unopened
from tests.domain.test_receipts import OPENED, OWNER, PAYEE, WEIGHTS

NAMES = ("alice", "bob")
PROMPT, MOST, N = 30, 20, 2
PRICES = {"alice": (7, 11), "bob": (13, 5)}
"""Units a token, of prompt and completion."""
COSTS = {name: PROMPT * p + MOST * N * c for name, (p, c) in PRICES.items()}

tokens = st.sampled_from([0, 1, 8, 9, 16, 17, 20, 30, 38, 39, 40, 41, 48, 56, 57, 1_000_000])
names = st.sampled_from(NAMES)
numbers = st.sampled_from([1, 2, 2, 3, 4, 5])
methods = st.sampled_from(["tokenizer", "bytes"])
hashes = st.sampled_from([digest("answer"), digest("answer"), digest("answer"), digest("another")])


def allowed(observed: int, method: str) -> int:
    """From the description: 2 % or 8 tokens where a tokenizer counts, 25 % or 16 where bytes are counted."""
    share, least = {"tokenizer": (Fraction(2, 100), 8), "bytes": (Fraction(25, 100), 16)}[method]
    return observed + max(int(observed * share), least)


@drawn(st.integers(0, 10**12), st.sampled_from(["tokenizer", "bytes"]))
def test_the_tolerance_is_as_it_is_described(observed: int, method: Any) -> None:
    assert most_of(observed, method) == allowed(observed, method)


@drawn(st.integers(0, 10**40))
def test_the_fee_is_the_least_whole_number_that_is_one_per_cent(price: int) -> None:
    assert protocol_fee(price) == ceil(Fraction(price, 100))


class AnyOrder(RuleBasedStateMachine):
    """The model knows what was accepted, in its order, and nothing of how it is decided."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.ours: Request = unopened()
        self.ends: dict[int, EndAttempt] = {}
        self.tried: dict[int, str] = {1: "alice"}

    @initialize(strategy=st.sampled_from(["auto", "parallel"]), spare=st.sampled_from([0, 0, 3]))
    def opens(self, strategy: str, spare: int) -> None:
        dearest = max(COSTS.values())
        self.held = dearest + ceil(Fraction(dearest, 100)) + spare
        self.racers = 2 if strategy == "parallel" else 1
        command = opening(
            strategy=strategy, prompt_tokens=PROMPT, max_tokens=MOST, n=N, chain=tuple(map(OfferId, NAMES)),
            considered=tuple(Considered(offer=OfferId(name), cost=cost) for name, cost in COSTS.items()),
            funds=Funds(account=AccountId("acme"), asset="USD.s", hold=HoldId("h"), amount=self.held),
        )  # fmt: skip
        self.ours.open(command, NOW, OPENED)

    def ask(self, method: str, *arguments: Any) -> bool:
        """Whether it was accepted; a refusal leaves no trace, and a repetition adds nothing."""
        before = list(self.ours.pending)
        try:
            getattr(self.ours, method)(*arguments)
        except Refused:
            assert self.ours.pending == before
            return False
        after = list(self.ours.pending)
        getattr(self.ours, method)(*arguments)
        assert self.ours.pending == after
        return True

    @rule(seconds=st.sampled_from([1, 1, 1, 30, 60, 300, 601, 900, 4_300, 604_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(number=numbers, name=names)
    def starts(self, number: int, name: str) -> None:
        if number > 1 and self.ask("start", StartAttempt(number=number, offer=OfferId(name))):
            assert self.tried.setdefault(number, name) == name
            assert number <= 4

    @rule(
        guess=numbers, outcome=st.sampled_from(["completed", "failed", "cancelled"]), size=st.sampled_from([9, 9, 0]),
        prompt=tokens, completion=tokens, method=methods, cause=st.sampled_from(["client", "race"]), data=st.data(),
    )  # fmt: skip
    def ends_an_attempt(
        self, guess: int, outcome: Any, size: int, prompt: int, completion: int, method: Any, cause: Any, data: Any
    ) -> None:
        running = sorted(self.tried.keys() - self.ends.keys())
        number = data.draw(st.sampled_from([*running, *running, guess]))
        command = EndAttempt(
            number=number, outcome=outcome, failure="idle" if outcome == "failed" else None,
            cause=cause if outcome == "cancelled" else None, delivered_bytes=size, prompt_tokens=prompt,
            completion_tokens=completion, method=method, finish_reason=Label("stop") if size else None,
            response_hash=digest("answer") if size else None,
        )  # fmt: skip
        if self.ask("end", command, self.now):
            assert self.ends.setdefault(number, command) == command

    @precondition(lambda self: self.ends)
    @rule(by=names, more=st.sampled_from([0, 0, 0, 1, 8, 1_000_000]), response=hashes, data=st.data())
    def claims(self, by: str, more: int, response: Any, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.ends)))
        end, offer = self.ends[number], self.tried[number]
        command = SubmitReceipt(
            number=number, offer=OfferId(offer), model_digest=WEIGHTS, opened=OPENED, request_hash=digest("body"),
            response_hash=response, prompt_tokens=end.prompt_tokens, completion_tokens=end.completion_tokens + more,
            started_at=NOW, ended_at=NOW, finish_reason=Label("stop"), partial=False,
        )  # fmt: skip
        self.ask("submit", command, did(by), did(by), self.now)

    @rule(guess=numbers, offer=names, by=names, prompt=tokens, completion=tokens)
    def claims_at_random(self, guess: int, offer: str, by: str, prompt: int, completion: int) -> None:
        command = SubmitReceipt(
            number=guess, offer=OfferId(offer), model_digest=WEIGHTS, opened=OPENED, request_hash=digest("body"),
            response_hash=digest("answer"), prompt_tokens=prompt, completion_tokens=completion, started_at=NOW, ended_at=NOW,
            finish_reason=Label("stop"), partial=False,
        )  # fmt: skip
        self.ask("submit", command, did(by), did(by), self.now)

    @precondition(lambda self: self.ours.receipts)
    @rule(name=names, prompt=st.sampled_from([0, 1, 8, 9]), completion=st.sampled_from([0, 1, 8, 49]))
    def resolves(self, name: str, prompt: int, completion: int) -> None:
        command = ResolveDispute(device=did(name), prompt_tokens=prompt, completion_tokens=completion, basis=Label("recount"))
        self.ask("resolve", command, did("arbiter"), did("arbiter"), self.now)

    @precondition(lambda self: self.ours.receipts)
    @rule(name=names, seldom=st.integers(0, 9))
    def refutes(self, name: str, seldom: int) -> None:
        if seldom == 7:
            self.ask("refute", RefuteReceipt(device=did(name), evidence=digest("probe")), did("oracle"), self.now)

    @precondition(lambda self: self.ours.winner is not None)
    @rule(name=names, priced_as=names)
    def settles(self, name: str, priced_as: str) -> None:
        number = self.ours.winner
        assert number is not None
        end = self.ours.attempts[number].end
        assert end is not None
        prompt_price, completion_price = PRICES[priced_as]
        command = SettleReceipt(
            device=did(name), payee=PAYEE, model_owner=OWNER, model_digest=WEIGHTS, prompt_price=prompt_price,
            completion_price=completion_price, epoch=(end.ended_at - datetime(1970, 1, 1, tzinfo=NOW.tzinfo)).days,
        )  # fmt: skip
        if self.ask("settle", command):
            assert priced_as == self.tried[number], "by the prices of the offer that delivered"

    @rule(hold=st.sampled_from(["h", "h", "another"]), more=st.sampled_from([0, 0, -1, 1]))
    def pays(self, hold: str, more: int) -> None:
        """What the treasury says that it took: only the whole bill, and only from its hold."""
        bill = next((event for event in self.ours.pending if isinstance(event, ReceiptSettled)), None)
        owed = bill.price + bill.protocol_fee if bill else 0
        command = NotePayment(hold=HoldId(hold), amount=Amount.of("USD.s", max(0, owed + more)))
        if self.ask("note_payment", command):
            assert bill is not None
            assert (bill.hold, owed) == (hold, command.amount.units)

    @invariant()
    def what_is_divided_was_billed_and_once(self) -> None:
        bills = [event for event in self.ours.pending if isinstance(event, ReceiptSettled)]
        paid = [event for event in self.ours.pending if isinstance(event, ReceiptPaid)]
        assert [(e.hold, e.price, e.protocol_fee, e.payee) for e in paid] in (
            [], [(bill.hold, bill.price, bill.protocol_fee, bill.payee) for bill in bills],
        )  # fmt: skip

    @rule(cause=st.sampled_from(["client", "router_lost", "no_receipt"]))
    def closes(self, cause: Any) -> None:
        self.ask("close", CloseRequest(cause=cause), self.now)

    @invariant()
    def every_attempt_ends_once_and_one_delivers(self) -> None:
        ended = [event for event in self.ours.pending if isinstance(event, AttemptCompleted | AttemptFailed | AttemptCancelled)]
        assert len({event.number for event in ended}) == len(ended)
        paid = [e for e in self.ends.values() if e.outcome == "completed" or (e.delivered_bytes and e.cause != "race")]
        assert len(paid) <= 1
        assert len(self.tried) - len(self.ends) <= self.racers

    @invariant()
    def what_is_settled_was_observed_and_is_held(self) -> None:
        bills = [event for event in self.ours.pending if isinstance(event, ReceiptSettled)]
        assert len(bills) <= 1
        for bill in bills:
            [end] = [e for e in self.ends.values() if e.outcome == "completed" or (e.delivered_bytes and e.cause != "race")]
            assert bill.prompt_tokens <= min(allowed(end.prompt_tokens, end.method), PROMPT)
            assert bill.completion_tokens <= min(allowed(end.completion_tokens, end.method), MOST * N)
            prompt_price, completion_price = PRICES[self.tried[end.number]]
            assert bill.price == bill.prompt_tokens * prompt_price + bill.completion_tokens * completion_price
            assert bill.protocol_fee == ceil(Fraction(bill.price, 100))
            assert bill.price + bill.protocol_fee <= self.held

    @invariant()
    def a_hold_is_taken_or_freed_and_never_both(self) -> None:
        freed = sum(isinstance(event, RequestClosed) for event in self.ours.pending)
        taken = sum(isinstance(event, ReceiptSettled) and event.hold == "h" for event in self.ours.pending)
        assert freed + taken <= 1

    @invariant()
    def replayed_it_is_the_same(self) -> None:
        again = unopened()
        for event in self.ours.pending:
            again.replay(event)
        assert again == self.ours


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)


@drawn(st.data())
@settings(max_examples=200, deadline=None)
def test_what_matches_is_settled_within_its_hold(data: Any) -> None:
    """The way on which most requests go, so that the machine's rare bills are not all there are."""
    method = data.draw(st.sampled_from(["tokenizer", "bytes"]))
    seen = [data.draw(st.integers(0, 60)) for _ in range(2)]
    claimed = [data.draw(st.integers(0, allowed(count, method))) for count in seen]
    held = COSTS["alice"] + ceil(Fraction(COSTS["alice"], 100))
    ours = unopened()
    funds = Funds(account=AccountId("acme"), asset="USD.s", hold=HoldId("h"), amount=held)
    ours.open(
        opening(
            prompt_tokens=PROMPT, max_tokens=MOST, n=N, chain=(OfferId("alice"),), funds=funds,
            considered=(Considered(offer=OfferId("alice"), cost=COSTS["alice"]),),
        ),
        NOW, OPENED,
    )  # fmt: skip

    ours.end(
        EndAttempt(
            number=1, outcome="completed", delivered_bytes=9, prompt_tokens=seen[0], completion_tokens=seen[1], method=method,
            finish_reason=Label("stop"), response_hash=digest("answer"),
        ),
        NOW,
    )  # fmt: skip
    claim = SubmitReceipt(
        number=1, offer=OfferId("alice"), model_digest=WEIGHTS, opened=OPENED, request_hash=digest("body"),
        response_hash=digest("answer"), prompt_tokens=claimed[0], completion_tokens=claimed[1], started_at=NOW, ended_at=NOW,
        finish_reason=Label("stop"), partial=False,
    )  # fmt: skip
    ours.submit(claim, did("alice"), did("alice"), NOW)
    prompt_price, completion_price = PRICES["alice"]
    ours.settle(
        SettleReceipt(
            device=did("alice"), payee=PAYEE, model_digest=WEIGHTS, prompt_price=prompt_price,
            completion_price=completion_price, epoch=(NOW - datetime(1970, 1, 1, tzinfo=NOW.tzinfo)).days,
        )
    )  # fmt: skip

    matched, bill = ours.pending[-2:]
    assert isinstance(matched, ReceiptMatched)
    assert isinstance(bill, ReceiptSettled)
    assert bill.price == min(claimed[0], PROMPT) * 7 + min(claimed[1], MOST * N) * 11
    assert bill.price + bill.protocol_fee <= held
