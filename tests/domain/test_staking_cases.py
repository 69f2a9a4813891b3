"""A case takes nothing without evidence, enough equal signatures, and a window that passed or a dispute that was decided."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from contracts import Did, Label, StreamName, Uuid
from contracts.liveness import SLOTS_PER_EPOCH
from contracts.staking import (
    SPACE,
    Appeal,
    Appealed,
    AppealResolved,
    Attest,
    Attested,
    Base,
    BondPosted,
    CaseAttested,
    CaseExecuted,
    CaseLapsed,
    CaseOpened,
    CaseVoided,
    Dispute,
    Disputed,
    DisputeResolved,
    Dripped,
    Finding,
    Observe,
    PostBond,
    PostedBond,
    ResolveAppeal,
    ResolveDispute,
    Share,
    SpaceStakeObserved,
    SubjectName,
    case_id,
    case_stream,
)
from contracts.treasury import HoldId
from domain.staking import (
    AddressedWrongly,
    AlreadyAttested,
    AlreadyClosed,
    AlreadyDisputed,
    AlreadyObserved,
    AlreadyOpen,
    BaseDiffers,
    BondTooSmall,
    CoolingDown,
    EvidenceTooOld,
    FaucetEmpty,
    FindingIncomplete,
    HoldUsed,
    NoFaucetHere,
    NotAttested,
    NotBreached,
    NotDisputed,
    NotOnPanel,
    NotOpen,
    PanelNotDrawn,
    SamePerson,
    StillOpen,
    WindowClosed,
)
from domain.staking.cases import SlashCase, tally
from domain.staking.mirrors import Faucet, FaucetDay, SpaceStake
from tests.domain.given import did, digest, given, refused, then
from tests.domain.staking import (
    ACCOUNT,
    CASE,
    DEVICE,
    MIDNIGHT,
    NOON,
    ORACLES,
    PANEL,
    ROOT,
    TODAY,
    an_accusation,
    finding,
    request_id,
    uptime,
)

STREAM = case_stream(CASE)
OPENED_AT = MIDNIGHT + timedelta(minutes=10)
ATTESTED_AT = OPENED_AT + timedelta(hours=1)
AT_RISK = [100 * SPACE]
OPENED = CaseOpened(needed=5, attest_until=OPENED_AT + timedelta(hours=6), **dict(an_accusation()))
TAKEN = (Share(kind="bond", subject=SubjectName(DEVICE), units=10 * SPACE),)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
ATTESTED = CaseAttested(
    finding=Finding(missed=15, root=ROOT), amounts=TAKEN, bond=10 * SPACE, dispute_until=ATTESTED_AT + DAY
)  # fmt: skip
PROPOSAL = request_id(9)
LOST, DOUBLE = HoldId("dispute"), HoldId("appeal")
POSTED = BondPosted(hold=LOST, account=ACCOUNT, amount=10 * SPACE)
DOUBLED = BondPosted(hold=DOUBLE, account=ACCOUNT, amount=20 * SPACE)
DISPUTED = Disputed(hold=LOST, account=ACCOUNT, statement=digest("I was up"), proposal=PROPOSAL)
UPHELD_AT = ATTESTED_AT + 2 * DAY
UPHELD = DisputeResolved(proposal=PROPOSAL, upheld=True, quorum_met=True, appeal_until=UPHELD_AT + DAY)
APPEALED = Appealed(
    hold=DOUBLE, account=ACCOUNT, statement=digest("look again"), answer_until=UPHELD_AT + timedelta(hours=73)
)  # fmt: skip
BOND = PostedBond(hold=LOST, account=ACCOUNT, units=10 * SPACE)
SECOND = PostedBond(hold=DOUBLE, account=ACCOUNT, units=20 * SPACE)
COUNCIL = tuple(did(f"council {n}") for n in range(5))


def a_case(*events: Any) -> SlashCase:
    return given(SlashCase, STREAM, *events)


def attest(case: SlashCase, oracle: str, missed: int = 15, now: datetime = ATTESTED_AT, **more: Any) -> None:
    case.attest(finding(missed, **more), actor=oracle, person=oracle, now=now)


def answer(case: SlashCase, member: str, verdict: Any = "void", key: str | None = None, now: datetime = UPHELD_AT) -> None:
    case.resolve_appeal(ResolveAppeal(verdict=verdict), actor=key or member, person=member, now=now)


def names(events: Iterable[object]) -> list[str]:
    return [type(event).__name__ for event in events]


# Accusing


def test_a_case_is_opened_once_and_says_until_when_witnesses_are_heard() -> None:
    case = a_case()

    then(case, lambda: case.open(an_accusation(), AT_RISK, OPENED_AT), OPENED)
    case.open(an_accusation(), AT_RISK, OPENED_AT + DAY)
    assert case.pending == [OPENED]
    refused(case, lambda: case.open(an_accusation(percent=20), AT_RISK, OPENED_AT), AlreadyOpen)


@pytest.mark.parametrize(
    "said",
    [uptime(14), uptime(0), uptime(133, 143), None, uptime(10, 200, 88)],
    ids=["14", "0", "143 slots", "none", "10 of 200"],
)
def test_no_case_without_a_breach(said: Any) -> None:
    case = a_case()

    refused(case, lambda: case.open(an_accusation(uptime=said), AT_RISK, OPENED_AT), NotBreached)


def test_an_epoch_that_is_not_over_accuses_nobody() -> None:
    case = a_case()

    refused(case, lambda: case.open(an_accusation(), AT_RISK, MIDNIGHT - MOMENT), NotBreached)


def test_evidence_later_than_seven_days_after_the_epoch_opens_nothing() -> None:
    case = a_case()

    refused(case, lambda: case.open(an_accusation(), AT_RISK, MIDNIGHT + 7 * DAY + MOMENT), EvidenceTooOld)
    case.open(an_accusation(), AT_RISK, MIDNIGHT + 7 * DAY)


def test_a_case_is_named_by_what_it_is_about() -> None:
    case = given(SlashCase, case_stream(case_id(did("another"), "downtime", TODAY, ROOT)))

    refused(case, lambda: case.open(an_accusation(), AT_RISK, OPENED_AT), AddressedWrongly)


def test_the_base_is_what_was_at_risk_when_the_epoch_began() -> None:
    case = a_case()

    refused(case, lambda: case.open(an_accusation(), [90 * SPACE], OPENED_AT), BaseDiffers)


def test_for_downtime_only_the_devices_bond_is_at_risk() -> None:
    wallet = Base(kind="stake", subject=SubjectName("0x" + "a" * 40), units=5)
    case = a_case()

    refused(case, lambda: case.open(an_accusation(bases=(wallet,)), [5], OPENED_AT), BaseDiffers)


@pytest.mark.parametrize("panel", [PANEL[::-1], (*PANEL[:6], PANEL[0]), (SubjectName(DEVICE),)])
def test_a_panel_is_in_the_order_of_its_lots_and_judges_no_member(panel: Any) -> None:
    case = a_case()

    refused(case, lambda: case.open(an_accusation(panel=panel), AT_RISK, OPENED_AT), PanelNotDrawn)


def test_a_bad_proof_is_accused_with_the_key_that_signed_it() -> None:
    case = given(SlashCase, case_stream(case_id(DEVICE, "proof", TODAY, digest("closed"))))

    refused(
        case, lambda: case.open(an_accusation(offence="proof", uptime=None, percent=50), AT_RISK, OPENED_AT), FindingIncomplete
    )  # fmt: skip


# Witnessing


def test_five_equal_signatures_and_two_others_attest_the_case_with_the_five() -> None:
    case = a_case(OPENED)

    for oracle in PANEL[:2]:
        attest(case, oracle, 16)
    for oracle in PANEL[2:]:
        attest(case, oracle)

    assert names(case.pending) == ["Attested"] * 7 + ["CaseAttested"]
    assert case.pending[-1] == ATTESTED
    assert [count for _, count in tally(case.findings)] == [5, 2]


def test_four_equal_signatures_of_seven_attest_nothing() -> None:
    case = a_case(OPENED)

    for n, oracle in enumerate(PANEL):
        attest(case, oracle, 15 if n < 4 else 16)

    assert "CaseAttested" not in names(case.pending)


def test_an_oracle_attests_once() -> None:
    case = a_case(OPENED)

    then(
        case, lambda: attest(case, PANEL[0]),
        Attested(missed=15, root=ROOT, oracle=PANEL[0], key=Did(PANEL[0])),
    )  # fmt: skip
    refused(case, lambda: attest(case, PANEL[0], 14), AlreadyAttested)
    refused(case, lambda: attest(case, PANEL[0], root=digest("other")), AlreadyAttested)


def test_a_rotated_key_attests_for_its_oracle_and_not_a_second_time() -> None:
    case = a_case(OPENED)
    case.attest(finding(), actor=did("new key"), person=PANEL[0], now=ATTESTED_AT)

    attest(case, PANEL[0])

    assert names(case.pending) == ["Attested"]
    assert case.oracle_of(did("new key")) == PANEL[0]


def test_who_was_not_drawn_is_no_witness() -> None:
    [outsider, *_] = [oracle for oracle in ORACLES if oracle not in PANEL]
    case = a_case(OPENED)

    refused(case, lambda: attest(case, outsider), NotOnPanel)
    refused(a_case(), lambda: attest(a_case(), PANEL[0]), NotOpen)


def test_a_witness_is_heard_for_six_hours() -> None:
    case = a_case(OPENED)

    refused(case, lambda: attest(case, PANEL[0], now=OPENED.attest_until + MOMENT), WindowClosed)
    attest(case, PANEL[0], now=OPENED.attest_until)


def test_a_witness_of_downtime_says_how_many_were_missed() -> None:
    case = a_case(OPENED)
    for said in (Attest(verdict="guilty", root=ROOT), Attest(root=ROOT), Attest(missed=15, verdict="guilty", root=ROOT)):
        refused(case, partial(case.attest, said, actor=PANEL[0], person=PANEL[0], now=ATTESTED_AT), FindingIncomplete)


def test_a_panel_that_finds_no_breach_voids_the_case() -> None:
    case = a_case(OPENED)

    for oracle in PANEL[:5]:
        attest(case, oracle, 14)

    assert case.pending[-1] == CaseVoided(cause="not_breached")


def test_a_panel_that_finds_a_proof_good_voids_the_case() -> None:
    accused = case_id(DEVICE, "proof", TODAY, digest("closed"))
    opened = OPENED.model_copy(update={"offence": "proof", "uptime": None, "key": DEVICE, "percent": 50})
    case = given(SlashCase, case_stream(accused), opened)

    for oracle in PANEL[:5]:
        case.attest(Attest(verdict="innocent", root=ROOT), actor=oracle, person=oracle, now=ATTESTED_AT)

    assert case.pending[-1] == CaseVoided(cause="innocent")


def test_a_case_with_too_few_witnesses_lapses_after_six_hours() -> None:
    case = a_case(OPENED)

    refused(case, lambda: case.lapse(OPENED.attest_until), StillOpen)
    then(case, lambda: case.lapse(OPENED.attest_until + MOMENT), CaseLapsed())
    refused(done := a_case(OPENED, ATTESTED), lambda: done.lapse(OPENED.attest_until + DAY), AlreadyClosed)


def test_a_parameter_changed_while_a_case_is_open_does_not_change_the_case() -> None:
    case = a_case(OPENED.model_copy(update={"percent": 7, "needed": 4}))

    for oracle in PANEL[:4]:
        attest(case, oracle)

    assert case.share_of("bond", DEVICE) == 7 * SPACE


def test_two_slashes_of_one_base_are_a_fifth_of_it_and_not_nineteen_percent() -> None:
    base = (Base(kind="bond", subject=SubjectName(DEVICE), units=1_000),)
    case = a_case(OPENED.model_copy(update={"bases": base}))
    for oracle in PANEL[:5]:
        attest(case, oracle)

    assert 2 * case.share_of("bond", DEVICE) == 200


# Disputing


def test_a_case_that_nobody_disputes_is_executed_after_a_day() -> None:
    case = a_case(OPENED, ATTESTED)

    refused(case, lambda: case.execute(ATTESTED_AT + DAY), StillOpen)
    then(case, lambda: case.execute(ATTESTED_AT + DAY + MOMENT), CaseExecuted(amounts=TAKEN))


def test_a_case_that_is_not_attested_is_never_executed() -> None:
    refused(case := a_case(OPENED), lambda: case.execute(OPENED_AT + 30 * DAY), NotAttested)
    refused(lapsed := a_case(OPENED, CaseLapsed()), lambda: lapsed.execute(OPENED_AT + 30 * DAY), AlreadyClosed)


def test_a_dispute_in_the_last_second_of_the_window_is_heard_and_one_second_later_is_not() -> None:
    late, case = a_case(OPENED, ATTESTED, POSTED), a_case(OPENED, ATTESTED, POSTED)
    dispute = Dispute(hold=LOST, statement=digest("I was up"))

    refused(late, lambda: late.dispute(dispute, PROPOSAL, ATTESTED_AT + DAY + timedelta(seconds=1)), WindowClosed)
    then(case, lambda: case.dispute(dispute, PROPOSAL, ATTESTED_AT + DAY), DISPUTED)


@pytest.mark.parametrize("posted", [[], [POSTED.model_copy(update={"amount": 10 * SPACE - 1})], [DOUBLED]])
def test_a_dispute_needs_a_bond_that_was_posted(posted: list[Any]) -> None:
    case = a_case(OPENED, ATTESTED, *posted)

    refused(case, lambda: case.dispute(Dispute(hold=LOST, statement=ROOT), PROPOSAL, ATTESTED_AT), BondTooSmall)


def test_a_case_is_disputed_once() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED)

    refused(case, lambda: case.dispute(Dispute(hold=LOST, statement=ROOT), PROPOSAL, ATTESTED_AT), AlreadyDisputed)


def test_a_bond_is_posted_once_and_to_a_case_that_can_be_disputed() -> None:
    case, post = a_case(OPENED, ATTESTED), PostBond(**dict(POSTED))

    then(case, lambda: case.post(post), POSTED)
    refused(case, lambda: case.post(PostBond(hold=LOST, account=ACCOUNT, amount=7)), HoldUsed)
    refused(early := a_case(OPENED), lambda: early.post(post), NotAttested)
    refused(late := a_case(OPENED, ATTESTED, CaseExecuted(amounts=TAKEN)), lambda: late.post(post), AlreadyClosed)


def test_a_disputed_case_waits_for_its_vote_however_long_that_takes() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED)

    refused(case, lambda: case.execute(ATTESTED_AT + 30 * DAY), StillOpen)


def test_a_vote_without_quorum_voids_the_case_and_returns_the_bond() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED)
    vote = ResolveDispute(proposal=PROPOSAL, upheld=True, quorum_met=False)

    then(
        case, lambda: case.resolve_dispute(vote, UPHELD_AT),
        UPHELD.model_copy(update={"quorum_met": False}), CaseVoided(cause="no_quorum", returned=(BOND,)),
    )  # fmt: skip


def test_a_dispute_that_is_won_voids_the_case_and_returns_the_bond() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED)

    case.resolve_dispute(ResolveDispute(proposal=PROPOSAL, upheld=False, quorum_met=True), UPHELD_AT)

    assert case.pending[-1] == CaseVoided(cause="dispute_won", returned=(BOND,))
    refused(case, lambda: case.execute(UPHELD_AT + 30 * DAY), AlreadyClosed)


def test_a_vote_is_about_one_proposal_and_has_one_result() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED)
    other = ResolveDispute(proposal=Uuid(request_id(8)), upheld=True, quorum_met=True)
    vote = ResolveDispute(proposal=PROPOSAL, upheld=True, quorum_met=True)

    refused(case, lambda: case.resolve_dispute(other, UPHELD_AT), NotDisputed)
    then(case, lambda: case.resolve_dispute(vote, UPHELD_AT), UPHELD)
    refused(case, lambda: case.resolve_dispute(vote.model_copy(update={"upheld": False}), UPHELD_AT), AlreadyClosed)


def test_a_lost_dispute_is_executed_a_day_later_and_its_bond_is_burned() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED, UPHELD)

    refused(case, lambda: case.execute(UPHELD_AT + DAY), StillOpen)
    then(case, lambda: case.execute(UPHELD_AT + DAY + MOMENT), CaseExecuted(amounts=TAKEN, burned=(BOND,)))


def test_a_bond_that_was_posted_and_not_used_returns() -> None:
    case = a_case(OPENED, ATTESTED, POSTED)

    case.execute(ATTESTED_AT + 2 * DAY)

    assert case.pending == [CaseExecuted(amounts=TAKEN, returned=(BOND,))]


def test_another_accounts_bond_of_the_same_name_is_not_burned() -> None:
    bob = StreamName("treasury/account/bob.SPACE")
    case = a_case(OPENED, ATTESTED, POSTED, POSTED.model_copy(update={"account": bob}), DISPUTED, UPHELD)

    case.execute(UPHELD_AT + 2 * DAY)

    assert case.pending == [
        CaseExecuted(amounts=TAKEN, burned=(BOND,), returned=(BOND.model_copy(update={"account": bob}),))
    ]  # fmt: skip


# Appealing


def test_an_appeal_takes_twice_the_bond_within_a_day() -> None:
    case = a_case(OPENED, ATTESTED, POSTED, DISPUTED, UPHELD, DOUBLED)
    appeal = Appeal(hold=DOUBLE, statement=digest("look again"))

    refused(case, lambda: case.appeal(Appeal(hold=LOST, statement=ROOT), UPHELD_AT), BondTooSmall)
    refused(case, lambda: case.appeal(appeal, UPHELD_AT + DAY + MOMENT), WindowClosed)
    then(case, lambda: case.appeal(appeal, UPHELD_AT + timedelta(hours=1)), APPEALED)
    refused(case, lambda: case.appeal(Appeal(hold=DOUBLE, statement=ROOT), UPHELD_AT), AlreadyDisputed)


def test_one_bond_does_not_stand_for_dispute_and_appeal() -> None:
    large = POSTED.model_copy(update={"amount": 100 * SPACE})
    case = a_case(OPENED, ATTESTED, large, DISPUTED, UPHELD)

    refused(case, lambda: case.appeal(Appeal(hold=LOST, statement=ROOT), UPHELD_AT), BondTooSmall)


def test_nobody_appeals_what_no_vote_decided() -> None:
    case = a_case(OPENED, ATTESTED, DOUBLED)

    refused(case, lambda: case.appeal(Appeal(hold=DOUBLE, statement=ROOT), ATTESTED_AT), NotDisputed)
    refused(case, lambda: answer(case, COUNCIL[0]), NotDisputed)


def appealed() -> SlashCase:
    return a_case(OPENED, ATTESTED, POSTED, DISPUTED, UPHELD, DOUBLED, APPEALED)


def test_three_of_the_council_void_a_case_and_return_both_bonds() -> None:
    case = appealed()

    for member in COUNCIL[:3]:
        answer(case, member)

    assert names(case.pending) == ["AppealResolved"] * 3 + ["CaseVoided"]
    assert case.pending[-1] == CaseVoided(cause="appeal_won", returned=(BOND, SECOND))


def test_a_person_of_the_council_answers_once_with_whatever_key() -> None:
    case = appealed()

    then(case, lambda: answer(case, COUNCIL[0]), AppealResolved(verdict="void", actor=COUNCIL[0], person=COUNCIL[0]))
    refused(case, lambda: answer(case, COUNCIL[0], key=did("rotated")), SamePerson)
    refused(case, lambda: answer(case, COUNCIL[0], "uphold"), SamePerson)


def test_silence_of_the_council_upholds_and_burns_both_bonds() -> None:
    case = appealed()
    answer(case, COUNCIL[0])
    answer(case, COUNCIL[1])
    case.pending = []

    refused(case, lambda: case.execute(APPEALED.answer_until), StillOpen)
    refused(case, lambda: answer(case, COUNCIL[2], now=APPEALED.answer_until + MOMENT), WindowClosed)
    then(case, lambda: case.execute(APPEALED.answer_until + MOMENT), CaseExecuted(amounts=TAKEN, burned=(BOND, SECOND)))


def test_three_that_uphold_end_the_wait() -> None:
    case = appealed()
    for member in COUNCIL[:3]:
        answer(case, member, "uphold")

    case.execute(UPHELD_AT + timedelta(hours=2))

    assert case.outcome == "executed"


# Mirrors

ADDRESS = "0x" + "c" * 40


def test_a_log_is_observed_once() -> None:
    position = given(SpaceStake, f"staking/space/{ADDRESS}")
    said = Observe(kind="stake", amount=10**21, log=Label("0xab:3"))

    then(position, lambda: position.observe(said), SpaceStakeObserved(**dict(said)))
    refused(position, lambda: position.observe(said.model_copy(update={"amount": 1})), AlreadyObserved)
    refused(other := given(SpaceStake, "staking/space/0xAB"), lambda: other.observe(said), AddressedWrongly)


def test_a_faucet_drip_on_mainnet_is_refused_and_one_24_hours_after_the_last_is_granted() -> None:
    faucet, today = given(Faucet, f"staking/faucet/{ADDRESS}"), given(FaucetDay, "staking/faucetday/1")

    refused(faucet, lambda: faucet.drip("mainnet", today, NOON), NoFaucetHere)
    faucet.drip("testnet", today, NOON)
    refused(faucet, lambda: faucet.drip("testnet", today, NOON + DAY - MOMENT), CoolingDown)
    faucet.drip("testnet", today, NOON + DAY)

    first = Dripped(amount=100 * SPACE, next_at=NOON + DAY, day=TODAY)
    assert faucet.pending == [first, Dripped(amount=100 * SPACE, next_at=NOON + 2 * DAY, day=TODAY + 1)]


def test_a_days_allowance_is_a_thousand_drips() -> None:
    faucet, today = given(Faucet, f"staking/faucet/{ADDRESS}"), FaucetDay("staking/faucetday/1", units=99_900 * SPACE)

    faucet.drip("testnet", today, NOON)
    today.units += 1

    refused(faucet, lambda: faucet.drip("testnet", today, NOON + DAY), FaucetEmpty)


def test_half_an_epoch_is_the_least_that_is_judged() -> None:
    assert SLOTS_PER_EPOCH // 2 == 144
