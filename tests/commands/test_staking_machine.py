"""Cases and collaterals together, judged by a stranger who only reads the log. Chance chooses the history."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts import AdoptParameter, ParameterName, Uuid, own_class, policy_stream
from contracts.staking import (
    SPACE,
    Appeal,
    Attest,
    Base,
    CaseId,
    Dispute,
    ExecuteCase,
    HoldForCase,
    LapseCase,
    OpenCase,
    PostBond,
    ReleaseHold,
    RequestUnstake,
    ResolveAppeal,
    ResolveDispute,
    Slash,
    StakingParameters,
    SubjectName,
    Uptime,
    Withdraw,
    case_id,
    case_stream,
    collateral_stream,
)
from contracts.treasury import HoldId
from domain import Refused
from domain._policy import Policy
from domain.staking.arithmetic import drawn, epoch_at, starts
from domain.staking.collateral import Collateral
from tests.commands.test_staking import Desk
from tests.domain.given import did, digest
from tests.domain.staking import ACCOUNT, MIDNIGHT, ROOT, SEED, TODAY

DEVICES = [SubjectName(did(f"device {n}")) for n in range(2)]
ORACLES = [SubjectName(did(f"oracle {n}")) for n in range(5)]
PANEL = drawn(SEED, ORACLES)
COUNCIL = [did(f"council {n}") for n in range(5)]
DAY = timedelta(days=1)
WHICH = st.integers(0, 5)


@dataclass
class Fact:
    """A line of the log."""

    stream: str
    event: Any
    at: datetime

    @property
    def name(self) -> str:
        return type(self.event).__name__


PERCENTAGES = st.sampled_from([1, 10, 20])


class Justice(RuleBasedStateMachine):
    @initialize(stage=st.integers(0, 4), percent=PERCENTAGES)
    def begin(self, stage: int, percent: int) -> None:
        """Two cases, of which the first has come some way: chance alone seldom gets far."""
        self.desk, self.log, self.now, self.serial = Desk(), list[Fact](), MIDNIGHT - 3 * DAY, 0
        for device in DEVICES:
            self.put(device, 100 * SPACE)
        self.adopt(percent)
        self.now = MIDNIGHT + timedelta(minutes=10)
        self.cases: list[tuple[CaseId, SubjectName]] = []
        for device in DEVICES:
            self.accuse(device, 0, 15, 0, 0)
        if stage > 0:
            self.attest(0, 5, 15)
        if stage > 1:
            self.dispute(0, True, 40 * SPACE)
        if stage > 2:
            self.vote(0, True, True)
        if stage > 3:
            self.dispute(0, False, 40 * SPACE)

    def ask(self, command: Any, stream: str, by: str | None = None) -> list[Any]:
        try:
            events = self.desk.ask(command, stream, self.now, by or did("anybody"))
        except Refused:
            return []
        self.log += [Fact(stream, event, self.now) for event in events]
        return events

    def put(self, device: SubjectName, units: int) -> None:
        self.serial += 1
        stream = collateral_stream("bond", device)
        self.ask(self.desk.elsewhere.stake(units, stream, self.now, f"h-{self.serial}"), stream)

    def bond(self, device: SubjectName) -> Collateral:
        found: Collateral = self.desk.streams.load(Collateral, collateral_stream("bond", device))
        return found

    def pick(self, which: int) -> tuple[CaseId, SubjectName]:
        return self.cases[which % len(self.cases)]

    def policy(self) -> Policy:
        found: Policy = self.desk.streams.load(Policy, policy_stream("staking"))
        return found

    @rule(percent=PERCENTAGES)
    def adopt(self, percent: int) -> None:
        """Whenever it is, an open case keeps its own."""
        version = self.policy().version + 1
        command = own_class(AdoptParameter, "staking")(
            name=ParameterName("downtime_slash_percent"), value=percent, version=version
        )  # fmt: skip
        self.ask(command, policy_stream("staking"))

    @rule(device=st.sampled_from(DEVICES), units=st.integers(1, 30 * SPACE))
    def stake(self, device: SubjectName, units: int) -> None:
        self.put(device, units)

    @rule(device=st.sampled_from(DEVICES), units=st.integers(1, 60 * SPACE))
    def unstake(self, device: SubjectName, units: int) -> None:
        self.ask(RequestUnstake(amount=units), collateral_stream("bond", device))

    @rule(which=WHICH)
    def withdraw(self, which: int) -> None:
        asked = [fact for fact in self.log if fact.name == "UnstakeRequested"]
        if asked:
            fact = asked[which % len(asked)]
            self.ask(Withdraw(request=Uuid(fact.event.request), account=ACCOUNT), fact.stream)

    @rule(
        device=st.sampled_from(DEVICES), day=st.integers(0, 2), missed=st.sampled_from([14, 15, 15, 90]),
        more=st.sampled_from([0, 0, 0, 1]), off=st.sampled_from([0, 0, 0, 1]),
    )  # fmt: skip
    def accuse(self, device: SubjectName, day: int, missed: int, more: int, off: int) -> None:
        epoch = epoch_at(self.now) - 1 - day
        at_risk = self.bond(device).holding.at_start_of(epoch)
        terms = self.policy().parameters_at(StakingParameters, starts(epoch))
        command = OpenCase(
            subject=device, offence="downtime", epoch=epoch, evidence=digest(str(epoch)),
            uptime=Uptime(expected=288, excused=0, missed=missed, root=ROOT),
            bases=(Base(kind="bond", subject=device, units=at_risk + off),), percent=terms.downtime_slash_percent + more,
            panel=PANEL, seed=SEED, policy_version=terms.policy_version or 1,
        )  # fmt: skip
        case = case_id(device, "downtime", epoch, digest(str(epoch)))
        if self.ask(command, case_stream(case)):
            self.cases.append((case, device))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, count=st.integers(1, 5), missed=st.sampled_from([14, 15, 15, 15, 16]))
    def attest(self, which: int, count: int, missed: int) -> None:
        case, _ = self.pick(which)
        for oracle in ORACLES[:count]:
            self.ask(Attest(missed=missed, root=ROOT), case_stream(case), oracle)

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, first=st.booleans(), units=st.sampled_from([1, 10 * SPACE, 40 * SPACE]))
    def dispute(self, which: int, first: bool, units: int) -> None:
        case, _ = self.pick(which)
        self.serial += 1
        hold = HoldId(f"b-{self.serial}")
        self.ask(PostBond(hold=hold, account=ACCOUNT, amount=units), case_stream(case))
        command = Dispute(hold=hold, statement=ROOT) if first else Appeal(hold=hold, statement=ROOT)
        self.ask(command, case_stream(case))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, upheld=st.sampled_from([True, True, False]), quorum=st.sampled_from([True, True, False]))
    def vote(self, which: int, upheld: bool, quorum: bool) -> None:
        case, _ = self.pick(which)
        for fact in [fact for fact in self.log if fact.stream == case_stream(case) and fact.name == "Disputed"]:
            said = ResolveDispute(proposal=fact.event.proposal, upheld=upheld, quorum_met=quorum)
            self.ask(said, case_stream(case))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, verdicts=st.lists(st.sampled_from(["void", "uphold"]), max_size=5))
    def answer(self, which: int, verdicts: list[Any]) -> None:
        case, _ = self.pick(which)
        for member, verdict in zip(COUNCIL, verdicts, strict=False):
            self.ask(ResolveAppeal(verdict=verdict), case_stream(case), member)

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, ending=st.sampled_from([ExecuteCase(), ExecuteCase(), LapseCase()]))
    def end(self, which: int, ending: Any) -> None:
        case, _ = self.pick(which)
        self.ask(ending, case_stream(case))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, off=st.sampled_from([0, 0, 0, 1]), device=st.sampled_from([None, None, *DEVICES]))
    def hold(self, which: int, off: int, device: SubjectName | None) -> None:
        case, accused = self.pick(which)
        shares = [fact.event.amounts for fact in self.log if fact.name == "CaseAttested" and fact.stream == case_stream(case)]
        units = shares[0][0].units if shares and shares[0] else 1
        self.ask(HoldForCase(case=case, amount=units + off), collateral_stream("bond", device or accused))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, device=st.sampled_from([None, None, *DEVICES]))
    def slash(self, which: int, device: SubjectName | None) -> None:
        case, accused = self.pick(which)
        self.ask(Slash(case=case), collateral_stream("bond", device or accused))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        case, accused = self.pick(which)
        self.ask(ReleaseHold(case=case), collateral_stream("bond", accused))

    @precondition(lambda self: self.cases)
    @rule(which=WHICH, steps=st.integers(1, 8))
    def go_on(self, which: int, steps: int) -> None:
        """What a process would do next, so that chance gets to the end of a case."""
        case, _ = self.pick(which)
        for _ in range(steps):
            said = self.of(case, len(self.log))
            if "CaseAttested" not in said:
                self.attest(which, 5, 15)
            elif "HeldForCase" not in {fact.name for fact in self.log if getattr(fact.event, "case", None) == case}:
                self.hold(which, 0, None)
            elif "CaseExecuted" in said:
                self.slash(which, None)
            elif "CaseVoided" in said:
                self.release(which)
            else:
                self.now += DAY if "Appealed" not in said else 3 * DAY
                self.end(which, ExecuteCase())
                self.now += timedelta(seconds=1)
                self.end(which, ExecuteCase())

    @rule(hours=st.sampled_from([1, 5, 7, 23, 25, 25, 80]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    # The stranger

    def of(self, case: str, until: int) -> dict[str, list[Fact]]:
        found: dict[str, list[Fact]] = {}
        for fact in self.log[:until]:
            if fact.stream == case_stream(case):
                found.setdefault(fact.name, []).append(fact)
        return found

    @invariant()
    def nobody_is_slashed_without_evidence_witnesses_and_a_window(self) -> None:
        for place, fact in enumerate(self.log):
            if fact.name != "Slashed":
                continue
            said = self.of(fact.event.case, place)
            [opened], [attested], [executed] = said["CaseOpened"], said["CaseAttested"], said["CaseExecuted"]
            case = opened.event
            assert Fraction(case.uptime.missed, case.uptime.expected) > Fraction(5, 100)
            assert opened.at >= MIDNIGHT + (case.epoch - TODAY) * DAY
            assert opened.at <= MIDNIGHT + (case.epoch - TODAY + 7) * DAY
            witnesses = self.of(fact.event.case, self.log.index(attested))["Attested"]
            agreed = [witness.event.missed for witness in witnesses]
            assert len({witness.event.oracle for witness in witnesses} & set(PANEL)) == len(agreed)
            most = max(set(agreed), key=agreed.count)
            assert agreed.count(most) >= max(3, ceil(Fraction(2 * len(case.panel), 3)))
            assert Fraction(most, case.uptime.expected) > Fraction(5, 100)
            assert self.may_be_executed(said, attested.at, executed.at)
            assert "CaseVoided" not in said
            assert "CaseLapsed" not in said

    def may_be_executed(self, said: dict[str, list[Fact]], attested: datetime, executed: datetime) -> bool:
        if "Disputed" not in said:
            return executed - attested > DAY
        assert said["Disputed"][0].at - attested <= DAY
        [resolved] = said["DisputeResolved"]
        assert resolved.event.upheld
        assert resolved.event.quorum_met
        if "Appealed" not in said:
            return executed - resolved.at > DAY
        answers = {fact.event.person: fact.event.verdict for fact in said.get("AppealResolved", [])}
        assert list(answers.values()).count("void") < 3
        waited = executed - said["Appealed"][0].at > 3 * DAY
        return waited or list(answers.values()).count("uphold") >= 3

    @invariant()
    def a_case_takes_its_percentage_once_and_never_more_than_there_is(self) -> None:
        taken: dict[str, int] = {}
        left: dict[str, int] = {collateral_stream("bond", device): 0 for device in DEVICES}
        for place, fact in enumerate(self.log):
            if fact.name == "Staked":
                left[fact.stream] += fact.event.amount
            elif fact.name == "Withdrawn":
                left[fact.stream] -= fact.event.amount
            elif fact.name == "Slashed":
                assert fact.event.case not in taken
                [opened] = self.of(fact.event.case, place)["CaseOpened"]
                [base] = opened.event.bases
                assert collateral_stream("bond", base.subject) == fact.stream
                assert 0 < fact.event.amount <= left[fact.stream]
                assert fact.event.amount <= ceil(Fraction(base.units * opened.event.percent, 100))
                taken[fact.event.case] = fact.event.amount
                left[fact.stream] -= fact.event.amount
                assert fact.event.left == left[fact.stream]
            assert min(left.values()) >= 0
        for device in DEVICES:
            assert self.bond(device).holding.at_risk == left[collateral_stream("bond", device)]

    @invariant()
    def nothing_leaves_within_seven_days_or_while_it_is_held(self) -> None:
        asked: dict[str, Fact] = {}
        for fact in self.log:
            if fact.name == "UnstakeRequested":
                asked[fact.event.request] = fact
            elif fact.name == "Withdrawn":
                assert fact.at - asked[fact.event.request].at >= 7 * DAY
        for device in DEVICES:
            holding = self.bond(device).holding
            assert sum(held.units for held in holding.holds.values()) <= holding.at_risk

    @invariant()
    def a_bond_ends_once_and_is_burned_only_if_its_dispute_was_lost(self) -> None:
        for case, _ in self.cases:
            said = self.of(case, len(self.log))
            posted = {fact.event.hold for fact in said.get("BondPosted", [])}
            used = {fact.event.hold for name in ("Disputed", "Appealed") for fact in said.get(name, [])}
            closed = said.get("CaseExecuted", []) + said.get("CaseVoided", [])
            assert len(closed) + len(said.get("CaseLapsed", [])) <= 1
            for fact in closed:
                returned = {bond.hold for bond in fact.event.returned}
                burned = {bond.hold for bond in getattr(fact.event, "burned", ())}
                assert burned | returned == posted
                assert burned == (used if fact.name == "CaseExecuted" else set())


TestJustice = Justice.TestCase
TestJustice.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
