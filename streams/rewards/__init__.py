"""Rewards' wiring: receipts become fees, a day becomes a root, and what waits for time is done when it is due."""

from collections.abc import Iterator

from projections.rewards import rewards
from streams import Process, Stream, World
from streams.rewards.day import Day
from streams.rewards.receipts import split_when_receipt_is_paid
from streams.rewards.schedules import todos
from streams.rewards.sweeping import todo as sweeping


def streams(world: World) -> Iterator[Stream]:
    del world
    yield rewards()
    yield Process("split_when_receipt_is_paid", ("inference",), split_when_receipt_is_paid)
    yield Day().todo()
    yield from todos()
    yield sweeping()
