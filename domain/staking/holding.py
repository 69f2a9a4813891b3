"""What is in a collateral: active, being unstaked, and held by cases. Plain sums, no rules."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

EPOCHS_KEPT = 12
"""Evidence that is older than seven days opens no case."""


@dataclass
class Request:
    """An amount on its way out."""

    asked: int
    left: int
    releasable_at: datetime
    withdrawn: int = 0
    cancelled: bool = False


@dataclass
class Held:
    """What one case holds."""

    from_active: int = 0
    from_unbonding: dict[str, int] = field(default_factory=dict)

    @property
    def units(self) -> int:
        return self.from_active + sum(self.from_unbonding.values())


@dataclass
class Holding:
    """active + unbonding + withdrawn + slashed = staked, always."""

    active: int = 0
    staked: int = 0
    withdrawn: int = 0
    slashed: int = 0
    requests: dict[str, Request] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    levels: list[tuple[int, int]] = field(default_factory=list)
    """Epoch, and what was at risk after its last change."""

    @property
    def unbonding(self) -> int:
        return sum(request.left for request in self.requests.values())

    @property
    def at_risk(self) -> int:
        return self.active + self.unbonding

    @property
    def free_active(self) -> int:
        """What no case holds of the active part."""
        return self.active - sum(held.from_active for held in self.holds.values())

    def free_of(self, request: str) -> int:
        """What no case holds of an amount on its way out."""
        return self.requests[request].left - sum(held.from_unbonding.get(request, 0) for held in self.holds.values())

    def at_start_of(self, epoch: int) -> int:
        """What was at risk when the epoch began."""
        return next((units for at, units in reversed(self.levels) if at < epoch), 0)

    def offer(self, units: int) -> tuple[int, dict[str, int]]:
        """Where so much can be held, as far as it is there: the active part first, then what would leave first."""
        active = min(units, self.free_active)
        return active, dict(self._offer_unbonding(units - active))

    def stake(self, units: int, epoch: int) -> None:
        self.active += units
        self.staked += units
        self._level(epoch)

    def unstake(self, request: str, units: int, releasable_at: datetime) -> None:
        self.active -= units
        self.requests[request] = Request(units, units, releasable_at)

    def cancel(self, request: str) -> None:
        """Back to the active part, with what cases hold of it."""
        found = self.requests[request]
        self.active, found.left, found.cancelled = self.active + found.left, 0, True
        for held in self.holds.values():
            held.from_active += held.from_unbonding.pop(request, 0)

    def withdraw(self, request: str, units: int, epoch: int) -> None:
        found = self.requests[request]
        found.left, found.withdrawn = found.left - units, found.withdrawn + units
        self.withdrawn += units
        self._level(epoch)

    def take(self, case: str, epoch: int) -> None:
        held = self.holds.pop(case)
        self.active -= held.from_active
        for request, units in held.from_unbonding.items():
            self.requests[request].left -= units
        self.slashed += held.units
        self._level(epoch)

    def _offer_unbonding(self, wanted: int) -> Iterator[tuple[str, int]]:
        for request in sorted(self.requests, key=lambda name: (self.requests[name].releasable_at, name)):
            units = min(wanted, self.free_of(request))
            if units:
                yield request, units
                wanted -= units

    def _level(self, epoch: int) -> None:
        if self.levels and self.levels[-1][0] == epoch:
            self.levels.pop()
        self.levels.append((epoch, self.at_risk))
        # One from before the epochs that are kept says what was at risk when the first of them began.
        while len(self.levels) > 1 and self.levels[1][0] < epoch - EPOCHS_KEPT:
            self.levels.pop(0)
