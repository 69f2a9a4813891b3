"""What a what-if comes to: which decisions would have been others, for whom, and where the two worlds part."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.replay.watching import Cause

Effects = Mapping[str, Mapping[str, int]]
"""Account (provider, wallet, actor) to units to how many of them."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision in one world. Two of the same subject are compared by what they say."""

    subject: str
    said: str
    cause: Cause
    """The record that stands for it: the decision's event, or the command's outcome."""
    is_accepted: bool = True
    effects: Effects = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parted:
    """A decision that would have been another one; None where it would not have been taken at all."""

    subject: str
    recorded: str | None
    tried: str | None
    cause: Cause


@dataclass(slots=True)
class Verdict:
    """The difference between what happened and what would have."""

    decisions: int = 0
    changed: list[Parted] = field(default_factory=list)
    newly_accepted: int = 0
    newly_refused: int = 0
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Account to units to what it would have had more; what comes to nothing is left out."""
    unfaithful: list[str] = field(default_factory=list)
    """Decisions that the recorded parameters do not give: there the answer is not to be relied on."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """What was not decided again, by reason."""

    @property
    def first(self) -> Parted | None:
        """Where the two worlds part."""
        return min(self.changed, key=lambda parted: _when(parted.cause), default=None)

    @property
    def is_empty(self) -> bool:
        return not (self.changed or self.accounts or self.newly_accepted or self.newly_refused)

    def document(self) -> dict[str, Any]:
        """As JSON, the changed decisions in the order of their records."""
        first = self.first
        return {
            "decisions": self.decisions,
            "changed": len(self.changed),
            "newly_accepted": self.newly_accepted,
            "newly_refused": self.newly_refused,
            "accounts": {
                name: {unit: exact(amount) for unit, amount in sorted(units.items())}
                for name, units in sorted(self.accounts.items())
            },
            "first": None if first is None else _parted(first),
            "differences": [_parted(parted) for parted in sorted(self.changed, key=lambda parted: _when(parted.cause))],
            "unfaithful": self.unfaithful,
            "passed_over": dict(sorted(self.passed_over.items())),
        }

    def digest(self) -> str:
        """SHA-256 of the document, keys sorted."""
        return hashlib.sha256(orjson.dumps(self.document(), option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def exact(value: Any) -> Any:
    """As a reader of JSON sees it unchanged: a whole number beyond 2^53 as text, bytes as hexadecimal."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    return value.hex() if isinstance(value, bytes) else value


def compared(recorded: Iterable[Decision], tried: Iterable[Decision], again: Iterable[Decision] | None = None) -> Verdict:
    """What the tried world says otherwise. `again` is the recorded world, derived: it must say what was recorded."""
    was, would = ({decision.subject: decision for decision in world} for world in (recorded, tried))
    verdict = Verdict(decisions=len(was.keys() | would.keys()))
    for subject in sorted(was.keys() | would.keys()):
        _compare(verdict, subject, was.get(subject), would.get(subject))
    verdict.accounts = _without_zeros(verdict.accounts)
    if again is not None:
        derived = {decision.subject: decision.said for decision in again}
        verdict.unfaithful = sorted(subject for subject, decision in was.items() if derived.get(subject) != decision.said)
    return verdict


def _compare(verdict: Verdict, subject: str, was: Decision | None, would: Decision | None) -> None:
    one = was or would
    assert one is not None
    for decision, sign in ((was, -1), (would, 1)):
        for account, units in (decision.effects if decision else {}).items():
            entry = verdict.accounts.setdefault(account, {})
            for unit, amount in units.items():
                entry[unit] = entry.get(unit, 0) + sign * amount
    recorded, tried = (None if decision is None else decision.said for decision in (was, would))
    if recorded == tried:
        return
    verdict.changed.append(Parted(subject, recorded, tried, one.cause))
    before, after = was is not None and was.is_accepted, would is not None and would.is_accepted
    verdict.newly_accepted += after and not before
    verdict.newly_refused += before and not after


def _without_zeros(accounts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    kept = {name: {unit: amount for unit, amount in units.items() if amount} for name, units in accounts.items()}
    return {name: units for name, units in kept.items() if units}


def _when(cause: Cause) -> tuple[str, str, int]:
    return cause.time, cause.shard, cause.sequence


def _parted(parted: Parted) -> dict[str, Any]:
    return {
        "subject": parted.subject, "recorded": parted.recorded, "tried": parted.tried, "event": parted.cause.document(),
    }  # fmt: skip
