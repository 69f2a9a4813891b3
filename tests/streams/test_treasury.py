"""Treasury's to-do lists worked off against the real service and the real views, until nothing is due.

The test is the bank and the chain: it does what the views say is to be sent, and answers as they would.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from adapters.views.parked import parked_streams
from contracts import ZERO_HASH, Amount, Event, Label, Record, event_id, rfc3339
from contracts.treasury import (
    AccountId,
    AssignDeposit,
    BankReference,
    Burn,
    CloseDispute,
    ConfigureMinter,
    ConfirmMint,
    ConfirmPayout,
    Credit,
    DisputeDeposit,
    EscrowWithdrawal,
    FailMint,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    PauseMinting,
    Purpose,
    Reference,
    RefundDeposit,
    Release,
    RequestWithdrawal,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    SettleDeposit,
    WithdrawalId,
    account_stream,
    deposit_stream,
    withdrawal_stream,
)
from domain import Refused
from projections.treasury import (
    balance_of,
    breaks_open,
    burns_to_send,
    deposit_of,
    escrows_to_release,
    mints_to_send,
    open_holds,
    outflow_in_window,
    owed_in,
    payouts_to_send,
    refunds_to_send,
    supply_of,
    treasury,
    withdrawal,
)
from streams import Task, TodoList
from streams.treasury import streams
from tests.adapters.shards import KEY, _asked
from tests.commands.test_treasury import ALICE, BOB, CAROL, CENT, COIN, MINTER, WALLET, Desk, coins, tx, usd
from tests.databases import upgrade
from tests.domain.given import digest
from tests.domain.test_treasury_withdrawals import SEALED
from tests.streams.desks import Desks

SHARD = "treasury.events/0"


class Inside:
    """A deployment that names no bank."""

    network = "dev"
    outside = None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        raise NotImplementedError


LISTS = {stream.name: stream.plan for stream in streams(Inside()) if isinstance(stream, TodoList)}


@dataclass(frozen=True)
class Refusal:
    name: str
    text: str
    at: datetime


@dataclass
class Network:
    """A service, its views, and one who works off the lists and remembers only what was refused."""

    engine: Engine
    desk: Desk = field(default_factory=Desk)
    desks: Desks = field(init=False)
    refused: dict[str, dict[str, Refusal]] = field(default_factory=dict)
    sent: dict[tuple[str, str], tuple[bytes, datetime]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.desks = Desks(self.engine)
        self.projector = Projector(self.engine, treasury())
        self.projector.claim([SHARD])
        self.desk.configure()
        self.desk.attest(0)

    def ask(self, command: Any, subject: str, by: str = MINTER) -> list[Event]:
        return self.desk.ask(command, subject, by)

    def show(self) -> None:
        """The views catch up."""
        first = len(self.values)
        for n, (stream, event) in enumerate(self.desk.history[first:], first):
            self.versions[stream] = self.versions.get(stream, 0) + 1
            self.values.append(
                Record.encode(
                    event, id=event_id(KEY, f"{n:032x}", 0), command=_asked(stream, f"{n:032x}"), source=KEY,
                    time=rfc3339(self.desk.now), shard=SHARD, sequence=n, streamversion=self.versions[stream],
                    prevhash=sha256(self.values[-1]).hexdigest() if self.values else ZERO_HASH,
                )
            )  # fmt: skip
        self.projector.apply({SHARD: [Published(n, n, self.values[n], "") for n in range(first, len(self.values))]})
        with reading(self.engine) as connection:
            assert not parked_streams(connection, "treasury")

    def view(self, question: Any, *arguments: Any) -> Any:
        self.show()
        with reading(self.engine) as connection:
            return question(*arguments, connection)

    def plan(self) -> list[tuple[str, Task]]:
        return [
            (name, task)
            for name, plan in LISTS.items()
            for task in self.desks.plan(name, plan, self.desk.now, self.refused.setdefault(name, {}))
            if isinstance(task, Task)
        ]

    def work(self) -> None:
        """Until nothing is due. Planned again before it shows, a task is the same command."""
        for _ in range(50):
            self.show()
            tasks = self.plan()
            assert tasks == self.plan()
            if not tasks:
                return
            for name, task in tasks:
                self._send(name, task)
            self.desk.now += timedelta(microseconds=1)
        raise AssertionError(f"still due: {[task.key for _, task in tasks][:5]}")

    def _send(self, name: str, task: Task) -> None:
        assert len(task.key) <= 200
        assert task.at <= self.desk.now
        said = (task.command.json_bytes(), task.at)
        assert self.sent.setdefault((name, task.key), said) == said, "one key is one command"
        self.done.append(type(task.command).__name__)
        try:
            self.desk.ask(task.command, task.subject)
        except Refused as refusal:
            self.refused[name][task.key] = Refusal(type(refusal).__name__, str(refusal), self.desk.now)

    # The world outside

    def chain_mints(self, *, fails: bool = False) -> int:
        """Every mint that is to be sent becomes final, or reverts."""
        due = self.view(mints_to_send)
        for mint in due:
            name, hash_ = Reference(mint.reference), tx(f"{mint.reference} {mint.failures}")
            command: Any = ConfirmMint(reference=name, transaction=hash_, block=7)
            if fails:
                command = FailMint(reference=name, transaction=hash_, cause=Label("reverted"))
            self.ask(command, COIN)
        self.work()
        return len(due)

    def chain_burns(self) -> int:
        due = self.view(burns_to_send)
        for burn in due:
            name = WithdrawalId(burn.withdrawal)
            self.ask(Burn(amount=burn.amount, withdrawal=name, transaction=tx(name), block=9), COIN)
        self.work()
        return len(due)

    def bank_pays(self, *, returned: bool = False) -> list[str]:
        due = self.view(payouts_to_send)
        for order in due:
            reference = BankReference(f"b{order.attempt}")
            command: Any = ConfirmPayout(bank_reference=reference, booked_at=self.desk.now)
            if returned:
                command = ReturnPayout(bank_reference=reference, booked_at=self.desk.now, reason=Label("AC04"))
            self.ask(command, withdrawal_stream(order.withdrawal))
        self.work()
        return [order.key for order in due]

    def issued(self, name: str, cents: int) -> None:
        self.desk.deposit(name, cents)
        self.work()
        self.chain_mints()

    def escrowed(self, name: str, cents: int, *, known: bool = True) -> str:
        """A withdrawal to a destination that the account has asked for before, or has not."""
        if known and not self.view(withdrawal, "alice.999"):
            request = RequestWithdrawal(amount=coins(1), destination=SEALED, destination_digest=digest("iban"))
            self.ask(request, withdrawal_stream("alice.999"), by=ALICE)
            self.show()
            self.desk.now += timedelta(days=1)
            self.desk.attest(self.bank())
        stream = self.desk.escrowed(name, cents)
        self.work()
        return stream

    def bank(self) -> int:
        """What the bank would say, if only what the books know had happened; less what is owed."""
        paid = sum(units for (account, _), units in self.desk.books.items() if account.startswith("bank:"))
        owed = self.view(owed_in, "USD.s")
        return max(0, paid - owed.units)

    def state(self, name: str) -> str:
        return self.view(withdrawal, name).state  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views without a row, made once: the migrations of every context take a second."""
    path = tmp_path_factory.mktemp("empty") / "views.db"
    engine = engine_for(f"sqlite:///{path}")
    upgrade(engine, "views")
    engine.dispose()
    return path


@pytest.fixture
def network(tmp_path: Path, empty: Path) -> Iterator[Network]:
    shutil.copy(empty, tmp_path / "views.db")
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    yield Network(engine)
    engine.dispose()


# Issue


def test_a_settled_deposit_becomes_coins_of_its_net_amount(network: Network) -> None:
    network.issued("ch_1", 25_000)

    assert network.done == ["ReceiveBacking", "Mint", "MarkIssued"]
    assert network.view(deposit_of, "stripe", "ch_1").state == "issued"
    coin = network.view(supply_of, "USD.s", network.desk.now)
    assert (coin.supply, coin.in_flight.units, coin.surplus.units) == (coins(25_000), 0, 0)


def test_money_is_issued_when_it_is_available_and_not_when_it_is_announced(network: Network) -> None:
    stream = deposit_stream("stripe", "ch_1")
    network.desk.deposit("ch_1", 25_000, settled=False)
    tomorrow = network.desk.now + timedelta(days=1)
    network.ask(SettleDeposit(net=usd(24_200), fee=usd(800), available_on=tomorrow), stream)
    network.work()
    assert network.done == []

    network.desk.now = tomorrow
    network.desk.attest(0)
    network.work()

    assert network.done == ["ReceiveBacking", "Mint"]
    assert [due.amount for due in network.view(mints_to_send)] == [coins(24_200)]


def test_what_nobody_claims_waits_for_a_person(network: Network) -> None:
    network.desk.deposit("ch_1", 5_000, owner=None)
    network.work()
    assert network.done == []
    assert network.view(owed_in, "USD.s") == usd(5_000)

    network.ask(AssignDeposit(owner=AccountId("alice"), to=WALLET), deposit_stream("stripe", "ch_1"), by=BOB)
    network.work()

    assert network.done == ["ReceiveBacking", "Mint"]
    assert network.view(owed_in, "USD.s") == usd(0)


def test_a_mint_that_failed_is_tried_once_more_and_then_the_money_goes_back(network: Network) -> None:
    network.desk.deposit("ch_1", 5_000)
    network.work()

    assert network.chain_mints(fails=True) == 1
    assert network.chain_mints(fails=True) == 1
    assert network.chain_mints() == 0

    assert network.done == ["ReceiveBacking", "Mint", "Mint", "RefundDeposit", "WriteDownBacking"]
    assert network.view(deposit_of, "stripe", "ch_1").state == "closed"
    assert not any(network.desk.books.values())


def test_what_went_back_in_part_while_it_backed_coins_goes_back_whole(network: Network) -> None:
    network.ask(PauseMinting(reason=Label("volume")), COIN)
    network.desk.deposit("ch_1", 5_000)
    network.work()
    network.ask(RefundDeposit(amount=usd(1_000), reference=Reference("re_1")), deposit_stream("stripe", "ch_1"))
    network.work()

    assert network.done == ["ReceiveBacking", "RefundDeposit", "WriteDownBacking"]
    assert [(due.reference, due.amount) for due in network.view(refunds_to_send)] == [("unissued:stripe.ch_1", usd(4_000))]
    assert not any(network.desk.books.values())


def test_a_pause_keeps_mints_back_and_they_follow_when_it_ends(network: Network) -> None:
    network.ask(PauseMinting(reason=Label("volume")), COIN)
    network.desk.deposit("ch_1", 5_000)
    network.work()
    assert network.done == ["ReceiveBacking"]

    for person in (BOB, CAROL):
        network.ask(ResumeMinting(), COIN, by=person)
    network.work()

    assert network.done == ["ReceiveBacking", "Mint"]


def test_reserves_that_are_too_old_keep_mints_back_until_they_are_attested(network: Network) -> None:
    network.desk.now += timedelta(hours=13)
    network.desk.deposit("ch_1", 5_000)
    network.work()
    assert network.done == ["ReceiveBacking"]

    network.desk.attest(5_000)
    network.work()

    assert network.done == ["ReceiveBacking", "Mint"]


def test_a_mint_that_was_refused_is_asked_for_again_at_the_coins_next_turn(network: Network) -> None:
    """Here the minter may not mint so much; the views do not say whose key the process has."""
    network.desk.ask(configure(10), COIN)
    network.desk.deposit("ch_1", 5_000)
    network.work()
    assert [refusal.name for refusal in network.refused["issue_when_money_is_available"].values()] == ["ExceedsAllowance"]

    network.desk.ask(configure(5_000), COIN)
    network.work()

    assert network.done == ["ReceiveBacking", "Mint", "Mint"]
    assert len(network.view(mints_to_send)) == 1


def configure(cents: int) -> Any:
    return ConfigureMinter(minter=MINTER, allowance=coins(cents))


# Pay


def test_a_small_withdrawal_goes_from_the_escrow_to_the_bank_by_itself(network: Network) -> None:
    network.issued("ch_1", 40_000)
    network.done.clear()
    network.escrowed("alice.1", 30_000)
    assert network.chain_burns() == 1
    assert network.bank_pays() == ["alice.1:1"]

    assert [name for name in network.done if name != "CancelWithdrawal"] == [
        "ReserveOutflow", "RouteWithdrawal", "FundWithdrawal", "SubmitPayout",
    ]  # fmt: skip
    assert network.state("alice.1") == "paid"
    assert network.desk.balance("bank:wise") == -30_000
    assert network.view(outflow_in_window, network.desk.now) == (30_000, 470_000)


def test_a_new_destination_is_reviewed_and_two_persons_let_it_go(network: Network) -> None:
    network.issued("ch_1", 40_000)
    stream = network.escrowed("alice.1", 30_000, known=False)
    assert network.view(withdrawal, "alice.1").reasons == ("new_destination",)

    for person in (BOB, CAROL):
        network.ask(ReviewWithdrawal(verdict="approve"), stream, by=person)
    network.work()
    network.chain_burns()
    network.bank_pays()

    assert network.state("alice.1") == "paid"
    assert network.view(outflow_in_window, network.desk.now)[0] == 30_000


def test_what_does_not_fit_the_day_is_reviewed(network: Network) -> None:
    network.issued("ch_1", 600_000)
    for n in range(1, 11):
        network.escrowed(f"alice.{n}", 50_000)
    network.escrowed("alice.11", 1)

    found = network.view(withdrawal, "alice.11")

    assert (found.state, found.reasons) == ("under_review", ("over_daily",))
    assert network.state("alice.10") == "approved"


def test_a_withdrawal_without_its_coins_is_cancelled_after_a_day_and_coins_that_come_later_are_released(
    network: Network,
) -> None:
    network.issued("ch_1", 40_000)
    stream = withdrawal_stream("alice.1")
    request = RequestWithdrawal(amount=coins(5), destination=SEALED, destination_digest=digest("iban"))
    network.ask(request, stream, by=ALICE)
    network.work()
    assert network.state("alice.1") == "requested"

    network.desk.now += timedelta(hours=24, seconds=6)
    network.work()
    assert network.state("alice.1") == "cancelled"
    network.ask(EscrowWithdrawal(amount=coins(5), wallet=WALLET, transaction=tx("late"), block=9), stream)
    network.work()

    assert [due.withdrawal for due in network.view(escrows_to_release)] == ["alice.1"]
    assert network.view(burns_to_send) == []


def test_a_review_that_nobody_answers_ends_in_a_rejection_and_takes_no_room(network: Network) -> None:
    network.issued("ch_1", 100_000)
    network.escrowed("alice.1", 60_000)
    assert network.state("alice.1") == "under_review"

    network.desk.now += timedelta(hours=72, seconds=6)
    network.work()

    assert network.state("alice.1") == "rejected"
    assert [due.withdrawal for due in network.view(escrows_to_release)] == ["alice.1"]
    assert network.view(outflow_in_window, network.desk.now)[0] == 0


def test_a_payout_returned_after_it_was_reported_paid_reissues_exactly_what_was_burned(network: Network) -> None:
    network.issued("ch_1", 40_000)
    network.escrowed("alice.1", 30_000)
    network.chain_burns()
    network.bank_pays()
    stream = withdrawal_stream("alice.1")
    network.ask(ReturnPayout(bank_reference=BankReference("r1"), booked_at=network.desk.now, reason=Label("AC04")), stream)
    network.done.clear()
    network.work()
    [due] = network.view(mints_to_send)
    assert (due.reference, due.amount, due.to) == ("return:alice.1", coins(30_000), WALLET)
    network.chain_mints()

    assert network.done == ["ReceiveBacking", "Mint", "ReissueWithdrawal"]
    assert network.state("alice.1") == "reissued"
    assert network.view(supply_of, "USD.s", network.desk.now).supply == coins(40_000)


def test_after_a_return_the_next_withdrawal_to_there_is_reviewed(network: Network) -> None:
    network.issued("ch_1", 40_000)
    network.escrowed("alice.1", 20_000)
    network.chain_burns()
    network.bank_pays(returned=True)
    network.chain_mints()

    network.escrowed("alice.2", 10_000)

    assert network.view(withdrawal, "alice.2").reasons == ("after_return",)


def test_while_minting_is_paused_a_reviewer_may_have_the_bank_try_once_more(network: Network) -> None:
    network.issued("ch_1", 40_000)
    stream = network.escrowed("alice.1", 30_000)
    network.chain_burns()
    network.ask(PauseMinting(reason=Label("volume")), COIN)
    network.bank_pays(returned=True)
    assert network.state("alice.1") == "returned"
    assert network.view(owed_in, "USD.s") == usd(30_000)

    network.ask(ReviewWithdrawal(verdict="approve"), stream, by=BOB)
    network.work()

    assert network.bank_pays() == ["alice.1:2"]
    assert network.state("alice.1") == "paid"


def test_a_euro_withdrawal_without_an_oracle_is_reviewed(network: Network) -> None:
    """And counts as more dollars than it can be."""
    stream, amount = withdrawal_stream("alice.1"), Amount.of("EUR.s", 100 * CENT)
    network.ask(RequestWithdrawal(amount=amount, destination=SEALED, destination_digest=digest("iban")), stream, by=ALICE)
    network.ask(EscrowWithdrawal(amount=amount, wallet=WALLET, transaction=tx("e"), block=8), stream)
    network.work()

    found = network.view(withdrawal, "alice.1")
    assert (found.reasons, found.usd_cents) == (("new_destination", "stale_rate"), 130)


# Losses and holds


@pytest.mark.parametrize("has_account", [True, False])
def test_a_chargeback_after_the_mint_shows_as_a_deficit_and_freezes_what_its_owner_has(
    network: Network, has_account: bool
) -> None:
    network.issued("ch_1", 5_000)
    if has_account:
        open_account(network)
    stream, dispute = deposit_stream("stripe", "ch_1"), BankReference("dp_1")
    network.ask(DisputeDeposit(dispute=dispute, amount=usd(5_000)), stream)
    network.ask(CloseDispute(dispute=dispute, outcome="lost"), stream)
    network.work()

    coin = network.view(supply_of, "USD.s", network.desk.now)
    assert (coin.deficit, coin.reserves.units, coin.paused, coin.pause_cause) == (coins(5_000), 0, True, "deficit")
    balance = network.view(balance_of, "alice", "USD.s")
    assert (balance.frozen, balance.available.units) == (coins(5_000), 0)


def test_a_chargeback_before_the_mint_takes_back_what_backed_it(network: Network) -> None:
    network.ask(PauseMinting(reason=Label("volume")), COIN)
    network.desk.deposit("ch_1", 5_000)
    network.work()
    stream, dispute = deposit_stream("stripe", "ch_1"), BankReference("dp_1")
    network.ask(DisputeDeposit(dispute=dispute, amount=usd(5_000)), stream)
    network.ask(CloseDispute(dispute=dispute, outcome="lost"), stream)
    network.work()

    assert network.done == ["ReceiveBacking", "WriteDownBacking"]
    assert not any(network.desk.books.values())
    assert network.view(balance_of, "alice", "USD.s") is None


def test_a_chargeback_while_the_mint_is_in_flight_is_written_down_once_even_if_the_mint_then_fails(network: Network) -> None:
    network.desk.deposit("ch_1", 5_000)
    network.work()
    stream, dispute = deposit_stream("stripe", "ch_1"), BankReference("dp_1")
    network.ask(DisputeDeposit(dispute=dispute, amount=usd(5_000)), stream)
    network.ask(CloseDispute(dispute=dispute, outcome="lost"), stream)
    network.work()
    network.chain_mints(fails=True)

    assert network.done.count("WriteDownBacking") == 1
    assert network.done.count("Mint") == 1
    assert not any(network.desk.books.values())


def open_account(network: Network) -> str:
    account = account_stream("alice", "USD.s")
    network.ask(OpenAccount(owner=AccountId("alice"), asset=coins(1).asset), account)
    credit = Credit(amount=coins(100), counter=LedgerAccount("collector"), reference=Reference("log.1"))
    network.ask(credit, account)
    return account


def test_a_hold_that_nobody_answers_ends_when_no_context_can_be_waited_for_any_more(network: Network) -> None:
    """Whoever holds names the purpose: one that names no stream of anybody's was held for ever."""
    account, later = open_account(network), network.desk.now + timedelta(hours=1)
    hold = Hold(hold=HoldId("h1"), amount=coins(10), purpose=Purpose("x:y/z"), expires_at=later)
    network.ask(hold, account, by=ALICE)
    network.desk.now = later + timedelta(days=14)
    network.work()
    assert network.done == []

    network.desk.now += timedelta(seconds=5)
    network.work()

    assert network.done == ["ExpireHold"]


def test_holds_end_with_their_time_but_for_those_that_wait_for_another_context(network: Network) -> None:
    account, later = open_account(network), network.desk.now + timedelta(hours=1)
    for name, purpose in (("h1", "block"), ("h2", "stake:staking/stake/x"), ("h3", "staked")):
        network.ask(Hold(hold=HoldId(name), amount=coins(10), purpose=Purpose(purpose), expires_at=later), account, by=ALICE)
    assert [due.hold for due in network.view(open_holds, "stake")] == ["h2"]
    network.work()
    assert network.done == []

    network.desk.now = later + timedelta(seconds=5)
    network.work()

    assert network.done == ["ExpireHold", "ExpireHold"]
    [waiting] = network.view(open_holds, "stake")
    assert (waiting.hold, waiting.owner, waiting.amount) == ("h2", "alice", coins(10))
    network.ask(Release(hold=HoldId("h2")), account)
    assert network.view(open_holds, "stake") == []
    assert network.view(breaks_open, network.desk.now) == []
