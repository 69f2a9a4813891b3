"""Personal data opens where it was sealed, under its key, and nowhere else; what it committed to can be shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sealing import BLOCK_BYTES, NotOpened, Opened, Place, commitment, seal, unseal
from contracts import Sealed
from contracts.identity import KeyProposed, ProposeKey

KEY, KEY_ID = bytes(range(32)), "ab" * 16
PLACE = Place("test", "identity/key/did:key:z6Mk", "01a2117f-803a-7000-8000-000000000000", "/held_by")


@given(st.text(max_size=300))
def test_a_text_opens_where_it_was_sealed(text: str) -> None:
    opened = unseal(seal(text, KEY_ID, KEY, PLACE), KEY, PLACE)

    assert opened.text == text
    assert commitment(opened.salt, text) == seal(text, KEY_ID, KEY, PLACE, salt=opened.salt).commitment


@pytest.mark.parametrize("changed", ["network", "stream", "command", "path"])
def test_a_ciphertext_that_is_copied_elsewhere_does_not_open(changed: str) -> None:
    sealed = seal("Ada Lovelace", KEY_ID, KEY, PLACE)
    elsewhere = Place(**{**{name: getattr(PLACE, name) for name in PLACE.__slots__}, changed: "elsewhere"})

    with pytest.raises(NotOpened):
        unseal(sealed, KEY, elsewhere)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(NotOpened):
        unseal(seal("Ada Lovelace", KEY_ID, KEY, PLACE), bytes(32), PLACE)


def test_a_text_that_is_not_what_was_committed_to_is_refused() -> None:
    """Who has the key could seal another text later; the commitment is in the signed record."""
    sealed, other = seal("yes", KEY_ID, KEY, PLACE), seal("no", KEY_ID, KEY, PLACE)

    with pytest.raises(NotOpened):
        unseal(other.model_copy(update={"commitment": sealed.commitment}), KEY, PLACE)


def test_a_length_says_little() -> None:
    """Twenty bytes of name and forty of address are one block's difference at most."""
    assert len(seal("no", KEY_ID, KEY, PLACE).body) == len(seal("a" * (BLOCK_BYTES - 33), KEY_ID, KEY, PLACE).body)


def test_the_same_text_twice_shares_nothing() -> None:
    """Else equal commitments would tell that two people live at one address."""
    one, two = seal("Ada", KEY_ID, KEY, PLACE), seal("Ada", KEY_ID, KEY, PLACE)

    assert (one.nonce, one.body, one.commitment) != (two.nonce, two.body, two.commitment)
    assert not {one.nonce, one.body, one.commitment} & {two.nonce, two.body, two.commitment}


def test_a_sealed_name_stays_sealed_on_its_way_through_command_and_event() -> None:
    """pydantic writes a field by the first member of its union that can; a text type would write anything as text."""
    sealed = seal("Ada", KEY_ID, KEY, PLACE)
    fields = ProposeKey.model_fields["held_by"], KeyProposed.model_fields["held_by"]
    command = ProposeKey.model_construct(held_by=sealed)
    event = KeyProposed.model_construct(held_by=sealed)

    assert all(field.annotation is not None for field in fields)
    for message in (command, event):
        assert Sealed.model_validate(json.loads(message.json_bytes())["held_by"]) == sealed


def test_an_opening_shows_text_and_salt() -> None:
    opened = unseal(seal("Ada", KEY_ID, KEY, PLACE, salt=bytes(32)), KEY, PLACE)

    assert opened == Opened(bytes(32), "Ada")
