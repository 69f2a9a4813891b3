"""Prepaid accounts: a posted balance, of which some is held for a purpose and some is frozen (white paper 2.2, 9.1)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, assert_never

from contracts import Amount
from contracts.treasury import (
    HOLD_SECONDS_MAX,
    AccountEvent,
    AccountOpened,
    Capture,
    Captured,
    Credit,
    Credited,
    Debit,
    Debited,
    ExpireHold,
    Freeze,
    Frozen,
    Held,
    Hold,
    HoldExpired,
    OpenAccount,
    Purpose,
    Release,
    Released,
    Unfreeze,
    Unfrozen,
    account_stream,
)
from domain import Aggregate, Shelf, shelf
from domain.treasury import (
    AccountFrozen,
    AddressedWrongly,
    ExceedsHold,
    HoldClosed,
    HoldTooLong,
    NotACounter,
    NotAllowed,
    NotExpired,
    NotFrozen,
    NotOpen,
    OtherAsset,
    Overdrawn,
    ReferenceUsed,
)

OWN_CLASSES = frozenset({"account", "backing", "supply", "inflight", "holders"})
"""Classes of the ledger that mirror an aggregate: only that aggregate's events may post to them."""


FOR_OTHERS = frozenset({"block", "rent", "request"})
"""What a gateway or a process sets aside money for: what its owner uses. All else, a stake or a bond, is asked by himself."""


def require_counter(account: str, field: str) -> None:
    """That the ledger account is no aggregate's own. Raises NotACounter."""
    if account.partition(":")[0] in OWN_CLASSES:
        raise NotACounter(f"{account} moves by its own commands", field)


@dataclass(frozen=True)
class Holding:
    """A hold and how it ended; units are the account's."""

    units: int
    purpose: str
    expires_at: datetime
    state: Literal["open", "captured", "released", "expired"] = "open"
    captured: int = 0
    counter: str = ""


@dataclass
class Account(Aggregate[AccountEvent]):
    """One owner's balance of one asset. Available is what is neither held nor frozen."""

    asset: str = ""
    posted: int = 0
    held: int = 0
    references: Shelf[int] = shelf("reference")
    """Of credits (positive) and debits (negative)."""
    holds: Shelf[Holding] = shelf("hold")
    """Also those that have ended."""
    freezes: dict[str, int] = field(default_factory=dict)

    @property
    def frozen(self) -> int:
        """Up to so much may not leave; it may be more than there is."""
        return sum(self.freezes.values())

    @property
    def available(self) -> int:
        return max(0, self.posted - self.held - self.frozen)

    def open(self, command: OpenAccount) -> None:
        """Raises AddressedWrongly, OtherAsset."""
        if self.stream != account_stream(command.owner, command.asset):
            raise AddressedWrongly(f"it is {account_stream(command.owner, command.asset)}", "subject")
        if not self.asset:
            self.record(AccountOpened(**dict(command)))

    def credit(self, command: Credit) -> None:
        """Raises NotOpen, OtherAsset, NotACounter, ReferenceUsed."""
        if self._is_known(command.reference, command.amount, command.amount.units):
            return
        require_counter(command.counter, "counter")
        self.record(Credited(**dict(command)))

    def debit(self, command: Debit) -> None:
        """Raises NotOpen, OtherAsset, NotACounter, ReferenceUsed, Overdrawn, AccountFrozen."""
        if self._is_known(command.reference, command.amount, -command.amount.units):
            return
        require_counter(command.counter, "counter")
        self._require_available(command.amount.units)
        self.record(Debited(**dict(command)))

    def hold(self, command: Hold, now: datetime, *, is_by_holder: bool) -> None:
        """Raises NotOpen, OtherAsset, ReferenceUsed, NotAllowed, HoldTooLong, Overdrawn, AccountFrozen."""
        self._require_asset(command.amount)
        if (known := self.holds.get(command.hold)) is not None:
            asked = (command.amount.units, command.purpose, command.expires_at)
            if asked != (known.units, known.purpose, known.expires_at):
                raise ReferenceUsed(f"{command.hold} holds {known.units} units for {known.purpose}", "hold")
            return
        if not is_by_holder and command.purpose.partition(":")[0] not in FOR_OTHERS:
            raise NotAllowed(f"only the account's holder holds for {command.purpose}", "purpose")
        if not now < command.expires_at <= now + timedelta(seconds=HOLD_SECONDS_MAX):
            raise HoldTooLong(field="expires_at")
        self._require_available(command.amount.units)
        self.record(Held(**dict(command)))

    def capture(self, command: Capture) -> None:
        """Raises NotOpen, OtherAsset, NotACounter, HoldClosed, ExceedsHold."""
        self._require_asset(command.amount)
        holding = self._hold(command.hold)
        if holding.state == "captured" and (holding.captured, holding.counter) == (command.amount.units, command.counter):
            return
        self._require_open(holding, command.hold)
        require_counter(command.counter, "counter")
        returned = holding.units - command.amount.units
        if returned < 0:
            raise ExceedsHold(f"{holding.units} units are held, {command.amount.units} asked", "amount")
        more = {"returned": Amount.of(self.asset, returned), "purpose": Purpose(holding.purpose)}
        self.record(Captured(**dict(command), **more))

    def release(self, command: Release) -> None:
        """Raises NotOpen, HoldClosed."""
        holding = self._hold(command.hold)
        if holding.state != "released":
            self._require_open(holding, command.hold)
            self.record(Released(hold=command.hold, purpose=Purpose(holding.purpose)))

    def expire(self, command: ExpireHold, now: datetime) -> None:
        """Raises NotOpen, HoldClosed, NotExpired."""
        holding = self._hold(command.hold)
        if holding.state != "expired":
            self._require_open(holding, command.hold)
            if now < holding.expires_at:
                raise NotExpired(field="hold")
            self.record(HoldExpired(hold=command.hold, purpose=Purpose(holding.purpose)))

    def freeze(self, command: Freeze) -> None:
        """Also more than there is: what comes later is frozen too. Raises NotOpen, OtherAsset, ReferenceUsed."""
        self._require_asset(command.amount)
        known = self.freezes.get(command.cause)
        if known is None:
            self.record(Frozen(**dict(command)))
        elif known != command.amount.units:
            raise ReferenceUsed(f"{known} units are frozen for it", "cause")

    def unfreeze(self, command: Unfreeze) -> None:
        """Raises NotFrozen."""
        if command.cause not in self.freezes:
            raise NotFrozen(field="cause")
        self.record(Unfrozen(cause=command.cause))

    def _is_known(self, reference: str, amount: Amount, units: int) -> bool:
        self._require_asset(amount)
        known = self.references.get(reference)
        if known not in (None, units):
            raise ReferenceUsed(f"{known} units moved under it", "reference")
        return known is not None

    def _require_asset(self, amount: Amount) -> None:
        if not self.asset:
            raise NotOpen
        if amount.asset != self.asset:
            raise OtherAsset(f"the account is in {self.asset}", "amount")

    def _require_available(self, units: int) -> None:
        if units > self.posted - self.held:
            raise Overdrawn(f"{self.available} units are available, {units} asked", "amount")
        if units > self.available:
            raise AccountFrozen(f"{self.available} units are available and {self.frozen} frozen, {units} asked", "amount")

    def _hold(self, hold: str) -> Holding:
        if not self.asset:
            raise NotOpen
        if (holding := self.holds.get(hold)) is None:
            raise HoldClosed(field="hold")
        return holding

    def _require_open(self, holding: Holding, hold: str) -> None:
        if holding.state != "open":
            raise HoldClosed(f"{hold} was {holding.state}", "hold")

    def apply(self, event: AccountEvent) -> None:
        match event:
            case AccountOpened(asset=asset):
                self.asset = asset
            case Credited(amount=amount, reference=reference):
                self.posted += amount.units
                self.references[reference] = amount.units
            case Debited(amount=amount, reference=reference):
                self.posted -= amount.units
                self.references[reference] = -amount.units
            case Held(hold=hold, amount=amount, purpose=purpose, expires_at=expires_at):
                self.held += amount.units
                self.holds[hold] = Holding(amount.units, purpose, expires_at)
            case Captured(hold=hold, amount=amount, counter=counter):
                self.posted -= amount.units
                self._close(hold, state="captured", captured=amount.units, counter=counter)
            case Released(hold=hold):
                self._close(hold, state="released")
            case HoldExpired(hold=hold):
                self._close(hold, state="expired")
            case Frozen(amount=amount, cause=cause):
                self.freezes[cause] = amount.units
            case Unfrozen(cause=cause):
                del self.freezes[cause]
            case _:
                assert_never(event)

    def _close(self, hold: str, **ended: Any) -> None:
        holding = self.holds[hold]
        self.holds[hold] = replace(holding, **ended)
        self.held -= holding.units
