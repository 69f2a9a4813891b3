"""A sealing key is made once and destroyed once."""

from contracts import EventId
from contracts.custody import CreateKey, KeyCreated, KeyShredded, Shred
from domain.custody import AlreadyHeld, NotHeld, SealingKey, Shredded
from tests.domain.given import given, refused, then

CREATED = KeyCreated(kind="sealing", retention_class="kyc", year=2026)
CAUSE = EventId("00000000-0000-5000-8000-000000000001")


def a_key(*events: KeyCreated | KeyShredded) -> SealingKey:
    return given(SealingKey, "custody/key/" + "0" * 32, *events)


def test_a_key_is_made_for_one_class_and_year() -> None:
    key = a_key()

    then(key, lambda: key.create(CreateKey(kind="sealing", retention_class="kyc", year=2026)), CREATED)
    refused(key, lambda: key.create(CreateKey(kind="sealing", retention_class="none", year=2026)), AlreadyHeld)


def test_a_key_is_destroyed_once_and_never_comes_back() -> None:
    key = a_key(CREATED)

    then(key, lambda: key.shred(Shred(cause=CAUSE)), KeyShredded(cause=CAUSE))
    refused(key, lambda: key.create(CreateKey(kind="sealing", retention_class="kyc", year=2026)), Shredded)


def test_a_key_that_was_never_made_is_not_destroyed() -> None:
    key = a_key()

    refused(key, lambda: key.shred(Shred(cause=CAUSE)), NotHeld)
