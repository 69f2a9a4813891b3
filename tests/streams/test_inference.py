"""What matches is settled, what is lost is closed, and money follows: the lists over real views, the rules behind them."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.kafka.commands import Answer
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from adapters.views.todo import AGAIN_SECONDS, Lists
from adapters.views.wishes import Wish, derived_uuid7, wish_of
from commands import Asked
from commands.inference import Inference
from commands.treasury import Treasury
from contracts import (
    ZERO_HASH,
    Amount,
    AssetName,
    Command,
    CommandRecord,
    Event,
    Label,
    Record,
    event_id,
    parse_command,
    parse_event,
    rfc3339,
)
from contracts.inference import (
    FEES,
    HOLD_SECONDS,
    RECEIPT_SECONDS,
    REQUEST_SECONDS,
    UNSETTLED_SECONDS,
    Considered,
    EndAttempt,
    ReceiptSettled,
    ResolveDispute,
    StartAttempt,
    purpose_of,
    request_stream,
)
from contracts.providers import ModelListed, OfferDeclared, OfferId
from contracts.treasury import (
    AccountId,
    Captured,
    Credit,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    Reference,
    account_stream,
)
from domain import Refused
from domain.treasury.accounts import Account
from projections.inference import Invoiced, observed_claimed_settled
from projections.treasury import treasury
from streams import Process, Projection, TodoList
from streams.inference import ASK_AGAIN_SECONDS, note_what_was_captured, streams
from tests.adapters.shards import KEY
from tests.commands.test_identity import Paper
from tests.databases import upgrade
from tests.domain.fleets import registration
from tests.domain.given import a_listing, an_offer, did, digest
from tests.domain.test_inference import BOB, NOW, REQUEST, opening
from tests.domain.test_receipts import (
    COMPLETION_PRICE,
    CONSIDERED,
    COST,
    FUNDS,
    OWNER,
    PROMPT_PRICE,
    WEIGHTS,
    a_receipt,
    after,
    an_end,
    nothing,
)

ROUTER, ARBITER, PROCESS = did("router"), did("arbiter"), did("process")
STREAM = request_stream(REQUEST)
PURSE = account_stream("acme", "USD.s")
CREDIT = 10 * FUNDS.amount
ALICE_WALLET = registration("alice").wallet


class AnyWorld:
    network = "test"
    outside = None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        raise NotImplementedError


@dataclass
class Town:
    """A store, the views over it and the lists over those. `lag_seconds`: how far the store's clock is behind the lists'."""

    views: Engine
    now: datetime = NOW
    lag_seconds: float = 0
    sent: list[Wish] = field(default_factory=list)
    events: list[tuple[Event, Record]] = field(default_factory=list)
    opened: str = ""
    seen: int = 0
    down: set[str] = field(default_factory=set)
    """Lists that nobody works off."""

    def __post_init__(self) -> None:
        wired = list(streams(AnyWorld()))
        folds = [treasury(), *(found for found in wired if isinstance(found, Projection))]
        self.projectors = [Projector(self.views, found) for found in folds]
        self.processes = [found for found in wired if isinstance(found, Process)]
        for projector in self.projectors:
            projector.claim([f"{topic}/0" for topic in projector.topics])
        self.streams = Paper()
        kinds = (Inference, Treasury)
        self.services = {kind.context: kind(self.streams, AnyWorld().verify) for kind in kinds}
        lists = [found for found in wired if isinstance(found, TodoList)]
        self.lists = {found.name: Lists(self.views, [found], folds, self._send, lambda: self.now) for found in lists}
        self.heads: dict[str, tuple[int, str]] = {}
        self.versions: dict[str, int] = {}
        self.decided: dict[str, str | None] = {}
        """Command to the refusal's name, or None."""

    # The write side

    def say(self, stream: str, event: Event, command: CommandRecord | None = None) -> None:
        """An event, and all views as they are after it."""
        shard = f"{stream.partition('/')[0]}.events/0"
        sequence, prevhash = self.heads.get(shard, (0, ZERO_HASH))
        self.versions[stream] = self.versions.get(stream, 0) + 1
        command = command or self._command(StartAttempt(number=2, offer=BOB), stream, KEY, f"{sequence}")
        value = Record.encode(
            event, id=event_id(KEY, f"{shard} {sequence}", 0), command=command, source=KEY, time=rfc3339(self.clock),
            shard=shard, sequence=sequence, streamversion=self.versions[stream], prevhash=prevhash,
        )  # fmt: skip
        self.heads[shard] = sequence + 1, sha256(value).hexdigest()
        for projector in self.projectors:
            if shard.partition("/")[0] in projector.topics:
                projector.apply({shard: [Published(sequence, sequence, value, "")]})
        self.events.append((event, parse_event(value)))

    def ask(self, command: Command, by: str, id: str | None = None, stream: str = STREAM) -> str | None:
        """The refusal's name, or None. What was decided is not decided again."""
        record = self._command(command, stream, by, id or f"{len(self.decided)}")
        if record.id not in self.decided:
            self.decided[record.id] = self._decide(command, record)
        return self.decided[record.id]

    def _decide(self, command: Command, record: CommandRecord) -> str | None:
        try:
            aggregate = self.services[record.subject.partition("/")[0]].decide(command, Asked(record, self.clock))
        except Refused as refused:
            return type(refused).__name__
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        for event in events:
            self.say(record.subject, event, record)
        return None

    def _command(self, command: Command, stream: str, by: str, id: str) -> CommandRecord:
        name = id if len(id) == 36 else derived_uuid7(self.now, id)
        value = CommandRecord.encode(command, subject=stream, source=by, network="test", id=name, time=self.now)
        return parse_command(value, stream.encode(), [("signature", b"x")])

    @property
    def clock(self) -> datetime:
        return self.now - timedelta(seconds=self.lag_seconds)

    # The lists

    async def _send(self, wishes: Sequence[Wish]) -> None:
        self.sent += wishes

    def turn(self) -> list[str]:
        """Every process and list once; what they send is decided and heard. What was sent, and what it was refused with."""
        said = [*self.react()]
        for name, worked in self.lists.items():
            if name in self.down:
                continue
            self.sent.clear()
            asyncio.run(worked.turn())
            for wish in list(self.sent):
                refusal = self.ask(wish.command, PROCESS, wish.id, wish.subject)
                told = {"refusal": {"name": refusal, "text": ""}} if refusal else {}
                asyncio.run(worked.hear([Answer(wish.id, refusal is None, {"data": {**told, "time": rfc3339(self.now)}})]))
                said.append(type(wish.command).__name__ + (f": {refusal}" if refusal else ""))
        return said

    def react(self) -> Iterator[str]:
        """Events that no process has seen."""
        fresh, self.seen = self.events[self.seen :], len(self.events)
        for process in self.processes:
            for event, record in fresh:
                for intent in process.react(event, record) if event.wire.context in process.contexts else ():
                    name = wish_of(intent, process.name, record, None).id
                    refusal = self.ask(intent.command, PROCESS, name, intent.subject)
                    yield type(intent.command).__name__ + (f": {refusal}" if refusal else "")

    def turn_at(self, seconds: float) -> list[str]:
        self.now = after(seconds)
        return self.turn()

    # What is asked of it

    def page(self) -> Invoiced:
        with reading(self.views) as connection:
            found = observed_claimed_settled(REQUEST, connection)
        assert found is not None
        return found

    @property
    def purse(self) -> Account:
        return self.streams.load(Account, PURSE)  # type: ignore[no-any-return]

    def hold(self, request: str = REQUEST, hold: HoldId = FUNDS.hold, seconds: float = HOLD_SECONDS) -> None:
        """The router does it before it asks."""
        amount, until = Amount.of("USD.s", FUNDS.amount), after(seconds)
        command = Hold(hold=hold, amount=amount, purpose=purpose_of(request), expires_at=until)
        assert self.ask(command, ROUTER, stream=PURSE) is None

    def open(self, **changes: Any) -> None:
        command = opening(**{"considered": CONSIDERED, "funds": FUNDS, **changes})
        if command.funds:
            self.hold()
        assert self.ask(command, ROUTER, "open") is None
        self.opened = self._command(command, STREAM, ROUTER, "open").hash

    def end(self, command: EndAttempt | None = None, seconds: float = 10) -> None:
        self.now = after(seconds)
        assert self.ask(command or an_end(), ROUTER) is None

    def submit(self, by: str = "alice", seconds: float = 20, **changes: Any) -> str | None:
        self.now = after(seconds)
        return self.ask(a_receipt(**{"opened": self.opened, **changes}), did(by))


@pytest.fixture
def town(store_url: str) -> Iterator[Town]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    found = Town(engine)
    for name, factor in (("alice", 1), ("bob", 2)):
        prices = {"prompt_price": factor * PROMPT_PRICE, "completion_price": factor * COMPLETION_PRICE}
        found.say(f"providers/provider/{did(name)}", registration(name))
        found.say(f"providers/offer/{name}", OfferDeclared(**dict(an_offer(name, model_digest=WEIGHTS, **prices))))
    found.say("providers/model/llama-3.1-8b", ModelListed(**dict(a_listing(owner=OWNER))))
    paid_in = Amount.of("USD.s", CREDIT)
    for command in (
        OpenAccount(owner=AccountId("acme"), asset=AssetName("USD.s")),
        Credit(amount=paid_in, counter=LedgerAccount("collector"), reference=Reference("log.1")),
    ):
        assert found.ask(command, PROCESS, stream=PURSE) is None
    yield found
    engine.dispose()


def test_a_matched_receipt_is_settled_once_by_its_offer_s_terms(town: Town) -> None:
    town.open()
    town.end()
    town.submit()

    assert town.turn() == ["SettleReceipt", "Capture"]
    assert town.turn() == ["NotePayment"]
    assert town.turn_at(21 + AGAIN_SECONDS) == []

    bill = town.page().settled
    assert bill is not None
    assert (bill.device, bill.payee, bill.hold) == (did("alice"), ALICE_WALLET, "h1")
    assert bill.price == 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE
    [settled] = [event for event, _ in town.events if isinstance(event, ReceiptSettled)]
    assert settled.model_owner == OWNER


def test_nobody_is_paid_for_another_s_offer(town: Town) -> None:
    """Whoever signs what he read in the log has a receipt, and no money."""
    town.open()
    town.end()
    town.submit("bob")
    assert town.turn() == []
    town.submit("alice")

    assert town.turn() == ["SettleReceipt", "Capture"]
    assert town.page().settled.device == did("alice")  # type: ignore[union-attr]


def test_a_price_change_after_the_decision_does_not_change_the_bill(town: Town) -> None:
    """Another price is another offer; the first one's terms are what was decided upon, withdrawn or not."""
    town.open()
    dearer = an_offer("alice", model_digest=WEIGHTS, prompt_price=9 * PROMPT_PRICE, completion_price=9 * COMPLETION_PRICE)
    town.say("providers/offer/alice.dearer", OfferDeclared(**dict(dearer)))
    town.end()
    town.submit()
    town.turn()

    assert town.page().settled.price == 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE  # type: ignore[union-attr]


def test_an_offer_that_the_views_do_not_know_yet_is_waited_for(town: Town) -> None:
    """The two contexts are read apart."""
    carol = OfferId("carol")
    town.open(chain=(carol,), considered=(Considered(offer=carol, cost=COST),))
    town.end()
    town.submit("carol", offer=carol)
    assert town.turn() == []

    prices = {"prompt_price": PROMPT_PRICE, "completion_price": COMPLETION_PRICE}
    town.say(f"providers/provider/{did('carol')}", registration("carol"))
    town.say("providers/offer/carol", OfferDeclared(**dict(an_offer("carol", model_digest=WEIGHTS, **prices))))

    assert town.turn() == ["SettleReceipt", "Capture"]


def test_a_router_that_dies_leaves_no_open_hold(town: Town) -> None:
    town.open()

    assert town.turn_at(REQUEST_SECONDS - 1) == []
    assert town.turn_at(REQUEST_SECONDS) == ["CloseRequest", "Release"]
    assert town.turn_at(REQUEST_SECONDS + 1 + AGAIN_SECONDS) == []

    assert (town.page().state, town.page().cause) == ("closed", "router_lost")
    assert (town.purse.posted, town.purse.held) == (CREDIT, 0)


def test_a_request_that_holds_and_delivered_nothing_is_let_be(town: Town) -> None:
    """A log of a million requests without funds is not answered with a million closings."""
    town.open(funds=None)

    assert town.turn_at(86_400) == []


def test_without_funds_a_request_that_delivered_is_closed_without_its_receipt(town: Town) -> None:
    town.open(funds=None)
    town.end()

    assert town.turn_at(11 + RECEIPT_SECONDS) == ["CloseRequest"]
    assert town.purse.posted == CREDIT


def test_without_a_receipt_in_600_seconds_nobody_is_charged(town: Town) -> None:
    town.open()
    town.end()

    assert town.turn_at(10 + RECEIPT_SECONDS) == []
    assert town.turn_at(11 + RECEIPT_SECONDS) == ["CloseRequest", "Release"]
    assert town.submit(seconds=12 + RECEIPT_SECONDS) == "TooLate"

    assert town.page().cause == "no_receipt"


def test_a_request_of_which_every_attempt_failed_is_closed(town: Town) -> None:
    town.open()
    town.end(nothing())

    assert town.turn_at(11 + RECEIPT_SECONDS) == ["CloseRequest", "Release"]


def test_a_store_whose_clock_is_behind_is_asked_again(town: Town) -> None:
    """A refused task is not sent again: the next one is another errand, a minute later."""
    town.open()
    town.end()
    town.lag_seconds = 30

    assert town.turn_at(11 + RECEIPT_SECONDS) == ["CloseRequest: NotYetLost"]
    assert town.turn_at(10 + RECEIPT_SECONDS + ASK_AGAIN_SECONDS) == []
    assert town.turn_at(11 + RECEIPT_SECONDS + ASK_AGAIN_SECONDS) == ["CloseRequest", "Release"]


def test_a_stranger_s_receipt_holds_up_the_money_for_an_hour(town: Town) -> None:
    town.open()
    town.end()
    town.submit("mallory")

    until = 10 + RECEIPT_SECONDS + UNSETTLED_SECONDS
    assert town.turn_at(until - 1) == []
    closed = town.turn_at(until + 1)

    assert closed == ["CloseRequest", "Release"]
    assert town.page().cause == "no_receipt"


def test_a_receipt_that_cannot_be_settled_is_charged_to_nobody(town: Town) -> None:
    """Its weights are not the offer's."""
    town.open()
    town.end()
    town.submit(model_digest=digest("other weights"))

    assert town.turn() == ["SettleReceipt: OtherTerms"]
    assert town.turn_at(12 + RECEIPT_SECONDS) == []
    assert town.turn_at(12 + RECEIPT_SECONDS + UNSETTLED_SECONDS) == ["CloseRequest", "Release"]
    assert (town.purse.posted, town.purse.held) == (CREDIT, 0)


def test_a_list_that_was_down_for_a_day_still_settles_what_matched(town: Town) -> None:
    """A receipt that came in time is not lost because nobody looked."""
    town.open()
    town.end()
    town.submit()
    town.down.add("settle_what_matches")
    assert town.turn_at(80_000) == []
    town.down.clear()

    assert town.turn_at(86_400) == ["SettleReceipt", "Capture"]


def test_a_late_bill_that_cannot_be_settled_is_left_at_that(town: Town) -> None:
    """The request is closed already."""
    town.open()
    town.end(an_end(completion_tokens=8))
    town.submit(completion_tokens=1_000_000, model_digest=digest("other weights"))
    town.turn_at(11 + RECEIPT_SECONDS)
    town.now = after(50_000)
    town.ask(ResolveDispute(device=did("alice"), prompt_tokens=100, completion_tokens=8, basis=Label("recount")), ARBITER)

    assert town.turn() == ["SettleReceipt: OtherTerms"]
    assert town.turn_at(60_000) == []


# Money


def owed(completion_tokens: int) -> int:
    """For 100 tokens of prompt by alice's prices, the protocol fee on top."""
    price = 100 * PROMPT_PRICE + completion_tokens * COMPLETION_PRICE
    return price + price // 100


def test_the_treasury_takes_what_is_owed_with_its_fee_and_the_rest_is_free_again(town: Town) -> None:
    town.open()
    assert (town.purse.posted, town.purse.held) == (CREDIT, FUNDS.amount)
    town.end()
    town.submit()

    assert town.turn() == ["SettleReceipt", "Capture"]

    assert (town.purse.posted, town.purse.held) == (CREDIT - owed(40), 0)
    assert town.purse.holds[FUNDS.hold].counter == FEES
    assert town.turn_at(86_400) == ["NotePayment"]


def test_as_long_as_a_request_is_under_way_its_hold_waits(town: Town) -> None:
    """Though its time be over: the purpose names the request, and what becomes of that decides."""
    town.open()
    town.end()
    town.submit()
    town.down.add("settle_what_matches")

    assert town.turn_at(HOLD_SECONDS + 1) == []
    town.down.clear()
    assert town.turn_at(HOLD_SECONDS + 2) == ["SettleReceipt", "Capture"]


def test_a_router_that_dies_between_holding_and_asking_leaves_no_open_hold(town: Town) -> None:
    town.hold()

    assert town.turn_at(HOLD_SECONDS - 1) == []
    assert town.turn_at(HOLD_SECONDS) == ["Release"]
    assert (town.purse.posted, town.purse.held) == (CREDIT, 0)


def test_another_hold_for_the_same_request_is_not_taken_for_its_own(town: Town) -> None:
    town.open()
    town.hold(hold=HoldId("h2"), seconds=HOLD_SECONDS + 60)
    town.end()
    town.submit()

    assert town.turn() == ["SettleReceipt", "Capture"]
    assert town.purse.held == FUNDS.amount
    assert town.turn_at(HOLD_SECONDS + 60) == ["NotePayment", "Release"]


def test_no_more_is_taken_than_there_is(town: Town) -> None:
    """What the router says of a hold is its own word; what is held is the treasury's."""
    small = Hold(
        hold=HoldId("small"), amount=Amount.of("USD.s", 7), purpose=purpose_of(REQUEST), expires_at=after(HOLD_SECONDS)
    )  # fmt: skip
    assert town.ask(small, ROUTER, stream=PURSE) is None
    town.open(funds=FUNDS.model_copy(update={"hold": HoldId("small")}))
    town.end()
    town.submit()

    assert town.turn() == ["SettleReceipt", "Capture"]
    assert town.purse.posted == CREDIT - 7
    assert town.turn() == ["NotePayment: PaidOtherwise"]


def test_without_funds_no_money_moves(town: Town) -> None:
    town.open(funds=None)
    town.end()
    town.submit()

    assert town.turn() == ["SettleReceipt"]
    assert town.turn_at(86_400) == []
    assert town.purse.posted == CREDIT


def test_a_client_that_disconnects_pays_for_what_was_delivered(town: Town) -> None:
    town.open()
    town.end(an_end("cancelled", cause="client", completion_tokens=11, finish_reason=None))
    town.submit(completion_tokens=11, partial=True)
    town.turn()

    assert town.purse.posted == CREDIT - owed(11)


def test_a_dispute_that_is_resolved_after_the_request_was_closed_is_held_and_captured_alone(town: Town) -> None:
    town.open()
    town.end(an_end(completion_tokens=8))
    town.submit(completion_tokens=1_000_000)
    assert town.turn_at(11 + RECEIPT_SECONDS) == ["CloseRequest", "Release"]
    assert (town.purse.posted, town.purse.held) == (CREDIT, 0)
    town.now = after(50_000)
    resolved = ResolveDispute(device=did("alice"), prompt_tokens=100, completion_tokens=8, basis=Label("recount"))
    assert town.ask(resolved, ARBITER) is None

    assert town.turn() == ["SettleReceipt"]
    assert town.turn() == ["Hold", "Capture"]
    assert town.turn_at(86_400) == ["NotePayment"]

    assert (town.purse.posted, town.purse.held) == (CREDIT - owed(8), 0)
    assert town.purse.holds[HoldId(f"{REQUEST}.late")].state == "captured"


@pytest.mark.parametrize("purpose", ["request:", "request:x y/z", "request:inference/request/e", "stake:a", "request"])
def test_a_purpose_that_names_no_request_tells_nobody_and_stops_nothing(purpose: str) -> None:
    units = Amount.of("USD.s", 7)
    fields: dict[str, Any] = {"hold": HoldId("h"), "amount": units, "counter": FEES, "returned": units, "purpose": purpose}
    said = Captured.model_construct(**fields)

    assert list(note_what_was_captured(said, None)) == []  # type: ignore[arg-type]


def test_a_race_is_paid_once(town: Town) -> None:
    """The user pays once, the loser is not paid."""
    town.open(strategy="parallel")
    assert town.ask(StartAttempt(number=2, offer=BOB), ROUTER) is None
    town.end(an_end(number=2))
    town.submit("bob", number=2, offer=BOB)
    # The loser's end is told on the day after: the day of the bill is the winner's.
    town.end(nothing("cancelled", number=1, cause="race"), 43_201)

    assert town.turn() == ["SettleReceipt", "Capture"]
    assert town.submit("alice", 43_202, number=1) == "AlreadySettled"
    assert town.turn_at(86_400) == ["NotePayment"]
    assert town.page().settled.device == did("bob")  # type: ignore[union-attr]
    assert town.purse.posted == CREDIT - 2 * (100 * PROMPT_PRICE + 40 * COMPLETION_PRICE) * 101 // 100
