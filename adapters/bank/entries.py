"""What a bank says it has booked: values, the name of each entry, and why a statement is not believed.

Amounts are integers of the currency's hundredths; a debit is negative.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol

from contracts import decimals_of

Rule = Literal["form", "structure", "date", "decimals", "currency", "sum", "reference", "size"]
"""What a refused statement breaks: `form`, a field is not written as its standard says; `structure`, a field is missing,
twice or misplaced; `sum`, opening and entries do not make the closing; `reference`, two entries have one name."""


class Place(Protocol):
    """Where in the file something stands."""

    @property
    def line(self) -> int: ...

    @property
    def path(self) -> str:
        """The way through the XML, `Stmt[2]/Ntry[1]`; empty where lines are enough."""
        ...


class StatementRefused(ValueError):
    """A statement, or a whole file, that is not believed; nothing of it is money."""

    def __init__(self, line: int, rule: Rule, text: str, path: str = "") -> None:
        super().__init__(f"line {line}{', ' if path else ''}{path}: {text} ({rule})")
        self.line = line
        self.path = path
        self.rule: Rule = rule
        self.text = text

    @classmethod
    def at(cls, place: Place, rule: Rule, text: str) -> "StatementRefused":
        return cls(place.line, rule, text, place.path)


class NotOurCurrency(StatementRefused):
    """It is well written, of an account in a currency that backs no coin of ours."""

    def __init__(self, line: int, currency: str, path: str = "") -> None:
        super().__init__(line, "currency", f"{currency} is no currency of this network", path)
        self.currency = currency


@dataclass(frozen=True, slots=True)
class Entry:
    """One booked line. What is pending or announced is no entry."""

    reference: str
    """Names the entry wherever it is shown: `References` says how. Fit to be part of a stream's name."""
    booked_at: date
    value_date: date
    cents: int
    is_reversal: bool
    """Whether the bank takes back an earlier booking. The sign is that of this booking, not of the earlier one."""
    payment_reference: str
    """What the payer (or we, where we paid) gave the payment as a name; empty without. The bank vouches for nothing of it."""
    text: str
    source: str
    """SHA-256 of the entry as the file has it, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One account over some days. A report or notification in between may have no balances, and then adds up to nothing."""

    kind: Literal["statement", "report", "notification"]
    account: str
    asset: str
    """`EUR.bank`."""
    number: str
    opening: int | None
    closing: int | None
    as_of: date
    """The day of the closing balance; without one, the day on which the report was made."""
    entries: tuple[Entry, ...]
    source: str
    """SHA-256 of the whole file, in hexadecimal."""


def asset_of(currency: str, place: Place) -> str:
    """`EUR` to `EUR.bank`. Raises NotOurCurrency."""
    try:
        decimals_of(f"{currency}.bank")
    except LookupError:
        raise NotOurCurrency(place.line, currency, place.path) from None
    return f"{currency}.bank"


def cents_of(digits: str, place: Place, mark: str) -> int:
    """`12,5` to 1250, `mark` being the decimal sign. A third decimal is refused, also a zero. Raises StatementRefused."""
    whole, _, part = digits.partition(mark)
    if not re.fullmatch(r"[0-9]{1,15}", whole) or not re.fullmatch(r"[0-9]*", part):
        raise StatementRefused.at(place, "form", f"{digits[:40]!r} is no amount")
    if len(part) > 2:
        raise StatementRefused.at(place, "decimals", f"{digits} has {len(part)} decimals, money at a bank has two")
    return int(whole) * 100 + int(part.ljust(2, "0"))


def adds_up(opening: int | None, entries: Iterable[Entry], closing: int | None, place: Place) -> None:
    """Opening plus entries is closing, where both are known. Raises StatementRefused with the place of the closing."""
    if opening is None or closing is None:
        return
    found = opening + sum(entry.cents for entry in entries)
    if found != closing:
        text = f"{opening} and the entries are {found} cents, the closing balance says {closing}"
        raise StatementRefused.at(place, "sum", text)


NAMELESS = frozenset({"", "NONREF", "NOTPROVIDED", "NOTAVAILABLE", "NOREF", "UNKNOWN"})
"""What banks write where they have no reference."""

_FIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,39}")


@dataclass
class References:
    """The names of one statement's entries, the same in an intraday report and in the day's statement.

    The bank's own reference, as it is where it fits into a stream's name, else its digest. Without one: a digest of account,
    booking date, amount and the ordinal among the equal ones of that day. The ordinals begin anew with each file: where two
    files each show only what is new, two equal entries without a reference have one name until the day's statement tells
    them apart. So one is issued late, and none twice.
    """

    account: str
    _ordinals: Counter[tuple[date, int]] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    def name(self, own: str, booked_at: date, cents: int, place: Place, *, is_reversal: bool) -> str:
        """The entry's name. Raises StatementRefused when an entry before it has the same one."""
        own = own.strip()
        if own.upper() in NAMELESS:
            ordinal = self._ordinals[booked_at, cents]
            self._ordinals[booked_at, cents] += 1
            return _digest("entry", self.account, booked_at.isoformat(), str(cents), str(ordinal))
        # A reversal often bears the reference of what it takes back.
        found = (own if _FIT.fullmatch(own) else _digest("own", self.account, own)) + (".reversal" if is_reversal else "")
        if found in self._seen:
            raise StatementRefused.at(place, "reference", f"{own!r} is the reference of an entry before this one, too")
        self._seen.add(found)
        return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
