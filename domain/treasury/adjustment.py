"""Adjustment: a correction of the ledger, by two persons."""

from dataclasses import dataclass
from typing import assert_never

from contracts import Did, sums
from contracts.treasury import Adjust, Adjusted, AdjustmentEvent, AdjustmentProposed
from domain import Aggregate
from domain.treasury import AlreadyProposed, NotProposed, SamePerson, Unbalanced
from domain.treasury.accounts import require_counter


@dataclass
class Adjustment(Aggregate[AdjustmentEvent]):
    """One correction, from its proposal to its posting."""

    proposed: AdjustmentProposed | None = None
    is_made: bool = False

    def propose(self, command: Adjust, *, actor: str, person: str) -> None:
        """Raises Unbalanced, NotACounter, AlreadyProposed."""
        if self.proposed is not None:
            if (self.proposed.lines, self.proposed.reason) != (command.lines, command.reason):
                raise AlreadyProposed
            return
        for line in command.lines:
            require_counter(line.account, "lines")
        if open_ := {asset: units for asset, units in sums(line.leg() for line in command.lines).items() if units}:
            raise Unbalanced(", ".join(f"{asset} is off by {units}" for asset, units in sorted(open_.items())), "lines")
        self.record(AdjustmentProposed(**dict(command), proposed_by=Did(actor), person=Did(person)))

    def approve(self, *, actor: str, person: str) -> None:
        """Raises NotProposed, SamePerson."""
        if self.proposed is None:
            raise NotProposed
        if self.proposed.person == person:
            raise SamePerson
        if not self.is_made:
            lines, reason = self.proposed.lines, self.proposed.reason
            self.record(Adjusted(lines=lines, reason=reason, approved_by=Did(actor), person=Did(person)))

    def apply(self, event: AdjustmentEvent) -> None:
        match event:
            case AdjustmentProposed():
                self.proposed = event
            case Adjusted():
                self.is_made = True
            case _:
                assert_never(event)
