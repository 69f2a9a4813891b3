"""What comes before the trace: a network is founded, keys are registered, a fleet joins, offers and beats.

Every command's id, time and bytes follow from the genesis, so a second run sends the same ones again and hears the outcomes
that they had.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer, read_key, write_key
from contracts import Command, event_id
from contracts.identity import SERVICE_KEY_DAYS, RevokeKey
from contracts.liveness import slot_at
from ops.compose import Deployment
from ops.fleet import Machine, Wish, catalogue, declarations, drainings, heartbeats, registrations, standings
from ops.registering import founding
from ops.registering import registrations as registered
from streams.liveness import TOPIC

ROLES_OF_OTHERS = {
    "router": (("inference.router", "inference/"),),
    "catalogue": (("providers.catalogue", "providers/model/"),),
}


@dataclass(frozen=True)
class Stages:
    """The keys of the demo's people, and the moment from which its commands date."""

    deployment: Deployment
    roots: tuple[Signer, ...]
    process: Signer
    others: dict[str, Signer]
    began: datetime

    @classmethod
    def of(cls, deployment: Deployment) -> "Stages":
        """With the keys in the deployment's folder; those that are missing are made."""
        folder = deployment.settings.keys
        roots = tuple(read_key(path) for path in sorted(folder.glob("root-*.key")))
        others = {name: _key(folder / f"{name}.key") for name in ROLES_OF_OTHERS}
        began = deployment.genesis.keys[0].not_after - timedelta(days=SERVICE_KEY_DAYS)
        return cls(deployment, roots, read_key(folder / "process.key"), others, began)

    def founding(self) -> list[SignedCommand]:
        """Three roots, two of them make a registrar (white paper 3.1)."""
        found = founding(self.deployment.genesis)
        return [self._signed(found, f"identity/network/{self.deployment.network}", self.roots[0])]

    def keys(self, machines: Sequence[Machine]) -> Iterator[SignedCommand]:
        """Register the router's and the catalogue's key, and a device's key for each machine."""
        for name, roles in ROLES_OF_OTHERS.items():
            yield from self._registration(self.others[name], roles, name)
        for machine in machines:
            did = machine.signer.did
            own = (
                ("providers.gpu", f"providers/provider/{did}"), ("providers.gpu", f"providers/offer/{did[-12:]}."),
                ("inference.gpu", "inference/request/"),
            )  # fmt: skip
            yield from self._registration(machine.signer, own, machine.gpu.model)

    def _registration(self, signer: Signer, roles: Sequence[tuple[str, str]], held_by: str) -> Iterator[SignedCommand]:
        until = self.began + timedelta(days=SERVICE_KEY_DAYS)
        by, network = self.roots[1:], self.deployment.network
        return registered(signer, roles, held_by, until, by=by, network=network, time=self.began)

    def models(self) -> Iterator[SignedCommand]:
        """The white paper's first catalogue (5.6)."""
        return self._wished(catalogue(), self.others["catalogue"])

    def fleet(self, machines: Sequence[Machine]) -> Iterator[SignedCommand]:
        """Each machine registers, and what it has staked is noted."""
        yield from self._wished(registrations(machines), self.process)
        yield from self._wished(standings(machines, 0), self.process)

    def offers(self, machines: Sequence[Machine]) -> Iterator[SignedCommand]:
        """What each machine serves at which price."""
        yield from self._wished(declarations(machines), self.process)
        yield from self._wished(drainings(machines), self.process)

    def beats(self, machines: Sequence[Machine], now: datetime) -> Iterator[SignedCommand]:
        """A signed heartbeat of each machine for the slot of now, for the collector."""
        for wish in heartbeats(machines, slot_at(now.timestamp())):
            signer = wish.signer or self.process
            yield sign_command(wish.command, wish.subject, signer, self.deployment.network, time=now, topic=TOPIC)

    def mischief(self) -> list[SignedCommand]:
        """What strangers try: an unregistered key, a wrong role, an expired command, another network, and an altered byte."""
        now, stranger, router = datetime.now(UTC), self.others["router"], self.others["router"]
        network, revoke = self.deployment.network, RevokeKey(reason="mistaken")
        subject = f"identity/key/{self.roots[0].did}"
        honest = sign_command(revoke, subject, stranger, network)
        altered = bytearray(honest.value)
        altered[-3] ^= 1
        return [
            sign_command(revoke, subject, _nobody(), network),
            sign_command(revoke, subject, router, network),
            sign_command(revoke, subject, self.roots[0], network, expires=now - timedelta(seconds=1)),
            sign_command(revoke, subject, self.roots[0], "another-network"),
            SignedCommand(honest.id, honest.topic, subject, bytes(altered), honest.signature),
        ]

    def _wished(self, wishes: Iterable[Wish], otherwise: Signer) -> Iterator[SignedCommand]:
        for wish in wishes:
            yield self._signed(wish.command, wish.subject, wish.signer or otherwise)

    def _signed(self, command: Command, subject: str, signer: Signer) -> SignedCommand:
        name = hashlib.sha256(command.json_bytes()).hexdigest()
        return sign_command(
            command, subject, signer, self.deployment.network, id=event_id(subject, name, 0), time=self.began
        )  # fmt: skip


def _key(path: Path) -> Signer:
    return read_key(path) if path.exists() else write_key(path)


def _nobody() -> Signer:
    from os import urandom

    from adapters.keys import ed25519_signer

    return ed25519_signer(urandom(32))
