"""Outflow: what has left in the last 24 hours, in US cents, over every coin and every payout."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts.treasury import (
    OUTFLOW,
    PAYOUT_WINDOW_SECONDS,
    TREASURY,
    OutflowEvent,
    OutflowReleased,
    OutflowReserved,
    ReleaseOutflow,
    ReserveOutflow,
    TreasuryParameters,
)
from domain import Aggregate, Shelf, shelf
from domain.treasury import AddressedWrongly, NotReserved, OverDailyLimit, OverSingleLimit, ReferenceUsed

WINDOW = timedelta(seconds=PAYOUT_WINDOW_SECONDS)


@dataclass
class Reserved:
    """One payout, and when it was counted."""

    usd_cents: int
    at: datetime


@dataclass
class Outflow(Aggregate[OutflowEvent]):
    """All payouts, so that a limit is decided against all of them."""

    reserved: Shelf[int] = shelf("withdrawal")
    """US cents."""
    recent: dict[str, Reserved] = field(default_factory=dict)
    """Those of the 24 hours before the last."""

    def reserve(self, command: ReserveOutflow, now: datetime, terms: TreasuryParameters = TREASURY) -> None:
        """Raises OverSingleLimit, OverDailyLimit, ReferenceUsed, AddressedWrongly."""
        if self.stream != OUTFLOW:
            raise AddressedWrongly(f"it is {OUTFLOW}", "subject")
        if (known := self.reserved.get(command.withdrawal)) is not None:
            if known != command.usd_cents:
                raise ReferenceUsed(f"{known} cents are counted for it", "usd_cents")
            return
        single, daily = terms.payout_single_max_usd_cents, terms.payout_daily_max_usd_cents
        window = self.window(now) + command.usd_cents
        if not command.reviewed and command.usd_cents > single:
            raise OverSingleLimit(f"{command.usd_cents} of at most {single} cents", "usd_cents")
        if not command.reviewed and window > daily:
            raise OverDailyLimit(f"{window} of at most {daily} cents in 24 hours", "usd_cents")
        said = {**dict(command), "at": now, "window_usd_cents": window, "policy_version": terms.policy_version}
        self.record(OutflowReserved(**said))

    def release(self, command: ReleaseOutflow) -> None:
        """Raises NotReserved."""
        if command.withdrawal not in self.reserved:
            raise NotReserved(field="withdrawal")
        self.record(OutflowReleased(withdrawal=command.withdrawal))

    def window(self, now: datetime) -> int:
        """US cents of all payouts in the 24 hours before; one of exactly 24 hours ago is in them no more."""
        return sum(found.usd_cents for found in self.recent.values() if found.at > now - WINDOW)

    def cents_of(self, withdrawal: str) -> int | None:
        """What is counted for the withdrawal."""
        return self.reserved.get(withdrawal)

    def apply(self, event: OutflowEvent) -> None:
        match event:
            case OutflowReserved(withdrawal=withdrawal, usd_cents=cents, at=at):
                self.reserved[withdrawal] = cents
                self.recent = {name: found for name, found in self.recent.items() if found.at > at - WINDOW}
                self.recent[withdrawal] = Reserved(cents, at)
            case OutflowReleased(withdrawal=withdrawal):
                self.reserved.remove(withdrawal)
                self.recent.pop(withdrawal, None)
            case _:
                assert_never(event)
