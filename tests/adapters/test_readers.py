"""Readers share a few threads; the calls of one never overlap, whoever gives up waiting."""

import asyncio
import threading
import time

from adapters.views.readers import THREADS, InTurn, OneThread


def test_a_call_whose_caller_gave_up_is_waited_for_by_the_next() -> None:
    """A rebalance cancels who waits for a transaction, not the transaction."""
    begun, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def slow() -> None:
        told.append("slow begins")
        begun.set()
        go_on.wait(20)
        told.append("slow ends")

    async def run() -> None:
        in_turn = InTurn()
        first = asyncio.create_task(in_turn(slow))
        await asyncio.to_thread(begun.wait, 20)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(in_turn(told.append, "second"))
        await asyncio.sleep(0.05)
        told.append("gave up")
        go_on.set()
        await second

    asyncio.run(run())

    assert told == ["slow begins", "gave up", "slow ends", "second"]


def test_many_readers_share_the_threads_and_all_are_served() -> None:
    names: set[str] = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.002)

    async def run() -> None:
        readers = [InTurn() for _ in range(10 * THREADS)]
        await asyncio.gather(*(reader(work) for reader in readers for _ in range(3)))

    asyncio.run(run())

    assert 1 <= len(names) <= THREADS
    assert all(name.startswith("readers") for name in names)


def test_a_list_that_waits_for_a_bank_holds_up_no_reader() -> None:
    answer = threading.Event()

    async def run() -> None:
        lists = [OneThread(f"list-{n}") for n in range(2 * THREADS)]
        waiting = [asyncio.create_task(each(answer.wait, 20)) for each in lists]
        await InTurn()(answer.set)
        await asyncio.gather(*waiting)

    asyncio.run(run())

    assert answer.is_set()
