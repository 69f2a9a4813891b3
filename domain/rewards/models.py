"""Models: who gets the owner's share, and what becomes of it where nobody does."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Amount, Did
from contracts.rewards import (
    MODEL_ESCROW_SECONDS,
    EscrowLapsed,
    LapseEscrow,
    OwnerAttested,
    OwnerRegistered,
    Payee,
    RegisterOwner,
)
from domain import Aggregate, Refused
from domain.rewards.epochs import begin_of
from domain.rewards.grants import SamePerson

ModelEvent = OwnerAttested | OwnerRegistered | EscrowLapsed


class NotDue(Refused):
    """An escrow lapses 90 days after its epoch, and not where an owner was registered by then."""


class AlreadyLapsed(Refused):
    """The escrow of that epoch and asset has lapsed, with another amount."""


def escrow_ends(epoch: int) -> datetime:
    """Until then an owner may still be registered for the epoch's share."""
    return begin_of(epoch + 1) + timedelta(seconds=MODEL_ESCROW_SECONDS)


@dataclass
class Model(Aggregate[ModelEvent]):
    """One model as rewards know it."""

    owner: Payee | None = None
    registered_at: datetime | None = None
    """When it first had an owner."""
    attested: dict[Did, tuple[str, str]] = field(default_factory=dict)
    """Who has said which owner, by which evidence."""
    lapsed: dict[str, int] = field(default_factory=dict)
    """`<epoch>.<asset>` to units."""

    def register(self, command: RegisterOwner, person: Did, now: datetime) -> None:
        """Raises SamePerson."""
        if command.owner == self.owner:
            return
        claim = (command.owner, command.evidence)
        if self.attested.get(person) == claim:
            raise SamePerson
        if any(other != person and said == claim for other, said in self.attested.items()):
            self.record(OwnerRegistered(**dict(command), registered_at=now))
        else:
            self.record(OwnerAttested(**dict(command), person=person))

    def lapse(self, command: LapseEscrow, now: datetime) -> None:
        """Raises NotDue, AlreadyLapsed."""
        done = self.lapsed.get(_key(command.epoch, command.amount))
        if done is not None:
            if done != command.amount.units:
                raise AlreadyLapsed
            return
        if now < escrow_ends(command.epoch) or self.had_an_owner(command.epoch):
            raise NotDue(field="epoch")
        self.record(EscrowLapsed(**dict(command)))

    def had_an_owner(self, epoch: int) -> bool:
        """Whether one was registered within 90 days of the epoch's end: the escrow is the owner's."""
        return self.registered_at is not None and self.registered_at < escrow_ends(epoch)

    def apply(self, event: ModelEvent) -> None:
        match event:
            case OwnerAttested(person=person, owner=owner, evidence=evidence):
                self.attested[person] = (owner, evidence)
            case OwnerRegistered(owner=owner, registered_at=at):
                self.owner, self.registered_at, self.attested = owner, self.registered_at or at, {}
            case EscrowLapsed(epoch=epoch, amount=amount):
                self.lapsed[_key(epoch, amount)] = amount.units
            case _:
                assert_never(event)


def _key(epoch: int, amount: Amount) -> str:
    return f"{epoch}.{amount.asset}"
