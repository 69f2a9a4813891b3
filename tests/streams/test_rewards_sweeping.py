"""What fees leave to the DAO reaches its account once, whatever the pace at which the ledger follows."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.keys import verify
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from commands import Asked
from commands.treasury import Treasury
from contracts import Amount, AssetName, CommandRecord, Event, parse_command, uuid7
from contracts.rewards import FeeTaken, Left, Reference, fee_stream
from contracts.treasury import AccountId, AccountOpened, Credit, OpenAccount, account_stream
from projections.ledger import balance_of, ledger
from projections.rewards import rewards
from streams import Task
from streams.rewards.sweeping import sweep_the_daos_share
from tests.adapters.shards import START
from tests.commands.test_identity import Paper
from tests.commands.test_rewards import ALICE, N, earned
from tests.databases import upgrade
from tests.projections.records import chain
from tests.streams.desks import Desks


class Books:
    """Rewards' history in its view and in the ledger, and the treasury that is asked."""

    now: datetime = START + timedelta(days=400)

    def __init__(self, engine: Engine) -> None:
        self.engine, self.treasury = engine, Treasury(Paper(), verify)
        self.desks = Desks(engine)
        self.history: dict[str, list[tuple[str, Event]]] = {"rewards": list(earned().history), "treasury": []}
        self.seen: dict[tuple[str, str], int] = {}
        self.views = [Projector(engine, rewards()), Projector(engine, ledger())]

    def show(self, *contexts: str) -> None:
        """Both views catch up with these contexts."""
        for name, view in zip(("rewards", "ledger"), self.views, strict=True):
            shards = [f"{context}.events/0" for context in contexts if name == "ledger" or context == "rewards"]
            view.claim([f"{context}.events/0" for context in (("rewards",) if name == "rewards" else ("rewards", "treasury"))])
            for shard in shards:
                values = chain(shard, self.history[shard.partition(".")[0]])
                first = self.seen.get((name, shard), 0)
                view.apply({shard: [Published(n, n, values[n], "") for n in range(first, len(values))]})
                self.seen[name, shard] = len(values)

    def plan(self) -> list[Task]:
        due = self.desks.plan("sweep_the_daos_share", sweep_the_daos_share, self.now, {})
        return [task for task in due if isinstance(task, Task)]

    def send(self, task: Task) -> None:
        value = CommandRecord.encode(
            task.command, subject=task.subject, source=ALICE, network="dev", id=uuid7(1, bytes(10)), time=self.now
        )  # fmt: skip
        record = parse_command(value, task.subject.encode(), [("signature", b"x")])
        aggregate = self.treasury.decide(task.command, Asked(record, self.now, ALICE))
        assert aggregate is not None
        self.history["treasury"] += [(task.subject, event) for event in aggregate.pending]
        aggregate.pending = []

    def balance(self, account: str, asset: str) -> int:
        with reading(self.engine) as connection:
            return balance_of(account, asset, connection)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    yield Books(engine)
    engine.dispose()


def test_the_daos_share_of_every_asset_reaches_its_account(books: Books) -> None:
    books.show("rewards", "treasury")
    kept = {asset: books.balance("treasury:dao", asset) for asset in ("SPACE", "USD.s")}
    assert kept == {"SPACE": 2 * 88_000, "USD.s": 8 * 10**17}

    tasks = books.plan()
    for task in tasks:
        books.send(task)
    books.show("treasury")

    assert [type(task.command) for task in tasks] == [OpenAccount, Credit] * 2
    assert {asset: books.balance("treasury:dao", asset) for asset in kept} == {"SPACE": 0, "USD.s": 0}
    assert {asset: books.balance("account:dao", asset) for asset in kept} == kept
    assert books.plan() == []


def test_planned_again_before_the_ledger_shows_it_the_commands_are_the_same_and_move_nothing_more(books: Books) -> None:
    books.show("rewards", "treasury")

    first, second = books.plan(), books.plan()
    for task in (*first, *second):
        books.send(task)
    books.show("treasury")

    assert [(task.key, task.command) for task in first] == [(task.key, task.command) for task in second]
    assert books.balance("treasury:dao", "SPACE") == 0


def test_what_comes_in_after_a_sweep_waits_for_the_next_epoch(books: Books) -> None:
    """One sweep a closed epoch, however often the list is looked at."""
    for n in range(60):
        opened = AccountOpened(owner=AccountId(f"user{n}"), asset=AssetName("SPACE"))
        books.history["treasury"].append((account_stream(f"user{n}", "SPACE"), opened))
    books.show("rewards", "treasury")
    for task in books.plan():
        books.send(task)
    books.history["rewards"].append((VAULT, a_taken_fee()))
    books.show("rewards", "treasury")

    assert books.balance("treasury:dao", "SPACE") == 80
    assert books.plan() == []


VAULT = fee_stream("vault", "dao", "SPACE")


def a_taken_fee() -> FeeTaken:
    return FeeTaken(
        amount=Amount.of("SPACE", 100), source="vault", reference=Reference("v1"), epoch=N, burn=20, buyback=0, kept=80,
        left=Left(),
    )  # fmt: skip


def test_before_an_epoch_is_closed_nothing_is_swept(books: Books) -> None:
    names = [type(event).__name__ for _, event in books.history["rewards"]]
    books.history["rewards"] = books.history["rewards"][: names.index("EpochClosed")]
    books.show("rewards", "treasury")

    assert books.balance("treasury:dao", "SPACE") > 0
    assert books.plan() == []
