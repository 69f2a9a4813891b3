"""What other contexts say of a day: who had how much at stake when it began, and whether their machines were up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.providers import Tier
from contracts.rewards import REWARDS, OracleReports, Payee, RewardsParameters
from contracts.staking import STAKING, StakingParameters
from domain.rewards.epochs import begin_of
from domain.rewards.positions import terms
from projections._policy import policies_of, then
from projections.rewards.due import inferences_in
from streams import Desk

WITHOUT_MACHINES = 100
"""Hundredths: a stake that serves with nothing keeps no service level, so no tier multiplies it."""


@dataclass(frozen=True, slots=True)
class DayOfStake:
    """A position's day: what `Accrue` says of it."""

    position: str
    stake: int
    base_bp: int
    multiplier: int
    inferences: int


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a wallet's machines together."""

    expected: int
    missed: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What was in force when the day began."""

    yields: RewardsParameters = REWARDS
    uptime: StakingParameters = STAKING


def of_wallet(wallet: str, stake: int, tier: Tier, slots: Slots | None, inferences: int, rules: Rules = Rules()) -> DayOfStake:
    """By the tier at the day's start and the slots of the day (white paper 5.4, 9.4)."""
    served = slots or Slots(1, 0)
    base_bp, multiplier = terms(
        tier, served.expected, served.missed, rules.yields.base_apr_bp, rules.uptime.downtime_threshold_percent
    )  # fmt: skip
    return DayOfStake(wallet, stake, base_bp, multiplier if slots else WITHOUT_MACHINES, inferences)


def of_oracle(wallet: str, stake: int, rules: Rules = Rules()) -> DayOfStake:
    return DayOfStake(f"oracle.{wallet}", stake, rules.yields.oracle_apr_bp, 100, 0)


def days_of_stakes(epoch: int, desk: Desk) -> Sequence[DayOfStake] | None:
    """Every position of the epoch; None as long as a result is missing: nothing is guessed."""
    from projections.staking.queries import device_standings, oracles_at, seed_of, tier_of

    served = inferences_in(epoch, desk.connection)
    active = _active_at(epoch, desk)
    serving = [d for d in device_standings(desk.connection) if d.state == "registered" and (d.first_epoch or 0) <= epoch]
    if serving and seed_of(epoch, desk.connection) is None:
        return None
    slots = _slots(epoch, [(d.device_key, d.wallet) for d in serving if d.suspended_by is None], desk)
    if slots is None:
        return None
    rules = _rules(epoch, desk)
    wallets = sorted({subject for kind, subject in active if kind == "stake"} | served.keys())
    days = [
        of_wallet(
            w, active.get(("stake", w), 0), tier_of(w, epoch, desk.connection), slots.get(w), served.get(w, 0), rules,
        )
        for w in wallets
    ]  # fmt: skip
    oracles = [(_wallet(name), active["oracle", name]) for name in oracles_at(epoch, desk.connection)]
    return days + [of_oracle(wallet, stake, rules) for wallet, stake in oracles if wallet is not None]


def _rules(epoch: int, desk: Desk) -> Rules:
    began = begin_of(epoch)
    yields = then(policies_of(RewardsParameters, desk.connection), began)
    return Rules(yields, then(policies_of(StakingParameters, desk.connection), began))


def accepted_reports(epoch: int, desk: Desk) -> tuple[OracleReports, ...] | None:
    """How many of each oracle's reports were accepted; none as long as no context counts them, so the share is carried."""
    del epoch, desk
    return ()


def _active_at(epoch: int, desk: Desk) -> Mapping[tuple[str, str], int]:
    """Of kind and subject the active stake when the epoch began; only where there was any."""
    from projections.staking.tables import levels

    last: dict[tuple[str, str], Any] = {}
    for row in desk.connection.execute(levels.select().where(levels.c.epoch < epoch).order_by(levels.c.epoch)):
        last[row.kind, row.subject] = row
    return {key: row.active for key, row in last.items() if row.active}


def _slots(epoch: int, serving: Sequence[tuple[str, str]], desk: Desk) -> Mapping[str, Slots] | None:
    """Expected and missed slots by wallet; None where the epoch of a device that serves is not closed."""
    from projections.staking.queries import closed_epochs

    closed = {c.device_key: c.uptime for c in closed_epochs(epoch, desk.connection) if c.epoch == epoch}
    if any(key not in closed for key, _ in serving):
        return None
    found: dict[str, Slots] = {}
    for wallet, expected, missed in _each(serving, closed):
        before = found.get(wallet, Slots(0, 0))
        found[wallet] = Slots(before.expected + expected, before.missed + missed)
    return found


def _each(serving: Sequence[tuple[str, str]], closed: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    for key, wallet in serving:
        yield wallet, closed[key].expected, closed[key].missed


def _wallet(oracle: str) -> Payee | None:
    """Where an oracle's yield goes: a `did:pkh` names its wallet; a `did:key` has none, and is owed nothing until it has."""
    address = oracle.rpartition(":")[2].lower()
    return Payee(address) if oracle.startswith(("did:pkh:eip155:", "0x")) else None
