"""A network's founding."""

from dataclasses import dataclass
from typing import assert_never

from contracts import Digest
from contracts.identity import (
    EndApproved,
    EndProposed,
    Found,
    Founded,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    RoleWithdrawn,
)
from domain import Aggregate
from domain.identity.authority import Founding
from domain.identity.refusals import AlreadyFounded, GenesisDiffers, NotARoot, OnAnotherNetwork


@dataclass
class Network(Aggregate[IdentityEvent]):
    """A deployment's founding: its roots, and how many of them make a registrar."""

    roots: tuple[str, ...] = ()
    quorum: int = 1

    def found(self, command: Found, founding: Founding, actor: str, network: str) -> None:
        """White paper 3.1. Raises AlreadyFounded, NotARoot, OnAnotherNetwork, GenesisDiffers."""
        if self.version:
            raise AlreadyFounded
        if self.id != network:
            raise OnAnotherNetwork(field="subject")
        if actor not in founding.roots:
            raise NotARoot(field="roots")
        if differing := _differing(command, founding):
            raise GenesisDiffers(f"the genesis has {differing} {getattr(founding, differing)}", differing)
        self.record(
            Founded(
                roots=command.roots, quorum=command.quorum, chain_id=command.chain_id, profile=command.profile,
                genesis=Digest(founding.genesis),
            )
        )  # fmt: skip

    def apply(self, event: IdentityEvent) -> None:
        match event:
            case Founded(roots=roots, quorum=quorum):
                self.roots, self.quorum = tuple(roots), quorum
            case (
                KeyProposed()
                | KeyApproved()
                | KeyRegistered()
                | KeyRotated()
                | RoleWithdrawn()
                | KeyRevoked()
                | EndProposed()
                | EndApproved()
            ):
                pass
            case _:
                assert_never(event)


def _differing(command: Found, founding: Founding) -> str | None:
    """The first field that is not the genesis's; the order of the roots is of no account."""
    if sorted(command.roots) != sorted(founding.roots):
        return "roots"
    return next((name for name in ("quorum", "chain_id", "profile") if getattr(command, name) != getattr(founding, name)), None)
