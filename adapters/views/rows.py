"""A table's rows in memory: what the fold reads and writes, and what has to be written to SQL at the end of the chunk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table

from projections import Key, Row

Entry = Any
"""A row, None where it is known that there is none, or UNREAD."""

UNREAD: Final = object()


class WrongColumns(ValueError):
    """A projection put a row that has other columns than its table."""


@dataclass(slots=True)
class Changes:
    """What a chunk did to one table. `unsure` are rows that were put unseen: they may exist or not."""

    new: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    unsure: list[Row] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.unsure or self.gone)


class Rows:
    """One table's rows, as one shard's fold sees them.

    Two generations of a cache, so that forgetting the oldest costs nothing per access. `complete` means that every row
    that the shard ever wrote is here, so that a miss needs no SELECT.
    """

    __slots__ = ("_columns", "_complete", "_key", "_limit", "_older", "_read", "_recent", "_stored", "_undo", "table")

    def __init__(
        self, table: Table, read: Callable[[Table, Key], Row | None], undo: list[tuple["Rows", Key, Entry]], limit: int
    ) -> None:
        self.table = table
        self._read, self._undo, self._limit = read, undo, limit
        self._key = key_of(table)
        self._columns = frozenset(column.name for column in table.columns)
        self.forget()

    def forget(self, *, complete: bool = False) -> None:
        self._recent: dict[Key, Entry] = {}
        self._older: dict[Key, Entry] = {}
        # Of every row written since the last flush: what the database holds.
        self._stored: dict[Key, Entry] = {}
        self._complete = complete

    def get(self, key: Key) -> Row | None:
        row = self._recent.get(key, UNREAD)
        if row is UNREAD:
            row = self._known(key)
            if row is UNREAD:
                row = self._read(self.table, key)
            self._recent[key] = row
        return row  # type: ignore[no-any-return]

    def put(self, row: Row) -> None:
        if row.keys() != self._columns:
            odd = sorted(row.keys() ^ self._columns)
            raise WrongColumns(f"a row of {self.table.name} has all its columns and no others; look at {', '.join(odd)}")
        self._write(self._key(row), row)

    def change(self, key: Key, values: Mapping[str, Any]) -> None:
        row = self.get(key)
        if row is None:
            raise KeyError(f"{self.table.name} has no row {key}")
        if not values.keys() <= self._columns:
            raise WrongColumns(f"{self.table.name} has no column {min(values.keys() - self._columns)}")
        self._write(key, {**row, **values})

    def delete(self, key: Key) -> None:
        self._write(key, None)

    def undo(self, key: Key, before: Entry) -> None:
        """Put back what a write found."""
        if before is UNREAD:
            del self._recent[key]
        else:
            self._recent[key] = before

    @property
    def has_changes(self) -> bool:
        """Whether anything was written since the last flush, be it what was there."""
        return bool(self._stored)

    def changes(self) -> Changes:
        """What to write. Nothing is forgotten until `settle`."""
        found = Changes()
        recent = self._recent
        for key, stored in self._stored.items():
            row = recent.get(key, UNREAD)
            if row is stored or row is UNREAD:
                continue
            if row is None:
                found.gone.append(key)
            elif stored is None:
                found.new.append(row)
            elif stored is UNREAD:
                found.unsure.append(row)
            else:
                found.changed.append(row)
        return found

    def settle(self) -> None:
        """The changes are in the database."""
        self._stored.clear()
        if len(self._recent) > self._limit:
            self._complete = self._complete and not self._older
            self._older, self._recent = self._recent, {}

    def _write(self, key: Key, row: Entry) -> None:
        before = self._recent.get(key, UNREAD)
        if before is UNREAD:
            before = self._known(key)
        if key not in self._stored:
            self._stored[key] = before
        self._undo.append((self, key, before))
        self._recent[key] = row

    def _known(self, key: Key) -> Entry:
        row = self._older.get(key, UNREAD)
        return None if row is UNREAD and self._complete else row


def key_of(table: Table) -> Callable[[Row], Key]:
    """From a row to its primary key."""
    return getter([column.name for column in table.primary_key.columns])


def getter(names: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """From a row to some of its values, always a tuple."""
    if len(names) > 1:
        return itemgetter(*names)
    (name,) = names
    return lambda row: (row[name],)
