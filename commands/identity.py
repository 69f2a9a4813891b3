"""Asking identity: found a network, register and end keys; and what each event changes about who may act."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import assert_never

from commands import AuthorityChange, Grant, Limit, Service, Withdrawal
from contracts import Event
from contracts.identity import (
    SERVICE_KEY_DAYS,
    ApproveEnd,
    ApproveKey,
    Found,
    Founded,
    IdentityCommand,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    ProposeEnd,
    ProposeKey,
    RevokeKey,
    RoleWithdrawn,
    RotateKey,
    WithdrawRole,
    key_proof,
)
from domain.identity import Asking, BadProof, Key, Network
from domain.identity.authority import Consent


class Identity(Service):
    """The key registry."""

    def handle(self, command: IdentityCommand) -> None:
        match command:
            case Found():
                founding = self.asked.authority.founding
                self.load(Network).found(command, founding, self.asked.actor, self.asked.record.network)
            case ProposeKey():
                self._check(command.key, command.proof)
                self.load(Key).propose(command, self._asking())
            case ApproveKey():
                self.load(Key).approve(command, self._asking())
            case RotateKey():
                self._check(command.successor, command.proof)
                self.load(Key).rotate(command, self._asking())
            case WithdrawRole():
                self.load(Key).withdraw(command, self._asking())
            case RevokeKey():
                self.load(Key).revoke(command, self._asking())
            case ProposeEnd():
                self.load(Key).propose_end(command, self._asking())
            case ApproveEnd():
                self.load(Key).approve_end(command, self._asking())
            case _:
                assert_never(command)

    def _asking(self) -> Asking:
        asked = self.asked
        return Asking(asked.actor, asked.person, asked.now, asked.authority, self._quorum, asked.record.hash)

    def _quorum(self) -> int:
        """As the network was founded; until then as its genesis says."""
        network = self.read(Network, f"identity/network/{self.asked.record.network}")
        return network.quorum if network.version else self.asked.authority.founding.quorum

    def _check(self, key: str, proof: str) -> None:
        record = self.asked.record
        if not self.verify(key, key_proof(record.network, record.type, record.source, record.id, record.subject, key), proof):
            raise BadProof(field="proof")

    def authority(self, event: Event, recorded: datetime) -> Iterable[AuthorityChange]:
        match event:
            case Founded(roots=roots):
                end = recorded + timedelta(days=SERVICE_KEY_DAYS)
                return [Grant(root, "identity.registrar", "identity/", end, since=recorded) for root in roots]
            case KeyRegistered(key=key, roles=roles, not_after=not_after, consents=by):
                consents = tuple(Consent(consent.key, consent.person) for consent in by or ())
                return [Grant(key, grant.role, grant.prefix, not_after, since=recorded, consents=consents) for grant in roles]
            case KeyRotated(key=key, successor=successor, roles=roles, until=until):
                return [
                    *(
                        Grant(successor, grant.role, grant.prefix, grant.not_after, follows=key, since=recorded)
                        for grant in roles
                    ),
                    *(Limit(key, grant.role, grant.prefix, until) for grant in roles),
                ]
            case RoleWithdrawn(key=key, role=role, prefix=prefix):
                return [Withdrawal(key, role, prefix, recorded)]
            case KeyRevoked(key=key, ends=ends):
                also = (Withdrawal(end.key, end.role, end.prefix, recorded) for end in ends or ())
                return [Withdrawal(key, at=recorded), *also]
            case _:
                return []
