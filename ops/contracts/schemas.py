"""A JSON Schema for every version of every message, named as in a record's `dataschema`."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from contracts import Accepted, Command, Message, Rejected, Value, contexts, languages

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """`<context>.<Name>.<version>` to the schema of a record's `data`."""
    found = {f"{cls.wire.type}.{cls.wire.version}": _of_message(cls) for cls in [*languages(), *unheard()]}
    for context in contexts():
        for name, outcome in (("Accepted", Accepted), ("Refused", Rejected)):
            found[f"{context}.{name}.1"] = _schema(outcome, f"urn:spaceos:{context}.{name}:1", "outcome")
    return dict(sorted(found.items()))


def unheard() -> Iterator[type[Command]]:
    """Commands that no union names: signed facts on topics of their own, which a collector reads and no worker decides."""
    decided = set(languages())
    for context in contexts():
        for cls in vars(importlib.import_module(f"contracts.{context}")).values():
            if inspect.isclass(cls) and issubclass(cls, Command) and cls is not Command and cls not in decided:
                yield cls


def _of_message(cls: type[Message]) -> dict[str, Any]:
    kind = "command" if issubclass(cls, Command) else "event"
    schema = _schema(cls, cls.wire.dataschema, kind)
    if kind == "command":
        schema["x-roles"], schema["x-stream"] = list(cls.wire.roles), cls.wire.stream
    return schema


def _schema(cls: type[Value], name: str, kind: str) -> dict[str, Any]:
    schema = _without_titles(cls.model_json_schema())
    description = schema.pop("description", None)
    head = {"$schema": DIALECT, "$id": name, "title": name.removeprefix("urn:spaceos:").rpartition(":")[0]}
    return {**head, **({"description": description} if description else {}), "x-kind": kind, **schema}


def _without_titles(node: Any) -> Any:
    """pydantic titles every field with its own name in capitals, which says nothing."""
    if isinstance(node, dict):
        # A field may be called `title`; then its value is a schema and no text.
        return {key: _without_titles(item) for key, item in node.items() if not (key == "title" and isinstance(item, str))}
    return [_without_titles(item) for item in node] if isinstance(node, list) else node
