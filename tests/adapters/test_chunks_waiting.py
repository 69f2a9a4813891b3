"""What waits for a turn: all of it at once, and nothing of before a rebalance."""

import asyncio
from types import SimpleNamespace
from typing import Any

from adapters.faust.backlog import Backlog, Chunk


def chunk(*values: bytes) -> Chunk:
    return Chunk("tally.events/0", [SimpleNamespace(value=value) for value in values], None)


def values(chunks: list[Chunk]) -> list[bytes]:
    return [record.value for found in chunks for record in found.records]


def played(play: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await play()

    asyncio.run(run())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_turn_takes_all_that_waits() -> None:
    async def play() -> None:
        backlog = Backlog()
        await backlog.put(chunk(b"one"))
        await backlog.put(chunk(b"two", b"three"))

        assert values(await backlog.take()) == [b"one", b"two", b"three"]

    played(play)


def test_a_full_backlog_holds_back_whoever_reads_until_a_turn_has_taken_it() -> None:
    async def play() -> None:
        backlog = Backlog(2)
        await backlog.put(chunk(b"one", b"two"))
        third = asyncio.create_task(backlog.put(chunk(b"three")))
        await settled()
        waited = not third.done()
        taken = values(await backlog.take())
        await third

        assert waited
        assert taken == [b"one", b"two"]
        assert values(await backlog.take()) == [b"three"]

    played(play)


def test_what_a_rebalance_took_away_is_not_taken() -> None:
    """Also what waited for room through it: it is delivered again."""

    async def play() -> None:
        backlog = Backlog(1)
        await backlog.put(chunk(b"old"))
        waiting = asyncio.create_task(backlog.put(chunk(b"also old")))
        await settled()
        await backlog.clear()
        await waiting
        await backlog.put(chunk(b"new"))

        assert values(await backlog.take()) == [b"new"]

    played(play)
