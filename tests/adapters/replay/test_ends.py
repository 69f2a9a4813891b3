"""Whatever a topic holds, its end is the truth or it is refused."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.replay import ordering
from adapters.replay.kafka import KafkaSource
from adapters.replay.sources import RangeMissing
from tests.adapters.replay.topics import MemoryConsumer, record_of

PLACE = TopicPartition("tally.events", 0)
SHARD = "tally.events/0"

Stretches = Sequence[tuple[int, int]]


def topic(stretches: Stretches, first: int = 0) -> MemoryConsumer:
    """Stretches `start <= sequence < end`, one published after the other; below the offset `first` all is deleted."""
    sequences = [sequence for start, end in stretches for sequence in range(start, end)]
    records = [record_of(sequence, offset) for offset, sequence in enumerate(sequences)]
    return MemoryConsumer({PLACE: records[first:]}, {PLACE: first})


async def now_and_what_is_below(source: KafkaSource, start: int = 0) -> tuple[int, list[int]]:
    end = (await source.ends([SHARD]))[SHARD]
    return end, [record.sequence async for piece in source.read(SHARD, start, end) for record in piece]


def as_published(stretches: Stretches) -> set[int]:
    return {sequence for start, end in stretches for sequence in range(start, end)}


@st.composite
def published(draw: st.DrawFn) -> Stretches:
    """Publishers that repeat what others published, in a topic that may begin with the newest, and lack something."""
    count = draw(st.integers(0, 6_000))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=6)))
    stretches = [(start, end) for start, end in zip([0, *cuts], [*cuts, count], strict=True) if start < end]
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted((draw(st.integers(0, count)), draw(st.integers(0, count))))
        stretches.insert(draw(st.integers(0, len(stretches))), (start, end))
    if draw(st.booleans()):
        stretches = draw(st.permutations(stretches))
    if stretches and draw(st.booleans()):
        stretches.pop(draw(st.integers(0, len(stretches) - 1)))
    return stretches


@given(published(), st.data())
@example([(0, 4_003), (2_003, 2_603)], None)
@example([(4_000, 4_010), (0, 4_000)], None)
def test_the_end_is_the_highest_sequence_and_all_below_is_read_or_it_is_refused(
    stretches: Stretches, data: st.DataObject | None
) -> None:
    """A relay that was suspended repeats as much as it had read; nothing near the end of the topic says how much that is."""
    held = as_published(stretches)
    truth = max(held, default=-1) + 1
    source = KafkaSource(topic(stretches))  # type: ignore[arg-type]

    try:
        end, read = asyncio.run(now_and_what_is_below(source))
    except RangeMissing:
        assert len(held) < truth
        return
    assert (end, read) == (truth, list(range(truth)))

    if data is not None:
        # Again, and from elsewhere: what was remembered of the first reading misleads nobody.
        middle, start = data.draw(st.integers(0, truth)), data.draw(st.integers(0, truth))
        pieces = asyncio.run(read_twice(source, middle, start, truth))
        assert pieces == [list(range(middle)), list(range(start, truth)), [truth]]


async def read_twice(source: KafkaSource, middle: int, start: int, end: int) -> list[list[int]]:
    first = [record.sequence async for piece in source.read(SHARD, 0, middle) for record in piece]
    second = [record.sequence async for piece in source.read(SHARD, start, end) for record in piece]
    return [first, second, list((await source.ends([SHARD])).values())]


def test_more_that_came_early_than_fits_into_memory_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that was made anew while its relay lived begins with whatever that relay had."""
    monkeypatch.setattr(ordering, "MAX_EARLY", 10)
    source = KafkaSource(topic([(300, 400), (200, 320), (0, 210)]))  # type: ignore[arg-type]

    assert asyncio.run(now_and_what_is_below(source)) == (400, list(range(400)))


def test_a_topic_without_repeats_is_not_read_for_its_end() -> None:
    consumer = topic([(0, 5_000)])

    assert asyncio.run(KafkaSource(consumer).ends([SHARD])) == {SHARD: 5_000}  # type: ignore[arg-type]
    assert consumer.fetched == 1


def test_what_came_since_is_all_that_is_read_for_the_next_end() -> None:
    consumer = topic([(0, 3_000), (1_000, 3_000)])
    source = KafkaSource(consumer)  # type: ignore[arg-type]
    assert asyncio.run(source.ends([SHARD])) == {SHARD: 3_000}
    before = consumer.fetched
    consumer.records[PLACE].append(record_of(3_000, 5_000))

    assert asyncio.run(source.ends([SHARD])) == {SHARD: 3_001}
    assert consumer.fetched <= before + 2


@pytest.mark.parametrize("first", [1, 2_000, 5_000])
def test_a_topic_whose_oldest_or_all_records_were_deleted_is_no_empty_history(first: int) -> None:
    """A view of nothing would look like an answer."""
    with pytest.raises(RangeMissing, match="audit log"):
        asyncio.run(now_and_what_is_below(KafkaSource(topic([(0, 5_000)], first))))  # type: ignore[arg-type]


def test_a_topic_that_the_broker_does_not_know_is_no_empty_one() -> None:
    """A broker that was just started may know none for a moment."""
    source = KafkaSource(topic([(0, 5)]))  # type: ignore[arg-type]

    assert asyncio.run(source.shards(["tally.events"])) == [SHARD]
    with pytest.raises(RangeMissing, match=r"no topic other\.events"):
        asyncio.run(source.shards(["tally.events", "other.events"]))
