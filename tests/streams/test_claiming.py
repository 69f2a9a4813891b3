"""From a fee to what a wallet has got on the chain, past a chain that fails, repeats and forgets; then the books are judged."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from adapters.bank.calling import Calls
from adapters.bank.paper import Faults, PaperBank, PaperChain
from adapters.bank.paper.chain import OPERATOR
from adapters.bank.ports import Call, ClaimRewards, Log, Logs, SetRoot
from adapters.sql import engine_for
from commands.rewards import Rewards
from contracts import Amount
from contracts.rewards import (
    EMISSION,
    SPACE,
    ChainHash,
    Claimed,
    ConfirmRoot,
    DeclareGenesis,
    Payee,
    RecordClaim,
    RootConfirmed,
    RootPublished,
    earner_stream,
    fee_stream,
)
from domain.rewards.claims import NATIVE_TOKEN, Claim, ClaimTree, proves
from domain.rewards.epochs import begin_of
from projections.ledger import trial_balance
from projections.rewards import OtherTable, claim_of
from projections.rewards.overview import payees
from projections.rewards.queries import ClaimState
from streams import Outside, Projection, Stream, TodoList
from streams import ledger as ledger_wiring
from streams import rewards as rewards_wiring
from streams.rewards.claiming import WINDOW_BLOCKS, Claims
from tests.chance import seeds
from tests.commands.test_rewards import GENESIS, OWNER, PAYEE, N, fee
from tests.databases import upgrade
from tests.streams.desks import Seat
from tests.streams.town import Town, patiently

USD = "USD.s"
WEI = 10**14
NIGHT = timedelta(minutes=10)
LISTS = ("run_the_epoch", "put_roots_on_the_chain", "claim_on_the_chain")


class Heard(PaperChain):
    """Remembers from where its logs were asked for."""

    def __init__(self, faults: Faults | None = None) -> None:
        super().__init__(None, faults)
        self.asked: list[int] = []

    def logs(self, after: int = 0) -> Logs:
        self.asked.append(after)
        return super().logs(after)


class ClaimTown(Town):
    """Rewards with a chain behind them. The contract holds enough, unless somebody says otherwise."""

    def __init__(self, path: Path, faults: Faults | None = None, operator: str = OPERATOR, *, is_funded: bool = True) -> None:
        self.chain = Heard(faults)
        kept = engine_for(f"sqlite:///{path}/calls.db")
        upgrade(kept, "views")
        self.reached = Outside(PaperBank(), "wire", self.chain, Calls(self.chain, kept, operator), _nothing_is_sealed)
        super().__init__(path, [Rewards], wired(self.reached), GENESIS)
        self.serial_of_fees = 0
        self.ask(DeclareGenesis(at=GENESIS), EMISSION)
        if is_funded:
            self.fund(10**9)

    def fund(self, units: int) -> None:
        self.chain.arrive("SPACE.evm", self.chain.rewards, units * WEI)
        patiently(lambda: self.chain.send(self._mint(units)))
        self.chain.mine()

    def _mint(self, units: int) -> Call:
        nonce = self.chain.next_nonce(OPERATOR)
        return Call("mint", USD, units, self.chain.rewards, f"wire.{nonce}", OPERATOR, nonce)

    def receive(self, price: int, asset: str = SPACE, payee: Payee = PAYEE) -> None:
        """A fee of the running day, whose payee gets 60 % and the model's owner 20 %."""
        self.serial_of_fees += 1
        epoch = (self.now - begin_of(0)).days
        command = fee(self.serial_of_fees, price, epoch=epoch)
        changed = command.model_copy(update={"price": Amount.of(asset, price), "payee": payee})
        self.ask(changed, fee_stream("inference", payee, asset))

    def sleep(self) -> int:
        """Until the day is over with what comes late; its epoch."""
        epoch = (self.now - begin_of(0)).days
        self.now = begin_of(epoch + 1) + NIGHT
        self.work()
        return epoch

    def turns(self, count: int = 4) -> None:
        """Everybody works, a block is mined."""
        for _ in range(count):
            self.work()
            self.chain.mine()
            self.now += timedelta(seconds=1)
        self.work()

    def claim_of(self, payee: str, asset: str = SPACE) -> ClaimState:
        with self.views() as connection:
            [state] = [found for found in claim_of(payee, self.chain.tokens, connection) if found.asset == asset]
        return state

    def claim(self, payee: str, asset: str = SPACE, sender: str = OWNER) -> None:
        """Somebody sends what the view says for the payee."""
        state = self.claim_of(payee, asset)
        assert state.claim is not None
        self.send(state.claim, state.proof, sender)

    def send(self, row: Claim, proof: tuple[str, ...], sender: str = OWNER) -> str:
        def call() -> str:
            nonce = self.chain.next_nonce(sender)
            return self.chain.send(ClaimRewards(row.account, row.token, row.cumulative, proof, sender, nonce))

        return patiently(call)

    def said(self, kind: type[Any]) -> list[Any]:
        return [event for event, _ in self.log if isinstance(event, kind)]


def _nothing_is_sealed(*_: Any) -> str:
    raise AssertionError


def wired(outside: Outside | None) -> list[Stream]:
    world: Any = type("World", (), {"network": "test", "outside": outside})()
    streams = [*rewards_wiring.streams(world), *ledger_wiring.streams(world)]
    return [s for s in streams if isinstance(s, Projection) or (isinstance(s, TodoList) and s.name in LISTS)]


def logs_of(town: ClaimTown, kind: str) -> list[Log]:
    return [log for log in patiently(town.chain.logs).logs if log.kind == kind]


def night(town: ClaimTown, price: int = 1_000_000, asset: str = SPACE) -> int:
    """A fee, and its day's root on the chain."""
    town.receive(price, asset)
    epoch = town.sleep()
    town.turns()
    return epoch


def days_without_the_chain(town: ClaimTown, count: int) -> None:
    """Roots are published, and nobody puts them anywhere."""
    everybody = town.wired
    town.wired = [stream for stream in everybody if stream.name not in LISTS[1:]]
    for _ in range(count):
        town.receive(1_000)
        town.sleep()
    town.wired = everybody


# Roots


def test_a_published_root_is_put_on_the_contract_and_confirmed(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    night(town)

    [published], [confirmed], [log] = town.said(RootPublished), town.said(RootConfirmed), logs_of(town, "root_set")
    assert log.reference == f"{N}:{published.root}"
    assert confirmed == RootConfirmed(transaction=ChainHash(log.transaction), block=log.block)


def test_roots_are_put_on_the_contract_in_the_order_of_their_epochs(tmp_path: Path) -> None:
    """Three days without a chain, and then one after the other."""
    town = ClaimTown(tmp_path)
    days_without_the_chain(town, 3)
    assert (len(town.said(RootPublished)), town.said(RootConfirmed)) == (3, [])

    town.turns(8)

    assert [log.reference.partition(":")[0] for log in logs_of(town, "root_set")] == [str(N), str(N + 1), str(N + 2)]
    assert len(town.said(RootConfirmed)) == 3


def test_a_root_that_the_contract_refuses_is_tried_again_after_a_minute(tmp_path: Path) -> None:
    """Whoever calls is not its operator: a person has to act, and each attempt costs gas."""
    town = ClaimTown(tmp_path, operator="0x" + "bb" * 20)
    night(town)
    town.turns(20)
    early = patiently(lambda: town.chain.next_nonce("0x" + "bb" * 20))
    town.now += timedelta(minutes=1)
    town.turns(3)

    assert early == 1
    assert patiently(lambda: town.chain.next_nonce("0x" + "bb" * 20)) == 2
    assert town.said(RootConfirmed) == []


def test_an_epoch_that_the_contract_has_passed_holds_back_no_later_one(tmp_path: Path) -> None:
    """Somebody has confirmed a later root by hand."""
    town = ClaimTown(tmp_path)
    days_without_the_chain(town, 2)
    root = town.said(RootPublished)[1].root
    town.chain.send(SetRoot(N + 1, root, OPERATOR, town.chain.next_nonce(OPERATOR)))
    block = town.chain.mine()
    [log] = logs_of(town, "root_set")
    town.ask(ConfirmRoot(transaction=ChainHash(log.transaction), block=block), f"rewards/epoch/{N + 1}")
    night(town)

    assert [log.reference.partition(":")[0] for log in logs_of(town, "root_set")] == [str(N + 1), str(N + 2)]


# Claims


def test_what_the_contract_paid_is_claimed_at_its_earner(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    night(town)
    town.claim(PAYEE)
    town.turns(2)

    [log] = logs_of(town, "claimed")
    [claimed], state = town.said(Claimed), town.claim_of(PAYEE)
    assert claimed == Claimed(
        amount=Amount.of(SPACE, log.units), transaction=ChainHash(log.transaction), log=log.index, block=log.block,
        claimed=log.units,
    )  # fmt: skip
    assert [record.subject for event, record in town.log if event == claimed] == [earner_stream(PAYEE, SPACE)]
    assert (state.claimed, state.claimable) == (state.earned, 0)
    assert town.balances().get(f"payable:payee:{PAYEE}") is None
    assert town.balances()["holders"] == log.units
    assert town.judge(tmp_path) == []


def test_a_claim_replayed_from_the_log_changes_nothing(tmp_path: Path) -> None:
    """By one that has forgotten everything, and by one that never saw it recorded."""
    town = ClaimTown(tmp_path)
    night(town)
    town.claim(PAYEE)
    town.turns(2)
    before = len(town.log)
    [log] = logs_of(town, "claimed")

    town.sent.clear()
    again = Claims(town.reached)
    town.wire(TodoList("read_again", again.plan, look=again.look))
    town.turns(3)
    command = RecordClaim(
        amount=Amount.of(SPACE, log.units), transaction=ChainHash(log.transaction), log=log.index, block=log.block
    )
    recorded = town.ask(command, earner_stream(PAYEE, SPACE))

    assert (recorded, len(town.log)) == ([], before)


def test_coins_are_claimed_from_what_the_contract_holds_and_their_supply_stays(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    night(town, 1_000, USD)
    supply = town.chain.total_supply(USD, town.chain.head())
    town.claim(PAYEE, USD)
    town.claim(OWNER, USD)
    town.turns(2)

    assert (town.chain.balance_of(USD, PAYEE), town.chain.balance_of(USD, OWNER)) == (600, 200)
    assert town.chain.total_supply(USD, town.chain.head()) == supply
    assert town.claim_of(PAYEE, USD).claimed == 600
    assert town.judge(tmp_path) == []


def test_a_claim_waits_for_a_contract_that_holds_too_little(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path, is_funded=False)
    night(town)
    town.claim(PAYEE)
    town.turns(2)
    assert town.said(Claimed) == []

    town.fund(10**9)
    town.claim(PAYEE)
    town.turns(2)

    assert len(town.said(Claimed)) == 1


def test_logs_are_read_on_from_what_the_views_show(tmp_path: Path) -> None:
    """A process that starts reads back to the window of the last claim, and from then on what is new."""
    town = ClaimTown(tmp_path)
    for _ in range(2 * WINDOW_BLOCKS):
        town.chain.mine()
    night(town)
    first = min(after for after in town.chain.asked if after)
    for _ in range(WINDOW_BLOCKS):
        town.chain.mine()
    town.claim(PAYEE)
    town.turns(2)
    [log] = logs_of(town, "claimed")
    again, town.chain.asked = Claims(town.reached), []

    for _ in range(3):
        again.look()
        with town.views() as connection:
            assert list(again.plan(Seat(connection, town.now, {}))) == []

    assert first >= town.said(RootConfirmed)[0].block - 1
    assert town.chain.asked == [log.block // WINDOW_BLOCKS * WINDOW_BLOCKS - 1, town.chain.head()]


def test_claims_of_a_later_window_wait_for_those_before(tmp_path: Path) -> None:
    """So that what shows in the views says how far everything is recorded."""
    town = ClaimTown(tmp_path)
    night(town)
    town.claim(PAYEE)
    town.chain.mine()
    for _ in range(WINDOW_BLOCKS):
        town.chain.mine()
    town.claim(OWNER)
    town.chain.mine()
    early, late = logs_of(town, "claimed")

    planned = []
    again = Claims(town.reached)
    for _ in range(4):
        again.look()
        with town.views() as connection:
            tasks = list(again.plan(Seat(connection, town.now, {})))
        planned.append([task.command.block for task in tasks if isinstance(task.command, RecordClaim)])
        for task in tasks:
            town.ask(task.command, task.subject)

    assert planned == [[], [early.block], [late.block], []]


def test_what_the_rules_refuse_to_record_holds_back_no_other(tmp_path: Path) -> None:
    """The contract has paid by a root that was never published: that is for a person, and shows as more than was earned."""
    town = ClaimTown(tmp_path)
    night(town)
    rows = [Claim(OWNER, NATIVE_TOKEN, 10**7), Claim(PAYEE, NATIVE_TOKEN, 500)]
    tree = ClaimTree.of(rows)
    town.chain.send(SetRoot(N + 100, tree.root, OPERATOR, town.chain.next_nonce(OPERATOR)))
    town.chain.mine()
    for row in rows:
        town.send(row, tuple("0x" + node.hex() for node in tree.proof(row)))
    town.turns(3)

    assert [refusal.name for refusal in town.refusals["claim_on_the_chain"].values()] == ["ExceedsEarned"]
    assert [event.amount.units for event in town.said(Claimed)] == [500]


def test_without_a_chain_no_root_is_put_there_and_coins_wait() -> None:
    names = [stream.name for stream in wired(None)]

    assert "run_the_epoch" in names
    assert not {"put_roots_on_the_chain", "claim_on_the_chain"} & set(names)


# What a holder is told


def test_a_claim_is_under_the_newest_root_that_the_contract_has_and_says_that_another_waits(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    first = night(town)
    confirmed = town.claim_of(PAYEE)
    town.receive(1_000_000)
    second = town.sleep()
    waiting = town.claim_of(PAYEE)

    assert confirmed.root is not None
    assert (confirmed.root.epoch, confirmed.waiting) == (first, None)
    assert (waiting.root, waiting.claim, waiting.proof) == (confirmed.root, confirmed.claim, confirmed.proof)
    assert (waiting.waiting, waiting.earned > confirmed.earned) == (second, True)

    town.turns()
    newest = town.claim_of(PAYEE)
    assert newest.claim is not None
    assert (newest.waiting, newest.claim.cumulative) == (None, newest.earned)


def test_a_proof_that_does_not_lead_to_the_root_is_never_told(tmp_path: Path) -> None:
    """Where an asset's contract is another than when the root was made, or not known."""
    town = ClaimTown(tmp_path)
    night(town, 1_000, USD)

    with town.views() as connection:
        with pytest.raises(OtherTable, match="not known"):
            claim_of(PAYEE, {}, connection)
        with pytest.raises(OtherTable, match="leads to"):
            claim_of(PAYEE, {USD: Payee("0x" + "12" * 20)}, connection)


def test_a_contract_that_an_asset_gets_later_changes_no_root_that_is_out(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    night(town)

    with town.views() as connection:
        plain = claim_of(PAYEE, {}, connection)
        assert claim_of(PAYEE, {**town.chain.tokens, USD: Payee("0x" + "12" * 20)}, connection) == plain


def test_what_each_wallet_may_claim_is_what_the_contract_would_pay(tmp_path: Path) -> None:
    town = ClaimTown(tmp_path)
    night(town)
    town.claim(PAYEE)
    town.turns(2)
    night(town)

    with town.views() as connection:
        shown = {each.payee: (each.claimable, each.claimed) for each in payees(connection) if each.asset == SPACE}
    before: dict[str, int] = {payee: town.chain.balance_of("SPACE.evm", payee) for payee in (PAYEE, OWNER)}
    for payee in (PAYEE, OWNER):
        town.claim(payee)
    town.turns(2)
    for payee, (claimable, claimed) in shown.items():
        assert town.chain.balance_of("SPACE.evm", payee) - before.get(payee, 0) == claimable * WEI
        assert before[payee] == claimed * WEI


# Faults


FAULTS = [None, *(Faults(seed, fail=15, time_out=15, duplicate=20, delay=20, reorder=20) for seed in seeds(4))]


@pytest.mark.chance
@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: "faultless" if faults is None else f"seed {faults.seed}")
def test_fees_become_a_root_and_the_root_money_whatever_the_chain_loses(tmp_path: Path, faults: Faults | None) -> None:
    town = ClaimTown(tmp_path, faults)
    for day in range(3):
        night(town, 1_000_003 + day, SPACE if day % 2 else USD)
        until(town, lambda day=day: len(town.said(RootConfirmed)) == day + 1)  # type: ignore[misc]
        for payee in (PAYEE, OWNER):
            for asset in (SPACE, USD) if day else (USD,):
                town.claim(payee, asset, sender=payee)
        town.chain.lose() if day == 1 else None
        town.turns(2)
        for payee in (PAYEE, OWNER):
            for asset in (SPACE, USD) if day else (USD,):
                town.claim(payee, asset, sender=payee)
        until(town, lambda: recorded(town) == paid(town))

    everything = recorded(town)
    assert everything == paid(town)
    for (payee, asset), units in everything.items():
        state = town.claim_of(payee, asset)
        assert state.claim is not None
        assert units == state.claimed == state.claim.cumulative
    assert town.judge(tmp_path) == []
    with town.views() as connection:
        assert [trial.difference for trial in trial_balance(connection)] == [0, 0]


def until(town: ClaimTown, true: Callable[[], bool], turns: int = 80) -> None:
    for _ in range(turns):
        if true():
            return
        town.turns(1)
    raise AssertionError("it did not come to that")


def recorded(town: ClaimTown) -> dict[tuple[str, str], int]:
    """Of payee and asset what our events say was claimed."""
    found: dict[tuple[str, str], int] = {}
    for event, record in town.log:
        if isinstance(event, Claimed):
            payee, asset = record.stream_id.split(".", 1)
            found[payee, asset] = found.get((payee, asset), 0) + event.amount.units
    return found


def paid(town: ClaimTown) -> dict[tuple[str, str], int]:
    """And what is in the wallets."""
    units = {(payee, SPACE): town.chain.balance_of("SPACE.evm", payee) // WEI for payee in (PAYEE, OWNER)}
    units |= {(payee, USD): town.chain.balance_of(USD, payee) for payee in (PAYEE, OWNER)}
    return {key: n for key, n in units.items() if n}


STEPS = st.one_of(
    st.tuples(st.just("fee"), st.sampled_from([SPACE, USD]), st.integers(1, 10**6)),
    st.tuples(st.just("night"), st.just(""), st.just(0)),
    st.tuples(st.just("claim"), st.sampled_from([SPACE, USD]), st.integers(0, 11)),
    st.tuples(st.just("block"), st.just(""), st.just(0)),
    st.tuples(st.just("lose"), st.just(""), st.just(0)),
    st.tuples(st.just("forget"), st.just(""), st.just(0)),
)


@drawn(st.lists(STEPS, min_size=5, max_size=25), st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_nobody_gets_more_than_the_newest_root_on_the_chain_gives(
    tmp_path_factory: pytest.TempPathFactory, program: list[tuple[str, str, int]], seed: int
) -> None:
    """Earn, publish, put on the chain and claim, by anybody, with proofs of any root or of none, in any order."""
    path = tmp_path_factory.mktemp("town")
    town = ClaimTown(path, Faults(seed, fail=20, time_out=20), is_funded=seed % 3 > 0)
    known: list[tuple[Claim, tuple[str, ...]]] = []
    for step, asset, number in program:
        _take(town, step, asset, number, known)
        _look(town, known)
        _is_as_it_must_be(town)
    town.turns(12)

    assert recorded(town) == paid(town)
    assert town.judge(path) == []
    town.engine.dispose()


def _take(town: ClaimTown, step: str, asset: str, number: int, known: list[tuple[Claim, tuple[str, ...]]]) -> None:
    match step:
        case "fee":
            town.receive(number, asset)
        case "night":
            town.sleep()
        case "claim" if known:
            row, proof = known[number % len(known)]
            forged = Claim(row.account, row.token, row.cumulative + number % 2)
            town.send(forged, proof, (PAYEE, OWNER)[number % 2])
            town.chain.mine()
        case "lose":
            town.chain.lose()
        case "forget":
            # Whoever works off the lists was killed.
            town.wired = wired(town.reached)
            town.sent.clear()
        case _:
            town.turns(1)


def _look(town: ClaimTown, known: list[tuple[Claim, tuple[str, ...]]]) -> None:
    """Holders remember every proof that they were ever told."""
    with town.views() as connection:
        for payee in (PAYEE, OWNER):
            for state in claim_of(payee, town.chain.tokens, connection):
                if state.claim is not None and state.root is not None and (state.claim, state.proof) not in known:
                    assert proves(state.claim, [bytes.fromhex(node[2:]) for node in state.proof], state.root.root)
                    known.append((state.claim, state.proof))


def _is_as_it_must_be(town: ClaimTown) -> None:
    """Recorded <= paid <= the row of the newest root that was published <= earned."""
    got, told = paid(town), recorded(town)
    for payee in (PAYEE, OWNER):
        with town.views() as connection:
            states = {state.asset: state for state in claim_of(payee, town.chain.tokens, connection)}
        for asset in (SPACE, USD):
            have = got.get((payee, asset), 0)
            assert told.get((payee, asset), 0) <= have
            assert have <= (states[asset].earned if asset in states else 0)
