"""What any bank must do, however badly it is heard; and what the paper one does on demand."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.bank.observations import (
    DepositAvailable,
    DepositDisputed,
    DepositSeen,
    Observation,
    PayoutDone,
    PayoutReturned,
    observed,
)
from adapters.bank.paper import Fault, Faults, PaperBank
from adapters.bank.ports import Bank, KeyReused, NoAnswer, OrderRefused
from adapters.bank.statements import parse_statement
from contracts import Amount
from tests.adapters.bank.worlds import BAD, NOW, WORLDS, insist
from tests.house.sources import ROOT

EUR = "EUR.bank"


def eur(cents: int) -> Amount:
    return Amount.of(EUR, cents)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> PaperBank:
    """A bank, and what happens around it. The account holds 1,000.00."""
    path = tmp_path / "bank.json" if "file" in request.param else None
    found = PaperBank(path, WORLDS[request.param], lambda: NOW)
    found.deposit("CAPITAL-1", eur(100_000))
    return found


@pytest.fixture
def bank(world: PaperBank) -> Bank:
    """The same, as far as the port goes."""
    return world


def told(bank: Bank) -> list[Observation]:
    """Everything that it has to tell, acknowledged."""
    found: dict[str, Observation] = {}
    for _ in range(5):
        for delivery in insist(bank.deliveries):
            found[delivery.id] = delivery.observation
            insist(lambda told=delivery.id: bank.acknowledge(told))  # type: ignore[misc]
    return list(found.values())


# Any bank


def test_an_order_is_paid_once_however_often_it_is_given(world: PaperBank, bank: Bank) -> None:
    orders = {insist(lambda: bank.pay("k1", "NL91", eur(2_500))) for _ in range(5)}
    world.settle()

    assert len(orders) == 1
    assert insist(lambda: bank.balance(EUR)).held == eur(97_500)
    assert insist(lambda: bank.pay("k1", "NL91", eur(2_500))).state == "paid"


def test_a_key_with_another_order_is_refused(world: PaperBank, bank: Bank) -> None:
    """An edit is no retry."""
    insist(lambda: bank.pay("k1", "NL91", eur(2_500)))

    for destination, amount in (("NL92", eur(2_500)), ("NL91", eur(2_501)), ("NL91", Amount.of("USD.bank", 2_500))):
        with pytest.raises(KeyReused):
            insist(lambda d=destination, a=amount: bank.pay("k1", d, a))  # type: ignore[misc]
    assert world.settle() == 1


def test_an_order_is_found_by_its_key(bank: Bank) -> None:
    assert insist(lambda: bank.find("k1")) is None

    ordered = insist(lambda: bank.pay("k1", "NL91", eur(2_500)))

    assert insist(lambda: bank.find("k1")) == ordered
    assert (ordered.key, ordered.destination, ordered.amount, ordered.state) == ("k1", "NL91", eur(2_500), "accepted")


def test_more_than_there_is_is_refused_and_later_done(world: PaperBank, bank: Bank) -> None:
    insist(lambda: bank.pay("k1", "NL91", eur(60_000)))
    with pytest.raises(OrderRefused):
        insist(lambda: bank.pay("k2", "NL91", eur(40_001)))
    assert insist(lambda: bank.find("k2")) is None

    world.deposit("IN-2", eur(1))

    assert insist(lambda: bank.pay("k2", "NL91", eur(40_001))).state == "accepted"


def test_a_payment_of_nothing_is_refused(bank: Bank) -> None:
    with pytest.raises(OrderRefused):
        insist(lambda: bank.pay("k1", "NL91", eur(0)))


def test_what_was_ordered_is_owed_until_it_is_booked(world: PaperBank, bank: Bank) -> None:
    insist(lambda: bank.pay("k1", "NL91", eur(2_500)))
    before = insist(lambda: bank.balance(EUR))
    world.settle()
    after = insist(lambda: bank.balance(EUR))

    assert (before.held, before.owed, before.as_of) == (eur(100_000), eur(2_500), NOW)
    assert (after.held, after.owed) == (eur(97_500), eur(0))


def test_each_currency_has_its_account(bank: Bank) -> None:
    assert insist(lambda: bank.balance("USD.bank")).held == Amount.of("USD.bank", 0)
    assert insist(lambda: bank.entries("USD.bank")).entries == ()


def test_entries_are_read_once_each_and_in_order(world: PaperBank, bank: Bank) -> None:
    found, cursor = [], ""
    for number in range(1, 4):
        world.deposit(f"IN-{number}", eur(number))
        page = insist(lambda c=cursor: bank.entries(EUR, c))  # type: ignore[misc]
        found += page.entries
        cursor = page.cursor
    nothing_new = insist(lambda: bank.entries(EUR, cursor))

    assert [entry.reference for entry in found] == ["CAPITAL-1", "IN-1", "IN-2", "IN-3"]
    assert (nothing_new.entries, nothing_new.cursor) == ((), cursor)


def test_a_payment_that_comes_back_is_an_entry_of_its_own(world: PaperBank, bank: Bank) -> None:
    insist(lambda: bank.pay("k1", "NL91", eur(2_500)))
    world.settle()
    world.send_back("k1", "account closed")

    entries = insist(lambda: bank.entries(EUR)).entries

    assert [entry.cents for entry in entries] == [100_000, -2_500, 2_500]
    assert [entry.payment_reference for entry in entries] == ["", "k1", "k1"]
    assert len({entry.reference for entry in entries}) == 3
    payment = insist(lambda: bank.find("k1"))
    assert payment
    assert payment.state == "returned"
    assert insist(lambda: bank.pay("k1", "NL91", eur(2_500))).state == "returned"


def test_everything_is_told_at_least_once(world: PaperBank, bank: Bank) -> None:
    world.deposit("IN-1", eur(500), owner="alice", is_pending=True)
    world.clear("IN-1", fee=20)
    insist(lambda: bank.pay("k1", "NL91", eur(2_500)))
    world.settle()
    world.send_back("k1", "account closed")
    world.dispute("IN-1", "D-1", is_lost=True)

    found = told(bank)

    kinds = {type(each) for each in found}
    assert kinds == {DepositSeen, DepositAvailable, PayoutDone, PayoutReturned, DepositDisputed}
    assert DepositAvailable("sepa", "IN-1", eur(480), eur(20), NOW) in found
    assert [each.key for each in set(found) if isinstance(each, PayoutDone)] == ["k1"]


def test_what_is_acknowledged_is_not_told_for_ever(bank: Bank) -> None:
    assert told(bank)
    assert told(bank) == []


def test_what_is_not_acknowledged_is_told_again(bank: Bank) -> None:
    for _ in range(4):
        insist(bank.deliveries)

    assert insist(bank.deliveries) == insist(bank.deliveries) != []


def test_a_pending_deposit_is_not_on_the_account(world: PaperBank, bank: Bank) -> None:
    world.deposit("IN-1", eur(500), is_pending=True)
    before = insist(lambda: bank.balance(EUR)).held
    world.clear("IN-1", fee=20)

    assert before == eur(100_000)
    assert insist(lambda: bank.balance(EUR)).held == eur(100_480)


def test_the_statement_tells_what_the_entries_tell(world: PaperBank, bank: Bank) -> None:
    """So a deposit seen by notification, by poll and on the statement has one reference."""
    insist(lambda: bank.pay("alice.1:1", "NL91", eur(2_500)))
    world.settle()
    world.send_back("alice.1:1", "account closed")
    world.deposit("IN & 1", eur(500))

    [statement] = parse_statement(world.statement(EUR))

    entries = insist(lambda: bank.entries(EUR)).entries
    names = [entry.reference for entry in statement.entries]
    assert names[:3] == [entry.reference for entry in entries[:3]]
    assert [entry.cents for entry in statement.entries] == [entry.cents for entry in entries]
    assert [entry.payment_reference for entry in statement.entries] == ["", "alice.1:1", "alice.1:1", ""]
    assert eur(statement.closing or 0) == insist(lambda: bank.balance(EUR)).held
    done = {each.bank_reference for each in observed(statement, "sepa") if isinstance(each, PayoutDone)}
    assert done == {each.bank_reference for each in told(bank) if isinstance(each, PayoutDone)}


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["pay", "settle", "back", "in"]), st.integers(0, 4), st.integers(1, 50_000)), max_size=30
)


@given(steps, st.integers(0, 1000))
@settings(deadline=None)
def test_no_schedule_of_faults_moves_a_cent_twice(program: list[Step], seed: int) -> None:
    """Against a naive bank that always answers: a dictionary of orders and a sum."""
    bank = PaperBank(faults=Faults(seed, **BAD), now=lambda: NOW)
    held, orders, arrived = 0, dict[str, tuple[int, str]](), set[str]()
    for what, number, cents in program:
        key = f"k{number}"
        if what == "in":
            bank.deposit(f"IN-{number}", eur(cents))
            held += 0 if key in arrived else cents
            arrived.add(key)
        elif what == "settle":
            bank.settle()
            held -= sum(amount for amount, state in orders.values() if state == "accepted")
            orders = {k: (amount, "paid" if state == "accepted" else state) for k, (amount, state) in orders.items()}
        elif what == "back" and orders.get(key, (0, ""))[1] == "paid":
            bank.send_back(key, "closed")
            held += orders[key][0]
            orders[key] = orders[key][0], "returned"
        elif what == "pay":
            free = held - sum(amount for amount, state in orders.values() if state == "accepted")
            try:
                insist(lambda k=key, c=cents: bank.pay(k, "NL91", eur(c)))  # type: ignore[misc]
            except KeyReused:
                assert orders[key][0] != cents
            except OrderRefused:
                assert key not in orders
                assert free < cents
            else:
                assert orders.setdefault(key, (cents, "accepted"))[0] == cents

    assert insist(lambda: bank.balance(EUR)).held == eur(held)
    assert sum(entry.cents for entry in insist(lambda: bank.entries(EUR)).entries) == held
    paid = Counter(entry.payment_reference for entry in insist(lambda: bank.entries(EUR)).entries if entry.cents < 0)
    assert set(paid.values()) <= {1}


# The paper one


def test_a_question_that_fails_was_not_acted_on_and_one_that_times_out_was() -> None:
    bank = PaperBank()
    bank.deposit("CAPITAL-1", eur(100_000))

    for key, fault in (("k1", Fault.FAIL), ("k2", Fault.TIME_OUT)):
        bank.demand(fault)
        with pytest.raises(NoAnswer):
            bank.pay(key, "NL91", eur(1))

    assert bank.find("k1") is None
    assert bank.find("k2") is not None


def test_faults_of_questions_come_in_the_order_in_which_they_were_demanded() -> None:
    bank = PaperBank()
    for fault in (Fault.DELAY, Fault.TIME_OUT, Fault.NONE, Fault.FAIL):
        bank.demand(fault)

    assert answers([bank] * 4) == [False, True, False, True]
    assert bank.demanded == 1


def test_a_notification_is_told_twice_late_or_out_of_order_on_demand() -> None:
    bank = PaperBank()
    bank.demand(Fault.DUPLICATE)
    bank.deposit("IN-1", eur(1), is_pending=True)
    twice = bank.deliveries()

    bank.demand(Fault.DELAY)
    bank.deposit("IN-2", eur(1), is_pending=True)
    late = [len(bank.deliveries()) for _ in range(4)]

    assert len(twice) == 2
    assert twice[0].id != twice[1].id
    assert twice[0].observation == twice[1].observation
    assert late[0] == 2
    assert late[-1] == 3


def test_out_of_order_is_another_order() -> None:
    orders = set()
    for seed in range(8):
        bank = PaperBank(faults=Faults(seed, reorder=100))
        for number in range(4):
            bank.deposit(f"IN-{number}", eur(1), is_pending=True)
        orders.add(tuple(each.observation.reference for each in bank.deliveries()))  # type: ignore[union-attr]

    assert len(orders) > 3
    assert {frozenset(order) for order in orders} == {frozenset(f"IN-{n}" for n in range(4))}


def answers(banks: list[PaperBank]) -> list[bool]:
    heard = []
    for bank in banks:
        try:
            bank.find("k")
            heard.append(True)
        except NoAnswer:
            heard.append(False)
    return heard


def test_a_seed_repeats_its_schedule_whoever_asks(tmp_path: Path) -> None:
    """Forty questions of one, and one question each of forty that share a file."""
    first, second = (Faults(seed, fail=30, time_out=30) for seed in (1, 2))
    sharing = [PaperBank(tmp_path / "bank.json", first) for _ in range(40)]

    heard = answers([PaperBank(faults=first)] * 40)

    assert heard == answers(sharing)
    assert heard != answers([PaperBank(faults=second)] * 40)
    assert 5 < sum(heard) < 35


PAYING = """
import sys
from pathlib import Path
from adapters.bank.paper import Faults, PaperBank
from contracts import Amount
from tests.adapters.bank.worlds import BAD, insist

bank = PaperBank(Path(sys.argv[1]), Faults(5, **BAD))
for number in range(25):
    insist(lambda: bank.pay(f"k{number}", "NL91", Amount.of("EUR.bank", 100)))
    bank.deposit(f"{sys.argv[2]}-{number}", Amount.of("EUR.bank", 1), is_pending=True)
"""


def test_processes_that_share_a_file_share_a_bank(tmp_path: Path) -> None:
    """Each gives the same orders; each is paid once, and nothing that another one wrote is lost."""
    path = tmp_path / "bank.json"
    bank = PaperBank(path, now=lambda: NOW)
    bank.deposit("CAPITAL-1", eur(100_000))

    running = [subprocess.Popen([sys.executable, "-c", PAYING, str(path), str(n)], cwd=ROOT) for n in range(3)]
    ended = [process.wait(60) for process in running]
    bank.settle()

    assert ended == [0, 0, 0]
    assert bank.balance(EUR).held == eur(100_000 - 25 * 100)
    assert len(json.loads(path.read_text())["deposits"]) == 1 + 3 * 25


def test_a_lost_dispute_may_take_more_than_there_is() -> None:
    bank = PaperBank()
    bank.deposit("IN-1", eur(500))
    bank.pay("k1", "NL91", eur(400))
    bank.settle()

    bank.dispute("IN-1", "D-1", is_lost=True)

    assert bank.balance(EUR).held == eur(0)
    assert sum(entry.cents for entry in bank.entries(EUR).entries) == -400


def test_what_did_not_happen_cannot_be_taken_back() -> None:
    bank = PaperBank()
    bank.deposit("IN-1", eur(500))

    with pytest.raises(LookupError):
        bank.clear("IN-1")
    with pytest.raises(LookupError):
        bank.send_back("k1", "closed")
    with pytest.raises(LookupError):
        bank.dispute("IN-2", "D-1", is_lost=True)
