"""Grants: what a schedule has given at each second, milestones by two persons, and what a revocation leaves."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from contracts.rewards import (
    TRANCHE_SECONDS,
    YEAR_SECONDS,
    CreateGrant,
    GrantCreated,
    GrantRevoked,
    MilestoneAttested,
    MilestoneReached,
    ReachMilestone,
    Recipient,
    Released,
    RevokeGrant,
    Words,
    grant_stream,
)
from domain.rewards import Grant
from domain.rewards.grants import (
    AlreadyCreated,
    MilestoneUnknown,
    NotAllotted,
    NotCreated,
    NothingReleasable,
    Revoked,
    SamePerson,
    ScheduleUnsound,
    releasable,
)
from tests.domain.given import did, digest, refused, then

START = datetime(2027, 1, 1, tzinfo=UTC)
STREAM = grant_stream("team-2027")
ALICE, BOB = did("alice"), did("bob")


def terms(**changes: Any) -> CreateGrant:
    fields: dict[str, Any] = {
        "bucket": "team", "beneficiary": Recipient("spaceos.vest"), "total": 36, "kind": "linear", "start": START,
        "duration_seconds": 36 * TRANCHE_SECONDS,
    }  # fmt: skip
    return CreateGrant(**{**fields, **changes})


MILESTONES = {"kind": "milestone", "duration_seconds": 0, "milestones": (10, 20, 6)}
CLIFF = {"kind": "cliff", "duration_seconds": 0, "cliff_seconds": 48 * TRANCHE_SECONDS}


def a_grant(**changes: Any) -> Grant:
    command = terms(**changes)
    grant = Grant(STREAM)
    grant.replay(GrantCreated(**dict(command)))
    return grant


def after(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def test_thirty_six_units_over_thirty_six_tranches_are_one_each() -> None:
    grant = a_grant()

    for tranche in range(1, 37):
        grant.release(after(tranche * TRANCHE_SECONDS))

    assert grant.pending == [Released(amount=1, released_total=n) for n in range(1, 37)]
    refused(grant, lambda: grant.release(after(40 * TRANCHE_SECONDS)), NothingReleasable)


def test_a_late_release_brings_the_tranches_that_were_missed() -> None:
    grant = a_grant()

    grant.release(after(5 * TRANCHE_SECONDS + 17))

    assert grant.pending == [Released(amount=5, released_total=5)]


def test_a_grant_read_one_second_before_its_cliff_releases_nothing_and_on_it_everything() -> None:
    """48 tranches are four years to the second."""
    assert 48 * TRANCHE_SECONDS == 126_144_000 == 4 * YEAR_SECONDS
    grant = a_grant(**CLIFF)

    refused(grant, lambda: grant.release(after(126_143_999)), NothingReleasable)
    grant.release(after(126_144_000))

    assert grant.pending == [Released(amount=36, released_total=36)]


def test_a_cliff_before_a_linear_release_holds_it_back_and_then_lets_it_through() -> None:
    grant = a_grant(cliff_seconds=12 * TRANCHE_SECONDS)

    assert grant.releasable(after(12 * TRANCHE_SECONDS - 1)) == 0
    assert grant.releasable(after(12 * TRANCHE_SECONDS)) == 12
    assert grant.releasable(after(13 * TRANCHE_SECONDS)) == 13


def test_an_immediate_grant_is_released_at_its_start() -> None:
    grant = a_grant(kind="immediate", duration_seconds=0)

    refused(grant, lambda: grant.release(after(-1)), NothingReleasable)
    grant.release(after(0))

    assert grant.released == 36


def test_a_milestone_is_reached_when_two_persons_say_so_of_the_same_evidence() -> None:
    grant, evidence = a_grant(**MILESTONES), digest("audit")
    command = ReachMilestone(number=2, evidence=evidence)

    grant.reach(command, ALICE)
    refused(grant, lambda: grant.reach(command, ALICE), SamePerson)
    grant.reach(ReachMilestone(number=2, evidence=digest("another")), BOB)
    assert grant.releasable(START) == 0
    grant.reach(command, BOB)
    grant.reach(command, BOB)
    grant.release(START)

    assert grant.pending == [
        MilestoneAttested(number=2, evidence=evidence, person=ALICE),
        MilestoneAttested(number=2, evidence=digest("another"), person=BOB),
        MilestoneReached(number=2, evidence=evidence), Released(amount=20, released_total=20),
    ]  # fmt: skip


def test_a_milestone_that_the_grant_does_not_have_is_unknown() -> None:
    grant = a_grant(**MILESTONES)

    refused(grant, lambda: grant.reach(ReachMilestone(number=4, evidence=digest("x")), ALICE), MilestoneUnknown)


def test_a_grant_is_created_once_of_what_was_allotted() -> None:
    grant, command = Grant(STREAM), terms()

    refused(grant, lambda: grant.create(command, None), NotAllotted)
    refused(grant, lambda: grant.create(command, ("team", 35)), NotAllotted)
    refused(grant, lambda: grant.create(command, ("treasury", 36)), NotAllotted)
    then(grant, lambda: grant.create(command, ("team", 36)), GrantCreated(**dict(command)))
    refused(grant, lambda: grant.create(terms(total=35), ("team", 35)), AlreadyCreated)


@pytest.mark.parametrize(
    "unsound",
    [
        {"duration_seconds": 0}, {"duration_seconds": TRANCHE_SECONDS + 1}, {**MILESTONES, "total": 35}, {"milestones": (36,)},
        {"cliff_seconds": 37 * TRANCHE_SECONDS},
    ],
)  # fmt: skip
def test_a_schedule_that_does_not_add_up_is_refused(unsound: dict[str, Any]) -> None:
    grant, command = Grant(STREAM), terms(**unsound)

    refused(grant, lambda: grant.create(command, ("team", command.total)), ScheduleUnsound)


def test_nothing_follows_a_revocation() -> None:
    grant = a_grant()
    grant.release(after(2 * TRANCHE_SECONDS))
    grant.pending = []

    then(
        grant, lambda: grant.revoke(RevokeGrant(reason=Words("left"))), GrantRevoked(reason=Words("left"), returned=34)
    )  # fmt: skip
    refused(grant, lambda: grant.release(after(36 * TRANCHE_SECONDS)), Revoked)


def test_what_was_never_created_is_neither_released_nor_revoked() -> None:
    grant = Grant(STREAM)

    refused(grant, lambda: grant.release(START), NotCreated)
    refused(grant, lambda: grant.revoke(RevokeGrant(reason=Words("?"))), NotCreated)


@drawn(
    total=st.integers(0, 10**13), tranches=st.integers(1, 60), cliff=st.integers(0, 60),
    kind=st.sampled_from(["linear", "cliff"]),
    moments=st.lists(st.integers(-10, 70 * TRANCHE_SECONDS), min_size=1, max_size=20),
)  # fmt: skip
def test_released_never_exceeds_what_is_releasable_and_at_the_end_is_the_total(
    total: int, tranches: int, cliff: int, kind: Any, moments: list[int]
) -> None:
    """At every second, whatever the order in which the clock is read."""
    command = terms(
        total=total, kind=kind, duration_seconds=tranches * TRANCHE_SECONDS,
        cliff_seconds=min(cliff, tranches) * TRANCHE_SECONDS,
    )  # fmt: skip
    grant = Grant(STREAM)
    grant.replay(GrantCreated(**dict(command)))
    created = GrantCreated(**dict(command))

    given = [releasable(created, 0, after(moment)) for moment in sorted(moments)]
    for moment in moments:
        with suppress(NothingReleasable):
            grant.release(after(moment))
        assert 0 <= grant.released <= total

    assert given == sorted(given)
    assert grant.released == max(given)
    assert releasable(created, 0, after(60 * TRANCHE_SECONDS)) == total
