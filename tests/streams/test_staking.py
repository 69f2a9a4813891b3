"""From heartbeats to a slash and back: what staking does by itself, as the clock runs."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from commands.staking import Staking
from commands.treasury import Treasury
from contracts import Amount, Digest, Label, Uuid
from contracts.inference import (
    AttemptCompleted,
    AttemptStarted,
    ReceiptMatched,
    ReceiptRefuted,
    RequestOpened,
    request_stream,
)
from contracts.liveness import (
    SLOT_SECONDS,
    SLOTS_PER_EPOCH,
    Beat,
    CloseEpoch,
    EpochClosed,
    HeartbeatsRecorded,
    ShardCut,
    SlotCount,
    SlotsExcused,
    fleet_of,
)
from contracts.providers import ModelId, OfferId
from contracts.rewards import RecordBurn
from contracts.staking import (
    SPACE,
    Attest,
    CancelUnstake,
    CaseId,
    CaseOpened,
    DeregisterDevice,
    Dispute,
    Drip,
    ResolveDispute,
    ResumeDevice,
    Withdraw,
    case_id,
    case_stream,
    collateral_stream,
)
from contracts.treasury import AccountId, Credit, Hold, HoldId, LedgerAccount, OpenAccount, Purpose, Reference, account_stream
from domain.liveness import closing, day_stream
from domain.staking import CoolingDown, StillBonding
from domain.staking.arithmetic import is_breach
from domain.staking.uptime import uptime_of
from projections.inference import receipt_book
from projections.staking.due import breaches, expected_in
from projections.staking.queries import case, closed_epochs, device_standings, open_cases, stake_of
from projections.treasury import treasury
from projections.treasury.carried import holds_to_carry
from projections.treasury.queries import balance_of
from streams.liveness import Expected, close_the_epoch
from streams.staking import streams
from streams.staking.recomputing import NotInLog, attested_by, oracles_before, recompute
from tests.domain.given import did, digest
from tests.domain.staking import ACCOUNT, MIDNIGHT, NOON, TODAY, WALLET, a_registration
from tests.streams.town import Refusal, Town

DEVICE = did("device")
BOND = collateral_stream("bond", DEVICE)
ORACLES = [did(f"oracle {n}") for n in range(9)]
FIRST = TODAY * SLOTS_PER_EPOCH
CASE = case_id(DEVICE, "downtime", TODAY, "0" * 64)
CUT = (ShardCut(shard="liveness.events/0", next=1),)


class Village(Town):
    """Staking and the treasury are in town; liveness is told."""

    def __init__(self, path: Path) -> None:
        wired = [*streams(None), treasury(), holds_to_carry()]  # type: ignore[arg-type]
        super().__init__(path, [Staking, Treasury], wired, NOON - timedelta(days=3))
        self.ask(OpenAccount(owner=AccountId("alice"), asset="SPACE"), ACCOUNT)
        self.holds = 0
        credit = Credit(
            amount=Amount.of("SPACE", 10**12), counter=LedgerAccount("genesis:test"), reference=Reference("genesis")
        )  # fmt: skip
        self.ask(credit, ACCOUNT)

    def hold(self, units: int, purpose: str) -> HoldId:
        self.holds += 1
        hold = HoldId(f"h-{self.holds}")
        until = self.now + timedelta(hours=1)
        said = Hold(hold=hold, amount=Amount.of("SPACE", units), purpose=Purpose(purpose), expires_at=until)
        self.ask(said, ACCOUNT)
        return hold

    def stake(self, kind: str, subject: str, units: int) -> None:
        self.hold(units, f"stake:{collateral_stream(kind, subject)}")
        self.work()

    def register(self, device: str = DEVICE, **registration: Any) -> None:
        self.ask(a_registration(**registration), collateral_stream("bond", device))
        self.work()

    def oracles(self, count: int = 9) -> None:
        for oracle in ORACLES[:count]:
            self.stake("oracle", oracle, 10_000 * SPACE)

    def a_day(self, missed: int, *, excused: Iterable[int] = (), device: str = DEVICE) -> None:
        """The device beats in every slot but the first ones; then the day ends."""
        beats = [a_beat(slot, device) for slot in range(FIRST + missed, FIRST + SLOTS_PER_EPOCH)]
        self.now = MIDNIGHT + timedelta(minutes=10)
        for start in range(0, len(beats), 100):
            event = HeartbeatsRecorded(beats=tuple(beats[start : start + 100]), repeated=0)
            self.happened(event, f"liveness/fleet/{fleet_of(device)}")
        slots = tuple(SlotCount(slot=slot, active=10, missing=3) for slot in excused)
        self.happened(SlotsExcused(epoch=TODAY, slots=slots, cut=CUT), day_stream(TODAY))
        asked = CloseEpoch(
            epoch=TODAY, cut=CUT, policy_version=1, first_slot=FIRST, end_slot=FIRST + SLOTS_PER_EPOCH
        )  # fmt: skip
        self.happened(closing({beat.slot: beat.hash for beat in beats}, asked, excused), f"liveness/device/{device}")
        self.work()

    def opened(self) -> CaseOpened:
        with self.views() as connection:
            found = case(CASE, connection)
        assert found is not None
        return found.opened

    def attest(self, count: int = 5) -> None:
        opened = self.opened()
        assert opened.uptime is not None
        for oracle in opened.panel[:count]:
            self.ask(Attest(missed=opened.uptime.missed, root=opened.uptime.root), case_stream(CASE), oracle)
        self.work()

    def state(self) -> str:
        with self.views() as connection:
            found = case(CASE, connection)
        return found.state if found else "none"

    def liveness(self) -> Sequence[Any]:
        return [(event, record) for event, record in self.log if record.type.startswith("liveness.")]

    def staking(self) -> Sequence[Any]:
        return [(event, record) for event, record in self.log if record.type.startswith("staking.")]


def a_beat(slot: int, device: str = DEVICE) -> Beat:
    at = slot * SLOT_SECONDS * 1000
    return Beat(
        device=device, slot=slot, seq=slot, boot=Label("b"), sent_at_ms=at, received_at_ms=at, load_percent=1,
        hash=Digest(sha256(f"{device} {slot}".encode()).hexdigest()),
    )  # fmt: skip


@pytest.fixture
def village(tmp_path: Path) -> Village:
    found = Village(tmp_path)
    found.stake("bond", DEVICE, 100 * SPACE)
    found.register()
    found.oracles()
    return found


# What an epoch says


def expected(n: int, beaten: Iterable[int]) -> Expected:
    return Expected(did(f"device {n}"), range(FIRST, FIRST + SLOTS_PER_EPOCH), frozenset(beaten))


def excused_of(devices: Sequence[Expected]) -> list[int]:
    found = close_the_epoch(TODAY, devices, CUT, (TODAY + 2) * SLOTS_PER_EPOCH * SLOT_SECONDS, 1)
    assert found is not None
    return [slot.slot for slot in found[0].command.slots]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("missing", "excused"), [(21, True), (20, False)])
def test_a_slot_missed_by_21_percent_of_the_devices_is_excused_and_by_exactly_20_percent_is_not(
    missing: int, excused: bool
) -> None:
    all_day = range(FIRST, FIRST + SLOTS_PER_EPOCH)
    fleet = [expected(n, (slot for slot in all_day if slot != FIRST or n >= missing)) for n in range(100)]

    assert (FIRST in excused_of(fleet)) is excused


def test_an_epoch_in_which_the_collector_was_down_for_thirteen_hours_breaches_nobody() -> None:
    down = 13 * 12
    fleet = [expected(n, range(FIRST + down, FIRST + SLOTS_PER_EPOCH - 60)) for n in range(10)]
    slots = excused_of(fleet)

    said = uptime_of(FIRST, FIRST + SLOTS_PER_EPOCH, 60, digest("root"), [slot for slot in slots if slot < FIRST + down])

    assert said.expected == 132
    assert not is_breach(said.missed, said.expected)


def test_an_excused_slot_counts_neither_as_expected_nor_as_missed() -> None:
    said = uptime_of(FIRST, FIRST + 288, 11, digest("root"), range(FIRST - 5, FIRST + 88))

    assert (said.expected, said.excused) == (200, 88)
    assert is_breach(said.missed, said.expected)


# From breach to slash


def test_fifteen_missed_slots_cost_a_tenth_of_the_bond_a_day_later(village: Village) -> None:
    village.a_day(missed=15)
    assert village.state() == "open"
    village.attest()
    village.wait(hours=23)
    assert village.state() == "attested"

    village.wait(hours=2)

    with village.views() as connection:
        position, [standing] = stake_of("bond", DEVICE, connection), device_standings(connection)
        found = case(CASE, connection)
    assert position is not None
    assert found is not None
    assert (position.active, position.slashed, position.held) == (90 * SPACE, 10 * SPACE, 0)
    assert (standing.suspended_by, standing.below_minimum) == (CASE, True)
    assert [(taken.units, taken.state) for taken in found.taken] == [(10 * SPACE, "slashed")]
    [(burn, _)] = [entry for entry in village.outside if isinstance(entry[0], RecordBurn)]
    assert burn.amount == 10 * SPACE  # type: ignore[attr-defined]
    assert village.balances()["treasury:burn"] == 10 * SPACE


def test_a_device_that_was_declined_is_not_accused_for_the_owner_of_its_key(village: Village) -> None:
    """Nor does the owner escape by deregistering."""
    village.stake("bond", "second", 100 * SPACE)
    village.register("second", serial="its own")
    village.wired = [one for one in village.wired if one.name != "open_case_on_breach"]
    village.a_day(missed=15)
    village.ask(DeregisterDevice(), BOND)
    village.work()

    with village.views() as connection:
        [breach] = breaches(TODAY, connection)

    assert breach.device == DEVICE


def test_fourteen_missed_slots_open_nothing(village: Village) -> None:
    village.a_day(missed=14)

    assert village.state() == "none"


def test_a_case_is_opened_once_however_often_the_list_is_worked_off(village: Village) -> None:
    village.a_day(missed=15)
    village.sent.clear()

    village.wait(minutes=1)

    assert village.names("staking.CaseOpened") == ["CaseOpened"]


def refute(village: Village, evidence: Digest) -> CaseId:
    """The device served in the afternoon, and a probe has shown since that its receipt is false."""
    request = request_stream(Uuid("0198c0de-0000-7000-8000-000000000001"))
    village.now = NOON + timedelta(hours=1)
    asked = RequestOpened(
        key=Label("k"), kind="chat", model=ModelId("llama"), stream=False, prompt_tokens=100, max_tokens=50, n=1,
        request_hash=digest("body"),
    )  # fmt: skip
    village.happened(asked, request)
    village.happened(AttemptStarted(number=1, offer=OfferId("device.llama")), request)
    ended = AttemptCompleted(
        number=1, offer=OfferId("device.llama"), delivered_bytes=160, prompt_tokens=100, completion_tokens=40,
        method="tokenizer", finish_reason=Label("stop"), first_token_ms=90, response_hash=digest("answer"),
        ended_at=village.now,
    )  # fmt: skip
    village.happened(ended, request)
    claim = ReceiptMatched(
        device=DEVICE, person=DEVICE, number=1, offer=ended.offer, model_digest=digest("weights"),
        opened=digest("opened"), request_hash=digest("body"), response_hash=digest("answer"),
        prompt_tokens=100, completion_tokens=40, started_at=NOON, ended_at=village.now,
        finish_reason=Label("stop"), partial=False,
    )  # fmt: skip
    village.happened(claim, request)
    village.now += timedelta(hours=2)
    village.happened(ReceiptRefuted(device=DEVICE, number=1, evidence=evidence, refuted_by=ORACLES[0]), request)
    village.work()
    return case_id(DEVICE, "proof", TODAY, evidence)


def test_a_refuted_receipt_costs_half_of_the_bond_and_of_the_wallet_s_stake_and_its_key(village: Village) -> None:
    """White paper 9.6; it is accused when the day is over, since its seed draws the panel."""
    village.wire(receipt_book())
    village.stake("stake", WALLET, 1_000 * SPACE)
    name = refute(village, evidence := digest("probe"))
    assert village.names("staking.CaseOpened") == []

    village.a_day(missed=0)
    with village.views() as connection:
        found = case(name, connection)
    assert found is not None
    assert [(base.kind, base.units) for base in found.opened.bases] == [("bond", 100 * SPACE), ("stake", 1_000 * SPACE)]
    assert (found.opened.key, found.opened.percent, len(found.opened.panel)) == (DEVICE, 50, 7)
    for oracle in found.opened.panel[:5]:
        village.ask(Attest(verdict="guilty", root=evidence), case_stream(name), oracle)
    village.work()
    village.wait(hours=25)

    with village.views() as connection:
        bond, stake = stake_of("bond", DEVICE, connection), stake_of("stake", WALLET, connection)
        [standing] = device_standings(connection)
    assert bond is not None
    assert stake is not None
    assert (bond.slashed, stake.slashed) == (50 * SPACE, 500 * SPACE)
    assert standing.tombstoned
    assert village.names("staking.CaseOpened") == ["CaseOpened"]


def test_evidence_that_comes_a_week_late_opens_nothing(village: Village) -> None:
    wired = village.wired
    village.wired = [one for one in wired if one.name != "open_case_on_breach"]
    village.a_day(missed=15)
    village.wired = wired

    village.wait(days=8)

    assert village.state() == "none"


def test_a_case_that_few_witnesses_attest_lapses_and_holds_nothing(village: Village) -> None:
    village.a_day(missed=15)
    village.attest(count=4)

    village.wait(hours=7)

    assert village.state() == "lapsed"
    assert "HeldForCase" not in village.names()


def test_a_clock_that_runs_ahead_of_the_stores_is_asked_again(village: Village) -> None:
    """What was refused as too soon is not lost."""
    village.a_day(missed=15)
    village.refusals["hold_when_attested"][f"lapse:{CASE}:0"] = Refusal("StillOpen", "", village.now + timedelta(hours=6))

    village.wait(hours=7)

    assert village.state() == "lapsed"


def test_a_dispute_that_is_won_gives_back_what_was_held_and_the_bond(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    hold = village.hold(10 * SPACE, f"bond:{case_stream(CASE)}")
    village.work()
    [disputed] = village.ask(Dispute(hold=hold, statement=digest("I was up")), case_stream(CASE))
    village.wait(days=2)
    assert village.state() == "disputed"

    vote = ResolveDispute(proposal=disputed.proposal, upheld=False, quorum_met=True)  # type: ignore[attr-defined]
    village.ask(vote, case_stream(CASE))
    village.work()

    balances = village.balances()
    assert village.state() == "voided"
    assert balances[f"stake:bond:{DEVICE}"] == 100 * SPACE
    assert "treasury:burn" not in balances
    assert not [account for account in balances if account.startswith(("hold:", "due:", "stake:dispute:"))]


def test_a_dispute_that_is_lost_burns_its_bond(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    hold = village.hold(10 * SPACE, f"bond:{case_stream(CASE)}")
    village.work()
    [disputed] = village.ask(Dispute(hold=hold, statement=digest("I was up")), case_stream(CASE))
    village.ask(ResolveDispute(proposal=Uuid(disputed.proposal), upheld=True, quorum_met=True), case_stream(CASE))  # type: ignore[attr-defined]
    village.wait(hours=25)

    assert village.state() == "executed"
    assert village.balances()["treasury:burn"] == 20 * SPACE
    assert sum(burn.amount for burn, _ in village.outside if isinstance(burn, RecordBurn)) == 20 * SPACE


def test_a_suspended_device_is_suspended_once(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    village.wait(hours=25)
    village.stake("bond", DEVICE, 10 * SPACE)
    village.ask(ResumeDevice(), BOND)

    village.sent.clear()
    village.wait(hours=1)

    with village.views() as connection:
        [standing] = device_standings(connection)
    assert standing.suspended_by is None


# Money comes and goes


def available(village: Village) -> int:
    with village.views() as connection:
        found = balance_of("alice", "SPACE", connection)
    assert found is not None
    return found.available.units


def test_what_an_account_holds_for_a_stake_becomes_stake(village: Village) -> None:
    balances = village.balances()

    assert balances[f"stake:bond:{DEVICE}"] == 100 * SPACE
    assert not [account for account in balances if account.startswith(("hold:", "due:"))]
    assert available(village) == 10**12 - (100 + 90_000) * SPACE


@pytest.mark.parametrize(
    "purpose",
    [f"stake:{collateral_stream('oracle', did('small'))}", "stake:staking/collateral/house/alice", "stake:somewhere/else/x",
     "bond:staking/case/nothing.proof.1", f"bond:{BOND}", "stake:other/foo/stake/y", "stake:staking/collateral/bond/a/b",
     "stake:staking/collateral/bond/" + "x" * 119, "bond:staking/case/" + "x" * 119, "bond:staking/cases/x.proof.1"],
)  # fmt: skip
def test_what_nobody_takes_is_free_again(village: Village, purpose: str) -> None:
    """A hold that names a stream does not expire by itself."""
    before = available(village)

    village.hold(5, purpose)
    village.work()

    assert available(village) == before


def test_a_hold_of_euro_is_no_stake(village: Village) -> None:
    euro = account_stream("alice", "EUR")
    village.ask(OpenAccount(owner=AccountId("alice"), asset="EUR"), euro)
    amount = Amount.of("EUR", 10**9)
    village.ask(Credit(amount=amount, counter=LedgerAccount("genesis:test"), reference=Reference("genesis")), euro)
    until = village.now + timedelta(hours=1)
    village.ask(Hold(hold=HoldId("h"), amount=amount, purpose=Purpose(f"stake:{BOND}"), expires_at=until), euro)

    village.work()

    assert village.names("treasury.")[-1] == "Released"
    assert village.balances()[f"stake:bond:{DEVICE}"] == 100 * SPACE


# Devices


def test_a_device_is_admitted_when_its_claims_are_its_own(village: Village) -> None:
    with village.views() as connection:
        [standing] = device_standings(connection, WALLET)

    assert (standing.state, standing.below_minimum) == ("registered", False)


def test_a_second_device_with_the_same_key_is_declined(village: Village) -> None:
    village.stake("bond", "second", 100 * SPACE)

    village.register("second", serial="its own")

    with village.views() as connection:
        standings = {standing.device: standing.state for standing in device_standings(connection)}
    assert standings == {DEVICE: "registered", "second": "declined"}
    assert village.names("staking.Serial") == ["SerialClaimed"] * 2


def test_of_two_that_ask_at_once_with_one_key_one_is_declined_and_frees_what_it_claimed(tmp_path: Path) -> None:
    village = Village(tmp_path)
    for device in ("first", "second"):
        village.stake("bond", device, 100 * SPACE)
    for device in ("first", "second"):
        village.ask(a_registration(serial=device), collateral_stream("bond", device))

    village.work()

    with village.views() as connection:
        standings = [standing.state for standing in device_standings(connection)]
    assert standings == ["registered", "declined"]
    assert village.names("staking.Serial") == ["SerialClaimed"] * 3 + ["SerialFreed"]


def test_a_device_that_leaves_frees_its_claims_and_its_bond_returns_in_seven_days(village: Village) -> None:
    village.ask(DeregisterDevice(), BOND)
    village.work()
    with village.views() as connection:
        position = stake_of("bond", DEVICE, connection)
    assert position is not None
    [leaving] = position.unbonding

    with pytest.raises(StillBonding):
        village.ask(Withdraw(request=Uuid(leaving.request), account=ACCOUNT), BOND)
    village.wait(days=7)
    village.ask(Withdraw(request=Uuid(leaving.request), account=ACCOUNT), BOND)
    village.work()

    assert village.names("staking.SerialFreed") == ["SerialFreed"] * 2
    assert f"stake:bond:{DEVICE}" not in village.balances()
    assert village.balances()["account:alice"] == 10**12 - 9 * 10_000 * SPACE


def test_a_bond_that_its_holder_leaves_in_is_not_asked_back_again(village: Village) -> None:
    village.ask(DeregisterDevice(), BOND)
    village.work()
    with village.views() as connection:
        position = stake_of("bond", DEVICE, connection)
    assert position is not None
    village.ask(CancelUnstake(request=Uuid(position.unbonding[0].request)), BOND)
    village.sent.clear()

    village.wait(days=1)

    assert village.names("staking.UnstakeRequested") == ["UnstakeRequested"]


def test_a_device_that_leaves_under_a_case_leaves_the_cases_part(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()

    village.ask(DeregisterDevice(), BOND)
    village.work()
    assert village.names("staking.Serial") == ["SerialClaimed"] * 2
    village.wait(hours=25)

    with village.views() as connection:
        position = stake_of("bond", DEVICE, connection)
    assert position is not None
    assert (position.slashed, [part.units for part in position.unbonding]) == (10 * SPACE, [90 * SPACE])
    assert village.names("staking.SerialFreed") == ["SerialFreed"] * 2


def slots(village: Village, epoch: int) -> dict[str, int]:
    with village.views() as connection:
        return {found.device_key: len(found.slots) for found in expected_in(epoch, connection)}


def test_slots_are_expected_from_the_first_full_epoch_until_the_device_leaves(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.stake("bond", DEVICE, 100 * SPACE)
    village.register()
    registered = TODAY - 3
    assert [slots(village, registered + days) for days in (0, 1)] == [{}, {DEVICE: 288}]

    village.wait(days=2)
    village.ask(DeregisterDevice(), BOND)

    assert [slots(village, registered + days) for days in (1, 2, 3)] == [{DEVICE: 288}, {DEVICE: 144}, {}]


def test_suspended_slots_are_not_expected(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    village.wait(hours=25)
    suspended = TODAY + 2

    assert [slots(village, suspended + days) for days in (0, 1)] == [{DEVICE: 14}, {}]
    village.stake("bond", DEVICE, 10 * SPACE)
    village.ask(ResumeDevice(), BOND)
    assert [slots(village, suspended + days) for days in (0, 1)] == [{}, {DEVICE: 288}]


# The faucet


def test_each_drip_is_counted_towards_its_day(village: Village) -> None:
    address = f"staking/faucet/{WALLET}"
    [dripped] = village.ask(Drip(), address)
    village.work()

    with pytest.raises(CoolingDown):
        village.ask(Drip(), address)
    assert village.names("staking.Drip") == ["Dripped", "DripCounted"]
    assert dripped.day == TODAY - 3  # type: ignore[attr-defined]


# Anybody can compute it again


def test_recomputing_from_the_log_gives_the_cases_numbers(village: Village) -> None:
    village.a_day(missed=20, excused=range(FIRST, FIRST + 3))
    village.attest()
    opened = village.opened()

    found = recompute(opened, village.liveness(), village.staking())

    assert list(found.differences(opened)) == []
    assert (found.uptime.missed, found.uptime.expected, found.uptime.excused) == (17, 285, 3)
    assert len(found.panel) == 7
    assert (found.needed, found.base, [share.units for share in found.amounts]) == (5, 100 * SPACE, [10 * SPACE])


@pytest.mark.parametrize("changed", ["uptime", "panel", "seed", "bases", "evidence", "needed"])
def test_a_case_that_says_otherwise_than_the_log_is_found(village: Village, changed: str) -> None:
    village.a_day(missed=20)
    opened = village.opened()
    assert opened.uptime is not None
    false: dict[str, Any] = {
        "uptime": opened.uptime.model_copy(update={"missed": 21}), "panel": opened.panel[1:], "seed": digest("other"),
        "bases": (opened.bases[0].model_copy(update={"units": 1}),), "evidence": digest("other"), "needed": 4,
    }  # fmt: skip
    forged = opened.model_copy(update={changed: false[changed]})

    [difference] = recompute(opened, village.liveness(), village.staking()).differences(forged)

    assert difference.startswith({"bases": "base", "needed": "signatures needed"}.get(changed, changed))


def test_a_closing_that_counts_a_beat_as_missed_is_found(village: Village) -> None:
    """The case then repeats what liveness said, and the published beats say otherwise."""
    village.a_day(missed=20)
    forged = [
        (event.model_copy(update={"missed": 40}) if isinstance(event, EpochClosed) else event, record)
        for event, record in village.liveness()
    ]

    assert recompute(village.opened(), forged, village.staking()).uptime.missed == 20


def test_without_its_records_nothing_is_computed(village: Village) -> None:
    village.a_day(missed=20)
    opened = village.opened()

    for missing in (EpochClosed, SlotsExcused):
        rest = [entry for entry in village.liveness() if not isinstance(entry[0], missing)]
        with pytest.raises(NotInLog):
            recompute(opened, rest, village.staking())
    with pytest.raises(NotInLog):
        recompute(opened, village.liveness(), [])


def test_an_oracle_that_staked_today_is_drawn_tomorrow(village: Village) -> None:
    village.now = NOON
    village.stake("oracle", did("late"), 10_000 * SPACE)

    assert did("late") not in oracles_before(TODAY, village.staking())
    assert did("late") in oracles_before(TODAY + 1, village.staking())


def test_the_panels_finding_is_what_enough_of_them_signed(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    with village.views() as connection:
        found = case(CASE, connection)
    assert found is not None

    finding = attested_by({signed.oracle: signed.finding for signed in found.findings}, found.opened.needed)

    assert found.attested is not None
    assert finding == found.attested.finding


def test_open_cases_are_shown_with_their_deadline(village: Village) -> None:
    village.a_day(missed=15)

    with village.views() as connection:
        [waiting] = open_cases(connection)
        [closed] = closed_epochs(TODAY, connection)
        assert breaches(TODAY, connection) == []

    assert (waiting.state, waiting.deadline) == ("open", "2026-11-25T06:10:00.000000Z")
    assert (closed.is_breach, closed.meets_sla) == (True, False)
