"""Zips that are the same wherever they are made: sorted names, fixed times, nothing compressed.

Stored, because two libraries deflate the same bytes differently; and because a reader then knows that no file is larger
than it looks.
"""

import os
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import orjson

FORMAT: Final = "spaceos-audit-pack/1"
MANIFEST: Final = "manifest.json"
_THE_BEGINNING = (1980, 1, 1, 0, 0, 0)


class _File(NamedTuple):
    offset: int
    size: int
    sha256: str


class Spool:
    """Files on their way into a zip. They wait in one temporary file beside it: their hashes stand before some of them."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._waiting = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115 - it closes in __exit__
        self._files: dict[str, _File] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._waiting.close()

    def add(self, name: str, content: bytes) -> None:
        """Once a name."""
        assert name not in self._files, name
        self._files[name] = _File(self._waiting.tell(), len(content), sha256(content).hexdigest())
        self._waiting.write(content)

    def finish(self, manifest: dict[str, Any]) -> str:
        """Write the zip whole or not at all. The manifest's SHA-256, hexadecimal."""
        listed = {name: {"sha256": file.sha256, "size": file.size} for name, file in self._files.items()}
        self.add(MANIFEST, document({**manifest, "format": FORMAT, "files": listed}))
        beside = self._target.with_name(self._target.name + ".part")
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
                for name in sorted(self._files):
                    zipped.writestr(_info(name), self._content(name))
            file.flush()
            os.fsync(file.fileno())
        beside.rename(self._target)
        _sync(self._target.parent)
        return self._files[MANIFEST].sha256

    def _content(self, name: str) -> bytes:
        file = self._files[name]
        self._waiting.seek(file.offset)
        return self._waiting.read(file.size)


def document(content: Any) -> bytes:
    """JSON for people and programs: keys sorted, indented."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _THE_BEGINNING)
    # Otherwise it would tell the system on which it was made.
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
