"""Places at which a process can be made to die or to freeze, for showing that neither matters.

`SPACEOS_CRASH=publish.sent:3` kills the process with SIGKILL when it passes that place for the third time;
`SPACEOS_SUSPEND=…` stops it with SIGSTOP. Unset, a place costs a comparison with an empty dictionary.
"""

import os
import signal
import threading

PLACES = (
    "command.received", "command.verified", "command.loaded", "command.decided", "command.signed", "command.inserted",
    "command.before_commit", "command.committed",
    "publish.read", "publish.half_sent", "publish.sent", "publish.marked",
    "project.begun", "project.half", "project.committed",
    "audit.begun", "audit.half", "audit.committed", "audit.noted", "audit.remembered", "audit.signed",
    "process.sent", "todo.asked", "todo.sent",
)  # fmt: skip
"""Every place, in the order in which a command meets them."""

_armed: dict[str, tuple[int, int]] = {}
"""Place to passes that are left and the signal."""


def crashpoint(place: str) -> None:
    """Does nothing, unless this process was told to die or freeze here."""
    if not _armed:
        return
    if place in _armed:
        left, number = _armed[place]
        _armed[place] = (left - 1, number)
        if left == 1:
            # To this thread: a signal to the process may be taken by another one, and this one would run on meanwhile.
            signal.pthread_kill(threading.get_ident(), number)


def arm() -> None:
    """Read the environment: once at the start, and again in a process that was forked."""
    for variable, number in (("SPACEOS_CRASH", signal.SIGKILL), ("SPACEOS_SUSPEND", signal.SIGSTOP)):
        if given := os.environ.get(variable):
            place, _, passes = given.partition(":")
            if place not in PLACES:
                raise ValueError(f"{variable} names {place}; the places are {', '.join(PLACES)}")
            _armed[place] = (int(passes or 1), number)


arm()
