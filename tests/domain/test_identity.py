"""The key registry's rules: given what happened, when somebody asks, then these events or this refusal."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from adapters.keys import ed25519_signer
from commands import AuthorityTable, Grant, Limit, Withdrawal
from contracts import Did, Digest, Label, Role, read_event
from contracts.identity import (
    ApproveKey,
    Found,
    Founded,
    GrantPlace,
    HandedRole,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    Proof,
    ProposeKey,
    RegistrarConsent,
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
    Asking,
    BadPrefix,
    EndTooFar,
    GenesisDiffers,
    Key,
    NeedsQuorum,
    Network,
    NoSuchProposal,
    NoSuchRole,
    NotARoot,
    NotRegistered,
    OnAnotherNetwork,
    Revoked,
    SamePerson,
)
from domain.identity.authority import WRITER, Consent, Founding

NOW = datetime(2026, 11, 24, 3, 12, 35, tzinfo=UTC)
LATER = NOW + timedelta(days=100)
PROOF = Proof("ed25519:" + "A" * 86)
ALICE, BOB, CAROL, DAVE, EVE = (Did(ed25519_signer(bytes([n]) * 32).did) for n in range(1, 6))
GPU = RoleGrant(role=Role("providers.gpu"), prefix="providers/")
BEAT = RoleGrant(role=Role("liveness.collector"), prefix="liveness/fleet/7")
REGISTRAR = RoleGrant(role=Role("identity.registrar"), prefix="identity/")
VERIFIER = RoleGrant(role=Role("operations.operator"), prefix="operations/")
D1, D2 = Digest("1" * 64), Digest("2" * 64)
LAPSES = datetime(2026, 12, 1, tzinfo=UTC)

T = TypeVar("T", bound=Aggregate[Any])


def given(kind: type[T], stream: str, *events: IdentityEvent) -> T:
    aggregate = kind(stream)
    for event in events:
        aggregate.replay(event)
    return aggregate


FOUNDING = Founding("f" * 64, (ALICE, BOB, CAROL), 2, 800_000, "consumer")
FAR = NOW + timedelta(days=360)
PLACES = {ALICE: 1, CAROL: 2, DAVE: 3, EVE: 4}
"""By which grant each of them is a registrar."""


def table(*more: Grant | Limit | Withdrawal) -> AuthorityTable:
    """Alice, Carol, Dave and Eve are registrars of the genesis."""
    found = AuthorityTable(FOUNDING)
    for did, n in PLACES.items():
        found.apply(Grant(did, "identity.registrar", "identity/", FAR), "genesis", n)
    for n, change in enumerate(more):
        found.apply(change, "identity.events/0", n)
    return found


def by(
    actor: Did, *more: Grant | Limit | Withdrawal, now: datetime = NOW, quorum: int = 2, digest: Digest = D1, **person: Did
) -> Asking:
    return Asking(actor, person.get("person", actor), now, table(*more), lambda: quorum, digest)


def place(actor: Did) -> GrantPlace | None:
    return GrantPlace(shard=Label("genesis"), sequence=PLACES[actor]) if actor in PLACES else None


def given_to_bob(*roles: RoleGrant, not_after: datetime = LATER) -> list[Grant]:
    """As the table has what `registered` says."""
    return [Grant(BOB, role.role, role.prefix, not_after, consents=(Consent(ALICE, ALICE),)) for role in roles or (GPU,)]


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


def founded() -> Founded:
    return Founded(roots=(ALICE, BOB, CAROL), quorum=2, chain_id=800_000, profile="consumer", genesis=Digest(FOUNDING.genesis))


def test_a_network_is_founded() -> None:
    dev = network()

    dev.found(found(), FOUNDING, ALICE, "dev")

    assert dev.pending == [founded()]
    assert (dev.roots, dev.quorum, dev.version) == ((ALICE, BOB, CAROL), 2, 1)


def test_a_network_is_founded_once() -> None:
    dev = network(founded())

    refused(dev, lambda: dev.found(found(), FOUNDING, ALICE, "dev"), AlreadyFounded, None)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (found(roots=(ALICE, DAVE, EVE)), "roots"), (found(roots=(ALICE, BOB, ALICE)), "roots"), (found(quorum=3), "quorum"),
        (found(chain_id=1), "chain_id"), (found(profile="private"), "profile"),
    ],
)  # fmt: skip
def test_a_root_alone_founds_nothing_but_what_the_genesis_says(command: Found, field: str) -> None:
    """One root founded with two keys of his own instead of the others."""
    dev = network()

    refused(dev, lambda: dev.found(command, FOUNDING, ALICE, "dev"), GenesisDiffers, field)


def test_a_network_is_founded_by_a_root() -> None:
    dev = network()

    refused(dev, lambda: dev.found(found(), FOUNDING, DAVE, "dev"), NotARoot, "roots")


def test_a_network_is_not_founded_under_another_name() -> None:
    """Two deployments would share a genesis."""
    dev = network()

    refused(dev, lambda: dev.found(found(), FOUNDING, ALICE, "prod"), OnAnotherNetwork, "subject")


# Proposing


def propose(*roles: RoleGrant, **more: Any) -> ProposeKey:
    asked = {"key": BOB, "roles": roles or (GPU,), "held_by": Label("Bob"), "not_after": LATER, "proof": PROOF}
    return ProposeKey(**{**asked, **more})


def proposed(
    *roles: RoleGrant, proposal: Digest = D1, by: Did = ALICE, needs: int = 1, person: Did | None = None
) -> KeyProposed:
    return KeyProposed(
        key=BOB, roles=roles or (GPU,), held_by=Label("Bob"), not_after=LATER, proof=PROOF, proposal=proposal,
        proposed_by=by, needs_second=needs > 1, person=person or by, needs=needs, lapses=LAPSES, registrar=place(by),
    )  # fmt: skip


def approved(by: Did, proposal: Digest = D1, person: Did | None = None) -> KeyApproved:
    return KeyApproved(key=BOB, proposal=proposal, approved_by=by, person=person or by, registrar=place(by))


def registered(*roles: RoleGrant, not_after: datetime = LATER, by: tuple[Did, ...] = (ALICE,)) -> KeyRegistered:
    consents = tuple(RegistrarConsent(key=one, person=one) for one in by)
    return KeyRegistered(key=BOB, roles=roles or (GPU,), not_after=not_after, consents=consents)


def held(bob: Key) -> list[tuple[str, datetime]]:
    return [(role.role, role.not_after) for role in bob.roles]


def test_a_key_for_bounded_roles_is_registered_at_once() -> None:
    bob = key()

    bob.propose(propose(), by(ALICE))

    assert bob.pending == [proposed(), registered()]


def test_the_same_registration_again_records_nothing() -> None:
    """Deciding twice records once."""
    bob = key(proposed(), registered())

    bob.propose(propose(), by(CAROL, *given_to_bob(), digest=D2))

    assert bob.pending == []


def test_another_role_leaves_the_others_with_their_ends() -> None:
    """One end stood for all roles: the later of two revived the other."""
    bob = key(proposed(), registered())
    soon = NOW + timedelta(days=1)

    bob.propose(propose(BEAT, not_after=soon), by(ALICE, *given_to_bob(), digest=D2))

    assert [type(event) for event in bob.pending] == [KeyProposed, KeyRegistered]
    assert held(bob) == [(GPU.role, LATER), (BEAT.role, soon)]


@pytest.mark.parametrize("role", [REGISTRAR, VERIFIER])
def test_a_role_that_needs_two_waits_for_the_second(role: RoleGrant) -> None:
    """Also where it stands among bounded ones: nothing of the proposal is in force."""
    bob = key()

    bob.propose(propose(GPU, role), by(ALICE))

    assert bob.pending == [proposed(GPU, role, needs=2)]
    assert bob.roles == []


@pytest.mark.parametrize(
    ("seconds", "is_refused"),
    [(0, True), (-1, True), (1e-6, False), (366 * 86_400, False), (366 * 86_400 + 1e-6, True)],
)
def test_a_key_ends_within_366_days_and_after_now(seconds: float, is_refused: bool) -> None:
    bob, command = key(), propose(not_after=NOW + timedelta(seconds=seconds))

    if is_refused:
        refused(bob, lambda: bob.propose(command, by(ALICE)), EndTooFar, "not_after")
    else:
        bob.propose(command, by(ALICE))
        assert held(bob) == [(GPU.role, command.not_after)]


def test_a_key_is_proposed_on_its_own_stream() -> None:
    bob = key()

    refused(bob, lambda: bob.propose(propose(key=CAROL), by(ALICE)), AddressedWrongly, "key")


@pytest.mark.parametrize(
    ("role", "rule"),
    [
        (RoleGrant(role=Role("providers.curator"), prefix="providers/"), NoSuchRole),
        (RoleGrant(role=Role("identity.self"), prefix="identity/"), NoSuchRole),
        (RoleGrant(role=Role("providers.gpu"), prefix="providers"), BadPrefix),
        (RoleGrant(role=Role("providers.gpu"), prefix="providers/offer"), BadPrefix),
    ],
)  # fmt: skip
def test_a_role_that_no_command_names_and_a_prefix_that_covers_a_part_of_a_word_are_refused(
    role: RoleGrant, rule: type[Refused]
) -> None:
    bob = key()

    refused(bob, lambda: bob.propose(propose(role), by(ALICE)), rule, "roles")


def test_nobody_proposes_himself() -> None:
    """Nor a key that is his by a chain of rotations."""
    bob, follower = key(), Grant(BOB, "providers.gpu", "providers/", LATER, follows=ALICE)

    refused(bob, lambda: bob.propose(propose(), by(BOB)), SamePerson, "key")
    refused(bob, lambda: bob.propose(propose(BEAT), by(ALICE, follower)), SamePerson, "key")


# Approving

WAITING = proposed(VERIFIER, needs=2)


def approve(proposal: Digest = D1) -> ApproveKey:
    return ApproveKey(proposal=proposal)


def test_the_second_registers() -> None:
    bob = key(WAITING)

    bob.approve(approve(), by(CAROL, quorum=3))

    assert bob.pending == [approved(CAROL), registered(VERIFIER, by=(ALICE, CAROL))]


@pytest.mark.parametrize("role", ["identity.registrar", WRITER])
@pytest.mark.parametrize(("quorum", "needed"), [(1, 2), (2, 2), (3, 3)])
def test_registrars_and_writers_need_the_quorum_and_never_fewer_than_two(role: str, quorum: int, needed: int) -> None:
    grant = RoleGrant(role=Role(role), prefix="identity/")
    bob = key(proposed(grant, needs=needed))
    approvers = [CAROL, DAVE, EVE][: needed - 1]

    for n, approver in enumerate(approvers, 2):
        assert bob.roles == []
        bob.approve(approve(), by(approver, quorum=quorum))
        assert bool(bob.roles) is (n == needed)

    assert [type(event) for event in bob.pending] == [*[KeyApproved] * (needed - 1), KeyRegistered]


@pytest.mark.parametrize("actor", [ALICE, BOB, CAROL], ids=["proposer", "proposed", "approved before"])
def test_proposer_approvers_and_proposed_are_different(actor: Did) -> None:
    bob = key(proposed(REGISTRAR, needs=3), approved(CAROL))

    refused(bob, lambda: bob.approve(approve(), by(actor, quorum=3)), SamePerson, "proposal")


def test_the_rotated_key_of_the_proposer_does_not_count_as_a_second_person() -> None:
    """Whoever rotates a key has two that act, for a day."""
    bob = key(WAITING)

    refused(bob, lambda: bob.approve(approve(), by(CAROL, person=ALICE)), SamePerson, "proposal")


def test_who_holds_the_proposed_key_by_a_chain_of_rotations_does_not_approve_it() -> None:
    bob, follower = key(WAITING), Grant(BOB, "providers.gpu", "providers/", LATER, follows=CAROL)

    refused(bob, lambda: bob.approve(approve(), by(CAROL, follower)), SamePerson, "proposal")


def test_who_approves_with_two_keys_of_one_person_approves_once() -> None:
    bob = key(proposed(REGISTRAR, needs=3), approved(CAROL))

    refused(bob, lambda: bob.approve(approve(), by(DAVE, person=CAROL, quorum=3)), SamePerson, "proposal")


@pytest.mark.parametrize("history", [[], [WAITING], [WAITING, registered(VERIFIER)]], ids=["none", "another", "registered"])
def test_only_what_waits_is_approved(history: list[IdentityEvent]) -> None:
    bob = key(*history)
    digest = D2 if len(history) == 1 else D1

    refused(bob, lambda: bob.approve(approve(digest), by(CAROL)), NoSuchProposal, "proposal")


@pytest.mark.parametrize(("late", "is_refused"), [(timedelta(0), False), (timedelta(microseconds=1), True)])
def test_a_proposal_lapses_at_the_end_of_its_last_day(late: timedelta, is_refused: bool) -> None:
    bob = key(WAITING)

    if is_refused:
        refused(bob, lambda: bob.approve(approve(), by(CAROL, now=LAPSES + late)), NoSuchProposal, "proposal")
    else:
        bob.approve(approve(), by(CAROL, now=LAPSES + late))
        assert bob.roles


def test_a_proposal_from_before_they_lapsed_has_lapsed() -> None:
    bob = key(WAITING.model_copy(update={"person": None, "lapses": None, "registrar": None, "needs": None}))

    refused(bob, lambda: bob.approve(approve(), by(CAROL)), NoSuchProposal, "proposal")


@pytest.mark.parametrize(
    "change",
    [
        Withdrawal(ALICE), Withdrawal(ALICE, "identity.registrar", "identity/"),
        Grant(ALICE, "identity.registrar", "identity/network/", FAR), Limit(ALICE, "identity.registrar", "identity/", NOW),
    ],
)  # fmt: skip
def test_a_consent_counts_whose_key_is_a_registrar_when_the_last_one_comes(change: Any) -> None:
    ended = [Withdrawal(ALICE, "identity.registrar", "identity/")] if isinstance(change, Grant) else []
    bob, later = key(WAITING), NOW + timedelta(seconds=1)

    bob.approve(approve(), by(CAROL, *ended, change, now=later))
    assert bob.roles == []
    bob.approve(approve(), by(DAVE, *ended, change, now=later))

    assert bob.pending[-1] == registered(VERIFIER, by=(CAROL, DAVE))


def test_a_consent_ends_with_the_role_and_does_not_come_back_with_it() -> None:
    bob = key(WAITING)
    again = (Withdrawal(ALICE, "identity.registrar", "identity/"), Grant(ALICE, "identity.registrar", "identity/", FAR))

    bob.approve(approve(), by(CAROL, *again))

    assert bob.roles == []


def test_approvals_of_one_proposal_do_not_count_for_another() -> None:
    bob = key(proposed(REGISTRAR, needs=3), proposed(REGISTRAR, proposal=D2, by=CAROL, needs=3))

    bob.approve(approve(), by(DAVE, quorum=3))

    assert bob.roles == []
    assert [agreed.key for agreed in bob.proposals[D2].consents] == [CAROL]


# Rotating


def rotate(**more: Any) -> RotateKey:
    return RotateKey(**{"successor": CAROL, "proof": PROOF, "overlap_seconds": 60, **more})


NEW = Did(ed25519_signer(bytes([9]) * 32).did)


def test_a_rotation_hands_over_what_is_in_force_with_each_end() -> None:
    soon, over = NOW + timedelta(days=1), NOW - timedelta(days=1)
    bob = key(proposed(GPU, BEAT), registered(GPU, BEAT))
    given = [*given_to_bob(BEAT, not_after=soon), *given_to_bob(), *given_to_bob(VERIFIER, not_after=over)]

    bob.rotate(rotate(successor=NEW), by(BOB, *given))

    until = NOW + timedelta(seconds=60)
    handed = tuple(HandedRole(role=role.role, prefix=role.prefix, not_after=end) for role, end in ((BEAT, soon), (GPU, LATER)))
    assert bob.pending == [KeyRotated(key=BOB, successor=NEW, roles=handed, until=until, person=BOB)]
    assert held(bob) == [(GPU.role, until), (BEAT.role, until)]


def test_an_overlap_does_not_outlast_a_role() -> None:
    soon = NOW + timedelta(seconds=10)
    bob = key(proposed(), registered(not_after=soon))

    bob.rotate(rotate(successor=NEW, overlap_seconds=86_400), by(BOB, *given_to_bob(not_after=soon)))

    assert held(bob) == [(GPU.role, soon)]


def test_the_same_rotation_again_records_nothing() -> None:
    bob = key(proposed(), registered())
    bob.rotate(rotate(successor=NEW), by(BOB, *given_to_bob()))

    bob.rotate(rotate(successor=NEW, overlap_seconds=7), by(BOB, *given_to_bob(), now=NOW + timedelta(seconds=30)))

    assert len(bob.pending) == 1


def test_a_key_is_rotated_once() -> None:
    bob = key(proposed(), registered())
    bob.rotate(rotate(successor=NEW), by(BOB, *given_to_bob()))
    bob.pending.clear()

    other = Did(ed25519_signer(bytes([10]) * 32).did)
    refused(bob, lambda: bob.rotate(rotate(successor=other), by(BOB, *given_to_bob())), AlreadyKnown, "successor")


@pytest.mark.parametrize(
    "row",
    [
        Grant(NEW, "providers.gpu", "providers/", LATER), Grant(NEW, "providers.gpu", "providers/", NOW - timedelta(days=9)),
        Grant(NEW, "providers.gpu", "providers/", LATER, follows=ALICE), Withdrawal(NEW),
        Withdrawal(NEW, "providers.gpu", "providers/"),
    ],
    ids=["registered", "past its end", "follower", "revoked", "withdrawn"],
)  # fmt: skip
def test_a_successor_that_has_any_row_is_refused(row: Any) -> None:
    bob = key(proposed(), registered())

    refused(bob, lambda: bob.rotate(rotate(successor=NEW), by(BOB, *given_to_bob(), row)), AlreadyKnown, "successor")


@pytest.mark.parametrize("known", [CAROL, BOB], ids=["of the genesis", "itself"])
def test_a_key_of_the_genesis_and_the_key_itself_are_no_successors(known: Did) -> None:
    bob = key(proposed(), registered())

    refused(bob, lambda: bob.rotate(rotate(successor=known), by(BOB, *given_to_bob())), AlreadyKnown, "successor")


def test_only_a_key_with_a_role_in_force_is_rotated() -> None:
    bob, waiting = key(proposed(), registered()), key(WAITING)
    over = given_to_bob(not_after=NOW - timedelta(seconds=1))

    refused(bob, lambda: bob.rotate(rotate(successor=NEW), by(BOB, *over)), NotRegistered, None)
    refused(waiting, lambda: waiting.rotate(rotate(successor=NEW), by(BOB)), NotRegistered, None)


def test_a_writer_is_not_rotated() -> None:
    bob = key()
    writer = Grant(BOB, WRITER, "", LATER)

    refused(bob, lambda: bob.rotate(rotate(successor=NEW), by(BOB, writer)), NeedsQuorum, None)


# Withdrawing and revoking

WITHDRAW = WithdrawRole(role=GPU.role, prefix=GPU.prefix)
REVOKE = RevokeKey(reason="compromised", suspected_since=NOW)
WITHDRAWN = RoleWithdrawn(key=BOB, role=GPU.role, prefix=GPU.prefix)
TAKEN = Withdrawal(BOB, GPU.role, GPU.prefix)


def test_a_role_is_withdrawn_and_the_others_stay() -> None:
    bob = key(proposed(GPU, BEAT), registered(GPU, BEAT))

    bob.withdraw(WITHDRAW, by(ALICE, *given_to_bob(GPU, BEAT)))

    assert bob.pending == [WITHDRAWN]
    assert held(bob) == [(BEAT.role, LATER)]


def test_a_role_is_withdrawn_once() -> None:
    bob = key(proposed(), registered(), WITHDRAWN)

    bob.withdraw(WITHDRAW, by(ALICE, *given_to_bob(), TAKEN))

    assert bob.pending == []


@pytest.mark.parametrize("given", [[], given_to_bob(BEAT)], ids=["unknown", "another role"])
def test_a_role_that_the_key_does_not_have_cannot_be_withdrawn(given: list[Grant]) -> None:
    bob = key()

    refused(bob, lambda: bob.withdraw(WITHDRAW, by(ALICE, *given)), NotRegistered, "role")


def test_a_role_that_no_event_of_the_stream_gave_is_withdrawn() -> None:
    """By the genesis, or by a rotation to this key."""
    bob = key()

    bob.withdraw(WITHDRAW, by(ALICE, Grant(BOB, GPU.role, GPU.prefix, LATER)))

    assert bob.pending == [WITHDRAWN]


def test_a_revocation_is_for_good() -> None:
    bob = key(proposed(), registered(), WAITING)

    bob.revoke(REVOKE, by(ALICE, *given_to_bob()))

    assert bob.pending == [KeyRevoked(key=BOB, reason="compromised", suspected_since=NOW)]
    assert (bob.roles, bob.proposals, bob.revoked) == ([], {}, True)


@pytest.mark.parametrize(("since", "count"), [(None, 0), (NOW, 0), (LATER, 0), (NOW - timedelta(days=1), 1)])
def test_a_key_is_revoked_again_with_an_earlier_date_only(since: datetime | None, count: int) -> None:
    bob = key(KeyRevoked(key=BOB, reason="retired", suspected_since=NOW))

    bob.revoke(RevokeKey(reason="compromised", suspected_since=since), by(ALICE, Withdrawal(BOB)))

    assert len(bob.pending) == count


ENDED = (registered(), KeyRevoked(key=BOB, reason="retired"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda bob, asking: bob.propose(propose(), asking),
        lambda bob, asking: bob.approve(approve(), asking),
        lambda bob, asking: bob.rotate(rotate(successor=NEW), asking),
    ],
    ids=["propose", "approve", "rotate"],
)
@pytest.mark.parametrize("history", [ENDED, (WAITING, *ENDED), (WAITING,)], ids=["", "waiting", "by another's revocation"])
def test_a_revoked_key_is_never_registered_again(
    ask: Callable[[Key, Asking], None], history: tuple[IdentityEvent, ...]
) -> None:
    """Nor one that ended with the key from which it followed, of which its own stream says nothing."""
    bob = key(*history)

    refused(bob, lambda: ask(bob, by(CAROL, Withdrawal(BOB))), Revoked, "key")


def test_nothing_is_left_to_withdraw_of_a_revoked_key() -> None:
    bob = key(*ENDED)

    bob.withdraw(WITHDRAW, by(ALICE, *given_to_bob(), Withdrawal(BOB)))

    assert bob.pending == []


@pytest.mark.parametrize("name", ["x", f"other/{BOB}", BOB.upper(), f"{BOB}1"])
@pytest.mark.parametrize(
    "ask", [lambda it: it.withdraw(WITHDRAW, by(ALICE)), lambda it: it.revoke(REVOKE, by(ALICE))], ids=["withdraw", "revoke"]
)
def test_a_stream_that_no_key_names_records_nothing(name: str, ask: Callable[[Key], None]) -> None:
    """Its event would name a key that is none: it breaks its own schema and every reader parks it."""
    junk = given(Key, f"identity/key/{name}")

    refused(junk, lambda: ask(junk), AddressedWrongly, "subject")


# Replay


def test_replay_rebuilds_what_was_decided() -> None:
    bob = key()
    bob.propose(propose(GPU, BEAT), by(ALICE))
    bob.propose(propose(REGISTRAR), by(ALICE, digest=D2))
    bob.approve(approve(D2), by(CAROL))
    bob.withdraw(WITHDRAW, by(ALICE, *given_to_bob()))
    bob.rotate(rotate(successor=NEW), by(BOB, *given_to_bob(BEAT)))

    assert key(*bob.pending) == bob


def test_a_rotation_of_the_first_version_folds_as_before() -> None:
    """One end stood for all roles."""
    data = {
        "key": BOB, "successor": NEW, "roles": [{"role": "providers.gpu", "prefix": "providers/"}],
        "not_after": "2027-01-01T00:00:00.000000Z", "until": "2026-12-01T00:00:00.000000Z",
    }  # fmt: skip

    event = read_event({"dataschema": "urn:spaceos:identity.KeyRotated:1", "data": data})

    assert isinstance(event, KeyRotated)
    end = datetime(2027, 1, 1, tzinfo=UTC)
    assert event.roles == (HandedRole(role=GPU.role, prefix=GPU.prefix, not_after=end),)
