"""What is not ours to decide: SpaceStaking's positions as they were observed; and the faucet of a testnet."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts.staking import (
    FAUCET_COOLDOWN_SECONDS,
    FAUCET_DAILY_MAXIMUM,
    FAUCET_DRIP,
    MAINNET,
    CountDrip,
    DripCounted,
    Dripped,
    FaucetEvent,
    Observe,
    SpaceStakeObserved,
)
from domain import Aggregate, Shelf, shelf
from domain.staking import AddressedWrongly, AlreadyObserved, CoolingDown, FaucetEmpty, NoFaucetHere
from domain.staking.arithmetic import epoch_at

_WALLET = re.compile(r"0x[0-9a-f]{40}")


@dataclass
class SpaceStake(Aggregate[SpaceStakeObserved]):
    """One address at SpaceStaking on the testnet (white paper 7.3)."""

    logs: Shelf[SpaceStakeObserved] = shelf("log")

    def observe(self, command: Observe) -> None:
        """Raises AddressedWrongly, AlreadyObserved."""
        _require_wallet(self.id)
        event = SpaceStakeObserved(**dict(command))
        known = self.logs.get(command.log)
        if known is None:
            self.record(event)
        elif known != event:
            raise AlreadyObserved(field="log")

    def apply(self, event: SpaceStakeObserved) -> None:
        match event:
            case SpaceStakeObserved(log=log):
                self.logs[log] = event
            case _:
                assert_never(event)


@dataclass
class FaucetDay(Aggregate[FaucetEvent]):
    """What the faucet gave on a day. It is counted after the drip, so that drips at once may pass its end by a few."""

    counted: list[str] = field(default_factory=list)
    units: int = 0

    def count(self, command: CountDrip) -> None:
        if command.drip not in self.counted:
            self.record(DripCounted(**dict(command)))

    def apply(self, event: FaucetEvent) -> None:
        match event:
            case DripCounted(drip=drip, amount=amount):
                self.counted.append(drip)
                self.units += amount
            case Dripped():
                pass
            case _:
                assert_never(event)


@dataclass
class Faucet(Aggregate[FaucetEvent]):
    """One address at the faucet (white paper 7.3)."""

    next_at: datetime | None = None

    def drip(self, network: str, today: FaucetDay, now: datetime) -> None:
        """Raises NoFaucetHere, AddressedWrongly, CoolingDown, FaucetEmpty."""
        if network == MAINNET:
            raise NoFaucetHere
        _require_wallet(self.id)
        if self.next_at is not None and now < self.next_at:
            raise CoolingDown(f"the next drip is at {self.next_at:%F %T} UTC")
        if today.units + FAUCET_DRIP > FAUCET_DAILY_MAXIMUM:
            raise FaucetEmpty
        next_at = now + timedelta(seconds=FAUCET_COOLDOWN_SECONDS)
        self.record(Dripped(amount=FAUCET_DRIP, next_at=next_at, day=epoch_at(now)))

    def apply(self, event: FaucetEvent) -> None:
        match event:
            case Dripped(next_at=next_at):
                self.next_at = next_at
            case DripCounted():
                pass
            case _:
                assert_never(event)


def _require_wallet(name: str) -> None:
    if not _WALLET.fullmatch(name):
        raise AddressedWrongly("the stream is named by an address in lower case", "subject")
