"""Who acts in the demo where money is: a key for each duty, and what they say, once and for all.

A key that bears a role's name signs what the deployment's own lists say in that role.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer, read_key, write_key
from contracts import Command, Did, event_id
from contracts.identity import SERVICE_KEY_DAYS
from ops.compose import Deployment
from ops.demo.client import Client
from ops.registering import registrations

DAYS = 200
"""So long their roles last."""
DUTIES = (
    "treasury.governor", "treasury.attestor", "treasury.minter", "treasury.relayer", "treasury.burner", "treasury.cashier",
    "treasury.gateway", "rewards.governor", "rewards.settler", "rewards.relayer", "staking.holder",
)  # fmt: skip
ORACLES = tuple(f"oracle-{n}" for n in range(1, 6))
REVIEWERS = ("reviewer-1", "reviewer-2")
HOLDER = "ada"
FOUNDERS = "founders"
"""The account of the demo's past; ada holds it, too."""
REGISTRARS = ("root-2", "root-3")


class Unexpected(RuntimeError):
    """The demo's own command was refused. The message says which and why."""


@dataclass(frozen=True)
class People:
    """Their keys."""

    deployment: Deployment
    keys: dict[str, Signer]

    @classmethod
    def of(cls, deployment: Deployment) -> "People":
        """With the keys in the deployment's folder; those that are missing are made."""
        folder = deployment.settings.keys
        names = (*DUTIES, *ORACLES, *REVIEWERS, HOLDER)
        paths = {name: folder / f"{name}.key" for name in names}
        found = {name: read_key(path) if path.exists() else write_key(path) for name, path in paths.items()}
        theirs = {name: read_key(folder / f"{name}.key") for name in ("process", *REGISTRARS)}
        return cls(deployment, {**found, **theirs})

    def did(self, name: str) -> Did:
        return Did(self.keys[name].did)

    def registrations(self) -> Iterator[SignedCommand]:
        """By two roots of the network."""
        for name in DUTIES:
            yield from self._registration(name, [(name, f"{name.partition('.')[0]}/")])
        for name in ORACLES:
            yield from self._registration(name, [("staking.oracle", "staking/case/")])
        for name in REVIEWERS:
            yield from self._registration(name, [("treasury.reviewer", "treasury/")])
        streams = ("treasury/withdrawal/ada.", "treasury/account/ada.", f"treasury/account/{FOUNDERS}.")
        yield from self._registration(HOLDER, [("treasury.holder", stream) for stream in streams])

    def _registration(self, name: str, roles: Sequence[tuple[str, str]]) -> Iterator[SignedCommand]:
        return registrations(
            self.keys[name], roles, name, self._began + timedelta(days=DAYS),
            by=[self.keys[root] for root in REGISTRARS], network=self.deployment.network, time=self._began,
        )  # fmt: skip

    @property
    def _began(self) -> datetime:
        return self.deployment.genesis.keys[0].not_after - timedelta(days=SERVICE_KEY_DAYS)

    def once(self, name: str, command: Command, subject: str) -> SignedCommand:
        """Its id follows from what it says: said again, it is the same command."""
        digest = hashlib.sha256(name.encode() + command.json_bytes()).hexdigest()
        return sign_command(
            command, subject, self.keys[name], self.deployment.network, id=event_id(subject, digest, 0), time=self._began
        )

    def said(self, name: str, command: Command, subject: str) -> SignedCommand:
        """Said now."""
        return sign_command(command, subject, self.keys[name], self.deployment.network)


async def accepted(client: Client, commands: Iterable[SignedCommand]) -> None:
    """Send them and wait for all answers. Raises Unexpected."""
    for answer in await client.all(list(commands), lambda _: None):
        if not answer.is_accepted:
            raise Unexpected(f"{answer.document['subject']}: {answer.refusal}")
