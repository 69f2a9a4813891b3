"""Positions in the log as people write them, and the cuts that they mean.

A cut says of each shard which sequence is next: everything below it belongs to the position. A time, a checkpoint of the
audit log and an event are other ways to name one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts import Uuid, rfc3339

Cut = Mapping[str, int]
"""Shard (`providers.events/3`) to the next sequence."""

FORMS = (
    "now, start, a time (2026-11-24T03:00:00Z), checkpoint:N, an event's id, "
    "or a cut (providers.events/0=12,liveness.events/1=7)"
)


class BadPosition(ValueError):
    """The text names no position. The message says which forms there are."""


@dataclass(frozen=True, slots=True)
class Now:
    """All that the source holds."""


@dataclass(frozen=True, slots=True)
class AtTime:
    """Of each shard the longest prefix whose records all have `time` at most this one (RFC 3339, microseconds)."""

    time: str


@dataclass(frozen=True, slots=True)
class AtCheckpoint:
    """What the seals among the first `size` leaves of the audit log name."""

    size: int


@dataclass(frozen=True, slots=True)
class AtEvent:
    """The event and nothing after it: its shard ends with it, the others where its time is over."""

    id: str


@dataclass(frozen=True, slots=True)
class AtCut:
    """As it is written."""

    cut: Cut


Position = Now | AtTime | AtCheckpoint | AtEvent | AtCut

_PLACE = re.compile(r"([a-z][a-z0-9]*\.events/\d{1,4})=(\d{1,18})")
_UUID = re.compile(Uuid.pattern)


def parse_position(text: str) -> Position:
    """Raises BadPosition."""
    words = text.strip()
    if words == "now":
        return Now()
    if words == "start":
        return AtCut({})
    if words.startswith("checkpoint:"):
        return AtCheckpoint(_whole(words.removeprefix("checkpoint:"), words))
    if _UUID.fullmatch(words):
        return AtEvent(words)
    if "=" in words:
        return AtCut(_literal(words))
    return AtTime(_time(words))


def written(cut: Cut) -> str:
    """The cut as it can be given again; `start` for one that is empty."""
    return ",".join(f"{shard}={next_}" for shard, next_ in sorted(cut.items()) if next_) or "start"


def is_before(first: Cut, second: Cut) -> bool:
    """Whether no shard of the first has come further than in the second."""
    return all(next_ <= second.get(shard, 0) for shard, next_ in first.items())


def _whole(digits: str, text: str) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise BadPosition(f"{text!r}: after checkpoint: comes the number of leaves that it covers")
    return int(digits)


def _literal(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _PLACE.fullmatch(part.strip())
        if match is None:
            raise BadPosition(f"{part!r} is no place in a shard; a cut is like providers.events/0=12,liveness.events/1=7")
        if match[1] in found:
            raise BadPosition(f"{match[1]} stands in the cut twice")
        found[match[1]] = int(match[2])
    return found


def _time(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadPosition(f"{text!r} is no position; there are: {FORMS}") from None
    if moment.tzinfo is None:
        raise BadPosition(f"{text!r} does not say in which zone; a time in UTC ends in Z")
    return rfc3339(moment.astimezone(UTC))
