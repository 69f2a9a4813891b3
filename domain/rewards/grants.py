"""Grants: part of a bucket for somebody, released by a schedule that anybody can compute (white paper 9.3)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Did
from contracts.rewards import (
    TRANCHE_SECONDS,
    Bucket,
    CreateGrant,
    GrantCreated,
    GrantRevoked,
    MilestoneAttested,
    MilestoneReached,
    ReachMilestone,
    Released,
    RevokeGrant,
)
from domain import Aggregate, Refused

GrantEvent = GrantCreated | MilestoneAttested | MilestoneReached | Released | GrantRevoked


class AlreadyCreated(Refused):
    """The grant exists with other terms."""


class NotCreated(Refused):
    """There is no such grant."""


class ScheduleUnsound(Refused):
    """A linear grant lasts whole tranches; the amounts of milestones add up to the total, and only they have any."""


class NotAllotted(Refused):
    """Its bucket has set nothing aside for the grant, or another amount."""


class MilestoneUnknown(Refused):
    """The grant has no such milestone."""


class SamePerson(Refused):
    """It takes the word of two persons; two keys of one person are not two persons."""


class NothingReleasable(Refused):
    """The schedule gives nothing more by now."""


class Revoked(Refused):
    """The grant was revoked: what was released stays, and nothing follows."""


def releasable(grant: GrantCreated, reached: int, now: datetime) -> int:
    """Units that the schedule has given by then, released ones included; `reached` is the sum of its reached milestones."""
    elapsed = (now - grant.start) // timedelta(seconds=1)
    match grant.kind:
        case "milestone":
            return reached
        case "immediate":
            return grant.total if elapsed >= 0 else 0
        case "cliff":
            return grant.total if elapsed >= grant.cliff_seconds else 0
        case "linear":
            tranches = grant.duration_seconds // TRANCHE_SECONDS
            past = min(elapsed // TRANCHE_SECONDS, tranches) if elapsed >= max(0, grant.cliff_seconds) else 0
            return grant.total * past // tranches
        case _:
            assert_never(grant.kind)


@dataclass
class Grant(Aggregate[GrantEvent]):
    """One grant and what it has released."""

    created: GrantCreated | None = None
    attested: dict[int, dict[Did, str]] = field(default_factory=dict)
    """Of each milestone who has said with which evidence that it is reached."""
    reached: dict[int, str] = field(default_factory=dict)
    released: int = 0
    revoked: GrantRevoked | None = None

    def create(self, command: CreateGrant, allotted: tuple[Bucket, int] | None) -> None:
        """`allotted` is what its bucket has set aside for it. Raises AlreadyCreated, ScheduleUnsound, NotAllotted."""
        event = GrantCreated(**dict(command))
        if self.created is not None:
            if self.created != event:
                raise AlreadyCreated
            return
        if not _is_sound(command):
            raise ScheduleUnsound(field="kind")
        if allotted != (command.bucket, command.total):
            raise NotAllotted(field="total")
        self.record(event)

    def reach(self, command: ReachMilestone, person: Did) -> None:
        """Raises MilestoneUnknown, SamePerson, Revoked, NotCreated."""
        created, number = self._require_live(), command.number
        if not 1 <= number <= len(created.milestones):
            raise MilestoneUnknown(field="number")
        if number in self.reached:
            return
        said = self.attested.get(number, {})
        if said.get(person) == command.evidence:
            raise SamePerson
        if any(other != person and evidence == command.evidence for other, evidence in said.items()):
            self.record(MilestoneReached(number=number, evidence=command.evidence))
        else:
            self.record(MilestoneAttested(number=number, evidence=command.evidence, person=person))

    def release(self, now: datetime) -> None:
        """Raises NothingReleasable, Revoked, NotCreated."""
        due = self.releasable(now) - self.released
        self._require_live()
        if due <= 0:
            raise NothingReleasable
        self.record(Released(amount=due, released_total=self.released + due))

    def revoke(self, command: RevokeGrant) -> None:
        """What was released stays with the beneficiary. Raises NotCreated."""
        if self.revoked is not None:
            return
        created = self._require_live()
        self.record(GrantRevoked(reason=command.reason, returned=created.total - self.released))

    def releasable(self, now: datetime) -> int:
        """Units given by then, released ones included."""
        if self.created is None:
            return 0
        reached = sum(self.created.milestones[number - 1] for number in self.reached)
        return self.released if self.revoked else releasable(self.created, reached, now)

    @property
    def returned(self) -> int:
        """Units that it will never release."""
        return self.revoked.returned if self.revoked else 0

    def apply(self, event: GrantEvent) -> None:
        match event:
            case GrantCreated():
                self.created = event
            case MilestoneAttested(number=number, person=person, evidence=evidence):
                self.attested.setdefault(number, {})[person] = evidence
            case MilestoneReached(number=number, evidence=evidence):
                self.reached[number] = evidence
            case Released(released_total=total):
                self.released = total
            case GrantRevoked():
                self.revoked = event
            case _:
                assert_never(event)

    def _require_live(self) -> GrantCreated:
        if self.created is None:
            raise NotCreated
        if self.revoked is not None:
            raise Revoked
        return self.created


def _is_sound(command: CreateGrant) -> bool:
    if command.kind == "linear":
        tranches, rest = divmod(command.duration_seconds, TRANCHE_SECONDS)
        return tranches > 0 and rest == 0 and command.cliff_seconds <= command.duration_seconds and not command.milestones
    if command.kind == "milestone":
        return sum(command.milestones) == command.total > 0
    return not command.milestones
