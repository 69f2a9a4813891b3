"""The compatibility check itself: what widens passes, what narrows is named."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contracts import languages
from ops.contracts import BreaksContract, broken, differing, write
from ops.contracts.compatibility import breaks
from ops.contracts.schemas import schemas

STORED: dict[str, Any] = {
    "$defs": {"Part": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 9}}, "required": ["size"]}},
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "maxLength": 10, "pattern": "^a"},
        "kind": {"enum": ["hot", "cold"], "type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "minItems": 1},
        "note": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}], "default": None},
    },
    "required": ["name", "kind", "parts"],
    "x-roles": ["a.b", "a.c"],
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """The stored schema with one place replaced; `...` removes it."""
    schema = deepcopy(STORED)
    node = schema
    for name in path[:-1]:
        node = node[name]
    if to is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return schema


WIDER = {
    "a new optional field": changed("properties", "more", to={"type": "string"}),
    "a longer text": changed("properties", "name", "maxLength", to=11),
    "no limit": changed("properties", "name", "maxLength", to=...),
    "one word more": changed("properties", "kind", "enum", to=["hot", "cold", "mild"]),
    "any word": changed("properties", "kind", "enum", to=...),
    "fewer items needed": changed("properties", "parts", "minItems", to=0),
    "a larger number in a part": changed("$defs", "Part", "properties", "size", "maximum", to=10),
    "one alternative more": changed(
        "properties", "note", "anyOf", to=[{"type": "integer"}, {"type": "null"}, {"type": "string", "maxLength": 5}]
    ),
    "another description": changed("description", to="Something else."),
    "one role more": changed("x-roles", to=["a.b", "a.c", "a.d"]),
}
NARROWER = {
    "a field is gone": changed("properties", "note", to=...),
    "a new field is required": changed("required", to=["name", "kind", "parts", "note"]),
    "another type": changed("properties", "name", "type", to="integer"),
    "a shorter text": changed("properties", "name", "maxLength", to=9),
    "a pattern changed": changed("properties", "name", "pattern", to="^[ab]"),
    "a pattern is new": changed("properties", "kind", "pattern", to="^h"),
    "a word is gone": changed("properties", "kind", "enum", to=["hot"]),
    "more items needed": changed("properties", "parts", "minItems", to=2),
    "a limit is new": changed("properties", "parts", "maxItems", to=100),
    "a smaller number in a part": changed("$defs", "Part", "properties", "size", "maximum", to=8),
    "a part's field is new and required": changed("$defs", "Part", "required", to=["size", "weight"]),
    "items of another type": changed("properties", "parts", "items", to={"type": "string"}),
    "an alternative is gone": changed("properties", "note", "anyOf", to=[{"type": "string", "maxLength": 5}]),
    "an alternative is narrower": changed(
        "properties", "note", "anyOf", to=[{"type": "string", "maxLength": 4}, {"type": "null"}]
    ),
    "no alternatives any more": changed("properties", "note", to={"type": "string", "maxLength": 5}),
    "unknown fields allowed": changed("additionalProperties", to=True),
    "a role is gone": changed("x-roles", to=["a.b"]),
}


@pytest.mark.parametrize("is_event", [True, False])
@pytest.mark.parametrize("schema", WIDER.values(), ids=WIDER)
def test_what_widens_passes(schema: dict[str, Any], is_event: bool) -> None:
    assert list(breaks(STORED, schema, is_event=is_event)) == []


@pytest.mark.parametrize("is_event", [True, False])
@pytest.mark.parametrize("schema", NARROWER.values(), ids=NARROWER)
def test_what_narrows_is_named_with_its_place(schema: dict[str, Any], is_event: bool) -> None:
    lines = list(breaks(STORED, schema, is_event=is_event))

    assert lines
    assert all(line.startswith("data") for line in lines)


def test_a_field_that_was_always_in_an_event_stays_in_it() -> None:
    """A reader that knows only the stored schema relies on it; of a command nobody but us is the reader."""
    schema = changed("required", to=["name", "kind"])

    assert list(breaks(STORED, schema, is_event=True)) == ["data.parts: the field was always there and became optional"]
    assert list(breaks(STORED, schema, is_event=False)) == []


def test_every_schema_of_ours_takes_its_own_place() -> None:
    for schema in schemas().values():
        assert list(breaks(schema, deepcopy(schema), is_event=schema["x-kind"] == "event")) == []


def documents(schema: dict[str, Any]) -> list[Any]:
    """Some values at the edge of what a schema allows."""
    parts = [[], [{"size": 9}], [{"size": 10}], [{"size": 9}, {}], ["x"], [{"size": 1}] * 101]
    names, kinds, notes = ["a", "a" * 10, "a" * 11, "b", 1], ["hot", "cold", "x"], [None, "12345", "123456", 1]
    bodies = [{"name": n, "kind": k, "parts": p} for n in names for k in kinds for p in parts]
    return [*bodies, *({**bodies[1], "note": note} for note in notes), {**bodies[1], "more": "x"}]


@pytest.mark.parametrize("schema", WIDER.values(), ids=WIDER)
def test_what_passes_takes_everything_that_was_allowed(schema: dict[str, Any]) -> None:
    """An independent validator is the witness."""
    was, now = Draft202012Validator(STORED), Draft202012Validator(schema)

    assert [document for document in documents(STORED) if was.is_valid(document) and not now.is_valid(document)] == []


@given(st.sampled_from(list(NARROWER)), st.sampled_from(list(WIDER)))
def test_a_break_is_not_hidden_by_what_widens_elsewhere(narrow: str, wide: str) -> None:
    """Both changes at once, where they touch different places."""
    both = deepcopy(NARROWER[narrow])
    for name, item in WIDER[wide].items():
        if item != STORED.get(name) and both.get(name) == STORED.get(name):
            both[name] = item

    assert list(breaks(STORED, both, is_event=False))


def test_a_promise_that_breaks_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "schemas" / "identity.RevokeKey.1.json"
    stored = json.loads(path.read_bytes())
    stored["properties"]["witness"] = {"type": "string"}
    path.write_text(json.dumps(stored))

    with pytest.raises(BreaksContract, match=r"identity\.RevokeKey\.1: data\.witness: the field is gone"):
        write(tmp_path)

    assert differing(tmp_path) == ["schemas/identity.RevokeKey.1.json"]
    assert write(tmp_path, may_break=True) == ["schemas/identity.RevokeKey.1.json"]


def test_an_event_that_was_promised_may_not_go(tmp_path: Path) -> None:
    """What was recorded must be readable for ever; a command may go."""
    write(tmp_path)
    for kind in ("event", "command"):
        (tmp_path / "schemas" / f"identity.Old{kind}.1.json").write_text(json.dumps({"x-kind": kind}))

    assert [line.partition(":")[0] for line in broken(tmp_path)] == ["identity.Oldevent.1"]


def test_an_earlier_version_stays_beside_a_later_one(tmp_path: Path) -> None:
    """Its records are still there, and upcast."""
    write(tmp_path)
    now = json.loads((tmp_path / "schemas" / "identity.KeyRevoked.1.json").read_bytes())
    (tmp_path / "schemas" / "identity.KeyRevoked.0.json").write_text(json.dumps(now))

    assert list(broken(tmp_path)) == []


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    return schemas()


@pytest.mark.parametrize("message", list(languages()), ids=lambda cls: cls.wire.type)
def test_a_schema_of_ours_is_a_json_schema(message: Any, ours: dict[str, Any]) -> None:
    schema = ours[f"{message.wire.type}.{message.wire.version}"]

    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == message.wire.dataschema
    assert schema["additionalProperties"] is False
