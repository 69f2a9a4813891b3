"""Benchmarks: ours and a baseline take turns in one run, and what counts is their ratio.

A module here has `measures() -> Iterator[Measure]`. Absolute rates say something of the machine; the median of the rounds'
ratios says something of the code. Where the baseline itself spreads over 30 % the run is inconclusive, not passed.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

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
