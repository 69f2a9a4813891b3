"""Rewards as rows: whatever the size of the batches the same, and every question answered from them alone."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from adapters.views.parked import parked_streams
from contracts import Event
from contracts.rewards import (
    BUCKET_UNITS,
    YEAR_SECONDS,
    ChainHash,
    GrantCreated,
    GrantId,
    Recipient,
    Released,
    grant_stream,
)
from domain.rewards.claims import NATIVE_TOKEN, digest_of, proves, table
from projections.rewards import (
    buckets_at,
    claim_of,
    earned_until,
    earnings_of,
    epoch_of,
    grants_at,
    rewards,
    split_of,
    supply_at,
    yield_of,
)
from projections.rewards.tables import TABLES
from tests.chance import seeds
from tests.commands.test_rewards import FREE_MODEL, GENESIS, PAYEE, STAKE, N, a_whole_day, earned, root_of
from tests.databases import upgrade
from tests.projections.records import chain

SHARD = "rewards.events/0"
HISTORY: Sequence[tuple[str, Event]] = a_whole_day().history


class Shard:
    """The history as a source."""

    def __init__(self, history: Sequence[tuple[str, Event]] = HISTORY) -> None:
        self.values = chain(SHARD, history)

    async def read(self, shard: str, start: int, end: int) -> Any:
        for n, value in enumerate(self.values[start:end], start):
            yield [Published(n, n, value, "")]


def folded(path: Path, history: Sequence[tuple[str, Event]] = HISTORY) -> Engine:
    engine = engine_for(f"sqlite:///{path}/views.db")
    upgrade(engine, "views")
    projector = Projector(engine, rewards())
    projector.claim([SHARD])
    projector.apply({SHARD: [Published(n, n, value, "") for n, value in enumerate(Shard(history).values)]})
    with reading(engine) as connection:
        assert not parked_streams(connection, "rewards")
    return engine


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with reading(folded(tmp_path_factory.mktemp("views"))) as connection:
        yield connection


def test_how_a_receipt_was_divided(views: Connection) -> None:
    [row] = split_of("r2", views)

    assert (row["price"], row["protocol_fee"], row["model"], row["model_owner"]) == (1_000_000, 10_000, FREE_MODEL, None)
    shares = [row[name] for name in ("provider_share", "model_share", "oracle_share", "treasury_share", "burn", "kept")]
    assert shares == [600_000, 200_000, 100_000, 100_000, 22_000, 88_000]
    assert row["asset"] == "SPACE"
    assert split_of("unknown", views) == []


def test_what_a_wallet_earned_from_fees_in_an_epoch(views: Connection) -> None:
    assert earnings_of(PAYEE, N, views) == {"SPACE": 1_200_000}
    assert earnings_of(PAYEE, N + 1, views) == {}


def test_supply_at_every_version_of_the_emission(views: Connection) -> None:
    """Declared, issued, opened, minted, burned, allotted, issued, returned."""
    assert (supply_at(0, views).issued, supply_at(2, views).issued) == (0, 10**12)
    assert supply_at(4, views).issued == 10**12 + 54_794_520
    assert supply_at(5, views).circulating == 10**12 + 54_794_520 - 4_400
    now = supply_at(None, views)
    assert (now.issued, now.burned) == (10**12 + 54_794_520 + 100, 4_400)


def test_buckets_show_what_is_issued_set_aside_and_left(views: Connection) -> None:
    found = {bucket.bucket: bucket for bucket in buckets_at(GENESIS + timedelta(seconds=YEAR_SECONDS), views)}

    assert set(found) == set(BUCKET_UNITS)
    assert (found["treasury"].issued, found["treasury"].set_aside) == (100, 0)
    assert found["treasury"].left == BUCKET_UNITS["treasury"] - 100
    assert (found["liquidity"].left, found["providers"].issued) == (0, 54_794_520)
    assert found["providers"].ceiling == BUCKET_UNITS["providers"] // 3
    assert sum(bucket.issued for bucket in found.values()) == supply_at(None, views).issued


def test_an_epoch_shows_pool_owed_paid_and_its_factor(views: Connection) -> None:
    found = epoch_of(N, views)

    assert found is not None
    assert (found.state, found.pool, found.owed, found.paid, found.lapsed) == ("confirmed", 54_794_520, 1_737, 1_737, 0)
    assert found.factor == 1_000_000
    assert epoch_of(N + 1, views) is None


def test_a_stakes_yield_day_by_day(views: Connection) -> None:
    [row] = yield_of(STAKE.rpartition("/")[2], views)

    assert (row["epoch"], row["owed"], row["paid"], row["lapsed"], row["multiplier"]) == (N, 1_737, 1_737, 0, 125)


def test_a_claim_comes_with_a_proof_that_the_contract_takes(views: Connection) -> None:
    [state] = claim_of(PAYEE, {}, views)

    assert (state.earned, state.claimed) == (1_201_737, 1_000_000)
    assert state.claim is not None
    assert state.root is not None
    assert state.claim.token == NATIVE_TOKEN
    assert proves(state.claim, [bytes.fromhex(node[2:]) for node in state.proof], root_of_views())
    assert (state.root.root, state.root.epoch, state.root.block, state.waiting) == (root_of_views(), N, 7, None)
    assert state.claimable == 201_737
    assert claim_of(f"0x{77:040x}", {}, views) == []


def root_of_views() -> ChainHash:
    return root_of(earned()).root


def test_the_table_of_a_root_is_found_again_from_what_was_earned(views: Connection) -> None:
    rows = table(earned_until(N, views), {})

    assert digest_of(rows) == root_of(earned()).table_digest
    assert earned_until(N - 1, views) == {}


def test_a_grant_shows_what_is_open(views: Connection) -> None:
    [state] = grants_at(GENESIS, views)

    assert (state.grant, state.released, state.releasable, state.revoked) == ("audits", 100, 0, True)
    assert (state.milestones_open, state.next_at) == ((2,), None)


def test_a_linear_grant_shows_its_next_tranche(tmp_path: Path) -> None:
    stream = grant_stream(GrantId("team"))
    created = GrantCreated(
        bucket="team", beneficiary=Recipient("spaceos.vest"), total=36, kind="linear", start=GENESIS,
        duration_seconds=36 * 2_628_000, cliff_seconds=2 * 2_628_000,
    )  # fmt: skip
    engine = folded(tmp_path, [(stream, created), (stream, Released(amount=3, released_total=3))])
    tranche = timedelta(seconds=2_628_000)

    with reading(engine) as connection:
        [early] = grants_at(GENESIS, connection)
        [later] = grants_at(GENESIS + 5 * tranche, connection, "team")
        [over] = grants_at(GENESIS + 40 * tranche, connection)
    assert (early.releasable, early.next_at) == (-3, GENESIS + 2 * tranche)
    assert (later.releasable, later.next_at) == (2, GENESIS + 6 * tranche)
    assert (over.releasable, over.next_at) == (33, None)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_every_batch_size_gives_one_digest_and_every_event_twice_changes_nothing(tmp_path: Path, size: int) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    projector, values = Projector(engine, rewards()), Shard().values
    projector.claim([SHARD])
    for start in range(0, len(values), size):
        piece = [Published(start + n, start + n, v, "") for n, v in enumerate(values[start : start + size])]
        projector.apply({SHARD: piece})
        projector.apply({SHARD: piece})

    with scratch_tables(rewards(), "replay_test") as scratch, reading(engine) as connection:
        fold = ScratchFold(scratch, batch_records=1)
        asyncio.run(fold.fold(Shard(), {SHARD: len(values)}))  # type: ignore[arg-type]
        assert fold.digest() == digest(connection, rewards())
    engine.dispose()


@pytest.mark.chance
@pytest.mark.parametrize("seed", seeds(3))
def test_streams_of_several_shards_fold_to_the_same_rows_in_any_interleaving(tmp_path: Path, seed: int) -> None:
    """A row is written from one stream only, so no order between streams matters."""
    chance = random.Random(seed)
    by_stream: dict[str, list[tuple[str, Event]]] = {}
    for stream, event in HISTORY:
        by_stream.setdefault(stream, []).append((stream, event))
    waiting = list(by_stream.values())
    mixed: list[tuple[str, Event]] = []
    while waiting:
        chosen = chance.choice(waiting)
        mixed.append(chosen.pop(0))
        waiting = [events for events in waiting if events]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, other = folded(tmp_path / "a"), folded(tmp_path / "b", mixed)

    with reading(plain) as one, reading(other) as two:
        for found in TABLES:
            times = {"at", "since", "closed_at", "released_at", "claimed_at"}
            columns = [column for column in found.columns if column.name not in times]
            assert _rows(one, columns) == _rows(two, columns)


def _rows(connection: Connection, columns: Any) -> list[Any]:
    return sorted(connection.execute(select(*columns)).all(), key=str)
