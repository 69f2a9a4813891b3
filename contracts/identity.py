"""Identity: which key may act, in which role, on which streams, until when.

This is its key registry. Accounts, devices, sessions, wallets and investor levels are said here when they come.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts._language import Command, Event, Value, languages
from contracts._sealed import Sealed
from contracts._values import AtomicText, Count, Did, Digest, Flag, Label, Role, StreamId, Timestamp

SERVICE_KEY_DAYS = 366
"""The longest that a service key is registered for."""
PROPOSAL_DAYS = 7
"""So long a proposal waits for the consents that it needs."""
MOST_ENDS = 200
"""Of other keys and roles that one revocation ends."""
ROLES_WITHOUT_COMMAND = frozenset({"store.writer", "permits.lessor"})
"""What a key is registered for though no command asks for it."""


class Proof(AtomicText):
    """A new key's signature over `key_proof(…)`, in the form of a record's; in older records over less."""

    pattern = r"^(ed25519:[A-Za-z0-9_-]{86}|eip191:0x[0-9a-f]{130})$"
    max_length = 139


class RoleGrant(Value):
    """A role and the beginning of the streams' names on which it may be used."""

    role: Role
    prefix: Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9/._:+@-]*$", max_length=200)]


Roles = Annotated[tuple[RoleGrant, ...], Field(min_length=1, max_length=16)]


class HandedRole(Value):
    """A role that a key had when it was rotated, with the end that it has there."""

    role: Role
    prefix: Annotated[str, Field(max_length=200)]
    not_after: Timestamp


class GrantPlace(Value):
    """The event that gave a role: its shard, which is `genesis` where none did, and its sequence."""

    shard: Label
    sequence: Count


class RegistrarConsent(Value):
    """A registrar's key, and the person who holds it."""

    key: Did
    person: Did


class EndedAuthority(Value):
    """What a revocation ends besides its key: another key, or one of its roles."""

    key: Did
    role: Role | None = None
    """Absent, as the prefix is: the whole key."""
    prefix: Annotated[str, Field(max_length=200)] | None = None


STREAM_IDS: Mapping[str, type[AtomicText]] = {"key": Did, "network": StreamId}
"""What the streams of each kind are named by."""


class Found(Command, role="identity.root", stream="identity/network"):
    """Begin a network as its genesis says: its roots are the first registrars (white paper 3.1, 13.1)."""

    roots: Annotated[tuple[Did, ...], Field(min_length=3, max_length=7)]
    quorum: Annotated[Count, Field(ge=1, le=7)]
    chain_id: Count
    profile: Literal["consumer", "business", "private", "government"]


class ProposeKey(Command, role="identity.registrar", stream="identity/key", halted_by="identity"):
    """Register a key for roles. Roles that need more than one person wait for ApproveKey."""

    key: Did
    roles: Roles
    held_by: Sealed | Label
    """Whose it is: sealed where that is a person, so that it can be erased; in clear where it is a service."""
    not_after: Timestamp
    proof: Proof
    """Nobody registers a key that he does not hold."""


class ApproveKey(Command, role="identity.registrar", stream="identity/key", halted_by="identity"):
    """The second person's consent to a proposal."""

    proposal: Digest


class RotateKey(Command, role="identity.self", stream="identity/key"):
    """Hand a key's roles to its successor."""

    successor: Did
    proof: Proof
    overlap_seconds: Annotated[Count, Field(le=86_400)]


class WithdrawRole(Command, role=("identity.registrar", "identity.self"), stream="identity/key"):
    """End one role of a key."""

    role: Role
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9/._:+@-]*$", max_length=200)]
    """As it was given; that of a key of the genesis may be empty."""


Reason = Literal["compromised", "retired", "mistaken"]


class RevokeKey(Command, role=("identity.registrar", "identity.self"), stream="identity/key"):
    """End a key. What was decided before stays valid; what it handed over since it was suspected ends with it.

    May be sent again with an earlier date.
    """

    reason: Reason
    suspected_since: Timestamp | None = None


class ProposeEnd(Command, role="identity.registrar", stream="identity/key"):
    """End a key, or one of its roles, that no single person may end: a writer's, or a registrar's by another one."""

    role: Role | None = None
    """Absent, as the prefix is: the whole key."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9/._:+@-]*$", max_length=200)] | None = None
    reason: Reason
    suspected_since: Timestamp | None = None


class ApproveEnd(Command, role="identity.registrar", stream="identity/key"):
    """Another person's consent to an end."""

    proposal: Digest


class Founded(Event):
    roots: tuple[Did, ...]
    quorum: Count
    chain_id: Count
    profile: str
    genesis: Digest | None = None
    """SHA-256 of the genesis's bytes; absent in older records."""


class KeyProposed(Event):
    key: Did
    roles: Roles
    held_by: Sealed | Label
    not_after: Timestamp
    proof: Proof
    proposal: Digest
    """SHA-256 of the command that proposed."""
    proposed_by: Did
    needs_second: Flag
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""
    needs: Count | None = None
    """Persons that must consent; absent in older records."""
    lapses: Timestamp | None = None
    """The midnight (UTC) that ends PROPOSAL_DAYS; absent in older records, which have lapsed."""
    registrar: GrantPlace | None = None
    """By which the proposer is a registrar: with it the consent ends."""


class KeyApproved(Event):
    key: Did
    proposal: Digest
    approved_by: Did
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""
    registrar: GrantPlace | None = None


class KeyRegistered(Event):
    key: Did
    roles: Roles
    not_after: Timestamp
    """Of these roles; what else the key was registered for keeps its own ends."""
    consents: Annotated[tuple[RegistrarConsent, ...], Field(min_length=1, max_length=16)] | None = None
    """Of the registrars; absent in older records."""


class KeyRotated(Event, version=2):
    key: Did
    successor: Did
    roles: Annotated[tuple[HandedRole, ...], Field(min_length=1)]
    """Those in force, which the successor has until their own ends."""
    until: Timestamp
    """Until then, and no longer than each role's own end, the old key still acts."""
    person: Did | None = None
    """Who holds both keys; absent in older records."""

    @staticmethod
    def upcast_1(data: dict[str, Any]) -> dict[str, Any]:
        """One end stood for all roles."""
        end = data.pop("not_after")
        return {**data, "roles": [{**role, "not_after": end} for role in data["roles"]]}


class RoleWithdrawn(Event):
    key: Did
    role: Role
    prefix: str


class KeyRevoked(Event):
    key: Did
    reason: str
    suspected_since: Timestamp | None = None
    ends: Annotated[tuple[EndedAuthority, ...], Field(min_length=1, max_length=MOST_ENDS)] | None = None
    """What it handed over since, and ends with it."""


class EndProposed(Event):
    key: Did
    role: Role | None = None
    prefix: str | None = None
    reason: str
    suspected_since: Timestamp | None = None
    proposal: Digest
    """SHA-256 of the command that proposed."""
    proposed_by: Did
    person: Did
    needs: Count
    lapses: Timestamp
    registrar: GrantPlace | None = None


class EndApproved(Event):
    key: Did
    proposal: Digest
    approved_by: Did
    person: Did
    registrar: GrantPlace | None = None


IdentityCommand = Found | ProposeKey | ApproveKey | RotateKey | WithdrawRole | RevokeKey | ProposeEnd | ApproveEnd
IdentityEvent = (
    Founded | KeyProposed | KeyApproved | KeyRegistered | KeyRotated | RoleWithdrawn | KeyRevoked | EndProposed | EndApproved
)


def key_proof(network: str, kind: str, source: str, id: str, subject: str, key: str) -> bytes:
    """What a new key signs to show that its holder wants it here: by this command of this source, and no other.

    `kind` is the command's type (`identity.ProposeKey`), `id` and `subject` are its own.
    """
    return "\n".join(("spaceos/key-proof/2", network, kind, source, id, subject, key)).encode()


@cache
def is_role(role: str) -> bool:
    """Whether some command asks for it, or it is one of ROLES_WITHOUT_COMMAND."""
    # That a key may end itself is no role that somebody gives.
    asked = (role in message.wire.roles for message in languages())
    return role != "identity.self" and (role in ROLES_WITHOUT_COMMAND or any(asked))


def second_spelling(did: str, chain_id: int) -> str | None:
    """Why a DID is none of this network's: a wallet has the network's chain id and its address in lower case."""
    if not did.startswith("did:pkh:"):
        return None
    wanted = f"did:pkh:eip155:{chain_id}:{did.rpartition(':')[2].lower()}"
    return None if did == wanted else f"{did} is {wanted} here"
