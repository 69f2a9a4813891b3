"""Every line of both sides ends in exactly one place."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from domain.treasury.matching import Line, Mismatch, match

names = st.sampled_from([f"W{n}" for n in range(12)])
cents = st.integers(-5, 5)


@given(st.lists(st.builds(Line, names, cents), max_size=20), st.dictionaries(names, cents))
def test_nothing_is_lost_and_nothing_is_used_twice(bank: list[Line], books: dict[str, int]) -> None:
    found = match(bank, books)

    kinds = Counter(mismatch.kind for mismatch in found.mismatches)
    assert found.fit + kinds["amount"] + kinds["unknown"] == len(bank)
    assert found.fit + kinds["amount"] + kinds["not_booked"] == len(books)
    of_bank = found.cents + sum(m.bank_cents or 0 for m in found.mismatches)
    of_books = found.cents + sum(m.books_cents or 0 for m in found.mismatches)
    assert (of_bank, of_books) == (sum(line.cents for line in bank), sum(books.values()))


@given(st.dictionaries(names, cents))
def test_two_sides_that_are_the_same_fit(books: dict[str, int]) -> None:
    found = match([Line(name, units) for name, units in books.items()], books)

    assert (found.fit, found.mismatches) == (len(books), [])


def test_a_payment_that_is_booked_twice_is_known_once() -> None:
    found = match([Line("W1", 5), Line("W1", 5)], {"W1": 5})

    assert (found.fit, found.mismatches) == (1, [Mismatch("unknown", "W1", 5, None)])


def test_a_cent_less_is_told_with_both_amounts() -> None:
    assert match([Line("W1", 99)], {"W1": 100}).mismatches == [Mismatch("amount", "W1", 99, 100)]
