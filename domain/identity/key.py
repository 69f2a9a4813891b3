"""One key: its registrations, its rotation and its end.

Whether a key is known, free, or a registrar now is asked of the authority table, never of a stream: a key of the genesis and
a successor have empty ones.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Did, Digest, Label, Role, StreamName
from contracts.identity import (
    PROPOSAL_DAYS,
    SERVICE_KEY_DAYS,
    ApproveEnd,
    ApproveKey,
    EndApproved,
    EndProposed,
    Founded,
    GrantPlace,
    HandedRole,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    ProposeEnd,
    ProposeKey,
    RegistrarConsent,
    RevokeKey,
    RoleGrant,
    RoleWithdrawn,
    RotateKey,
    WithdrawRole,
    is_role,
)
from domain import Aggregate
from domain.identity.authority import REGISTRAR, WRITER, Authority, Granted, KeyAuthority, covers, is_whole
from domain.identity.following import Lost, listed, may_end_alone, require_successors, what_follows
from domain.identity.giving import persons_needed
from domain.identity.refusals import (
    AddressedWrongly,
    AlreadyKnown,
    BadPrefix,
    EndTooFar,
    NeedsQuorum,
    NoSuchProposal,
    NoSuchRole,
    NotRegistered,
    Revoked,
    SamePerson,
)


@dataclass(frozen=True)
class Asking:
    """Who asks, when, and where it is looked up who may act."""

    actor: str
    person: str
    now: datetime
    authority: Authority
    quorum: Callable[[], int]
    """Of how many persons it takes to make a registrar; looked up where a rule needs it."""
    digest: str = ""
    """SHA-256 of the command."""


@dataclass
class HeldRole:
    """What the key was registered for in its own stream."""

    role: str
    prefix: str
    not_after: datetime


@dataclass
class Agreed:
    """A registrar's consent, and by which grant he was one."""

    key: str
    person: str
    shard: str | None = None
    sequence: int = 0


@dataclass
class Proposal:
    """What waits for more persons."""

    consents: list[Agreed]
    lapses: datetime | None
    """None of one from before it was said, which has lapsed."""
    roles: tuple[RoleGrant, ...] = ()
    not_after: datetime | None = None


@dataclass
class ProposedEnd:
    """An end that waits for more persons."""

    consents: list[Agreed]
    lapses: datetime
    role: str | None
    prefix: str | None
    reason: str
    suspected_since: datetime | None


@dataclass
class Key(Aggregate[IdentityEvent]):
    """One key's registrations and their end."""

    roles: list[HeldRole] = field(default_factory=list)
    withdrawn: list[tuple[str, str]] = field(default_factory=list)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    ends: dict[str, ProposedEnd] = field(default_factory=dict)
    successor: str | None = None
    revoked: bool = False
    suspected_since: datetime | None = None

    def propose(self, command: ProposeKey, by: Asking) -> None:
        """Register, or wait for more persons where a role needs them. The proof was checked by the service.

        Raises AddressedWrongly, Revoked, EndTooFar, NoSuchRole, BadPrefix, SamePerson.
        """
        if command.key != self.id:
            raise AddressedWrongly(f"the stream is {self.stream}, the key {command.key}", "key")
        self._refuse_revoked(by.authority)
        if not by.now < command.not_after <= by.now + timedelta(days=SERVICE_KEY_DAYS):
            raise EndTooFar(field="not_after")
        _require_roles(command.roles)
        if by.actor == command.key or by.person == self._person(by.authority):
            raise SamePerson(field="key")
        if self._holds(command.roles, command.not_after):
            return
        needs = _needed(command.roles, by)
        agreed = self._agreed(by)
        self.record(
            KeyProposed(
                key=command.key, roles=command.roles, held_by=command.held_by, not_after=command.not_after,
                proof=command.proof, proposal=Digest(by.digest), proposed_by=Did(by.actor), needs_second=needs > 1,
                person=Did(by.person), needs=needs, lapses=_lapses(by.now), registrar=_place(agreed),
            )
        )  # fmt: skip
        if needs == 1:
            self._register(command.roles, command.not_after, [agreed])

    def approve(self, command: ApproveKey, by: Asking) -> None:
        """Another registrar's consent. Those count that are registrars now, as they were when they consented.

        Nobody's counts for a key that became his own meanwhile: he may have handed his roles to it.
        Raises Revoked, NoSuchProposal, SamePerson.
        """
        self._refuse_revoked(by.authority)
        proposal = self.proposals.get(command.proposal)
        if proposal is None or proposal.not_after is None or _has_lapsed(proposal.lapses, by.now):
            raise NoSuchProposal(field="proposal")
        owner = self._person(by.authority)
        consents = [agreed for agreed in self._counting(proposal.consents, by) if agreed.person != owner]
        if by.actor == self.id or by.person in {owner, *(agreed.person for agreed in consents)}:
            raise SamePerson("whoever proposed, approved or is proposed does not approve", "proposal")
        agreed = self._agreed(by)
        self.record(
            KeyApproved(
                key=Did(self.id), proposal=command.proposal, approved_by=Did(by.actor), person=Did(by.person),
                registrar=_place(agreed),
            )
        )  # fmt: skip
        if len(consents) + 1 >= _needed(proposal.roles, by):
            self._register(proposal.roles, proposal.not_after, [*consents, agreed])

    def rotate(self, command: RotateKey, by: Asking) -> None:
        """Hand the roles in force to a new key, each with its end; the old one acts until the overlap is over.

        Raises AddressedWrongly, Revoked, AlreadyKnown, NotRegistered, NeedsQuorum.
        """
        key = self._named()
        self._refuse_revoked(by.authority)
        if self.successor == command.successor:
            return
        known = by.authority.of(self.id)
        is_known = by.authority.of(command.successor) is not None
        if self.successor is not None or is_known or command.successor == self.id:
            raise AlreadyKnown(field="successor")
        handed = [] if known is None else [grant for grant in known.grants if grant.is_in_force(by.now)]
        if known is None or not handed:
            raise NotRegistered("no role of the key is in force: there is nothing to hand over")
        if any(grant.role == WRITER for grant in handed):
            raise NeedsQuorum("a writer is ended by a quorum, when another one is in force: ProposeEnd, ApproveEnd")
        until = min(by.now + timedelta(seconds=command.overlap_seconds), max(grant.not_after for grant in handed))
        roles, person = tuple(map(_handed, handed)), Did(known.holder)
        self.record(KeyRotated(key=key, successor=command.successor, roles=roles, until=until, person=person))

    def withdraw(self, command: WithdrawRole, by: Asking) -> None:
        """End one role, of whoever gave it. Raises AddressedWrongly, NotRegistered, NeedsQuorum."""
        key, pair = self._named(), (command.role, command.prefix)
        known = by.authority.of(self.id)
        if known is None or not any((grant.role, grant.prefix) == pair for grant in known.grants):
            if pair in self.withdrawn or (known is not None and known.revoked):
                return
            raise NotRegistered(f"the key has no role {command.role} on {command.prefix}", "role")
        self._end_alone({self.id: {pair}}, by)
        self.record(RoleWithdrawn(key=key, role=command.role, prefix=command.prefix))

    def revoke(self, command: RevokeKey, by: Asking) -> None:
        """End the key, for good, and what it handed over since. An unknown key is never registered then.

        Raises AddressedWrongly, NeedsQuorum, TooManyFollow.
        """
        key = self._named()
        if self._is_ended(by.authority) and not self._is_earlier(command.suspected_since):
            return
        follows = self._follows(command.suspected_since, by)
        self._end_alone({self.id: None, **follows}, by)
        self.record(
            KeyRevoked(key=key, reason=command.reason, suspected_since=command.suspected_since, ends=listed(follows) or None)
        )

    def propose_end(self, command: ProposeEnd, by: Asking) -> None:
        """Raises AddressedWrongly, NotRegistered, NoSuccessor, TooManyFollow."""
        key = self._named()
        if self._is_ended(by.authority) and not (command.role is None and self._is_earlier(command.suspected_since)):
            return
        self._ending(command.role, command.prefix, command.suspected_since, by)
        agreed = self._agreed(by)
        self.record(
            EndProposed(
                key=key, role=command.role, prefix=command.prefix, reason=command.reason,
                suspected_since=command.suspected_since, proposal=Digest(by.digest), proposed_by=Did(by.actor),
                person=Did(by.person), needs=max(2, by.quorum()), lapses=_lapses(by.now), registrar=_place(agreed),
            )
        )  # fmt: skip

    def approve_end(self, command: ApproveEnd, by: Asking) -> None:
        """Another registrar's consent; with the last one it ends. Raises as `propose_end`, NoSuchProposal, SamePerson."""
        key = self._named()
        proposed = self.ends.get(command.proposal)
        if proposed is None or _has_lapsed(proposed.lapses, by.now):
            raise NoSuchProposal(field="proposal")
        consents = self._counting(proposed.consents, by)
        if by.person in {agreed.person for agreed in consents}:
            raise SamePerson("whoever proposed or approved does not approve", "proposal")
        follows = self._ending(proposed.role, proposed.prefix, proposed.suspected_since, by)
        self.record(
            EndApproved(
                key=key, proposal=command.proposal, approved_by=Did(by.actor), person=Did(by.person),
                registrar=_place(self._agreed(by)),
            )
        )  # fmt: skip
        if len(consents) + 1 < max(2, by.quorum()):
            return
        if proposed.role is not None and proposed.prefix is not None:
            self.record(RoleWithdrawn(key=key, role=Role(proposed.role), prefix=proposed.prefix))
        else:
            since, ends = proposed.suspected_since, listed(follows) or None
            self.record(KeyRevoked(key=key, reason=proposed.reason, suspected_since=since, ends=ends))

    def apply(self, event: IdentityEvent) -> None:
        match event:
            case KeyProposed(proposal=digest, roles=roles, not_after=not_after, proposed_by=by, person=person, registrar=place):
                self.proposals[digest] = Proposal([_agreed(by, person, place)], event.lapses, tuple(roles), not_after)
            case KeyApproved(proposal=digest, approved_by=by, person=person, registrar=place):
                self.proposals[digest].consents.append(_agreed(by, person, place))
            case KeyRegistered(roles=roles, not_after=not_after):
                known = {(grant.role, grant.prefix) for grant in roles}
                fresh = [HeldRole(grant.role, grant.prefix, not_after) for grant in roles]
                self.roles = [held for held in self.roles if (held.role, held.prefix) not in known] + fresh
                self.withdrawn = [pair for pair in self.withdrawn if pair not in known]
                self.proposals.clear()
            case KeyRotated(successor=successor, until=until):
                self.successor = successor
                for held in self.roles:
                    held.not_after = min(held.not_after, until)
            case RoleWithdrawn(role=role, prefix=prefix):
                self.roles = [held for held in self.roles if (held.role, held.prefix) != (role, prefix)]
                self.withdrawn.append((role, prefix))
                self.ends = {digest: end for digest, end in self.ends.items() if (end.role, end.prefix) != (role, prefix)}
            case KeyRevoked(suspected_since=since):
                self.revoked, self.suspected_since = True, since or self.suspected_since
                self.roles.clear()
                self.proposals.clear()
                # What was to end it since before then still waits: its own revocation lets no successor escape.
                waiting = ((digest, end) for digest, end in self.ends.items() if end.role is None)
                self.ends = {digest: end for digest, end in waiting if self._is_earlier(end.suspected_since)}
            case EndProposed(proposal=digest, proposed_by=by, person=person, registrar=place):
                self.ends[digest] = ProposedEnd(
                    [_agreed(by, person, place)], event.lapses, event.role, event.prefix, event.reason, event.suspected_since
                )
            case EndApproved(proposal=digest, approved_by=by, person=person, registrar=place):
                self.ends[digest].consents.append(_agreed(by, person, place))
            case Founded():
                pass
            case _:
                assert_never(event)

    # What the rules ask

    def _named(self) -> Did:
        """The key that the stream is named by."""
        try:
            return Did.checked(self.id)
        except ValueError:
            raise AddressedWrongly(f"{self.stream} is no key's stream", "subject") from None

    def _person(self, authority: Authority) -> str:
        known = authority.of(self.id)
        return self.id if known is None else known.holder

    def _is_ended(self, authority: Authority) -> bool:
        """By its own stream, or because what it follows from was revoked."""
        known = authority.of(self.id)
        return self.revoked or (known is not None and known.revoked)

    def _refuse_revoked(self, authority: Authority) -> None:
        if self._is_ended(authority):
            raise Revoked(f"{self.id} was revoked", "key")

    def _is_earlier(self, since: datetime | None) -> bool:
        return since is not None and (self.suspected_since is None or since < self.suspected_since)

    def _holds(self, roles: Iterable[RoleGrant], not_after: datetime) -> bool:
        held = {(one.role, one.prefix, one.not_after) for one in self.roles}
        return all((grant.role, grant.prefix, not_after) in held for grant in roles)

    def _agreed(self, by: Asking) -> Agreed:
        grant = self._registrars_grant(by.authority.of(by.actor), by.now)
        return Agreed(by.actor, by.person) if grant is None else Agreed(by.actor, by.person, grant.shard, grant.sequence)

    def _counting(self, consents: Iterable[Agreed], by: Asking) -> list[Agreed]:
        """Of those who have been registrars ever since."""
        return [agreed for agreed in consents if self._still_counts(agreed, by)]

    def _still_counts(self, agreed: Agreed, by: Asking) -> bool:
        grant = self._registrars_grant(by.authority.of(agreed.key), by.now, (agreed.shard, agreed.sequence))
        return grant is not None

    def _registrars_grant(
        self, known: KeyAuthority | None, now: datetime, place: tuple[str | None, int] | None = None
    ) -> Granted | None:
        """By which the key is a registrar of this one now; of that place, where one is given."""
        found = [] if known is None else [g for g in known.in_force(REGISTRAR, now) if covers(g.prefix, self.stream)]
        return next((grant for grant in found if place in (None, (grant.shard, grant.sequence))), None)

    def _register(self, roles: tuple[RoleGrant, ...], not_after: datetime, consents: Sequence[Agreed]) -> None:
        by = tuple(RegistrarConsent(key=Did(agreed.key), person=Did(agreed.person)) for agreed in consents)
        self.record(KeyRegistered(key=Did(self.id), roles=roles, not_after=not_after, consents=by))

    def _follows(self, since: datetime | None, by: Asking) -> Lost:
        return {} if since is None else what_follows(by.authority, self.id, since, by.quorum())

    def _end_alone(self, lost: Lost, by: Asking) -> None:
        may_end_alone(by.authority, lost, by.person, by.quorum, by.now)

    def _ending(self, role: str | None, prefix: str | None, since: datetime | None, by: Asking) -> Lost:
        """What follows from ending this, if it may be ended."""
        if (role is None) != (prefix is None):
            raise NotRegistered("a role is named with its prefix, or neither", "role")
        known, follows = by.authority.of(self.id), Lost()
        if role is not None and prefix is not None:
            if known is None or not any((grant.role, grant.prefix) == (role, prefix) for grant in known.grants):
                raise NotRegistered(f"the key has no role {role} on {prefix}", "role")
            require_successors(by.authority, {self.id: {(role, prefix)}}, by.now)
            return follows
        follows = self._follows(since, by)
        require_successors(by.authority, {self.id: None, **follows}, by.now)
        return follows


def _agreed(key: str, person: str | None, place: GrantPlace | None) -> Agreed:
    return Agreed(key, person or key) if place is None else Agreed(key, person or key, place.shard, place.sequence)


def _place(agreed: Agreed) -> GrantPlace | None:
    return None if agreed.shard is None else GrantPlace(shard=Label(agreed.shard), sequence=agreed.sequence)


def _handed(grant: Granted) -> HandedRole:
    return HandedRole(role=Role(grant.role), prefix=grant.prefix, not_after=grant.not_after)


def _lapses(now: datetime) -> datetime:
    # A whole day, so that whoever decides recorded commands again, by the times of their records, finds the same.
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=PROPOSAL_DAYS)


def _has_lapsed(lapses: datetime | None, now: datetime) -> bool:
    return lapses is None or now > lapses


def _needed(roles: Iterable[RoleGrant], by: Asking) -> int:
    """Persons that consent, before any of the roles is given."""
    named = [(grant.role, grant.prefix) for grant in roles]
    quorum = by.quorum() if {REGISTRAR, WRITER} & {role for role, _ in named} else 2
    return max(persons_needed(role, prefix, quorum) for role, prefix in named)


def _require_roles(roles: Iterable[RoleGrant]) -> None:
    """Raises NoSuchRole, BadPrefix."""
    for grant in roles:
        if not is_role(grant.role):
            raise NoSuchRole(f"no command asks for {grant.role}", "roles")
        is_stream = is_whole(grant.prefix) and StreamName.fits(grant.prefix)
        if not (grant.prefix.endswith(("/", ".")) or is_stream):
            raise BadPrefix(f"{grant.prefix} covers nothing: it ends in / or ., or is a whole stream's name", "roles")
