"""The language: closed unions, versions that are read for ever, and a schema that says what the code does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import contracts._language as language
from contracts import Count, Event, UnknownType, UnknownVersion, command_class, contexts, event_class, languages, read_event
from contracts.identity import KeyRevoked, ProposeKey, RevokeKey
from ops.contracts.schemas import schemas


def test_every_name_on_the_wire_is_one_class() -> None:
    names = [cls.wire.type for cls in languages()]

    assert len(names) == len(set(names))
    assert {name.partition(".")[0] for name in names} == set(contexts())


@pytest.mark.parametrize(
    "name", ["identity.Abdicate", "nobody.Found", "", ".", "identity.", "identity.RoleGrant", "_record.Command"]
)
def test_what_no_union_names_does_not_exist(name: str) -> None:
    """A class that merely stands in the module cannot be sent."""
    for find in (command_class, event_class):
        with pytest.raises(UnknownType):
            find(name)


def test_a_command_is_no_event_and_an_event_no_command() -> None:
    assert command_class("identity.RevokeKey") is RevokeKey
    assert event_class("identity.KeyRevoked") is KeyRevoked
    with pytest.raises(UnknownType):
        event_class("identity.RevokeKey")
    with pytest.raises(UnknownType):
        command_class("identity.KeyRevoked")


# Versions


class Measured(Event, version=3):
    """Of its third version: what was `size` in metres became `height`, then millimetres."""

    height_millimetres: Count

    @staticmethod
    def upcast_1(data: dict[str, Any]) -> dict[str, Any]:
        return {"height": data["size"]}

    @staticmethod
    def upcast_2(data: dict[str, Any]) -> dict[str, Any]:
        return {"height_millimetres": data["height"] * 1_000}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name on the wire, as if it were a context's."""
    monkeypatch.setattr(language, "event_class", lambda name: Measured)
    language._event_schema.cache_clear()
    return "urn:spaceos:test.Measured"


@pytest.mark.parametrize(("version", "data"), [(1, {"size": 2}), (2, {"height": 2}), (3, {"height_millimetres": 2_000})])
def test_an_event_of_every_version_is_read_as_the_newest(measured: str, version: int, data: dict[str, Any]) -> None:
    """And what was read is left as it was: it is what was signed."""
    document = {"dataschema": f"{measured}:{version}", "data": dict(data)}

    assert read_event(document) == Measured(height_millimetres=2_000)
    assert document["data"] == data


def test_an_event_of_a_version_to_come_is_never_guessed(measured: str) -> None:
    with pytest.raises(UnknownVersion, match="up to version 3, this is 4"):
        read_event({"dataschema": f"{measured}:4", "data": {"height_millimetres": 1}})


def test_a_version_that_cannot_be_read_any_more_is_found_at_once() -> None:
    with pytest.raises(TypeError, match="cannot upcast version 1"):

        class Forgotten(Event, version=2):
            """Nobody wrote how its first version is read."""


# What the schema says, the code does

BODIES = {
    ProposeKey: {
        "key": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "roles": [{"role": "providers.gpu", "prefix": "providers/"}],
        "held_by": "Bob",
        "not_after": "2027-11-01T00:00:00Z",
        "proof": "ed25519:" + "A" * 86,
    },
    RevokeKey: {"reason": "retired", "suspected_since": "2026-11-01T00:00:00.000001Z"},
}
SCHEMAS = schemas()
STRANGE = st.sampled_from(
    [None, True, 0, -1, 2**53, "", "x", " ", "é", "2026-02-01T00:00:00", "2026-01-01T00:00:00Z", [], {}, [None], ["x"],
     "x" * 201, [{"role": "a.b", "prefix": ""}], [{"role": "a.b", "prefix": "a"}] * 17, "did:key:z6Mk", "retired", "\n"]
)  # fmt: skip


@pytest.mark.parametrize("command", BODIES, ids=lambda cls: cls.__name__)
@given(st.data())
def test_what_the_schema_allows_is_read_and_nothing_else(command: Any, data: st.DataObject) -> None:
    """A client that checks against the published schema is not surprised. An independent validator is the witness."""
    body = dict(BODIES[command])
    for name in data.draw(st.sets(st.sampled_from([*body, "more"]), max_size=2)):
        body[name] = data.draw(STRANGE)
    for name in data.draw(st.sets(st.sampled_from(list(BODIES[command])), max_size=1)):
        body.pop(name, None)

    try:
        command.read(body)
        is_read = True
    except ValidationError:
        is_read = False

    schema = SCHEMAS[f"{command.wire.type}.{command.wire.version}"]
    assert Draft202012Validator(schema).is_valid(body) is is_read, json.dumps(body)


@pytest.mark.parametrize("message", list(languages()), ids=lambda cls: cls.wire.type)
def test_a_message_forbids_what_it_does_not_name(message: Any) -> None:
    with pytest.raises(ValidationError, match="nobody_says_this"):
        message.read({"nobody_says_this": 1})
