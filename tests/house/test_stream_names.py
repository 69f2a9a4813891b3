"""A stream's name is checked to its type where a command is taken in: what comes from a name is an id like any other."""

import json

import pytest

from contracts import Command, StreamId, id_type, is_policy, languages, partition_of
from ops.worker.checking import Door
from tests.worker.world import NETWORK, Incoming, alice, resigned

COMMANDS = [cls for cls in languages() if issubclass(cls, Command)]
COMPARED = {
    # The rule compares the name with what the command or the network says, or it is a label of its own.
    "audit/class", "audit/erasure", "audit/hold", "audit/log", "audit/reads", "audit/schema", "audit/shard",
    "identity/network", "liveness/epoch", "operations/parked", "operations/settings", "rewards/emission", "rewards/position",
    "treasury/account", "treasury/adjustment",
}  # fmt: skip
JUNK = ("b:ad", "-", "x" * 120, "no UUID".replace(" ", "+"), "a@b")


def refusal(kind: type[Command], name: str) -> str | None:
    """Of a command with that stream's name; its data is none, and is looked at afterwards."""
    subject = f"{kind.wire.stream}/{name}"
    document = {
        "specversion": "1.0", "id": "00000000-0000-7000-8000-000000000000", "source": alice.did, "type": kind.wire.type,
        "subject": subject, "time": "2026-11-24T00:00:00.000000Z", "dataschema": kind.wire.dataschema, "network": NETWORK,
        "data": {},
    }  # fmt: skip
    sent = resigned(json.dumps(document, separators=(",", ":")).encode(), subject)
    door = Door(kind.wire.context, partition_of(subject, 1), 1, NETWORK)
    problem = door.check(Incoming(0, sent.key, sent.value, sent.headers)).problem
    return None if problem is None else problem.field


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.wire.type)
def test_what_is_no_id_of_the_kind_is_refused_at_the_door(kind: type[Command]) -> None:
    """An offer named `b:ad` was signed, and stopped a model's inference; a request that is no UUID nobody could read."""
    named = id_type(kind)
    wrong = [name for name in JUNK if not named.fits(name)]

    assert [refusal(kind, name) for name in wrong] == ["subject"] * len(wrong)
    assert wrong or kind.wire.stream in COMPARED or not issubclass(named, StreamId)


def test_a_kind_of_stream_has_a_type_of_its_own_or_is_compared() -> None:
    untyped = {kind.wire.stream for kind in COMMANDS if not is_policy(kind) and id_type(kind) is StreamId}

    assert untyped <= COMPARED
