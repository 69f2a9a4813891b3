"""Operations: who rebuilt, swapped, parked, replayed and took away, because an operator is a participant too.

What is recorded here never is what was replayed: a what-if stays an answer to a question, and only its digests are kept.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._values import AtomicText, Count, Did, Digest, Flag, Label, StreamId, StreamName, Uuid
from contracts.liveness import ShardCut


class ReaderName(AtomicText):
    """A projection, process or collector, as its context wires it."""

    pattern = r"^[a-z][a-z0-9_]*$"
    max_length = 60


class GroupName(AtomicText):
    """Under which a window was read; that of a live reader is `<network>.<reader>`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    max_length = 120


class TopicName(AtomicText):
    """A topic, `liveness.heartbeats`."""

    pattern = r"^[a-z][a-z0-9._-]*$"
    max_length = 120


class ParameterName(AtomicText):
    """A parameter of a what-if, `band_percent`."""

    pattern = r"^[a-z][a-z0-9_]*$"
    max_length = 60


class Words(AtomicText):
    """Printable ASCII that people or programs wrote."""

    pattern = r"^[\x20-\x7e]*$"
    max_length = 250


Number = Annotated[Count, Field(ge=1)]
"""Of a view's version: 1, 2, 3, …"""
Places = Annotated[tuple[ShardCut, ...], Field(max_length=400)]
"""A cut: of each shard the next sequence."""
Profile = Literal["consumer", "business", "private", "government"]
PROFILES: tuple[Profile, ...] = ("consumer", "business", "private", "government")
WindowPlace = Annotated[Words, Field(description="a time, an offset of each partition, or a cut, as it was asked for")]


class Check(Value):
    """Something that a new version of a view was held against, and whether it held."""

    name: Label
    held: Flag


class Parameter(Value):
    """What a rule has, and what was tried instead."""

    name: ParameterName
    recorded: Words
    tried: Words


STREAM_IDS: Mapping[str, type[AtomicText]] = {"parked": StreamId, "run": Uuid, "settings": StreamId, "view": ReaderName}
"""What the streams of each kind are named by."""


class StartRebuild(Command, role="operations.operator", stream="operations/view"):
    """Fold a view again beside the live one. `mark` is the cut of the live view at that moment."""

    version: Number
    code_digest: Digest
    mark: Places


class SwapView(Command, role="operations.operator", stream="operations/view"):
    """Put a version into the live one's place, at a cut at which both were compared; going back is a swap too."""

    version: Number
    cut: Places
    old_digest: Digest
    new_digest: Digest
    meaning: Literal["same", "new"]
    checks: Annotated[tuple[Check, ...], Field(max_length=32)] = ()


class AbandonRebuild(Command, role="operations.operator", stream="operations/view"):
    """The version that was being folded is dropped."""

    cause: Label


class RetireVersion(Command, role="operations.operator", stream="operations/view"):
    """A version that was live is dropped: there is no going back to it."""

    version: Number


class ParkStream(Command, role="operations.reader", stream="operations/parked"):
    """A reader cannot apply an event: what comes after it in its stream waits."""

    reader: ReaderName
    parked: StreamName
    shard: Words
    sequence: Count
    error_digest: Digest


class Redrive(Command, role="operations.operator", stream="operations/parked"):
    """Try the waiting events again, with the code of today."""

    sequence: Count
    code_digest: Digest


class ConfirmDrained(Command, role="operations.reader", stream="operations/parked"):
    """Everything that waited is applied; `sequence` is the last of it."""

    sequence: Count


class RunWhatIf(Command, role="operations.analyst", stream="operations/run"):
    """What would have been with other parameters. The answer itself is nobody's history: only its digest is kept."""

    kind: Label
    start: Places
    end: Places
    parameters: Annotated[tuple[Parameter, ...], Field(max_length=32)]
    input_digest: Digest
    result_digest: Digest


class ReplayWindow(Command, role="operations.analyst", stream="operations/run"):
    """Raw records went through a function, in a world where nothing is live."""

    topic: TopicName
    start: WindowPlace
    end: WindowPlace
    function: Words
    group: GroupName
    records: Count
    digest: Digest


class ExportRecords(Command, role="operations.analyst", stream="operations/run"):
    """Records were taken away as files."""

    filter_digest: Digest
    cut: Places
    files: Count
    log_size: Count
    values: Flag = False
    """With the signed bytes."""
    opened: Flag = False
    """With what was sealed in them, opened."""
    purpose: Label | None = None
    """What for; sealed fields are opened for nothing less."""


class DeclareProfile(Command, role="operations.operator", stream="operations/settings"):
    """With which settings and which code a deployment runs."""

    profile: Profile
    settings_digest: Digest
    code_digest: Digest


class RebuildStarted(Event):
    version: Number
    code_digest: Digest
    mark: Places


class ViewSwapped(Event):
    version: Number
    replaces: Count
    """The version that was live; 0 where none was recorded."""
    cut: Places
    old_digest: Digest
    new_digest: Digest
    meaning: Literal["same", "new"]
    checks: tuple[Check, ...] = ()


class RebuildAbandoned(Event):
    version: Number
    cause: Label


class VersionRetired(Event):
    version: Number


class StreamParked(Event):
    reader: ReaderName
    parked: StreamName
    shard: Words
    sequence: Count
    error_digest: Digest


class StreamRedriven(Event):
    sequence: Count
    code_digest: Digest


class StreamDrained(Event):
    sequence: Count


class WhatIfRun(Event):
    kind: Label
    start: Places
    end: Places
    parameters: tuple[Parameter, ...]
    input_digest: Digest
    result_digest: Digest
    run_by: Did


class WindowReplayed(Event):
    topic: TopicName
    start: WindowPlace
    end: WindowPlace
    function: Words
    group: GroupName
    records: Count
    digest: Digest
    run_by: Did


class RecordsExported(Event):
    filter_digest: Digest
    cut: Places
    files: Count
    log_size: Count
    values: Flag
    opened: Flag
    purpose: Label | None = None
    run_by: Did


class ProfileDeclared(Event):
    profile: Profile
    settings_digest: Digest
    code_digest: Digest


OperationsCommand = (
    StartRebuild
    | SwapView
    | AbandonRebuild
    | RetireVersion
    | ParkStream
    | Redrive
    | ConfirmDrained
    | RunWhatIf
    | ReplayWindow
    | ExportRecords
    | DeclareProfile
)
OperationsEvent = (
    RebuildStarted
    | ViewSwapped
    | RebuildAbandoned
    | VersionRetired
    | StreamParked
    | StreamRedriven
    | StreamDrained
    | WhatIfRun
    | WindowReplayed
    | RecordsExported
    | ProfileDeclared
)


def view_stream(projection: str) -> StreamName:
    """`operations/view/<projection>`."""
    return StreamName(f"operations/view/{projection}")


def run_stream(run: Uuid) -> StreamName:
    """`operations/run/<id>`."""
    return StreamName(f"operations/run/{run}")


def parked_stream(reader: str, stream: str) -> StreamName:
    """`operations/parked/<reader>.<stream>`, slashes as colons; a name that would be too long ends in its digest."""
    name = f"{reader}.{stream.replace('/', ':')}"
    if len(name) > 120:
        name = f"{name[:80]}:{hashlib.sha256(stream.encode()).hexdigest()[:39]}"
    return StreamName(f"operations/parked/{name}")


def window_group(run: str) -> GroupName:
    """The name under which a window is read: of its run, so that it is no live reader's."""
    return GroupName(f"window_{run}")
