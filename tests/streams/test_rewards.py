"""Rewards' to-do lists worked off against the real service and the real views, a turn at a time, until nothing is due."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from adapters.views.parked import parked_streams
from contracts import Address, Amount, sums
from contracts.inference import ReceiptPaid, ReceiptSettled
from contracts.providers import ModelId
from contracts.rewards import (
    EMISSION,
    YEAR_SECONDS,
    AllotGrant,
    ChainHash,
    ConfirmRoot,
    CreateGrant,
    DeclareGenesis,
    GrantId,
    MintEpoch,
    OracleReports,
    Payee,
    ReachMilestone,
    RecordClaim,
    RegisterOwner,
    RevokeGrant,
    SplitFee,
    TakeFee,
    Words,
    earner_stream,
    epoch_stream,
    fee_stream,
    grant_stream,
    model_stream,
)
from contracts.treasury import AccountId, HoldId
from domain import Refused
from domain.rewards.claims import proves
from domain.rewards.epochs import begin_of
from projections.rewards import buckets_at, claim_of, epoch_of, grants_at, rewards, supply_at
from projections.rewards import tables as t
from projections.rewards.due import waiting_epochs
from projections.rewards.queries import ClaimState
from streams import Desk as Looking
from streams import Intent, Task
from streams.rewards.day import Day
from streams.rewards.receipts import split_when_receipt_is_paid
from streams.rewards.results import DayOfStake, Slots, of_oracle, of_wallet
from streams.rewards.schedules import burn_what_was_set_aside, lapse_ownerless_shares, release_by_schedule
from tests.commands.test_rewards import (
    ALICE,
    BOB,
    FEES,
    FREE_MODEL,
    GENESIS,
    GRANT,
    MODEL,
    ORACLE,
    OWNER,
    PAYEE,
    VEST,
    Desk,
    N,
    fee,
)
from tests.databases import upgrade
from tests.domain.given import did, digest
from tests.projections.records import chain
from tests.streams.desks import Desks

SHARD = "rewards.events/0"
DAY = timedelta(days=1)
NIGHT = timedelta(minutes=10)
STAKES = (DayOfStake(PAYEE, 10**7, 500, 125, 2), of_oracle(ORACLE, 10**8))


@dataclass(frozen=True)
class Refusal:
    name: str
    text: str
    at: datetime


@dataclass
class Network:
    """A service, its views, and one who works off the lists and remembers only what was refused."""

    engine: Engine
    lists: dict[str, Callable[[Looking], Any]]
    desk: Desk = field(default_factory=Desk)
    desks: Desks = field(init=False)
    refused: dict[str, dict[str, Refusal]] = field(default_factory=dict)
    sent: dict[tuple[str, str], bytes] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desks = Desks(self.engine)
        self.projector = Projector(self.engine, rewards())
        self.projector.claim([SHARD])
        self.applied = 0

    @property
    def now(self) -> datetime:
        return self.desk.now

    def show(self) -> None:
        """The views catch up."""
        values = chain(SHARD, self.desk.history)
        news = [Published(n, n, values[n], "") for n in range(self.applied, len(values))]
        self.projector.apply({SHARD: news})
        self.applied = len(values)
        with reading(self.engine) as connection:
            assert not parked_streams(connection, "rewards")

    def plan(self) -> list[tuple[str, Task]]:
        return [
            (name, task)
            for name, plan in self.lists.items()
            for task in self.desks.plan(name, plan, self.now, self.refused.setdefault(name, {}))
            if isinstance(task, Task)
        ]

    def work(self, turns: int = 100) -> None:
        """Until nothing is due. Planned again before it shows, a task is the same command."""
        for _ in range(turns):
            self.show()
            tasks = self.plan()
            again = self.plan()
            assert [(name, task.key, task.command) for name, task in tasks] == [(n, a.key, a.command) for n, a in again]
            if not tasks:
                return
            for name, task in tasks:
                self._send(name, task)
        raise AssertionError(f"still due: {[task.key for _, task in tasks][:5]}")

    def work_until(self, verb: str) -> None:
        """Up to and with the turn in which the first of these commands is sent."""
        while not any(done.startswith(verb) for done in self.done):
            self.show()
            for name, task in self.plan():
                self._send(name, task)
        self.show()

    def _send(self, name: str, task: Task) -> None:
        assert len(task.key) <= 200
        assert task.at <= self.now
        said = task.command.json_bytes()
        assert self.sent.setdefault((name, task.key), said) == said, "one key is one command"
        self.done.append(f"{type(task.command).__name__} {task.key}")
        try:
            self.desk.ask(task.command, task.subject)
        except Refused as refusal:
            self.refused[name][task.key] = Refusal(type(refusal).__name__, str(refusal), self.now)

    def night_of(self, epoch: int) -> None:
        self.desk.now = begin_of(epoch + 1) + NIGHT
        self.work()

    def ledger(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for stream, event in self.desk.history:
            legs = list(event.legs(stream))
            assert set(sums(legs).values()) <= {0}
            for leg in legs:
                found[leg.account, leg.asset] = found.get((leg.account, leg.asset), 0) + leg.units
        return found


def stakes(epoch: int, desk: Looking) -> Sequence[DayOfStake] | None:
    del epoch, desk
    return STAKES


def reports(epoch: int, desk: Looking) -> tuple[OracleReports, ...] | None:
    del epoch, desk
    return (OracleReports(oracle=ORACLE, accepted=3), OracleReports(oracle=OWNER, accepted=4))


def lists(**day: Any) -> dict[str, Callable[[Looking], Any]]:
    return {
        "run_the_epoch": Day(**{"stakes": stakes, "reports": reports, **day}).plan,
        "burn_what_was_set_aside": burn_what_was_set_aside, "release_by_schedule": release_by_schedule,
        "lapse_ownerless_shares": lapse_ownerless_shares,
    }  # fmt: skip


def claims(network: Network, payee: str, tokens: Mapping[str, Payee] | None = None) -> list[ClaimState]:
    """What a payee may claim once the contract has every root."""
    with reading(network.engine) as connection:
        waiting = list(connection.scalars(select(t.epochs.c.epoch).where(t.epochs.c.state == "published")))
    for epoch in waiting:
        network.desk.ask(ConfirmRoot(transaction=ChainHash("0x" + 64 * "a"), block=epoch), epoch_stream(epoch))
    network.show()
    with reading(network.engine) as connection:
        return claim_of(payee, tokens or {}, connection)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    yield engine
    engine.dispose()


@pytest.fixture
def network(engine: Engine) -> Network:
    return begun(engine)


def begun(engine: Engine, **day: Any) -> Network:
    network = Network(engine, lists(**day))
    network.desk.ask(DeclareGenesis(at=GENESIS), EMISSION)
    network.work()
    return network


def test_before_genesis_nothing_is_due(engine: Engine) -> None:
    network = Network(engine, lists())

    network.work()

    assert network.done == []


def test_a_night_goes_from_the_opening_to_the_root(network: Network) -> None:
    network.desk.ask(fee(1), FEES)
    network.desk.ask(fee(2, model=FREE_MODEL, owner=None), FEES)

    network.night_of(N)

    earnings = [f"{PAYEE}:SPACE:fee", f"{OWNER}:SPACE:model", f"{OWNER}:SPACE:oracle", f"{ORACLE}:SPACE:oracle"]
    earnings += [f"{PAYEE}:SPACE:stake", f"{ORACLE}:SPACE:stake"]
    positions = [PAYEE, f"oracle.{ORACLE}"]
    assert network.done[:4] == [f"OpenEpoch open:{N}", f"OpenEpoch open:{N + 1}", "OpenYear year:1", f"MintEpoch mint:{N}"]
    assert network.done[4:6] == [f"Accrue accrue:{N}:{position}" for position in positions]
    assert network.done[6] == f"CloseEpoch close:{N}"
    assert network.done[7:9] == [f"Pay pay:{N}:{position}" for position in positions]
    assert network.done[9:11] == [f"DivideOracleShare divide:{N}", f"RecordBurn burn:{N}"]
    assert sorted(network.done[11:-1]) == sorted(f"Earn earn:{N}:{earning}" for earning in earnings)
    assert network.done[-1] == f"PublishRoot publish:{N}"
    with reading(network.engine) as connection:
        day = epoch_of(N, connection)
        assert day is not None
        assert (day.state, day.paid, day.lapsed) == ("published", day.owed, 0)
    for payee in (PAYEE, OWNER, ORACLE):
        [state] = claims(network, payee)
        assert state.claim is not None
        assert state.root is not None
        assert state.claim.cumulative == state.earned
        proof = [bytes.fromhex(node[2:]) for node in state.proof]
        assert proves(state.claim, proof, state.root.root)


def test_after_each_night_all_that_was_received_is_payable_burned_kept_or_carried(network: Network) -> None:
    """Odd prices over five days, one of them skipped; the oracles' seventh is carried from day to day."""
    received = 0
    for epoch in range(N, N + 5):
        network.desk.now = begin_of(epoch) + timedelta(hours=1)
        for n in range(3):
            command = fee(epoch * 10 + n, 1_000_003 + 7 * epoch + n, epoch=epoch)
            received += command.price.units + command.protocol_fee
            network.desk.ask(command, FEES)
        if epoch != N + 2:
            network.night_of(epoch)

    ledger = network.ledger()
    assert -ledger["fees:clearing", "SPACE"] == received
    assert ledger["payable:provider", "SPACE"] == ledger["payable:model", "SPACE"] == ledger["treasury:burn", "SPACE"] == 0
    assert 0 <= ledger["payable:oracles", "SPACE"] < 7
    assert 0 <= ledger["fees:rounding", "SPACE"] <= 3
    assert ledger["pool:rewards", "SPACE"] > 0
    with reading(network.engine) as connection:
        owed = sum(state.earned for payee in (PAYEE, OWNER, ORACLE) for state in claim_of(payee, {}, connection))
        assert owed == sum(units for (account, _), units in ledger.items() if account.startswith("payable:payee:"))


def test_days_that_were_slept_through_are_worked_off_one_after_the_other(network: Network) -> None:
    network.desk.ask(fee(1), FEES)

    network.night_of(N + 3)

    assert [d for d in network.done if d.startswith("PublishRoot")] == [f"PublishRoot publish:{n}" for n in range(N, N + 4)]
    with reading(network.engine) as connection:
        assert supply_at(None, connection).issued == 10**12 + 10**12 * 200 * 4 * 86_400 // (10_000 * YEAR_SECONDS)


def test_a_missing_result_makes_the_epoch_wait_and_nothing_is_guessed(engine: Engine) -> None:
    network = begun(engine, stakes=lambda epoch, desk: None)
    network.night_of(N)
    network.desk.now += timedelta(hours=6)
    network.work()

    assert not any(done.startswith(("MintEpoch", "CloseEpoch")) for done in network.done)
    with reading(engine) as connection:
        assert waiting_epochs(network.now, 21_600, connection) == [N]

    network.lists = lists()
    network.work()
    with reading(engine) as connection:
        assert waiting_epochs(network.now, 21_600, connection) == []


def test_missing_reports_hold_back_the_root(engine: Engine) -> None:
    network = begun(engine, reports=lambda epoch, desk: None)
    network.desk.ask(fee(1), FEES)
    network.night_of(N)

    assert not any(done.startswith("PublishRoot") for done in network.done)


def test_an_epoch_without_reports_carries_the_oracles_share_into_the_next(engine: Engine) -> None:
    network = begun(engine, reports=lambda epoch, desk: reports(epoch, desk) if epoch > N else ())
    network.desk.ask(fee(1, 7_000_000), FEES)

    network.night_of(N)
    network.night_of(N + 1)

    with reading(engine) as connection:
        pots = {row.epoch: (row.pot, row.carried) for row in connection.execute(select(t.oracle_pots))}
    assert pots == {N: (700_000, 700_000), N + 1: (700_000, 0)}


def test_a_fee_that_comes_late_is_earned_in_the_next_epoch(network: Network) -> None:
    network.desk.ask(fee(1), FEES)
    network.night_of(N)
    network.desk.ask(fee(2, epoch=N), FEES)
    network.night_of(N + 1)

    with reading(network.engine) as connection:
        [state] = claim_of(PAYEE, {}, connection)
        stake = sum(row.units for row in connection.execute(select(t.paid_ever)) if row.position == PAYEE)
    assert state.earned == 1_200_000 + stake


def test_what_the_new_day_brings_is_not_in_the_old_days_earnings(network: Network) -> None:
    """The night's work begins ten minutes into the next day, which has fees of its own by then."""
    network.desk.ask(fee(1), FEES)
    network.desk.now = begin_of(N + 1) + timedelta(minutes=5)
    network.desk.ask(fee(2, epoch=N + 1), FEES)

    network.night_of(N)

    with reading(network.engine) as connection:
        rows = {(r.payee, r.source): r.units for r in connection.execute(select(t.earned)) if r.source in ("fee", "model")}
        [pot] = connection.execute(select(t.oracle_pots.c.pot)).scalars()
    assert rows == {(PAYEE, "fee"): 600_000, (OWNER, "model"): 200_000}
    assert pot == 100_000
    assert network.ledger()["burned", "SPACE"] == 22_000


def test_a_fee_that_comes_between_the_earnings_and_the_root_is_the_next_epochs(network: Network) -> None:
    """What the epoch has recorded stays so: the list asks for nothing that would be refused, and the root goes out."""
    network.desk.ask(fee(1), FEES)
    network.desk.now = begin_of(N + 1) + NIGHT
    network.work_until("Earn")
    network.desk.ask(fee(2), FEES)
    network.work()
    network.night_of(N + 1)

    with reading(network.engine) as connection:
        rows = {r.epoch: r.units for r in connection.execute(select(t.earned)) if (r.payee, r.source) == (PAYEE, "fee")}
    assert rows == {N: 600_000, N + 1: 600_000}
    assert network.refused["run_the_epoch"] == {}


def test_an_asset_without_a_contract_waits_for_one(network: Network) -> None:
    dollars = fee_stream("inference", PAYEE, "USD.s")
    network.desk.ask(fee(1).model_copy(update={"price": Amount.of("USD.s", 100), "protocol_fee": 1}), dollars)

    network.night_of(N)
    states = {state.asset: state for state in claims(network, PAYEE)}
    assert (states["USD.s"].earned, states["USD.s"].claim) == (60, None)

    network.lists = lists(tokens={"USD.s": OWNER})
    network.night_of(N + 1)
    states = {state.asset: state for state in claims(network, PAYEE, {"USD.s": OWNER})}
    claim = states["USD.s"].claim
    assert claim is not None
    assert (claim.token, claim.cumulative) == (OWNER, 60)


def test_a_year_turns_over_between_two_nights(engine: Engine) -> None:
    """The last day of the year is minted to its end, then the next year's base is fixed, then it mints."""
    network = begun(engine, stakes=lambda epoch, desk: ())
    network.night_of(N)
    network.desk.now = GENESIS + 363 * DAY
    network.desk.ask(MintEpoch(epoch=N + 362, until=network.now), EMISSION)
    network.desk.now = GENESIS + timedelta(seconds=YEAR_SECONDS) + DAY + NIGHT
    network.work()

    with reading(engine) as connection:
        row = connection.execute(select(t.emission)).one()
    assert (row.year, row.base) == (2, 10**12 + 2 * 10**10)
    assert row.minted == 2 * 10**10 + (10**12 + 2 * 10**10) * 200 * 86_400 // (10_000 * YEAR_SECONDS)


def test_an_empty_bucket_does_not_stop_the_day(network: Network) -> None:
    share = 4 * 10**12
    network.desk.ask(AllotGrant(grant=GrantId("all"), bucket="providers", amount=share), EMISSION)
    network.desk.ask(fee(1), FEES)

    network.night_of(N)

    with reading(network.engine) as connection:
        day = epoch_of(N, connection)
        assert day is not None
        assert (day.state, day.pool, day.paid) == ("published", 0, 0)
        assert day.lapsed == day.owed
        assert next(b for b in buckets_at(network.now, connection) if b.bucket == "providers").left == 0


def test_what_fees_set_aside_is_recorded_as_burned_once_an_epoch(network: Network) -> None:
    network.desk.ask(fee(1), FEES)
    bundle = TakeFee(amount=Amount.of("USD.s", 100), source="bundle", reference=fee(9).receipt, epoch=N)
    network.desk.ask(bundle, fee_stream("bundle", "alice", "USD.s"))
    network.night_of(N)
    network.desk.ask(fee(2, epoch=N + 1), FEES)
    network.work()

    assert [done for done in network.done if done.startswith("RecordBurn")] == [f"RecordBurn burn:{N}"]
    assert network.ledger()["burned", "SPACE"] == 22_000
    assert network.ledger()["treasury:buyback", "USD.s"] == 20


def test_a_linear_grant_is_released_and_issued_by_tranche(network: Network) -> None:
    tranche = timedelta(seconds=2_628_000)
    network.lists.pop("run_the_epoch")
    network.desk.ask(AllotGrant(grant=GrantId("audits"), bucket="treasury", amount=37), EMISSION)
    terms = CreateGrant(
        bucket="treasury", beneficiary=VEST, total=37, kind="linear", start=GENESIS, duration_seconds=36 * 2_628_000
    )  # fmt: skip
    network.desk.ask(terms, GRANT)
    for n in range(1, 38):
        network.desk.now = GENESIS + n * tranche + timedelta(minutes=1)
        network.work()

    assert network.ledger()["holders:native:spaceos.vest", "SPACE"] == 37
    assert sum(done.startswith("Release") for done in network.done) == 36


def test_a_milestone_is_released_when_reached_and_a_revoked_grant_gives_back(network: Network) -> None:
    network.desk.ask(AllotGrant(grant=GrantId("audits"), bucket="developers", amount=300), EMISSION)
    terms = CreateGrant(
        bucket="developers", beneficiary=VEST, total=300, kind="milestone", start=GENESIS, milestones=(100, 200)
    )  # fmt: skip
    network.desk.ask(terms, GRANT)
    network.work()
    assert not any(done.startswith("Release") for done in network.done)

    for person in (ALICE, BOB):
        network.desk.ask(ReachMilestone(number=1, evidence=digest("report")), GRANT, person)
    network.work()
    network.desk.ask(RevokeGrant(reason=Words("done")), GRANT)
    network.work()

    with reading(network.engine) as connection:
        [bucket] = [found for found in buckets_at(network.now, connection) if found.bucket == "developers"]
        assert (bucket.issued, bucket.set_aside) == (100, 0)
        assert grants_at(network.now, connection)[0].revoked


def test_what_the_line_refuses_is_issued_when_it_has_opened(network: Network) -> None:
    """An attempt a day."""
    units = 4 * 10**12 // 1_095 * 2 + 10**9
    network.lists.pop("run_the_epoch")
    network.desk.ask(AllotGrant(grant=GrantId("edge"), bucket="providers", amount=units), EMISSION)
    terms = CreateGrant(bucket="providers", beneficiary=VEST, total=units, kind="immediate", start=GENESIS)
    network.desk.ask(terms, grant_stream("edge"))
    for hours in range(1, 24 * 5, 8):
        network.desk.now = GENESIS + timedelta(hours=hours)
        network.work()

    tried = [done for done in network.done if done.startswith("Issue")]
    assert len(tried) == 4
    assert network.ledger()["holders:native:spaceos.vest", "SPACE"] == units


def test_an_ownerless_share_lapses_after_90_days_or_is_its_owners(network: Network) -> None:
    network.lists.pop("run_the_epoch")
    other = ModelId("other-7b")
    network.desk.ask(fee(1, model=FREE_MODEL, owner=None), FEES)
    network.desk.ask(fee(2, model=other, owner=None), FEES)
    network.desk.now = begin_of(N + 1) + 89 * DAY
    for person in (ALICE, BOB):
        network.desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(other), person)
    network.work()
    network.done.clear()

    network.desk.now = begin_of(N + 1) + 90 * DAY + timedelta(minutes=1)
    network.work()

    assert network.done == [f"LapseEscrow lapse:{FREE_MODEL}:{N}:SPACE"], "and none before"
    assert network.ledger()["escrow:model:orphan-7b", "SPACE"] == 0
    assert network.ledger()["escrow:model:other-7b", "SPACE"] == 200_000


def test_an_owner_registered_in_time_is_paid_from_the_escrow(network: Network) -> None:
    network.desk.ask(fee(1, model=FREE_MODEL, owner=None), FEES)
    network.night_of(N)
    for person in (ALICE, BOB):
        network.desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(FREE_MODEL), person)
    network.desk.ask(fee(2, model=FREE_MODEL, owner=None, epoch=N + 1), FEES)
    network.night_of(N + 1)

    with reading(network.engine) as connection:
        [state] = claim_of(OWNER, {}, connection)
        oracle = sum(r.units for r in connection.execute(select(t.oracle_shares)) if r.oracle == OWNER)
    assert state.earned == 400_000 + oracle
    assert network.ledger()[f"escrow:model:{FREE_MODEL}", "SPACE"] == 0


def test_claims_between_nights_leave_what_was_not_claimed(network: Network) -> None:
    for epoch in range(N, N + 3):
        network.desk.now = begin_of(epoch) + timedelta(hours=1)
        network.desk.ask(fee(epoch, epoch=epoch), FEES)
        network.night_of(epoch)
        [state] = claims(network, PAYEE)
        assert state.claim is not None
        amount = Amount.of("SPACE", state.claim.cumulative - state.claimed)
        log = RecordClaim(amount=amount, transaction=ChainHash(f"0x{epoch:064x}"), log=1)
        network.desk.ask(log, earner_stream(PAYEE, "SPACE"))

    assert network.ledger()[f"payable:payee:{PAYEE}", "SPACE"] == 0


# Terms of a day


@pytest.mark.parametrize(
    ("tier", "slots", "base", "multiplier"),
    [
        ("pro", Slots(288, 2), 500, 150), ("pro", Slots(288, 3), 500, 100), ("pro", Slots(288, 15), 0, 100),
        ("pro", None, 500, 100), ("free", None, 0, 100), ("basic", Slots(0, 0), 500, 125),
    ],
)  # fmt: skip
def test_a_day_of_a_stake_has_the_terms_of_its_tier_and_uptime(
    tier: Any, slots: Slots | None, base: int, multiplier: int
) -> None:
    assert of_wallet(PAYEE, 10**8, tier, slots, 3) == DayOfStake(PAYEE, 10**8, base, multiplier, 3)


# Receipts


def paid(**changes: Any) -> ReceiptPaid:
    fields: dict[str, Any] = {
        "hold": HoldId("h1"), "provider": did("alice"),
        "payee": Address("0x" + "aB" * 20), "model": MODEL, "model_owner": Address("0x" + "Cd" * 20),
        "asset": "USD.s", "price": 12_345, "protocol_fee": 124, "prepaid": False, "epoch": N,
    }  # fmt: skip
    return ReceiptPaid(**{**fields, **changes})


class Named:
    """All that the process looks at of a record."""

    stream_id = "0198c0de-0000-7000-8000-000000000001"


def test_a_paid_receipt_is_split_in_its_payees_stream() -> None:
    """Addresses in lower case: one wallet has one stream."""
    [intent] = split_when_receipt_is_paid(paid(), Named())  # type: ignore[arg-type]

    assert isinstance(intent, Intent)
    assert intent.subject == f"rewards/fees/inference.0x{'ab' * 20}.USD.s"
    command = intent.command
    assert isinstance(command, SplitFee)
    assert (command.receipt, command.price, command.protocol_fee) == (Named.stream_id, Amount.of("USD.s", 12_345), 124)
    assert command.model_owner == "0x" + "cd" * 20
    events = Desk().ask(command, intent.subject)
    assert [type(event).__name__ for event in events] == ["FeeSplit"]


def test_a_receipt_for_which_no_money_moves_is_not_split() -> None:
    assert list(split_when_receipt_is_paid(paid(price=0, protocol_fee=0), Named())) == []  # type: ignore[arg-type]


def test_a_receipt_that_is_settled_and_not_paid_is_not_split() -> None:
    """Nothing is paid that was not first received."""
    bill = ReceiptSettled(
        **{name: value for name, value in paid() if name in ReceiptSettled.model_fields}, account=AccountId("alice"),
        prompt_tokens=1, completion_tokens=1, prompt_price=1, completion_price=1, model_digest=digest("weights"),
    )  # fmt: skip

    assert list(split_when_receipt_is_paid(bill, Named())) == []  # type: ignore[arg-type]


def test_a_receipt_without_an_owner_names_none_and_other_events_split_nothing() -> None:
    [intent] = split_when_receipt_is_paid(paid(model_owner=None), Named())  # type: ignore[arg-type]

    assert isinstance(intent.command, SplitFee)
    assert intent.command.model_owner is None
    assert list(split_when_receipt_is_paid(fee_event(), Named())) == []  # type: ignore[arg-type]


def fee_event() -> Any:
    [event] = Desk().ask(fee(1), FEES)
    return event
