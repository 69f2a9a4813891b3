"""Positions: what a stake and its inferences are owed, day by day, and what a pool that may be short pays of it."""

from dataclasses import dataclass, field
from typing import assert_never

from contracts.providers import Tier
from contracts.rewards import (
    MULTIPLIERS,
    REWARDS,
    SLA_MISSED_PERCENT,
    USAGE_REWARD_UNITS,
    YEAR_SECONDS,
    Accrue,
    Accrued,
    Paid,
    Pay,
)
from contracts.staking import STAKING
from domain import Aggregate, Refused
from domain.rewards.epochs import Epoch, NotClosed

PositionEvent = Accrued | Paid

SCALE = 10_000 * YEAR_SECONDS * 100
"""Basis points, seconds of a year and hundredths of a multiplier: what a sum is divided by, once."""


class AlreadyAccrued(Refused):
    """The epoch is accrued, with other numbers."""


class AlreadyPaid(Refused):
    """The epoch is paid, with other numbers."""


class NotAccrued(Refused):
    """Nothing was accrued for the epoch."""


class OfAnotherEpoch(Refused):
    """The epoch's own stream says whether it is open."""


def terms(
    tier: Tier, expected: int, missed: int, base_apr_bp: int = REWARDS.base_apr_bp,
    breach_percent: int = STAKING.downtime_threshold_percent,
) -> tuple[int, int]:  # fmt: skip
    """Basis points on stake and multiplier in hundredths, by the tier at the epoch's start and the epoch's slots.

    Within the SLA of 99 % the tier's multiplier, to the breach none, below no yield on stake; Free never has
    one (white paper 5.4).
    """
    base = 0 if tier == "free" or missed * 100 > expected * breach_percent else base_apr_bp
    return base, MULTIPLIERS[tier] if missed * 100 <= expected * SLA_MISSED_PERCENT else 100


def pro_rata(owed: int, pool: int, owed_total: int) -> int:
    """All of it where the pool suffices, else its part of the pool, rounded down."""
    return owed if owed_total <= pool else owed * pool // owed_total


@dataclass
class Position(Aggregate[PositionEvent]):
    """One stake. What an epoch leaves over is carried, so a year pays the same however it is cut."""

    rest: int = 0
    """In parts of 1 / SCALE of a unit."""
    accrued: dict[int, Accrued] = field(default_factory=dict)
    paid: dict[int, Paid] = field(default_factory=dict)

    def accrue(self, command: Accrue, epoch: Epoch) -> None:
        """Raises AlreadyAccrued, NotOpen, AlreadyClosed."""
        owed, _ = divmod(self.rest + _weight(command), SCALE)
        if (done := self.accrued.get(command.epoch)) is not None:
            if done.model_copy(update={"owed": 0}) != Accrued(**dict(command), owed=0):
                raise AlreadyAccrued(field="epoch")
            return
        _require_number(epoch, command.epoch)
        epoch.require_open()
        self.record(Accrued(**dict(command), owed=owed))

    def pay(self, command: Pay, epoch: Epoch) -> None:
        """Raises AlreadyPaid, NotAccrued, NotClosed."""
        if (done := self.paid.get(command.epoch)) is not None:
            if (done.pool, done.owed_total) != (command.pool, command.owed_total):
                raise AlreadyPaid(field="epoch")
            return
        if (accrued := self.accrued.get(command.epoch)) is None:
            raise NotAccrued(field="epoch")
        _require_number(epoch, command.epoch)
        closed = epoch.require_closed()
        if (closed.pool, closed.owed) != (command.pool, command.owed_total):
            raise NotClosed(f"the epoch owes {closed.owed} units of {closed.pool}", "owed_total")
        amount = pro_rata(accrued.owed, command.pool, command.owed_total)
        self.record(Paid(**dict(command), amount=amount, lapsed=accrued.owed - amount))

    def apply(self, event: PositionEvent) -> None:
        match event:
            case Accrued(epoch=epoch):
                self.rest = (self.rest + _weight(event)) % SCALE
                self.accrued[epoch] = event
            case Paid(epoch=epoch):
                self.paid[epoch] = event
            case _:
                assert_never(event)


def _weight(said: Accrue | Accrued) -> int:
    usage = said.inferences * USAGE_REWARD_UNITS * 10_000 * YEAR_SECONDS
    return said.multiplier * (said.stake * said.base_bp * said.seconds + usage)


def _require_number(epoch: Epoch, number: int) -> None:
    if epoch.number != number:
        raise OfAnotherEpoch
