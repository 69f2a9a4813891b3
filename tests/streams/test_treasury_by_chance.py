"""Chance plays the world: payers, holders, banks, the chain, reviewers. In the end everything has an end, and the books close.

The lists are worked off against the real service and views after each thing that happens.
"""

import itertools
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.sql import engine_for
from contracts import Digest, Label
from contracts.treasury import (
    AccountId,
    Adjust,
    ApproveAdjustment,
    AssignDeposit,
    AttestReserves,
    BankReference,
    CancelWithdrawal,
    CloseDispute,
    DisputeDeposit,
    LedgerAccount,
    ObserveDeposit,
    PauseMinting,
    ProposedLeg,
    Rail,
    Reference,
    RefundDeposit,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    SettleDeposit,
    Words,
    deposit_stream,
    withdrawal_stream,
)
from domain import Refused
from projections.treasury import mint_burn_log, owed_in, supply_of, withdrawals_of
from tests.commands.test_treasury import ALICE, BOB, CAROL, COIN, WALLET, usd
from tests.databases import upgrade
from tests.domain.given import digest
from tests.streams.test_treasury import Network

CENTS = st.sampled_from([1, 5_000, 30_000, 50_000, 50_001, 90_000])
ENDS = {"paid", "rejected", "cancelled", "reissued"}
_made: list[Path] = []


def empty_views() -> Path:
    """Views without a row, made once."""
    if not _made:
        path = Path(tempfile.mkdtemp()) / "views.db"
        engine = engine_for(f"sqlite:///{path}")
        upgrade(engine, "views")
        engine.dispose()
        _made.append(path)
    return _made[0]


class World(RuleBasedStateMachine):
    """One currency, a few payers, and Alice, who withdraws."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "views.db"
        shutil.copy(empty_views(), path)
        self.network = Network(engine_for(f"sqlite:///{path}"))
        self.network.show()
        self.numbers = itertools.count(1)
        self.deposits: dict[str, int] = {}
        self.withdrawals: list[str] = []
        # Alice has coins from the beginning: by chance she would hardly ever come to a payout.
        self.network.issued("ch_0", 400_000)

    def ask(self, command: Any, subject: str, by: str = BOB) -> bool:
        """Whatever is refused has not happened; then the lists are worked off."""
        try:
            self.network.ask(command, subject, by)
        except Refused:
            return False
        finally:
            self.network.work()
        return True

    # Payers

    @rule(cents=CENTS, fee=st.sampled_from([0, 0, 1]), owned=st.booleans())
    def somebody_pays(self, cents: int, fee: int, owned: bool) -> None:
        name = f"ch_{next(self.numbers)}"
        stream, now = deposit_stream("stripe", name), self.network.desk.now
        whose: dict[str, Any] = {"owner": AccountId("alice"), "to": WALLET} if owned else {}
        observe = ObserveDeposit(
            rail=Rail("stripe"), reference=BankReference(name), amount=usd(cents + fee), booked_at=now, value_date=now,
            source=digest(name), **whose,
        )  # fmt: skip
        assert self.ask(observe, stream)
        assert self.ask(SettleDeposit(net=usd(cents), fee=usd(fee), available_on=now), stream)
        self.deposits[name] = cents

    @rule(data=st.data())
    @precondition(lambda self: self.deposits)
    def a_person_says_whose_it_is(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.deposits)))
        self.ask(AssignDeposit(owner=AccountId("alice"), to=WALLET), deposit_stream("stripe", name))

    @rule(data=st.data(), outcome=st.sampled_from(["won", "lost", None]))
    @precondition(lambda self: self.deposits)
    def a_payer_disputes(self, data: Any, outcome: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.deposits)))
        stream, dispute = deposit_stream("stripe", name), BankReference("dp_1")
        self.ask(DisputeDeposit(dispute=dispute, amount=usd(self.deposits[name])), stream)
        if outcome:
            self.ask(CloseDispute(dispute=dispute, outcome=outcome), stream)

    @rule(data=st.data(), n=st.integers(1, 3))
    @precondition(lambda self: self.deposits)
    def a_rail_gives_a_part_back(self, data: Any, n: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.deposits)))
        part = max(1, self.deposits[name] // 3)
        self.ask(RefundDeposit(amount=usd(part), reference=Reference(f"re_{n}")), deposit_stream("stripe", name))

    # The holder

    @rule(cents=CENTS, twice=st.booleans())
    def alice_wants_money(self, cents: int, twice: bool) -> None:
        """From coins that she has: the chain lets nobody put others into escrow."""
        held = self.network.desk.balance("holders", "USD.s") // 10**16
        asked = sum(entry.payout.units for entry in self.open_withdrawals())
        if cents <= held - asked:
            name = f"alice.{next(self.numbers)}"
            try:
                self.network.escrowed(name, cents, known=twice)
            except Refused:
                return
            self.withdrawals.append(name)

    def open_withdrawals(self) -> list[Any]:
        found = self.network.view(withdrawals_of, "alice")
        burnt = {event.withdrawal for _, event in self.network.desk.history if type(event).__name__ == "Burned"}
        return [entry for entry in found if entry.state not in ENDS and entry.withdrawal not in burnt]

    @rule(data=st.data())
    @precondition(lambda self: self.withdrawals)
    def alice_wants_it_no_longer(self, data: Any) -> None:
        self.ask(CancelWithdrawal(), withdrawal_stream(data.draw(st.sampled_from(self.withdrawals))), by=ALICE)

    @rule(data=st.data(), verdict=st.sampled_from(["approve", "approve", "approve", "reject"]), both=st.booleans())
    @precondition(lambda self: self.withdrawals)
    def somebody_reviews(self, data: Any, verdict: Any, both: bool) -> None:
        stream = withdrawal_stream(data.draw(st.sampled_from(self.withdrawals)))
        for person in (BOB, CAROL) if both else (BOB,):
            self.ask(ReviewWithdrawal(verdict=verdict), stream, by=person)

    @rule(ends=st.sampled_from(["paid", "late", "returned", "retried"]), cents=CENTS)
    def a_withdrawal_goes_all_the_way(self, ends: str, cents: int) -> None:
        """What a withdrawal meets when everybody does his part, and the bank one of four things."""
        before = len(self.withdrawals)
        self.alice_wants_money(cents, True)
        for name in self.withdrawals[before:]:
            stream = withdrawal_stream(name)
            for person in (BOB, CAROL):
                self.ask(ReviewWithdrawal(verdict="approve"), stream, by=person)
            if ends == "retried":
                self.ask(PauseMinting(reason=Label("volume")), COIN)
            self.network.chain_burns()
            self.network.bank_pays(returned=ends in ("returned", "retried"))
            if ends == "late":
                back = ReturnPayout(bank_reference=BankReference("r"), booked_at=self.network.desk.now, reason=Label("AC04"))
                self.ask(back, stream)
            if ends == "retried":
                self.ask(ReviewWithdrawal(verdict="approve"), stream)

    # The chain, the bank, time

    @rule(fails=st.sampled_from([False, False, False, True]))
    def the_chain_mints(self, fails: bool) -> None:
        self.network.chain_mints(fails=fails)

    @rule()
    def the_chain_burns(self) -> None:
        self.network.chain_burns()

    @rule(returned=st.sampled_from([False, False, True]))
    def the_bank_pays(self, returned: bool) -> None:
        self.network.bank_pays(returned=returned)

    @rule(data=st.data())
    @precondition(lambda self: self.withdrawals)
    def a_payout_comes_back(self, data: Any) -> None:
        stream = withdrawal_stream(data.draw(st.sampled_from(self.withdrawals)))
        back = ReturnPayout(bank_reference=BankReference("r"), booked_at=self.network.desk.now, reason=Label("AC04"))
        self.ask(back, stream)

    @rule(hours=st.sampled_from([1, 13, 25, 73]), attested=st.booleans())
    def time_passes(self, hours: int, attested: bool) -> None:
        self.network.desk.now += timedelta(hours=hours, seconds=10)
        if attested:
            self.attest()
        self.network.work()

    def attest(self) -> None:
        desk = self.network.desk
        desk.now += timedelta(seconds=1)
        bank = sum(units for (account, _), units in desk.books.items() if account.startswith("bank:"))
        owed = self.network.view(owed_in, "USD.s")
        statement = Digest(digest(str(desk.now)))
        desk.ask(AttestReserves(bank=usd(max(0, bank)), owed=owed, as_of=desk.now, statement=statement), COIN)

    @rule()
    def somebody_pauses(self) -> None:
        self.ask(PauseMinting(reason=Label("volume")), COIN)

    @rule()
    def two_persons_resume(self) -> None:
        for person in (BOB, CAROL):
            self.ask(ResumeMinting(), COIN, by=person)

    # What always holds

    @invariant()
    def the_books_balance(self) -> None:
        sums: Counter[str] = Counter()
        for (_, asset), units in self.network.desk.books.items():
            sums[asset] += units
        assert not any(sums.values())
        for account in ("holders", "inflight"):
            assert self.network.desk.balance(account, "USD.s") >= 0

    @invariant()
    def what_is_owed_is_what_the_books_say(self) -> None:
        desk = self.network.desk
        due = desk.balance("due:deposits") + desk.balance("due:payouts")
        assert -due == self.network.view(owed_in, "USD.s").units

    # How it ends

    def teardown(self) -> None:
        if not hasattr(self, "network"):
            return
        try:
            self.come_to_an_end()
        finally:
            self.network.engine.dispose()
            self.folder.cleanup()

    def come_to_an_end(self) -> None:
        for name in sorted(self.deposits):
            stream = deposit_stream("stripe", name)
            self.ask(CloseDispute(dispute=BankReference("dp_1"), outcome="won"), stream)
            self.ask(AssignDeposit(owner=AccountId("alice"), to=WALLET), stream)
        for _ in range(4):
            self.cover_the_deficit()
            self.network.desk.now += timedelta(hours=25, seconds=10)
            self.attest()
            self.two_persons_resume()
            self.network.chain_mints()
            self.network.chain_burns()
            self.network.bank_pays()
        desk = self.network.desk
        assert {entry.state for entry in self.network.view(withdrawals_of, "alice")} <= ENDS
        assert desk.balance("inflight", "USD.s") == 0
        assert desk.balance("due:payouts") == desk.balance("due:deposits") == desk.balance("loss:chargeback") == 0
        coin = self.network.view(supply_of, "USD.s", desk.now)
        assert coin.deficit.units == 0
        assert sum(line.change for line in self.network.view(mint_burn_log, "USD.s")) == coin.supply.units
        banks = sum(units for (account, _), units in desk.books.items() if account.startswith("bank:"))
        assert banks == -desk.balance("backing:USD.s") == coin.supply.units // 10**16

    def cover_the_deficit(self) -> None:
        """The network pays for what a chargeback took, from its own money."""
        self.attest()
        deficit = self.network.view(supply_of, "USD.s", self.network.desk.now).deficit.units // 10**16
        if deficit:
            n = next(self.numbers)
            lines = tuple(
                ProposedLeg(account=LedgerAccount(account), direction=direction, amount=usd(deficit))  # type: ignore[arg-type]
                for account, direction in (("bank:wire", "in"), ("capital", "out"))
            )
            self.ask(Adjust(lines=lines, reason=Words("own money")), f"treasury/adjustment/{n}", by=BOB)
            self.ask(ApproveAdjustment(), f"treasury/adjustment/{n}", by=CAROL)
            self.network.desk.back(f"capital-{n}", deficit, "capital")


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


class First:
    """Draws the first deposit."""

    def draw(self, _strategy: Any) -> str:
        return "ch_1"


@pytest.mark.xfail(
    strict=True,
    reason="a mint must fit into all reserves, and one payer's backing that waits for its coins hides another's loss: "
    "no deficit shows that anybody would cover",
)
def test_a_lost_cent_of_one_payer_does_not_keep_back_fifty_dollars_of_another() -> None:
    """Found by chance: the coin has 49.99 more than its supply, and the fifty dollars that wait for it do not fit."""
    world = World()
    world.begin()
    world.somebody_pays(cents=1, fee=0, owned=True)
    world.a_payer_disputes(data=First(), outcome="lost")
    world.somebody_pays(cents=5_000, fee=0, owned=False)

    world.teardown()
