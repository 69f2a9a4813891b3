"""Ids and quantities: one spelling each, exact, and written as they are read."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts import Count, Did, Digest, Flag, Label, Money, StreamName, Timestamp, Uuid, instant, rfc3339, uuid7
from contracts._values import FROM_THE_WIRE

money: TypeAdapter[int] = TypeAdapter(Money)
count: TypeAdapter[int] = TypeAdapter(Count)


@given(st.integers(0, 10**78 - 1))
def test_money_goes_through_the_wire_unchanged(units: int) -> None:
    text = money.dump_python(units, mode="json")

    assert text == str(units)
    assert money.validate_python(text, context=FROM_THE_WIRE) == units


@pytest.mark.parametrize("said", [-1, 10**78, True, 1.0, "-1", "+1", "01", "1.0", "1e2", " 1", "1\n", "", "٣", "1" * 79, None])
def test_an_amount_has_one_spelling(said: Any) -> None:
    """pydantic's lax `int` takes True, 1.0 and "12"; orjson and floats would have rounded."""
    with pytest.raises(ValidationError):
        money.validate_python(said)


def test_an_amount_on_the_wire_is_a_string() -> None:
    """The published schema says so: a number that we took would be rounded by somebody else's JavaScript."""
    with pytest.raises(ValidationError):
        money.validate_python(12, context=FROM_THE_WIRE)

    assert money.validate_python(12) == 12


@pytest.mark.parametrize("said", [True, 1.0, "1", -1, 2**53 + 1, None])
def test_a_count_is_a_whole_number_below_2_to_the_53(said: Any) -> None:
    with pytest.raises(ValidationError):
        count.validate_python(said)


@pytest.mark.parametrize("said", [1, 0, "true", None])
def test_a_flag_is_true_or_false(said: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Flag).validate_python(said)


moments = st.datetimes(timezones=st.just(UTC))


@given(moments)
def test_a_time_goes_through_the_wire_unchanged(moment: datetime) -> None:
    """Year 1 included: strftime writes it with one digit, and what was recorded so could never be read again."""
    assert instant(rfc3339(moment)) == moment


@given(st.lists(moments, min_size=2, max_size=5))
def test_times_sort_as_text(some: list[datetime]) -> None:
    assert sorted(map(rfc3339, some)) == [rfc3339(moment) for moment in sorted(some)]


def test_a_time_is_written_in_utc_wherever_it_was_taken() -> None:
    moment = datetime(2026, 11, 24, 3, 12, 35, tzinfo=timezone(timedelta(hours=5, minutes=45)))

    assert rfc3339(moment) == "2026-11-23T21:27:35.000000Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T03:12:35", "2026-11-24T03:12:35+00:00", "2026-11-24 03:12:35Z", "2026-11-24T03:12:35z", "20261124T031235Z",
        "2026-11-24T03:12Z", "2026-11-24T24:00:00Z", "2026-02-29T00:00:00Z", "2026-11-24T03:12:60Z", "٢٠٢٦-11-24T03:12:35Z",
        "0000-01-01T00:00:00Z", "2026-11-24T03:12:35.1234567Z", "2026-11-24T03:12:35.Z", "2026-11-24T03:12:35Z\n", "",
    ],
)  # fmt: skip
def test_a_time_that_is_not_rfc_3339_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Timestamp).validate_python(text)


def test_a_uuid_7_sorts_by_time_and_repeats_from_its_arguments() -> None:
    first, second = uuid7(1_000, bytes(10)), uuid7(1_001, bytes(10))

    assert first < second
    assert first == uuid7(1_000, bytes(10))
    assert first[14] == "7"
    assert first[19] in "89ab"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_uuid_7_is_a_uuid(milliseconds: int, random: bytes) -> None:
    assert re.fullmatch(Uuid.pattern, uuid7(milliseconds, random))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Uuid, "0192f0c1-0000-7000-8000-00000000000G"), (Uuid, "0192F0C1-0000-7000-8000-000000000000"),
        (Digest, "A" * 64), (Digest, "a" * 63), (Digest, "a" * 64 + "\n"), (Label, ""), (Label, " x"), (Label, "é"),
        (Did, "did:key:z6Mk"), (Did, "did:pkh:eip155:0:0x" + "a" * 40), (Did, "did:pkh:eip155:1:0x" + "a" * 39),
        (StreamName, "identity"), (StreamName, "identity/"), (StreamName, "Identity/key"), (StreamName, "a/b/c/d/e"),
        (StreamName, "a/b c"), (StreamName, "a/é"), (StreamName, "a/" + "b" * 121),
    ],
)  # fmt: skip
def test_an_id_of_another_form_is_refused_with_one_error_at_its_own_place(kind: Any, text: str) -> None:
    """The two ways in which an id may come (as text, or taken over) are our affair, not the client's."""
    with pytest.raises(ValueError, match=kind.__name__):
        kind.checked(text)
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(kind).validate_python(text)

    assert [(error["loc"], kind.__name__ in error["msg"]) for error in refusal.value.errors()] == [((), True)]
