"""Money from a bank to coins and back, past a bank and a chain that fail, repeat and delay; then the books are judged."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.bank.calling import Calls
from adapters.bank.paper import Fault, Faults, PaperBank, PaperChain
from adapters.bank.paper.chain import OPERATOR
from adapters.bank.ports import Call
from adapters.keys import verify
from adapters.sql import engine_for
from commands.rewards import Rewards
from commands.treasury import Treasury
from contracts import Address, Amount, AssetName, Digest, Sealed, Uuid
from contracts.inference import FEES, purpose_of
from contracts.providers import ModelId
from contracts.rewards import Reference as RewardsReference
from contracts.rewards import SplitFee, fee_stream, payee_of
from contracts.treasury import (
    AccountId,
    AssignDeposit,
    Capture,
    ConfigureMinter,
    Credit,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    Reference,
    RequestWithdrawal,
    ReviewWithdrawal,
    account_stream,
    deposit_stream,
    stablecoin_stream,
    withdrawal_stream,
)
from projections.ledger import trial_balance
from projections.rewards import divided_of
from projections.rewards import rewards as rewards_view
from projections.treasury import breaks_open, deposit_of, slots_of, supply_of, withdrawal
from projections.treasury.outside import taken_for
from streams import Outside
from streams import ledger as ledger_wiring
from streams import outside as outside_wiring
from streams import treasury as treasury_wiring
from streams.outside.comparing import undivided
from tests.chance import seeds
from tests.databases import upgrade
from tests.domain.given import did
from tests.streams.town import STORE, Town, patiently

MORNING = datetime(2026, 11, 25, 6, 5, tzinfo=UTC)
WALLET = Address("0x" + "ab" * 20)
ADA, FIRST, SECOND = did("ada"), did("first"), did("second")
SEALED = Sealed.model_validate({"key": "0" * 32, "nonce": "n" * 32, "body": "body", "commitment": "0" * 64})
USD = "USD.s"


class MoneyTown(Town):
    """The treasury, with a bank and a chain behind it."""

    def __init__(self, path: Path, faults: Faults | None = None, operator: str = OPERATOR) -> None:
        self.now = MORNING
        kept = engine_for(f"sqlite:///{path}/calls.db")
        upgrade(kept, "views")
        self.bank = PaperBank(None, faults, lambda: self.now, "wire")
        self.chain = PaperChain(None, faults)
        self.paid_to: list[str] = []
        outside = Outside(self.bank, "wire", self.chain, Calls(self.chain, kept, operator), self._reveal)
        world = type("World", (), {"network": "test", "outside": outside})()
        wirings: Any = (treasury_wiring, ledger_wiring, outside_wiring)
        super().__init__(path, [Treasury], [stream for wiring in wirings for stream in wiring.streams(world)], MORNING)

    def _reveal(self, _field: Sealed, stream: str, _command: str, _path: str) -> str:
        self.paid_to.append(stream)
        return "DE02120300000000202051"

    def turn(self) -> None:
        """Everybody works, a block is mined, the bank books what was ordered."""
        self.work()
        self.chain.mine()
        self.bank.settle()
        self.wait(seconds=30)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def ask_for(self, number: int, cents: int) -> str:
        """Ada wants money, and puts as many coins into escrow."""
        name, amount = f"ada.{number}", Amount.of("USD.bank", cents).to(USD)
        ask = RequestWithdrawal(amount=amount, destination=SEALED, destination_digest=Digest("d" * 64))
        self.ask(ask, withdrawal_stream(name), by=ADA)
        patiently(lambda: self.chain.send(self._escrow(name, amount.units)))
        return name

    def _escrow(self, name: str, units: int) -> Call:
        return Call("request_burn", USD, units, "", name, WALLET, self.chain.next_nonce(WALLET))

    def approve(self, name: str) -> None:
        for person in (FIRST, SECOND):
            self.ask(ReviewWithdrawal(verdict="approve", note=SEALED), withdrawal_stream(name), by=person)


def begin(path: Path, faults: Faults | None = None) -> MoneyTown:
    """A minter, a bank with 1,000 dollars that came by wire, and coins for them in Ada's wallet."""
    town = MoneyTown(path, faults)
    town.ask(ConfigureMinter(minter=STORE, allowance=Amount.of(USD, 10**24)), stablecoin_stream(USD))
    town.turns(3)
    town.bank.deposit("W1", Amount.of("USD.bank", 100_000))
    until(town, lambda: deposit(town, "W1") is not None)
    until(town, lambda: deposit(town, "W1").state == "settled")
    town.ask(AssignDeposit(owner=AccountId("ada"), to=WALLET), deposit_stream("wire", "W1"), by=FIRST)
    until(town, lambda: deposit(town, "W1").state == "issued")
    return town


def deposit(town: MoneyTown, reference: str) -> Any:
    with town.views() as connection:
        return deposit_of("wire", reference, connection)


def state_of(town: MoneyTown, name: str) -> str:
    with town.views() as connection:
        found = withdrawal(name, connection)
    return "" if found is None else found.state


def until(town: MoneyTown, true: Callable[[], bool], turns: int = 60) -> None:
    for _ in range(turns):
        if true():
            return
        town.turn()
    raise AssertionError("it did not come to that")


def slots_in(town: MoneyTown) -> list[str]:
    with town.views() as connection:
        return [found.slot for found in slots_of(USD, connection)]


FAULTS = [None, *(Faults(seed, fail=15, time_out=15, duplicate=20, delay=20, reorder=20) for seed in seeds(6))]


@pytest.mark.chance
@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: "faultless" if faults is None else f"seed {faults.seed}")
def test_money_comes_becomes_coins_is_burned_paid_and_reconciled(tmp_path: Path, faults: Faults | None) -> None:
    town = begin(tmp_path, faults)
    name = town.ask_for(1, 40_000)
    until(town, lambda: state_of(town, name) == "under_review")
    town.approve(name)
    until(town, lambda: state_of(town, name) == "paid")
    town.now = datetime(2026, 11, 25, 12, 0, 30, tzinfo=UTC)
    until(town, lambda: "2026-11-25T12" in slots_in(town))

    assert town.chain.balance_of(USD, WALLET) == 600 * 10**18
    assert patiently(lambda: town.bank.balance("USD.bank")).held == Amount.of("USD.bank", 60_000)
    with town.views() as connection:
        coin = supply_of(USD, town.now, connection)
        assert coin is not None
        assert (coin.supply.units, coin.reserves.units, coin.paused) == (600 * 10**18, 60_000, False)
        assert breaks_open(town.now, connection) == []
        assert [trial.difference for trial in trial_balance(connection)] == [0, 0]
    assert town.judge(tmp_path) == []
    assert len([kind for kind in town.names() if kind in ("MintConfirmed", "Burned", "PayoutPaid")]) == 3


def test_a_payout_that_comes_back_is_issued_again_exactly(tmp_path: Path) -> None:
    town = begin(tmp_path)
    name = town.ask_for(1, 40_000)
    until(town, lambda: state_of(town, name) == "under_review")
    town.approve(name)
    until(town, lambda: state_of(town, name) == "paid")
    town.bank.send_back("ada.1:1", "account closed")
    until(town, lambda: state_of(town, name) == "reissued")
    town.wait(hours=6)
    town.turns(5)

    assert town.chain.balance_of(USD, WALLET) == 1_000 * 10**18
    with town.views() as connection:
        assert breaks_open(town.now, connection) == []
    assert town.judge(tmp_path) == []


def test_a_capture_without_a_receipt_in_a_day_is_a_break_of_one_slot(tmp_path: Path) -> None:
    """Two were captured for fees; one of them is divided. The other is named once, not every six hours."""
    town = begin(tmp_path)
    town.services["rewards"] = Rewards(town.streams, verify)
    town.wire(rewards_view())
    divided, forgotten = Uuid("0" * 7 + "1-0000-7000-8000-000000000000"), Uuid("0" * 7 + "2-0000-7000-8000-000000000000")
    prepay(town, 10 * 10**18)
    for request in (divided, forgotten):
        capture(town, request, 2 * 10**18)
    split(town, divided, 2 * 10**18)

    def days_slots() -> list[tuple[str, int]]:
        with town.views() as connection:
            return [(found.kind, found.amount.units) for found in breaks_open(town.now, connection)]

    town.now = datetime(2026, 11, 26, 6, 0, 30, tzinfo=UTC)
    until(town, lambda: "2026-11-26T06" in slots_in(town))
    on_the_day = days_slots()
    for _ in range(4):
        town.wait(hours=6)
        town.turns(3)

    assert on_the_day == []
    assert days_slots() == [("undivided", 2 * 10**18)]
    assert len(slots_in(town)) == 6
    with town.views() as connection:
        left_over = undivided(taken_for(FEES, town.now, connection), partial(divided_of, connection=connection))
        assert [taken.purpose for taken in left_over] == [purpose_of(forgotten)]


def prepay(town: MoneyTown, units: int) -> None:
    stream = account_stream("ada", USD)
    town.ask(OpenAccount(owner=AccountId("ada"), asset=AssetName(USD)), stream)
    town.ask(Credit(amount=Amount.of(USD, units), counter=LedgerAccount("deposits:evm"), reference=Reference("p1")), stream)


def capture(town: MoneyTown, request: Uuid, units: int) -> None:
    stream, amount, hold = account_stream("ada", USD), Amount.of(USD, units), HoldId(f"h-{request}")
    ends = town.now + timedelta(hours=1)
    town.ask(Hold(hold=hold, amount=amount, purpose=purpose_of(request), expires_at=ends), stream)
    town.ask(Capture(hold=hold, amount=amount, counter=FEES), stream)


def split(town: MoneyTown, request: Uuid, units: int) -> None:
    fee = -(-units // 101)
    command = SplitFee(
        kind="inference", receipt=RewardsReference(request), price=Amount.of(USD, units - fee), protocol_fee=fee,
        payee=payee_of(WALLET), provider=did("gpu"), model=ModelId("llama"), prepaid=False, epoch=20_000,
    )  # fmt: skip
    town.ask(command, fee_stream("inference", payee_of(WALLET), USD))


def test_money_whose_coins_cannot_be_made_goes_back_once(tmp_path: Path) -> None:
    """The contract refuses whoever is not its operator: two failures, then the bank returns what it holds."""
    town = MoneyTown(tmp_path, operator="0x" + "bb" * 20)
    town.ask(ConfigureMinter(minter=STORE, allowance=Amount.of(USD, 10**24)), stablecoin_stream(USD))
    town.turns(3)
    town.bank.deposit("W1", Amount.of("USD.bank", 5_000))
    until(town, lambda: deposit(town, "W1") is not None and deposit(town, "W1").state == "settled")
    town.ask(AssignDeposit(owner=AccountId("ada"), to=WALLET), deposit_stream("wire", "W1"), by=FIRST)
    until(town, lambda: deposit(town, "W1").state == "closed")
    town.turns(3)
    town.sent.clear()
    town.turns(3)

    assert town.bank.balance("USD.bank").held.units == 0
    assert town.chain.balance_of(USD, WALLET) == 0
    assert town.names().count("MintFailed") == 2
    assert town.judge(tmp_path) == []


def test_a_credit_that_nobody_claims_backs_nothing_and_is_no_deficit(tmp_path: Path) -> None:
    town = begin(tmp_path)
    town.bank.deposit("W2", Amount.of("USD.bank", 5_000))
    town.wait(hours=6)
    town.turns(5)

    with town.views() as connection:
        coin = supply_of(USD, town.now, connection)
        assert coin is not None
        assert (coin.surplus.units, coin.deficit.units) == (0, 0)
        assert breaks_open(town.now, connection) == []


def test_money_that_is_gone_shows_as_a_deficit_and_pauses_minting(tmp_path: Path) -> None:
    """Above one percent."""
    town = begin(tmp_path)
    _taken(town, 2_000)
    town.wait(hours=6)
    town.turns(5)

    with town.views() as connection:
        coin = supply_of(USD, town.now, connection)
        assert coin is not None
        assert coin.paused
        assert [found.kind for found in breaks_open(town.now, connection)] == ["deficit"]


def _taken(town: MoneyTown, cents: int) -> None:
    """A payment that no withdrawal ordered."""
    town.bank.pay("nobody:1", "elsewhere", Amount.of("USD.bank", cents))
    town.bank.settle()


def test_a_silent_source_is_a_break_of_its_own_after_half_an_hour(tmp_path: Path) -> None:
    town = begin(tmp_path)
    town.wait(hours=6)
    before = slots_in(town)
    town.now = datetime(2026, 11, 25, 18, 1, tzinfo=UTC)
    town.chain.demand(Fault.FAIL, 10_000)
    town.work()
    with town.views() as connection:
        assert (slots_in(town), breaks_open(town.now, connection)) == (before, [])

    town.wait(minutes=30)

    with town.views() as connection:
        assert [found.kind for found in breaks_open(town.now, connection)] == ["missing_source"]


def test_a_transaction_that_another_one_replaced_is_made_again_under_the_next_nonce(tmp_path: Path) -> None:
    town = MoneyTown(tmp_path)
    calls = Calls(town.chain, town.engine, OPERATOR)
    assert calls.answer("mint", USD, "d.1", 5, WALLET) is None
    town.chain.lose()
    town.chain.send(Call("mint", USD, 7, WALLET, "d.other", OPERATOR, 0))
    town.chain.mine()

    answers = [calls.answer("mint", USD, "d.1", 5, WALLET), calls.answer("mint", USD, "d.1", 5, WALLET)]
    town.chain.mine()
    answers.append(calls.answer("mint", USD, "d.1", 5, WALLET))

    assert answers[:2] == [None, None]
    assert answers[2] is not None
    assert answers[2].cause == ""
    assert town.chain.balance_of(USD, WALLET) == 12


def test_whoever_has_lost_its_memory_finds_in_the_chain_that_it_has_minted(tmp_path: Path) -> None:
    town = MoneyTown(tmp_path)
    first = Calls(town.chain, town.engine, OPERATOR)
    first.answer("mint", USD, "d.1", 5, WALLET)
    town.chain.mine()
    elsewhere = engine_for(f"sqlite:///{tmp_path}/fresh.db")
    upgrade(elsewhere, "views")

    found = Calls(town.chain, elsewhere, OPERATOR).answer("mint", USD, "d.1", 5, WALLET)

    assert found is not None
    assert found.cause == ""
    assert town.chain.balance_of(USD, WALLET) == 5


def test_lists_that_forget_everything_move_nothing_twice(tmp_path: Path) -> None:
    """They are killed after each turn: what they send again was decided before, and deciding twice records once."""
    town = begin(tmp_path)
    name = town.ask_for(1, 40_000)
    for _ in range(12):
        town.turn()
        town.sent.clear()
        if state_of(town, name) == "under_review":
            town.approve(name)

    assert state_of(town, name) == "paid"
    assert town.judge(tmp_path) == []
