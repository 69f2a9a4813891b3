"""A bond's device, and the claims by which one serial number and one key belong to one bond."""

from dataclasses import dataclass
from typing import assert_never

from contracts.staking import (
    ClaimEvent,
    SerialClaimed,
    SerialFreed,
    SubjectName,
    key_claim_stream,
)
from domain import Aggregate
from domain.staking import BoundElsewhere, CasePending, StillRegistered, Tombstoned
from domain.staking.collateral import Collateral


@dataclass
class Claim(Aggregate[ClaimEvent]):
    """A GPU's serial number, or a device's key, by its hash."""

    device: str = ""

    def claim(self, device: SubjectName) -> None:
        """Raises BoundElsewhere."""
        if self.device == device:
            return
        if self.device:
            raise BoundElsewhere(f"it belongs to {self.device}", "device")
        self.record(SerialClaimed(device=device))

    def free(self, bond: Collateral | None) -> None:
        """`bond` is that of the device which has it. Raises StillRegistered, CasePending, Tombstoned."""
        if bond is None or not self.device:
            return
        if bond.has_claim_on(self.id):
            raise StillRegistered(f"{self.device} is registered with it", "subject")
        if bond.holding.holds:
            raise CasePending(f"a case holds the bond of {self.device}", "subject")
        if any(key_claim_stream(key) == self.stream for key in bond.tombstones):
            raise Tombstoned(field="subject")
        self.record(SerialFreed(device=SubjectName(self.device)))

    def apply(self, event: ClaimEvent) -> None:
        match event:
            case SerialClaimed(device=device):
                self.device = device
            case SerialFreed():
                self.device = ""
            case _:
                assert_never(event)
