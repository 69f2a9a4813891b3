"""Benchmarks: ours and a baseline take turns in one run, and what counts is their ratio.

A module here has `measures() -> Iterator[Measure]`. Absolute rates say something of the machine; the median of the rounds'
ratios says something of the code. Where the baseline itself spreads over 30 % the run is inconclusive, not passed.

What needs a whole deployment has `measured(asked, report) -> AsyncIterator[Measure]` instead: a person may choose how large
it is, and is told more than ratios while it works.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

INCONCLUSIVE_SPREAD = 0.30


@dataclass(frozen=True)
class Measure:
    """One line of the report. `spread` is the baseline's, (greatest - least) / median; `met` is None when inconclusive."""

    measure: str
    ours: float
    baseline: float
    unit: str
    ratio: float
    spread: float
    goal: str
    met: bool | None

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What a person may choose of a benchmark with a deployment of its own."""

    readers: int | None = None
    """In all, dummies among them; None: those of the deployment."""
    contexts: int | None = None
    rates: Sequence[float] = (10.0, 100.0, 1_000.0)
    """Commands a second."""
    seconds: float | None = None
    """Each rate's; None: what the benchmark wants."""
    runs: int = 1
    workers: int = 1
    postgresql: bool = False
    store: str | None = None
    """The URL of an empty PostgreSQL database; without it SQLite, or a local server of the benchmark's own."""


class Report(Protocol):
    """Where a benchmark tells what it found beside its measures."""

    def progress(self, text: str) -> None:
        """What it does now."""

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """For a person."""

    def document(self, found: Mapping[str, Any]) -> None:
        """For a program."""


def within(name: str, found: Sequence[float], most: float, unit: str, is_conclusive: bool = True) -> Measure:
    """The median of the runs against the most that it may be; the spread is that of the runs.

    What is not conclusive may be met, but is never missed.
    """
    middle = statistics.median(found)
    spread = (max(found) - min(found)) / middle if middle else 0.0
    met = True if middle <= most else (False if is_conclusive else None)
    return Measure(name, round(middle, 3), most, unit, round(middle / most, 4), round(spread, 3), f"≤ {most:g} {unit}", met)


def compare(
    name: str,
    ours: Callable[[], float],
    baseline: Callable[[], float],
    *,
    unit: str,
    goal: str,
    is_met: Callable[[float, float], bool],
    rounds: int = 7,
) -> Measure:
    """Alternate ours and baseline; each returns a rate or a time. `is_met(ratio, ours)` judges the medians."""
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(ours())
        theirs.append(baseline())
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    return judged(name, mine, theirs, unit=unit, goal=goal, is_met=is_met, ratio=ratio)


def judged(
    name: str,
    mine: list[float],
    theirs: list[float],
    *,
    unit: str,
    goal: str,
    is_met: Callable[[float, float], bool],
    ratio: float | None = None,
) -> Measure:
    """A measure from rounds that were taken elsewhere."""
    ours, baseline = statistics.median(mine), statistics.median(theirs)
    found = ours / baseline if ratio is None else ratio
    spread = (max(theirs) - min(theirs)) / baseline
    met = None if spread > INCONCLUSIVE_SPREAD and not is_met(found, ours) else is_met(found, ours)
    return Measure(name, round(ours, 3), round(baseline, 3), unit, round(found, 4), round(spread, 3), goal, met)


def rate(count: int, work: Callable[[], Any]) -> float:
    """How many a second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)
