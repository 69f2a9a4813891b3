"""What is remembered of a million references need not be at hand: a stream decides from its shelves as if it were."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import OperationalError

import ops.worker.aggregates as aggregates
from adapters.keys import verify
from adapters.sql import tables
from adapters.sql.store import Fenced, StreamMoved
from commands import Asked, Grant
from commands.treasury import Treasury
from contracts import Address, Amount, AssetName, Command, Digest, Event, Label, instant, parse_event, partition_of, read_event
from contracts.treasury import (
    AccountId,
    AttestReserves,
    BankReference,
    Burn,
    Capture,
    ConfigureMinter,
    ConfirmMint,
    Credit,
    Debit,
    FailMint,
    Hold,
    HoldId,
    LedgerAccount,
    MarkIssued,
    Mint,
    ObserveDeposit,
    OpenAccount,
    Purpose,
    Rail,
    ReceiveBacking,
    Reference,
    RefundDeposit,
    Release,
    SettleDeposit,
    Transaction,
    WithdrawalId,
    WriteDownBacking,
    account_stream,
    deposit_stream,
    stablecoin_stream,
)
from domain import Refused
from domain.treasury import ReferenceUsed
from domain.treasury.accounts import Account
from ops.worker.forms import form_of
from tests.domain.given import digest
from tests.worker.world import FAR, PARTITIONS, START, Sent, World, alice, signed

ROLES = ("governor", "attestor", "process", "minter", "relayer", "burner", "cashier")
GRANTS = [Grant(alice.did, f"treasury.{role}", "treasury/", FAR) for role in ROLES]
COIN = stablecoin_stream("USD.s")
CENT = 10**16
WALLET = Address("0x" + "1" * 40)
COUNTER = LedgerAccount("deposits:test")


def elsewhere(stream: str) -> int:
    return 1 - partition_of(stream, PARTITIONS)


def named(partition: int, name: Any) -> str:
    """The first of the names whose stream is in the partition."""
    return next(str(n) for n in range(99) if partition_of(name(str(n)), PARTITIONS) == partition)


def account(owner: str) -> str:
    return account_stream(AccountId(owner), "USD.s")


OWNERS = [named(partition, account) for partition in range(PARTITIONS)]
ACCOUNTS = [account(owner) for owner in OWNERS]
# The coin is in another shard than the deposit that looks at it.
DEPOSIT = named(elsewhere(COIN), lambda name: deposit_stream("bank", name))
DEPOSIT_STREAM = deposit_stream("bank", DEPOSIT)
DEPOSIT_ID = DEPOSIT_STREAM.split("/", 2)[-1]


def coins(cents: int) -> Amount:
    return Amount.of("USD.s", cents * CENT)


def cents(count: int) -> Amount:
    return Amount.of("USD.bank", count)


def tx(name: object) -> Transaction:
    return Transaction("0x" + digest(str(name)))


def credit(reference: object, amount: int = 1, to: str = ACCOUNTS[0]) -> Sent:
    return ask(Credit(amount=coins(amount), counter=COUNTER, reference=Reference(f"r{reference}")), to)


def ask(command: Command, stream: str) -> Sent:
    return signed(command, stream)


def opened(world: World) -> World:
    """Accounts, a coin that may be minted, and a deposit."""
    for owner, stream in zip(OWNERS, ACCOUNTS, strict=True):
        world.publish(ask(OpenAccount(owner=AccountId(owner), asset=AssetName("USD.s")), stream))
    minter = ConfigureMinter(minter=alice.did, allowance=coins(10**9))  # type: ignore[arg-type]
    said = AttestReserves(bank=cents(50), owed=cents(0), as_of=START, statement=Digest(digest("statement")))
    world.publish(ask(minter, COIN), ask(said, COIN))
    seen = ObserveDeposit(
        rail=Rail("bank"), reference=BankReference(DEPOSIT), amount=cents(3), booked_at=START, value_date=START,
        source=Digest(digest("source")), owner=AccountId("alice"), to=WALLET,
    )  # fmt: skip
    world.publish(ask(seen, DEPOSIT_STREAM))
    world.publish(ask(SettleDeposit(net=cents(3), fee=cents(0), available_on=START), DEPOSIT_STREAM))
    return world


@pytest.fixture
def treasury(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Its streams are in one worker's hands, which writes a snapshot every ten versions."""
    monkeypatch.setattr(aggregates, "SNAPSHOT_EVERY", 10)
    world.store.plant([])
    with world.engine.begin() as connection:
        connection.execute(text("delete from authority_grants"))
        connection.execute(text("delete from authority_keys"))
        connection.execute(text("delete from deployment"))
    return opened(World(world.engine, context="treasury", grants=GRANTS))


def rows(world: World, stream: str = ACCOUNTS[0]) -> dict[tuple[str, str], Any]:
    table = tables.shelf_entries
    with world.engine.connect() as connection:
        found = connection.execute(select(table).where(table.c.stream == stream)).all()
    return {(row.shelf, row.key): json.loads(bytes(row.state)) for row in found}


def refusals(world: World, *sent: Sent) -> list[str | None]:
    return [world.refusal(one) for one in sent]


# As if everything were at hand


class Hasty(Treasury):
    """Records, and then thinks better of it: what was recorded has to be taken back."""

    def handle(self, command: Any) -> None:
        super().handle(command)
        if self.addressed is not None and self.addressed.pending and "hasty" in json.dumps(command.model_dump(mode="json")):
            raise ReferenceUsed("on second thoughts")


Hasty.context = "treasury"


class Naive:
    """The same service over aggregates that are made anew from all their events each time."""

    def __init__(self) -> None:
        self.history: dict[str, list[Event]] = {}
        self.service = Hasty(self, verify)

    def load(self, kind: type[Any], stream: str) -> Any:
        return aggregates.replayed(kind(stream), self.history.get(stream, ()))

    def decide(self, asked: Asked, command: Command) -> Any:
        try:
            addressed = self.service.decide(command, asked)
        except Refused as refused:
            return type(refused).__name__
        assert addressed is not None
        self.history.setdefault(addressed.stream, []).extend(addressed.pending)
        return [json.loads(event.json_bytes()) for event in addressed.pending]


_references = st.sampled_from(["r1", "r2", "r3", "hasty"]).map(Reference) | st.just(Reference(DEPOSIT_ID))
_holds = st.sampled_from(["h1", "h2", "h3", "hasty"]).map(HoldId)
_coins = st.integers(1, 3).map(coins)
_cents = st.integers(1, 3).map(cents)
_transactions = st.sampled_from(["t1", "t2"]).map(tx)

_account_commands = st.one_of(
    st.builds(Credit, amount=_coins, counter=st.just(COUNTER), reference=_references),
    st.builds(Debit, amount=_coins, counter=st.just(COUNTER), reference=_references),
    st.builds(
        Hold, hold=_holds, amount=_coins, purpose=st.just(Purpose("block")), expires_at=st.just(START + timedelta(hours=1))
    ),
    st.builds(Capture, hold=_holds, amount=_coins, counter=st.just(COUNTER)),
    st.builds(Release, hold=_holds),
)
_coin_commands = st.one_of(
    st.builds(ReceiveBacking, amount=_cents, reference=_references, origin=st.sampled_from(["deposit", "capital"])),
    st.builds(WriteDownBacking, amount=_cents, reference=_references, cause=st.just("chargeback")),
    st.builds(Mint, amount=_coins, reference=_references, to=st.just(WALLET)),
    st.builds(ConfirmMint, reference=_references, transaction=_transactions, block=st.just(1)),
    st.builds(FailMint, reference=_references, transaction=_transactions, cause=st.just(Label("dropped"))),
    st.builds(Burn, amount=_coins, withdrawal=st.sampled_from(["a.1", "a.2"]).map(WithdrawalId), transaction=_transactions,
              block=st.just(1)),
)  # fmt: skip
_deposit_commands = st.one_of(
    st.just(MarkIssued(reference=Reference(DEPOSIT_ID))),
    st.builds(RefundDeposit, amount=_cents, reference=_references),
)
_asked = st.one_of(
    st.tuples(_account_commands, st.sampled_from(ACCOUNTS)),
    st.tuples(_coin_commands, st.just(COIN)),
    st.tuples(_deposit_commands, st.just(DEPOSIT_STREAM)),
)


class Deciding(RuleBasedStateMachine):
    """Two workers that take each shard from the other as they like; what they do not know of is theirs to find out."""

    make: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.world: World = opened(self.make())
        self.workers = [self.world.worker() for _ in range(2)]
        for worker in self.workers:
            worker.decider._services["treasury"] = Hasty(worker.decider.aggregates, verify)
        self.naive = Naive()
        self.sent: list[tuple[Sent, Command]] = []
        self.judged = 0

    @initialize()
    def begin(self) -> None:
        for stream in ACCOUNTS:
            self.world.publish(credit("first", 20, stream))
        self.work(0, [0, 1], 1000)

    @rule(asked=st.lists(_asked, min_size=4, max_size=16), n=st.integers(0, 1), limit=st.integers(1, 8))
    def ask(self, asked: Sequence[tuple[Command, str]], n: int, limit: int) -> None:
        """Whatever came, in batches of so many."""
        for command, stream in asked:
            self.world.publish(ask(command, stream))
        while self.work(n, [0, 1], limit):
            pass

    @rule(asked=_asked, n=st.integers(0, 1), partition=st.integers(0, 1))
    def ask_of_one_shard(self, asked: tuple[Command, str], n: int, partition: int) -> None:
        """Its worker may remember streams of the other shard that have moved since."""
        self.world.publish(ask(*asked))
        self.work(n, [partition], 1)

    def work(self, n: int, partitions: Sequence[int], limit: int) -> bool:
        """A batch. Whoever is void starts again, as the loop does."""
        worker = self.workers[n]
        for _ in range(3):
            try:
                chunks = [chunk for chunk in worker.chunks(limit) if chunk.shard.partition in partitions]
                if chunks:
                    sealed = worker.decider.commit(chunks)
                    worker.shards.update({after.partition: after for _, after in sealed.shards})
                    self.judge(chunks)
                return bool(chunks)
            except (Fenced, StreamMoved):
                worker.recover()
        raise AssertionError("a worker that has read everything again is void again")

    @rule(n=st.integers(0, 1))
    def die_before_the_commit(self, n: int) -> None:
        """All is decided and signed, and nothing has happened."""
        from ops.worker.deciding import _Batch

        worker = self.workers[n]
        worker.recover()
        if chunks := worker.chunks(4):
            _Batch(worker.decider, chunks).decide().seal(START)
        worker.recover()

    @rule(n=st.integers(0, 1))
    def forget(self, n: int) -> None:
        self.workers[n].recover()

    def judge(self, chunks: Sequence[Any]) -> None:
        """The naive one decides the same commands at the same time."""
        events = {e["id"]: e["data"] for e in self.world.events()}
        outcomes = {o["causationid"]: o["data"] for o in self.world.outcomes()}
        for chunk in chunks:
            for checked in chunk.records:
                assert checked.record is not None
                assert checked.command is not None
                said = outcomes[checked.record.id]
                ours = said["refusal"]["name"] if "refusal" in said else [events[e["id"]] for e in said["events"]]
                assert ours == self.naive.decide(Asked(checked.record, instant(said["time"])), checked.command)


@pytest.mark.parametrize("examples", [15])
def test_streams_decide_from_their_shelves_as_from_all_that_ever_happened(
    world: World, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    """Whoever has them at hand, wherever batches begin and end, and whatever is lost on the way."""
    monkeypatch.setattr(aggregates, "SNAPSHOT_EVERY", 3)

    class Ours(Deciding):
        @staticmethod
        def make() -> World:
            with world.engine.begin() as connection:
                for table in reversed(tables.METADATA.sorted_tables):
                    connection.execute(table.delete())
            return World(world.engine, context="treasury", grants=GRANTS)

    run_state_machine_as_test(
        Ours,
        settings=settings(
            max_examples=examples, stateful_step_count=12, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


# What is written, and what is read


def test_a_snapshot_leaves_out_what_is_on_the_shelves(treasury: World) -> None:
    treasury.publish(*(credit(n, n + 1) for n in range(9)))

    treasury.worker().work_all()

    [row] = snapshots(treasury)
    assert (row.stream, row.version) == (ACCOUNTS[0], 10)
    assert json.loads(bytes(row.state)).keys().isdisjoint({"references", "holds"})
    assert rows(treasury) == {("references", f"r{n}"): (n + 1) * CENT for n in range(9)}


def snapshots(world: World) -> Sequence[Any]:
    with world.engine.connect() as connection:
        return connection.execute(select(tables.snapshots)).all()


def test_an_aggregate_is_the_same_from_its_snapshot_and_from_its_events(treasury: World) -> None:
    treasury.publish(*(credit(n) for n in range(14)))
    until = START + timedelta(hours=1)
    hold = Hold(hold=HoldId("h"), amount=coins(3), purpose=Purpose("block"), expires_at=until)
    treasury.publish(ask(hold, ACCOUNTS[0]))
    treasury.publish(ask(Capture(hold=HoldId("h"), amount=coins(2), counter=COUNTER), ACCOUNTS[0]))
    treasury.worker().work_all(limit=3)

    kept = aggregates.Aggregates(treasury.store).load(Account, ACCOUNTS[0])

    _, _, values = treasury.store.streams([ACCOUNTS[0]], snapshots=False)[ACCOUNTS[0]]
    whole = aggregates.replayed(Account(ACCOUNTS[0]), [read_event(parse_event(value).document) for value in values])
    assert (kept.version, whole.version) == (17, 17)
    assert len(kept.references.entries) < 14
    for key in [*(f"r{n}" for n in range(15)), "h"]:
        assert kept.references.get(key) == whole.references.get(key)
        assert kept.holds.get(key) == whole.holds.get(key)
    assert {**vars(kept), "references": 0, "holds": 0} == {**vars(whole), "references": 0, "holds": 0}


def test_what_a_snapshot_writes_and_a_start_reads_does_not_grow_with_what_is_remembered(treasury: World) -> None:
    """Ten references or three hundred: a snapshot tells of the ten that are new."""
    worker, written = treasury.worker(), []
    read = [_bytes_read(treasury)]
    for n in range(100, 400, 10):
        treasury.publish(*(credit(n + one) for one in range(10)))
        sealed = worker.work()
        assert sealed is not None
        written.append((len(sealed.snapshots), len(sealed.shelved), sum(len(row.state) for row in sealed.snapshots)))
        read.append(_bytes_read(treasury))

    assert len(rows(treasury)) > 290
    assert {(count, entries) for count, entries, _ in written[1:]} == {(1, 10)}
    assert max(size for _, _, size in written) - min(size for _, _, size in written) < 10
    assert max(read[2:]) - min(read[2:]) < 10


def _bytes_read(world: World) -> int:
    """By a worker that begins and is asked for a reference that is not at hand, of what there is of the stream."""
    fresh = aggregates.Aggregates(world.store)
    read = _Counting(world.store)
    fresh._store = fresh._shelves._store = read  # type: ignore[assignment]
    assert fresh.load(Account, ACCOUNTS[0]).references.get("nothing") is None
    return read.bytes


class _Counting:
    def __init__(self, store: Any) -> None:
        self._store, self.bytes = store, 0

    def streams(self, *names: Any, **more: Any) -> Any:
        found = self._store.streams(*names, **more)
        self.bytes += sum(len(snapshot.state) for snapshot, _, _ in found.values() if snapshot is not None)
        return found

    def shelved(self, *asked: Any) -> Any:
        found = self._store.shelved(*asked)
        self.bytes += sum(len(row.state) for row in found)
        return found


def test_what_is_no_longer_on_a_shelf_is_no_longer_a_row(treasury: World) -> None:
    """A mint that failed leaves its reference free; before and after snapshots."""
    mint = Mint(amount=coins(1), reference=Reference("m"), to=WALLET)
    fail = FailMint(reference=Reference("m"), transaction=tx("t"), cause=Label("dropped"))
    worker = treasury.worker()
    treasury.publish(ask(mint, COIN), *(configured(n) for n in range(10)))
    worker.work_all()
    assert ("issues", "m") in rows(treasury, COIN)

    treasury.publish(ask(fail, COIN), *(configured(n) for n in range(10, 20)))
    worker.work_all()
    again = ask(mint, COIN)
    treasury.publish(again)
    worker.work_all()

    assert rows(treasury, COIN) == {("failed", tx("t")): "m"}
    assert treasury.refusal(again) is None


def configured(n: int) -> Sent:
    return ask(ConfigureMinter(minter=alice.did, allowance=coins(10**9 + n)), COIN)  # type: ignore[arg-type]


def test_a_batch_asks_once_for_what_its_commands_name(treasury: World) -> None:
    """However many commands and streams, and whether or not what they name is there."""
    for n, stream in enumerate(ACCOUNTS * 12):
        treasury.publish(credit(n, to=stream))
    worker = treasury.worker()
    worker.work_all()
    repeated = [credit(n, to=ACCOUNTS[n % 2]) for n in range(6)]
    fresh = [credit(n, to=stream) for n, stream in enumerate(ACCOUNTS * 3, start=100)]
    treasury.publish(*repeated, *fresh)

    with statements(treasury) as said:
        worker.work()

    assert sum(statement.lstrip().startswith("with asked") for statement in said) == 1
    assert refusals(treasury, *repeated, *fresh) == [None] * 12
    assert sum(1 for event in treasury.events() if event["type"] == "treasury.Credited") == 24 + 6


def test_a_stream_that_is_only_looked_at_is_asked_once_for_what_the_others_name(treasury: World) -> None:
    """A deposit's commands look for its coins; here so many that none is fetched by itself."""
    treasury.publish(*(configured(n) for n in range(10)))
    names = [name for name in map(str, range(60)) if partition_of(deposit_stream("bank", name), PARTITIONS) != elsewhere(COIN)]
    streams = [deposit_stream("bank", name) for name in names]
    for name, stream in zip(names, streams, strict=True):
        seen = ObserveDeposit(
            rail=Rail("bank"), reference=BankReference(name), amount=cents(1), booked_at=START, value_date=START,
            source=Digest(digest(name)),
        )  # fmt: skip
        treasury.publish(ask(seen, stream))
    worker = treasury.worker()
    worker.work_all()
    back = [ask(RefundDeposit(amount=cents(1), reference=Reference("back")), stream) for stream in streams]
    treasury.publish(*back)

    with statements(treasury) as said:
        worker.work()

    assert sum(statement.lstrip().startswith("with asked") for statement in said) == 2
    assert refusals(treasury, *back) == [None] * len(back)


@contextmanager
def statements(world: World, note: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """What is said to the database meanwhile; `note` may fail it."""
    said: list[str] = []

    def listen(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        (note or said.append)(statement)

    event.listen(world.engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(world.engine, "before_cursor_execute", listen)


# What does not belong together is not read together


def test_a_snapshot_of_another_form_and_all_its_pieces_give_way_to_the_next(treasury: World) -> None:
    """The stream is read from its events; what was written in the other form, none knows what of it is still true."""
    worker = treasury.worker()
    treasury.publish(*(credit(n) for n in range(12)))
    worker.work_all()
    old = {"form": "Account:of-last-year", "state": b'{"what": "ever"}'}
    strange = {"stream": ACCOUNTS[0], "key": "r3", "shelf": "of-last-year", "state": b"?"}
    with treasury.engine.begin() as connection:
        connection.execute(update(tables.snapshots).values(old))
        connection.execute(update(tables.shelf_entries).values(state=b"?"))
        connection.execute(tables.shelf_entries.insert().values(strange))

    repeated, other = credit(3), credit(3, 2)
    treasury.publish(repeated, other, *(credit(n) for n in range(20, 30)))
    treasury.worker().work_all()

    assert refusals(treasury, repeated, other) == [None, "ReferenceUsed"]
    assert {key for _, key in rows(treasury)} == {f"r{n}" for n in (*range(12), *range(20, 30))}
    assert snapshots(treasury)[0].form == form_of(Account).name


def test_a_zombie_that_reads_what_belongs_to_a_newer_snapshot_is_void(treasury: World) -> None:
    """Its aggregate stands on the older one: between them lies all that it does not know."""
    zombie, heir = treasury.worker(), treasury.worker()
    treasury.publish(*(credit(n) for n in range(12)))
    zombie.work_all()
    heir.recover()
    treasury.publish(*(credit(n) for n in range(20, 30)))
    heir.work_all()
    late = credit(21, 7)
    treasury.publish(late)

    with pytest.raises((StreamMoved, Fenced)):
        zombie.work()
    zombie.recover()
    zombie.work()

    assert refusals(treasury, late) == ["ReferenceUsed"]


def test_a_stream_that_is_looked_at_is_not_read_from_two_snapshots(treasury: World) -> None:
    """It is another worker's, and this one remembers it from before."""
    mine, other = treasury.worker(elsewhere(COIN)), treasury.worker(partition_of(COIN, PARTITIONS))
    treasury.publish(*(configured(n) for n in range(10)))
    other.work_all()
    mark = MarkIssued(reference=Reference(DEPOSIT_ID))
    early, late = ask(mark, DEPOSIT_STREAM), ask(mark, DEPOSIT_STREAM)
    treasury.publish(early)
    mine.work_all()
    backing = ReceiveBacking(amount=cents(3), reference=Reference(DEPOSIT_ID), origin="capital")
    mint = Mint(amount=coins(3), reference=Reference(DEPOSIT_ID), to=WALLET)
    confirm = ConfirmMint(reference=Reference(DEPOSIT_ID), transaction=tx("t"), block=1)
    treasury.publish(ask(backing, COIN), ask(mint, COIN), ask(confirm, COIN), *(configured(n) for n in range(20, 30)))
    other.work_all()
    treasury.publish(late)

    with pytest.raises(StreamMoved):
        mine.work()
    mine.recover()
    mine.work()

    assert refusals(treasury, early, late) == ["NotMinted", None]


def test_rows_and_their_snapshot_are_of_one_transaction(treasury: World) -> None:
    """Of a batch whose last statement fails, neither is there; and the worker that tries again decides the same."""
    worker = treasury.worker()
    treasury.publish(*(credit(n) for n in range(12)))

    with statements(treasury, fail_at_the_end), pytest.raises(OSError, match="the database is away"):
        worker.work()

    assert (rows(treasury), snapshots(treasury)) == ({}, [])
    worker.recover()
    worker.work_all()
    assert len(rows(treasury)) == 12


def fail_at_the_end(statement: str) -> None:
    if statement.lower().startswith("update shards"):
        raise OSError("the database is away")


def test_a_database_that_does_not_answer_is_no_fault_of_the_command(treasury: World) -> None:
    """Deciding reads: a command that is refused as poison because of that would be refused for ever."""
    worker = treasury.worker()
    treasury.publish(*(credit(n) for n in range(12)))
    worker.work_all()
    sent = credit(3)
    treasury.publish(sent)

    with statements(treasury, fail_at_shelves), pytest.raises(OperationalError):
        worker.work()
    worker.recover()
    worker.work()

    assert treasury.refusal(sent) is None


def fail_at_shelves(statement: str) -> None:
    if "shelf_entries" in statement:
        raise OperationalError(statement, {}, OSError("the database is away"))
