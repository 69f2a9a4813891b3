"""The largest values that the language allows: of every event, every field."""

import re
from collections.abc import Iterator, Mapping
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


def records() -> Iterator[tuple[Event, int, Record]]:
    """Every event of the language, with the largest values, in a stream of each kind that its context has."""
    for kind in languages():
        if issubclass(kind, Event):
            for choice in range(3):
                schema = kind.model_json_schema(mode="validation")
                event = kind.read(_value(schema, schema.get("$defs", {}), choice))
                for subject in subjects(kind.wire.context):
                    yield event, choice, Record(b"", _document(event, subject))


def subjects(context: str) -> list[str]:
    """The longest name of each kind of stream."""
    kinds = {kind.wire.stream: id_type(kind) for kind in languages() if issubclass(kind, Command)}
    return [f"{stream}/{longest(kind.pattern, kind.max_length)}" for stream, kind in kinds.items() if _of(stream) == context]


def longest(pattern: str | None, length: int | None, least: int = 0) -> str:
    """Raises ValueError where no sample has that form."""
    if pattern is None and length is None:
        # Such a field takes over a command's, which has a form.
        length = 10
    repeated = [char * (length or 5_000) for char in "\U00010348aA9f"]
    found = [text for text in (*SAMPLES, *repeated) if _fits(text, pattern, length, least)]
    return max(found, key=len)


def _fits(text: str, pattern: str | None, length: int | None, least: int) -> bool:
    return least <= len(text) <= (length or 5_000) and (pattern is None or re.search(pattern, text) is not None)


def _of(stream: str) -> str:
    return stream.partition("/")[0]


def _value(schema: Mapping[str, Any], parts: Mapping[str, Any], choice: int) -> Any:
    """The `choice` says which of several forms a field has."""
    if "$ref" in schema:
        return _value(parts[schema["$ref"].rpartition("/")[2]], parts, choice)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return max(schema["enum"], key=lambda value: (len(str(value)), str(value)))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            forms = [form for form in schema[several] if form.get("type") != "null"]
            return _value(forms[choice % len(forms)], parts, choice)
    match schema["type"]:
        case "string":
            return longest(schema.get("pattern"), schema.get("maxLength"), schema.get("minLength", 0))
        case "integer":
            return schema.get("maximum", 2**53)
        case "boolean":
            return True
        case "array":
            forms = schema.get("prefixItems") or [schema["items"]] * max(1, schema.get("minItems", 0))
            return [_value(form, parts, choice) for form in forms]
        case "object":
            return _object(schema, parts, choice)
    raise ValueError(f"a field of a form that is not known here: {schema}")


def _object(schema: Mapping[str, Any], parts: Mapping[str, Any], choice: int) -> dict[str, Any]:
    found = {name: _value(form, parts, choice) for name, form in schema.get("properties", {}).items()}
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        named = schema.get("propertyNames", {})
        found[longest(named.get("pattern"), named.get("maxLength", 20))] = _value(more, parts, choice)
    for pattern, form in schema.get("patternProperties", {}).items():
        found[longest(pattern, schema.get("propertyNames", {}).get("maxLength", 20))] = _value(form, parts, choice)
    return found


def _document(event: Event, subject: str) -> dict[str, Any]:
    return {
        "id": UUID, "source": WALLET_KEY, "type": event.wire.type, "subject": subject, "network": "n" * 40,
        "time": "9999-12-31T23:59:59.999999Z", "dataschema": event.wire.dataschema, "correlationid": UUID, "causationid": UUID,
        "shard": f"{event.wire.context}.events/{2**31}", "sequence": f"{2**63 - 1:020d}", "streamversion": 2**53,
        "prevhash": "f" * 64, "actor": WALLET_KEY, "commandhash": "f" * 64,
    }  # fmt: skip
