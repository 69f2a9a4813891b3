"""Chance moves money. A naive model, which keeps a list of what happened and counts it anew each time, says what may happen.

It knows nothing of aggregates: reserves, supply, limits and balances are sums over that list.
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import TypeAdapter

from contracts import Label
from contracts.treasury import (
    OUTFLOW,
    AccountId,
    BankReference,
    Capture,
    ConfirmMint,
    ConfirmPayout,
    Credit,
    Debit,
    ExpireHold,
    FailMint,
    Freeze,
    FundWithdrawal,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    PauseMinting,
    Purpose,
    Rail,
    Reference,
    ReissueWithdrawal,
    Release,
    ReleaseOutflow,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    RouteWithdrawal,
    SubmitPayout,
    Unfreeze,
    WithdrawalId,
    account_stream,
    withdrawal_stream,
)
from domain import Refused
from tests.commands.test_treasury import CENT, COIN, Desk, coins, tx, usd
from tests.domain.given import did

DAY = timedelta(days=1)
AMOUNTS = st.sampled_from([1, 99, 10_000, 20_000, 49_999, 50_000, 50_001, 120_000])
STEPS = st.sampled_from([timedelta(minutes=1), timedelta(hours=5), timedelta(hours=12), timedelta(hours=24)])
REVIEWERS = [did(f"reviewer {n}") for n in range(3)]
NAMES = [f"alice.{n}" for n in range(1, 16)]


def accepted(ask: Callable[[], Any]) -> bool:
    try:
        ask()
    except Refused:
        return False
    return True


def kept_is_what_is_read_again(desk: Desk) -> None:
    """From its snapshot, and from its events: an aggregate forgets nothing and adds nothing."""
    for stream, aggregate in desk.paper.kept.items():
        form: TypeAdapter[Any] = TypeAdapter(type(aggregate))
        assert form.validate_json(form.dump_json(aggregate)) == aggregate
        again = type(aggregate)(stream)
        for of, event in desk.history:
            if of == stream:
                again.replay(type(event).read(json.loads(event.json_bytes())))
        assert again == aggregate


class Money(RuleBasedStateMachine):
    """Deposits, mints, burns and payouts of one coin."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.desk.configure()
        self.facts: list[tuple[Any, ...]] = []
        """(what, name, cents, time)."""

    # The naive model: sums over a list

    def of(self, *whats: str, name: str | None = None) -> list[tuple[Any, ...]]:
        return [fact for fact in self.facts if fact[0] in whats and name in (None, fact[1])]

    def cents(self, *whats: str, name: str | None = None) -> int:
        return sum(fact[2] for fact in self.of(*whats, name=name))

    def supply(self) -> int:
        return self.cents("minted") - self.cents("failed") - self.cents("burned")

    def last_attested(self) -> tuple[Any, ...]:
        return self.of("attested")[-1]

    def reserves(self) -> int:
        _, _, net, as_of = self.last_attested()
        later = [fact for fact in self.facts if fact[0] in ("backed", "burned") and fact[3] > as_of]
        return max(0, net + sum(fact[2] if fact[0] == "backed" else -fact[2] for fact in later))

    def paused(self) -> bool:
        turns = self.of("paused", "resumed")
        return bool(turns) and turns[-1][0] == "paused"

    def is_minted(self, name: str) -> bool:
        return len(self.of("minted", name=name)) > len(self.of("failed", name=name))

    def in_window(self, at: datetime) -> int:
        released = [(name, time) for _, name, _, time in self.of("released")]
        return sum(
            cents
            for _, name, cents, time in self.of("reserved")
            if at - DAY < time <= at and not any(n == name and time <= t for n, t in released)
        )

    def is_reserved(self, name: str) -> bool:
        return len(self.of("reserved", name=name)) > len(self.of("released", name=name))

    def note(self, what: str, name: str, cents: int) -> None:
        self.facts.append((what, name, cents, self.desk.now))
        # No two facts at one time, so that "after" has one meaning.
        self.desk.now += timedelta(microseconds=1)

    def expect(self, may: bool, ask: Callable[[], Any], *facts: tuple[str, str, int]) -> None:
        assert accepted(ask) == may
        for fact in facts if may else ():
            self.note(*fact)

    # What may happen

    @initialize(net=AMOUNTS)
    def begin(self, net: int) -> None:
        self.desk.attest(net)
        self.note("attested", "", net)

    @rule(step=STEPS)
    def time_passes(self, step: timedelta) -> None:
        self.desk.now += step

    @rule(more=st.sampled_from([0, 0, 5_000, 100_000]), less=st.sampled_from([0, 0, 0, 0, 100, 40_000]))
    def somebody_reads_the_bank(self, more: int, less: int) -> None:
        self.desk.now += timedelta(seconds=1)
        bank = max(0, self.reserves() + more - less)
        self.desk.attest(bank, 0)
        self.note("attested", "", bank)
        deficit = self.supply() - bank
        if deficit * 100 > self.supply() and not self.paused():
            self.note("paused", "", 0)

    @rule(cents=AMOUNTS, owned=st.booleans(), n=st.integers(1, 40))
    def money_comes(self, cents: int, owned: bool, n: int) -> None:
        name = f"stripe.{n}"
        if not self.of("deposit", name=name):
            self.desk.deposit(str(n), cents, owner="alice" if owned else None)
            self.note("deposit", name, cents)
            self.note("owned" if owned else "unowned", name, cents)

    @rule(data=st.data(), off=st.sampled_from([0, 0, 0, 1]))
    @precondition(lambda self: self.of("deposit"))
    def money_is_put_behind_coins(self, data: Any, off: int) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("deposit")))
        self.back(name, cents, off)

    def back(self, name: str, cents: int, off: int = 0) -> None:
        known = self.of("backed", name=name)
        may = off == 0 and bool(known or (self.of("owned", name=name)))
        facts = [] if known else [("backed", name, cents)]
        self.expect(may, lambda: self.desk.back(name, cents + off), *facts)

    @rule(data=st.data(), off=st.sampled_from([0, 0, 0, -1, 1]))
    @precondition(lambda self: self.of("deposit", "returned"))
    def coins_are_issued(self, data: Any, off: int) -> None:
        what, name, cents, _ = data.draw(st.sampled_from(self.of("deposit", "returned")))
        cents = max(1, cents + off)
        if what == "returned":
            self.issue(f"return:{name}", cents, self.is_back(name) and cents == self.cents("requested", name=name))
        else:
            self.issue(name, cents, bool(self.of("owned", name=name)) and cents == self.cents("deposit", name=name))

    def issue(self, reference: str, cents: int, is_there: bool) -> None:
        if self.is_minted(reference):
            self.expect(self.of("minted", name=reference)[-1][2] == cents, lambda: self.desk.mint(reference, cents))
            return
        is_there = is_there and bool(self.of("backed", name=reference))
        fresh = self.desk.now - self.last_attested()[3] <= timedelta(hours=12)
        may = is_there and fresh and not self.paused() and self.supply() + cents <= self.reserves()
        self.expect(may, lambda: self.desk.mint(reference, cents), ("minted", reference, cents))

    @rule(data=st.data(), fails=st.booleans(), attempt=st.integers(1, 3))
    @precondition(lambda self: self.of("minted"))
    def the_chain_answers(self, data: Any, fails: bool, attempt: int) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("minted")))
        self.answer(name, cents, fails, attempt)

    def answer(self, name: str, cents: int, fails: bool, attempt: int) -> None:
        transaction = tx(f"{name} {attempt}")
        confirmed, failed = self.of("confirmed", name=name), [fact for fact in self.of("dead") if fact[1] == transaction]
        if fails:
            again = bool(failed)
            may = again or (self.is_minted(name) and not confirmed)
            facts = [] if again else [("failed", name, cents), ("dead", transaction, 0)]
            command: Any = FailMint(reference=Reference(name), transaction=transaction, cause=Label("reverted"))
        else:
            again = bool(confirmed) and bool([fact for fact in self.of("hash", name=name) if fact[2] == attempt])
            may = again or (self.is_minted(name) and not confirmed and not failed)
            facts = [] if again else [("confirmed", name, cents), ("hash", name, attempt)]
            command = ConfirmMint(reference=Reference(name), transaction=transaction, block=7)
        self.expect(may, lambda: self.desk.ask(command, COIN), *facts)

    @rule(dice=st.integers(0, 5))
    def somebody_pauses(self, dice: int) -> None:
        if dice:
            return
        self.desk.ask(PauseMinting(reason=Label("volume")), COIN)
        if not self.paused():
            self.note("paused", "", 0)

    @rule()
    def two_persons_resume(self) -> None:
        may = self.paused() and self.supply() <= self.reserves()
        before = len(self.events("MintingResumed"))
        for person in REVIEWERS[:2]:
            accepted(partial(self.desk.ask, ResumeMinting(), COIN, by=person))
        assert len(self.events("MintingResumed")) == before + may
        if may:
            self.note("resumed", "", 0)

    @rule(name=st.sampled_from(NAMES), cents=AMOUNTS)
    def somebody_wants_money(self, name: str, cents: int) -> None:
        if not self.of("requested", name=name):
            self.desk.escrowed(name, cents)
            self.note("requested", name, cents)

    @rule(data=st.data())
    @precondition(lambda self: self.of("requested"))
    def it_is_counted(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("requested")))
        self.count(name, cents)

    def count(self, name: str, cents: int) -> None:
        reviewed = bool(self.of("reviewed", name=name))
        known = self.is_reserved(name)
        within = cents <= 50_000 and self.in_window(self.desk.now) + cents <= 500_000
        facts = [] if known else [("reserved", name, cents), ("counted" if reviewed else "automatic", name, cents)]
        self.expect(known or reviewed or within, lambda: self.desk.reserve(name, cents, reviewed=reviewed), *facts)

    @rule(data=st.data())
    @precondition(lambda self: self.of("reserved"))
    def it_is_counted_no_more(self, data: Any) -> None:
        _, name, _, _ = data.draw(st.sampled_from(self.of("reserved")))
        if not self.of("approved", name=name):
            command = ReleaseOutflow(withdrawal=WithdrawalId(name))
            self.expect(self.is_reserved(name), lambda: self.desk.ask(command, OUTFLOW), ("released", name, 0))
            # What was let go within a moment was never in that moment's window.
            self.desk.now += timedelta(seconds=1)

    @rule(data=st.data())
    @precondition(lambda self: self.of("requested"))
    def it_is_routed(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("requested")))
        self.route(name, cents)

    def route(self, name: str, cents: int) -> None:
        if not self.of("routed", name=name):
            large = cents > 50_000
            facts = [("routed", name, cents), ("review" if large else "approved", name, cents)]
            command = RouteWithdrawal(usd_cents=cents)
            self.expect(large or self.is_reserved(name), lambda: self.desk.ask(command, withdrawal_stream(name)), *facts)

    @rule(data=st.data(), person=st.sampled_from(REVIEWERS))
    @precondition(lambda self: self.of("review"))
    def somebody_reviews(self, data: Any, person: str) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("review")))
        self.judge(name, cents, person)

    def judge(self, name: str, cents: int, person: str) -> None:
        verdicts = {fact[2] for fact in self.of("verdict", name=name)}
        if len(verdicts) < 2:
            facts = [("verdict", name, REVIEWERS.index(person))]
            if len(verdicts) == 1:
                facts += [("approved", name, cents), ("reviewed", name, cents)]
            command = ReviewWithdrawal(verdict="approve")
            may = REVIEWERS.index(person) not in verdicts
            self.expect(may, lambda: self.desk.ask(command, withdrawal_stream(name), by=person), *facts)

    @rule(data=st.data())
    @precondition(lambda self: self.of("approved"))
    def its_coins_are_burned(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("approved")))
        self.burn(name, cents)

    def burn(self, name: str, cents: int) -> None:
        known = bool(self.of("burned", name=name))
        held = self.cents("confirmed") - self.cents("burned")
        facts = [] if known else [("burned", name, cents)]
        self.expect(known or cents <= held, lambda: self.desk.burn(name, cents), *facts)

    @rule(data=st.data())
    @precondition(lambda self: self.of("approved"))
    def the_bank_is_told(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("approved")))
        self.tell(name, cents)

    def tell(self, name: str, cents: int) -> None:
        if not self.of("funded", name=name):
            stream = withdrawal_stream(name)
            may = bool(self.of("burned", name=name)) and self.is_reserved(name)
            fund = FundWithdrawal(transaction=tx(name), payout=usd(cents))
            self.expect(may, lambda: self.desk.ask(fund, stream), ("funded", name, cents))
            submit = SubmitPayout(rail=Rail("wise"), attempt=1)
            self.expect(may, lambda: self.desk.ask(submit, stream), ("told", name, cents))

    @rule(data=st.data(), comes_back=st.booleans())
    @precondition(lambda self: self.of("told"))
    def the_bank_answers(self, data: Any, comes_back: bool) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("told")))
        self.bank_answers(name, cents, comes_back)

    def bank_answers(self, name: str, cents: int, comes_back: bool) -> None:
        paid, returned = self.of("paid", name=name), self.of("returned", name=name)
        if comes_back:
            command: Any = ReturnPayout(bank_reference=BankReference("r"), reason=Label("AC04"), booked_at=self.desk.now)
            facts = [] if returned else [("returned", name, cents)]
            self.expect(True, lambda: self.desk.ask(command, withdrawal_stream(name)), *facts)
        else:
            command = ConfirmPayout(bank_reference=BankReference("w"), booked_at=self.desk.now)
            may = bool(paid) or not returned
            facts = [] if paid else [("paid", name, cents)]
            self.expect(may, lambda: self.desk.ask(command, withdrawal_stream(name)), *facts)

    @rule(cents=st.sampled_from([10_000, 50_000, 150_000]), n=st.integers(41, 80))
    def a_deposit_becomes_coins(self, cents: int, n: int) -> None:
        self.money_comes(cents, True, n)
        name = f"stripe.{n}"
        cents = self.cents("deposit", name=name)
        self.back(name, cents)
        self.issue(name, cents, True)
        if self.is_minted(name) and not self.of("confirmed", name=name):
            self.answer(name, cents, fails=False, attempt=4)

    @rule(data=st.data(), steps=st.integers(1, 6), comes_back=st.booleans())
    @precondition(lambda self: self.of("requested"))
    def a_withdrawal_goes_on(self, data: Any, steps: int, comes_back: bool) -> None:
        """What the processes do; chance alone would hardly come to a payout's end."""
        _, name, cents, _ = data.draw(st.sampled_from(self.of("requested")))
        for _ in range(steps):
            self.go_on(name, cents, comes_back)

    def go_on(self, name: str, cents: int, comes_back: bool) -> None:
        done = {fact[0] for fact in self.facts if fact[1] == name}
        if "routed" not in done:
            if cents <= 50_000 and not self.is_reserved(name):
                self.count(name, cents)
            self.route(name, cents)
        elif "approved" not in done:
            for person in REVIEWERS[:2]:
                self.judge(name, cents, person)
        elif not self.is_reserved(name):
            self.count(name, cents)
        elif "burned" not in done:
            self.burn(name, cents)
        elif "told" not in done:
            self.tell(name, cents)
        elif "returned" in done:
            self.comes_again(name, cents)
        else:
            self.bank_answers(name, cents, comes_back)

    def comes_again(self, name: str, cents: int) -> None:
        self.back_again(name, cents)
        if self.is_back(name):
            self.issue(f"return:{name}", cents, True)
            if self.is_minted(f"return:{name}"):
                self.answer(f"return:{name}", cents, fails=False, attempt=4)
        self.reissue(name, cents)

    def is_back(self, name: str) -> bool:
        return bool(self.of("returned", name=name)) and not self.of("reissued", name=name)

    @rule(data=st.data())
    @precondition(lambda self: self.of("returned"))
    def it_is_put_behind_coins_again(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("returned")))
        self.back_again(name, cents)

    def back_again(self, name: str, cents: int) -> None:
        known = self.of("backed", name=f"return:{name}")
        facts = [] if known else [("backed", f"return:{name}", cents)]
        self.expect(True, lambda: self.desk.back(f"return:{name}", cents, "returned_payout"), *facts)

    @rule(data=st.data())
    @precondition(lambda self: self.of("returned"))
    def it_is_issued_again(self, data: Any) -> None:
        _, name, cents, _ = data.draw(st.sampled_from(self.of("returned")))
        self.reissue(name, cents)

    def reissue(self, name: str, cents: int) -> None:
        if not self.of("reissued", name=name):
            command = ReissueWithdrawal(reference=Reference(f"return:{name}"))
            may = bool(self.of("confirmed", name=f"return:{name}"))
            self.expect(may, lambda: self.desk.ask(command, withdrawal_stream(name)), ("reissued", name, cents))

    # What always holds

    @invariant()
    def every_asset_sums_to_zero(self) -> None:
        sums: Counter[str] = Counter()
        for (_, asset), units in self.desk.books.items():
            sums[asset] += units
        assert not any(sums.values())

    @invariant()
    def the_books_hold_what_the_model_counts(self) -> None:
        books = self.desk.balance
        assert -books("supply", "USD.s") == self.supply() * CENT
        assert books("holders", "USD.s") == (self.cents("confirmed") - self.cents("burned")) * CENT
        assert -books("backing:USD.s") == self.cents("backed") - self.cents("burned")
        assert books("holders", "USD.s") >= 0
        assert books("inflight", "USD.s") >= 0

    @invariant()
    def one_reference_has_one_confirmed_mint(self) -> None:
        confirmed = Counter(str(event.reference) for _, event in self.events("MintConfirmed"))
        assert not confirmed or max(confirmed.values()) == 1

    @invariant()
    def no_mint_was_above_its_reserves(self) -> None:
        for _, event in self.events("Minted"):
            assert event.supply.units <= event.reserves.units * CENT

    @invariant()
    def a_payout_follows_its_burn_and_never_exceeds_it(self) -> None:
        burned = {event.withdrawal: event.payout.units for _, event in self.events("Burned")}
        paid = Counter[str]()
        for stream, event in self.events("PayoutPaid", "PayoutReturned"):
            came_back = type(event).__name__ == "PayoutReturned"
            paid[stream.rpartition("/")[2]] += event.payout.units * (-event.paid if came_back else 1)
        assert all(0 <= units <= burned[name] for name, units in paid.items())

    @invariant()
    def automatic_payouts_are_within_both_limits(self) -> None:
        reserved = [event for _, event in self.events("OutflowReserved")]
        for event in reserved:
            assert event.reviewed or event.usd_cents <= 50_000
            assert event.reviewed or event.window_usd_cents <= 500_000

    def teardown(self) -> None:
        kept_is_what_is_read_again(self.desk)

    def events(self, *names: str) -> list[Any]:
        return [(stream, event) for stream, event in self.desk.history if type(event).__name__ in names]


TestMoney = Money.TestCase
TestMoney.settings = settings(max_examples=60, stateful_step_count=80, deadline=None)

ACCOUNT = account_stream("alice", "USD.s")
HOLDS = st.sampled_from([HoldId(f"h{n}") for n in range(6)])
UNITS = st.integers(1, 40)
CAUSES = st.sampled_from([Reference("dp_1"), Reference("dp_2")])


class Prepaid(RuleBasedStateMachine):
    """One account: what was put in is there, was taken out, or is held; and nothing is spent twice."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.desk.ask(OpenAccount(owner=AccountId("alice"), asset=coins(1).asset), ACCOUNT)
        self.moved: dict[str, int] = {}
        self.taken = 0
        self.holds: dict[str, tuple[int, datetime, str, int]] = {}
        self.frozen: dict[str, int] = {}

    def available(self) -> int:
        held = sum(units for units, _, state, _ in self.holds.values() if state == "open")
        return sum(self.moved.values()) - self.taken - held - sum(self.frozen.values())

    def ask(self, may: bool, command: Any) -> bool:
        assert accepted(lambda: self.desk.ask(command, ACCOUNT)) == may
        return may

    @rule(step=STEPS)
    def time_passes(self, step: timedelta) -> None:
        self.desk.now += step

    @rule(units=UNITS, n=st.integers(1, 30))
    def credit(self, units: int, n: int) -> None:
        known = self.moved.get(f"in.{n}", units)
        command = Credit(amount=coins(units), counter=LedgerAccount("collector"), reference=Reference(f"in.{n}"))
        if self.ask(known == units, command):
            self.moved[f"in.{n}"] = units

    @rule(units=UNITS, n=st.integers(1, 10))
    def debit(self, units: int, n: int) -> None:
        known = self.moved.get(f"out.{n}")
        may = known == -units if known is not None else units <= self.available()
        command = Debit(amount=coins(units), counter=LedgerAccount("collector"), reference=Reference(f"out.{n}"))
        if self.ask(may, command):
            self.moved[f"out.{n}"] = -units

    @rule(name=HOLDS, units=UNITS, hours=st.sampled_from([0, 1, 24, 25]))
    def hold(self, name: HoldId, units: int, hours: int) -> None:
        expires = self.desk.now + timedelta(hours=hours)
        known = self.holds.get(name)
        is_new = hours in (1, 24) and units <= self.available()
        may = is_new if known is None else known[:2] == (units, expires)
        if self.ask(may, Hold(hold=name, amount=coins(units), purpose=Purpose("block"), expires_at=expires)) and not known:
            self.holds[name] = (units, expires, "open", 0)

    @rule(name=HOLDS, units=st.integers(0, 40))
    def capture(self, name: HoldId, units: int) -> None:
        held, expires, state, captured = self.holds.get(name, (0, self.desk.now, "none", 0))
        may = (state == "open" and units <= held) or (state == "captured" and captured == units)
        if self.ask(may, Capture(hold=name, amount=coins(units), counter=LedgerAccount("fees"))) and state == "open":
            self.holds[name] = (held, expires, "captured", units)
            self.taken += units

    @rule(name=HOLDS)
    def release(self, name: HoldId) -> None:
        held, expires, state, _ = self.holds.get(name, (0, self.desk.now, "none", 0))
        if self.ask(state in ("open", "released"), Release(hold=name)):
            self.holds[name] = (held, expires, "released", 0)

    @rule(name=HOLDS)
    def expire(self, name: HoldId) -> None:
        held, expires, state, _ = self.holds.get(name, (0, self.desk.now, "none", 0))
        if self.ask(state == "expired" or (state == "open" and expires <= self.desk.now), ExpireHold(hold=name)):
            self.holds[name] = (held, expires, "expired", 0)

    @rule(cause=CAUSES, units=UNITS)
    def freeze(self, cause: Reference, units: int) -> None:
        if self.ask(self.frozen.get(cause, units) == units, Freeze(amount=coins(units), cause=cause)):
            self.frozen[cause] = units

    @rule(cause=CAUSES)
    def unfreeze(self, cause: Reference) -> None:
        if self.ask(cause in self.frozen, Unfreeze(cause=cause)):
            del self.frozen[cause]

    @invariant()
    def the_books_hold_what_the_model_counts_and_never_less_than_nothing(self) -> None:
        posted = sum(self.moved.values()) - self.taken
        assert self.desk.balance("account:alice", "USD.s") == posted * CENT
        assert posted >= 0
        kept: Any = self.desk.paper.kept[ACCOUNT]
        assert kept.posted == posted * CENT
        assert kept.available == max(0, self.available()) * CENT
        assert kept.posted >= kept.held >= 0

    @invariant()
    def a_hold_closes_once_and_what_is_captured_and_returned_was_held(self) -> None:
        closed: Counter[str] = Counter()
        for _, event in self.desk.history:
            if type(event).__name__ in ("Captured", "Released", "HoldExpired"):
                closed[getattr(event, "hold", "")] += 1
            if type(event).__name__ == "Captured":
                returned = event.amount.units + event.returned.units
                assert returned == self.holds[event.hold][0] * CENT
        assert not closed or max(closed.values()) == 1

    def teardown(self) -> None:
        kept_is_what_is_read_again(self.desk)


TestPrepaid = Prepaid.TestCase
TestPrepaid.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
