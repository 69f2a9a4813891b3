"""What is different between two positions, and which events made it so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Table

from adapters.replay.cuts import BadPosition, Cut, is_before, written
from adapters.replay.folding import Check, ScratchFold, unchecked
from adapters.replay.scratch import Scratch
from adapters.replay.sources import Source
from adapters.replay.watching import Cause, Touch
from adapters.views import Digest
from contracts import Record
from projections import Key, Row

Kind = Literal["added", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class Change:
    """A row that is not as it was. `causes` are the events that touched it between, the last of them decided how it is now."""

    table: str
    key: Key
    before: Row | None
    after: Row | None
    causes: tuple[Cause, ...]

    @property
    def kind(self) -> Kind:
        if self.before is None:
            return "added"
        return "gone" if self.after is None else "changed"

    @property
    def by(self) -> Cause:
        return self.causes[-1]

    @property
    def columns(self) -> list[str]:
        """The names of what is different, where the row is there before and after."""
        if self.before is None or self.after is None:
            return []
        return [name for name, value in self.after.items() if self.before.get(name) != value]


@dataclass(slots=True)
class _History:
    before: Row | None
    after: Row | None
    causes: list[Cause] = field(default_factory=list)


class Changes:
    """Listens to a fold and keeps, of every row that it touches, the first and the last form."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Table, Key], _History] = {}

    def __call__(self, record: Record, touches: Sequence[Touch]) -> None:
        cause = Cause.of(record)
        for touch in touches:
            row = self._rows.setdefault((touch.table, touch.key), _History(touch.before, touch.before))
            row.after = touch.after
            row.causes.append(cause)

    def found(self) -> list[Change]:
        """By table and key; rows that are again as they were are left out."""
        changes = [
            Change(table.name, key, row.before, row.after, tuple(row.causes))
            for (table, key), row in self._rows.items()
            if row.before != row.after
        ]
        return sorted(changes, key=lambda change: (change.table, tuple(map(str, change.key))))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two states of a projection: their cuts and digests, and the rows in which they differ."""

    first: Cut
    second: Cut
    first_digest: Digest
    second_digest: Digest
    events: int
    changes: list[Change]


async def difference(scratch: Scratch, source: Source, first: Cut, second: Cut, check: Check = unchecked) -> Difference:
    """Fold to the first position, then on to the second. Raises BadPosition where the second is not a later one."""
    if not is_before(first, second):
        later = next(shard for shard, next_ in sorted(first.items()) if next_ > second.get(shard, 0))
        raise BadPosition(
            f"--from is not before --to: {later} is at {first[later]} and then at {second.get(later, 0)} ({written(second)})"
        )
    fold, changes = ScratchFold(scratch, watch=True), Changes()
    await fold.fold(source, first, check=check)
    before, folded = fold.digest(), fold.events
    await fold.fold(source, second, check=check, saw=changes)
    return Difference(first, second, before, fold.digest(), fold.events - folded, changes.found())


@dataclass(frozen=True, slots=True)
class Reason:
    """One event's part in a row."""

    cause: Cause
    table: str
    key: Key
    before: Row | None
    after: Row | None


async def reasons(
    scratch: Scratch, source: Source, cut: Cut, key: Sequence[str], table: str | None = None, check: Check = unchecked
) -> list[Reason]:
    """Every event that changed a row whose primary key begins with these parts (as text), in order.

    The order is that of the shard for one row, and by (time, shard, sequence) among rows of several.
    """
    found: list[Reason] = []

    def saw(record: Record, touches: Sequence[Touch]) -> None:
        for touch in touches:
            if _matches(touch, key, table):
                found.append(Reason(Cause.of(record), touch.table.name, touch.key, touch.before, touch.after))  # noqa: PERF401

    await ScratchFold(scratch, watch=True).fold(source, cut, check=check, saw=saw)
    return sorted(found, key=lambda reason: (reason.cause.time, reason.cause.shard, reason.cause.sequence))


def _matches(touch: Touch, key: Sequence[str], table: str | None) -> bool:
    return (table is None or touch.table.name == table) and [str(part) for part in touch.key[: len(key)]] == list(key)
