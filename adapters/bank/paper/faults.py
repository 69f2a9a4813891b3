"""What goes wrong, by a schedule that a seed repeats, or because somebody demanded it.

What was drawn is counted in the twin's state, so that the schedule goes on where it was when another process asks.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from adapters.bank.paper.kept import Kept, State
from adapters.bank.ports import NoAnswer

T = TypeVar("T")


class Fault(StrEnum):
    """Of a question: not heard, or acted on and the answer lost. Of a notification: twice, late, out of order.

    `NONE` is only ever demanded, of a question: it is answered, and what was demanded after it waits for the next.
    """

    NONE = "none"
    FAIL = "fail"
    TIME_OUT = "time_out"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"


OF_QUESTIONS = (Fault.FAIL, Fault.TIME_OUT)


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each happens, in percent."""

    seed: int = 0
    fail: int = 0
    time_out: int = 0
    duplicate: int = 0
    delay: int = 0
    reorder: int = 0

    def happens(self, state: State, fault: Fault) -> bool:
        """A demanded one first, once."""
        demanded: list[str] = state["demanded"]
        if fault in demanded:
            demanded.remove(fault)
            return True
        percent: int = getattr(self, fault)
        return percent > 0 and self.draw(state, fault) % 100 < percent

    def draw(self, state: State, what: str) -> int:
        """A large number that looks like chance."""
        state["drawn"] += 1
        digest = hashlib.sha256(f"{self.seed}\0{what}\0{state['drawn']}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def asked(self, kept: Kept, act: Callable[[State], T]) -> T:
        """The answer to a question, if it arrives. Raises NoAnswer."""
        with kept.opened() as state:
            fault = self._of_question(state)
            answer = None if fault is Fault.FAIL else act(state)
        if fault is not Fault.NONE:
            raise NoAnswer("no answer within the time allowed")
        return answer  # type: ignore[return-value]

    def _of_question(self, state: State) -> Fault:
        """What was demanded first, then what the schedule has."""
        demanded: list[str] = state["demanded"]
        for at, name in enumerate(demanded):
            if name == Fault.NONE or name in OF_QUESTIONS:
                return Fault(demanded.pop(at))
        return next((fault for fault in OF_QUESTIONS if self.happens(state, fault)), Fault.NONE)


def nothing() -> State:
    """What the schedule remembers before anything was asked."""
    return {"demanded": [], "drawn": 0}
