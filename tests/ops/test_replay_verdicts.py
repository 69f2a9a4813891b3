"""How two worlds are compared, with which constants they run, and epochs that would have been closed otherwise."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.replay.folding import unchecked
from adapters.replay.sources import Published, RangeMissing
from adapters.replay.watching import Cause
from contracts import Event
from contracts.liveness import SLOTS_PER_EPOCH, EpochClosed, ShardCut, SlotCount, SlotsExcused
from domain.liveness import closing
from ops.replay.constants import constants
from ops.replay.evidence import Evidence, Shards, TooMuch
from ops.replay.registry import chosen
from ops.replay.verdict import Decision, Verdict, compared
from tests.domain.given import did, digest
from tests.projections.records import chain

SHARD = "liveness.events/0"
EPOCH = 20_000
FIRST = EPOCH * SLOTS_PER_EPOCH

# Comparing

causes = st.builds(
    Cause, id=st.text(max_size=3), type=st.just("a.B"), shard=st.sampled_from(["a.events/0", "a.events/1"]),
    sequence=st.integers(0, 99), time=st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    actor=st.just("x"), stream=st.just("y"),
)  # fmt: skip
worlds = st.lists(
    st.builds(
        Decision, subject=st.sampled_from("abcdef"), said=st.sampled_from(["one", "two"]), cause=causes,
        is_accepted=st.booleans(),
        effects=st.dictionaries(
            st.sampled_from(["alice", "bob"]), st.dictionaries(st.just("requests"), st.integers(-9, 10**30)), max_size=2
        ),
    ),
    unique_by=lambda decision: decision.subject,
)  # fmt: skip


def negative(accounts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: {unit: -amount for unit, amount in units.items()} for name, units in accounts.items()}


@given(worlds)
def test_a_world_differs_from_itself_in_nothing(world: list[Decision]) -> None:
    verdict = compared(world, world, world)

    assert verdict.is_empty
    assert verdict.first is None
    assert verdict.unfaithful == []


@given(worlds, worlds)
def test_the_other_way_round_everything_is_the_opposite(one: list[Decision], other: list[Decision]) -> None:
    there, back = compared(one, other), compared(other, one)

    assert [(p.subject, p.recorded, p.tried) for p in there.changed] == [(p.subject, p.tried, p.recorded) for p in back.changed]
    assert (there.newly_accepted, there.newly_refused) == (back.newly_refused, back.newly_accepted)
    assert there.accounts == negative(back.accounts)
    assert there.digest() == compared(one, other).digest()


def test_what_the_recorded_rules_do_not_give_is_named() -> None:
    """Then the tool, or the code since, is not what decided."""
    cause = Cause("i", "a.B", "a.events/0", 3, "2026-01-01T00:00:00Z", "x", "y")
    recorded = [Decision("a", "one", cause), Decision("b", "two", cause)]

    verdict = compared(recorded, recorded, [Decision("a", "one", cause), Decision("b", "three", cause)])

    assert verdict.unfaithful == ["b"]


# Constants


def test_constants_are_set_wherever_the_rules_hold_them_and_put_back() -> None:
    from domain.inference import choosing, policy, scanning, table

    with constants(("domain.inference",), {"STALE_MS": 7, "BAND_PERCENT": 9}):
        assert {module.STALE_MS for module in (choosing, policy, scanning, table)} == {7}
        assert policy.band_of(109, 100) == 1

    assert {module.STALE_MS for module in (choosing, policy, scanning, table)} == {600_000}
    assert policy.BAND_PERCENT == 5


def test_constants_are_put_back_after_a_failure_too() -> None:
    from domain import liveness

    with pytest.raises(ZeroDivisionError), constants(("domain.liveness",), {"BREACH_PERCENT": 50}):
        raise ZeroDivisionError

    assert liveness.BREACH_PERCENT == 5


def test_a_constant_that_no_rule_has_is_an_error() -> None:
    with pytest.raises(LookupError, match="NOTHING"), constants(("domain.liveness",), {"NOTHING": 1}):
        raise AssertionError


# Epochs


class Shard:
    """Events as a source."""

    def __init__(self, history: list[tuple[str, Event]]) -> None:
        self.values = chain(SHARD, history)

    async def read(self, shard: str, start: int, end: int) -> Any:
        yield [Published(n, n, value, "") for n, value in enumerate(self.values[start:end], start)]


def closed(name: str, absent: set[int], excused: list[int]) -> tuple[str, Event]:
    """A device's day without the beats of these slots."""
    cut = (ShardCut(shard=SHARD, next=0),)
    asked = EpochClosed(
        epoch=EPOCH, cut=cut, first_slot=FIRST, end_slot=FIRST + SLOTS_PER_EPOCH, expected=0, excused=0, missed=0,
        bitmap="0" * 72, root=digest("r"), policy_version=1, is_breach=False,
    )  # fmt: skip
    beats = {slot: digest(f"{name}{slot}") for slot in range(FIRST, FIRST + SLOTS_PER_EPOCH) if slot - FIRST not in absent}
    return f"liveness/device/{did(name)}", closing(beats, asked, excused)


def a_day() -> list[tuple[str, Event]]:
    """Four devices: in slots 0 to 9 two of four are away, which is excused; one misses twenty slots more."""
    outage = set(range(10))
    slots = tuple(SlotCount(slot=FIRST + n, active=4, missing=2) for n in sorted(outage))
    excused = [FIRST + n for n in outage] + [FIRST + n for n in range(100, 120)]
    absences = {"a": outage, "b": outage | set(range(100, 120)), "c": set(), "d": set()}
    # One of four is 25 %, more than the 20 % above which a slot is excused.
    more = tuple(SlotCount(slot=FIRST + n, active=4, missing=1) for n in range(100, 120))
    day = SlotsExcused(epoch=EPOCH, slots=slots + more, cut=())
    return [("liveness/epoch/2024-10-04", day), *(closed(name, missed, excused) for name, missed in absences.items())]


def ask(kind: str, *settings: str, start: int = 0) -> Verdict:
    source = Shard(a_day())
    [(whatif, values)] = chosen(kind, settings)
    evidence = Evidence(
        "0189b1b2-0000-7000-8000-000000000001", source, {SHARD: start}, {SHARD: len(source.values)}, unchecked, 1  # type: ignore[arg-type]
    )  # fmt: skip
    return asyncio.run(whatif.run(evidence, values))


def test_closed_epochs_come_out_as_they_were_recorded() -> None:
    verdict = ask("redecide:epochs")

    assert verdict.decisions == 4
    assert verdict.is_empty
    assert verdict.unfaithful == []


def test_with_a_higher_excuse_a_device_would_have_been_in_breach() -> None:
    """At 30 % the slots that one of four missed are its own: 20 of 288 are more than 5 %."""
    verdict = ask("redecide:epochs", "excuse_percent=30")

    [parted] = verdict.changed
    assert parted.subject.startswith(did("b"))
    assert (parted.recorded, parted.tried) == (
        "kept: 0 of 288 missed, 30 excused", "breach: 20 of 288 missed, 10 excused",
    )  # fmt: skip
    assert verdict.accounts == {did("b"): {"breaches": 1, "missed_slots": 20}}
    assert verdict.newly_refused == 1


def test_two_parameters_are_tried_together() -> None:
    verdict = ask("redecide:epochs", "excuse_percent=30", "breach_percent=10")

    assert [parted.tried for parted in verdict.changed] == ["kept: 20 of 288 missed, 10 excused"]
    assert verdict.newly_refused == 0


def test_a_window_leaves_out_what_came_before_it() -> None:
    """The absences are still counted over all devices."""
    assert ask("redecide:epochs", "excuse_percent=30", start=3).is_empty
    assert ask("redecide:epochs", "excuse_percent=30", start=2).changed


def test_a_refold_shows_the_rows_that_the_view_would_have() -> None:
    assert ask("refold:uptime").is_empty

    # Nothing is missed by anybody, so only a negative limit makes breaches of them.
    verdict = ask("refold:uptime", "breach_percent=-1")

    assert len(verdict.changed) == 4
    assert {units["is_breach"] for units in verdict.accounts.values()} == {1}
    assert all(parted.subject.startswith("liveness_closed") for parted in verdict.changed)
    assert len(ask("refold:uptime", "breach_percent=-1", start=3).changed) == 2


def test_a_what_if_has_a_limit() -> None:
    with pytest.raises(TooMuch, match="10,000,000"):
        Evidence("0" * 36, Shard([]), {}, {SHARD: 10_000_001}, unchecked, 1)  # type: ignore[arg-type]


def test_a_decision_is_not_repeated_on_less_than_it_rested_on() -> None:
    """The cut that a route names is of other shards, which the window may end before."""
    shards = Shards({SHARD: chain(SHARD, a_day()[:3])})

    assert len(list(shards.events(SHARD, 1, 3))) == 2
    for shard, end in ((SHARD, 4), ("liveness.events/1", 1)):
        with pytest.raises(RangeMissing, match="later --to"):
            list(shards.events(shard, 1, end))
