"""The largest values that the language allows: of every event, every field."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from contracts import Command, Event, Record, id_type, languages
from tests.adapters.shards import KEY

WALLET_KEY = f"did:pkh:eip155:{'9' * 18}:0x{'a' * 40}"
UUID = "12345678-1234-7234-8234-123456789abc"
SAMPLES = (
    WALLET_KEY, KEY, f"0x{'f' * 40}", f"0x{'f' * 64}", "f" * 64, "f" * 32, "f" * 72, UUID, "DE",
    "2026-01-01T00:00:00.000000Z", "9" * 76, "2026-01-01", f"USDT.{'b' * 20}", "SPACE.evm", f"ed25519:{'A' * 86}",
    f"eip191:0x{'f' * 130}", f"{'s' * 52}.proof.{'f' * 32}", f"{'s' * 100}.downtime.1234567", f"{'w' * 108}.1",
    f"{'a' * 20}.0x{'f' * 40}.USDT.{'b' * 20}", f"0x{'f' * 40}.USDT.{'b' * 20}", f"{'k' * 20}/{'s' * 90}",
    f"a/{'b' * 120}/{'c' * 120}/{'d' * 6}", f"urn:spaceos:a.{'B' * 139}:999999", f"a.{'B' * 118}", f"{'a' * 57}.bb",
    f"name+12345678+{'A' * 286}", f"{'d' * 20}.{'r' * 98}", f"{'9' * 100}.{'_' * 19}", "{" + "x" * 15_998 + "}", "aaaaa",
    "network",
)  # fmt: skip
"""Of the forms of which no repetition of one character is. Of an amount less than the largest: views add them up."""


Pick = Callable[[str, Sequence[Any]], Any]
"""Chooses one of several forms ("form") or values ("value"), which are in the order of their size."""


def records() -> Iterator[tuple[Event, int, Record]]:
    """Every event of the language, with the largest values, in a stream of each kind that its context has."""
    for kind in languages():
        if issubclass(kind, Event):
            for choice in range(3):
                event = event_of(kind, lambda what, found, n=choice: found[n % len(found) if what == "form" else -1])
                for subject in subjects(kind.wire.context):
                    yield event, choice, Record(b"", _document(event, subject))


def event_of(kind: type[Event], pick: Pick) -> Event:
    """With the values that are picked. Raises ValidationError where they contradict each other."""
    schema = kind.model_json_schema(mode="validation")
    return kind.read(_value(schema, schema.get("$defs", {}), pick))


def subjects(context: str, pick: Pick = lambda _, found: found[-1]) -> list[str]:
    """A name of each kind of stream, the longest unless another is picked."""
    kinds = {kind.wire.stream: id_type(kind) for kind in languages() if issubclass(kind, Command)}
    mine = [(stream, kind) for stream, kind in kinds.items() if stream.startswith(f"{context}/")]
    return [f"{stream}/{pick('value', texts(kind.pattern, min(kind.max_length, 120)))}" for stream, kind in mine]


def texts(pattern: str | None, length: int | None, least: int = 0) -> list[str]:
    """Some of that form, in the order of their length."""
    # A field without any form takes over a command's, which has one.
    most = length or (10 if pattern is None else 5_000)
    repeated = [char * size for char in "\U00010348aA9f" for size in (1, most)]
    found = {text for text in ("", *SAMPLES, *repeated) if _fits(text, pattern, most, least)}
    return sorted(found, key=lambda text: (len(text), text))


def _fits(text: str, pattern: str | None, most: int, least: int) -> bool:
    return least <= len(text) <= most and (pattern is None or re.search(pattern, text) is not None)


def _value(schema: Mapping[str, Any], parts: Mapping[str, Any], pick: Pick) -> Any:
    if "$ref" in schema:
        return _value(parts[schema["$ref"].rpartition("/")[2]], parts, pick)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return pick("value", sorted(schema["enum"], key=lambda value: (len(str(value)), str(value))))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _value(pick("form", [form for form in schema[several] if form.get("type") != "null"]), parts, pick)
    match schema["type"]:
        case "string":
            return pick("value", texts(schema.get("pattern"), schema.get("maxLength"), schema.get("minLength", 0)))
        case "integer":
            least, most = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1), schema.get("maximum", 2**53)
            return pick("value", sorted({least, min(least + 1, most), most}))
        case "boolean":
            return pick("value", [False, True])
        case "array":
            forms = schema.get("prefixItems") or [schema["items"]] * max(1, schema.get("minItems", 0))
            return [_value(form, parts, pick) for form in forms]
        case "object":
            return _object(schema, parts, pick)
    raise ValueError(f"a field of a form that is not known here: {schema}")


def _object(schema: Mapping[str, Any], parts: Mapping[str, Any], pick: Pick) -> dict[str, Any]:
    fields, required = schema.get("properties", {}), schema.get("required", ())
    found = {
        name: _value(form, parts, pick) for name, form in fields.items() if name in required or pick("value", [False, True])
    }  # fmt: skip
    names = schema.get("propertyNames", {})
    for pattern, form in {
        **schema.get("patternProperties", {}),
        names.get("pattern"): schema.get("additionalProperties"),
    }.items():
        if isinstance(form, dict):
            found[pick("value", texts(pattern, names.get("maxLength", 20), 1))] = _value(form, parts, pick)
    return found


def _document(event: Event, subject: str) -> dict[str, Any]:
    return {
        "id": UUID, "source": WALLET_KEY, "type": event.wire.type, "subject": subject, "network": "n" * 40,
        "time": "9999-12-31T23:59:59.999999Z", "dataschema": event.wire.dataschema, "correlationid": UUID, "causationid": UUID,
        "shard": f"{event.wire.context}.events/{2**31}", "sequence": f"{2**63 - 1:020d}", "streamversion": 2**53,
        "prevhash": "f" * 64, "actor": WALLET_KEY, "commandhash": "f" * 64,
    }  # fmt: skip
