"""Asking identity: found a network, register and end keys; and what each event changes about who may act."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import assert_never

from commands import AuthorityChange, Grant, Service, Withdrawal
from contracts import Event
from contracts.identity import (
    SERVICE_KEY_DAYS,
    ApproveKey,
    Found,
    Founded,
    IdentityCommand,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    ProposeKey,
    RevokeKey,
    RoleWithdrawn,
    RotateKey,
    WithdrawRole,
    key_proof,
)
from domain.identity import BadProof, Key, Network


class Identity(Service):
    """The key registry."""

    def handle(self, command: IdentityCommand) -> None:
        actor, person = self.asked.actor, self.asked.person
        match command:
            case Found():
                self.load(Network).found(command, actor, self.asked.record.network)
            case ProposeKey():
                self._check(command.key, command.proof)
                digest = self.asked.record.hash
                self.load(Key).propose(command, actor=actor, person=person, digest=digest, now=self.asked.now)
            case ApproveKey():
                network = self.read(Network, f"identity/network/{self.asked.record.network}")
                self.load(Key).approve(command, actor=actor, person=person, quorum=network.quorum)
            case RotateKey():
                self._check(command.successor, command.proof)
                successor = self.read(Key, f"identity/key/{command.successor}")
                self.load(Key).rotate(command, successor=successor, now=self.asked.now)
            case WithdrawRole():
                self.load(Key).withdraw(command)
            case RevokeKey():
                self.load(Key).revoke(command)
            case _:
                assert_never(command)

    def _check(self, key: str, proof: str) -> None:
        if not self.verify(key, key_proof(self.asked.record.network, key), proof):
            raise BadProof(field="proof")

    def authority(self, event: Event, recorded: datetime) -> Iterable[AuthorityChange]:
        match event:
            case Founded(roots=roots):
                end = recorded + timedelta(days=SERVICE_KEY_DAYS)
                return [Grant(root, "identity.registrar", "identity/", end) for root in roots]
            case KeyRegistered(key=key, roles=roles, not_after=not_after):
                return [Grant(key, grant.role, grant.prefix, not_after) for grant in roles]
            case KeyRotated(key=key, successor=successor, roles=roles, not_after=not_after, until=until):
                return [
                    *(Grant(successor, grant.role, grant.prefix, not_after, follows=key) for grant in roles),
                    *(Grant(key, grant.role, grant.prefix, until) for grant in roles),
                ]
            case RoleWithdrawn(key=key, role=role, prefix=prefix):
                return [Withdrawal(key, role, prefix)]
            case KeyRevoked(key=key):
                return [Withdrawal(key)]
            case _:
                return []
