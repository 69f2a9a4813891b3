"""A collateral against a naive model of it: coins in purses. Chance chooses the history."""

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from contracts.staking import (
    CancelUnstake,
    CaseId,
    ReleaseHold,
    StakingEvent,
    SubjectName,
    Withdraw,
    collateral_stream,
)
from domain import Refused
from domain.staking.arithmetic import epoch_at
from domain.staking.collateral import Collateral
from tests.domain.staking import ACCOUNT, NOON, WALLET, another_case, hold, request_id, slash, stake, unstake

AMOUNTS = st.integers(1, 60)


class Coins:
    """Every unit by itself: where it is, and which case holds it. No sums, nothing shared with the code."""

    def __init__(self) -> None:
        self.place: list[str] = []
        """Of each coin: active, a request's name, gone, burned."""
        self.holder: list[CaseId | None] = []
        self.leaves: dict[str, Any] = {}

    def having(self, place: str, holder: CaseId | None = None) -> list[int]:
        return [n for n, found in enumerate(self.place) if found == place and self.holder[n] == holder]

    def counted(self) -> Counter[str]:
        return Counter(self.place)

    def held(self, case: CaseId) -> list[int]:
        return [n for n, holder in enumerate(self.holder) if holder == case]


class AtRisk(RuleBasedStateMachine):
    requests = Bundle("requests")
    cases = Bundle("cases")

    @initialize()
    def begin(self) -> None:
        self.now = NOON
        self.stream = collateral_stream("stake", WALLET)
        self.ours, self.model = Collateral(self.stream), Coins()
        self.events: list[StakingEvent] = []
        self.serial = 0
        self.closed: set[CaseId] = set()

    def ask(self, question: Any) -> bool:
        """Whether it was not refused; a refusal changes nothing."""
        before, version = str(self.ours), self.ours.version
        try:
            question()
        except Refused:
            assert (str(self.ours), self.ours.version) == (before, version)
            return False
        self.events += self.ours.pending
        self.ours.pending = []
        return True

    @rule(units=AMOUNTS)
    def stake(self, units: int) -> None:
        self.serial += 1
        said = stake(units, self.now, self.ours.stream, f"h-{self.serial}")

        assert self.ask(lambda: self.ours.stake(*said, self.now))
        assert self.ask(lambda: self.ours.stake(*said, self.now))

        self.model.place += ["active"] * units
        self.model.holder += [None] * units

    @rule(target=requests, units=AMOUNTS)
    def request(self, units: int) -> Any:
        self.serial += 1
        name, free = request_id(self.serial), self.model.having("active")

        taken = self.ask(lambda: self.ours.request_unstake(unstake(units), name, self.now))

        assert taken == (units <= len(free))
        if taken:
            self.model.leaves[name] = self.now + timedelta(days=7)
            for coin in free[:units]:
                self.model.place[coin] = name
        return name

    @rule(name=requests)
    def cancel(self, name: Any) -> None:
        waiting = [n for n, place in enumerate(self.model.place) if place == name]

        self.ask(lambda: self.ours.cancel(CancelUnstake(request=name), self.now))

        for coin in waiting:
            self.model.place[coin] = "active"

    @rule(name=requests)
    def withdraw(self, name: Any) -> None:
        free = self.model.having(name) if self.now >= self.model.leaves.get(name, self.now) else []
        before = self.ours.holding.withdrawn

        self.ask(lambda: self.ours.withdraw(Withdraw(request=name, account=ACCOUNT), self.now))

        assert self.ours.holding.withdrawn - before == len(free)
        for coin in free:
            self.model.place[coin] = "gone"

    @rule(target=cases, units=st.integers(1, 100))
    def accuse(self, units: int) -> CaseId:
        self.serial += 1
        case = another_case(self.serial)
        free = [n for n, holder in enumerate(self.model.holder) if holder is None and self.at_risk(n)]

        held = self.ask(lambda: self.ours.hold(hold(units, case)))

        assert held == bool(free)
        # Whose coins of the same place are held makes no difference; the order of places does.
        places = [*self.model.having("active"), *(n for name in self.by_end() for n in self.model.having(name))]
        for coin in places[:units]:
            self.model.holder[coin] = case
        return case

    def at_risk(self, coin: int) -> bool:
        return self.model.place[coin] not in ("gone", "burned")

    def by_end(self) -> list[str]:
        return sorted(self.model.leaves, key=lambda name: (self.model.leaves[name], name))

    @rule(case=cases)
    def void(self, case: CaseId) -> None:
        held = self.model.held(case)

        released = self.ask(lambda: self.ours.release(ReleaseHold(case=case)))

        assert released or not held
        for coin in held if released else ():
            self.model.holder[coin] = None

    @rule(case=cases)
    def execute(self, case: CaseId) -> None:
        held, before = [n for n in self.model.held(case) if self.at_risk(n)], self.ours.holding.slashed

        self.ask(lambda: self.ours.slash(slash(case), self.now))
        self.ask(lambda: self.ours.slash(slash(case), self.now))

        assert self.ours.holding.slashed - before == len(held)
        for coin in held:
            self.model.place[coin], self.model.holder[coin] = "burned", None

    @rule(hours=st.integers(1, 200))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @invariant()
    def every_coin_is_somewhere(self) -> None:
        found, ours = self.model.counted(), self.ours.holding
        unbonding = sum(count for place, count in found.items() if place not in ("active", "gone", "burned"))

        assert (ours.active, ours.unbonding, ours.withdrawn, ours.slashed) == (
            found["active"], unbonding, found["gone"], found["burned"],
        )  # fmt: skip
        assert ours.active + ours.unbonding + ours.withdrawn + ours.slashed == ours.staked == len(self.model.place)
        assert min(ours.active, ours.free_active, *(ours.free_of(name) for name in ours.requests), 0) == 0

    @invariant()
    def cases_hold_what_the_model_holds(self) -> None:
        counted = Counter(holder for n, holder in enumerate(self.model.holder) if holder and self.at_risk(n))

        assert {case: held.units for case, held in self.ours.holding.holds.items() if held.units} == dict(counted)

    @invariant()
    def the_ledger_says_what_is_at_risk(self) -> None:
        kind, subject = "stake", SubjectName(WALLET)
        posted = sum(
            leg.units for event in self.events for leg in event.legs(self.stream) if leg.account == f"stake:{kind}:{subject}"
        )

        assert posted == self.ours.holding.at_risk

    @invariant()
    def what_was_at_risk_today_is_what_is_at_risk(self) -> None:
        assert self.ours.holding.at_start_of(epoch_at(self.now) + 1) == self.ours.holding.at_risk

    @invariant()
    def history_makes_the_same_state(self) -> None:
        if self.serial % 7 == 0:
            again = Collateral(self.stream)
            for event in self.events:
                again.replay(event)  # type: ignore[arg-type]
            assert again == self.ours


TestAtRisk = AtRisk.TestCase
TestAtRisk.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
