"""What operators may do to views and readers: compare before swapping, keep what is in use, and never touch what is live."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from contracts import Did, Uuid
from contracts.liveness import ShardCut
from contracts.operations import (
    PROFILES,
    AbandonRebuild,
    ConfirmDrained,
    DeclareProfile,
    ExportRecords,
    OperationsEvent,
    ParkStream,
    ProfileDeclared,
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
    VersionRetired,
    ViewSwapped,
    WhatIfRun,
    WindowReplayed,
    parked_stream,
    window_group,
)
from domain import Aggregate, Refused


class AddressedWrongly(Refused):
    """The stream is not the one that the command is for."""


class AlreadyRebuilding(Refused):
    """Another version is being folded; it is swapped in or abandoned first."""


class NotRebuilding(Refused):
    """No version is being folded."""


class VersionNotNext(Refused):
    """Versions are folded one after the other, and only one that was folded can become the live one."""


class LagsBehind(Refused):
    """The versions were compared before the mark at which the rebuild began."""


class DigestsDiffer(Refused):
    """The meaning is said to be the same, and the rows are not."""


class ChecksFailed(Refused):
    """A new meaning is swapped in when the checks that were declared for it hold, and there must be one."""


class AlreadyCurrent(Refused):
    """The version is the live one."""


class InUse(Refused):
    """The version is the live one, or is being folded."""


class AlreadyParked(Refused):
    """The stream waits already, from another event on."""


class NotParked(Refused):
    """The stream does not wait."""


class StillFailing(Refused):
    """The stream was not tried again since it was parked, or not to that event."""


class AlreadyRun(Refused):
    """The run is recorded with other results: a run has an id of its own."""


class CutUnpublished(Refused):
    """The end lies before the start, or a shard is named that is none of an events topic."""


class ParameterUnknown(Refused):
    """A parameter is named twice."""


class GroupIsLive(Refused):
    """A window is read under a name of its own run, which no live reader can have."""


class NotEntitled(Refused):
    """What is sealed is opened for a purpose that is named."""


class BelowFloor(Refused):
    """A deployment's profile is only ever raised: data came in under the promise of the one before."""


@dataclass
class View(Aggregate[OperationsEvent]):
    """One projection's versions."""

    live: int = 0
    folding: int | None = None
    mark: dict[str, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    """Versions that were live, whose tables are still there."""
    last: int = 0
    digest: str = ""

    def start(self, command: StartRebuild) -> None:
        """Raises AlreadyRebuilding, VersionNotNext."""
        event = RebuildStarted(**dict(command))
        if self.folding is not None:
            if self.folding == command.version and self.mark == _cut(command.mark):
                return
            raise AlreadyRebuilding(f"version {self.folding} is being folded")
        if command.version != self.last + 1:
            raise VersionNotNext(f"version {self.last + 1} is the next", "version")
        self.record(event)

    def swap(self, command: SwapView) -> None:
        """Raises AlreadyCurrent, VersionNotNext, LagsBehind, DigestsDiffer, ChecksFailed."""
        if command.version == self.live:
            raise AlreadyCurrent(f"version {self.live} is the live one", "version")
        if command.version != self.folding and command.version not in self.kept:
            raise VersionNotNext(f"version {command.version} was not folded, or is retired", "version")
        cut = _cut(command.cut)
        if command.version == self.folding and any(cut.get(shard, 0) < next_ for shard, next_ in self.mark.items()):
            raise LagsBehind(field="cut")
        if command.meaning == "same" and command.old_digest != command.new_digest:
            raise DigestsDiffer(field="new_digest")
        if command.meaning == "new" and not (command.checks and all(check.held for check in command.checks)):
            failed = ", ".join(check.name for check in command.checks if not check.held) or "none was declared"
            raise ChecksFailed(f"checks: {failed}", "checks")
        self.record(ViewSwapped(replaces=self.live, **dict(command)))

    def abandon(self, command: AbandonRebuild) -> None:
        """Raises NotRebuilding."""
        if self.folding is None:
            raise NotRebuilding
        self.record(RebuildAbandoned(version=self.folding, cause=command.cause))

    def retire(self, command: RetireVersion) -> None:
        """Raises InUse, VersionNotNext."""
        if command.version in (self.live, self.folding):
            raise InUse(f"version {command.version} is in use", "version")
        if command.version > self.last or command.version < 1:
            raise VersionNotNext(f"there is no version {command.version}", "version")
        if command.version in self.kept:
            self.record(VersionRetired(version=command.version))

    def apply(self, event: OperationsEvent) -> None:
        match event:
            case RebuildStarted(version=version, mark=mark):
                self.folding, self.last, self.mark = version, version, _cut(mark)
            case ViewSwapped(version=version, replaces=replaced, new_digest=digest):
                self.kept = [kept for kept in self.kept if kept != version] + ([replaced] if replaced else [])
                self.folding = None if self.folding == version else self.folding
                self.live, self.digest = version, digest
            case RebuildAbandoned():
                # Its number is free again: nobody has seen the version.
                self.folding, self.mark, self.last = None, {}, self.last - 1
            case VersionRetired(version=version):
                self.kept.remove(version)
            case StreamParked() | StreamRedriven() | StreamDrained():
                pass
            case WhatIfRun() | WindowReplayed() | RecordsExported() | ProfileDeclared():
                pass
            case _:
                assert_never(event)


@dataclass
class ParkedStream(Aggregate[OperationsEvent]):
    """One stream that waits in one reader."""

    sequence: int | None = None
    redriven: int | None = None
    """To which event it was tried again."""

    def park(self, command: ParkStream) -> None:
        """Raises AlreadyParked, AddressedWrongly."""
        if self.stream != parked_stream(command.reader, command.parked):
            raise AddressedWrongly(f"{command.reader} parks it in {parked_stream(command.reader, command.parked)}", "subject")
        if self.sequence is not None:
            if self.sequence != command.sequence:
                raise AlreadyParked(f"it waits from {self.sequence} on", "sequence")
            return
        self.record(StreamParked(**dict(command)))

    def redrive(self, command: Redrive) -> None:
        """Raises NotParked."""
        if self.sequence is None or command.sequence < self.sequence:
            raise NotParked(field="sequence")
        if self.redriven is None or self.redriven < command.sequence:
            self.record(StreamRedriven(**dict(command)))

    def confirm(self, command: ConfirmDrained) -> None:
        """Raises NotParked, StillFailing."""
        if self.sequence is None:
            raise NotParked
        if self.redriven is None or command.sequence < self.sequence:
            raise StillFailing(field="sequence")
        self.record(StreamDrained(sequence=command.sequence))

    def apply(self, event: OperationsEvent) -> None:
        match event:
            case StreamParked(sequence=sequence):
                self.sequence, self.redriven = sequence, None
            case StreamRedriven(sequence=sequence):
                self.redriven = sequence
            case StreamDrained():
                self.sequence, self.redriven = None, None
            case RebuildStarted() | ViewSwapped() | RebuildAbandoned() | VersionRetired():
                pass
            case WhatIfRun() | WindowReplayed() | RecordsExported() | ProfileDeclared():
                pass
            case _:
                assert_never(event)


@dataclass
class Run(Aggregate[OperationsEvent]):
    """One what-if, window or export. It is recorded once."""

    done: WhatIfRun | WindowReplayed | RecordsExported | None = None

    def what_if(self, command: RunWhatIf, actor: str) -> None:
        """Raises CutUnpublished, ParameterUnknown, AlreadyRun."""
        start, end = _cut(command.start), _cut(command.end)
        _refuse_unpublished(end)
        if any(next_ > end.get(shard, 0) for shard, next_ in start.items()):
            raise CutUnpublished("the end lies before the start", "end")
        names = [parameter.name for parameter in command.parameters]
        if len(set(names)) != len(names):
            raise ParameterUnknown(field="parameters")
        self._once(WhatIfRun(run_by=Did(actor), **dict(command)))

    def window(self, command: ReplayWindow, actor: str) -> None:
        """Raises GroupIsLive, AlreadyRun."""
        if command.group != window_group(self.id):
            raise GroupIsLive(f"this run reads as {window_group(self.id)}", "group")
        self._once(WindowReplayed(run_by=Did(actor), **dict(command)))

    def export(self, command: ExportRecords, actor: str) -> None:
        """Raises CutUnpublished, NotEntitled, AlreadyRun."""
        _refuse_unpublished(_cut(command.cut))
        if command.opened and command.purpose is None:
            raise NotEntitled(field="purpose")
        self._once(RecordsExported(run_by=Did(actor), **dict(command)))

    def _once(self, event: WhatIfRun | WindowReplayed | RecordsExported) -> None:
        try:
            Uuid.checked(self.id)
        except ValueError:
            raise AddressedWrongly(f"{self.stream} is not operations/run/<UUID>", "subject") from None
        if self.done is not None and self.done != event:
            raise AlreadyRun
        if self.done is None:
            self.record(event)

    def apply(self, event: OperationsEvent) -> None:
        match event:
            case WhatIfRun() | WindowReplayed() | RecordsExported():
                self.done = event
            case RebuildStarted() | ViewSwapped() | RebuildAbandoned() | VersionRetired():
                pass
            case StreamParked() | StreamRedriven() | StreamDrained() | ProfileDeclared():
                pass
            case _:
                assert_never(event)


@dataclass
class Declared(Aggregate[OperationsEvent]):
    """With what a deployment runs."""

    now: ProfileDeclared | None = None

    def declare(self, command: DeclareProfile, network: str) -> None:
        """Raises BelowFloor, AddressedWrongly."""
        if self.id != network:
            raise AddressedWrongly(f"this is operations/settings/{network}", "subject")
        event = ProfileDeclared(**dict(command))
        if self.now is not None and PROFILES.index(command.profile) < PROFILES.index(self.now.profile):
            raise BelowFloor(f"the profile is {self.now.profile}", "profile")
        if self.now != event:
            self.record(event)

    def apply(self, event: OperationsEvent) -> None:
        match event:
            case ProfileDeclared():
                self.now = event
            case RebuildStarted() | ViewSwapped() | RebuildAbandoned() | VersionRetired():
                pass
            case StreamParked() | StreamRedriven() | StreamDrained():
                pass
            case WhatIfRun() | WindowReplayed() | RecordsExported():
                pass
            case _:
                assert_never(event)


def _cut(places: tuple[ShardCut, ...]) -> dict[str, int]:
    return {place.shard: place.next for place in places}


def _refuse_unpublished(cut: Mapping[str, int]) -> None:
    for shard in cut:
        topic, _, partition = shard.rpartition("/")
        if not topic.endswith(".events") or not partition.isdigit():
            raise CutUnpublished(f"{shard[:80]} is no shard of an events topic", "cut")
