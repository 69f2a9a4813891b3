"""Four days before the trace: oracles and a provider stake, a device is silent for a day, is accused, witnessed and slashed.

The clock of the demo's processes is moved, since nobody would wait: windows of a day are part of the rules.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine

from adapters import clock
from adapters.sql import reading
from contracts import Address, Amount, AssetName, Command, Did, Digest
from contracts.liveness import SLOTS_PER_EPOCH, CloseEpoch, Cut, ExcuseSlots, ShardCut, epoch_of, slot_at
from contracts.rewards import EMISSION, DeclareGenesis
from contracts.staking import (
    SPACE,
    Attest,
    DeregisterDevice,
    RegisterDevice,
    case_id,
    case_stream,
    collateral_stream,
)
from contracts.treasury import AccountId, Credit, Hold, HoldId, LedgerAccount, OpenAccount, Purpose, Reference, account_stream
from domain.liveness import day_stream
from ops.compose import Deployment
from ops.demo.client import Client
from ops.demo.people import FOUNDERS, HOLDER, ORACLES, People, accepted
from projections.rewards import epoch_of as day_of
from projections.rewards import supply_at
from projections.staking.queries import case, device_standings, stake_of

WALLET = Address("0x" + "5a" * 20)
"""Whose device it is."""
PATIENCE_SECONDS = 90.0


class TooSlow(TimeoutError):
    """Something that had to come did not. The logs are in <home>/logs."""


@dataclass
class Past:
    """The four days. `advance` is told of each step that is done."""

    deployment: Deployment
    people: People
    client: Client
    views: Engine
    advance: Callable[[int], None]

    STEPS = 8

    @property
    def device(self) -> Did:
        return self.people.did("staking.holder")

    @property
    def case(self) -> str:
        return str(case_id(self.device, "downtime", self._epoch(-3), ""))

    def is_over(self) -> bool:
        """Whether this network has a past already: time does not go back."""
        with reading(self.views) as connection:
            return supply_at(None, connection).issued > 0

    def end(self) -> None:
        """The clock is the machine's again, also where somebody stopped in the middle."""
        clock.set_shift(self._file, timedelta())

    def begin(self) -> None:
        """Four days ago. The network is founded then: authority is judged by the times of the records."""
        self._go(-4, hours=12)

    async def live(self) -> None:
        """Day by day."""
        await accepted(self.client, self.people.registrations())
        await self._stake()
        await self._register()
        self._go(-2, minutes=16)
        await self._accuse()
        await self._attest()
        self._go(-1, hours=1)
        await self._until(lambda connection: self._state(connection) == "executed", "the slash")
        self._done()
        await self._until(lambda connection: self._is_published(connection, -2), "the rewards of two days ago")
        self._done()
        self.end()

    async def _stake(self) -> None:
        founders, process = account_stream(FOUNDERS, "SPACE"), "process"
        genesis = DeclareGenesis(at=self._midnight(-4))
        await accepted(self.client, [self.people.once("rewards.governor", genesis, EMISSION)])
        opened = OpenAccount(owner=AccountId(FOUNDERS), asset=AssetName("SPACE"))
        await accepted(self.client, [self.people.once(process, opened, founders)])
        credit = Credit(
            amount=_space(1_000_000), counter=LedgerAccount("deposits:native"), reference=Reference("genesis:founders")
        )
        await accepted(self.client, [self.people.once(process, credit, founders)])
        self._done()
        await accepted(self.client, [self.people.said(HOLDER, hold, founders) for hold in self._holds()])
        await self._until(self._is_staked, "the stakes")
        self._done()

    def _holds(self) -> Iterator[Command]:
        stakes = [("oracle", self.people.did(name), 10_000) for name in ORACLES]
        for kind, subject, units in (*stakes, ("stake", WALLET, 1_000), ("bond", self.device, 100)):
            stream = collateral_stream(kind, subject)
            yield Hold(
                hold=HoldId(f"{kind}-{sha256(subject.encode()).hexdigest()[:12]}"), amount=_space(units),
                purpose=Purpose(f"stake:{stream}"), expires_at=clock.now() + timedelta(hours=6),
            )  # fmt: skip

    def _is_staked(self, connection: Connection) -> bool:
        wanted = [("oracle", self.people.did(name)) for name in ORACLES] + [("stake", WALLET), ("bond", self.device)]
        return all((found := stake_of(kind, subject, connection)) and found.active for kind, subject in wanted)  # type: ignore[arg-type]

    async def _register(self) -> None:
        serial = Digest(sha256(b"a machine that will be silent").hexdigest())
        ask = RegisterDevice(device_key=self.device, wallet=WALLET, serial_hash=serial)
        await accepted(self.client, [self.people.said("staking.holder", ask, collateral_stream("bond", self.device))])
        await self._until(lambda c: any(d.state == "registered" for d in device_standings(c)), "the device's registration")
        self._done()

    async def _accuse(self) -> None:
        """The first full day of the device is over, and it was not heard once."""
        epoch = self._epoch(-3)
        excuse = ExcuseSlots(slots=(), cut=self._cut)
        await accepted(self.client, [self.people.said("process", excuse, day_stream(epoch))])
        first = epoch * SLOTS_PER_EPOCH
        close = CloseEpoch(epoch=epoch, cut=self._cut, policy_version=1, first_slot=first, end_slot=first + SLOTS_PER_EPOCH)
        await accepted(self.client, [self.people.said("process", close, f"liveness/device/{self.device}")])
        self._done()
        await self._until(lambda connection: case(self.case, connection) is not None, "the case")
        leave = DeregisterDevice()
        await accepted(self.client, [self.people.said("staking.holder", leave, collateral_stream("bond", self.device))])
        self._done()

    async def _attest(self) -> None:
        with reading(self.views) as connection:
            found = case(self.case, connection)
        assert found is not None
        assert found.opened.uptime is not None
        names = {self.people.did(name): name for name in ORACLES}
        finding = Attest(missed=found.opened.uptime.missed, root=found.opened.uptime.root)
        panel = [names[Did(oracle)] for oracle in found.opened.panel][: found.opened.needed]
        await accepted(self.client, [self.people.said(name, finding, case_stream(self.case)) for name in panel])
        await self._until(lambda connection: self._state(connection) == "attested", "the panel's verdict")
        self._done()

    # The clock

    @property
    def _file(self) -> Any:
        found = self.deployment.settings.clock
        assert found is not None
        return found

    def _go(self, day: int, **more: float) -> None:
        clock.set_shift(self._file, self._midnight(day) + timedelta(**more) - datetime.now(UTC))

    def _midnight(self, day: int) -> datetime:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today + timedelta(days=day)

    def _epoch(self, day: int) -> int:
        return epoch_of(slot_at(self._midnight(day).timestamp()))

    # Looking

    @property
    def _cut(self) -> Cut:
        return tuple(ShardCut(shard=f"liveness.events/{n}", next=0) for n in range(self.deployment.settings.partitions))

    def _state(self, connection: Connection) -> str:
        found = case(self.case, connection)
        return found.state if found else ""

    def _is_published(self, connection: Connection, day: int) -> bool:
        found = day_of(self._epoch(day), connection)
        return found is not None and found.root is not None

    def _done(self) -> None:
        self.advance(1)

    async def _until(self, true: Callable[[Connection], bool], what: str) -> None:
        await until(self.views, true, what)


async def until(views: Engine, true: Callable[[Connection], bool], what: str) -> None:
    """Look at the views until it is so. Raises TooSlow."""
    deadline = time.monotonic() + PATIENCE_SECONDS

    def look() -> bool:
        with reading(views) as connection:
            return true(connection)

    while not await asyncio.to_thread(look):
        if time.monotonic() > deadline:
            raise TooSlow(f"{what} did not come in {PATIENCE_SECONDS:g} s; the logs are in <home>/logs")
        await asyncio.sleep(0.1)


def _space(whole: int) -> Amount:
    return Amount.of("SPACE", whole * SPACE)
