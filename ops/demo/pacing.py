"""How fast requests are replayed: below what the machine sustains, which is found with the first of them.

The rate rises until the views are a second behind. What they take in then, with work always waiting, is what the machine
sustains; when nothing waits any more, the rest is replayed below it. Time is an argument, so this can be tried without any.
"""

from dataclasses import dataclass
from typing import Literal

WARMING_RATE = 100.0
WARMING_SECONDS = 2.0
WARM_SECONDS = 15.0
"""What has just begun is slow, and says nothing: the rate rises when the views keep up, or after so long."""
FIRST_RATE = 200.0
LEAST_RATE = 20.0
ENOUGH = 1_000
"""Requests: of fewer, nobody learns what the machine sustains."""
RISE = 1.3
STEP_SECONDS = 1.0
EASY_SECONDS = 0.3
"""Only while the views are no further behind does the rate rise."""
BEHIND_SECONDS = 1.0
"""So far behind, more is asked than the machine sustains."""
WINDOW_SECONDS = 2.0
"""What is seen in it, once more is asked, is what the machine sustains."""
SHARE = 0.4
"""Of all requests, at most so many go into finding out."""
DRAIN_SECONDS = 30.0
"""Whatever is not in the view by then never comes, and is no reason to wait."""
HEADROOM = 0.6
"""The trace has hours that are 1.4 times as busy as its mean, and the machine has other things to do."""
HELD_BACK = 0.8
"""Whoever sends comes no nearer to the rate: it is his own pace that is found."""


@dataclass
class Pacing:
    """`given` is a rate that a person asked for: then nothing is looked for and nothing adapted."""

    total: int
    given: float | None = None
    rate: float = 0.0
    """Requests a second, now."""
    state: Literal["warming", "rising", "saturated", "draining", "replaying"] = "warming"
    sustained: float | None = None
    """Requests a second; None as long as nobody knows, or nobody asked."""
    is_more: bool = False
    """`sustained` is only the greatest rate that was tried."""
    _step_at: float | None = None
    _sent_before: int = 0
    _seen_before: int = 0

    def __post_init__(self) -> None:
        looks = self.given is None and self.total >= ENOUGH
        if looks:
            self.rate = WARMING_RATE
        else:
            self.state, self.rate = "replaying", self.given or FIRST_RATE

    def turn(self, now: float, sent: int, seen: int, behind: float) -> None:
        """What there is now: requests that were sent and seen in the view, and seconds that the oldest unseen one waits."""
        if self._step_at is None:
            self._begin_step(now, sent, seen, self.rate)
        lasted = now - (self._step_at or 0.0)
        match self.state:
            case "warming" if lasted >= WARM_SECONDS or (lasted >= WARMING_SECONDS and behind <= EASY_SECONDS):
                self.state = "rising"
                self._begin_step(now, sent, seen, FIRST_RATE)
            case "rising" if behind > BEHIND_SECONDS:
                self.state = "saturated"
                self._begin_step(now, sent, seen, self.rate)
            case "rising" if lasted >= STEP_SECONDS or sent >= SHARE * self.total:
                self._rise(now, sent, seen, behind, max(lasted, 0.1))
            case "saturated" if lasted >= WINDOW_SECONDS or sent >= self.total:
                self.sustained, self.is_more = max(1.0, (seen - self._seen_before) / max(lasted, 0.1)), False
                self._drain(now, sent, seen)
            case "draining" if behind == 0 or lasted >= DRAIN_SECONDS:
                self.state = "replaying"
                self._begin_step(now, sent, seen, max(LEAST_RATE, HEADROOM * (self.sustained or FIRST_RATE)))
            case "replaying" if self.given is None and behind > BEHIND_SECONDS and lasted >= STEP_SECONDS:
                self._begin_step(now, sent, seen, max(LEAST_RATE, self.rate * HELD_BACK))
            case _:
                pass

    def _rise(self, now: float, sent: int, seen: int, behind: float, seconds: float) -> None:
        if behind <= EASY_SECONDS:
            self.sustained, self.is_more = max(self.sustained or 1.0, (seen - self._seen_before) / seconds), True
        if sent >= SHARE * self.total or sent - self._sent_before < HELD_BACK * self.rate * seconds:
            self._drain(now, sent, seen)
        else:
            self._begin_step(now, sent, seen, self.rate * (RISE if behind <= EASY_SECONDS else 1.0))

    def _drain(self, now: float, sent: int, seen: int) -> None:
        self.state = "draining"
        self._begin_step(now, sent, seen, 0.0)

    def _begin_step(self, now: float, sent: int, seen: int, rate: float) -> None:
        self._step_at, self._sent_before, self._seen_before, self.rate = now, sent, seen, rate
