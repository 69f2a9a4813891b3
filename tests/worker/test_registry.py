"""Authority means the authority table: what a worker decides about keys, on both databases."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.keys import Signer, wallet_signer
from commands import Grant
from contracts import Did, Role
from contracts.identity import ApproveEnd, ProposeEnd, RevokeKey, RotateKey, WithdrawRole
from domain.identity.authority import WRITER
from ops.worker.authority import NotTheWriter
from tests.worker.world import (
    FAR,
    Sent,
    Worker,
    World,
    alice,
    approve,
    bob,
    carol,
    erin,
    propose,
    revoke,
    rotate,
    signed,
    someone,
    stream_of,
    writer,
)

REGISTRAR, OPERATOR = "identity.registrar", "operations.operator"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = "treasury/account/0x" + "a" * 40


def go(worker: Worker, *sent: Sent) -> list[str | None]:
    """The refusals, decided one by one."""
    for each in sent:
        worker.world.publish(each)
        worker.work_all()
    return [worker.world.refusal(each) for each in sent]


def person(world: World, key: Signer) -> str:
    return world.store.look(keys=[key.did]).authority[key.did].holder


def has(world: World, key: Signer, role: str = "providers.gpu") -> bool:
    known = world.store.look(keys=[key.did]).authority.get(key.did)
    return known is not None and known.has(role, datetime.now(UTC))


# K2 and K3: a successor is known to nobody, and nobody becomes another person


def test_a_root_alone_reaches_no_quorum_by_puppets_that_name_it_their_successor(world: World) -> None:
    """Each rotation made the root the person of another puppet: three consents of one human."""
    worker, evil, puppets = world.worker(), someone(66), [someone(101), someone(102)]
    proposal = propose(evil, by=alice, role=REGISTRAR, prefix="identity/")
    go(worker, proposal)

    for puppet in puppets:
        assert go(worker, propose(puppet, by=alice), rotate(puppet, alice, 86_400), approve(proposal, alice)) == [
            None, "AlreadyKnown", "SamePerson",
        ]  # fmt: skip

    assert person(world, alice) == alice.did
    assert not has(world, evil, REGISTRAR)


@pytest.mark.parametrize("known", ["genesis", "registered", "follower", "revoked", "ended", "proposed for"])
def test_a_successor_that_the_authority_table_knows_is_refused(world: World, known: str) -> None:
    worker, key, other, follower = world.worker(), someone(1), someone(2), someone(3)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    go(worker, propose(key))
    match known:
        case "genesis":
            other = bob
        case "registered":
            go(worker, propose(other))
        case "follower":
            go(worker, propose(follower), rotate(follower, other))
        case "revoked":
            go(worker, revoke(other))
        case "ended":
            go(
                worker,
                propose(other, not_after=soon),
                signed(WithdrawRole(role=Role("providers.gpu"), prefix="providers/"), stream_of(other), alice),
            )
        case _:
            # Nobody gave it anything: it is free, and what waits for it is another matter.
            go(worker, propose(other, role=OPERATOR, prefix="operations/"))
    before = person(world, other) if known != "proposed for" else None

    refusals = go(worker, rotate(key, other))

    assert refusals == ([None] if known == "proposed for" else ["AlreadyKnown"])
    assert before is None or person(world, other) == before


def test_a_follower_may_be_followed_and_stays_the_same_person(world: World) -> None:
    worker = world.worker()

    assert go(worker, propose(someone(1)), rotate(someone(1), someone(2)), rotate(someone(2), someone(3))) == [None] * 3
    assert person(world, someone(3)) == someone(1).did


# K4: a proof serves one command


def test_a_proof_that_was_read_in_anothers_command_is_used_for_nothing(world: World) -> None:
    worker, key, successor, thief = world.worker(), someone(1), someone(2), someone(3)
    honest = rotate(key, successor)
    go(worker, propose(key), propose(thief))
    stolen = json.loads(honest.value)["data"]["proof"]

    again = signed(RotateKey(successor=Did(successor.did), proof=stolen, overlap_seconds=0), stream_of(thief), thief)

    assert go(worker, again, honest) == ["BadProof", None]
    assert person(world, successor) == key.did


# K5: each role has its own end


def test_a_rotation_neither_revives_nor_prolongs_a_role(world: World) -> None:
    worker, key, successor = world.worker(), someone(1), someone(2)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    go(worker, propose(key, not_after=soon), propose(key, role="inference.gpu", prefix="inference/"))
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.05)

    assert go(worker, rotate(key, successor, 86_400)) == [None]

    grants = {
        k.did: {g.role: g.not_after for g in found.grants}
        for k in (key, successor)
        for found in [world.store.look(keys=[k.did]).authority[k.did]]
    }
    assert grants[successor.did] == {"inference.gpu": FAR}
    assert grants[key.did]["providers.gpu"] == soon
    assert grants[key.did]["inference.gpu"] < datetime.now(UTC) + timedelta(days=2)


# K6: one spelling


def test_a_wallet_of_another_chain_is_no_wallet_here(world: World) -> None:
    worker = world.worker()
    here, there = wallet_signer(bytes([7]) * 32), wallet_signer(bytes([7]) * 32, chain_id=1)

    assert go(worker, propose(here), revoke(here), propose(there), propose(someone(1), by=there)) == [
        None, None, "WrongChain", "WrongChain",
    ]  # fmt: skip


def test_a_wallet_in_capitals_is_no_wallet_here(world: World) -> None:
    here = wallet_signer(bytes([7]) * 32)
    head, _, address = here.did.rpartition("0x")
    capitals = Signer(f"{head}0x{address.upper()}", here.sign)

    assert go(world.worker(), rotate(bob, capitals)) == ["WrongChain"]


@pytest.mark.parametrize(
    ("role", "prefix", "refusal"),
    [
        ("providers.curator", "providers/", "NoSuchRole"), ("identity.self", "identity/", "NoSuchRole"),
        ("providers.gpu", "providers", "BadPrefix"), ("providers.gpu", "providers/offer", "BadPrefix"),
        ("providers.gpu", "providers/offer/x", None), ("providers.gpu", "providers/offer/x.", None),
    ],
)  # fmt: skip
def test_a_role_and_a_prefix_are_what_they_say(world: World, role: str, prefix: str, refusal: str | None) -> None:
    assert go(world.worker(), propose(someone(1), role=role, prefix=prefix)) == [refusal]


# K7: who gives what


def test_one_registrar_registers_no_two_puppets_that_decide_together(world: World) -> None:
    """Officers, reviewers, keyholders are counted as persons elsewhere: each takes two registrars."""
    worker, puppets = world.worker(), [someone(1), someone(2)]
    for puppet in puppets:
        proposal = propose(puppet, role="audit.officer", prefix="audit/")
        assert go(worker, proposal, approve(proposal, alice)) == [None, "SamePerson"]

    assert not any(has(world, puppet, "audit.officer") for puppet in puppets)


@pytest.mark.parametrize(
    ("role", "prefix", "by_one"),
    [
        ("treasury.holder", "treasury/", False), ("treasury.holder", "treasury/account/", False),
        ("treasury.holder", "treasury/account/.", False), ("staking.holder", "staking/collateral/bond/", False),
        ("treasury.gateway", "treasury/account/", False), ("liveness.collector", "liveness/", False),
        ("liveness.collector", "liveness/fleet/", False), ("inference.router", "inference/request/x", False),
        ("treasury.holder", f"{ACCOUNT}.", True), ("treasury.gateway", f"{ACCOUNT}.USD.s", True),
        ("staking.holder", "staking/collateral/stake/0x" + "a" * 40, True), ("liveness.collector", "liveness/fleet/7", True),
        ("providers.gpu", "providers/", True), ("inference.gpu", "inference/request/", True),
    ],
)  # fmt: skip
def test_one_registrar_gives_what_is_one_accounts_and_no_more(world: World, role: str, prefix: str, by_one: bool) -> None:
    """A holder of a whole context held everybody's money."""
    worker, new, proposal = world.worker(), someone(1), propose(someone(1), role=role, prefix=prefix)

    assert go(worker, proposal) == [None]
    assert has(world, new, role) is by_one
    if not by_one:
        go(worker, approve(proposal, carol))
        assert has(world, new, role)


def test_whoever_hands_his_roles_to_the_key_that_he_proposed_does_not_count_for_it(world: World) -> None:
    worker, new = world.worker(), someone(1)
    proposal = propose(new, by=alice, role=OPERATOR, prefix="operations/")

    assert go(worker, proposal, rotate(alice, new, 86_400), approve(proposal, carol)) == [None] * 3
    assert not has(world, new, OPERATOR)
    go(worker, approve(proposal, erin))
    assert has(world, new, OPERATOR)
    [given] = [e["data"] for e in world.events() if e["type"] == "identity.KeyRegistered"]
    assert [one["key"] for one in given["consents"]] == [carol.did, erin.did]


def test_a_consent_of_who_is_no_registrar_any_more_does_not_count(world: World) -> None:
    worker, new = world.worker(), someone(1)
    proposal = propose(new, by=erin, role=OPERATOR, prefix="operations/")

    go(worker, proposal, *ended(erin), approve(proposal, carol))
    assert not has(world, new, OPERATOR)
    go(worker, approve(proposal, alice))
    assert has(world, new, OPERATOR)


@pytest.mark.parametrize("role", ["inference.router", OPERATOR])
def test_a_role_that_no_kind_bounds_takes_two(world: World, role: str) -> None:
    go(world.worker(), propose(someone(1), role=role, prefix=f"{role.partition('.')[0]}/"))

    assert not has(world, someone(1), role)


# K8: the last ones


def end(key: Signer, by: Signer, **more: Any) -> Sent:
    return signed(ProposeEnd.model_validate({"reason": "retired", **more}), stream_of(key), by)


def approve_end(proposal: Sent, by: Signer) -> Sent:
    from hashlib import sha256

    return signed(ApproveEnd.model_validate({"proposal": sha256(proposal.value).hexdigest()}), proposal.subject, by)


def ended(key: Signer, **more: Any) -> tuple[Sent, Sent]:
    """By Alice and Carol."""
    proposal = end(key, alice, **more)
    return proposal, approve_end(proposal, carol)


def test_one_registrar_ends_neither_the_writer_nor_another_registrar(world: World) -> None:
    worker = world.worker()

    assert go(
        worker,
        revoke(writer, by=alice),
        signed(WithdrawRole(role=Role(WRITER), prefix=""), stream_of(writer), alice),
        signed(RevokeKey(reason="retired"), stream_of(writer), writer),
        rotate(writer, someone(9)),
        revoke(erin, by=alice),
        signed(WithdrawRole(role=Role(REGISTRAR), prefix="identity/"), stream_of(carol), alice),
        revoke(erin, by=erin),
        signed(WithdrawRole(role=Role(REGISTRAR), prefix="identity/"), stream_of(alice), alice),
    ) == ["NeedsQuorum"] * 6 + [None, "NeedsQuorum"]


def test_two_of_three_registrars_end_the_third_whatever_she_does_first(world: World) -> None:
    """She ended another alone, and then nothing went without her."""
    worker, next_one, second = world.worker(), someone(1), someone(2)
    escapes = rotate(alice, next_one, 86_400), revoke(alice, by=alice)

    assert go(worker, revoke(carol, by=alice)) == ["NeedsQuorum"]
    proposal = signed(ProposeEnd(reason="compromised", suspected_since=LONG_AGO), stream_of(alice), erin)
    assert go(worker, proposal, *escapes, approve_end(proposal, carol)) == [None] * 4

    assert not has(world, alice, REGISTRAR)
    assert not has(world, next_one, REGISTRAR)
    registration = propose(second, by=erin, role=REGISTRAR, prefix="identity/")
    assert go(worker, registration, approve(registration, carol)) == [None, None]
    assert has(world, second, REGISTRAR)


def test_a_writer_is_ended_by_a_quorum_when_another_one_is_in_force(world: World) -> None:
    worker, second = world.worker(), someone(9)
    assert go(worker, end(writer, alice)) == ["NoSuccessor"]
    world.store.plant([Grant(second.did, WRITER, "", FAR)])
    proposal = end(writer, alice)

    assert go(worker, proposal, approve_end(proposal, alice), approve_end(proposal, carol)) == [None, "SamePerson", None]

    assert world.types(writer) == ["EndProposed", "EndApproved", "KeyRevoked"]
    world.publish(propose(someone(1)))
    with pytest.raises(NotTheWriter, match=r"has no role store\.writer"):
        worker.work()
    assert world.worker(signer=second).work() is not None


def test_a_worker_whose_writer_was_ended_by_another_stops_before_it_signs(world: World) -> None:
    """It decides by what it read before; its own row is locked and compared as that of who asks."""
    second = someone(9)
    world.store.plant([Grant(second.did, WRITER, "", FAR)])
    mine, other = world.worker(0), world.worker(1, signer=second)
    key = next(k for k in map(someone, range(200, 300)) if _home(k) == 0)
    world.publish(propose(key))
    mine.work()
    with world.engine.begin() as connection:
        connection.exec_driver_sql(f"update authority_keys set revoked = true, sequence = 77 where key = '{writer.did}'")
    world.publish(revoke(key))

    with pytest.raises(NotTheWriter):
        mine.work()
    assert world.types(key) == ["KeyProposed", "KeyRegistered"]
    del other


def _home(signer: Signer) -> int:
    from contracts import partition_of
    from tests.worker.world import PARTITIONS

    return partition_of(stream_of(signer), PARTITIONS)


def test_the_store_tells_who_might_sign_when(world: World) -> None:
    worker, second = world.worker(), someone(9)
    proposal = propose(second, role=WRITER, prefix="identity/")
    go(worker, proposal, approve(proposal, carol))
    registered = _time(world, "KeyRegistered")
    withdrawal = end(second, alice, role=WRITER, prefix="identity/")
    go(worker, withdrawal, approve_end(withdrawal, carol))
    withdrawn = _time(world, "RoleWithdrawn")

    found = {interval.key: interval for interval in world.store.writers()}

    assert (found[second.did].since, found[second.did].until) == (registered, withdrawn)
    entitled = world.store.is_entitled
    assert entitled(writer.did, WRITER, "treasury/account/x", LONG_AGO)
    assert entitled(second.did, WRITER, "identity/key/x", registered)
    assert entitled(second.did, WRITER, "identity/key/x", withdrawn)
    assert not entitled(second.did, WRITER, "identity/key/x", withdrawn + timedelta(microseconds=1))
    assert not entitled(second.did, WRITER, "identity/key/x", registered - timedelta(microseconds=1))
    assert not entitled(second.did, WRITER, "treasury/account/x", registered)


def _time(world: World, kind: str) -> datetime:
    return datetime.fromisoformat([e["time"] for e in world.events() if e["type"] == f"identity.{kind}"][-1])


# K9: what follows


def test_the_thiefs_successors_end_with_the_key(world: World) -> None:
    worker, key, thief, next_one = world.worker(), someone(1), someone(2), someone(3)
    go(worker, propose(key), rotate(key, thief), rotate(thief, next_one))

    go(worker, signed(RevokeKey(reason="compromised", suspected_since=LONG_AGO), stream_of(key), alice))

    assert not has(world, thief)
    assert not has(world, next_one)
    [revoked] = [e["data"] for e in world.events() if e["type"] == "identity.KeyRevoked"]
    assert {one["key"] for one in revoked["ends"]} == {thief.did, next_one.did}
    assert go(worker, propose(thief)) == ["Revoked"]


def test_what_was_handed_over_before_stays(world: World) -> None:
    worker, key, successor = world.worker(), someone(1), someone(2)
    go(worker, propose(key), rotate(key, successor))
    later = datetime.now(UTC) + timedelta(seconds=1)

    go(worker, signed(RevokeKey(reason="compromised", suspected_since=later), stream_of(key), alice))
    assert has(world, successor)
    go(worker, signed(RevokeKey(reason="compromised", suspected_since=LONG_AGO), stream_of(key), alice))
    assert not has(world, successor)


def test_roles_that_lack_a_person_without_the_registrars_consent_end_with_it(world: World) -> None:
    worker, alone, both, others = world.worker(), someone(1), someone(2), someone(3)
    shared, foreign = (propose(k, by=b, role=OPERATOR, prefix="operations/") for k, b in ((both, erin), (others, alice)))
    go(worker, propose(alone, by=erin), propose(someone(4), by=alice))
    go(worker, shared, approve(shared, carol), foreign, approve(foreign, carol))

    refusals = go(worker, *ended(erin, suspected_since=LONG_AGO))

    assert refusals == [None, None]
    assert [has(world, alone), has(world, both, OPERATOR), has(world, others, OPERATOR), has(world, someone(4))] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_registrar_that_the_thief_made_makes_none_that_stay(world: World) -> None:
    """A registrar with the stolen key's consent, and what that one registered."""
    worker, puppet, device = world.worker(), someone(1), someone(2)
    proposal = propose(puppet, by=erin, role=REGISTRAR, prefix="identity/")
    go(worker, proposal, approve(proposal, carol), propose(device, by=puppet))

    go(worker, *ended(erin, suspected_since=LONG_AGO))

    assert not has(world, puppet, REGISTRAR)
    assert not has(world, device)


def test_more_than_one_event_can_list_is_ended_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.identity.following.MOST_ENDS", 2)
    worker = world.worker()
    devices = [someone(n) for n in range(1, 5)]
    times = []
    for device in devices:
        times.append(datetime.now(UTC))
        go(worker, propose(device, by=erin))

    def since(moment: datetime) -> list[str | None]:
        return go(worker, *ended(erin, suspected_since=moment))

    assert since(times[0]) == ["TooManyFollow", "NoSuchProposal"]
    assert since(times[2]) == [None, None]
    assert since(times[0]) == [None, None]
    assert not any(has(world, device) for device in devices)
