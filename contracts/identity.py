"""Identity: which key may act, in which role, on which streams, until when.

This is its key registry. Accounts, devices, sessions, wallets and investor levels are said here when they come.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._sealed import Sealed
from contracts._values import AtomicText, Count, Did, Digest, Flag, Label, Role, StreamId, Timestamp

SERVICE_KEY_DAYS = 366
"""The longest that a service key is registered for."""


class Proof(AtomicText):
    """A new key's signature over `key_proof(network, key)`, in the form of a record's."""

    pattern = r"^(ed25519:[A-Za-z0-9_-]{86}|eip191:0x[0-9a-f]{130})$"
    max_length = 139


class RoleGrant(Value):
    """A role and the beginning of the streams' names on which it may be used."""

    role: Role
    prefix: Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9/._:+@-]*$", max_length=200)]


Roles = Annotated[tuple[RoleGrant, ...], Field(min_length=1, max_length=16)]


STREAM_IDS: Mapping[str, type[AtomicText]] = {"key": Did, "network": StreamId}
"""What the streams of each kind are named by."""


class Found(Command, role="identity.root", stream="identity/network"):
    """Begin a network: its roots are the first registrars (white paper 3.1, 13.1)."""

    roots: Annotated[tuple[Did, ...], Field(min_length=3, max_length=7)]
    quorum: Annotated[Count, Field(ge=1, le=7)]
    chain_id: Count
    profile: Literal["consumer", "business", "private", "government"]


class ProposeKey(Command, role="identity.registrar", stream="identity/key", halted_by="identity"):
    """Register a key for roles. Roles that need two persons wait for ApproveKey."""

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


class RevokeKey(Command, role=("identity.registrar", "identity.self"), stream="identity/key"):
    """End a key. What was decided before stays valid."""

    reason: Literal["compromised", "retired", "mistaken"]
    suspected_since: Timestamp | None = None


class Founded(Event):
    roots: tuple[Did, ...]
    quorum: Count
    chain_id: Count
    profile: str


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


class KeyApproved(Event):
    key: Did
    proposal: Digest
    approved_by: Did
    person: Did | None = None
    """Who holds that key, the first of its chain of rotations; absent in older records, where it is the key itself."""


class KeyRegistered(Event):
    key: Did
    roles: Roles
    not_after: Timestamp


class KeyRotated(Event):
    key: Did
    successor: Did
    roles: Roles
    not_after: Timestamp
    until: Timestamp
    """Until then the old key still acts."""


class RoleWithdrawn(Event):
    key: Did
    role: Role
    prefix: str


class KeyRevoked(Event):
    key: Did
    reason: str
    suspected_since: Timestamp | None = None


IdentityCommand = Found | ProposeKey | ApproveKey | RotateKey | WithdrawRole | RevokeKey
IdentityEvent = Founded | KeyProposed | KeyApproved | KeyRegistered | KeyRotated | RoleWithdrawn | KeyRevoked


def key_proof(network: str, key: str) -> bytes:
    """What a new key signs to show that its holder wants it registered in this network."""
    return f"spaceos/key-proof/1\n{network}\n{key}".encode()
