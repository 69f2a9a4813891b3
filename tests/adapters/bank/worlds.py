"""The worlds in which the ports' suites run: without faults, in a file, and as bad as a schedule makes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from adapters.bank.paper import Faults
from adapters.bank.ports import NoAnswer

T = TypeVar("T")
NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
BAD = {"fail": 30, "time_out": 30, "duplicate": 40, "delay": 40, "reorder": 40}
WORLDS = {
    "in memory": Faults(),
    "in a file": Faults(),
    "faulty 1": Faults(seed=1, **BAD),
    "faulty 2, in a file": Faults(seed=2, **BAD),
    "deaf": Faults(seed=3, fail=80),
    "mute": Faults(seed=4, time_out=80),
}


def insist(ask: Callable[[], T]) -> T:
    """Ask until there is an answer, as whoever must know does."""
    for _ in range(500):
        try:
            return ask()
        except NoAnswer:
            continue
    raise AssertionError("five hundred questions without an answer")
