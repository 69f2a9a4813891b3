"""Strangers on an events topic: nothing of theirs is folded, and nothing of ours is missed, whatever they put where."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from adapters.keys import Signer, verify
from adapters.replay.authentic import authentic
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from adapters.views.chain import ChainBroken, FollowOnce, follow
from adapters.views.positions import Position
from adapters.views.sets import ReaderSet
from adapters.views.strangers import passed_over_in
from adapters.vouching import Vouching, vouched_by
from contracts import instant
from domain.identity.authority import WriterInterval
from tests.adapters.audit.log import NETWORK, STRANGER, WRITER, Arrived, SignedShard
from tests.adapters.shards import VIEW, tally_projection
from tests.databases import upgrade

LENGTH = 12
Record = Callable[[SignedShard, int], Arrived]


def forged_at(shard: SignedShard, n: int, signer: Signer = STRANGER, **changes: Any) -> Arrived:
    """What follows record n - 1 as ours does, signed by somebody else."""
    document = {**orjson.loads(shard.records[n].value), "source": signer.did, **changes}
    value = orjson.dumps(document)
    return Arrived(0, value, [("signature", signer.sign(value).encode())])


def forged(shard: SignedShard, n: int) -> Arrived:
    return forged_at(shard, n)


def forged_in_our_name(shard: SignedShard, n: int) -> Arrived:
    return replace(forged_at(shard, n, source=WRITER.did))


def of_another_network(shard: SignedShard, n: int) -> Arrived:
    return forged_at(shard, n, WRITER, network="elsewhere")


def of_another_shard(shard: SignedShard, n: int) -> Arrived:
    """Ours, but not of this topic's partition."""
    return SignedShard(shard.partition + 1).fill(n + 1).records[n]


def far_ahead(shard: SignedShard, n: int) -> Arrived:
    return forged_at(shard, n, sequence=f"{n + 10_000:020d}")


def unsigned(shard: SignedShard, n: int) -> Arrived:
    return replace(shard.records[n], headers=[])


def altered(shard: SignedShard, n: int) -> Arrived:
    return replace(shard.records[n], value=shard.records[n].value.replace(b"retired", b"mistake"))


def garbage(shard: SignedShard, n: int) -> Arrived:
    del shard
    return Arrived(0, b"\xff" * n, [])


def nested(shard: SignedShard, n: int) -> Arrived:
    """It names our record's hash, but not as the hash before it."""
    document = orjson.loads(shard.records[n].value)
    return forged_at(shard, n, data={"prevhash": document["prevhash"], "sequence": document["sequence"]}, prevhash="0" * 64)


STRANGERS: list[Record] = [
    forged, forged_in_our_name, of_another_network, of_another_shard, far_ahead, unsigned, altered, garbage, nested,
]  # fmt: skip


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    VIEW.create_all(engine)
    yield engine
    engine.dispose()


class Counted:
    """How often somebody is asked to vouch."""

    def __init__(self) -> None:
        self.times = 0
        self._vouch = vouched_by(NETWORK, [WRITER.did], verify)

    def __call__(self, *asked: Any) -> bool:
        self.times += 1
        return self._vouch(*asked)


@st.composite
def topics(draw: st.DrawFn) -> tuple[list[Arrived], list[int]]:
    """All of our records in their order, repeats and strangers between them; and where a poll ends."""
    shard, topic = SignedShard(0).fill(LENGTH), list[Arrived]()
    for n in range(LENGTH + 1):
        for kind in draw(st.lists(st.sampled_from(STRANGERS), max_size=3)):
            topic.append(kind(shard, draw(st.integers(0, LENGTH - 1))))
        if n and draw(st.booleans()):
            topic.append(shard.records[draw(st.integers(0, n - 1))])
        topic += shard.records[n : n + 1]
    topic = [replace(record, offset=offset) for offset, record in enumerate(topic)]
    return topic, sorted(draw(st.sets(st.integers(1, len(topic)), max_size=4)) | {len(topic)})


@given(topics())
def test_all_of_ours_is_followed_and_nothing_of_theirs(drawn: tuple[list[Arrived], list[int]]) -> None:
    topic, ends = drawn
    ours, position, begin = SignedShard(0).fill(LENGTH), Position(), 0
    found: list[bytes] = []
    for end in ends:
        # As a set does, which remembers for whom somebody vouched.
        stretch = FollowOnce(ours.name, topic[begin:end], vouched_by(NETWORK, [WRITER.did], verify))(position)
        assert stretch.gap is None
        found += [fact.record.value for fact in stretch.facts]
        position, begin = stretch.end, end

    assert found == [record.value for record in ours.records]


@given(topics())
def test_a_source_yields_what_is_ours_and_nothing_of_theirs(drawn: tuple[list[Arrived], list[int]]) -> None:
    topic, _ = drawn
    ours = {record.value for record in SignedShard(0).fill(LENGTH).records}

    async def records() -> AsyncIterator[Arrived]:
        for record in topic:
            yield record

    async def read() -> list[tuple[int, Arrived]]:
        vouch = vouched_by(NETWORK, [WRITER.did], verify)
        return [found async for found in authentic("tally.events/0", records(), vouch)]

    found = asyncio.run(read())

    assert {record.value for _, record in found} == ours
    assert all(orjson.loads(record.value)["sequence"] == f"{sequence:020d}" for sequence, record in found)


def test_one_signature_vouches_for_a_chunk() -> None:
    shard, vouch = SignedShard(0).fill(400), Counted()

    stretch = follow(shard.name, Position(), shard.records, vouch=vouch)

    assert len(stretch.facts) == 400
    assert vouch.times == 1


def test_two_records_of_an_entitled_writer_for_one_place_are_two_histories() -> None:
    shard = SignedShard(0).fill(6)
    twin = replace(forged_at(shard, 3, WRITER, time="2026-01-01T00:00:00.000009Z"), offset=4)

    for records in ([*shard.records[:4], twin, *shard.records[4:]], [*shard.records[:3], twin, *shard.records[3:]]):
        with pytest.raises(ChainBroken, match=r"sequence [34]"):
            follow(shard.name, Position(), records, vouch=vouched_by(NETWORK, [WRITER.did], verify))


def test_whoever_is_entitled_later_or_no_longer_vouches_for_what_he_signed_then() -> None:
    shard = SignedShard(0).fill(LENGTH)
    times = [orjson.loads(record.value)["time"] for record in shard.records]
    entitled: list[WriterInterval] = []
    vouch = Vouching(NETWORK, lambda: entitled, verify)
    nobody = follow(shard.name, Position(), shard.records, vouch=vouch)
    vouch._read_at = float("-inf")
    entitled.append(WriterInterval(WRITER.did, "tally/", instant(times[0]), instant(times[3])))

    until_then = follow(shard.name, Position(), shard.records, vouch=vouch)

    assert not nobody.facts
    assert len(until_then.facts) == max(n for n, time in enumerate(times) if time <= times[3]) + 1
    assert all(what == "signed by nobody who was entitled" for what in until_then.strangers.values())


def test_a_set_shows_what_it_passed_over_once(views: Engine) -> None:
    """In its bookkeeping, for operators; what is delivered again is not counted again."""
    shard = SignedShard(0).fill(4)
    vouch = vouched_by(NETWORK, [WRITER.did], verify)
    projector = Projector(views, tally_projection(), vouch=vouch)
    readers = ReaderSet(views, "readers.default", [projector], vouch=vouch)
    topic = [forged(shard, 0), shard.records[0], far_ahead(shard, 1), *shard.records[1:], garbage(shard, 4)]
    chunks = {shard.name: [replace(record, offset=offset) for offset, record in enumerate(topic)]}

    async def play(chunk: Sequence[dict[str, Any]]) -> None:
        await readers.claim([shard.name])
        for each in chunk:
            await readers.apply(each)
        await readers.look_after()

    asyncio.run(play([chunks, chunks]))

    with reading(views) as connection:
        [passed] = passed_over_in(connection)
        assert (passed.shard, passed.records, passed.offset) == (shard.name, 3, 6)
        assert digest(connection, tally_projection()).rows == 1 + 4


def test_of_two_copies_the_signed_one_is_kept() -> None:
    """What is parked or exported keeps the signature beside the bytes."""
    shard = SignedShard(0).fill(3)
    copies = [replace(shard.records[0], headers=[]), *shard.records]

    stretch = follow(shard.name, Position(), copies, vouch=vouched_by(NETWORK, [WRITER.did], verify))

    assert [fact.delivered.headers for fact in stretch.facts] == [record.headers for record in shard.records]
