"""A day's stakes from staking's and liveness's own events: nothing is guessed while a result is missing."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector
from contracts import Address, Event, StreamName, Uuid
from contracts.liveness import SLOTS_PER_EPOCH, EpochClosed, SlotsExcused
from contracts.providers import Tier
from contracts.rewards import Payee
from contracts.staking import DeviceRegistered, DeviceSuspended, RegistrationAsked, Staked, TierChanged, UnstakeRequested
from contracts.treasury import HoldId
from domain.rewards.epochs import epoch_at
from projections.rewards import rewards
from projections.staking import downtime, staking
from streams.rewards.results import DayOfStake, accepted_reports, days_of_stakes, of_oracle
from tests.adapters.shards import START
from tests.commands.test_rewards import FEES, PAYEE, Desk, fee
from tests.databases import upgrade
from tests.domain.given import did, digest
from tests.projections.records import chain

DAY = epoch_at(START) + 1
"""Everything is staked on the day before."""
ONE = 10_000
IDLE, LATE, ORACLE = Payee("0x" + 40 * "b"), Payee("0x" + 40 * "c"), Payee("0x" + 40 * "d")
DEVICE, OTHER = did("device"), did("other")
WITNESS = f"did:pkh:eip155:1:{ORACLE}"

History = list[tuple[str, Event]]


def staked(kind: str, subject: str, units: int, tier: Tier | None = None) -> History:
    stream = f"staking/collateral/{kind}/{subject}"
    event = Staked(
        amount=units, hold=HoldId("h1"), account=StreamName(f"treasury/account/{subject}.SPACE"), active=units,
        epoch=DAY - 1,
    )  # fmt: skip
    changed: History = [(stream, TierChanged(tier=tier, from_epoch=DAY))] if tier else []
    return [(stream, event), *changed]


def serving(device: str, wallet: str = PAYEE, first_epoch: int = DAY) -> History:
    stream = f"staking/collateral/bond/{device}"
    fields: dict[str, Any] = {"device_key": device, "wallet": Address(wallet), "serial_hash": digest(device)}
    return [(stream, RegistrationAsked(**fields)), (stream, DeviceRegistered(**fields, first_epoch=first_epoch))]


def closed(device: str, missed: int, epoch: int = DAY) -> History:
    first = epoch * SLOTS_PER_EPOCH
    event = EpochClosed(
        epoch=epoch, cut=(), first_slot=first, end_slot=first + SLOTS_PER_EPOCH, expected=SLOTS_PER_EPOCH, excused=0,
        missed=missed, bitmap="0" * 72, root=digest("root"), policy_version=1, is_breach=missed > 14,
    )  # fmt: skip
    return [(f"liveness/device/{device}", event)]


OVER: History = [(f"liveness/epoch/{DAY}", SlotsExcused(epoch=DAY, slots=(), cut=()))]
STAKES = [*staked("stake", PAYEE, 10_000 * ONE, "pro"), *staked("oracle", WITNESS, 10_000 * ONE)]


class OnDesk:
    """Three views, each folded from its own shard."""

    now: datetime = START + timedelta(days=3)

    def __init__(self, path: Path, staking_events: Iterable[Any], liveness_events: Iterable[Any], fees: int = 0) -> None:
        self.engine = engine_for(f"sqlite:///{path}/views.db")
        upgrade(self.engine, "views")
        desk = Desk()
        for n in range(fees):
            desk.ask(fee(n, epoch=DAY), FEES)
        for projection, shard, history in (
            (staking(), "staking.events/0", staking_events), (downtime(), "liveness.events/0", liveness_events),
            (rewards(), "rewards.events/0", desk.history),
        ):  # fmt: skip
            projector = Projector(self.engine, projection)
            projector.claim([shard])
            values = chain(shard, history)
            projector.apply({shard: [Published(n, n, value, "") for n, value in enumerate(values)]})

    def refusal(self, key: str) -> None:
        del key


def days(path: Path, staking_events: History, liveness_events: History, fees: int = 0, day: int = DAY) -> Any:
    desk: Any = OnDesk(path, staking_events, liveness_events, fees)
    with reading(desk.engine) as connection:
        desk.connection = connection
        return days_of_stakes(day, desk)


def test_a_wallets_day_has_its_stake_tier_uptime_and_inferences(tmp_path: Path) -> None:
    found = days(tmp_path, [*STAKES, *serving(DEVICE)], [*closed(DEVICE, 2), *OVER], fees=3)

    assert found == [DayOfStake(PAYEE, 10_000 * ONE, 500, 150, 3), of_oracle(ORACLE, 10_000 * ONE)]


@pytest.mark.parametrize(("missed", "terms"), [(2, (500, 150)), (3, (500, 100)), (14, (500, 100)), (15, (0, 100))])
def test_uptime_decides_multiplier_and_yield(tmp_path: Path, missed: int, terms: tuple[int, int]) -> None:
    [day, _] = days(tmp_path, [*STAKES, *serving(DEVICE)], [*closed(DEVICE, missed), *OVER])

    assert (day.base_bp, day.multiplier) == terms


def test_two_machines_of_a_wallet_count_together(tmp_path: Path) -> None:
    """Two of 288 and none of 288 slots are within one per cent of 576; three and three are not."""
    machines = [*STAKES, *serving(DEVICE), *serving(OTHER)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    [one, _] = days(tmp_path / "a", machines, [*closed(DEVICE, 5), *closed(OTHER, 0), *OVER])
    [two, _] = days(tmp_path / "b", machines, [*closed(DEVICE, 3), *closed(OTHER, 3), *OVER])

    assert (one.multiplier, two.multiplier) == (150, 100)


@pytest.mark.parametrize("liveness_events", [[], [*OVER], [*closed(DEVICE, 0)], [*closed(OTHER, 0), *OVER]])
def test_while_a_result_is_missing_nothing_is_guessed(tmp_path: Path, liveness_events: History) -> None:
    assert days(tmp_path, [*STAKES, *serving(DEVICE)], liveness_events) is None


def test_a_stake_without_machines_has_its_yield_and_no_multiplier(tmp_path: Path) -> None:
    found = days(tmp_path, staked("stake", IDLE, 1_000 * ONE, "basic"), [])

    assert found == [DayOfStake(IDLE, 1_000 * ONE, 500, 100, 0)]


def test_what_was_served_without_a_stake_earns_the_usage_part(tmp_path: Path) -> None:
    assert days(tmp_path, [], [], fees=2) == [DayOfStake(PAYEE, 0, 0, 100, 2)]


def test_a_tier_crossed_inside_the_day_pays_the_tier_held_at_its_start(tmp_path: Path) -> None:
    later = [(f"staking/collateral/stake/{PAYEE}", TierChanged(tier="enterprise", from_epoch=DAY + 1))]

    [day, _] = days(tmp_path, [*STAKES, *later, *serving(DEVICE)], [*closed(DEVICE, 0), *OVER])

    assert day.multiplier == 150


def test_what_was_staked_on_a_day_earns_from_the_next(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    stakes = staked("stake", IDLE, 1_000 * ONE, "basic")

    assert days(tmp_path / "a", stakes, [], day=DAY - 1) == []
    assert [day.stake for day in days(tmp_path / "b", stakes, [], day=DAY)] == [1_000 * ONE]


def test_what_is_being_unstaked_earns_nothing(tmp_path: Path) -> None:
    """The stake of a day is what was active when it began."""
    leaving = UnstakeRequested(
        amount=4_000 * ONE, request=Uuid("0198c0de-0000-7000-8000-000000000001"), releasable_at=START + timedelta(days=7),
        epoch=DAY - 1,
    )  # fmt: skip

    [day, _] = days(tmp_path, [*STAKES, (f"staking/collateral/stake/{PAYEE}", leaving)], [])

    assert day.stake == 6_000 * ONE


def test_a_device_that_is_suspended_or_comes_later_is_not_waited_for(tmp_path: Path) -> None:
    machines = [
        *STAKES, *serving(DEVICE), *serving(OTHER, LATE, DAY + 1), *serving(did("third")),
        (f"staking/collateral/bond/{did('third')}", suspension()),
    ]  # fmt: skip

    assert days(tmp_path, machines, [*closed(DEVICE, 0), *OVER]) is not None


def suspension() -> DeviceSuspended:
    fields: Any = {"cause": f"{did('third')}.downtime.{DAY - 2}"}
    return DeviceSuspended(**fields)


def test_an_oracle_without_a_wallet_is_owed_nothing_yet(tmp_path: Path) -> None:
    """A `did:key` says not where its yield goes."""
    assert days(tmp_path, staked("oracle", did("witness"), 10_000 * ONE), []) == []


def test_as_long_as_no_context_counts_reports_there_are_none() -> None:
    desk: Any = None

    assert accepted_reports(DAY, desk) == ()
