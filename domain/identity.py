"""Who may register, rotate and end a key. A key is a stream; the network's founding is another."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Did, Digest
from contracts.identity import (
    SERVICE_KEY_DAYS,
    ApproveKey,
    Found,
    Founded,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    ProposeKey,
    RevokeKey,
    RoleGrant,
    RoleWithdrawn,
    RotateKey,
    WithdrawRole,
)
from domain import Aggregate, Refused

NEEDS_SECOND = frozenset({"identity.verifier", "identity.registrar"})
"""Roles that one person alone cannot give."""


class AlreadyFounded(Refused):
    """A network is founded once."""


class NotARoot(Refused):
    """The network is founded by one of its roots, with distinct roots and a quorum that they can reach."""


class OnAnotherNetwork(Refused):
    """The stream names another network than the record."""


class AddressedWrongly(Refused):
    """The stream is that of another key, or of none."""


class BadProof(Refused):
    """The new key did not sign that it wants to be registered here."""


class EndTooFar(Refused):
    """A service key ends within 366 days, and after now."""


class Revoked(Refused):
    """A revoked key is never registered again."""


class NotRegistered(Refused):
    """No registration of this key is known; a key of the genesis is replaced by a new one and then revoked."""


class NoSuchProposal(Refused):
    """Nothing of that digest waits for approval."""


class SamePerson(Refused):
    """Proposer and approver are different persons, and neither is the proposed key. A rotated key is no second person."""


class AlreadyKnown(Refused):
    """The successor has a registration of its own: re-registering a known key is not a rotation."""


@dataclass
class Network(Aggregate[IdentityEvent]):
    """A deployment's founding: its roots, and how many of them make a registrar."""

    roots: tuple[str, ...] = ()
    quorum: int = 1

    def found(self, command: Found, actor: str, network: str) -> None:
        """White paper 3.1. Raises AlreadyFounded, NotARoot, OnAnotherNetwork."""
        if self.version:
            raise AlreadyFounded
        if self.id != network:
            raise OnAnotherNetwork(field="subject")
        if actor not in command.roots or len(set(command.roots)) != len(command.roots):
            raise NotARoot(field="roots")
        if command.quorum > len(command.roots):
            raise NotARoot(f"{len(command.roots)} roots cannot reach a quorum of {command.quorum}", "quorum")
        self.record(Founded(roots=command.roots, quorum=command.quorum, chain_id=command.chain_id, profile=command.profile))

    def apply(self, event: IdentityEvent) -> None:
        match event:
            case Founded(roots=roots, quorum=quorum):
                self.roots, self.quorum = tuple(roots), quorum
            case KeyProposed() | KeyApproved() | KeyRegistered() | KeyRotated() | RoleWithdrawn() | KeyRevoked():
                pass
            case _:
                assert_never(event)


@dataclass
class Proposal:
    """What waits for a second person."""

    roles: tuple[RoleGrant, ...]
    not_after: datetime
    consenting: list[str]
    """The persons that proposed and approved, each once."""


@dataclass
class Key(Aggregate[IdentityEvent]):
    """One key's registrations and their end."""

    roles: list[RoleGrant] = field(default_factory=list)
    not_after: datetime | None = None
    withdrawn: list[tuple[str, str]] = field(default_factory=list)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    successor: str | None = None
    revoked: bool = False

    def propose(self, command: ProposeKey, *, actor: str, person: str, digest: str, now: datetime) -> None:
        """Register, or wait for the second person where a role needs one. The proof was checked by the service."""
        if command.key != self.id:
            raise AddressedWrongly(f"the stream is {self.stream}, the key {command.key}", "key")
        self._refuse_revoked()
        if not now < command.not_after <= now + timedelta(days=SERVICE_KEY_DAYS):
            raise EndTooFar(field="not_after")
        if actor == command.key:
            raise SamePerson(field="key")
        if self._holds(command.roles, command.not_after):
            return
        needs_second = any(grant.role in NEEDS_SECOND for grant in command.roles)
        self.record(
            KeyProposed(
                key=command.key, roles=command.roles, held_by=command.held_by, not_after=command.not_after,
                proof=command.proof, proposal=Digest(digest), proposed_by=Did(actor), needs_second=needs_second,
                person=Did(person),
            )
        )  # fmt: skip
        if not needs_second:
            self.record(KeyRegistered(key=command.key, roles=command.roles, not_after=command.not_after))

    def approve(self, command: ApproveKey, *, actor: str, person: str, quorum: int) -> None:
        """Another registrar's consent; a registrar needs `quorum` of them, and never fewer than two."""
        self._refuse_revoked()
        proposal = self.proposals.get(command.proposal)
        if proposal is None:
            raise NoSuchProposal(field="proposal")
        if person in proposal.consenting or actor == self.id:
            raise SamePerson("whoever proposed, approved or is proposed does not approve", "proposal")
        consenting = (*proposal.consenting, person)
        is_registrar = any(grant.role == "identity.registrar" for grant in proposal.roles)
        complete = len(consenting) >= max(2, quorum if is_registrar else 2)
        self.record(KeyApproved(key=Did(self.id), proposal=command.proposal, approved_by=Did(actor), person=Did(person)))
        if complete:
            self.record(KeyRegistered(key=Did(self.id), roles=proposal.roles, not_after=proposal.not_after))

    def rotate(self, command: RotateKey, *, successor: "Key", now: datetime) -> None:
        """Hand the roles to a new key; the old one acts until the overlap is over."""
        self._refuse_revoked()
        if self.not_after is None:
            raise NotRegistered
        if self.successor == command.successor:
            return
        if self.successor is not None or successor.version or command.successor == self.id:
            raise AlreadyKnown(field="successor")
        if not self.roles:
            raise NotRegistered("every role of the key was withdrawn: there is nothing to hand over")
        until = min(now + timedelta(seconds=command.overlap_seconds), self.not_after)
        self.record(
            KeyRotated(
                key=Did(self.id), successor=command.successor, roles=tuple(self.roles), not_after=self.not_after, until=until
            )
        )

    def withdraw(self, command: WithdrawRole) -> None:
        """End one role. Also of a key that the genesis registered, which has no events here."""
        key = self._named()
        if (command.role, command.prefix) in self.withdrawn or self.revoked:
            return
        if self.roles and not any((g.role, g.prefix) == (command.role, command.prefix) for g in self.roles):
            raise NotRegistered(f"the key has no role {command.role} on {command.prefix}", "role")
        self.record(RoleWithdrawn(key=key, role=command.role, prefix=command.prefix))

    def revoke(self, command: RevokeKey) -> None:
        """End the key, for good. Revoking an unknown key keeps it from ever being registered."""
        key = self._named()
        if self.revoked:
            return
        self.record(KeyRevoked(key=key, reason=command.reason, suspected_since=command.suspected_since))

    def apply(self, event: IdentityEvent) -> None:
        match event:
            case KeyProposed(proposal=digest, roles=roles, not_after=not_after, proposed_by=proposer, person=person):
                self.proposals[digest] = Proposal(tuple(roles), not_after, [person or proposer])
            case KeyApproved(proposal=digest, approved_by=approver, person=person):
                self.proposals[digest].consenting.append(person or approver)
            case KeyRegistered(roles=roles, not_after=not_after):
                known = {(grant.role, grant.prefix) for grant in roles}
                self.roles = [grant for grant in self.roles if (grant.role, grant.prefix) not in known] + list(roles)
                self.withdrawn = [pair for pair in self.withdrawn if pair not in known]
                self.not_after = not_after
                self.proposals.clear()
            case KeyRotated(successor=successor, until=until):
                self.successor, self.not_after = successor, until
            case RoleWithdrawn(role=role, prefix=prefix):
                self.roles = [grant for grant in self.roles if (grant.role, grant.prefix) != (role, prefix)]
                self.withdrawn.append((role, prefix))
            case KeyRevoked():
                self.revoked = True
                self.roles.clear()
                self.proposals.clear()
            case Founded():
                pass
            case _:
                assert_never(event)

    def _named(self) -> Did:
        """The key that the stream is named by."""
        try:
            return Did.checked(self.id)
        except ValueError:
            raise AddressedWrongly(f"{self.stream} is no key's stream", "subject") from None

    def _refuse_revoked(self) -> None:
        if self.revoked:
            raise Revoked(f"{self.id} was revoked", "key")

    def _holds(self, roles: tuple[RoleGrant, ...], not_after: datetime) -> bool:
        return self.not_after == not_after and all(grant in self.roles for grant in roles)
