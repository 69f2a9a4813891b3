"""Who was up: beats count once and in time, and an epoch closes into numbers that anybody can find again."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts import Did, Label
from contracts.liveness import (
    FLEETS,
    SLOT_SECONDS,
    SLOTS_PER_EPOCH,
    Beat,
    CloseEpoch,
    EpochClosed,
    ExcuseSlots,
    HeartbeatsRecorded,
    RecordHeartbeats,
    RejectedBeats,
    ShardCut,
    SlotCount,
    SlotsExcused,
    fleet_of,
)
from domain.liveness import (
    KEPT_EPOCHS,
    AlreadyClosed,
    AlreadyExcused,
    AnotherFleet,
    Day,
    Device,
    EpochForgotten,
    EpochOpen,
    EpochOver,
    Fleet,
    NotOurFault,
    SlotsOutsideEpoch,
    day_stream,
    merkle_root,
    recomputed,
    untimely,
)
from tests.domain.given import did, digest, given, refused, then

EPOCH = 20_781
FIRST = EPOCH * SLOTS_PER_EPOCH
MIDNIGHT = datetime.fromtimestamp((EPOCH + 1) * SLOTS_PER_EPOCH * SLOT_SECONDS, UTC)
CUT = (ShardCut(shard="liveness.events/0", next=7),)
ALICE = did("alice")


def neighbour(device: str = ALICE) -> Did:
    """Another device of the same fleet."""
    return next(other for n in range(10_000) if fleet_of(other := did(f"neighbour {n}")) == fleet_of(device))


def beat(slot: int, device: Did = ALICE, *, received: float = 1.0) -> Beat:
    """A beat of a slot, received so many seconds after the slot's beginning."""
    start_ms = slot * SLOT_SECONDS * 1000
    return Beat(
        device=device, slot=slot, seq=slot, boot=Label("b1"), sent_at_ms=start_ms,
        received_at_ms=start_ms + int(received * 1000), load_percent=10, hash=digest(f"{device} {slot}"),
    )  # fmt: skip


def recorded(*beats: Beat, repeated: int = 0, **rejected: int) -> HeartbeatsRecorded:
    counts = (RejectedBeats(reason=Label(reason.replace("_", "-")), count=count) for reason, count in rejected.items())
    return HeartbeatsRecorded(beats=beats, repeated=repeated, rejected=tuple(counts))


def fleet(*events: Any) -> Fleet:
    return given(Fleet, f"liveness/fleet/{fleet_of(ALICE)}", *events)


def anybody(_device: str) -> bool:
    return True


def collecting(*beats: Beat, rejected: tuple[RejectedBeats, ...] = ()) -> RecordHeartbeats:
    return RecordHeartbeats(beats=beats, rejected=rejected)


# Beats


def test_beats_are_recorded_in_batches() -> None:
    ours = fleet()

    ours.collect(collecting(beat(FIRST), beat(FIRST + 1), beat(FIRST, neighbour())), (), anybody)

    assert ours.pending == [recorded(beat(FIRST), beat(FIRST + 1), beat(FIRST, neighbour()))]


def test_a_batch_that_comes_again_records_nothing() -> None:
    ours = fleet()

    then(ours, lambda: ours.collect(collecting(beat(FIRST)), (), anybody), recorded(beat(FIRST)))


def test_two_beats_for_one_slot_count_once() -> None:
    """Which of them came first decides, in a batch and between batches."""
    ours = fleet(recorded(beat(FIRST)))
    again = beat(FIRST, received=2)

    ours.collect(collecting(again, beat(FIRST + 1), beat(FIRST + 1, received=5)), (), anybody)

    assert ours.pending == [recorded(beat(FIRST + 1), repeated=2)]


def test_a_batch_has_at_most_a_hundred_beats() -> None:
    with pytest.raises(ValidationError):
        collecting(*(beat(FIRST + n) for n in range(101)))


@pytest.mark.parametrize(
    ("received", "reason"),
    [(-30.001, "early"), (-30, None), (0, None), (300, None), (900, None), (900.001, "late")],
)
def test_a_beat_counts_from_thirty_seconds_before_its_slot_to_ten_minutes_after_it(received: float, reason: str | None) -> None:
    assert untimely(beat(FIRST, received=received)) == reason


def test_a_beat_from_2099_is_rejected_and_counted() -> None:
    ours = fleet()
    year_2099 = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp()) // SLOT_SECONDS
    early = beat(year_2099).model_copy(update={"received_at_ms": FIRST * SLOT_SECONDS * 1000})

    ours.collect(collecting(early, beat(FIRST)), (), anybody)

    assert ours.pending == [recorded(beat(FIRST), early=1)]


def test_a_month_of_beats_uploaded_late_changes_nothing_but_the_count_of_late_ones() -> None:
    ours = fleet()
    now = FIRST * SLOT_SECONDS * 1000
    month = [beat(FIRST - 30 * SLOTS_PER_EPOCH + n).model_copy(update={"received_at_ms": now}) for n in range(100)]

    ours.collect(collecting(*month), (), anybody)

    assert ours.pending == [recorded(late=100)]
    assert not ours.beats


def test_what_the_collector_rejected_is_counted_with_what_the_fleet_rejects() -> None:
    ours = fleet()
    told = (RejectedBeats(reason=Label("bad-signature"), count=3), RejectedBeats(reason=Label("late"), count=2))

    ours.collect(collecting(beat(FIRST, received=901), rejected=told), (), anybody)

    assert ours.pending == [recorded(bad_signature=3, late=3)]


def test_no_beat_is_added_to_an_epoch_that_is_over() -> None:
    ours = fleet()

    refused(ours, lambda: ours.collect(collecting(beat(FIRST)), [EPOCH], anybody), EpochOver)


def test_of_a_batch_across_midnight_only_the_beats_of_the_ended_epoch_are_rejected() -> None:
    ours, next_day = fleet(), beat(FIRST + SLOTS_PER_EPOCH)

    ours.collect(collecting(beat(FIRST), next_day), [EPOCH], anybody)

    assert ours.pending == [recorded(next_day, epoch_over=1)]


def test_a_beat_belongs_to_its_own_fleet() -> None:
    ours = fleet()
    stranger = next(other for n in range(100) if fleet_of(other := did(f"stranger {n}")) != fleet_of(ALICE))

    refused(ours, lambda: ours.collect(collecting(beat(FIRST, stranger)), (), anybody), AnotherFleet)


def test_beats_of_keys_that_are_not_registered_are_counted_and_not_recorded() -> None:
    """Anybody can make a key. Who is asked are those whose beat would count."""
    ours, asked = fleet(), list[str]()

    def is_registered(device: str) -> bool:
        asked.append(device)
        return device == ALICE

    ours.collect(collecting(beat(FIRST), beat(FIRST, neighbour()), beat(FIRST + 1, received=-40)), (), is_registered)
    ours.collect(collecting(beat(FIRST)), (), is_registered)

    [found] = ours.pending
    assert isinstance(found, HeartbeatsRecorded)
    assert [told.device for told in found.beats] == [ALICE]
    assert [(told.reason, told.count) for told in found.rejected] == [("early", 1), ("not-registered", 1)]
    assert asked == [ALICE, neighbour()]


def test_devices_are_spread_over_all_fleets() -> None:
    assert {fleet_of(did(str(n))) for n in range(1000)} == set(range(FLEETS))


# The day


def day(*events: Any) -> Day:
    return given(Day, day_stream(EPOCH), *events)


def excusing(*slots: SlotCount) -> ExcuseSlots:
    return ExcuseSlots(slots=slots, cut=CUT)


def test_a_day_is_named_by_its_date() -> None:
    assert day_stream(EPOCH) == "liveness/epoch/2026-11-24"


def test_a_day_ends_ten_minutes_after_midnight() -> None:
    today = day()

    refused(today, lambda: today.excuse(excusing(), MIDNIGHT + timedelta(seconds=599.999)), EpochOpen)
    today.excuse(excusing(), MIDNIGHT + timedelta(seconds=600))

    assert today.pending == [SlotsExcused(epoch=EPOCH, slots=(), cut=CUT)]


def test_a_day_ends_once() -> None:
    today = day(SlotsExcused(epoch=EPOCH, slots=(), cut=CUT))

    refused(today, lambda: today.excuse(excusing(), MIDNIGHT + timedelta(hours=1)), AlreadyExcused)


def test_exactly_twenty_percent_missing_excuses_nothing() -> None:
    today = day()
    now = MIDNIGHT + timedelta(hours=1)
    just = SlotCount(slot=FIRST, active=100, missing=20)
    more = SlotCount(slot=FIRST, active=100, missing=21)

    assert refused(today, lambda: today.excuse(excusing(just), now), NotOurFault).field == "slots"
    today.excuse(excusing(more), now)

    assert today.excused == (FIRST,)


def test_a_slot_of_another_day_is_not_excused() -> None:
    today = day()
    other = SlotCount(slot=FIRST - 1, active=100, missing=100)

    refused(today, lambda: today.excuse(excusing(other), MIDNIGHT + timedelta(hours=1)), NotOurFault)


def test_what_is_no_date_is_no_day() -> None:
    nonsense = Day("liveness/epoch/tomorrow")

    assert refused(nonsense, lambda: nonsense.excuse(excusing(), MIDNIGHT), EpochOpen).field == "subject"


# Closing an epoch


def closing(**changes: Any) -> CloseEpoch:
    fields = {"epoch": EPOCH, "cut": CUT, "policy_version": 1, "first_slot": FIRST, "end_slot": FIRST + SLOTS_PER_EPOCH}
    return CloseEpoch(**{**fields, **changes})


def over(*excused: int) -> Day:
    slots = tuple(SlotCount(slot=slot, active=10, missing=3) for slot in excused)
    return day(SlotsExcused(epoch=EPOCH, slots=slots, cut=CUT))


def device() -> Device:
    return Device(f"liveness/device/{ALICE}")


def beats_of(slots: Iterable[int]) -> Fleet:
    return fleet(*(recorded(beat(slot)) for slot in slots))


def closed(ours: Fleet, today: Day, **changes: Any) -> EpochClosed:
    alice = device()
    alice.close(closing(**changes), today, ours)
    [event] = alice.pending
    assert isinstance(event, EpochClosed)
    return event


def test_a_day_without_a_gap_misses_nothing() -> None:
    event = closed(beats_of(range(FIRST, FIRST + SLOTS_PER_EPOCH)), over())

    assert (event.expected, event.excused, event.missed, event.bitmap) == (288, 0, 0, "f" * 72)
    assert not event.is_breach


def test_a_day_of_silence_misses_all_and_has_the_empty_root() -> None:
    event = closed(fleet(), over())

    assert (event.expected, event.missed, event.bitmap) == (288, 288, "0" * 72)
    assert event.root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert event.is_breach


def test_more_than_five_percent_missed_is_a_breach_and_fourteen_of_288_is_not() -> None:
    """White paper 9.6; 14 of 288 is 4.9 %, 15 is 5.2 %."""
    at_most, more = (closed(beats_of(range(FIRST + missed, FIRST + 288)), over()) for missed in (14, 15))

    assert (at_most.missed, at_most.is_breach) == (14, False)
    assert (more.missed, more.is_breach) == (15, True)


def test_excused_slots_leave_less_to_miss_and_fewer_than_144_breach_nobody() -> None:
    """11 of 200 is 5.5 %, and of 288 it would be 3.8 %; a day that left 143 slots judges nobody."""
    left_200, left_143 = (closed(fleet(), over(*range(FIRST, FIRST + 288 - left))) for left in (200, 143))
    few = closed(beats_of(range(FIRST + 88 + 11, FIRST + 288)), over(*range(FIRST, FIRST + 88)))

    assert (left_200.missed, left_200.is_breach) == (200, True)
    assert (left_143.missed, left_143.is_breach) == (143, False)
    assert (few.excused, few.missed, few.is_breach) == (88, 11, True)


def test_an_excused_slot_is_not_missed_and_a_beaten_one_needs_no_excuse() -> None:
    event = closed(beats_of(range(FIRST + 2, FIRST + 288)), over(FIRST, FIRST + 5))

    assert (event.missed, event.excused) == (1, 1)


def test_a_device_registered_at_noon_is_expected_from_the_next_midnight() -> None:
    """On its first day it beats and is expected in no slot."""
    event = closed(beats_of([FIRST + 200]), over(), first_slot=FIRST + 288, end_slot=FIRST + 288)

    assert (event.expected, event.missed, event.is_breach) == (0, 0, False)
    assert int(event.bitmap, 16).bit_count() == 1


def test_a_device_that_leaves_is_expected_until_it_left() -> None:
    event = closed(beats_of(range(FIRST, FIRST + 100)), over(), end_slot=FIRST + 100)

    assert (event.expected, event.missed) == (100, 0)


def test_the_first_slot_is_the_highest_bit() -> None:
    assert closed(beats_of([FIRST]), over()).bitmap == "8" + "0" * 71


def test_an_open_epoch_is_not_closed() -> None:
    alice = device()

    refused(alice, lambda: alice.close(closing(), day(), fleet()), EpochOpen)


def test_an_epoch_is_closed_once() -> None:
    alice = device()
    alice.close(closing(), over(), fleet())

    refused(alice, lambda: alice.close(closing(), over(), fleet()), AlreadyClosed)


@pytest.mark.parametrize("slots", [(FIRST - 1, FIRST + 1), (FIRST, FIRST + 289), (FIRST + 2, FIRST + 1)])
def test_expected_slots_lie_in_the_epoch(slots: tuple[int, int]) -> None:
    alice = device()

    refused(alice, lambda: alice.close(closing(first_slot=slots[0], end_slot=slots[1]), over(), fleet()), SlotsOutsideEpoch)


def test_an_epoch_whose_beats_are_forgotten_is_not_closed_by_guessing() -> None:
    """A fleet remembers some days; closing one of which it knows nothing would state an outage that never was."""
    alice, ours = device(), beats_of(FIRST + n * SLOTS_PER_EPOCH for n in range(KEPT_EPOCHS + 1))

    refused(alice, lambda: alice.close(closing(), over(), ours), EpochForgotten)


def test_no_beat_is_added_to_an_epoch_that_is_forgotten() -> None:
    ours = beats_of(FIRST + n * SLOTS_PER_EPOCH for n in range(KEPT_EPOCHS + 1))

    refused(ours, lambda: ours.collect(collecting(beat(FIRST + 1)), (), anybody), EpochOver)


@hypothesis_given(st.sets(st.integers(0, 287)), st.sets(st.integers(0, 287), max_size=20), st.randoms(use_true_random=False))
def test_an_analyst_finds_the_same_epoch_from_the_events_in_any_order(slots: set[int], excused: set[int], order: Any) -> None:
    """The numbers depend on the beats, not on their order nor on how they were batched."""
    arriving = [beat(FIRST + slot) for slot in slots] + [beat(FIRST + slot, neighbour()) for slot in excused]
    order.shuffle(arriving)
    ours = fleet()
    for start in range(0, len(arriving), 7):
        ours.collect(collecting(*arriving[start : start + 7]), (), anybody)
    today = over(*(FIRST + slot for slot in sorted(excused)))
    event = closed(ours, today)

    log = [*ours.pending, SlotsExcused(epoch=EPOCH, slots=_counts(today), cut=CUT)]
    order.shuffle(log)

    assert recomputed(log, ALICE, event) == event
    assert event.missed == len(set(range(288)) - slots - excused)
    assert event == closed(beats_of(sorted(FIRST + slot for slot in slots)), today)


def _counts(today: Day) -> tuple[SlotCount, ...]:
    return tuple(SlotCount(slot=slot, active=10, missing=3) for slot in today.excused)


def test_an_altered_beat_changes_the_root() -> None:
    honest = closed(beats_of([FIRST, FIRST + 1]), over())
    altered = beat(FIRST + 1).model_copy(update={"hash": digest("another signed heartbeat")})

    assert closed(fleet(recorded(beat(FIRST)), recorded(altered)), over()).root != honest.root


# The tree


LEAVES = [bytes.fromhex(leaf) for leaf in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "root"),
    [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_roots_are_those_of_certificate_transparency(size: int, root: str) -> None:
    """The reference roots of RFC 6962's own implementation."""
    assert merkle_root(LEAVES[:size]).hex() == root


def test_a_snapshot_is_the_fleet() -> None:
    ours = beats_of(FIRST + n * 100 for n in range(9))
    form = TypeAdapter(Fleet)

    again = form.validate_json(form.dump_json(ours))

    assert again == ours
    assert again.of_device(ALICE, EPOCH) == {FIRST: digest(f"{ALICE} {FIRST}"), **_rest()}


def _rest() -> dict[int, str]:
    return {FIRST + n: digest(f"{ALICE} {FIRST + n}") for n in (100, 200)}
