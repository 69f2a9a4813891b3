"""One currency's coins, never more than the money that a bank holds for them (white paper 8.2)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from contracts import Amount, Did, Dust, Label
from contracts.treasury import (
    COINS,
    TREASURY,
    AttestReserves,
    BackingReceived,
    BackingWrittenDown,
    Burn,
    Burned,
    ConfigureMinter,
    ConfirmMint,
    DeficitFound,
    FailMint,
    Mint,
    MintConfirmed,
    Minted,
    MinterConfigured,
    MinterRemoved,
    MintFailed,
    MintingPaused,
    MintingResumed,
    ReceiveBacking,
    RemoveMinter,
    ReservesAttested,
    ResumeApproved,
    StablecoinEvent,
    TreasuryParameters,
    WriteDownBacking,
    bank_of,
)
from domain import Aggregate, DustNotAllowed, Shelf, shelf
from domain.treasury import (
    AddressedWrongly,
    AlreadyConfirmed,
    AttestationOutOfOrder,
    DeficitOpen,
    ExceedsAllowance,
    ExceedsReserves,
    ExceedsSupply,
    MintingHalted,
    NotMinted,
    NotMinter,
    NotPaused,
    OtherAsset,
    ReferenceUsed,
    SamePerson,
    StaleReserves,
)


def in_bank_money(amount: Amount) -> Amount:
    """So many whole cents. Raises DustNotAllowed."""
    try:
        return amount.to(bank_of(amount.asset))
    except Dust as error:
        raise DustNotAllowed(str(error), "amount") from None


@dataclass(frozen=True)
class Issue:
    """A mint that has not failed; `transaction` is that in which it is final."""

    units: int
    to: str
    transaction: str | None = None
    block: int = 0


@dataclass
class Attested:
    """What the bank held at a time, less what was owed, in cents. It may be less than nothing."""

    cents: int
    as_of: datetime
    statement: str


@dataclass
class Movement:
    """Cents by which reserves changed since."""

    at: datetime
    cents: int


@dataclass(frozen=True)
class Burning:
    """Coins that were burned for a withdrawal."""

    units: int
    cents: int
    transaction: str


@dataclass
class Stablecoin(Aggregate[StablecoinEvent]):
    """Supply in units of the coin, reserves in cents. Supply counts a mint when it is decided, a burn when it is final."""

    supply: int = 0
    in_flight: int = 0
    allowances: dict[str, int | None] = field(default_factory=dict)
    """What each minter may still mint; None: it was removed."""
    attested: Attested | None = None
    movements: list[Movement] = field(default_factory=list)
    """Those after the last attestation's time."""
    moved: int = 0
    """Their sum: it is asked for with every mint."""
    received: Shelf[int] = shelf("reference")
    """Cents, and so is what was written down."""
    written: Shelf[int] = shelf("reference")
    issues: Shelf[Issue] = shelf("reference")
    failed: Shelf[str] = shelf("transaction")
    """Transactions that can never be in the chain, with their reference."""
    burns: Shelf[Burning] = shelf("withdrawal")
    is_paused: bool = False
    resume_approved_by: str | None = None
    """The first person who would resume."""

    @property
    def reserves(self) -> int:
        """Cents that back coins: never less than nothing."""
        return self._moved(0)

    @property
    def deficit(self) -> int:
        """Units of the coin that no money backs."""
        return max(0, self.supply - self._coins(self.reserves))

    def backing_of(self, reference: str) -> int | None:
        """Cents that were received under the reference."""
        return self.received.get(reference)

    def is_confirmed(self, reference: str) -> bool:
        found = self.issues.get(reference)
        return found is not None and found.transaction is not None

    def configure(self, command: ConfigureMinter) -> None:
        """Raises OtherAsset, AddressedWrongly."""
        self._require_asset(command.allowance, self.id)
        if self.allowances.get(command.minter) != command.allowance.units:
            self.record(MinterConfigured(**dict(command)))

    def remove(self, command: RemoveMinter) -> None:
        """Raises NotMinter."""
        if command.minter not in self.allowances:
            raise NotMinter(field="minter")
        if self.allowances[command.minter] is not None:
            self.record(MinterRemoved(minter=command.minter))

    def attest(self, command: AttestReserves, now: datetime, terms: TreasuryParameters = TREASURY) -> None:
        """Any deficit is told; one of more than a percent pauses. Raises AttestationOutOfOrder, OtherAsset."""
        self._require_asset(command.bank, self._bank)
        self._require_asset(command.owed, self._bank)
        found = Attested(command.bank.units - command.owed.units, command.as_of, command.statement)
        if found == self.attested:
            return
        if self.attested is not None and command.as_of <= self.attested.as_of:
            raise AttestationOutOfOrder(f"{self.attested.as_of} was attested", "as_of")
        if command.as_of > now:
            raise AttestationOutOfOrder("nobody knows what the bank will hold", "as_of")
        later = sum(movement.cents for movement in self.movements if movement.at > command.as_of)
        self.record(ReservesAttested(**dict(command), **self._after(reserves=max(0, found.cents + later))))
        self._show_deficit(terms)

    def receive_backing(self, command: ReceiveBacking, now: datetime) -> None:
        """Raises ReferenceUsed, OtherAsset."""
        if not self._is_known("received", self.received, command):
            reserves = self._moved(command.amount.units)
            self.record(BackingReceived(**dict(command), at=now, **self._after(reserves=reserves)))

    def write_down(self, command: WriteDownBacking, now: datetime, terms: TreasuryParameters = TREASURY) -> None:
        """Raises ReferenceUsed, OtherAsset."""
        if not self._is_known("written", self.written, command):
            reserves = self._moved(-command.amount.units)
            self.record(BackingWrittenDown(**dict(command), at=now, **self._after(reserves=reserves)))
            self._show_deficit(terms)

    def mint(self, command: Mint, *, minter: str, now: datetime, terms: TreasuryParameters = TREASURY) -> None:
        """Issue against money that has arrived (white paper 8.2).

        Raises OtherAsset, ReferenceUsed, DustNotAllowed, NotMinter, MintingHalted, StaleReserves, ExceedsAllowance,
        ExceedsReserves.
        """
        self._require_asset(command.amount, self.id)
        if (known := self.issues.get(command.reference)) is not None:
            if (known.units, known.to) != (command.amount.units, command.to):
                raise ReferenceUsed(f"{known.units} units were issued to {known.to}", "reference")
            return
        in_bank_money(command.amount)
        self._require_free_to_mint(command.amount.units, minter, now, terms)
        supply = self.supply + command.amount.units
        said = {**dict(command), "minter": Did(minter), "policy_version": terms.policy_version}
        self.record(Minted(**said, **self._after(supply=supply)))

    def confirm_mint(self, command: ConfirmMint) -> None:
        """Raises NotMinted, AlreadyConfirmed."""
        known = self.issues.get(command.reference)
        if known is None or command.transaction in self.failed:
            raise NotMinted(field="reference" if known is None else "transaction")
        if known.transaction is not None:
            if (known.transaction, known.block) != (command.transaction, command.block):
                raise AlreadyConfirmed(f"in {known.transaction}, block {known.block}", "transaction")
            return
        self.record(MintConfirmed(**dict(command), amount=self._amount(known.units)))

    def fail_mint(self, command: FailMint) -> None:
        """Its reference is free again. Raises NotMinted, AlreadyConfirmed."""
        if self.failed.get(command.transaction) == command.reference:
            return
        known = self.issues.get(command.reference)
        if known is None:
            raise NotMinted(field="reference")
        if known.transaction is not None:
            raise AlreadyConfirmed(f"in {known.transaction}", "reference")
        after = self._after(supply=self.supply - known.units)
        self.record(MintFailed(**dict(command), amount=self._amount(known.units), **after))

    def burn(self, command: Burn, now: datetime) -> None:
        """Raises OtherAsset, ReferenceUsed, DustNotAllowed, ExceedsSupply."""
        self._require_asset(command.amount, self.id)
        if (known := self.burns.get(command.withdrawal)) is not None:
            if (known.units, known.transaction) != (command.amount.units, command.transaction):
                raise ReferenceUsed(f"{known.units} units were burned for it", "withdrawal")
            return
        payout = in_bank_money(command.amount)
        held = self.supply - self.in_flight
        if command.amount.units > held:
            raise ExceedsSupply(f"{held} units are with holders, {command.amount.units} asked", "amount")
        after = self._after(supply=self.supply - command.amount.units, reserves=self._moved(-payout.units))
        self.record(Burned(**dict(command), payout=payout, at=now, **after))

    def pause(self, cause: Label, policy_version: int | None = None) -> None:
        if not self.is_paused:
            self.record(MintingPaused(cause=cause, policy_version=policy_version))

    def resume(self, *, actor: str, person: str) -> None:
        """One person approves, another one resumes. Raises NotPaused, DeficitOpen, SamePerson."""
        if not self.is_paused:
            raise NotPaused
        if self.deficit:
            raise DeficitOpen(f"{self.deficit} units are not backed")
        if self.resume_approved_by is None:
            self.record(ResumeApproved(approved_by=Did(actor), person=Did(person)))
        elif self.resume_approved_by == person:
            raise SamePerson
        else:
            self.record(MintingResumed(resumed_by=Did(actor), person=Did(person)))

    def _require_free_to_mint(self, units: int, minter: str, now: datetime, terms: TreasuryParameters) -> None:
        allowance = self.allowances.get(minter)
        if allowance is None:
            raise NotMinter(f"{minter} mints no {self.id}")
        if self.is_paused:
            raise MintingHalted
        if self.attested is None or now - self.attested.as_of > timedelta(seconds=terms.reserves_age_max_seconds):
            raise StaleReserves
        if units > allowance:
            raise ExceedsAllowance(f"{allowance} units are allowed, {units} asked", "amount")
        held = self._coins(self.reserves)
        if self.supply + units > held:
            raise ExceedsReserves(f"{held} units are backed, {self.supply} issued, {units} asked", "amount")

    def _show_deficit(self, terms: TreasuryParameters) -> None:
        if self.deficit:
            self.record(DeficitFound(deficit=self._amount(self.deficit)))
            if self.deficit * 100 > self.supply * terms.deficit_pause_percent:
                self.pause(Label("deficit"), terms.policy_version)

    def _is_known(self, way: str, backings: Shelf[int], command: ReceiveBacking | WriteDownBacking) -> bool:
        self._require_asset(command.amount, self._bank)
        known = backings.get(command.reference)
        if known not in (None, command.amount.units):
            raise ReferenceUsed(f"{known} cents were {way} under it", "reference")
        return known is not None

    def _require_asset(self, amount: Amount, asset: str) -> None:
        if self.id not in COINS:
            raise AddressedWrongly(f"{self.id} is not issued here", "subject")
        if amount.asset != asset:
            raise OtherAsset(f"it is counted in {asset}, not in {amount.asset}")

    @property
    def _bank(self) -> str:
        return bank_of(self.id)

    def _coins(self, cents: int) -> int:
        return Amount.of(self._bank, cents).to(self.id).units

    def _amount(self, units: int) -> Amount:
        return Amount.of(self.id, units)

    def _moved(self, cents: int) -> int:
        attested = self.attested.cents if self.attested else 0
        return max(0, attested + self.moved + cents)

    def _after(self, *, supply: int | None = None, reserves: int | None = None) -> dict[str, Any]:
        """How supply and reserves stand once the event has happened."""
        return {
            "supply": self._amount(self.supply if supply is None else supply),
            "reserves": Amount.of(self._bank, self.reserves if reserves is None else reserves),
        }

    def apply(self, event: StablecoinEvent) -> None:
        match event:
            case MinterConfigured(minter=minter, allowance=allowance):
                self.allowances[minter] = allowance.units
            case MinterRemoved(minter=minter):
                self.allowances[minter] = None
            case ReservesAttested(bank=bank, owed=owed, as_of=as_of, statement=statement):
                self.attested = Attested(bank.units - owed.units, as_of, statement)
                self.movements = [movement for movement in self.movements if movement.at > as_of]
                self.moved = sum(movement.cents for movement in self.movements)
            case DeficitFound():
                self.resume_approved_by = None
            case MintingPaused():
                self.is_paused, self.resume_approved_by = True, None
            case BackingReceived(amount=amount, reference=reference, at=at):
                self.received[reference] = amount.units
                self._move(at, amount.units)
            case BackingWrittenDown(amount=amount, reference=reference, at=at):
                self.written[reference] = amount.units
                self._move(at, -amount.units)
            case Minted(amount=amount, reference=reference, to=to, minter=minter):
                self.issues[reference] = Issue(amount.units, to)
                self.allowances[minter] = (self.allowances.get(minter) or 0) - amount.units
                self.supply += amount.units
                self.in_flight += amount.units
            case MintConfirmed(reference=reference, transaction=transaction, block=block, amount=amount):
                self.issues[reference] = replace(self.issues[reference], transaction=transaction, block=block)
                self.in_flight -= amount.units
            case MintFailed(reference=reference, transaction=transaction, amount=amount):
                self.issues.remove(reference)
                self.failed[transaction] = reference
                self.supply -= amount.units
                self.in_flight -= amount.units
            case Burned(amount=amount, withdrawal=withdrawal, transaction=transaction, payout=payout, at=at):
                self.burns[withdrawal] = Burning(amount.units, payout.units, transaction)
                self.supply -= amount.units
                self._move(at, -payout.units)
            case ResumeApproved(person=person):
                self.resume_approved_by = person
            case MintingResumed():
                self.is_paused, self.resume_approved_by = False, None
            case _:
                assert_never(event)

    def _move(self, at: datetime, cents: int) -> None:
        self.movements.append(Movement(at, cents))
        self.moved += cents
