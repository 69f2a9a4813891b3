"""Registering keys: the proposal with the new key's proof, and the second person's consent where a role needs one."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer
from contracts import Did, Digest, Label, Role, event_id
from contracts.identity import ApproveKey, Found, Proof, ProposeKey, RoleGrant, key_proof
from domain.identity.giving import persons_needed
from ops.genesis import Genesis

Roles = Sequence[tuple[str, str]]
"""Each with its prefix."""


def founding(genesis: Genesis) -> Found:
    """As the genesis says."""
    said = genesis.founding("")
    return Found(roots=tuple(map(Did, said.roots)), quorum=said.quorum, chain_id=said.chain_id, profile=genesis.profile)


def registrations(
    key: Signer, roles: Roles, held_by: str, until: datetime, *, by: Sequence[Signer], network: str, time: datetime
) -> Iterator[SignedCommand]:
    """What as many of the registrars say as the roles need, in their order. Said again, these are the same commands."""
    subject = f"identity/key/{key.did}"
    command_id = event_id(subject, _digest(by[0].did, *(f"{role} {prefix}" for role, prefix in roles), until.isoformat()), 0)
    proposal = sign_command(
        _proposal(key, roles, held_by, until, (network, by[0].did, command_id, subject)),
        subject, by[0], network, id=command_id, time=time,
    )  # fmt: skip
    yield proposal
    approve = ApproveKey(proposal=Digest(hashlib.sha256(proposal.value).hexdigest()))
    needed = max(persons_needed(role, prefix, len(by)) for role, prefix in roles)
    for registrar in by[1:needed]:
        consent_id = event_id(subject, _digest(registrar.did, approve.proposal), 0)
        yield sign_command(approve, subject, registrar, network, id=consent_id, time=time)


def _proposal(key: Signer, roles: Roles, held_by: str, until: datetime, where: tuple[str, str, str, str]) -> ProposeKey:
    network, source, command_id, subject = where
    proof = key.sign(key_proof(network, ProposeKey.wire.type, source, command_id, subject, key.did))
    granted = tuple(RoleGrant(role=Role(role), prefix=prefix) for role, prefix in roles)
    return ProposeKey(key=Did(key.did), roles=granted, held_by=Label(held_by), not_after=until, proof=Proof(proof))


def _digest(*said: str) -> str:
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
