"""Treasury's views: every batch size and every repetition gives one digest, and what they say is what was decided."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import Engine

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from contracts import ZERO_HASH, Amount, Event, Label, instant
from contracts.treasury import (
    OUTFLOW,
    AccountId,
    ApproveAdjustment,
    AssignDeposit,
    BankReference,
    BreakId,
    CancelWithdrawal,
    Capture,
    CloseBreak,
    CloseDispute,
    Credit,
    Debit,
    DisputeDeposit,
    ExpireHold,
    FailMint,
    Freeze,
    Hold,
    HoldId,
    LapseReview,
    LedgerAccount,
    OpenAccount,
    OutflowReleased,
    OutflowReserved,
    PauseMinting,
    Purpose,
    Reconcile,
    Reference,
    RefundDeposit,
    ReissueWithdrawal,
    Release,
    ReleaseOutflow,
    RemoveMinter,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    RouteWithdrawal,
    Slot,
    TreasuryEvent,
    Unfreeze,
    WithdrawalId,
    WriteDownBacking,
    account_stream,
    deposit_stream,
    reconciliation_stream,
)
from projections.treasury import (
    awaiting_review,
    balance_of,
    breaks_open,
    burns_to_send,
    deposit_of,
    deposits_under_way,
    escrows_to_release,
    holds_overdue,
    losses_under_way,
    mint_burn_log,
    mints_to_send,
    open_holds,
    outflow_in_window,
    owed_in,
    payouts_to_send,
    reserves_of,
    returns_under_way,
    slots_of,
    supply_of,
    treasury,
    withdrawal,
    withdrawals_of,
    withdrawals_under_way,
)
from projections.treasury import (
    coins as coins_at,
)
from projections.treasury.due import coin_turns
from tests.adapters.shards import START as CHAINED
from tests.commands.test_treasury import ALICE, BOB, CAROL, CENT, COIN, MINTER, WALLET, Desk, coins, tx, usd
from tests.databases import upgrade
from tests.domain.given import did
from tests.domain.test_treasury_accounts import adjust
from tests.projections.records import chain

SHARD = "treasury.events/0"


def slot(name: str, evm: int, books: int, **changes: Any) -> Reconcile:
    none = Amount.of("USD", 0)
    fields: dict[str, Any] = {
        "slot": Slot(name), "block": 7, "bank": usd(evm), "owed": usd(0), "evm_supply": coins(evm), "native_supply": none,
        "native_locked": none, "in_flight": coins(0), "books_supply": coins(books),
    }  # fmt: skip
    return Reconcile(**{**fields, **changes})


def a_year() -> Desk:
    """Everything that can happen to the treasury has happened, at least once."""
    desk = Desk()
    desk.configure()
    desk.attest(0)
    desk.issue("ch_1", 200_000)
    _deposits(desk)
    _withdrawals(desk)
    _accounts(desk)
    _others(desk)
    return desk


def _deposits(desk: Desk) -> None:
    failed, stream = desk.deposit("ch_2", 5_000), deposit_stream("stripe", "ch_2")
    desk.back(failed, 5_000)
    desk.mint(failed, 5_000)
    desk.ask(FailMint(reference=Reference(failed), transaction=tx("f"), cause=Label("reverted")), COIN)
    desk.ask(RefundDeposit(amount=usd(5_000), reference=Reference("re_1")), stream)
    desk.ask(WriteDownBacking(amount=usd(5_000), reference=Reference(failed), cause="unissued"), COIN)
    for name, outcome in (("ch_3", "won"), ("ch_4", "lost")):
        desk.deposit(name, 700, owner=None)
        stream = deposit_stream("stripe", name)
        desk.ask(AssignDeposit(owner=AccountId("bob"), to=WALLET), stream, by=BOB)
        desk.ask(DisputeDeposit(dispute=BankReference("dp"), amount=usd(700)), stream)
        desk.ask(CloseDispute(dispute=BankReference("dp"), outcome=outcome), stream)  # type: ignore[arg-type]
    desk.deposit("ch_5", 900, owner=None)


def _withdrawals(desk: Desk) -> None:
    back = desk.paid("alice.1", 40_000)
    desk.ask(ReturnPayout(bank_reference=BankReference("r1"), reason=Label("AC04"), booked_at=desk.now), back)
    desk.back("return:alice.1", 40_000, "returned_payout")
    desk.mint("return:alice.1", 40_000)
    desk.confirm_mint("return:alice.1")
    desk.ask(ReissueWithdrawal(reference=Reference("return:alice.1")), back)
    desk.paid("alice.2", 10_000)
    lapsed = desk.escrowed("alice.3", 60_000)
    desk.reserve("alice.4", 20_000)
    desk.ask(ReleaseOutflow(withdrawal=WithdrawalId("alice.4")), OUTFLOW)
    desk.ask(RouteWithdrawal(usd_cents=60_000), lapsed)
    desk.ask(ReviewWithdrawal(verdict="approve"), lapsed, by=BOB)
    desk.now += timedelta(hours=72)
    desk.ask(LapseReview(), lapsed)
    desk.ask(CancelWithdrawal(), desk.escrowed("alice.5", 500), by=ALICE)
    desk.ask(RouteWithdrawal(usd_cents=70_000, reasons=("new_destination",)), desk.escrowed("alice.6", 70_000))


def _accounts(desk: Desk) -> None:
    account, later = account_stream("alice", "USD.s"), desk.now + timedelta(hours=1)
    desk.ask(OpenAccount(owner=AccountId("alice"), asset=coins(1).asset), account)
    desk.ask(Credit(amount=coins(1_000), counter=LedgerAccount("collector"), reference=Reference("log.1")), account)
    desk.ask(Debit(amount=coins(100), counter=LedgerAccount("collector"), reference=Reference("out.1")), account)
    for n in range(4):
        hold = Hold(hold=HoldId(f"h{n}"), amount=coins(50), purpose=Purpose("block"), expires_at=later)
        desk.ask(hold, account, by=ALICE)
    desk.ask(Capture(hold=HoldId("h0"), amount=coins(30), counter=LedgerAccount("fees:clearing")), account)
    desk.ask(Release(hold=HoldId("h1")), account)
    desk.now = later
    desk.ask(ExpireHold(hold=HoldId("h2")), account)
    for cause in ("dp_1", "dp_2"):
        desk.ask(Freeze(amount=coins(20), cause=Reference(cause)), account)
    desk.ask(Unfreeze(cause=Reference("dp_1")), account)


def _others(desk: Desk) -> None:
    stream = reconciliation_stream("USD.s")
    desk.ask(slot("2026-11-28T00", 190_000, 190_000), stream)
    desk.ask(slot("2026-11-28T06", 190_000, 190_100), stream)
    desk.ask(slot("2026-11-28T12", 190_000, 190_000, bank=None), stream)
    close = CloseBreak(break_id=BreakId("2026-11-28T06.books_differ"), explanation="a burn was read late")  # type: ignore[arg-type]
    desk.ask(close, stream, by=BOB)
    desk.ask(adjust(), "treasury/adjustment/7", by=BOB)
    desk.ask(ApproveAdjustment(), "treasury/adjustment/7", by=CAROL)
    desk.ask(PauseMinting(reason=Label("volume")), COIN)
    for person in (BOB, CAROL):
        desk.ask(ResumeMinting(), COIN, by=person)
    desk.ask(RemoveMinter(minter=MINTER), COIN)
    desk.now += timedelta(minutes=1)
    desk.attest(185_000)


class Shard:
    """The history as a source."""

    def __init__(self, history: Sequence[tuple[str, Event]]) -> None:
        self.values = chain(SHARD, history)

    async def read(self, shard: str, start: int, end: int) -> Any:
        for n, value in enumerate(self.values[start:end], start):
            yield [Published(n, n, value, "")]


@pytest.fixture(scope="module")
def desk() -> Desk:
    return a_year()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "views.db"
    engine = engine_for(f"sqlite:///{path}")
    upgrade(engine, "views")
    engine.dispose()
    return path


@pytest.fixture
def engine(tmp_path: Path, empty: Path) -> Iterator[Engine]:
    shutil.copy(empty, tmp_path / "views.db")
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    yield engine
    engine.dispose()


def folded(engine: Engine, desk: Desk, size: int) -> list[bytes]:
    projector, values = Projector(engine, treasury()), Shard(desk.history).values
    projector.claim([SHARD])
    for start in range(0, len(values), size):
        piece = [Published(start + n, start + n, v, "") for n, v in enumerate(values[start : start + size])]
        projector.apply({SHARD: piece})
        projector.apply({SHARD: piece})
    return values


Ask = Callable[..., Any]


@pytest.fixture
def ask(engine: Engine, desk: Desk) -> Ask:
    folded(engine, desk, 1_000)

    def asked(question: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with reading(engine) as connection:
            return question(*arguments, connection, **named)

    return asked


def test_everything_has_happened_at_least_once(desk: Desk) -> None:
    assert {type(event) for _, event in desk.history} == set(get_args(TreasuryEvent))


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_every_batch_size_gives_one_digest(engine: Engine, desk: Desk, size: int) -> None:
    values = folded(engine, desk, size)

    with scratch_tables(treasury(), "replay_test") as scratch, reading(engine) as connection:
        fold = ScratchFold(scratch, batch_records=1)
        asyncio.run(fold.fold(Shard(desk.history), {SHARD: len(values)}))  # type: ignore[arg-type]
        assert fold.digest() == digest(connection, treasury())


def test_the_mint_burn_log_adds_up_to_supply_and_names_the_place_of_each_line(ask: Ask, desk: Desk) -> None:
    lines, at = ask(mint_burn_log, "USD.s"), CHAINED + timedelta(days=1)
    coin: Any = desk.paper.kept[COIN]

    running = 0
    for line in lines:
        running += line.change
        assert line.supply.units == running
        assert line.supply.units <= line.reserves.units * CENT or line.kind != "minted"
    assert running == coin.supply == ask(lambda connection: supply_of("USD.s", at, connection)).supply.units
    assert [line.version for line in lines] == sorted(line.version for line in lines)
    assert lines[0].prevhash != ZERO_HASH
    assert {line.kind for line in lines} == {"minted", "confirmed", "failed", "burned"}
    assert {line.reference for line in lines} == {"stripe.ch_1", "stripe.ch_2", "alice.1", "return:alice.1", "alice.2"}
    middle = instant(lines[3].at)
    before, after = ask(mint_burn_log, "USD.s", end=middle), ask(mint_burn_log, "USD.s", start=middle)
    assert [*before, *after] == lines
    assert len(before) == 3


def test_a_coin_is_shown_against_its_money(ask: Ask, desk: Desk) -> None:
    coin: Any = desk.paper.kept[COIN]

    found = ask(lambda connection: supply_of("USD.s", desk.now + timedelta(seconds=9), connection))

    assert (found.supply, found.in_flight, found.reserves) == (coins(190_000), coins(0), usd(185_000))
    assert (found.surplus, found.deficit) == (coins(0), coins(5_000))
    assert (found.age_seconds, found.paused, found.pause_cause) == (9, True, "deficit")
    assert (coin.supply, coin.reserves, coin.is_paused) == (190_000 * CENT, 185_000, True)
    assert ask(reserves_of, "USD.s") == usd(185_000)
    assert ask(reserves_of, "EUR.s") == Amount.of("EUR.bank", 0)
    assert ask(lambda connection: supply_of("EUR.s", desk.now, connection)) is None
    assert [found.coin for found in ask(coins_at, desk.now)] == ["USD.s"]


def test_deposits_are_shown_by_their_bank_entry(ask: Ask) -> None:
    states = {name: ask(deposit_of, "stripe", name) for name in ("ch_1", "ch_2", "ch_3", "ch_4", "ch_5")}

    assert {name: found.state for name, found in states.items()} == {
        "ch_1": "issued", "ch_2": "closed", "ch_3": "settled", "ch_4": "closed", "ch_5": "settled",
    }  # fmt: skip
    assert states["ch_2"].refunded == usd(5_000)
    assert states["ch_4"].lost == usd(700)
    assert states["ch_3"].owner == "bob"
    assert ask(deposit_of, "wise", "ch_1") is None


def test_what_is_owed_is_what_the_ledger_says_is_due(ask: Ask, desk: Desk) -> None:
    due = desk.balance("due:deposits") + desk.balance("due:payouts")

    assert ask(owed_in, "USD.s") == usd(-due) == usd(700 + 900)


def test_withdrawals_are_shown_with_how_far_they_came(ask: Ask, desk: Desk) -> None:
    found = {entry.withdrawal: entry.state for entry in ask(withdrawals_of, "alice")}

    assert found == {
        "alice.1": "reissued", "alice.2": "paid", "alice.3": "rejected", "alice.5": "cancelled", "alice.6": "under_review",
    }  # fmt: skip
    assert ask(withdrawal, "alice.2").key == "alice.2:1"
    assert ask(withdrawal, "alice.9") is None
    [review] = ask(awaiting_review, CHAINED + timedelta(days=1))
    assert review.withdrawal.withdrawal == "alice.6"
    assert review.withdrawal.reasons == ("above_threshold", "over_single", "new_destination")
    assert 0 < review.age_seconds < 86_400


def test_what_has_left_in_24_hours_is_shown_with_what_is_left(ask: Ask, desk: Desk) -> None:
    reserved = dict[str, OutflowReserved]()
    for _, event in desk.history:
        if isinstance(event, OutflowReserved):
            reserved[event.withdrawal] = event
        elif isinstance(event, OutflowReleased):
            del reserved[event.withdrawal]

    for hours in (0, 1, 24, 73):
        at = desk.now - timedelta(hours=hours)
        window = sum(found.usd_cents for found in reserved.values() if at - timedelta(days=1) < found.at <= at)
        assert ask(outflow_in_window, at) == (window, 500_000 - window)


def test_a_balance_is_one_row_and_equals_the_aggregates(ask: Ask, desk: Desk) -> None:
    account: Any = desk.paper.kept[account_stream("alice", "USD.s")]

    found = ask(balance_of, "alice", "USD.s")

    assert (found.posted.units, found.held.units) == (account.posted, account.held)
    assert (found.frozen.units, found.available.units) == (account.frozen, account.available)
    assert (found.posted, found.available) == (coins(870), coins(800))
    assert ask(balance_of, did("nobody"), "USD.s") is None


def everything(engine: Engine, at: datetime) -> list[Any]:
    """Every question at once, and what every list is planned from."""
    with reading(engine) as connection:
        return [
            digest(connection, treasury()), coins_at(at, connection), mint_burn_log("USD.s", connection),
            deposit_of("stripe", "ch_1", connection), withdrawals_of("alice", connection), awaiting_review(at, connection),
            outflow_in_window(at, connection), balance_of("alice", "USD.s", connection), slots_of("USD.s", connection),
            breaks_open(at, connection), owed_in("USD.s", connection), open_holds("block", connection),
            holds_overdue(at, connection), mints_to_send(connection), burns_to_send(connection),
            escrows_to_release(connection), payouts_to_send(connection), deposits_under_way(connection),
            withdrawals_under_way(connection), returns_under_way(connection), losses_under_way(connection),
            coin_turns(connection),
        ]  # fmt: skip


def test_postgresql_answers_as_sqlite_does(engine: Engine, desk: Desk, postgres_url: str) -> None:
    other = engine_for(postgres_url)
    upgrade(other, "views")
    folded(engine, desk, 50)
    folded(other, desk, 50)

    assert everything(other, desk.now) == everything(engine, desk.now)
    other.dispose()


def test_slots_have_their_breaks_and_open_ones_are_listed(ask: Ask) -> None:
    slots = {entry.slot: entry for entry in ask(slots_of, "USD.s")}

    assert slots["2026-11-28T06"].breaks == ("2026-11-28T06.books_differ",)
    assert slots["2026-11-28T00"].breaks == ()
    [found] = ask(breaks_open, CHAINED + timedelta(days=1))
    assert (found.kind, found.slot, found.amount.units) == ("missing_source", "2026-11-28T12", 0)
