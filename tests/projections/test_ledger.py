"""The ledger against a naive model: whatever is posted, in any batches and twice, every asset sums to zero."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest, parked_streams
from contracts import Amount, Event, Leg
from contracts.rewards import ChainHash, Claimed, EpochMinted
from contracts.treasury import Credited, Debited, LedgerAccount, Reference
from projections.ledger import accounts, balance_in, ledger, postings, trial_balance
from tests.databases import upgrade
from tests.projections.records import chain

SHARD = "treasury.events/0"
ASSETS = ["USD.s", "SPACE", "EUR.s"]

amounts = st.builds(Amount.of, st.sampled_from(ASSETS), st.integers(0, 10**77))
counters = st.sampled_from([LedgerAccount(name) for name in ("fees:clearing", "capital", "due:deposits")])
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Credited, amount=amounts, counter=counters, reference=st.just(Reference("r"))),
    st.builds(Debited, amount=amounts, counter=counters, reference=st.just(Reference("r"))),
    st.builds(
        Claimed, amount=amounts, transaction=st.just(ChainHash("0x" + "a" * 64)), log=st.just(1), claimed=st.just(10**77)
    ),
)  # fmt: skip
streams = st.sampled_from(["treasury/account/a.USD.s", "treasury/account/b.USD.s", "treasury/account/c:1.SPACE"])
histories = st.lists(st.tuples(streams, events), max_size=30)


class Naive:
    """One dictionary; the assignments of accounts written out by hand."""

    def __init__(self) -> None:
        self.held: Counter[tuple[str, str]] = Counter()

    def tell(self, stream: str, event: Any) -> None:
        owner, amount = stream.split("/")[2].split(".")[0], event.amount
        match event:
            case Credited():
                there, here = f"account:{owner}", str(event.counter)
            case Debited():
                there, here = str(event.counter), f"account:{owner}"
            case _:
                there, here = "holders", f"payable:payee:{owner}"
        self.held[there, amount.asset] += amount.units
        self.held[here, amount.asset] -= amount.units


def published(values: list[bytes], start: int = 0) -> list[Published]:
    return [Published(n, n, value, "") for n, value in enumerate(values, start)]


def folded(engine: Engine, values: list[bytes], size: int = 100) -> None:
    projector = Projector(engine, ledger())
    projector.claim([SHARD])
    for start in range(0, len(values), size):
        piece = published(values[start : start + size], start)
        projector.apply({SHARD: piece})
        projector.apply({SHARD: piece})


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    yield engine
    engine.dispose()


def emptied(engine: Engine) -> Engine:
    with engine.begin() as connection:
        for table in ("ledger_balances", "ledger_entries", "positions", "parked"):
            connection.exec_driver_sql(f"delete from {table}")
    return engine


@given(history=histories, size=st.sampled_from([1, 3, 100]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_balances_are_those_of_the_naive_model_and_every_asset_sums_to_zero(
    views: Engine, history: list[tuple[str, Event]], size: int
) -> None:
    naive = Naive()
    for stream, event in history:
        naive.tell(stream, event)

    folded(emptied(views), chain(SHARD, history), size)

    with reading(views) as connection:
        held = {(balance.account, balance.asset): balance.units for balance in accounts(connection)}
        assert {key: units for key, units in held.items() if units} == {k: n for k, n in naive.held.items() if n}
        assert [trial.difference for trial in trial_balance(connection)] == [0] * len(trial_balance(connection))


@given(history=histories)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches_do_not_show(views: Engine, history: list[tuple[str, Event]]) -> None:
    values, found = chain(SHARD, history), set()
    for size in (1, 4, 100):
        folded(emptied(views), values, size)
        with reading(views) as connection:
            found.add(digest(connection, ledger()).sha256)

    assert len(found) == 1


def test_what_moved_is_listed_the_newest_first(views: Engine) -> None:
    account, claims = "treasury/account/a.USD.s", "rewards/earner/0xabc.SPACE"
    credit = Credited(amount=Amount.of("USD.s", 5), counter=LedgerAccount("capital"), reference=Reference("r"))
    claim = Claimed(amount=Amount.of("SPACE", 7), transaction=ChainHash("0x" + "a" * 64), log=1, claimed=7)
    folded(views, chain(SHARD, [(account, credit), (claims, claim)]))

    with reading(views) as connection:
        shown = [(posting.account, posting.units, posting.type) for posting in postings(connection)]
        mine = [posting.units for posting in postings(connection, account="account:a")]
        assert balance_in("capital", "USD.s", connection) == -5
        assert [balance.account for balance in accounts(connection, "payable:")] == ["payable:payee:0xabc"]

    assert shown == [
        ("holders", 7, "rewards.Claimed"), ("payable:payee:0xabc", -7, "rewards.Claimed"),
        ("account:a", 5, "treasury.Credited"), ("capital", -5, "treasury.Credited"),
    ]  # fmt: skip
    assert mine == [5]


class Wrong(Credited):
    """A posting rule with a slip of the pen."""

    wire = Credited.wire

    def legs(self, stream: str) -> list[Leg]:
        return [Leg("capital", "USD.s", 5), Leg("holders", "USD.s", -4)]


def test_a_posting_rule_that_does_not_balance_parks_its_stream_and_posts_nothing(
    views: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is wrong must not make all others wrong."""
    good = Credited(amount=Amount.of("USD.s", 1), counter=LedgerAccount("capital"), reference=Reference("r"))
    bad = EpochMinted.model_validate(
        {"epoch": 1, "until": "2026-01-01T00:00:00Z", "amount": "3", "issued_total": "3"}, context={"from": "wire"}
    )
    monkeypatch.setattr(EpochMinted, "legs", Wrong.legs)
    folded(views, chain(SHARD, [("treasury/account/a.USD.s", good), ("rewards/emission/SPACE", bad)]))

    with reading(views) as connection:
        assert [balance.units for balance in accounts(connection)] == [1, -1]
        assert [parked.stream for parked in parked_streams(connection, "ledger")] == ["rewards/emission/SPACE"]
