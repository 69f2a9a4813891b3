"""Entry by entry: what a bank says it has booked, against what the books say of it (white paper 8.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["unknown", "amount", "not_booked"]
"""`unknown`: the books have nothing of it; `amount`: they have another amount; `not_booked`: the bank has not what they say."""


@dataclass(frozen=True, slots=True)
class Line:
    """A movement by its name; cents, what leaves is negative."""

    name: str
    cents: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not fit; None where one side has nothing."""

    kind: Kind
    name: str
    bank_cents: int | None
    books_cents: int | None


@dataclass
class Matched:
    """How many lines fit, and those that do not, in the bank's order, then in the books'."""

    fit: int = 0
    cents: int = 0
    """Of what fits, in and out together."""
    mismatches: list[Mismatch] = field(default_factory=list)


def match(bank: Iterable[Line], books: Mapping[str, int]) -> Matched:
    """Each side's line is used once: the same name twice at the bank is unknown the second time."""
    found, left = Matched(), dict(books)
    for line in bank:
        known = left.pop(line.name, None)
        if known == line.cents:
            found.fit += 1
            found.cents += line.cents
        else:
            kind: Kind = "unknown" if known is None else "amount"
            found.mismatches.append(Mismatch(kind, line.name, line.cents, known))
    found.mismatches += [Mismatch("not_booked", name, None, cents) for name, cents in left.items()]
    return found
