"""State, difference and reasons are those of the live fold, from either source, at any batch size, in any interleaving."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, inspect, select

from adapters.audit.signing import sign_head
from adapters.keys import ed25519_signer, verify
from adapters.replay.changes import difference, reasons
from adapters.replay.cuts import BadPosition, Cut, parse_position
from adapters.replay.folding import Check, ScratchFold, unchecked
from adapters.replay.kafka import kafka_source
from adapters.replay.logged import LogSource
from adapters.replay.resolving import resolve
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.replay.streams import NoSuchStream, aggregate_at
from adapters.replay.verifying import NotGenuine, covered_by, signed_by
from adapters.sql import reading
from adapters.tlog.notes import NoteSigner
from adapters.views import Projector, digest, positions_of
from adapters.vouching import vouched_by
from contracts import parse_event, partition_of
from tests.adapters.logs import open_views
from tests.adapters.replay.world import NETWORK, WRITER, SignedShard, World
from tests.adapters.shards import START, broken, tallies, tally_projection

TALLY = tally_projection()
SIGNER = NoteSigner.of("audit.example/test/1", bytes(32))


@pytest.fixture
def world() -> World:
    return World().fill()


@pytest.fixture
def log(world: World, tmp_path: Path) -> LogSource:
    return world.into_log(tmp_path)


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    broken.clear()


def state(source: Any, cut: Cut, *, beside: Engine | None = None, batch: int = 50_000, check: Check = unchecked) -> str:
    """The digest of the tally there."""
    with scratch_tables(TALLY, "replay_test", beside) as scratch:
        fold = ScratchFold(scratch, batch_records=batch)
        asyncio.run(fold.fold(source, cut, check=check))
        return fold.digest().sha256


def live(views: Engine, world: World, cut: Cut, chance: random.Random | None = None) -> str:
    """What the live reader shows after chunks in an order that chance chooses."""
    projector = Projector(views, TALLY)
    projector.claim(world.whole())
    at = dict.fromkeys(world.whole(), 0)
    while at != dict(cut):
        shards = [shard for shard in world.shards if at[shard.name] < cut[shard.name]]
        shard = chance.choice(shards) if chance else shards[0]
        end = min(cut[shard.name], at[shard.name] + (chance.randint(1, 9) if chance else 100))
        projector.apply({shard.name: shard.deliveries(at[shard.name], end)})
        at[shard.name] = end
    with reading(views) as connection:
        return digest(connection, TALLY).sha256


def test_the_state_now_is_the_live_view(world: World, log: LogSource, store_url: str) -> None:
    """On both databases, and with scratch tables on both."""
    views = open_views(store_url)
    shown = live(views, world, world.whole(), random.Random(1))

    assert state(log, world.whole()) == shown
    assert state(log, world.whole(), beside=views) == shown
    views.dispose()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_any_cut_gives_the_live_view_at_it_whatever_the_interleaving(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    world = World().fill(25, seed=seed)
    cut = {name: chance.randint(0, next_) for name, next_ in world.whole().items()}
    log = world.into_log(tmp_path, name=f"audit-{uuid4().hex}")
    shown = set()

    for n in range(3):
        views = open_views(f"sqlite:///{tmp_path}/{uuid4().hex}.db")
        shown.add(live(views, world, cut, random.Random(seed + n)))
        views.dispose()

    assert shown == {state(log, cut)}


def test_every_batch_size_gives_one_digest(world: World, log: LogSource) -> None:
    assert len({state(log, world.whole(), batch=size) for size in (1, 7, 2_000)}) == 1


def test_no_record_behind_the_cut_is_used(world: World, log: LogSource) -> None:
    """The log goes on, the state at the position stays."""
    cut = asyncio.run(resolve(parse_position(world.shards[0].ids[30]), log, world.topics))
    before = state(log, cut)

    with scratch_tables(TALLY, "replay_test") as scratch:
        asyncio.run(ScratchFold(scratch).fold(log, cut))
        with reading(scratch.engine) as connection:
            table = tallies.to_metadata(tallies.metadata.__class__(), name=scratch.names[tallies])
            counted = connection.scalar(select(func.sum(table.c.events)))

    assert counted == sum(cut.values())
    assert state(log, world.whole()) != before == state(log, cut)


def test_the_empty_state_is_that_of_empty_tables(log: LogSource, world: World, tmp_path: Path) -> None:
    views = open_views(f"sqlite:///{tmp_path}/empty.db")

    assert state(log, dict.fromkeys(world.whole(), 0)) == live(views, world, dict.fromkeys(world.whole(), 0))
    views.dispose()


def test_nothing_of_it_stays_and_nothing_live_is_touched(world: World, log: LogSource, store_url: str) -> None:
    views = open_views(store_url)
    before = live(views, world, world.whole()), set(inspect(views).get_table_names())
    with reading(views) as connection:
        positions = positions_of(connection, "tally")

    state(log, {name: next_ // 2 for name, next_ in world.whole().items()}, beside=views)

    with reading(views) as connection:
        assert positions_of(connection, "tally") == positions
        assert not positions_of(connection, "replay_test")
        assert (digest(connection, TALLY).sha256, set(inspect(views).get_table_names())) == before
    views.dispose()


def test_a_fold_that_fails_leaves_nothing_either(world: World, log: LogSource, store_url: str) -> None:
    views = open_views(store_url)
    tables = set(inspect(views).get_table_names())

    with pytest.raises(LookupError):
        state(log, {**world.whole(), "tally.events/1": 10**6}, beside=views)

    assert set(inspect(views).get_table_names()) == tables
    views.dispose()


def test_kafka_gives_the_same_state_and_no_group_hears_of_it(kafka: str, tmp_path: Path) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    world = World(f"w{uuid4().hex[:12]}").fill(300, partitions=2)
    client, log = world.publish(kafka), world.into_log(tmp_path)

    async def groups() -> set[str]:
        admin = AIOKafkaAdminClient(**client)
        await admin.start()
        found = {group[0] for group in await admin.list_consumer_groups()}
        await admin.close()
        return found

    async def folded() -> str:
        async with kafka_source(client) as source:
            with scratch_tables(TALLY, "replay_test") as scratch:
                fold = ScratchFold(scratch)
                await fold.fold(source, world.whole())
                return fold.digest().sha256

    before = asyncio.run(groups())
    assert asyncio.run(folded()) == state(log, world.whole())
    assert asyncio.run(groups()) == before


# Verifying


def test_a_signature_of_a_stranger_is_found(tmp_path: Path) -> None:
    """The chain of hashes fits; only the signature tells."""
    world = World().fill(10, partitions=1)
    world.shards[0].append("s", "retired", START, signer=ed25519_signer(bytes([9]) * 32))
    check = signed_by(vouched_by(NETWORK, [WRITER.did], verify))

    class InMemory:
        """A source that the audit log's sequencer, which would refuse the record, has not seen."""

        async def read(self, shard: str, start: int, end: int) -> Any:
            for record in world.shards[0].records[start:end]:
                yield [Published(record.offset, record.offset, record.value, dict(record.headers)["signature"].decode())]

    assert state(InMemory(), {"tally.events/0": 10}, check=check)
    with pytest.raises(NotGenuine, match="10 says that it is by did:key"):
        state(InMemory(), {"tally.events/0": 11}, check=check)
    with pytest.raises(NotGenuine, match="for the network"):
        state(InMemory(), {"tally.events/0": 1}, check=signed_by(vouched_by("elsewhere", [WRITER.did], verify)))


def test_a_signed_checkpoint_covers_what_is_below_it_and_nothing_else(world: World, log: LogSource, tmp_path: Path) -> None:
    note = sign_head(log.engine, SIGNER, tmp_path / "last")
    assert note is not None
    size = int(note.split("\n")[1])
    other = World().fill(seed=2)

    check = covered_by(log, size, SIGNER.key)

    assert state(log, log.cut_at(size), check=check) == state(log, world.whole())
    with pytest.raises(NotGenuine, match="is not in the tree"):
        state(other.into_log(tmp_path, name="other"), other.whole(), check=check)
    with pytest.raises(NotGenuine, match="no checkpoint"):
        covered_by(log, size - 1, SIGNER.key)
    with pytest.raises(NotGenuine, match=r"nobody|signed"):
        covered_by(log, size, NoteSigner.of("audit.example/test/1", bytes([1]) * 32).key)


# Differences and reasons


def rows_at(source: LogSource, cut: Cut) -> dict[tuple[str, tuple[Any, ...]], dict[str, Any]]:
    with scratch_tables(TALLY, "replay_rows") as scratch:
        asyncio.run(ScratchFold(scratch).fold(source, cut))
        found = {}
        with reading(scratch.engine) as connection:
            for table, name in scratch.names.items():
                copy = table.to_metadata(table.metadata.__class__(), name=name)
                for row in connection.execute(select(copy)):
                    key = tuple(row._mapping[column.name] for column in table.primary_key.columns)
                    found[table.name, key] = dict(row._mapping)
        return found


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_a_difference_is_exactly_what_two_states_differ_in(tmp_path: Path, seed: int) -> None:
    """And the last of its causes is the last event that changed the row."""
    chance = random.Random(seed)
    world = World().fill(20, seed=seed)
    log = world.into_log(tmp_path, name=f"audit-{uuid4().hex}")
    first = {name: chance.randint(0, next_) for name, next_ in world.whole().items()}
    second = {name: chance.randint(first[name], next_) for name, next_ in world.whole().items()}

    with scratch_tables(TALLY, "replay_diff") as scratch:
        found = asyncio.run(difference(scratch, log, first, second))

    before, after = rows_at(log, first), rows_at(log, second)
    assert {(c.table, c.key): (c.before, c.after) for c in found.changes} == {
        where: (before.get(where), after.get(where))
        for where in before.keys() | after.keys()
        if before.get(where) != after.get(where)
    }
    assert (found.first_digest.sha256, found.second_digest.sha256) == (state(log, first), state(log, second))
    assert found.events == sum(second.values()) - sum(first.values())
    for change in found.changes:
        if change.table == "tallies":
            shard = next(s for s in world.shards if s.name == change.by.shard)
            streams = [parse_event(r.value).subject for r in shard.records[: second[shard.name]]]
            assert change.by.sequence == max(n for n, stream in enumerate(streams) if stream == change.key[0])


def test_a_difference_runs_forward(world: World, log: LogSource) -> None:
    with scratch_tables(TALLY, "replay_diff") as scratch, pytest.raises(BadPosition, match="is not before"):
        asyncio.run(difference(scratch, log, world.whole(), dict.fromkeys(world.whole(), 3)))


def test_why_names_the_events_of_one_row_in_their_order(world: World, log: LogSource) -> None:
    stream = parse_event(world.shards[1].records[0].value).subject

    with scratch_tables(TALLY, "replay_why") as scratch:
        found = asyncio.run(reasons(scratch, log, world.whole(), [stream], "tallies"))

    mine = [parse_event(r.value) for r in world.shards[1].records if parse_event(r.value).subject == stream]
    assert [reason.cause.id for reason in found] == [record.id for record in mine]
    assert [reason.after["events"] for reason in found if reason.after] == list(range(1, len(mine) + 1))
    assert found[0].before is None
    with scratch_tables(TALLY, "replay_why") as scratch:
        keyed = asyncio.run(reasons(scratch, log, world.whole(), [stream, "1"]))
    assert {(reason.table, reason.key) for reason in keyed} == {("entries", (stream, 1))}
    assert keyed[0].cause.id == mine[0].id


def test_an_event_that_fails_has_done_nothing(world: World, log: LogSource) -> None:
    """It is parked, as in the live view, and is no reason for anything."""
    broken.add("close")

    with scratch_tables(TALLY, "replay_why") as scratch:
        fold = ScratchFold(scratch, watch=True)
        seen = []
        asyncio.run(fold.fold(log, world.whole(), saw=lambda record, _touches: seen.append(record)))
        parked = {stream.stream for stream in fold.parked()}

    assert parked
    first = {}
    for shard in world.shards:
        for value in shard.records:
            record = parse_event(value.value)
            if record.document["data"]["reason"] == "close":
                first.setdefault(record.subject, record.sequence)
    assert all(record.subject not in first or record.sequence < first[record.subject] for record in seen)


# One stream


def test_a_stream_is_shown_as_the_aggregate_that_its_events_change(tmp_path: Path) -> None:
    """Which class it is follows from the rules alone."""
    subject = "identity/key/did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    world = World("identity")
    world.shards = [SignedShard("identity.events", n) for n in range(4)]
    shard = world.shards[partition_of(subject, 4)]
    _append_as(shard, subject)
    log = world.into_log(tmp_path, batches=1)

    assert asyncio.run(aggregate_at(log, subject, {shard.name: 1}, 4))["Key"]["revoked"] is True
    with pytest.raises(NoSuchStream):
        asyncio.run(aggregate_at(log, subject, {shard.name: 0}, 4))


def _append_as(shard: SignedShard, subject: str) -> None:
    """A revocation in a stream of its real name."""
    from contracts import ZERO_HASH, Record, rfc3339
    from contracts.identity import KeyRevoked
    from tests.adapters.replay.world import Signed
    from tests.adapters.shards import KEY, _asked

    asked = _asked(subject, "0" * 32)
    asked.network = NETWORK
    value = Record.encode(
        KeyRevoked(key=KEY, reason="retired"), command=asked, id="0" * 36, source=WRITER.did, time=rfc3339(START),
        shard=shard.name, sequence=0, streamversion=1, prevhash=ZERO_HASH,
    )  # fmt: skip
    shard.records.append(Signed(0, value, [("signature", WRITER.sign(value).encode())]))
