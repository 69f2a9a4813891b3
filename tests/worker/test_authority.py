"""Who may send what, where, until when: as a function, and as a worker keeps it between two batches."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.sql.store import Granted, KeyAuthority
from commands import Grant, Withdrawal, changed
from contracts import RefusalReason, parse_command
from contracts.identity import ProposeKey, WithdrawRole
from domain.identity.authority import covers
from ops.worker.authority import Permit, permitted
from tests.worker.world import alice, bob, propose, signed, stream_of

NOW = datetime(2026, 11, 24, tzinfo=UTC)
RECORD = parse_command(propose(bob).value, propose(bob).key, [("signature", b"x")])


def known(*grants: Granted, revoked: bool = False) -> KeyAuthority:
    return KeyAuthority(alice.did, "identity.events/0", 9, revoked, grants)


def granted(role: str = "identity.registrar", prefix: str = "identity/", until: datetime = NOW) -> Granted:
    return Granted(role, prefix, until, "identity.events/0", 4)


def answer(authority: KeyAuthority | None, now: datetime = NOW) -> str | Permit:
    found = permitted(authority, ProposeKey, RECORD, now)
    return found.name if isinstance(found, RefusalReason) else found


def test_a_role_ends_on_its_last_moment() -> None:
    assert answer(known(granted())) == Permit("identity.events/0", 4)
    assert answer(known(granted()), NOW + timedelta(microseconds=1)) == "Expired"


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        (None, "NotInRole"),
        (known(), "NotInRole"),
        (known(granted("providers.gpu")), "NotInRole"),
        (known(granted(prefix="identity/network")), "OutOfPrefix"),
        (known(granted(until=NOW - timedelta(days=1))), "Expired"),
        (known(granted(), revoked=True), "Revoked"),
    ],
)
def test_without_a_grant_that_covers_it_the_command_is_refused(authority: KeyAuthority | None, name: str) -> None:
    assert answer(authority) == name


def test_one_grant_that_covers_it_is_enough() -> None:
    ended = granted(until=NOW - timedelta(days=1))
    elsewhere = granted(prefix="identity/network")

    assert isinstance(answer(known(ended, elsewhere, granted("providers.gpu"), granted())), Permit)


@pytest.mark.parametrize(
    ("prefix", "subject", "expected"),
    [
        ("", "a/b", True), ("a/", "a/b", True), ("a/b", "a/b", True), ("a/b", "a/b/c", True), ("a/b", "a/bc", False),
        ("a/b", "a/b.c", False), ("a/b", "a/b-c", False), ("a/b/", "a/b", False), ("a", "ab/c", False), ("b", "a/b", False),
        ("a/b/c.", "a/b/c.d", True), ("a/b/c", "a/b/c", True), ("a/b/c", "a/b/c/d", False), ("a/b/c", "a/b/c.d", False),
    ],
)  # fmt: skip
def test_a_prefix_covers_what_begins_with_it_or_one_whole_stream(prefix: str, subject: str, expected: bool) -> None:
    """Or a grant for provider 1 would cover provider 10."""
    assert covers(prefix, subject) is expected


def own(subject: str) -> str | Permit:
    sent = signed(WithdrawRole(role="a.b", prefix=""), subject, by=alice)
    record = parse_command(sent.value, sent.key, [("signature", b"x")])
    found = permitted(known(granted("providers.gpu")), WithdrawRole, record, NOW)
    return found.name if isinstance(found, RefusalReason) else found


def test_a_key_may_do_its_own_on_exactly_its_own_stream() -> None:
    assert own(stream_of(alice)) == Permit("identity.events/0", 4)
    assert own(stream_of(bob)) == "NotInRole"
    assert own(f"identity/key/x/{alice.did}") == "NotInRole"


def test_changes_of_a_batch_are_what_the_store_will_say() -> None:
    first = changed(None, Grant("k", "a.b", "a/", NOW), "s", 1)
    second = changed(first, Grant("k", "a.b", "a/", NOW + timedelta(days=1)), "s", 2)
    third = changed(second, Grant("k", "c.d", "c/", NOW), "s", 3)
    fourth = changed(third, Withdrawal("k", "a.b", "a/"), "s", 4)

    assert [g.not_after for g in second.grants] == [NOW + timedelta(days=1)]
    assert [(g.role, g.sequence) for g in third.grants] == [("a.b", 2), ("c.d", 3)]
    assert [(g.role, g.sequence) for g in fourth.grants] == [("c.d", 3)]
    assert fourth.position == ("s", 4)
    assert changed(fourth, Withdrawal("k"), "s", 5).revoked
    assert changed(changed(None, Withdrawal("k"), "s", 1), Grant("k", "a.b", "", NOW), "s", 2).revoked
