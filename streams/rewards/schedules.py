"""What waits for time: burns are recorded an epoch at a time, grants released by tranche, ownerless shares lapse."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from contracts import Amount, Command
from contracts.rewards import (
    EMISSION,
    Issue,
    LapseEscrow,
    RecordBurn,
    Reference,
    Release,
    ReturnGrant,
    grant_stream,
    model_stream,
)
from domain.rewards.models import escrow_ends
from projections.rewards import due
from projections.rewards.queries import grants_at
from streams import Desk, Task, TodoList, unless_halted

MARGIN = timedelta(seconds=5)
"""The store's clock decides; a task that is refused because ours is ahead would not be sent again."""
AGAIN = timedelta(days=1)
"""What a line or a bucket refused is tried again after this."""
MOST_ATTEMPTS = 1_200
"""Days: longer than the line takes to open."""


def todos() -> Iterator[TodoList]:
    yield TodoList("burn_what_was_set_aside", burn_what_was_set_aside, every_seconds=60)
    yield TodoList("release_by_schedule", release_by_schedule, every_seconds=60)
    yield TodoList("lapse_ownerless_shares", lapse_ownerless_shares, every_seconds=600)


def burn_what_was_set_aside(desk: Desk) -> Iterator[Task]:
    """Once an epoch is closed, the SPACE that fees set aside is recorded as burned. A buyback is the DAO's spend."""
    closed = due.last_closed(desk.connection)
    if closed is None:
        return
    epoch, at = closed
    reference = Reference(f"fees:{epoch}")
    units = due.burnable_until(epoch, desk.connection)
    if units > 0 and not due.has_burned(reference, desk.connection):
        yield Task(RecordBurn(amount=units, source="fees", reference=reference), EMISSION, f"burn:{epoch}", at)


def release_by_schedule(desk: Desk) -> Iterator[Task]:
    """Release what the schedules give, issue what was released, and take back what was revoked."""
    for grant in grants_at(desk.now - MARGIN, desk.connection):
        if grant.next_at is not None:
            desk.wake_at(grant.next_at + MARGIN)
        if grant.releasable > 0:
            given = grant.released + grant.releasable
            yield from unless_halted(Release(), grant_stream(grant.grant), f"release:{grant.grant}:{given}", grant.since, desk)
    for issue in due.issues_due(desk.connection):
        command = Issue(
            grant=issue.grant, bucket=issue.bucket, amount=issue.units, to=issue.beneficiary,
            reference=Reference(f"{issue.grant}:{issue.released}"),
        )  # fmt: skip
        yield from _attempt(command, f"issue:{issue.grant}:{issue.released}", issue.released_at, desk)
    for back in due.returns_due(desk.connection):
        command_back = ReturnGrant(grant=back.grant, amount=back.units)
        yield Task(command_back, EMISSION, f"return:{back.grant}", back.revoked_at)


def lapse_ownerless_shares(desk: Desk) -> Iterator[Task]:
    """90 days after its epoch, a share without an owner is the treasury's."""
    for escrow in due.escrows_without_owner(desk.connection):
        if not desk.is_due(escrow_ends(escrow.epoch) + MARGIN):
            continue
        command = LapseEscrow(epoch=escrow.epoch, amount=Amount(asset=escrow.asset, units=escrow.units))
        key = f"lapse:{escrow.model}:{escrow.epoch}:{escrow.asset}"
        yield Task(command, model_stream(escrow.model), key, escrow_ends(escrow.epoch))


def _attempt(command: Command, key: str, at: datetime, desk: Desk) -> Iterator[Task]:
    """The first attempt that was not refused, if it is due: each a day after the one before."""
    for n in range(MOST_ATTEMPTS):
        refusal = desk.refusal(f"{key}:{n}")
        if refusal is None:
            if desk.is_due(at):
                yield Task(command, EMISSION, f"{key}:{n}", at)
            return
        at = refusal.at + AGAIN
