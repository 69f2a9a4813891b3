"""Writing an export: records are spooled as they come, and each spool becomes one Parquet file.

Memory is bounded: a few megabytes of spooled lines, and DuckDB's of one row group. The folder appears under its name when all
of it is there.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final, Self

import orjson

from adapters.parquet import duck
from adapters.parquet.chain import Chain
from adapters.parquet.columns import ATTRIBUTES, Kind, fields_of, json_text, scalars, timestamp
from adapters.parquet.manifest import NAME, Column, File, Manifest, NotExportable, Stretch, digest_of, path_of

SPOOLED_BYTES: Final = 8 * 1024 * 1024
"""Lines that wait in memory, of all files of a shard together."""


class FolderTaken(Exception):
    """There is something in the folder already. An export never adds to another one."""


def assert_free(folder: Path) -> None:
    """That an export can be written there. Raises FolderTaken, NameIsPattern."""
    duck.plain(folder.absolute())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderTaken(f"{folder} is not empty; an export is written into a folder of its own")


class Writer:
    """One export, written beside its folder and renamed at the end; left without `finish`, nothing remains."""

    def __init__(self, folder: Path, network: str, *, values: bool = False, verified: bool = False) -> None:
        """Raises FolderTaken, NameIsPattern."""
        assert_free(folder)
        self._folder = folder.absolute()
        self._partial = self._folder.with_name(f".{folder.name}.{token_hex(4)}.partial")
        self._network, self._values, self._verified = network, values, verified
        self._shards: list[ShardWriter] = []

    def __enter__(self) -> Self:
        self._partial.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    def shard(self, shard: str, start: int) -> "ShardWriter":
        """A writer for the shard's records from `start` on."""
        spool = self._partial / f"spool-{len(self._shards)}"
        self._shards.append(ShardWriter(self._partial, spool, Chain(shard, self._network, start), self._values))
        return self._shards[-1]

    def finish(self, types: Collection[str] | None = None) -> Manifest:
        """Write the manifest and give the folder its name. `types` are those that were asked for."""
        files = sorted((file for shard in self._shards for file in shard.files), key=lambda file: file.path)
        manifest = Manifest(
            network=self._network, duckdb=duck.VERSION, values=self._values, verified=self._verified,
            types=None if types is None else tuple(sorted(types)), files=tuple(files),
            cut={shard.chain.shard: shard.stretch() for shard in sorted(self._shards, key=lambda s: s.chain.shard)},
            columns={name: tuple(Column(**f._asdict()) for f in fields_of(name)) for name in sorted({f.type for f in files})},
        )  # fmt: skip
        (self._partial / NAME).write_bytes(manifest.encode())
        os.replace(self._partial, self._folder)
        return manifest


@dataclass(slots=True)
class _Spool:
    """The lines of one file to be."""

    file: Path
    first: int
    last: int = 0
    rows: int = 0
    size: int = 0
    lines: list[bytes] = field(default_factory=list)

    def add(self, sequence: int, line: bytes) -> None:
        self.last, self.rows, self.size = sequence, self.rows + 1, self.size + len(line)
        self.lines.append(line)

    def flush(self) -> None:
        with self.file.open("ab") as file:
            file.writelines(self.lines)
        self.lines.clear()


class ShardWriter:
    """One shard of an export: `take` its records in their order, then `finish`, which may run in a thread of its own."""

    def __init__(self, folder: Path, spool: Path, chain: Chain, values: bool) -> None:
        self._folder, self._spool, self._values = folder, spool, values
        self.chain = chain
        self.files: list[File] = []
        self._spools: dict[tuple[str, str], _Spool] = {}
        self._waiting = 0

    def take(self, value: bytes, signature: str, types: Collection[str] | None = None) -> None:
        """The next record; of another type than these it is only followed. Raises ChainBroken, NotExportable."""
        document = self.chain.take(value)
        if document is None or (types is not None and document["type"] not in types):
            return
        line = orjson.dumps(self._row(document, value, signature), option=orjson.OPT_APPEND_NEWLINE)
        self._spool_of(document).add(self.chain.next - 1, line)
        self._waiting += len(line)
        if self._waiting > SPOOLED_BYTES:
            self._flush()

    def finish(self) -> None:
        """Turn what was spooled into files."""
        self._flush()
        for (event, day), spool in sorted(self._spools.items()):
            name = path_of(event, day, self.chain.shard)
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            columns: dict[str, Kind] = {f.column: f.kind for f in fields_of(event) if f.kind != "json"}
            duck.write(spool.file, path, {**ATTRIBUTES, **columns}, self._values, spool.rows, spool.size)
            spool.file.unlink()
            self.files.append(
                File(
                    path=name, type=event, first=spool.first, last=spool.last, rows=spool.rows,
                    size=path.stat().st_size, sha256=digest_of(path),
                )
            )  # fmt: skip
        if self._spools:
            self._spool.rmdir()

    def stretch(self) -> Stretch:
        """What was taken."""
        chain, is_empty = self.chain, self.chain.before is None
        return Stretch(
            start=chain.start, end=max(chain.next, chain.start), before=chain.before, head=None if is_empty else chain.head
        )

    def _row(self, document: Mapping[str, Any], value: bytes, signature: str) -> dict[str, Any]:
        row = {name: document[name] for name in ATTRIBUTES}
        try:
            row["sequence"], row["time"] = self.chain.next - 1, timestamp(document["time"])
        except ValueError as error:
            raise NotExportable(f"{self.chain.shard} {self.chain.next - 1}: {error}") from None
        row["signature"], row["data"] = signature, json_text(document["data"])
        row.update(scalars(document))
        if self._values:
            row["value"] = value.decode()
        return row

    def _spool_of(self, document: Mapping[str, Any]) -> _Spool:
        key = document["type"], document["time"][:10]
        if key not in self._spools:
            path_of(*key, self.chain.shard)
            self._spools[key] = _Spool(self._spool / str(len(self._spools)), self.chain.next - 1)
        return self._spools[key]

    def _flush(self) -> None:
        if self._spools:
            self._spool.mkdir(exist_ok=True)
        for spool in self._spools.values():
            if spool.lines:
                spool.flush()
        self._waiting = 0
