"""Rewards' wiring: receipts become fees, a day becomes a root, what waits for time is done when it is due.

Where there is a chain, roots go there and claims come back; elsewhere only SPACE has a row under a root, and nobody claims.
"""

from collections.abc import Iterator

from projections.rewards import rewards
from streams import Process, Stream, World
from streams.rewards import claiming
from streams.rewards.day import Day
from streams.rewards.receipts import split_when_receipt_is_paid
from streams.rewards.schedules import todos
from streams.rewards.sweeping import todo as sweeping


def streams(world: World) -> Iterator[Stream]:
    outside = world.outside
    yield rewards()
    yield Process("split_when_receipt_is_paid", ("inference",), split_when_receipt_is_paid)
    yield Day(tokens=outside.chain.tokens if outside is not None else {}).todo()
    yield from todos()
    yield sweeping()
    if outside is not None:
        yield from claiming.todos(outside)
