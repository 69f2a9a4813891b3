"""A bad record harms only itself: it is refused with its reason, under its own name or under its place, and changes nothing."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from adapters.keys import Signer, verify
from contracts import Command, Digest, id_type, languages, uuid7
from contracts.identity import ApproveKey, WithdrawRole
from ops.worker.checking import Door
from tests.worker.world import (
    NETWORK,
    PARTITIONS,
    Incoming,
    World,
    alice,
    bob,
    carol,
    dave,
    partition_of,
    propose,
    resigned,
    revoke,
    signed,
    someone,
    stranger,
    stream_of,
    writer,
)

new = someone(1)


def test_the_same_bytes_again_have_one_outcome_which_is_repeated(world: World) -> None:
    """A client that does not know whether it was heard sends again."""
    sent = propose(new)
    world.publish(sent, sent)
    worker = world.worker()

    worker.work()
    world.publish(sent)
    worker.work()

    assert world.refusal(sent) is None
    assert world.types(new) == ["KeyProposed", "KeyRegistered"]
    assert world.repeats() == 2


def test_other_bytes_under_a_used_id_are_a_conflict_and_the_first_stands(world: World) -> None:
    first = propose(new)
    second = propose(new, prefix="providers/other", id=first.id)
    world.publish(first, second)
    worker = world.worker()

    worker.work()
    world.publish(second)
    worker.work()

    conflicts = [o for o in world.outcomes() if o["data"].get("refusal", {}).get("name") == "Conflict"]
    assert world.refusal(first) is None
    assert [o["data"]["refusal"]["field"] for o in conflicts] == ["id", "id"]
    assert world.types(new) == ["KeyProposed", "KeyRegistered"]


def test_an_id_that_another_key_used_first_harms_nobody(world: World) -> None:
    """Ids are each source's own: nobody can use up another's."""
    taken = uuid7(1, b"x" * 10)
    theirs, ours = propose(someone(2), by=stranger, id=taken), propose(new, id=taken)
    world.publish(theirs, ours)

    world.worker().work()

    assert world.refusal(theirs) == "NotInRole"
    assert world.refusal(ours) is None


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("NotInRole", lambda: propose(new, by=stranger)),
        ("NotInRole", lambda: propose(new, by=bob)),
        ("OutOfPrefix", lambda: propose(new, by=dave)),
        ("Expired", lambda: propose(new, expires=datetime.now(UTC) - timedelta(seconds=1))),
        ("StreamAdvanced", lambda: propose(new, streamversion=1)),
        ("BadProof", lambda: _with_field("proof", someone(5).sign(b"something else"))),
        ("Malformed", lambda: _with_field("held_by", "{")),
        ("NotRegistered", lambda: signed(WithdrawRole(role="a.b", prefix=""), stream_of(bob), by=bob)),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_under_its_own_id(world: World, name: str, of: Any) -> None:
    """The source did sign it, so it is answered to the source."""
    sent, good = of(), propose(someone(9))
    if name == "NotRegistered":
        world.publish(propose(bob))
    world.publish(sent, good)

    world.worker().work()

    outcome = world.outcome(sent)
    assert outcome["data"]["refusal"]["name"] == name
    assert outcome["type"] == "identity.Refused"
    assert verify(writer.did, _stored(world, sent.id), outcome["_signature"])
    assert world.refusal(good) is None
    assert {e["subject"] for e in world.events()} <= {stream_of(someone(9)), stream_of(bob)}


def _with_field(name: str, value: Any) -> Any:
    document = json.loads(propose(new).value)
    document["data"][name] = value
    return resigned(json.dumps(document).encode(), stream_of(new))


def _stored(world: World, command_id: str) -> bytes:
    from adapters.sql.outbox import outcomes_of

    [value] = outcomes_of(world.engine, command_id)
    return value


def test_a_bad_signature_is_answered_under_its_place_and_never_under_the_id_that_it_claims(world: World) -> None:
    """Otherwise anybody could spend Alice's ids for her."""
    real = propose(new)
    partition = partition_of(real.subject, PARTITIONS)
    world.publish(revoke(someone(7)), partition=partition)
    offset = world.raw(partition, real.key, real.value, [("signature", stranger.sign(real.value).encode())])
    world.publish(real)

    world.worker().work()

    [forged] = [o for o in world.outcomes() if o["data"].get("refusal", {}).get("name") == "BadSignature"]
    assert forged["causationid"] == f"identity.commands/{partition}@{offset}"
    assert forged["actor"] == ""
    assert forged["data"]["claimed"] == f"{alice.did} {real.id}"
    assert world.refusal(real) is None


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("OnAnotherNetwork", lambda: propose(new, network="elsewhere")),
        ("Misrouted", lambda: propose(new)),
        ("BadSignature", lambda: propose(new)),
    ],
)
def test_a_record_that_is_not_for_here_leaves_its_id_unused(world: World, name: str, of: Any) -> None:
    """A valid command replayed elsewhere must not keep the real one from being decided."""
    sent = of()
    home = partition_of(sent.subject, PARTITIONS)
    if name == "Misrouted":
        world.publish(sent, partition=1 - home)
    elif name == "BadSignature":
        world.raw(home, sent.key, sent.value, [("signature", b"ed25519:" + b"A" * 86)])
    else:
        world.publish(sent)
    real = propose(new, id=sent.id) if name == "OnAnotherNetwork" else sent
    world.publish(real)

    world.worker().work()

    strange = [o for o in world.outcomes() if o["data"].get("refusal", {}).get("name") == name]
    assert [(o["actor"], "@" in o["causationid"]) for o in strange] == [("", True)]
    assert world.refusal(real) is None
    assert world.types(new) == ["KeyProposed", "KeyRegistered"]


GARBAGE: list[tuple[bytes | None, bytes | None, list[tuple[str, Any]]]] = [
    (None, None, []),
    (b"", b"", []),
    (b"\xff", b"\xff\xfe", [("signature", b"\xff")]),
    (b"identity/key/x", b"{", [("signature", b"x")]),
    (b"identity/key/x", b"null", [("traceparent", None)]),
    (b"a\0b", b'{"a":"\\u0000"}', [("signature", b"a\0b")]),
    (b"identity/key/x", b"[" * 60_000, [("signature", None)]),
    (b"identity/key/x", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", []),
    (b"x" * 70_000, b"{}" * 40_000, []),
]


def test_garbage_is_refused_in_its_place_and_stops_nobody(world: World) -> None:
    """A NUL, a null header or a deep document that failed the batch would fail it again for ever."""
    good = propose(new)
    partition = partition_of(good.subject, PARTITIONS)
    for key, value, headers in GARBAGE:
        world.raw(partition, key, value, headers)
    world.publish(good)
    signature_with_nul = (*good.headers, ("signature", b"\0"))
    world.raw(partition, good.key, good.value, signature_with_nul)

    world.worker(partition).work()

    outcomes = world.outcomes(partition)
    assert world.refusal(good) is None
    assert len(outcomes) == len(GARBAGE) + 2
    assert [o["data"]["refusal"]["name"] for o in outcomes if o["actor"] == ""] == [
        *["Malformed"] * 8, "TooLarge", "BadSignature",
    ]  # fmt: skip


# Authority, in the order of the log


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "four batches"])
def test_a_key_acts_from_its_registration_on_and_not_before(world: World, together: bool) -> None:
    """Order decides, not the batch in which things happen to come."""
    registrar = someone(3)
    victim = neighbour_of(registrar)
    early, late = revoke(victim, by=registrar), revoke(victim, by=registrar)
    proposal = propose(registrar, role="identity.registrar", prefix="identity/")
    consent = signed(ApproveKey(proposal=Digest(sha256(proposal.value).hexdigest())), stream_of(registrar), by=carol)
    world.publish(early, proposal, consent, late)

    world.worker().work_all(limit=None if together else 1)

    assert [world.refusal(sent) for sent in (early, proposal, consent, late)] == ["NotInRole", None, None, None]
    [registration] = [e for e in world.events() if e["type"] == "identity.KeyRegistered"]
    relied_on = {"shard": registration["shard"], "sequence": int(registration["sequence"])}
    assert world.outcome(late)["data"]["authority"] == [relied_on]


def neighbour_of(signer: Signer) -> Signer:
    """A key whose stream is in the same shard."""
    wanted = partition_of(stream_of(signer), PARTITIONS)
    return next(s for s in map(someone, range(100, 200)) if partition_of(stream_of(s), PARTITIONS) == wanted)


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "five batches"])
def test_nothing_is_decided_for_a_key_after_its_revocation(world: World, together: bool) -> None:
    """Its own command before stands, the one after is refused; whether they came together does not matter."""
    before, end, after = (
        signed(WithdrawRole(role="providers.gpu", prefix="providers/"), stream_of(bob), by=bob),
        revoke(bob, by=alice),
        signed(WithdrawRole(role="liveness.device", prefix="liveness/"), stream_of(bob), by=bob),
    )
    # With a second role Bob may still act for himself after he gave one up.
    world.publish(propose(bob, role="liveness.device", prefix="liveness/"), propose(bob), before, end, after)

    world.worker().work_all(limit=None if together else 1)

    assert [world.refusal(sent) for sent in (before, end, after)] == [None, None, "Revoked"]
    assert world.types(bob)[-2:] == ["RoleWithdrawn", "KeyRevoked"]


def test_an_ended_key_does_not_act_for_itself_either(world: World) -> None:
    """Invariant 3 of identity: nothing is decided for a key after its end, its own rotation included."""
    short = someone(31)
    until = datetime.now(UTC) + timedelta(milliseconds=200)
    world.publish(propose(short, not_after=until))
    worker = world.worker()
    worker.work()
    while datetime.now(UTC) <= until:
        pass

    own = signed(WithdrawRole(role="providers.gpu", prefix="providers/"), stream_of(short), by=short)
    world.publish(own)
    worker.work()

    assert world.refusal(own) == "Expired"
    assert world.types(short) == ["KeyProposed", "KeyRegistered"]


TYPED = [
    kind
    for kind in languages()
    if issubclass(kind, Command) and not id_type(kind).fits("+")
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: kind.wire.type)
def test_a_stream_is_named_as_its_kind_is(kind: type[Command]) -> None:
    """An id that readers make of a stream's name stops whoever reads it, or nobody finds its row."""
    for name in ("+", "x" * 120):
        subject = f"{kind.wire.stream}/{name}"
        document = json.loads(propose(someone(1)).value) | {"type": kind.wire.type, "dataschema": kind.wire.dataschema}
        sent = resigned(json.dumps(document | {"subject": subject}, separators=(",", ":")).encode(), subject)
        door = Door(kind.wire.context, partition_of(subject, PARTITIONS), PARTITIONS, NETWORK)

        checked = door.check(Incoming(0, sent.key, sent.value, sent.headers))

        if not id_type(kind).fits(name):
            assert checked.is_genuine
            assert checked.command is None
            assert checked.problem is not None
            assert (checked.problem.name, checked.problem.field) == ("Malformed", "subject")


def test_whoever_names_a_stream_wrongly_is_told_so(world: World) -> None:
    sent = signed(ApproveKey(proposal=Digest("0" * 64)), "identity/key/somebody")
    world.publish(sent)

    world.worker().work()

    assert world.outcome(sent)["data"]["refusal"] == {
        "name": "Malformed", "text": "'somebody' is no Did", "field": "subject",
    }  # fmt: skip


def test_a_key_acts_for_itself_on_its_own_stream_only(world: World) -> None:
    own = signed(WithdrawRole(role="providers.gpu", prefix="providers/"), stream_of(bob), by=bob)
    others = signed(WithdrawRole(role="identity.registrar", prefix="identity/"), stream_of(alice), by=bob)
    nested = signed(WithdrawRole(role="a.b", prefix=""), f"identity/key/x/{bob.did}", by=bob)
    world.publish(own, others, nested)

    world.worker().work()

    assert world.refusal(own) is None
    assert world.refusal(others) == "NotInRole"
    assert world.refusal(nested) == "Malformed"


def test_an_acceptance_names_the_grant_that_it_relied_on(world: World) -> None:
    sent = propose(new)
    world.publish(sent)

    world.worker().work()

    assert world.outcome(sent)["data"]["authority"] == [{"shard": "genesis", "sequence": 0}]
    assert world.outcome(sent)["network"] == NETWORK
