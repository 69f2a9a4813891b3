"""A day from its opening to its root: minted, accrued, closed, paid, divided, earned, published, each when the last is seen.

One epoch is worked off after the other. What a step needs is read from the views in one snapshot, and a step is planned when
the step before it shows there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contracts import Amount
from contracts.rewards import (
    CLOSE_DELAY_SECONDS,
    EMISSION,
    EPOCH_SECONDS,
    MAX_ASSETS,
    YEAR_SECONDS,
    Accrue,
    ChainHash,
    CloseEpoch,
    DivideOracleShare,
    Earn,
    MintEpoch,
    OpenEpoch,
    OpenYear,
    OracleReports,
    Pay,
    Payee,
    PublishRoot,
    earner_stream,
    epoch_stream,
    position_stream,
)
from domain.rewards.claims import digest_of, table
from domain.rewards.epochs import begin_of, epoch_at
from projections.rewards import due
from projections.rewards.queries import claimable, earned_until, tree_of
from streams import Desk, Task, TodoList, unless_halted
from streams.rewards.results import DayOfStake, accepted_reports, days_of_stakes

MOST_OPENED = 31
"""Epochs that are opened in one turn after a long outage."""
NO_CLAIMS = ChainHash("0x" + 64 * "0")
"""The root of an empty table: nothing is proved by it."""


@dataclass(frozen=True)
class Day:
    """`plan` for a to-do list. `stakes` and `reports` say None as long as a result is missing."""

    stakes: Callable[[int, Desk], Sequence[DayOfStake] | None] = days_of_stakes
    reports: Callable[[int, Desk], tuple[OracleReports, ...] | None] = accepted_reports
    tokens: Mapping[str, Payee] = field(default_factory=dict)
    """The contracts of assets; SPACE needs none."""

    def todo(self) -> TodoList:
        return TodoList("run_the_epoch", self.plan, every_seconds=1)

    def plan(self, desk: Desk) -> Iterator[Task]:
        """Open what has begun; of what is over work off the oldest without a root."""
        emission = due.emission_now(desk.connection)
        if emission is None:
            return
        yield from _open(desk, emission)
        day = due.oldest_without_root(desk.connection)
        # With what comes late.
        if day is None or not desk.is_due(day.until + timedelta(seconds=CLOSE_DELAY_SECONDS)):
            return
        if day.closed_at is None:
            yield from self._until_closed(day, emission, desk)
        else:
            yield from self._until_published(day, day.closed_at, desk)

    def _until_closed(self, day: due.DayState, emission: due.EmissionState, desk: Desk) -> Iterator[Task]:
        at, stakes = day.until + timedelta(seconds=CLOSE_DELAY_SECONDS), self.stakes(day.epoch, desk)
        if stakes is None:
            return
        year = _year_due(emission, desk)
        if year is not None:
            yield year
            return
        if not _is_minted(day.epoch, emission, desk):
            yield Task(MintEpoch(epoch=day.epoch, until=day.until), EMISSION, f"mint:{day.epoch}", at)
            return
        accrued = due.accrued_in(day.epoch, desk.connection)
        missing = [stake for stake in stakes if stake.position not in accrued]
        for stake in missing:
            yield Task(_accrual(day.epoch, stake), position_stream(stake.position), f"accrue:{day.epoch}:{stake.position}", at)
        if not missing:
            owed = sum(accrued.values())
            close = CloseEpoch(pool=due.pool(desk.connection), owed=owed, positions=len(accrued))
            yield Task(close, epoch_stream(day.epoch), f"close:{day.epoch}", at)

    def _until_published(self, day: due.DayState, at: datetime, desk: Desk) -> Iterator[Task]:
        paying = list(_payments(day, at, desk))
        dividing = [] if day.is_divided else list(self._division(day, at, desk))
        yield from (*paying, *dividing)
        if paying or not day.is_divided:
            return
        earnings = due.earnings_due(day.epoch, desk.connection)
        for earning in earnings:
            yield Task(_earn(day.epoch, earning), earner_stream(earning.payee, earning.asset), _named(day, earning), at)
        if not earnings:
            yield Task(self._root(day.epoch, desk), epoch_stream(day.epoch), f"publish:{day.epoch}", at)

    def _division(self, day: due.DayState, at: datetime, desk: Desk) -> Iterator[Task]:
        reports = self.reports(day.epoch, desk)
        if reports is not None:
            pots = due.pots_until(day.epoch, desk.connection)
            amounts = tuple(Amount(asset=asset, units=units) for asset, units in pots.items())[:MAX_ASSETS]
            command = DivideOracleShare(pots=amounts, reports=reports)
            yield Task(command, epoch_stream(day.epoch), f"divide:{day.epoch}", at)

    def _root(self, epoch: int, desk: Desk) -> PublishRoot:
        earned = claimable(earned_until(epoch, desk.connection), self.tokens)
        rows = tuple(table(earned, self.tokens))
        totals: dict[str, int] = {}
        for (_, asset), units in earned.items():
            totals[asset] = totals.get(asset, 0) + units
        return PublishRoot(
            root=tree_of(rows).root if rows else NO_CLAIMS,
            totals=tuple(Amount.of(asset, units) for asset, units in sorted(totals.items())),
            claims=len(rows), table_digest=digest_of(rows),
        )  # fmt: skip


def _open(desk: Desk, emission: due.EmissionState) -> Iterator[Task]:
    # What was minted past stays skipped: the next epoch has minted it.
    before = [n for n in (due.last_opened(desk.connection), emission.last_epoch) if n is not None]
    first = max(before) + 1 if before else epoch_at(emission.genesis)
    desk.wake_at(begin_of(epoch_at(desk.now) + 1))
    for epoch in range(first, min(epoch_at(desk.now), first + MOST_OPENED - 1) + 1):
        start, until = begin_of(epoch), begin_of(epoch + 1)
        yield from unless_halted(OpenEpoch(start=start, until=until), epoch_stream(epoch), f"open:{epoch}", start, desk)


def _year_due(emission: due.EmissionState, desk: Desk) -> Task | None:
    """The next year, where it has begun and the one before is minted to its end."""
    begins = emission.genesis + timedelta(seconds=emission.year * YEAR_SECONDS)
    is_minted = emission.year == 0 or (emission.minted_until is not None and emission.minted_until >= begins)
    if not (is_minted and desk.is_due(begins)):
        return None
    year = emission.year + 1
    return Task(OpenYear(year=year), EMISSION, f"year:{year}", begins)


def _is_minted(epoch: int, emission: due.EmissionState, desk: Desk) -> bool:
    """An empty bucket mints nothing, and the day goes on with what the pool holds."""
    if emission.last_epoch is not None and emission.last_epoch >= epoch:
        return True
    refusal = desk.refusal(f"mint:{epoch}")
    return refusal is not None and refusal.name in ("CapReached", "BucketEmpty")


def _payments(day: due.DayState, at: datetime, desk: Desk) -> Iterator[Task]:
    pay = Pay(epoch=day.epoch, pool=day.pool, owed_total=day.owed)
    for position in due.unpaid_in(day.epoch, desk.connection):
        yield Task(pay, position_stream(position), f"pay:{day.epoch}:{position}", at)


def _accrual(epoch: int, stake: DayOfStake) -> Accrue:
    return Accrue(
        epoch=epoch, stake=stake.stake, base_bp=stake.base_bp, multiplier=stake.multiplier, seconds=EPOCH_SECONDS,
        inferences=stake.inferences,
    )  # fmt: skip


def _earn(epoch: int, earning: due.DueEarning) -> Earn:
    return Earn(
        amount=Amount(asset=earning.asset, units=earning.units), source=earning.source, epoch=epoch,
        escrow_of=earning.escrow_of, escrow_epoch=earning.escrow_epoch,
    )  # fmt: skip


def _named(day: due.DayState, earning: due.DueEarning) -> str:
    escrow = f":{earning.escrow_of}:{earning.escrow_epoch}" if earning.escrow_of else ""
    return f"earn:{day.epoch}:{earning.payee}:{earning.asset}:{earning.source}{escrow}"
