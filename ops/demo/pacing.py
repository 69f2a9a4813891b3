"""How fast requests are replayed: below what the machine sustains, which is found with the first of them.

The rate rises until the views are a second behind, and begins again lower a few times: a machine that others use says little
once. Then requests flow below the highest rate that was kept for a step; these are what latency is told of. What is left of a
long trace is sent as fast as it is taken. Time is an argument, so all of it can be tried without any.
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
FALL = 0.6
"""Of the rate that was too much the next attempt begins with so much."""
ATTEMPTS = 3
SHARE, RISING_SECONDS = 0.4, 15.0
"""Of all requests, and of time, at most so much goes into finding out."""
DRAIN_SECONDS = 30.0
"""Whatever is not in the view by then never comes, and is no reason to wait."""
HEADROOM = 0.6
"""The trace has hours that are 1.4 times as busy as its mean, and the machine has other things to do."""
HELD_BACK = 0.5
"""Of the rate; whoever sends no more than that is at his own pace. The trace's quiet hours have three quarters of its mean."""
GIVE_WAY = 0.8
PACED_SECONDS = 20.0
RUSH_RATE = 1_000.0
"""Or what is taken: the sender waits while many are unanswered."""


@dataclass
class Pacing:
    """`given` is a rate that a person asked for: then nothing is looked for and nothing adapted."""

    total: int
    given: float | None = None
    rate: float = 0.0
    """Requests a second, now."""
    state: Literal["warming", "rising", "draining", "paced", "rushing"] = "warming"
    sustained: float | None = None
    """Requests a second; None as long as nobody knows, or nobody asked."""
    is_more: bool = True
    """`sustained` is only the greatest rate that was tried."""
    _attempts: int = 0
    _began_at: float | None = None
    """Of the state."""
    _step_at: float = 0.0
    _sent_before: int = 0
    _seen_before: int = 0
    _next_rate: float = FIRST_RATE

    def __post_init__(self) -> None:
        if self._looks:
            self.rate = WARMING_RATE
        else:
            self.state, self.rate = "paced", self.given or FIRST_RATE

    @property
    def _looks(self) -> bool:
        return self.given is None and self.total >= ENOUGH

    def turn(self, now: float, sent: int, seen: int, behind: float) -> None:
        """What there is now: requests that were sent and seen in the view, and seconds that the oldest unseen one waits."""
        if self._began_at is None:
            self._begin_step(now, sent, seen, self.rate)
            self._began_at = now
        lasted, is_step = now - self._began_at, now >= self._step_at + STEP_SECONDS
        match self.state:
            case "warming" if lasted >= WARM_SECONDS or (lasted >= WARMING_SECONDS and behind <= EASY_SECONDS):
                self._enter("rising", now, sent, seen, FIRST_RATE)
            case "rising" if behind > BEHIND_SECONDS:
                self.is_more, self._attempts = False, self._attempts + 1
                self._next_rate = max(LEAST_RATE, FALL * self.rate)
                self._enter("draining", now, sent, seen, 0.0)
            case "rising" if is_step or self._is_enough(sent):
                self._rise(now, sent, seen, behind)
            case "draining" if behind == 0 or lasted >= DRAIN_SECONDS:
                if self._attempts < ATTEMPTS and not self.is_more and not self._is_enough(sent):
                    self._enter("rising", now, sent, seen, self._next_rate)
                else:
                    self._enter("paced", now, sent, seen, self._paced())
            case "paced" if self._looks and lasted >= PACED_SECONDS:
                self._enter("rushing", now, sent, seen, RUSH_RATE)
            case "paced" if self._looks and is_step:
                change = GIVE_WAY if behind > BEHIND_SECONDS else 1 / GIVE_WAY
                self._begin_step(now, sent, seen, min(self._paced(), max(LEAST_RATE, self.rate * change)))
            case _:
                pass

    def _rise(self, now: float, sent: int, seen: int, behind: float) -> None:
        seconds = max(now - self._step_at, 0.1)
        kept = min(sent - self._sent_before, seen - self._seen_before) / seconds
        self.sustained = max(self.sustained or LEAST_RATE, kept)
        is_held_back = sent - self._sent_before < HELD_BACK * self.rate * seconds
        if self._is_enough(sent) or is_held_back or now >= (self._began_at or 0.0) + RISING_SECONDS:
            self._attempts = ATTEMPTS
            self._enter("draining", now, sent, seen, 0.0)
        else:
            self._begin_step(now, sent, seen, self.rate * (RISE if behind <= EASY_SECONDS else 1.0))

    def _is_enough(self, sent: int) -> bool:
        return sent >= SHARE * self.total

    def _paced(self) -> float:
        return max(LEAST_RATE, HEADROOM * (self.sustained or 0.0))

    def _enter(
        self, state: Literal["rising", "draining", "paced", "rushing"], now: float, sent: int, seen: int, rate: float
    ) -> None:
        self.state, self._began_at = state, now
        self._begin_step(now, sent, seen, rate)

    def _begin_step(self, now: float, sent: int, seen: int, rate: float) -> None:
        self._step_at, self._sent_before, self._seen_before, self.rate = now, sent, seen, rate
