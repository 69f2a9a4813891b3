"""An event's columns: every attribute of its record, and the scalar fields of its data as the language declares them."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import orjson

from contracts import Event, UnknownType, event_class, instant

Kind = Literal["text", "integer", "flag", "time", "amount", "json"]
"""`amount` is a whole number of any size, which Parquet keeps as text; `json` is no scalar and has no column of its own."""

ATTRIBUTES: Final[Mapping[str, Kind]] = {
    "shard": "text", "sequence": "integer", "time": "time", "type": "text", "subject": "text", "streamversion": "integer",
    "id": "text", "source": "text", "actor": "text", "network": "text", "specversion": "text", "dataschema": "text",
    "correlationid": "text", "causationid": "text", "commandhash": "text", "prevhash": "text",
}  # fmt: skip
BESIDE: Final = ("signature", "data", "value")
"""Columns that are neither an attribute nor a field."""
_RESERVED: Final = frozenset({*ATTRIBUTES, *BESIDE})

# As Money writes whole numbers: no zero in front, perhaps a sign.
_AMOUNT = re.compile(r"\^-?\(0\|-?\[1-9\]\[0-9\]\{0,\d+\}\)\$")
_INT64 = 2**63


class Field(NamedTuple):
    """A field of an event's data: its name there, and the column in which it is."""

    name: str
    column: str
    kind: Kind


@lru_cache(maxsize=4096)
def fields_of(type: str) -> tuple[Field, ...]:
    """The fields of an event's newest version; none for a type that this code does not know."""
    try:
        schema = event_class(type).model_json_schema()
    except UnknownType:
        return ()
    parts = schema.get("$defs", {})
    return tuple(
        Field(name, f"data_{name}" if name in _RESERVED else name, _kind(part, parts))
        for name, part in schema.get("properties", {}).items()
    )


def scalars(document: Mapping[str, Any]) -> dict[str, Any]:
    """The record's own columns. A field that is not what the language says has none: then only `data` tells.

    Older data is first made into that of the newest version; of a newer one than this code knows nothing is guessed.
    """
    data = _newest(document)
    return {column: read(data.get(name)) for name, column, read in _readers(document["type"])}


@lru_cache(maxsize=4096)
def _readers(type: str) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    return tuple((field.name, field.column, _READ[field.kind]) for field in fields_of(type) if field.kind != "json")


def _newest(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = _language(document["type"], document["dataschema"])
    if found is None:
        return {}
    cls, version = found
    data = document["data"]
    try:
        for step in range(version, cls.wire.version):
            data = cls.wire.upcasters[step](dict(data))
    except Exception:
        # Whatever an unreadable event raises parks its stream; here it costs the event its columns.
        return {}
    return data if isinstance(data, dict) else {}


@lru_cache(maxsize=4096)
def _language(type: str, dataschema: str) -> tuple[type[Event], int] | None:
    name, _, version = dataschema.removeprefix("urn:spaceos:").rpartition(":")
    try:
        cls = event_class(type)
    except UnknownType:
        return None
    if name != type or not version.isdigit() or not 1 <= int(version) <= cls.wire.version:
        return None
    return cls, int(version)


def _kind(part: Mapping[str, Any], parts: Mapping[str, Any]) -> Kind:
    if "$ref" in part:
        return _kind(parts[part["$ref"].rpartition("/")[2]], parts)
    if "anyOf" in part:
        kinds: set[Kind] = {_kind(choice, parts) for choice in part["anyOf"] if choice.get("type") != "null"}
        return kinds.pop() if len(kinds) == 1 else "json"
    match part.get("type"):
        case "string":
            return _kind_of_text(part.get("pattern", ""))
        case "boolean":
            return "flag"
        case "integer":
            return "integer" if _fits(part) else "amount"
        case _:
            return "json"


def _kind_of_text(pattern: str) -> Kind:
    if _AMOUNT.fullmatch(pattern):
        return "amount"
    return "time" if pattern.startswith("^[0-9]{4}-[0-9]{2}-[0-9]{2}T") else "text"


def _fits(part: Mapping[str, Any]) -> bool:
    known = part.get("enum") or ([part["const"]] if "const" in part else None)
    least, greatest = (min(known), max(known)) if known else (part.get("minimum"), part.get("maximum"))
    return least is not None and greatest is not None and least >= -_INT64 and greatest < _INT64


def _text(value: Any) -> Any:
    return value if type(value) is str else None


def _integer(value: Any) -> Any:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _flag(value: Any) -> Any:
    return value if type(value) is bool else None


def _amount(value: Any) -> Any:
    return str(value) if type(value) is int else _text(value)


def _time(value: Any) -> Any:
    try:
        return timestamp(value)
    except (TypeError, ValueError):
        return None


_READ: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "text": _text, "integer": _integer, "flag": _flag, "amount": _amount, "time": _time,
}  # fmt: skip


def timestamp(text: str) -> str:
    """An RFC 3339 time in UTC as SQL writes it. Raises ValueError."""
    instant(text)
    return f"{text[:10]} {text[11:-1]}"


def json_text(data: Any) -> str:
    """Data as it stands in the record: what orjson wrote, it writes again."""
    return orjson.dumps(data).decode()
