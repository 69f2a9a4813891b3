"""What the log is told of its own language: each event's schema by digest, how long it is kept, which fields are sealed."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from contracts import Event, languages
from contracts.audit import PublishSchema
from ops.contracts.schemas import schemas


def publications() -> Iterator[tuple[PublishSchema, str]]:
    """A command and its stream for every event's newest version."""
    known = schemas()
    for cls in languages():
        if issubclass(cls, Event):
            schema = known[f"{cls.wire.type}.{cls.wire.version}"]
            given = {
                "urn": cls.wire.dataschema, "digest": digest_of(schema), "retention_class": cls.wire.retention,
                "sealed_fields": list(_sealed(schema, schema, "")),
            }  # fmt: skip
            yield PublishSchema.read(given), f"audit/schema/{cls.wire.type}"


def digest_of(schema: dict[str, Any]) -> str:
    """SHA-256 over the schema as JSON with sorted keys and no spaces, hexadecimal."""
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sealed(node: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    """The fields, with dots between, that may hold a Sealed."""
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name == "Sealed":
            yield path
        else:
            yield from _sealed(schema["$defs"][name], schema, path)
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _sealed(choice, schema, path)
    for name, field in node.get("properties", {}).items():
        yield from _sealed(field, schema, f"{path}.{name}" if path else name)
    yield from _sealed(node.get("items"), schema, path)
