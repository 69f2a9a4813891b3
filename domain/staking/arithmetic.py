"""The numbers of staking, in integers; what is taken is rounded up and what is given is rounded down."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

from contracts.liveness import SLOT_SECONDS, SLOTS_PER_EPOCH, epoch_of, slot_at
from contracts.providers import TIERS, Tier
from contracts.staking import (
    DISPUTE_BOND_MINIMUM,
    DISPUTE_BOND_PERCENT,
    EXPECTED_MINIMUM,
    PANEL_SIZE,
    SLA_PERCENT,
    SPACE_STAKING_APR_BP,
    STAKING,
    YEAR_SECONDS,
    SubjectName,
    TierMinimum,
)

EPOCH_SECONDS = SLOT_SECONDS * SLOTS_PER_EPOCH


def is_breach(missed: int, expected: int, percent: int = STAKING.downtime_threshold_percent) -> bool:
    """More than 5 % of the slots that the epoch left; `expected` is without the excused ones (white paper 9.6)."""
    return expected >= EXPECTED_MINIMUM and missed * 100 > expected * percent


def meets_sla(missed: int, expected: int) -> bool:
    """At least 99 % of what was expected (white paper 14)."""
    return (expected - missed) * 100 >= expected * SLA_PERCENT


def slash_of(base: int, percent: int) -> int:
    """What an offence costs a collateral; the remainder of one unit costs one unit."""
    return -(-base * percent // 100)


def signatures_needed(panel: int) -> int:
    """Equal ones, of a panel of so many: two thirds, and three at least."""
    return max(3, -(-2 * panel // 3))


def dispute_bond(slash: int) -> int:
    return max(DISPUTE_BOND_MINIMUM, -(-slash * DISPUTE_BOND_PERCENT // 100))


def tier_of(active: int, minimum: TierMinimum = STAKING.tier_minimum) -> Tier:
    """By a wallet's active stake (white paper 5.4)."""
    needed: dict[Tier, int] = {
        "free": 0, "basic": minimum.basic, "pro": minimum.pro, "enterprise": minimum.enterprise,
    }  # fmt: skip
    reached: list[Tier] = [tier for tier in TIERS if active >= needed[tier]]
    return reached[-1]


def drawn(seed: str, oracles: Iterable[str]) -> tuple[SubjectName, ...]:
    """The panel: the lowest SHA-256(seed ‖ oracle), seven at most. Anybody can draw it again."""

    def lot(oracle: str) -> bytes:
        return hashlib.sha256(bytes.fromhex(seed) + oracle.encode()).digest()

    return tuple(SubjectName(oracle) for oracle in sorted(set(oracles), key=lot)[:PANEL_SIZE])


def space_staking_reward(stake_wei: int, seconds: int) -> int:
    """What SpaceStaking owes for a time, in wei; it pays no more than its pool has (white paper 7.3)."""
    return stake_wei * SPACE_STAKING_APR_BP * seconds // (10**4 * YEAR_SECONDS)


def epoch_at(now: datetime) -> int:
    return epoch_of(slot_at(now.timestamp()))


def first_full_epoch(now: datetime) -> int:
    """The epoch that begins now or next."""
    epoch = epoch_at(now)
    return epoch if now == starts(epoch) else epoch + 1


def starts(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch * EPOCH_SECONDS, UTC)
