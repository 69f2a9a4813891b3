"""One collateral: who put what at risk, when it may leave, what cases hold of it, and, of a bond, its device."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Did, EventId, StreamName, Uuid, rfc3339
from contracts.providers import Tier
from contracts.staking import (
    DEVICE_BOND,
    ORACLE_MINIMUM,
    STAKING,
    UNSTAKE_SECONDS,
    CancelUnstake,
    CollateralEvent,
    DeclineDevice,
    DeviceDeregistered,
    DeviceRegistered,
    DeviceResumed,
    DeviceSuspended,
    HeldForCase,
    HoldForCase,
    HoldReleased,
    KeyTombstoned,
    PartOfRequest,
    RegisterDevice,
    RegistrationAsked,
    RegistrationDeclined,
    ReleaseHold,
    RequestUnstake,
    Slash,
    Slashed,
    Staked,
    StakingParameters,
    SuspendDevice,
    TierChanged,
    Tombstone,
    UnstakeCancelled,
    UnstakeRequested,
    Withdraw,
    Withdrawn,
    key_claim_stream,
    named_collateral,
    serial_stream,
)
from contracts.treasury import Held
from domain import Aggregate
from domain.staking import (
    AddressedWrongly,
    AlreadyRegistered,
    AlreadySlashed,
    BelowMinimum,
    CasePending,
    ExceedsActive,
    HoldUsed,
    NoSuchRequest,
    NotAsked,
    NotClaimed,
    NotHeld,
    NothingLeft,
    NotRegistered,
    NotSuspended,
    RequestUsed,
    StillBonding,
    Tombstoned,
    require_space,
)
from domain.staking.arithmetic import epoch_at, first_full_epoch, tier_of
from domain.staking.holding import Held as HeldByCase
from domain.staking.holding import Holding

_MINIMUM = {"stake": 0, "bond": DEVICE_BOND, "oracle": ORACLE_MINIMUM}
_SUBJECT = {"stake": re.compile(r"0x[0-9a-f]{40}"), "bond": re.compile(r".+"), "oracle": re.compile(Did.pattern)}


@dataclass
class Funding:
    """A hold of the treasury that became stake."""

    account: str
    hold: str
    units: int


@dataclass
class Collateral(Aggregate[CollateralEvent]):
    """A wallet's stake, a device's bond or an oracle's stake."""

    holding: Holding = field(default_factory=Holding)
    fundings: list[Funding] = field(default_factory=list)
    tier: Tier = "free"
    """As it will be when the next epoch begins."""
    slashes: dict[str, int] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    tombstones: list[str] = field(default_factory=list)
    asked: RegistrationAsked | None = None
    registered: DeviceRegistered | None = None
    keys: list[str] = field(default_factory=list)
    """With which its device was ever registered."""
    wallet: str | None = None
    """Of its last owner, in lower case."""
    declined: str = ""
    suspensions: list[str] = field(default_factory=list)
    is_suspended: bool = False

    @property
    def kind(self) -> str:
        return named_collateral(self.stream)[0]

    @property
    def subject(self) -> str:
        return named_collateral(self.stream)[1]

    def stake(self, held: Held, account: StreamName, cause: EventId, now: datetime, terms: StakingParameters = STAKING) -> None:
        """Put at risk what an account of the treasury holds for it; `cause` is the id of the record that says so.

        Raises AddressedWrongly, NotHeld, HoldUsed, Tombstoned, BelowMinimum.
        """
        self._require_name()
        units = held.amount.units
        if held.purpose != f"stake:{self.stream}":
            raise NotHeld(f"it is held for {held.purpose}, not for stake:{self.stream}", "held")
        if held.amount.asset != "SPACE" or not units:
            raise NotHeld("it is held in another asset than SPACE, or nothing is", "held")
        require_space(account, "held")
        found = next((f for f in self.fundings if (f.account, f.hold) == (account, held.hold)), None)
        if found is not None:
            if found.units != units:
                raise HoldUsed(field="held")
            return
        # A record is for ever, and what it says was held is let go some day.
        if held.expires_at <= now:
            raise NotHeld(f"it was held until {rfc3339(held.expires_at)}", "held")
        if self.tombstones:
            raise Tombstoned
        active = self.holding.active + units
        if active < _MINIMUM[self.kind]:
            raise BelowMinimum(f"{active} units would be active, {_MINIMUM[self.kind]} are needed", "held")
        staked = Staked(amount=units, hold=held.hold, account=account, active=active, epoch=epoch_at(now), cause=cause)
        self.record(staked)
        self._change_tier(now, terms)

    def request_unstake(
        self, command: RequestUnstake, request: Uuid, now: datetime, terms: StakingParameters = STAKING
    ) -> None:
        """Begin to take it out (white paper 7.3). Raises RequestUsed, ExceedsActive, CasePending."""
        known = self.holding.requests.get(request)
        if known is not None:
            if known.asked != command.amount:
                raise RequestUsed(field="amount")
            return
        if command.amount > self.holding.active:
            raise ExceedsActive(f"{self.holding.active} units are active", "amount")
        if command.amount > self.holding.free_active:
            raise CasePending(f"cases leave {self.holding.free_active} units", "amount")
        releasable_at = now + timedelta(seconds=UNSTAKE_SECONDS)
        self.record(UnstakeRequested(amount=command.amount, request=request, releasable_at=releasable_at, epoch=epoch_at(now)))
        self._change_tier(now, terms)

    def cancel(self, command: CancelUnstake, now: datetime, terms: StakingParameters = STAKING) -> None:
        """Raises NoSuchRequest."""
        found = self.holding.requests.get(command.request)
        if found is not None and found.cancelled:
            return
        if found is None or not found.left:
            raise NoSuchRequest(field="request")
        self.record(UnstakeCancelled(request=command.request, amount=found.left, epoch=epoch_at(now)))
        self._change_tier(now, terms)

    def withdraw(self, command: Withdraw, now: datetime) -> None:
        """What no case holds of it. Raises NoSuchRequest, StillBonding, CasePending, AddressedWrongly."""
        found = self.holding.requests.get(command.request)
        if found is None or found.cancelled or not (found.left or found.withdrawn):
            raise NoSuchRequest(field="request")
        if not found.left:
            return
        if now < found.releasable_at:
            raise StillBonding(f"it can be withdrawn from {found.releasable_at:%F %T} UTC", "request")
        free = self.holding.free_of(command.request)
        if not free:
            raise CasePending(field="request")
        require_space(command.account)
        self.record(Withdrawn(request=command.request, amount=free, account=command.account, epoch=epoch_at(now)))

    def hold(self, command: HoldForCase) -> None:
        """As much as other cases leave of it. Raises AlreadySlashed, NothingLeft."""
        if command.case in self.slashes:
            raise AlreadySlashed(field="case")
        if command.case in self.holding.holds:
            return
        active, unbonding = self.holding.offer(command.amount)
        if not active and not unbonding:
            raise NothingLeft
        parts = tuple(PartOfRequest(request=Uuid(request), units=units) for request, units in unbonding.items())
        self.record(HeldForCase(case=command.case, from_active=active, from_unbonding=parts))

    def release(self, command: ReleaseHold) -> None:
        """All that the case holds. Raises AlreadySlashed, NotHeld."""
        if command.case in self.slashes:
            raise AlreadySlashed(field="case")
        if command.case in self.holding.holds:
            self.record(HoldReleased(case=command.case))
        elif command.case not in self.released:
            raise NotHeld(field="case")

    def slash(self, command: Slash, now: datetime, terms: StakingParameters = STAKING) -> None:
        """Burn what the case holds (white paper 9.6). Raises NotHeld."""
        if command.case in self.slashes:
            return
        held = self.holding.holds.get(command.case)
        if held is None:
            raise NotHeld(field="case")
        left = self.holding.at_risk - held.units
        self.record(Slashed(case=command.case, amount=held.units, left=left, epoch=epoch_at(now)))
        self._change_tier(now, terms)

    def review_tier(self, now: datetime, terms: StakingParameters) -> None:
        """By what is active and what a tier needs now, from the next epoch on. Raises AddressedWrongly."""
        self._require_name()
        self._change_tier(now, terms)

    def tombstone(self, command: Tombstone) -> None:
        if command.key not in self.tombstones:
            self.record(KeyTombstoned(**dict(command)))

    def register(self, command: RegisterDevice, key_at_stake: "Collateral") -> None:
        """Ask to serve. `key_at_stake` is what the key has as an oracle. Raises Tombstoned, AlreadyRegistered, BelowMinimum."""
        self._require_name()
        event = RegistrationAsked(**dict(command))
        if command.device_key in self.tombstones or key_at_stake.tombstones:
            raise Tombstoned(field="device_key")
        if self.asked is not None or self.registered is not None:
            if event not in (self.asked, self._registered_as()):
                raise AlreadyRegistered
            return
        self._require_bond()
        self.record(event)

    def admit(self, now: datetime, *, is_claimed: bool) -> None:
        """Raises NotAsked, NotClaimed."""
        if self.asked is None:
            if self.registered is None:
                raise NotAsked
            return
        if not is_claimed:
            raise NotClaimed
        self.record(DeviceRegistered(first_epoch=first_full_epoch(now), **dict(self.asked)))

    def decline(self, command: DeclineDevice) -> None:
        """Raises NotAsked."""
        if self.asked is not None:
            self.record(RegistrationDeclined(cause=command.cause))
        elif self.declined != command.cause:
            raise NotAsked

    def deregister(self) -> None:
        """Raises NotRegistered."""
        if self.registered is not None:
            found = self.registered
            self.record(DeviceDeregistered(device_key=found.device_key, serial_hash=found.serial_hash))
        elif not self.keys:
            raise NotRegistered

    def suspend(self, command: SuspendDevice) -> None:
        """Once for each case. Raises NotRegistered."""
        if command.cause in self.suspensions:
            return
        if self.registered is None:
            raise NotRegistered
        self.record(DeviceSuspended(cause=command.cause))

    def resume(self, now: datetime) -> None:
        """Raises NotRegistered, NotSuspended, BelowMinimum."""
        if self.registered is None:
            raise NotRegistered
        if not self.is_suspended:
            if not self.suspensions:
                raise NotSuspended
            return
        self._require_bond()
        self.record(DeviceResumed(first_epoch=first_full_epoch(now)))

    def has_claim_on(self, claim: str) -> bool:
        """Whether its device is registered, or asks to be, with that serial number or key, by its hash."""
        return any(
            f"staking/serial/{claim}" in (serial_stream(said.serial_hash), key_claim_stream(said.device_key))
            for said in (self.asked, self.registered)
            if said is not None
        )

    def apply(self, event: CollateralEvent) -> None:
        match event:
            case Staked():
                self.holding.stake(event.amount, event.epoch)
                self.fundings.append(Funding(event.account, event.hold, event.amount))
            case TierChanged(tier=tier):
                self.tier = tier
            case UnstakeRequested():
                self.holding.unstake(event.request, event.amount, event.releasable_at)
            case UnstakeCancelled(request=request):
                self.holding.cancel(request)
            case Withdrawn():
                self.holding.withdraw(event.request, event.amount, event.epoch)
            case HeldForCase():
                parts = {str(part.request): part.units for part in event.from_unbonding}
                self.holding.holds[event.case] = HeldByCase(event.from_active, parts)
            case HoldReleased(case=case):
                del self.holding.holds[case]
                self.released.append(case)
            case Slashed(case=case, amount=amount, epoch=epoch):
                self.holding.take(case, epoch)
                self.slashes[case] = amount
            case KeyTombstoned(key=key):
                self.tombstones.append(key)
            case RegistrationAsked():
                self.asked, self.declined = event, ""
            case DeviceRegistered():
                self.registered, self.asked, self.is_suspended = event, None, False
                self.keys.append(event.device_key)
                self.wallet = event.wallet.lower()
            case RegistrationDeclined(cause=cause):
                self.asked, self.declined = None, cause
            case DeviceDeregistered():
                self.registered = None
            case DeviceSuspended(cause=cause):
                self.is_suspended = True
                self.suspensions.append(cause)
            case DeviceResumed():
                self.is_suspended = False
            case _:
                assert_never(event)

    def _registered_as(self) -> RegistrationAsked | None:
        found = self.registered
        if found is None:
            return None
        return RegistrationAsked(device_key=found.device_key, wallet=found.wallet, serial_hash=found.serial_hash)

    def _require_name(self) -> None:
        if not self.kind or not _SUBJECT[self.kind].fullmatch(self.subject):
            raise AddressedWrongly(
                "a stake is a wallet's in lower case, a bond a device's, an oracle's stake is named by its DID", "subject"
            )

    def _require_bond(self) -> None:
        if self.holding.active < DEVICE_BOND:
            raise BelowMinimum(f"the bond is {self.holding.active} units, {DEVICE_BOND} are needed")

    def _change_tier(self, now: datetime, terms: StakingParameters) -> None:
        tier = tier_of(self.holding.active, terms.tier_minimum)
        if self.kind == "stake" and tier != self.tier:
            self.record(TierChanged(tier=tier, from_epoch=epoch_at(now) + 1, policy_version=terms.policy_version))
