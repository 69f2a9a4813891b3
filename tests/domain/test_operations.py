"""What operators may do: compare before swapping, keep what is in use, never read under a live name."""

from typing import Any

import pytest

from contracts import Digest, Label, StreamName, Uuid
from contracts.liveness import ShardCut
from contracts.operations import (
    AbandonRebuild,
    Check,
    ConfirmDrained,
    DeclareProfile,
    ExportRecords,
    GroupName,
    Parameter,
    ParameterName,
    ParkStream,
    ProfileDeclared,
    ReaderName,
    RebuildAbandoned,
    RebuildStarted,
    RecordsExported,
    Redrive,
    ReplayWindow,
    RetireVersion,
    RunWhatIf,
    StartRebuild,
    StreamDrained,
    StreamParked,
    StreamRedriven,
    SwapView,
    TopicName,
    VersionRetired,
    ViewSwapped,
    WhatIfRun,
    WindowReplayed,
    Words,
    parked_stream,
    run_stream,
    view_stream,
    window_group,
)
from domain.operations import (
    AddressedWrongly,
    AlreadyCurrent,
    AlreadyParked,
    AlreadyRebuilding,
    AlreadyRun,
    BelowFloor,
    ChecksFailed,
    CutUnpublished,
    Declared,
    DigestsDiffer,
    GroupIsLive,
    InUse,
    LagsBehind,
    NotEntitled,
    NotParked,
    NotRebuilding,
    ParameterUnknown,
    ParkedStream,
    Run,
    StillFailing,
    VersionNotNext,
    View,
)
from tests.domain.given import did, digest, given, refused, then

ALICE = did("alice")
CODE, OLD, NEW = digest("code"), digest("old"), digest("new")
STREAM = view_stream("uptime")
RUN = Uuid("0189b1b2-0000-7000-8000-000000000001")


def cut(next_: int) -> tuple[ShardCut, ...]:
    return (ShardCut(shard="liveness.events/0", next=next_),)


def start(version: int = 1, mark: int = 10) -> StartRebuild:
    return StartRebuild(version=version, code_digest=CODE, mark=cut(mark))


def started(version: int = 1, mark: int = 10) -> RebuildStarted:
    return RebuildStarted(version=version, code_digest=CODE, mark=cut(mark))


def swap(version: int = 1, at: int = 12, old: Digest = OLD, new: Digest = OLD, **more: Any) -> SwapView:
    fields: dict[str, Any] = {"meaning": "same", **more}
    return SwapView(version=version, cut=cut(at), old_digest=old, new_digest=new, **fields)


def swapped(version: int = 1, replaces: int = 0, **more: Any) -> ViewSwapped:
    return ViewSwapped(replaces=replaces, **dict(swap(version, **more)))


# Views


def test_a_rebuild_is_recorded_once_with_its_mark() -> None:
    view = given(View, STREAM)

    then(view, lambda: view.start(start()), started())


def test_one_version_is_folded_at_a_time() -> None:
    view = given(View, STREAM, started())

    refused(view, lambda: view.start(start(2)), AlreadyRebuilding)
    refused(view, lambda: view.start(start(1, mark=11)), AlreadyRebuilding)


def test_versions_have_no_gap() -> None:
    refused(view := given(View, STREAM), lambda: view.start(start(2)), VersionNotNext)


def test_equal_rows_at_a_later_cut_become_the_live_ones() -> None:
    view = given(View, STREAM, started())

    view.swap(swap())

    assert view.pending == [swapped()]
    assert (view.live, view.folding) == (1, None)


def test_swapping_twice_is_refused() -> None:
    view = given(View, STREAM, started(), swapped())

    refused(view, lambda: view.swap(swap()), AlreadyCurrent)


def test_what_was_compared_too_early_is_not_swapped_in() -> None:
    """The live view was further when the rebuild began."""
    view = given(View, STREAM, started(mark=10))

    refused(view, lambda: view.swap(swap(at=9)), LagsBehind)


def test_the_same_meaning_has_the_same_digest() -> None:
    view = given(View, STREAM, started())

    refused(view, lambda: view.swap(swap(new=NEW)), DigestsDiffer)


@pytest.mark.parametrize("checks", [(), (Check(name=Label("sums to zero"), held=True), Check(name=Label("rows"), held=False))])
def test_a_new_meaning_needs_checks_that_hold(checks: tuple[Check, ...]) -> None:
    view = given(View, STREAM, started())

    refused(view, lambda: view.swap(swap(new=NEW, meaning="new", checks=checks)), ChecksFailed)


def test_going_back_is_a_swap_to_a_version_that_was_kept() -> None:
    checks = (Check(name=Label("rows"), held=True),)
    view = given(View, STREAM, started(), swapped(), started(2), swapped(2, replaces=1, new=NEW, meaning="new", checks=checks))

    view.swap(swap(1, old=NEW, new=OLD, meaning="new", checks=checks))

    assert view.live == 1
    assert view.kept == [2]


def test_a_retired_version_does_not_come_back() -> None:
    view = given(View, STREAM, started(), swapped(), started(2), swapped(2, replaces=1), VersionRetired(version=1))

    refused(view, lambda: view.swap(swap(1)), VersionNotNext)


def test_what_is_in_use_is_not_retired() -> None:
    view = given(View, STREAM, started(), swapped(), started(2))

    for version in (1, 2):
        refused(view, lambda v=version: view.retire(RetireVersion(version=v)), InUse)
    refused(view, lambda: view.retire(RetireVersion(version=3)), VersionNotNext)


def test_a_version_that_was_replaced_is_retired_once() -> None:
    view = given(View, STREAM, started(), swapped(), started(2), swapped(2, replaces=1))

    then(view, lambda: view.retire(RetireVersion(version=1)), VersionRetired(version=1))


def test_a_rebuild_that_is_abandoned_leaves_its_number_free() -> None:
    view = given(View, STREAM, started())

    view.abandon(AbandonRebuild(cause=Label("killed")))
    view.start(start())

    assert view.pending == [RebuildAbandoned(version=1, cause=Label("killed")), started()]


def test_nothing_to_abandon() -> None:
    view = given(View, STREAM, started(), swapped())

    refused(view, lambda: view.abandon(AbandonRebuild(cause=Label("bored"))), NotRebuilding)


# Parked streams

DEVICE = StreamName("liveness/device/did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
PARK = ParkStream(
    reader=ReaderName("uptime"), parked=DEVICE, shard=Words("liveness.events/0"), sequence=7, error_digest=digest("why")
)
PARKED = StreamParked(**dict(PARK))


def test_a_parked_streams_name_is_a_stream_name_however_long_it_is() -> None:
    assert parked_stream("uptime", DEVICE) == "operations/parked/uptime." + DEVICE.replace("/", ":")
    long = parked_stream("a" * 60, "providers/offer/" + "x" * 120)
    assert StreamName.checked(long) == long
    assert long != parked_stream("a" * 60, "providers/offer/" + "x" * 119 + "y")


def test_a_stream_is_parked_once() -> None:
    stream = given(ParkedStream, parked_stream("uptime", DEVICE))

    then(stream, lambda: stream.park(PARK), PARKED)
    refused(stream, lambda: stream.park(PARK.model_copy(update={"sequence": 9})), AlreadyParked)


def test_a_stream_is_parked_under_its_own_name() -> None:
    stream = given(ParkedStream, parked_stream("ledger", DEVICE))

    refused(stream, lambda: stream.park(PARK), AddressedWrongly)


def test_a_stream_that_was_redriven_drains_and_may_be_parked_again() -> None:
    stream = given(ParkedStream, parked_stream("uptime", DEVICE), PARKED)

    stream.redrive(Redrive(sequence=9, code_digest=CODE))
    stream.confirm(ConfirmDrained(sequence=9))
    stream.park(PARK)

    assert stream.pending == [StreamRedriven(sequence=9, code_digest=CODE), StreamDrained(sequence=9), PARKED]


def test_what_does_not_wait_is_neither_redriven_nor_drained() -> None:
    stream = given(ParkedStream, parked_stream("uptime", DEVICE))

    refused(stream, lambda: stream.redrive(Redrive(sequence=7, code_digest=CODE)), NotParked)
    refused(stream, lambda: stream.confirm(ConfirmDrained(sequence=7)), NotParked)


def test_a_stream_drains_only_after_it_was_tried_again() -> None:
    stream = given(ParkedStream, parked_stream("uptime", DEVICE), PARKED)

    refused(stream, lambda: stream.confirm(ConfirmDrained(sequence=7)), StillFailing)


# Runs


def what_if(**more: Any) -> RunWhatIf:
    fields: dict[str, Any] = {
        "kind": Label("redecide routes"), "start": cut(3), "end": cut(9), "input_digest": digest("in"),
        "result_digest": digest("out"),
        "parameters": (Parameter(name=ParameterName("band_percent"), recorded=Words("5"), tried=Words("10")),),
    }  # fmt: skip
    return RunWhatIf(**{**fields, **more})


def test_a_what_if_is_recorded_once_with_who_asked() -> None:
    run = given(Run, run_stream(RUN))

    then(run, lambda: run.what_if(what_if(), ALICE), WhatIfRun(run_by=ALICE, **dict(what_if())))
    refused(run, lambda: run.what_if(what_if(result_digest=digest("other")), ALICE), AlreadyRun)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"start": cut(10)}, CutUnpublished),
        ({"end": (ShardCut(shard="liveness.commands/0", next=3),), "start": ()}, CutUnpublished),
        ({"parameters": (*what_if().parameters, *what_if().parameters)}, ParameterUnknown),
    ],
)
def test_a_what_if_names_a_cut_that_exists_and_each_parameter_once(change: Any, refusal: Any) -> None:
    run = given(Run, run_stream(RUN))

    refused(run, lambda: run.what_if(what_if(**change), ALICE), refusal)


def test_a_run_has_an_id_of_the_right_form() -> None:
    run = given(Run, "operations/run/mine")

    refused(run, lambda: run.what_if(what_if(), ALICE), AddressedWrongly)


def window(group: str) -> ReplayWindow:
    return ReplayWindow(
        topic=TopicName("liveness.heartbeats"), start=Words("0=1"), end=Words("now"), function=Words("a.b:c"),
        group=GroupName(group), records=3, digest=digest("records"),
    )  # fmt: skip


def test_a_window_with_a_live_groups_name_is_refused() -> None:
    run = given(Run, run_stream(RUN))

    refused(run, lambda: run.window(window("dev.uptime"), ALICE), GroupIsLive)
    mine = window(window_group(RUN))
    then(run, lambda: run.window(mine, ALICE), WindowReplayed(run_by=ALICE, **dict(mine)))


def test_an_export_that_opens_what_is_sealed_says_what_for() -> None:
    run = given(Run, run_stream(RUN))
    export = ExportRecords(filter_digest=digest("f"), cut=cut(9), files=3, log_size=12, opened=True)

    refused(run, lambda: run.export(export, ALICE), NotEntitled)
    open_ = export.model_copy(update={"purpose": Label("court order 7")})
    then(run, lambda: run.export(open_, ALICE), RecordsExported(run_by=ALICE, **dict(open_)))


# Settings


def declare(profile: Any) -> DeclareProfile:
    return DeclareProfile(profile=profile, settings_digest=digest("settings"), code_digest=CODE)


def test_a_profile_is_raised_and_never_lowered() -> None:
    declared = given(Declared, "operations/settings/dev")

    then(declared, lambda: declared.declare(declare("private"), "dev"), ProfileDeclared(**dict(declare("private"))))
    refused(declared, lambda: declared.declare(declare("business"), "dev"), BelowFloor)
    declared.declare(declare("government"), "dev")

    assert declared.now is not None
    assert declared.now.profile == "government"


def test_a_deployment_declares_its_own_settings() -> None:
    declared = given(Declared, "operations/settings/elsewhere")

    refused(declared, lambda: declared.declare(declare("private"), "dev"), AddressedWrongly)
