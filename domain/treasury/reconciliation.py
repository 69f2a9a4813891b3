"""Reconciliation: bank, books and chain are compared at one block, and what does not fit is named (white paper 8.2)."""

import hashlib
from dataclasses import dataclass
from typing import assert_never

from contracts import Amount, Did
from contracts.treasury import (
    COINS,
    BreakClosed,
    BreakFound,
    BreakId,
    BreakKind,
    CloseBreak,
    Reconcile,
    Reconciled,
    ReconciliationEvent,
    bank_of,
)
from domain import Aggregate, Shelf, shelf
from domain.treasury import AddressedWrongly, AlreadyReconciled, NoSuchBreak, OtherAsset, ReferenceUsed


@dataclass
class Reconciliation(Aggregate[ReconciliationEvent]):
    """One currency's slots and what was found in them."""

    slots: Shelf[str] = shelf("slot")
    """Each slot's figures, digested."""
    breaks: Shelf[str] = shelf("break_id")
    """Each break's explanation; empty while it is open."""

    def reconcile(self, command: Reconcile) -> None:
        """Raises AddressedWrongly, OtherAsset, AlreadyReconciled."""
        self._require_assets(command)
        figures = {name: value for name, value in command if value is not None}
        if any(name not in figures for name in ("block", "bank", "owed", "evm_supply", "native_supply", "native_locked")):
            self._find(command, "missing_source", 0)
            return
        circulating, held = self._circulating(command), self._held(command)
        event = Reconciled(**figures, surplus=Amount.of(self.id, max(0, held - circulating)))
        if (known := self.slots.get(command.slot)) is not None:
            if known != _figures(event):
                raise AlreadyReconciled(f"{command.slot} was", "slot")
            return
        self.record(event)
        if circulating > held:
            self._find(command, "deficit", circulating - held)
        if circulating != command.books_supply.units:
            self._find(command, "books_differ", abs(circulating - command.books_supply.units))
        if command.undivided is not None and command.undivided.units:
            self._find(command, "undivided", command.undivided.units)

    def close(self, command: CloseBreak, *, actor: str) -> None:
        """Raises NoSuchBreak, ReferenceUsed."""
        known = self.breaks.get(command.break_id)
        if known is None:
            raise NoSuchBreak(field="break_id")
        if known not in ("", command.explanation):
            raise ReferenceUsed("it was explained otherwise", "explanation")
        if not known:
            self.record(BreakClosed(**dict(command), closed_by=Did(actor)))

    def _find(self, command: Reconcile, kind: BreakKind, units: int) -> None:
        name = BreakId(f"{command.slot}.{kind}")
        if name not in self.breaks:
            self.record(BreakFound(slot=command.slot, break_id=name, kind=kind, amount=Amount.of(self.id, units)))

    def _circulating(self, command: Reconcile) -> int:
        """On the EVM, native and on the way; what is locked in the bridge is on the EVM."""
        native = (self._in_coins(command.native_supply), self._in_coins(command.native_locked))
        return self._in_coins(command.evm_supply) + native[0] - native[1] + command.in_flight.units

    def _held(self, command: Reconcile) -> int:
        return max(0, self._in_coins(command.bank) - self._in_coins(command.owed))

    def _in_coins(self, amount: Amount | None) -> int:
        return 0 if amount is None else amount.to(self.id).units

    def _require_assets(self, command: Reconcile) -> None:
        if self.id not in COINS:
            raise AddressedWrongly(f"{self.id} is not issued here", "subject")
        native = self.id.partition(".")[0]
        wanted = {
            "bank": bank_of(self.id), "owed": bank_of(self.id), "evm_supply": self.id, "native_supply": native,
            "native_locked": native, "in_flight": self.id, "books_supply": self.id, "undivided": self.id,
        }  # fmt: skip
        for name, asset in wanted.items():
            found: Amount | None = getattr(command, name)
            if found is not None and found.asset != asset:
                raise OtherAsset(f"it is counted in {asset}", name)

    def apply(self, event: ReconciliationEvent) -> None:
        match event:
            case Reconciled(slot=slot):
                self.slots[slot] = _figures(event)
            case BreakFound(break_id=name):
                self.breaks[name] = ""
            case BreakClosed(break_id=name, explanation=explanation):
                self.breaks[name] = explanation
            case _:
                assert_never(event)


def _figures(event: Reconciled) -> str:
    return hashlib.sha256(event.json_bytes()).hexdigest()
