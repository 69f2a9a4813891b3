"""An export, opened for questions in SQL."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.parquet import duck
from adapters.parquet.manifest import Manifest, check_files, read_manifest
from adapters.parquet.questions import QueryRefused, explained, judge
from adapters.parquet.views import useful_of, views_of

__all__ = ["Answer", "Opened", "QueryFailed", "QueryRefused", "open_export"]


class QueryFailed(Exception):
    """DuckDB says no: a name that there is not, a file outside the folder, too little memory. The message is its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows are read as they are asked for. Amounts (BIGNUM) are text, times naive and in UTC."""

    columns: Sequence[str]
    types: Sequence[str]
    rows: Iterator[tuple[Any, ...]]


class Opened:
    """Views over an export's files, in a database that can do nothing but read them."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._locked = duck.Locked()
        self.views: list[str] = []
        for view, query in views_of(folder, manifest):
            self._locked.define(view, query)
            self.views.append(view)
        for view, query in useful_of(manifest):
            # An export of another version may lack a column, and is still to be read.
            with suppress(duck.Failed):
                self._locked.define(view, query)
                self.views.append(view)
        self._locked.lock(folder)

    def query(self, sql: str) -> Answer:
        """Raises QueryRefused, QueryFailed. The rows of an earlier answer that were not read yet are lost."""
        try:
            judge(self._locked.tree(explained(sql)))
            described, rows = self._locked.run(sql)
        except duck.Failed as error:
            raise QueryFailed(str(error)) from None
        return Answer([column for column, _ in described], [kind for _, kind in described], _told(rows))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows at once."""
        return list(self.query(sql).rows)

    def close(self) -> None:
        self._locked.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_export(folder: Path | str, *, trust: bool = False) -> Opened:
    """Open an export that is what its manifest says; `trust` does not read all of it to compare the digests.

    Raises ExportDamaged, NameIsPattern, and FileNotFoundError for a folder that is no export.
    """
    where = duck.plain(Path(folder).resolve())
    manifest = read_manifest(where)
    check_files(where, manifest, digests=not trust)
    return Opened(where, manifest)


def _told(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    try:
        yield from rows
    except duck.Failed as error:
        raise QueryFailed(str(error)) from None
