"""Every command reaches the stream that it is for, in the name of whoever signed it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.keys import verify
from commands import Asked
from commands.operations import Operations
from contracts import CommandRecord, Label, parse_command, uuid7
from contracts.operations import (
    AbandonRebuild,
    ConfirmDrained,
    DeclareProfile,
    ExportRecords,
    GroupName,
    ParkStream,
    ReaderName,
    Redrive,
    ReplayWindow,
    RetireVersion,
    TopicName,
    WhatIfRun,
    Words,
    parked_stream,
    run_stream,
    view_stream,
    window_group,
)
from domain import Refused
from domain.operations import VersionNotNext
from tests.commands.test_identity import Paper
from tests.domain.given import did, digest
from tests.domain.test_operations import DEVICE, RUN, cut, start, swap, what_if

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ALICE = did("alice")


def record_of(command: Any, subject: str) -> CommandRecord:
    value = CommandRecord.encode(command, subject=subject, source=ALICE, network="dev", id=uuid7(1, bytes(10)), time=NOW)
    return parse_command(value, subject.encode(), [("signature", b"x")])


class Desk:
    def __init__(self) -> None:
        self.service = Operations(Paper(), verify)

    def ask(self, command: Any, subject: str) -> list[Any]:
        aggregate = self.service.decide(command, Asked(record_of(command, subject), NOW))
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        return events


def test_a_view_goes_from_version_to_version() -> None:
    desk, view = Desk(), view_stream("uptime")
    said = [
        (start(), "RebuildStarted"), (swap(), "ViewSwapped"), (start(2), "RebuildStarted"),
        (AbandonRebuild(cause=Label("killed")), "RebuildAbandoned"), (start(2), "RebuildStarted"), (swap(2), "ViewSwapped"),
        (RetireVersion(version=1), "VersionRetired"),
    ]  # fmt: skip

    for command, event in said:
        assert [type(found).__name__ for found in desk.ask(command, view)] == [event]


def test_a_stream_is_parked_redriven_and_drained() -> None:
    desk, stream = Desk(), parked_stream("uptime", DEVICE)
    park = ParkStream(
        reader=ReaderName("uptime"), parked=DEVICE, shard=Words("liveness.events/0"), sequence=7, error_digest=digest("why")
    )

    asked = (park, Redrive(sequence=9, code_digest=digest("code")), ConfirmDrained(sequence=9))
    found = [type(desk.ask(command, stream)[0]).__name__ for command in asked]

    assert found == ["StreamParked", "StreamRedriven", "StreamDrained"]


def test_a_run_is_recorded_in_the_name_of_who_signed_it() -> None:
    """Not of whom the command might name."""
    [event] = Desk().ask(what_if(), run_stream(RUN))

    assert isinstance(event, WhatIfRun)
    assert event.run_by == ALICE


def test_windows_exports_and_settings_have_their_streams() -> None:
    window = ReplayWindow(
        topic=TopicName("liveness.heartbeats"), start=Words("0=1"), end=Words("now"), function=Words("a.b:c"),
        group=GroupName(window_group(RUN)), records=3, digest=digest("records"),
    )  # fmt: skip
    export = ExportRecords(filter_digest=digest("f"), cut=cut(9), files=3, log_size=12)
    declare = DeclareProfile(profile="consumer", settings_digest=digest("s"), code_digest=digest("c"))

    assert type(Desk().ask(window, run_stream(RUN))[0]).__name__ == "WindowReplayed"
    assert type(Desk().ask(export, run_stream(RUN))[0]).__name__ == "RecordsExported"
    assert type(Desk().ask(declare, "operations/settings/dev")[0]).__name__ == "ProfileDeclared"


def test_a_refusal_leaves_the_view_as_it_was() -> None:
    desk, view = Desk(), view_stream("uptime")
    desk.ask(start(), view)

    with pytest.raises(VersionNotNext):
        desk.ask(swap(2), view)

    assert issubclass(VersionNotNext, Refused)
    assert [type(event).__name__ for event in desk.ask(swap(), view)] == ["ViewSwapped"]
