"""What any chain must do, however badly it is heard; and what the paper one does on demand."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.bank.paper import Fault, Faults, PaperChain
from adapters.bank.paper.chain import OPERATOR, hash_of
from adapters.bank.ports import Call, Chain, NoAnswer, NonceTaken, Underpriced
from tests.adapters.bank.worlds import BAD, WORLDS, insist

EUR = "EUR.s"
COIN = 10**18
ALICE, BOB = "0x" + "a1" * 20, "0x" + "b0" * 20
MINT = Call("mint", EUR, 250 * COIN, ALICE, "sepa.X1", OPERATOR, 0)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> PaperChain:
    """A chain, and what happens around it."""
    return PaperChain(tmp_path / "chain.json" if "file" in request.param else None, WORLDS[request.param])


@pytest.fixture
def chain(world: PaperChain) -> Chain:
    """The same, as far as the port goes."""
    return world


def sent(chain: Chain, call: Call) -> str:
    return insist(lambda: chain.send(call))


def request(units: int = 100 * COIN, withdrawal: str = "alice.1", nonce: int = 0) -> Call:
    return Call("request_burn", EUR, units, "", withdrawal, ALICE, nonce)


# Any chain


def test_a_call_that_is_sent_again_is_done_once(world: PaperChain, chain: Chain) -> None:
    hashes = {sent(chain, MINT) for _ in range(3)}
    world.mine()
    hashes |= {sent(chain, MINT)}
    block = world.mine()

    assert hashes == {hash_of(MINT)}
    assert insist(lambda: chain.total_supply(EUR, block)) == 250 * COIN


def test_a_waiting_call_has_no_receipt_and_a_mined_one_has(world: PaperChain, chain: Chain) -> None:
    transaction = sent(chain, MINT)
    before = insist(lambda: chain.receipt(transaction))
    block = world.mine()
    found = insist(lambda: chain.receipt(transaction))

    assert before is None
    assert found
    assert (found.transaction, found.block, found.is_done, found.cause) == (transaction, block, True, "")
    assert insist(chain.head) == block


def test_a_reference_mints_once_whatever_the_nonce(world: PaperChain, chain: Chain) -> None:
    """The contract's own guard; the second call uses its nonce and reverts."""
    sent(chain, MINT)
    second = sent(chain, replace(MINT, nonce=1))
    block = world.mine()

    found = insist(lambda: chain.receipt(second))

    assert found
    assert (found.is_done, found.cause) == (False, "the reference was used")
    assert insist(lambda: chain.total_supply(EUR, block)) == 250 * COIN
    assert insist(lambda: chain.next_nonce(OPERATOR)) == 2


def test_a_replacement_is_confirmed_under_its_own_hash_only(world: PaperChain, chain: Chain) -> None:
    old = sent(chain, MINT)
    new = sent(chain, replace(MINT, price=165))
    world.mine()

    assert insist(lambda: chain.receipt(old)) is None
    assert insist(lambda: chain.receipt(new)) is not None
    assert insist(lambda: chain.holder_of(OPERATOR, 0)) == new
    with pytest.raises(NonceTaken) as taken:
        sent(chain, MINT)
    assert taken.value.by == new


def test_a_replacement_costs_a_tenth_more(chain: Chain) -> None:
    sent(chain, MINT)

    with pytest.raises(Underpriced):
        sent(chain, replace(MINT, price=164))


def test_a_nonce_with_a_gap_waits_for_it(world: PaperChain, chain: Chain) -> None:
    late = sent(chain, replace(MINT, nonce=1, reference="sepa.X2"))
    world.mine()
    waiting = insist(lambda: chain.receipt(late)), insist(lambda: chain.next_nonce(OPERATOR))
    sent(chain, MINT)
    block = world.mine()

    assert waiting == (None, 0)
    assert insist(lambda: chain.total_supply(EUR, block)) == 500 * COIN
    assert insist(lambda: chain.next_nonce(OPERATOR)) == 2


def test_a_nonce_has_one_holder(chain: Chain) -> None:
    assert insist(lambda: chain.holder_of(OPERATOR, 0)) is None

    transaction = sent(chain, MINT)

    assert insist(lambda: chain.holder_of(OPERATOR, 0)) == transaction
    assert insist(lambda: chain.next_nonce(OPERATOR)) == 1
    assert insist(lambda: chain.next_nonce(ALICE)) == 0


def test_supply_is_that_of_the_block_that_is_asked_for(world: PaperChain, chain: Chain) -> None:
    empty = world.mine()
    sent(chain, MINT)
    full = world.mine()

    assert [insist(lambda b=b: chain.total_supply(EUR, b)) for b in (0, empty, full)] == [0, 0, 250 * COIN]  # type: ignore[misc]
    with pytest.raises(LookupError):
        insist(lambda: chain.total_supply(EUR, full + 1))


def test_tokens_wait_in_escrow_until_they_are_burned_or_released(world: PaperChain, chain: Chain) -> None:
    sent(chain, MINT)
    world.mine()
    sent(chain, request())
    sent(chain, request(50 * COIN, "alice.2", nonce=1))
    escrowed = world.mine()
    sent(chain, Call("burn", EUR, 0, "", "alice.1", OPERATOR, 1))
    sent(chain, Call("release", EUR, 0, "", "alice.2", OPERATOR, 2))
    block = world.mine()

    assert insist(lambda: chain.total_supply(EUR, escrowed)) == 250 * COIN
    assert insist(lambda: chain.total_supply(EUR, block)) == 150 * COIN
    assert world.balance_of(EUR, ALICE) == 150 * COIN
    told = insist(lambda: chain.logs(1)).logs
    assert [(log.kind, log.units, log.reference) for log in told] == [
        ("burn_requested", 100 * COIN, "alice.1"),
        ("burn_requested", 50 * COIN, "alice.2"),
        ("burned", 100 * COIN, "alice.1"),
        ("released", 50 * COIN, "alice.2"),
    ]
    assert [(log.block, log.index) for log in told] == [(2, 0), (2, 1), (3, 0), (3, 1)]


def test_logs_are_read_once_each(world: PaperChain, chain: Chain) -> None:
    seen, after = [], 0
    for number in range(3):
        sent(chain, replace(MINT, nonce=number, reference=f"sepa.X{number}"))
        world.mine()
        page = insist(lambda a=after: chain.logs(a))  # type: ignore[misc]
        seen += [log.reference for log in page.logs]
        after = page.block

    assert seen == ["sepa.X0", "sepa.X1", "sepa.X2"]
    assert insist(lambda: chain.logs(after)).logs == ()


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (replace(MINT, sender=ALICE), "the sender is not the operator"),
        (replace(MINT, units=0), "nothing moves"),
        (replace(MINT, units=-1), "nothing moves"),
        (request(), "the sender has less than that"),
        (Call("transfer", EUR, 1, BOB, "", ALICE, 0), "the sender has less than that"),
        (Call("transfer", EUR, -1, BOB, "", ALICE, 0), "nothing moves"),
        (Call("burn", EUR, 1, "", "alice.1", OPERATOR, 0), "nothing is in escrow under the reference"),
        (Call("release", EUR, 1, "", "alice.1", OPERATOR, 0), "nothing is in escrow under the reference"),
    ],
)
def test_what_the_contract_forbids_reverts_and_changes_nothing(world: PaperChain, chain: Chain, call: Call, cause: str) -> None:
    transaction = sent(chain, call)
    block = world.mine()
    found = insist(lambda: chain.receipt(transaction))

    assert found
    assert (found.is_done, found.cause) == (False, cause)
    assert insist(lambda: chain.logs()).logs == ()
    assert insist(lambda: chain.total_supply(EUR, block)) == 0


def test_a_withdrawal_is_requested_once_and_burned_once(world: PaperChain, chain: Chain) -> None:
    sent(chain, MINT)
    world.mine()
    sent(chain, request())
    again = sent(chain, request(nonce=1))
    world.mine()
    burns = [sent(chain, Call("burn", EUR, 0, "", "alice.1", OPERATOR, nonce)) for nonce in (1, 2)]
    block = world.mine()

    receipts = [insist(lambda t=t: chain.receipt(t)) for t in (again, *burns)]  # type: ignore[misc]
    assert [found.is_done for found in receipts if found] == [False, True, False]
    assert world.balance_of(EUR, ALICE) == 150 * COIN == insist(lambda: chain.total_supply(EUR, block))


moves = st.lists(
    st.tuples(
        st.sampled_from(["mint", "request_burn", "burn", "release", "transfer", "mine"]),
        st.sampled_from([ALICE, BOB]),
        st.integers(1, 100),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(moves, st.integers(0, 1000))
@settings(deadline=None)
def test_no_schedule_of_faults_makes_or_loses_a_token(program: list[tuple[str, str, int, int]], seed: int) -> None:
    """Supply is what was minted less what was burned, by the logs; and it is somewhere: at a holder's or in escrow."""
    chain = PaperChain(faults=Faults(seed, **BAD))
    for kind, who, units, number in program:
        if kind == "mine":
            chain.mine()
            continue
        sender = who if kind in ("request_burn", "transfer") else OPERATOR
        nonce = insist(lambda s=sender: chain.next_nonce(s))  # type: ignore[misc]
        target = {"mint": who, "transfer": BOB}.get(kind, "")
        sent(chain, Call(kind, EUR, units * COIN, target, f"r{number}", sender, nonce))  # type: ignore[arg-type]
    block = chain.mine()

    logs = insist(lambda: chain.logs()).logs
    by_kind = {kind: sum(log.units for log in logs if log.kind == kind) for kind in
               ("minted", "burned", "burn_requested", "released")}  # fmt: skip
    supply = insist(lambda: chain.total_supply(EUR, block))
    held = sum(chain.balance_of(EUR, who) for who in (ALICE, BOB))
    assert supply == by_kind["minted"] - by_kind["burned"]
    assert held == supply - (by_kind["burn_requested"] - by_kind["burned"] - by_kind["released"])
    minted = [log.reference for log in logs if log.kind == "minted"]
    assert len(minted) == len(set(minted))


# The paper one


def test_a_call_that_fails_never_arrived_and_one_that_times_out_did() -> None:
    chain = PaperChain()

    for fault, arrives in ((Fault.FAIL, False), (Fault.TIME_OUT, True)):
        chain.demand(fault)
        with pytest.raises(NoAnswer):
            chain.send(MINT)
        assert (chain.holder_of(OPERATOR, 0) is not None) is arrives


def test_what_a_node_forgot_waits_again_once_it_is_sent_again() -> None:
    chain = PaperChain()
    transaction = chain.send(MINT)

    assert chain.lose() == 1
    assert chain.mine() == 1
    assert chain.receipt(transaction) is None
    assert chain.next_nonce(OPERATOR) == 0
    assert chain.send(MINT) == transaction
    chain.mine()
    assert chain.receipt(transaction) is not None


def test_processes_share_a_chain_by_its_file(tmp_path: Path) -> None:
    one, other = (PaperChain(tmp_path / "chain.json") for _ in range(2))
    one.send(MINT)
    other.mine()

    assert one.total_supply(EUR, 1) == 250 * COIN
    assert one.logs() == other.logs()
