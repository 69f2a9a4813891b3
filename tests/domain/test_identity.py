"""The key registry's rules: given what happened, when somebody asks, then these events or this refusal."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from adapters.keys import ed25519_signer
from contracts import Did, Digest, Label, Role
from contracts.identity import (
    ApproveKey,
    Found,
    Founded,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    Proof,
    ProposeKey,
    RevokeKey,
    RoleGrant,
    RoleWithdrawn,
    RotateKey,
    WithdrawRole,
)
from domain import Aggregate, Refused
from domain.identity import (
    AddressedWrongly,
    AlreadyFounded,
    AlreadyKnown,
    EndTooFar,
    Key,
    Network,
    NoSuchProposal,
    NotARoot,
    NotRegistered,
    OnAnotherNetwork,
    Revoked,
    SamePerson,
)

NOW = datetime(2026, 11, 24, 3, 12, 35, tzinfo=UTC)
LATER = NOW + timedelta(days=100)
PROOF = Proof("ed25519:" + "A" * 86)
ALICE, BOB, CAROL, DAVE, EVE = (Did(ed25519_signer(bytes([n]) * 32).did) for n in range(1, 6))
GPU = RoleGrant(role=Role("providers.gpu"), prefix="providers/")
BEAT = RoleGrant(role=Role("liveness.device"), prefix="liveness/")
REGISTRAR = RoleGrant(role=Role("identity.registrar"), prefix="identity/")
VERIFIER = RoleGrant(role=Role("identity.verifier"), prefix="identity/")
D1, D2 = Digest("1" * 64), Digest("2" * 64)

T = TypeVar("T", bound=Aggregate[Any])


def given(kind: type[T], stream: str, *events: IdentityEvent) -> T:
    aggregate = kind(stream)
    for event in events:
        aggregate.replay(event)
    return aggregate


def key(*events: IdentityEvent) -> Key:
    """Bob's stream."""
    return given(Key, f"identity/key/{BOB}", *events)


def network(*events: IdentityEvent) -> Network:
    return given(Network, "identity/network/dev", *events)


def refused(aggregate: Aggregate[Any], ask: Callable[[], None], rule: type[Refused], field: str | None) -> None:
    """Asked twice, refused twice, with the field that is to blame; and it leaves no trace."""
    before = deepcopy(aggregate)
    for _ in range(2):
        with pytest.raises(rule) as refusal:
            ask()
        assert refusal.value.field == field
    assert aggregate == before
    assert aggregate.pending == []


# Founding


def found(**more: Any) -> Found:
    asked = {"roots": (ALICE, BOB, CAROL), "quorum": 2, "chain_id": 800_000, "profile": "consumer"}
    return Found(**{**asked, **more})


def test_a_network_is_founded() -> None:
    dev = network()

    dev.found(found(), ALICE, "dev")

    assert dev.pending == [Founded(roots=(ALICE, BOB, CAROL), quorum=2, chain_id=800_000, profile="consumer")]
    assert (dev.roots, dev.quorum, dev.version) == ((ALICE, BOB, CAROL), 2, 1)


def test_a_network_is_founded_once() -> None:
    dev = network(Founded(roots=(ALICE, BOB, CAROL), quorum=2, chain_id=800_000, profile="consumer"))

    refused(dev, lambda: dev.found(found(), ALICE, "dev"), AlreadyFounded, None)


@pytest.mark.parametrize(
    ("command", "actor", "field"),
    [
        (found(), DAVE, "roots"),
        (found(roots=(ALICE, BOB, ALICE)), ALICE, "roots"),
        (found(quorum=4), ALICE, "quorum"),
    ],
    ids=["a stranger", "one root twice", "a quorum that nobody reaches"],
)
def test_a_network_is_founded_by_a_root_with_roots_that_reach_the_quorum(command: Found, actor: Did, field: str) -> None:
    dev = network()

    refused(dev, lambda: dev.found(command, actor, "dev"), NotARoot, field)


def test_a_network_is_not_founded_under_another_name() -> None:
    """Two deployments would share a genesis."""
    dev = network()

    refused(dev, lambda: dev.found(found(), ALICE, "prod"), OnAnotherNetwork, "subject")


# Proposing


def propose(*roles: RoleGrant, **more: Any) -> ProposeKey:
    asked = {"key": BOB, "roles": roles or (GPU,), "held_by": Label("Bob"), "not_after": LATER, "proof": PROOF}
    return ProposeKey(**{**asked, **more})


def proposed(*roles: RoleGrant, proposal: Digest = D1, by: Did = ALICE, needs_second: bool = False) -> KeyProposed:
    return KeyProposed(
        key=BOB, roles=roles or (GPU,), held_by=Label("Bob"), not_after=LATER, proof=PROOF, proposal=proposal,
        proposed_by=by, needs_second=needs_second, person=by,
    )  # fmt: skip


def registered(*roles: RoleGrant, not_after: datetime = LATER) -> KeyRegistered:
    return KeyRegistered(key=BOB, roles=roles or (GPU,), not_after=not_after)


def test_a_key_for_ordinary_roles_is_registered_at_once() -> None:
    bob = key()

    bob.propose(propose(), actor=ALICE, person=ALICE, digest=D1, now=NOW)

    assert bob.pending == [proposed(), registered()]


def test_the_same_registration_again_records_nothing() -> None:
    """Deciding twice records once."""
    bob = key(proposed(), registered())

    bob.propose(propose(), actor=CAROL, person=CAROL, digest=D2, now=NOW)

    assert bob.pending == []


def test_a_later_end_or_another_role_is_a_registration_of_its_own() -> None:
    bob = key(proposed(), registered())

    bob.propose(propose(BEAT), actor=ALICE, person=ALICE, digest=D2, now=NOW)
    bob.propose(propose(not_after=LATER + timedelta(days=1)), actor=ALICE, person=ALICE, digest=D1, now=NOW)

    assert [type(event) for event in bob.pending] == [KeyProposed, KeyRegistered, KeyProposed, KeyRegistered]
    assert bob.roles == [BEAT, GPU]


@pytest.mark.parametrize("role", [REGISTRAR, VERIFIER])
def test_a_role_that_needs_two_waits_for_the_second(role: RoleGrant) -> None:
    """Also where it stands among ordinary ones: nothing of the proposal is in force."""
    bob = key()

    bob.propose(propose(GPU, role), actor=ALICE, person=ALICE, digest=D1, now=NOW)

    assert bob.pending == [proposed(GPU, role, needs_second=True)]
    assert bob.roles == []


@pytest.mark.parametrize(
    ("seconds", "is_refused"),
    [(0, True), (-1, True), (1e-6, False), (366 * 86_400, False), (366 * 86_400 + 1e-6, True)],
)
def test_a_key_ends_within_366_days_and_after_now(seconds: float, is_refused: bool) -> None:
    bob, command = key(), propose(not_after=NOW + timedelta(seconds=seconds))

    if is_refused:
        refused(bob, lambda: bob.propose(command, actor=ALICE, person=ALICE, digest=D1, now=NOW), EndTooFar, "not_after")
    else:
        bob.propose(command, actor=ALICE, person=ALICE, digest=D1, now=NOW)
        assert bob.not_after == command.not_after


def test_a_key_is_proposed_on_its_own_stream() -> None:
    bob, command = key(), propose(key=CAROL)

    refused(bob, lambda: bob.propose(command, actor=ALICE, person=ALICE, digest=D1, now=NOW), AddressedWrongly, "key")


def test_nobody_proposes_himself() -> None:
    bob = key()

    refused(bob, lambda: bob.propose(propose(), actor=BOB, person=BOB, digest=D1, now=NOW), SamePerson, "key")


# Approving

WAITING = proposed(VERIFIER, needs_second=True)


def test_the_second_registers() -> None:
    bob = key(WAITING)

    bob.approve(ApproveKey(proposal=D1), actor=CAROL, person=CAROL, quorum=3)

    assert bob.pending == [KeyApproved(key=BOB, proposal=D1, approved_by=CAROL, person=CAROL), registered(VERIFIER)]


@pytest.mark.parametrize(("quorum", "needed"), [(1, 2), (2, 2), (3, 3)])
def test_a_registrar_needs_the_quorum_and_never_fewer_than_two(quorum: int, needed: int) -> None:
    bob = key(proposed(REGISTRAR, needs_second=True))
    approvals = [CAROL, DAVE, EVE][: needed - 1]

    for n, approver in enumerate(approvals, 2):
        assert bob.roles == []
        bob.approve(ApproveKey(proposal=D1), actor=approver, person=approver, quorum=quorum)
        assert (bob.roles == [REGISTRAR]) is (n == needed)

    assert [type(event) for event in bob.pending] == [*[KeyApproved] * (needed - 1), KeyRegistered]


@pytest.mark.parametrize("actor", [ALICE, BOB, CAROL], ids=["proposer", "proposed", "approved before"])
def test_proposer_approvers_and_proposed_are_different(actor: Did) -> None:
    bob = key(proposed(REGISTRAR, needs_second=True), KeyApproved(key=BOB, proposal=D1, approved_by=CAROL))

    refused(bob, lambda: bob.approve(ApproveKey(proposal=D1), actor=actor, person=actor, quorum=3), SamePerson, "proposal")


def test_the_rotated_key_of_the_proposer_does_not_count_as_a_second_person() -> None:
    """Whoever rotates a key has two that act, for a day."""
    bob = key(WAITING)

    refused(bob, lambda: bob.approve(ApproveKey(proposal=D1), actor=CAROL, person=ALICE, quorum=2), SamePerson, "proposal")


def test_who_approves_with_two_keys_of_one_person_approves_once() -> None:
    bob = key(proposed(REGISTRAR, needs_second=True), KeyApproved(key=BOB, proposal=D1, approved_by=CAROL, person=CAROL))

    refused(bob, lambda: bob.approve(ApproveKey(proposal=D1), actor=DAVE, person=CAROL, quorum=3), SamePerson, "proposal")


def test_a_proposal_recorded_before_persons_were_is_its_keys() -> None:
    bob = key(WAITING.model_copy(update={"person": None}))

    refused(bob, lambda: bob.approve(ApproveKey(proposal=D1), actor=ALICE, person=ALICE, quorum=2), SamePerson, "proposal")


@pytest.mark.parametrize("history", [[], [WAITING], [WAITING, registered(VERIFIER)]], ids=["none", "another", "registered"])
def test_only_what_waits_is_approved(history: list[IdentityEvent]) -> None:
    bob = key(*history)
    digest = D2 if len(history) == 1 else D1

    refused(
        bob, lambda: bob.approve(ApproveKey(proposal=digest), actor=CAROL, person=CAROL, quorum=2), NoSuchProposal, "proposal"
    )


def test_approvals_of_one_proposal_do_not_count_for_another() -> None:
    bob = key(proposed(REGISTRAR, needs_second=True), proposed(REGISTRAR, proposal=D2, by=CAROL, needs_second=True))

    bob.approve(ApproveKey(proposal=D1), actor=DAVE, person=DAVE, quorum=3)

    assert bob.roles == []
    assert bob.proposals[D2].consenting == [CAROL]


# Rotating


def rotate(**more: Any) -> RotateKey:
    return RotateKey(**{"successor": CAROL, "proof": PROOF, "overlap_seconds": 60, **more})


def other(*events: IdentityEvent) -> Key:
    """Carol's stream."""
    return given(Key, f"identity/key/{CAROL}", *events)


def test_a_rotation_hands_over_roles_and_end() -> None:
    bob = key(proposed(GPU, BEAT), registered(GPU, BEAT))

    bob.rotate(rotate(), successor=other(), now=NOW)

    until = NOW + timedelta(seconds=60)
    assert bob.pending == [KeyRotated(key=BOB, successor=CAROL, roles=(GPU, BEAT), not_after=LATER, until=until)]
    assert bob.not_after == until


def test_an_overlap_does_not_outlast_the_key() -> None:
    bob = key(proposed(), registered(not_after=NOW + timedelta(seconds=10)))

    bob.rotate(rotate(overlap_seconds=86_400), successor=other(), now=NOW)

    assert bob.not_after == NOW + timedelta(seconds=10)


def test_the_same_rotation_again_records_nothing() -> None:
    bob = key(proposed(), registered())
    bob.rotate(rotate(), successor=other(), now=NOW)

    bob.rotate(rotate(overlap_seconds=7), successor=other(), now=NOW + timedelta(seconds=30))

    assert len(bob.pending) == 1


def test_a_key_is_rotated_once() -> None:
    bob = key(proposed(), registered())
    bob.rotate(rotate(), successor=other(), now=NOW)
    bob.pending.clear()
    dave = given(Key, f"identity/key/{DAVE}")

    refused(bob, lambda: bob.rotate(rotate(successor=DAVE), successor=dave, now=NOW), AlreadyKnown, "successor")


@pytest.mark.parametrize(
    "history",
    [
        [KeyRegistered(key=CAROL, roles=(GPU,), not_after=LATER)],
        [KeyRevoked(key=CAROL, reason="compromised")],
    ],
    ids=["registered", "revoked"],
)
def test_re_registering_a_known_key_is_no_rotation(history: list[IdentityEvent]) -> None:
    bob = key(proposed(), registered())

    refused(bob, lambda: bob.rotate(rotate(), successor=other(*history), now=NOW), AlreadyKnown, "successor")


def test_a_key_is_not_its_own_successor() -> None:
    bob = key(proposed(), registered())

    refused(bob, lambda: bob.rotate(rotate(successor=BOB), successor=bob, now=NOW), AlreadyKnown, "successor")


def test_only_a_registered_key_is_rotated() -> None:
    bob = key(WAITING)

    refused(bob, lambda: bob.rotate(rotate(), successor=other(), now=NOW), NotRegistered, None)


def test_a_key_without_a_role_has_nothing_to_hand_over() -> None:
    bob = key(proposed(), registered(), RoleWithdrawn(key=BOB, role=GPU.role, prefix=GPU.prefix))

    refused(bob, lambda: bob.rotate(rotate(), successor=other(), now=NOW), NotRegistered, None)


# Withdrawing and revoking

WITHDRAW = WithdrawRole(role=GPU.role, prefix=GPU.prefix)
REVOKE = RevokeKey(reason="compromised", suspected_since=NOW)


def test_a_role_is_withdrawn_and_the_others_stay() -> None:
    bob = key(proposed(GPU, BEAT), registered(GPU, BEAT))

    bob.withdraw(WITHDRAW)

    assert bob.pending == [RoleWithdrawn(key=BOB, role=GPU.role, prefix=GPU.prefix)]
    assert bob.roles == [BEAT]


def test_a_role_is_withdrawn_once() -> None:
    bob = key(proposed(), registered(), RoleWithdrawn(key=BOB, role=GPU.role, prefix=GPU.prefix))

    bob.withdraw(WITHDRAW)

    assert bob.pending == []


def test_a_withdrawn_role_can_be_given_and_withdrawn_again() -> None:
    bob = key(proposed(), registered(), RoleWithdrawn(key=BOB, role=GPU.role, prefix=GPU.prefix))

    bob.propose(propose(), actor=ALICE, person=ALICE, digest=D2, now=NOW)
    bob.withdraw(WITHDRAW)

    assert [type(event) for event in bob.pending] == [KeyProposed, KeyRegistered, RoleWithdrawn]


def test_a_role_that_the_key_does_not_have_cannot_be_withdrawn() -> None:
    bob = key(proposed(BEAT), registered(BEAT))

    refused(bob, lambda: bob.withdraw(WITHDRAW), NotRegistered, "role")


def test_a_role_of_a_key_of_the_genesis_is_withdrawn_though_its_stream_is_empty() -> None:
    bob = key()

    bob.withdraw(WITHDRAW)

    assert [type(event) for event in bob.pending] == [RoleWithdrawn]


def test_a_revocation_is_for_good() -> None:
    bob = key(proposed(), registered(), WAITING)

    bob.revoke(REVOKE)

    assert bob.pending == [KeyRevoked(key=BOB, reason="compromised", suspected_since=NOW)]
    assert (bob.roles, bob.proposals, bob.revoked) == ([], {}, True)


def test_a_key_is_revoked_once() -> None:
    bob = key(KeyRevoked(key=BOB, reason="retired"))

    bob.revoke(REVOKE)

    assert bob.pending == []


ENDED = (registered(), KeyRevoked(key=BOB, reason="retired"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda bob: bob.propose(propose(), actor=ALICE, person=ALICE, digest=D1, now=NOW),
        lambda bob: bob.approve(ApproveKey(proposal=D1), actor=CAROL, person=CAROL, quorum=2),
        lambda bob: bob.rotate(rotate(), successor=other(), now=NOW),
    ],
    ids=["propose", "approve", "rotate"],
)
@pytest.mark.parametrize("history", [ENDED, (KeyRevoked(key=BOB, reason="compromised"),), (WAITING, *ENDED)])
def test_a_revoked_key_is_never_registered_again(ask: Callable[[Key], None], history: tuple[IdentityEvent, ...]) -> None:
    """Nor one that was revoked before anybody registered it."""
    bob = key(*history)

    refused(bob, lambda: ask(bob), Revoked, "key")


def test_nothing_is_left_to_withdraw_of_a_revoked_key() -> None:
    bob = key(*ENDED)

    bob.withdraw(WITHDRAW)

    assert bob.pending == []


@pytest.mark.parametrize("name", ["x", f"other/{BOB}", BOB.upper(), f"{BOB}1"])
@pytest.mark.parametrize("ask", [lambda it: it.withdraw(WITHDRAW), lambda it: it.revoke(REVOKE)], ids=["withdraw", "revoke"])
def test_a_stream_that_no_key_names_records_nothing(name: str, ask: Callable[[Key], None]) -> None:
    """Its event would name a key that is none: it breaks its own schema and every reader parks it."""
    junk = given(Key, f"identity/key/{name}")

    refused(junk, lambda: ask(junk), AddressedWrongly, "subject")


# Replay


def test_replay_rebuilds_what_was_decided() -> None:
    bob = key()
    bob.propose(propose(GPU, BEAT), actor=ALICE, person=ALICE, digest=D1, now=NOW)
    bob.propose(propose(REGISTRAR), actor=ALICE, person=ALICE, digest=D2, now=NOW)
    bob.approve(ApproveKey(proposal=D2), actor=CAROL, person=CAROL, quorum=2)
    bob.withdraw(WITHDRAW)
    bob.rotate(rotate(), successor=other(), now=NOW)

    assert key(*bob.pending) == bob
