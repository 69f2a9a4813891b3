"""Earners: what a payee has earned in an asset, which only grows, and how much of it the chain has paid out."""

from dataclasses import dataclass, field
from typing import assert_never

from contracts.rewards import Claimed, Earn, Earned, RecordClaim, earner_stream
from domain import Aggregate, Refused
from domain.rewards.epochs import Epoch
from domain.rewards.models import Model

EarnerEvent = Earned | Claimed


class AlreadyEarned(Refused):
    """The epoch's earnings of that kind are recorded, with another amount."""


class ExceedsEarned(Refused):
    """More is claimed than was earned."""


class AlreadyClaimed(Refused):
    """That log was recorded with another amount."""


class NotTheOwner(Refused):
    """The escrow of that epoch is not this payee's: another owns the model, or too late."""


class NotThisEarner(Refused):
    """An earner's stream is named by payee and asset."""


@dataclass
class Earner(Aggregate[EarnerEvent]):
    """One payee in one asset. 0 <= claimed <= cumulative, and neither falls."""

    cumulative: int = 0
    claimed: int = 0
    earned: dict[str, int] = field(default_factory=dict)
    """By source, epoch and escrow."""
    claims: dict[str, int] = field(default_factory=dict)
    """By transaction and log."""

    @property
    def payee(self) -> str:
        return self.id.partition(".")[0]

    def earn(self, command: Earn, epoch: Epoch, model: Model | None = None) -> None:
        """`model` is the one whose escrow it was. Raises AlreadyEarned, NotClosed, AlreadyPublished, NotTheOwner."""
        self._require_asset(command.amount.asset)
        if (done := self.earned.get(_key(command))) is not None:
            if done != command.amount.units:
                raise AlreadyEarned(field="amount")
            return
        epoch.require_unpublished()
        if command.escrow_of is not None:
            self._require_owner(command, model)
        self.record(Earned(**dict(command), cumulative=self.cumulative + command.amount.units))

    def claim(self, command: RecordClaim) -> None:
        """A log of the contract; one that is read again changes nothing. Raises ExceedsEarned, AlreadyClaimed."""
        self._require_asset(command.amount.asset)
        if (done := self.claims.get(f"{command.transaction}.{command.log}")) is not None:
            if done != command.amount.units:
                raise AlreadyClaimed(field="amount")
            return
        claimed = self.claimed + command.amount.units
        if claimed > self.cumulative:
            raise ExceedsEarned(f"{self.cumulative - self.claimed} units are earned and not claimed", "amount")
        self.record(Claimed(**dict(command), claimed=claimed))

    def apply(self, event: EarnerEvent) -> None:
        match event:
            case Earned(amount=amount, cumulative=cumulative):
                self.cumulative, self.earned[_key(event)] = cumulative, amount.units
            case Claimed(amount=amount, transaction=transaction, log=log, claimed=claimed):
                self.claimed, self.claims[f"{transaction}.{log}"] = claimed, amount.units
            case _:
                assert_never(event)

    def _require_asset(self, asset: str) -> None:
        if self.stream != earner_stream(self.payee, asset):
            raise NotThisEarner(field="subject")

    def _require_owner(self, command: Earn, model: Model | None) -> None:
        epoch, asset = command.escrow_epoch, command.amount.asset
        if command.source != "model" or model is None or epoch is None or model.owner != self.payee:
            raise NotTheOwner(field="escrow_of")
        if not model.had_an_owner(epoch) or f"{epoch}.{asset}" in model.lapsed:
            raise NotTheOwner(field="escrow_epoch")


def _key(said: Earn | Earned) -> str:
    escrow = "" if said.escrow_of is None else f".{said.escrow_of}.{said.escrow_epoch}"
    return f"{said.source}.{said.epoch}{escrow}"
