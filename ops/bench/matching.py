"""A statement of a million entries against the books, and against a bare comparison of two sets."""

from collections.abc import Iterator

from domain.treasury.matching import Line, match
from ops.bench import Measure, compare, rate

ENTRIES = 1_000_000


def measures() -> Iterator[Measure]:
    """One in a thousand does not fit."""
    bank = [Line(f"W{n}", n % 9_999) for n in range(ENTRIES)]
    books = {f"W{n}": n % 9_999 + (n % 1000 == 0) for n in range(ENTRIES)}
    both = {(line.name, line.cents) for line in bank}, set(books.items())
    yield compare(
        "entries of a statement matched with the books / set difference both ways",
        lambda: rate(ENTRIES, lambda: match(bank, books)),
        lambda: rate(ENTRIES, lambda: (both[0] - both[1], both[1] - both[0])),
        unit="entries/s", goal="≥ 0.1", is_met=lambda ratio, _: ratio >= 0.1, rounds=3,
    )  # fmt: skip
