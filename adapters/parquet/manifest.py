"""What an export says of itself: which part of the log it holds, its columns, and a digest of each file.

The digests tell a copy that lost or changed something. They are not signed: who wants proof exports with values, and holds
each record's signature, or its leaf, against the audit log.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from adapters.parquet.columns import Kind

NAME: Final = "manifest.json"
EVENTS: Final = "events"
_DIGEST = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_TYPE = r"[a-z][a-z0-9]*\.[A-Z][A-Za-z0-9]*"
_DAY = r"\d{4}-\d{2}-\d{2}"
_SHARD = r"[a-z][a-z0-9]*\.events"
_PATH = rf"^{EVENTS}/{_TYPE}/{_DAY}/{_SHARD}-\d+\.parquet$"
_NAME = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
_PARTS = tuple(map(re.compile, (_TYPE, _DAY, _SHARD + r"/\d+")))


class ExportDamaged(Exception):
    """The folder does not hold what its manifest says. The message names the file."""


class NotExportable(Exception):
    """The record's type, time or shard are not of the form of ours; a file's name is made of them."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stretch(_Strict):
    """Of one shard, the records `start <= sequence < end`."""

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    before: _DIGEST | None
    """`prevhash` of the first record; null of a stretch without any."""
    head: _DIGEST | None
    """SHA-256 of the last record's value."""


class File(_Strict):
    """Rows are in the order of their sequences, of which the first and the last are told."""

    path: Annotated[str, StringConstraints(pattern=_PATH)]
    type: Annotated[str, StringConstraints(pattern=rf"^{_TYPE}$")]
    first: int
    last: int
    rows: int
    size: int
    """In bytes."""
    sha256: _DIGEST


class Column(_Strict):
    """A field of a type's data; where its kind is `json`, it is found in `data` only."""

    name: _NAME
    column: _NAME
    kind: Kind


class Manifest(_Strict):
    """`manifest.json`. It follows from the records and the options, so that the same export has the same bytes."""

    format: Literal["spaceos-export/1"] = "spaceos-export/1"
    network: str
    duckdb: str
    """The version that wrote the files; another one may write other bytes."""
    values: bool
    """Whether the records' bytes are there, from which an audit log's leaves can be made."""
    verified: bool
    """Whether each record's signature was verified."""
    types: tuple[str, ...] | None
    """Null: all."""
    cut: Mapping[str, Stretch]
    columns: Mapping[Annotated[str, StringConstraints(pattern=rf"^{_TYPE}$")], tuple[Column, ...]]
    """By type, of those that occur."""
    files: tuple[File, ...]

    @property
    def events(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files, the manifest not counted."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """JSON that people can read, keys sorted."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def path_of(type: str, day: str, shard: str) -> str:
    """`events/<type>/<day>/<topic>-<partition>.parquet`. Raises NotExportable."""
    for part, form in zip((type, day, shard), _PARTS, strict=True):
        if not form.fullmatch(part):
            raise NotExportable(f"{part[:80]!r} is no type, day or shard of ours")
    return f"{EVENTS}/{type}/{day}/{shard.replace('/', '-')}.parquet"


def read_manifest(folder: Path) -> Manifest:
    """Raises ExportDamaged; FileNotFoundError where the folder is no export."""
    try:
        return Manifest.model_validate_json((folder / NAME).read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ExportDamaged(f"{folder / NAME}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def check_files(folder: Path, manifest: Manifest, *, digests: bool) -> None:
    """That exactly the manifest's files are there, and no links; with `digests`, byte for byte. Raises ExportDamaged."""
    said = {file.path: file for file in manifest.files}
    if len(said) != len(manifest.files):
        raise ExportDamaged(f"{folder / NAME} names a file twice")
    found = dict(_files(folder))
    if missing := said.keys() - found.keys():
        raise ExportDamaged(f"{folder / min(missing)} is missing")
    if surplus := found.keys() - said.keys():
        raise ExportDamaged(f"{folder / min(surplus)} is not in the manifest")
    for name, file in said.items():
        if found[name].stat().st_size != file.size or (digests and digest_of(found[name]) != file.sha256):
            raise ExportDamaged(f"{found[name]} has other bytes than the manifest says")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((folder / EVENTS).rglob("*")):
        # A link could lead out of the folder.
        if path.is_symlink():
            raise ExportDamaged(f"{path} is a link")
        if not path.is_dir():
            yield path.relative_to(folder).as_posix(), path
