"""Epochs: a day is opened, closed with what is owed, divided, and put under one root."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

from contracts import Amount, Asset
from contracts.rewards import (
    CLOSE_DELAY_SECONDS,
    EPOCH_SECONDS,
    CloseEpoch,
    ConfirmRoot,
    DivideOracleShare,
    EpochClosed,
    EpochOpened,
    OpenEpoch,
    OracleShare,
    OracleShareDivided,
    Payee,
    PublishRoot,
    RootConfirmed,
    RootPublished,
)
from domain import Aggregate, Refused
from domain.rewards.emission import EpochOutOfOrder

EpochEvent = EpochOpened | EpochClosed | OracleShareDivided | RootPublished | RootConfirmed


class NotOpen(Refused):
    """The epoch was never opened."""


class StillOpen(Refused):
    """An epoch is closed ten minutes after its end, when what came late is in."""


class AlreadyClosed(Refused):
    """The epoch is closed: nothing is added to what it owes."""


class NotClosed(Refused):
    """The epoch is not closed, or not with these numbers."""


class AlreadyDivided(Refused):
    """The oracles' share of the epoch is divided, otherwise."""


class AlreadyPublished(Refused):
    """The epoch's root is out: what comes later belongs to the next one."""


class RootDecreases(Refused):
    """Nobody's cumulative amount ever falls: the contract pays what a root adds to what was claimed."""


class NotPublished(Refused):
    """The epoch has no root."""


class AlreadyConfirmed(Refused):
    """The root is confirmed, by another transaction."""


def epoch_at(moment: datetime) -> int:
    """The day, numbered from 1970-01-01 UTC."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(seconds=EPOCH_SECONDS)


def begin_of(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch * EPOCH_SECONDS, UTC)


def divide(pot: int, accepted: dict[Payee, int]) -> dict[Payee, int]:
    """A pot by accepted reports, in whole units; what is left over, or all of it where nobody reported, is carried."""
    everything = sum(accepted.values())
    return {oracle: pot * count // everything for oracle, count in accepted.items() if count}


@dataclass
class Epoch(Aggregate[EpochEvent]):
    """One day."""

    opened: EpochOpened | None = None
    closed: EpochClosed | None = None
    divided: OracleShareDivided | None = None
    published: RootPublished | None = None
    confirmed: RootConfirmed | None = None

    @property
    def number(self) -> int:
        return int(self.id)

    def open(self, command: OpenEpoch, now: datetime, last_minted: int | None) -> None:
        """`last_minted` is the last epoch for which was minted. Raises EpochOutOfOrder."""
        event = EpochOpened(**dict(command))
        if self.opened == event:
            return
        if self.id != str(epoch_at(command.start)) or not self.number > (last_minted if last_minted is not None else -1):
            raise EpochOutOfOrder(field="subject")
        if (command.start, command.until) != (begin_of(self.number), begin_of(self.number + 1)) or now < command.start:
            raise EpochOutOfOrder("an epoch is a UTC day that has begun", "start")
        self.record(event)

    def close(self, command: CloseEpoch, now: datetime) -> None:
        """Raises NotOpen, StillOpen, AlreadyClosed."""
        event = EpochClosed(**dict(command), paid_in_full=command.owed <= command.pool)
        if self.closed is not None:
            if self.closed != event:
                raise AlreadyClosed
            return
        if self.opened is None:
            raise NotOpen
        if now < self.opened.until + timedelta(seconds=CLOSE_DELAY_SECONDS):
            raise StillOpen
        self.record(event)

    def divide(self, command: DivideOracleShare) -> None:
        """Raises NotClosed, AlreadyDivided."""
        if self.divided is not None:
            if (self.divided.pots, self.divided.reports) != (command.pots, command.reports):
                raise AlreadyDivided
            return
        self.require_closed()
        accepted: dict[Payee, int] = {}
        for reports in command.reports:
            accepted[reports.oracle] = accepted.get(reports.oracle, 0) + reports.accepted
        shares, carried = [], []
        for pot in command.pots:
            parts = divide(pot.units, accepted)
            shares += [OracleShare(oracle=o, amount=Amount.of(pot.asset, units)) for o, units in parts.items() if units]
            carried.append(Amount.of(pot.asset, pot.units - sum(parts.values())))
        self.record(OracleShareDivided(**dict(command), shares=tuple(shares), carried=tuple(carried)))

    def publish(self, command: PublishRoot, before: "Epoch | None") -> None:
        """`before` is the epoch of the last root. Raises NotClosed, AlreadyPublished, RootDecreases."""
        event = RootPublished(**dict(command))
        if self.published is not None:
            if self.published != event:
                raise AlreadyPublished
            return
        self.require_closed()
        if before is not None and before.published is not None:
            _require_grown(before.published, command)
        self.record(event)

    def confirm(self, command: ConfirmRoot) -> None:
        """Raises NotPublished, AlreadyConfirmed."""
        event = RootConfirmed(**dict(command))
        if self.confirmed is not None:
            if self.confirmed != event:
                raise AlreadyConfirmed
            return
        if self.published is None:
            raise NotPublished
        self.record(event)

    def require_open(self) -> None:
        """Raises NotOpen, AlreadyClosed."""
        if self.opened is None:
            raise NotOpen
        if self.closed is not None:
            raise AlreadyClosed

    def require_closed(self) -> EpochClosed:
        """Raises NotClosed."""
        if self.closed is None:
            raise NotClosed
        return self.closed

    def require_unpublished(self) -> None:
        """Raises NotClosed, AlreadyPublished."""
        self.require_closed()
        if self.published is not None:
            raise AlreadyPublished

    def apply(self, event: EpochEvent) -> None:
        match event:
            case EpochOpened():
                self.opened = event
            case EpochClosed():
                self.closed = event
            case OracleShareDivided():
                self.divided = event
            case RootPublished():
                self.published = event
            case RootConfirmed():
                self.confirmed = event
            case _:
                assert_never(event)


def _require_grown(before: RootPublished, now: PublishRoot) -> None:
    totals: dict[Asset, int] = {total.asset: total.units for total in now.totals}
    if now.claims < before.claims:
        raise RootDecreases(f"the table before has {before.claims} rows", "claims")
    for total in before.totals:
        if totals.get(total.asset, 0) < total.units:
            raise RootDecreases(f"{total} are published", "totals")
