"""Deposits: money that came in, seen many times and counted once."""

from dataclasses import dataclass, field
from typing import Literal, assert_never

from contracts import Amount
from contracts.treasury import (
    COINS,
    AssignDeposit,
    CloseDispute,
    DepositAssigned,
    DepositDefended,
    DepositDisputed,
    DepositEvent,
    DepositIssued,
    DepositLost,
    DepositObserved,
    DepositRefunded,
    DepositSettled,
    DisputeDeposit,
    MarkIssued,
    ObserveDeposit,
    RefundDeposit,
    SettleDeposit,
    coin_of,
    deposit_stream,
)
from domain import Aggregate
from domain.treasury import (
    AddressedWrongly,
    AlreadyAssigned,
    AlreadyIssued,
    DepositClosed,
    ExceedsDeposit,
    NoDispute,
    NotClosed,
    NotIssuable,
    NotMinted,
    NotObserved,
    NotOurCurrency,
    NotSettled,
    OtherAsset,
    ReferenceUsed,
)


@dataclass
class Dispute:
    """What the payer wants back, and how it stands."""

    units: int
    state: Literal["open", "won", "lost"] = "open"


@dataclass
class Deposit(Aggregate[DepositEvent]):
    """One entry at one bank. Amounts are in its bank money."""

    observed: DepositObserved | None = None
    owner: str | None = None
    to: str | None = None
    settled: DepositSettled | None = None
    issued: str | None = None
    """The mint's reference."""
    refunds: dict[str, int] = field(default_factory=dict)
    disputes: dict[str, Dispute] = field(default_factory=dict)
    left: int = 0
    """What was neither kept by the rail, nor given back, nor lost."""
    gone: int = 0
    """Given back or lost."""
    is_borne: bool = False
    """It was lost after coins had been issued for it: the network bears that."""

    def observe(self, command: ObserveDeposit) -> None:
        """Raises AddressedWrongly, NotOurCurrency, ReferenceUsed."""
        if self.stream != deposit_stream(command.rail, command.reference):
            raise AddressedWrongly(f"it is {deposit_stream(command.rail, command.reference)}", "subject")
        if not command.amount.asset.endswith(".bank") or coin_of(command.amount.asset) not in COINS:
            raise NotOurCurrency(f"{command.amount.asset} is not held here", "amount")
        if self.observed is None:
            self.record(DepositObserved(**dict(command)))
        elif self.observed.amount != command.amount:
            raise ReferenceUsed(f"{command.reference} was seen with {self.observed.amount}", "amount")

    def settle(self, command: SettleDeposit) -> None:
        """Raises NotObserved, OtherAsset, ReferenceUsed, DepositClosed, ExceedsDeposit."""
        self._require_asset(command.net, command.fee)
        event = DepositSettled(**dict(command))
        if self.settled is not None:
            if self.settled != event:
                raise ReferenceUsed(f"it was settled with {self.settled.net}", "net")
            return
        left = self._require_left()
        if command.net.units + command.fee.units > left:
            raise ExceedsDeposit(f"{left} units are there, {command.net.units} and a fee of {command.fee.units} are not", "net")
        self.record(event)

    def assign(self, command: AssignDeposit) -> None:
        """Raises NotObserved, AlreadyAssigned, DepositClosed."""
        if (self.owner, self.to) == (command.owner, command.to):
            return
        self._require_left()
        if self.to is not None or self.owner not in (None, command.owner):
            raise AlreadyAssigned(f"it is {self.owner}'s", "owner")
        self.record(DepositAssigned(**dict(command)))

    def mark_issued(self, command: MarkIssued, *, is_confirmed: bool) -> None:
        """`is_confirmed` is whether the coins are in the chain. Raises NotSettled, AlreadyIssued, DepositClosed, NotMinted."""
        if self.issued is not None:
            if self.issued != command.reference:
                raise AlreadyIssued(f"under {self.issued}", "reference")
            return
        self._require_left()
        if self.settled is None:
            raise NotSettled
        if not is_confirmed:
            raise NotMinted(field="reference")
        self.record(DepositIssued(reference=command.reference))

    def refund(self, command: RefundDeposit, *, is_minted: bool) -> None:
        """`is_minted` is whether coins for it are on their way. Raises NotObserved, AlreadyIssued, DepositClosed,
        ExceedsDeposit, OtherAsset, ReferenceUsed."""
        self._require_asset(command.amount)
        if (known := self.refunds.get(command.reference)) is not None:
            if known != command.amount.units:
                raise ReferenceUsed(f"{known} units went back under it", "reference")
            return
        if is_minted or self.issued is not None:
            raise AlreadyIssued
        left = self._require_left()
        if command.amount.units > left:
            raise ExceedsDeposit(f"{left} units are left, {command.amount.units} are not", "amount")
        self.record(DepositRefunded(**dict(command), settled=self.settled is not None))

    def dispute(self, command: DisputeDeposit) -> None:
        """Raises NotObserved, ExceedsDeposit, OtherAsset, ReferenceUsed."""
        self._require_asset(command.amount)
        if (known := self.disputes.get(command.dispute)) is not None:
            if known.units != command.amount.units:
                raise ReferenceUsed(f"{known.units} units are disputed under it", "dispute")
            return
        # The payer disputes what he paid, not what was left of it after the rail's fee.
        paid = self._require_observed().amount.units - self.gone
        if command.amount.units > paid:
            raise ExceedsDeposit(f"{paid} units were paid, {command.amount.units} are disputed", "amount")
        self.record(DepositDisputed(**dict(command)))

    def close_dispute(self, command: CloseDispute, *, is_minted: bool) -> None:
        """Raises NoDispute, NotObserved."""
        known = self.disputes.get(command.dispute)
        if known is None or known.state not in ("open", command.outcome):
            raise NoDispute(field="dispute")
        if known.state != "open":
            return
        if command.outcome == "won":
            self.record(DepositDefended(dispute=command.dispute))
            return
        lost = Amount.of(self._require_observed().amount.asset, known.units)
        issued = is_minted or self.issued is not None
        self.record(DepositLost(dispute=command.dispute, amount=lost, settled=self.settled is not None, issued=issued))

    def require_issuable(self, amount: Amount) -> None:
        """That coins of this bank amount may be issued for it. Raises NotIssuable."""
        if amount.units != self.issuable or amount.asset != self._require_observed().amount.asset:
            raise NotIssuable(f"{self.id} may back {self.issuable} units, not {amount.units}", "amount")

    def require_unissued(self) -> None:
        """That no coins will come of it, and nobody else bears its loss. Raises NotObserved, AlreadyIssued, NotClosed."""
        self._require_observed()
        if self.issued is not None or self.is_borne:
            raise AlreadyIssued
        if self.left > 0:
            raise NotClosed(f"{self.left} units are left")

    @property
    def issuable(self) -> int:
        """How much coins may be issued for: nothing while it is unassigned, not booked, in dispute or issued."""
        in_dispute = any(dispute.state == "open" for dispute in self.disputes.values())
        if self.settled is None or self.owner is None or self.to is None or in_dispute or self.issued is not None:
            return 0
        return max(0, self.left)

    def _require_observed(self) -> DepositObserved:
        if self.observed is None:
            raise NotObserved
        return self.observed

    def _require_left(self) -> int:
        self._require_observed()
        if self.left <= 0:
            raise DepositClosed
        return self.left

    def _require_asset(self, *amounts: Amount) -> None:
        asset = self._require_observed().amount.asset
        if any(amount.asset != asset for amount in amounts):
            raise OtherAsset(f"the deposit is in {asset}")

    def apply(self, event: DepositEvent) -> None:
        match event:
            case DepositObserved(owner=owner, to=to, amount=amount):
                self.observed, self.owner, self.to, self.left = event, owner, to, amount.units
            case DepositSettled(net=net):
                self.settled, self.left = event, net.units
            case DepositAssigned(owner=owner, to=to):
                self.owner, self.to = owner, to
            case DepositIssued(reference=reference):
                self.issued = reference
            case DepositRefunded(amount=amount, reference=reference):
                self.refunds[reference] = amount.units
                self.left, self.gone = self.left - amount.units, self.gone + amount.units
            case DepositDisputed(dispute=dispute, amount=amount):
                self.disputes[dispute] = Dispute(amount.units)
            case DepositDefended(dispute=dispute):
                self.disputes[dispute].state = "won"
            case DepositLost(dispute=dispute, amount=amount, issued=issued):
                self.disputes[dispute].state = "lost"
                self.is_borne = self.is_borne or issued
                self.left, self.gone = self.left - amount.units, self.gone + amount.units
            case _:
                assert_never(event)
