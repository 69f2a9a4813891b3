"""What the language is on paper: JSON Schemas, AsyncAPI and test vectors, generated and compared with what is stored.

A stored schema is a promise. Within one version it may be widened and never narrowed; what breaks it needs a new version.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ops.contracts.asyncapi import asyncapi
from ops.contracts.compatibility import breaks
from ops.contracts.schemas import schemas
from ops.contracts.vectors import vectors

FOLDER = Path(__file__).resolve().parents[2] / "contracts"


class BreaksContract(ValueError):
    """The code says something else than a stored schema promised. The message says what, and what to do."""


def generated() -> dict[str, str]:
    """Every file that follows from the code: its path below `contracts/`, and its text."""
    found = {f"schemas/{name}.json": _json(schema) for name, schema in schemas().items()}
    found["asyncapi.yaml"] = asyncapi()
    found.update({f"vectors/{name}.json": _json(document) for name, document in vectors().items()})
    return found


def broken(folder: Path = FOLDER) -> Iterator[str]:
    """A line for every way in which the code breaks a stored schema."""
    now = schemas()
    versions = {name.rpartition(".")[0]: int(name.rpartition(".")[2]) for name in now}
    for path in sorted((folder / "schemas").glob("*.json")):
        name, _, version = path.stem.rpartition(".")
        stored = json.loads(path.read_bytes())
        if path.stem in now:
            yield from (f"{path.stem}: {line}" for line in breaks(stored, now[path.stem], is_event=_is_event(stored)))
        elif _is_event(stored) and versions.get(name, 0) < int(version):
            yield f"{path.stem}: an event that was promised is gone; what was recorded could not be read"


def differing(folder: Path = FOLDER) -> list[str]:
    """The stored files that are not what the code generates, missing ones included."""
    return [name for name, text in generated().items() if not _holds(folder / name, text)]


def write(folder: Path = FOLDER, *, may_break: bool = False) -> list[str]:
    """Store what the code generates; the names of the files that changed. Raises BreaksContract."""
    if not may_break and (lines := list(broken(folder))):
        raise BreaksContract("\n".join([*lines, "give the message a new version; what is stored was promised"]))
    changed = differing(folder)
    texts = generated()
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(texts[name], encoding="utf-8")
    return changed


def _is_event(stored: dict[str, object]) -> bool:
    return stored.get("x-kind") == "event"


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
