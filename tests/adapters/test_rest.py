"""What waits for a turn: all of it at once, a little more under load, nothing held back after a silence."""

import asyncio
from types import SimpleNamespace
from typing import Any

from adapters.faust.backlog import Backlog, Chunk, Rest

LONG = 3_600.0


def chunk(*values: bytes) -> Chunk:
    return Chunk("tally.events/0", [SimpleNamespace(value=value) for value in values], None)


def values(chunks: list[Chunk]) -> list[bytes]:
    return [record.value for found in chunks for record in found.records]


async def taking(backlog: Backlog) -> "asyncio.Task[list[Chunk]]":
    task = asyncio.create_task(backlog.take())
    for _ in range(10):
        await asyncio.sleep(0)
    return task


def played(play: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await play()

    asyncio.run(run())


def test_what_comes_soon_after_a_turn_waits_for_more_until_it_is_much() -> None:
    async def play() -> None:
        backlog = Backlog(rest=Rest(LONG, 10))
        taken = await taking(backlog)
        await backlog.put(chunk(b"four"))
        await asyncio.sleep(0.05)
        before = taken.done()
        await backlog.put(chunk(b"and", b"six more"))

        assert not before
        assert values(await taken) == [b"four", b"and", b"six more"]

    played(play)


def test_what_gathers_is_taken_when_its_time_is_over() -> None:
    async def play() -> None:
        backlog = Backlog(rest=Rest(0.05, 1_000_000))
        taken = await taking(backlog)
        await backlog.put(chunk(b"one"))

        assert values(await taken) == [b"one"]

    played(play)


def test_what_comes_after_a_silence_is_taken_at_once() -> None:
    """The time counts from the turn before, not from what comes."""

    async def play() -> None:
        backlog = Backlog(rest=Rest(0.01, 1_000_000))
        taken = await taking(backlog)
        await asyncio.sleep(0.05)
        await backlog.put(chunk(b"one"))
        await taking(Backlog())

        assert taken.done()

    played(play)


def test_a_full_backlog_is_taken_however_few_its_bytes() -> None:
    """Nobody could put more into it, and it would wait for its time to end."""

    async def play() -> None:
        backlog = Backlog(2, Rest(LONG, 1_000_000))
        taken = await taking(backlog)
        await backlog.put(chunk(b"", b""))

        assert values(await taken) == [b"", b""]

    played(play)


def test_what_a_rebalance_took_away_is_not_taken() -> None:
    async def play() -> None:
        backlog = Backlog(rest=Rest(0.05, 10))
        taken = await taking(backlog)
        await backlog.put(chunk(b"old"))
        await backlog.clear()
        await asyncio.sleep(0.1)
        empty = taken.done()
        await backlog.put(chunk(b"new"))

        assert not empty
        assert values(await taken) == [b"new"]

    played(play)


def test_what_waited_through_a_rebalance_is_dropped_with_what_was_cleared() -> None:
    """It is delivered again. A topic without sequences would jump over what was cleared before it."""

    async def play() -> None:
        backlog = Backlog(limit=2)
        await backlog.put(chunk(b"first", b"second"))
        late = asyncio.create_task(backlog.put(chunk(b"third")))
        await asyncio.sleep(0)
        await backlog.clear()
        await late
        await backlog.put(chunk(b"again"))

        assert values(await backlog.take()) == [b"again"]

    played(play)
