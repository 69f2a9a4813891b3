"""Emission: one counter of what was ever issued, which never falls, under a cap of a billion SPACE (white paper 9.2, 9.3)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts.rewards import (
    BUCKET_UNITS,
    CAP_UNITS,
    EMISSION_BP,
    GENESIS_ACCOUNT,
    LINE_SECONDS,
    YEAR_SECONDS,
    AllotGrant,
    Bucket,
    DeclareGenesis,
    EmissionYearOpened,
    EpochMinted,
    GenesisDeclared,
    GrantAllotted,
    GrantReturned,
    Issue,
    Issued,
    MintEpoch,
    OpenYear,
    RecordBurn,
    Reference,
    ReturnGrant,
    SupplyBurned,
)
from domain import Aggregate, Refused, Shelf, shelf
from domain.rewards.grants import Grant, NotAllotted

EmissionEvent = (
    GenesisDeclared | EmissionYearOpened | EpochMinted | GrantAllotted | GrantReturned | Issued | SupplyBurned
)  # fmt: skip


class AlreadyDeclared(Refused):
    """The token generation event was declared, for another time."""


class NotGenesis(Refused):
    """The token generation event was not declared yet."""


class YearNotDue(Refused):
    """Years are opened one after the other, each when it has begun and the one before is minted to its end."""


class EpochOutOfOrder(Refused):
    """An epoch follows the ones before it, and not before its time."""


class CapReached(Refused):
    """A billion SPACE were issued (white paper 9.2); what was burned does not reopen the cap."""


class BucketEmpty(Refused):
    """Emission draws on the providers' bucket (white paper 9.3), and nothing is left in it."""


class ExceedsBucket(Refused):
    """More than the bucket has left, or than its line has opened by now, or than was set aside for the grant."""


class AlreadyAllotted(Refused):
    """The grant has its part, and it is another one."""


class NotReleased(Refused):
    """The grant has not released so much, or to another account."""


class ReferenceUsed(Refused):
    """The reference stands for another movement."""


class ExceedsSupply(Refused):
    """More is burned than was issued and is not burned yet."""


def minted(base: int, seconds: int) -> int:
    """Of a year's base after so many seconds of it: 2 % a year (white paper 9.2)."""
    return base * EMISSION_BP * seconds // (10_000 * YEAR_SECONDS)


def line(seconds: int) -> int:
    """What may have left the providers' bucket so many seconds after genesis: all of it after three years (white paper 9.3)."""
    return BUCKET_UNITS["providers"] * max(0, min(seconds, LINE_SECONDS)) // LINE_SECONDS


@dataclass
class Allotment:
    """What is set aside for a grant, and how much of it was issued or given back."""

    bucket: Bucket
    amount: int
    issued: int = 0
    returned: int = 0

    @property
    def outstanding(self) -> int:
        return self.amount - self.issued - self.returned


@dataclass
class Emission(Aggregate[EmissionEvent]):
    """All SPACE that was ever issued. Account names of the native chain are labels: this counter is the one."""

    genesis: datetime | None = None
    year: int = 0
    base: int = 0
    minted_in_year: int = 0
    last: EpochMinted | None = None
    issued_total: int = 0
    burned_total: int = 0
    issued: dict[Bucket, int] = field(default_factory=lambda: dict.fromkeys(BUCKET_UNITS, 0))
    allotments: dict[str, Allotment] = field(default_factory=dict)
    movements: Shelf[Issued | SupplyBurned] = shelf("reference")
    """By reference."""

    def declare_genesis(self, command: DeclareGenesis) -> None:
        """Raises AlreadyDeclared."""
        if self.genesis is not None:
            if self.genesis != command.at:
                raise AlreadyDeclared
            return
        amount = BUCKET_UNITS["liquidity"]
        self.record(GenesisDeclared(at=command.at))
        self.record(
            Issued(bucket="liquidity", amount=amount, to=GENESIS_ACCOUNT, reference=Reference("genesis"), issued_total=amount)
        )

    def open_year(self, command: OpenYear, now: datetime) -> None:
        """Raises NotGenesis, YearNotDue."""
        begins = self._begin_of(command.year)
        if command.year == self.year:
            return
        if command.year != self.year + 1 or now < begins or (self.year and self._minted_until() < begins):
            raise YearNotDue(field="year")
        self.record(EmissionYearOpened(year=command.year, base=self.issued_total - self.burned_total))

    def mint(self, command: MintEpoch, now: datetime) -> None:
        """The difference to what was minted of the year so far.

        Raises NotGenesis, EpochOutOfOrder, CapReached, BucketEmpty, YearNotDue.
        """
        genesis = self._require_genesis()
        if self.last is not None:
            if (self.last.epoch, self.last.until) == (command.epoch, command.until):
                return
            if command.epoch <= self.last.epoch or command.until <= self.last.until:
                raise EpochOutOfOrder(f"epoch {self.last.epoch} is minted", "epoch")
        if command.until > now:
            raise EpochOutOfOrder("the epoch is not over", "until")
        if self.issued_total >= CAP_UNITS:
            raise CapReached
        if self.left("providers") <= 0:
            raise BucketEmpty
        open_line = line(_seconds(command.until - genesis)) - self.issued["providers"]
        amount = max(0, min(self._due(command.until), open_line, self.left("providers"), CAP_UNITS - self.issued_total))
        self.record(EpochMinted(**dict(command), amount=amount, issued_total=self.issued_total + amount))

    def allot(self, command: AllotGrant) -> None:
        """Raises NotGenesis, ExceedsBucket, AlreadyAllotted."""
        self._require_genesis()
        if (found := self.allotments.get(command.grant)) is not None:
            if (found.bucket, found.amount) != (command.bucket, command.amount):
                raise AlreadyAllotted(field="grant")
            return
        if command.amount > self.left(command.bucket):
            raise ExceedsBucket(f"{self.left(command.bucket)} units are left in {command.bucket}", "amount")
        self.record(GrantAllotted(**dict(command)))

    def give_back(self, command: ReturnGrant, grant: Grant) -> None:
        """What the grant will never release; all of it where no grant was made. Raises NotAllotted, ExceedsBucket."""
        found = self._allotment(command.grant)
        if found.returned and found.returned == command.amount:
            return
        unreleased = grant.returned if grant.created else found.outstanding
        if found.returned or command.amount > min(unreleased, found.outstanding):
            raise ExceedsBucket(f"the grant {command.grant} gives back {unreleased} units, once", "amount")
        if command.amount:
            self.record(GrantReturned(**dict(command)))

    def issue(self, command: Issue, grant: Grant, now: datetime) -> None:
        """Raises ReferenceUsed, NotAllotted, NotReleased, ExceedsBucket, CapReached."""
        genesis = self._require_genesis()
        if (done := self.movements.get(command.reference)) is not None:
            if not isinstance(done, Issued) or dict(command).items() - dict(done).items():
                raise ReferenceUsed(field="reference")
            return
        found = self._allotment(command.grant)
        if grant.created is None or grant.created.beneficiary != command.to:
            raise NotReleased("the grant is somebody else's", "to")
        if found.issued + command.amount > grant.released:
            raise NotReleased(f"{grant.released - found.issued} units are released and not issued", "amount")
        if self.issued_total + command.amount > CAP_UNITS:
            raise CapReached(field="amount")
        if found.bucket != command.bucket or command.amount > found.outstanding:
            raise ExceedsBucket(field="amount")
        if command.bucket == "providers" and self.issued["providers"] + command.amount > line(_seconds(now - genesis)):
            raise ExceedsBucket("the line has not opened so far", "amount")
        self.record(Issued(**dict(command), issued_total=self.issued_total + command.amount))

    def burn(self, command: RecordBurn) -> None:
        """Raises ReferenceUsed, ExceedsSupply."""
        if (done := self.movements.get(command.reference)) is not None:
            if not isinstance(done, SupplyBurned) or dict(command).items() - dict(done).items():
                raise ReferenceUsed(field="reference")
            return
        burned = self.burned_total + command.amount
        if burned > self.issued_total:
            raise ExceedsSupply(field="amount")
        self.record(SupplyBurned(**dict(command), burned_total=burned))

    def left(self, bucket: Bucket) -> int:
        """Units of the bucket that are neither issued nor set aside."""
        aside = sum(found.outstanding for found in self.allotments.values() if found.bucket == bucket)
        return BUCKET_UNITS[bucket] - self.issued[bucket] - aside

    def apply(self, event: EmissionEvent) -> None:
        match event:
            case GenesisDeclared(at=at):
                self.genesis = at
            case EmissionYearOpened(year=year, base=base):
                self.year, self.base, self.minted_in_year = year, base, 0
            case EpochMinted(amount=amount):
                self.last, self.minted_in_year = event, self.minted_in_year + amount
                self._count("providers", amount)
            case GrantAllotted(grant=grant, bucket=bucket, amount=amount):
                self.allotments[grant] = Allotment(bucket, amount)
            case GrantReturned(grant=grant, amount=amount):
                self.allotments[grant].returned += amount
            case Issued(grant=of, bucket=bucket, amount=amount, reference=reference):
                self.movements[reference] = event
                self._count(bucket, amount)
                if of is not None:
                    self.allotments[of].issued += amount
            case SupplyBurned(reference=reference, burned_total=total):
                self.movements[reference], self.burned_total = event, total
            case _:
                assert_never(event)

    def _count(self, bucket: Bucket, amount: int) -> None:
        self.issued_total += amount
        self.issued[bucket] += amount

    def _due(self, until: datetime) -> int:
        begins = self._begin_of(max(self.year, 1))
        over = begins + timedelta(seconds=YEAR_SECONDS)
        if not self.year or (self.last is not None and self.last.until >= over):
            raise YearNotDue(f"year {self.year + 1} is not open", "until")
        return minted(self.base, max(0, _seconds(min(until, over) - begins))) - self.minted_in_year

    def _begin_of(self, year: int) -> datetime:
        return self._require_genesis() + timedelta(seconds=(year - 1) * YEAR_SECONDS)

    def _minted_until(self) -> datetime:
        return self.last.until if self.last is not None else self._require_genesis()

    def _require_genesis(self) -> datetime:
        if self.genesis is None:
            raise NotGenesis
        return self.genesis

    def _allotment(self, grant: str) -> Allotment:
        self._require_genesis()
        if (found := self.allotments.get(grant)) is None:
            raise NotAllotted(field="grant")
        return found


def _seconds(span: timedelta) -> int:
    return span // timedelta(seconds=1)
