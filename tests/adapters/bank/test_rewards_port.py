"""What any chain's rewards contract must do: it keeps roots in the order of epochs, and pays who proves a row, once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adapters.bank.calling import Calls
from adapters.bank.paper import Fault, Faults, PaperChain
from adapters.bank.paper.chain import OPERATOR, hash_of
from adapters.bank.ports import Call, Chain, ClaimRewards, Log, Receipt, SetRoot, Transaction, Underpriced
from adapters.sql import engine_for
from contracts.rewards import SPACE, Payee
from domain.rewards.claims import NATIVE_TOKEN, Claim, ClaimTree
from tests.adapters.bank.worlds import BAD, WORLDS, insist
from tests.databases import upgrade

USD = "USD.s"
COIN = 10**18
WEI = 10**14
"""Of a unit of SPACE, which has 4 decimals."""
ALICE, BOB, EVE = (Payee("0x" + digit * 40) for digit in "abe")
DOLLARS = PaperChain().tokens[USD]
ROWS = [Claim(ALICE, NATIVE_TOKEN, 500), Claim(BOB, NATIVE_TOKEN, 70), Claim(ALICE, DOLLARS, 12 * COIN)]
MORE = [Claim(ALICE, NATIVE_TOKEN, 800), *ROWS[1:]]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> PaperChain:
    """A chain, and what happens around it."""
    return PaperChain(tmp_path / "chain.json" if "file" in request.param else None, WORLDS[request.param])


@pytest.fixture
def chain(world: PaperChain) -> Chain:
    """The same, as far as the port goes."""
    return world


def done(world: PaperChain, *calls: Transaction) -> list[Receipt]:
    """Each in a block of its own, under its sender's next nonce."""
    found = []
    for call in calls:
        nonce = insist(lambda c=call: world.next_nonce(c.sender))  # type: ignore[misc]
        transaction = insist(lambda c=call, n=nonce: world.send(replace(c, nonce=n)))  # type: ignore[misc]
        world.mine()
        receipt = insist(lambda t=transaction: world.receipt(t))  # type: ignore[misc]
        assert receipt is not None
        found.append(receipt)
    return found


def root(epoch: int = 1, rows: Sequence[Claim] = ROWS, sender: str = OPERATOR) -> SetRoot:
    return SetRoot(epoch, ClaimTree.of(rows).root, sender, 0)


def claim(row: Claim, rows: Sequence[Claim] = ROWS, sender: str = EVE, **changes: Any) -> ClaimRewards:
    proof = tuple("0x" + node.hex() for node in ClaimTree.of(rows).proof(row))
    return replace(ClaimRewards(row.account, row.token, row.cumulative, proof, sender, 0), **changes)


def funded(world: PaperChain, space: int = 10_000, coins: int = 100 * COIN) -> PaperChain:
    """The contract holds both, and the first root is on it."""
    world.arrive("SPACE.evm", world.rewards, space * WEI)
    done(world, Call("mint", USD, coins, EVE, "wire.1", OPERATOR, 0), Call("transfer", USD, coins, world.rewards, "", EVE, 0))
    done(world, root())
    return world


def told(chain: Chain, kind: str) -> list[Log]:
    return [log for log in insist(chain.logs).logs if log.kind == kind]


def causes(receipts: Sequence[Receipt]) -> list[str]:
    return [receipt.cause for receipt in receipts]


# Any chain


def test_a_root_is_told_with_its_epoch(world: PaperChain, chain: Chain) -> None:
    [receipt] = done(world, root(20_417))

    [log] = told(chain, "root_set")
    assert (log.reference, log.transaction, log.block) == (f"20417:{root().root}", receipt.transaction, receipt.block)
    assert log.reference == root(20_417).reference


def test_epochs_ascend_and_each_has_one_root(world: PaperChain) -> None:
    receipts = done(world, root(5), root(5), root(5, MORE), root(4, MORE), root(6, MORE))

    late = "the epoch has a root, or a later one has"
    assert causes(receipts) == ["", late, late, late, ""]


def test_a_root_is_the_operators_to_set(world: PaperChain, chain: Chain) -> None:
    assert causes(done(world, root(sender=EVE))) == ["the sender is not the operator"]
    assert told(chain, "root_set") == []


def test_whoever_proves_a_row_is_paid_what_it_holds(world: PaperChain, chain: Chain) -> None:
    """Anybody may ask; it is the row's account that is paid. SPACE comes as gas of 18 decimals."""
    funded(world)

    receipts = done(world, *(claim(row) for row in ROWS))

    assert causes(receipts) == ["", "", ""]
    assert [(log.asset, log.units, log.target) for log in told(chain, "claimed")] == [
        (SPACE, 500, ALICE), (SPACE, 70, BOB), (USD, 12 * COIN, ALICE),
    ]  # fmt: skip
    assert (world.balance_of("SPACE.evm", ALICE), world.balance_of("SPACE.evm", BOB)) == (500 * WEI, 70 * WEI)
    assert world.balance_of(USD, ALICE) == 12 * COIN
    assert world.balance_of(USD, EVE) == 0


def test_a_claim_changes_no_supply(world: PaperChain, chain: Chain) -> None:
    """The contract pays from what it holds: bank, books and chain stay comparable."""
    funded(world)
    before = [insist(lambda a=asset: chain.total_supply(a, chain.head())) for asset in (USD, "SPACE.evm")]  # type: ignore[misc]

    done(world, *(claim(row) for row in ROWS))

    after = [insist(lambda a=asset: chain.total_supply(a, chain.head())) for asset in (USD, "SPACE.evm")]  # type: ignore[misc]
    assert after == before == [100 * COIN, 10_000 * WEI]


def test_nobody_is_paid_twice_and_the_next_root_pays_the_difference(world: PaperChain, chain: Chain) -> None:
    funded(world)
    receipts = done(world, claim(ROWS[0]), claim(ROWS[0]), root(2, MORE), claim(MORE[0], MORE), claim(MORE[0], MORE))

    assert causes(receipts) == ["", "nothing is left to claim", "", "", "nothing is left to claim"]
    assert [log.units for log in told(chain, "claimed")] == [500, 300]
    assert world.balance_of("SPACE.evm", ALICE) == 800 * WEI


@pytest.mark.parametrize(
    "forged",
    [
        claim(ROWS[0], cumulative=501), claim(ROWS[0], account=EVE), claim(ROWS[0], token=DOLLARS), claim(ROWS[0], proof=()),
        claim(ROWS[0], proof=claim(ROWS[1]).proof), claim(MORE[0], MORE), claim(ROWS[0], cumulative=-1),
        claim(ROWS[0], cumulative=2**256), claim(ROWS[0], proof=("0xg",)),
    ],
)  # fmt: skip
def test_what_no_proof_leads_to_the_root_from_is_not_paid(forged: ClaimRewards) -> None:
    world = funded(PaperChain())

    assert causes(done(world, forged)) == ["the proof does not lead to the root"]
    assert told(world, "claimed") == []


def test_an_old_roots_proof_is_worth_nothing_under_a_new_root(world: PaperChain) -> None:
    funded(world)

    receipts = done(world, root(2, MORE), claim(ROWS[0]), claim(MORE[0], MORE))

    assert causes(receipts) == ["", "the proof does not lead to the root", ""]


def test_before_the_first_root_nothing_is_paid(world: PaperChain) -> None:
    assert causes(done(world, claim(ROWS[0]))) == ["the proof does not lead to the root"]


def test_a_contract_that_holds_less_pays_nothing_and_all_of_it_once_it_holds_enough(world: PaperChain) -> None:
    funded(world, space=499)
    receipts = done(world, claim(ROWS[0]))
    world.arrive("SPACE.evm", world.rewards, WEI)
    receipts += done(world, claim(ROWS[0]))

    assert causes(receipts) == ["the contract holds less than that", ""]
    assert world.balance_of("SPACE.evm", world.rewards) == 0


def test_an_address_in_capitals_is_the_same_account(world: PaperChain) -> None:
    funded(world)

    assert causes(done(world, claim(ROWS[0], account="0x" + "A" * 40), claim(ROWS[0]))) == ["", "nothing is left to claim"]


def test_a_claim_that_waits_can_be_replaced_at_a_higher_price(world: PaperChain, chain: Chain) -> None:
    """And is the same transaction as long as it is not."""
    funded(world)
    cheap = replace(claim(ROWS[0]), nonce=insist(lambda: chain.next_nonce(EVE)))
    first, again = insist(lambda: chain.send(cheap)), insist(lambda: chain.send(cheap))
    with pytest.raises(Underpriced):
        insist(lambda: chain.send(replace(cheap, price=164)))
    dear = insist(lambda: chain.send(replace(cheap, price=165)))
    world.mine()

    assert first == again == hash_of(cheap) != dear
    assert insist(lambda: chain.receipt(first)) is None
    assert world.balance_of("SPACE.evm", ALICE) == 500 * WEI


# Calls in the operator's name


@pytest.fixture(params=["in memory", "in a file", "faulty 1", "faulty 2, in a file"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> PaperChain:
    """One that is heard now and then: a call is four questions."""
    return PaperChain(tmp_path / "chain.json" if "file" in request.param else None, WORLDS[request.param])


@pytest.fixture
def calls(heard: PaperChain, tmp_path: Path) -> Calls:
    return Calls(heard, kept(tmp_path / "calls.db"), OPERATOR)


def kept(path: Path) -> Any:
    engine = engine_for(f"sqlite:///{path}")
    upgrade(engine, "views")
    return engine


def until_answered(world: PaperChain, calls: Calls, call: SetRoot) -> Any:
    for _ in range(20):
        if (answer := insist(lambda: calls.set_root(call.epoch, call.root))) is not None:
            return answer
        world.mine()
    raise AssertionError("no answer")


def test_a_root_is_set_once_however_often_it_is_asked_for(heard: PaperChain, calls: Calls, tmp_path: Path) -> None:
    """Also by one that has lost its memory, and by one that was killed while it waited."""
    insist(lambda: calls.set_root(1, root().root))
    first = until_answered(heard, Calls(heard, kept(tmp_path / "calls.db"), OPERATOR), root())
    again = until_answered(heard, calls, root())
    fresh = until_answered(heard, Calls(heard, kept(tmp_path / "fresh.db"), OPERATOR), root())

    assert first == again == fresh
    assert (first.cause, len(told(heard, "root_set"))) == ("", 1)


def test_a_pool_that_was_lost_or_a_nonce_that_was_taken_delays_a_root_only(heard: PaperChain, calls: Calls) -> None:
    insist(lambda: calls.set_root(1, root().root))
    heard.lose()
    insist(lambda: heard.send(Call("mint", USD, 7, EVE, "wire.other", OPERATOR, 0)))
    heard.mine()

    answer = until_answered(heard, calls, root())

    assert (answer.cause, len(told(heard, "root_set"))) == ("", 1)


def test_another_root_of_the_same_epoch_is_no_answer(heard: PaperChain, calls: Calls) -> None:
    """The contract has it from somebody else: that is said, and not taken for ours."""
    done(heard, root(1, MORE))

    assert until_answered(heard, calls, root()).cause == "the epoch has a root, or a later one has"


# By chance


class Contract(RuleBasedStateMachine):
    """Roots that grow, claims of any row of any root, forged ones, in any order, past a chain that loses answers.

    The model knows what each row held under each root; nothing else.
    """

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.chain = PaperChain(faults=Faults(seed, **BAD))
        self.tables: list[list[Claim]] = []
        self.earned = dict.fromkeys([(who, token) for who in (ALICE, BOB, EVE) for token in (NATIVE_TOKEN, DOLLARS)], 0)
        self.funds = {NATIVE_TOKEN: 0, DOLLARS: 0}

    @rule(units=st.lists(st.integers(0, 100), min_size=6, max_size=6))
    def publish(self, units: list[int]) -> None:
        for key, more in zip(self.earned, units, strict=True):
            self.earned[key] += more
        rows = [Claim(*key, held) for key, held in self.earned.items() if held]
        if rows:
            done(self.chain, root(len(self.tables) + 1, rows))
            self.tables.append(rows)

    @rule(units=st.integers(1, 300))
    def fund(self, units: int) -> None:
        self.chain.arrive("SPACE.evm", self.chain.rewards, units * WEI)
        mint = Call("mint", USD, units, self.chain.rewards, f"wire.{insist(self.chain.head)}", OPERATOR, 0)
        done(self.chain, mint)
        self.funds = {token: held + units for token, held in self.funds.items()}

    @rule(chosen=st.data(), more=st.sampled_from([0, 0, 0, 1, -1]))
    def claim(self, chosen: Any, more: int) -> None:
        if not self.tables:
            return
        rows = chosen.draw(st.sampled_from(self.tables))
        row = chosen.draw(st.sampled_from(rows))
        sender = chosen.draw(st.sampled_from([ALICE, BOB, EVE, OPERATOR]))
        before, held = self.paid(row), self.held(row.token)

        [receipt] = done(self.chain, claim(row, rows, sender, cumulative=row.cumulative + more))

        proved = more == 0 and row in self.tables[-1] and rows_root(rows) == rows_root(self.tables[-1])
        due = row.cumulative - before
        assert receipt.is_done is (proved and 0 < due <= held)
        assert self.paid(row) == before + (due if receipt.is_done else 0)

    @rule()
    def lose_the_pool(self) -> None:
        self.chain.lose()

    def paid(self, row: Claim) -> int:
        return sum(self.logs().get((row.account, row.token), []))

    def held(self, token: Payee) -> int:
        return self.funds[token] - sum(sum(units) for (_, other), units in self.logs().items() if other == token)

    def logs(self) -> dict[tuple[str, Payee], list[int]]:
        found: dict[tuple[str, Payee], list[int]] = {}
        for log in told(self.chain, "claimed"):
            found.setdefault((log.target, NATIVE_TOKEN if log.asset == SPACE else DOLLARS), []).append(log.units)
        return found

    @invariant()
    def nobody_has_more_than_a_root_gave_and_nothing_is_made(self) -> None:
        if not hasattr(self, "chain"):
            return
        under = {(row.account, row.token): row.cumulative for row in (self.tables[-1] if self.tables else [])}
        logs = self.logs()
        for key in self.earned:
            paid = sum(logs.get(key, []))
            asset, unit = ("SPACE.evm", WEI) if key[1] == NATIVE_TOKEN else (USD, 1)
            assert self.chain.balance_of(asset, key[0]) == paid * unit
            assert paid <= under.get(key, 0) <= self.earned[key]
        for token, asset, unit in ((NATIVE_TOKEN, "SPACE.evm", WEI), (DOLLARS, USD, 1)):
            assert self.chain.balance_of(asset, self.chain.rewards) == self.held(token) * unit


def rows_root(rows: Sequence[Claim]) -> str:
    return ClaimTree.of(rows).root


TestContract = Contract.TestCase
TestContract.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


# The paper one


def test_a_claim_that_times_out_arrived() -> None:
    world = funded(PaperChain())
    world.demand(Fault.TIME_OUT)

    receipts = done(world, claim(ROWS[1]))

    assert causes(receipts) == [""]
    assert world.balance_of("SPACE.evm", BOB) == 70 * WEI


@drawn(st.permutations(range(3)))
@settings(deadline=None, max_examples=6)
def test_the_order_of_claims_pays_everybody_the_same(order: list[int]) -> None:
    world = funded(PaperChain())

    done(world, *(claim(ROWS[n]) for n in order))

    assert (world.balance_of("SPACE.evm", ALICE), world.balance_of("SPACE.evm", BOB)) == (500 * WEI, 70 * WEI)
    assert world.balance_of(USD, ALICE) == 12 * COIN
