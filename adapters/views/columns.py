"""What a column of a view takes: the same on both databases, whatever either would do by itself.

SQLite knows no lengths and takes any number for any column; PostgreSQL cuts off spaces, and what is cast to a length.
"""

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String
from sqlalchemy.engine import Dialect

from projections import MONEY_DIGITS, MoneyColumn, padded

Values = Sequence[Any]
Form = Callable[[Values], Values]
"""From a column's values to what the driver is given. Raises ValueError, TypeError, whose text says what is wrong."""


_TOO_MUCH = 10**MONEY_DIGITS


class Unwritable(ValueError):
    """A row that no database may hold: too long, too large, of another type, with what PostgreSQL does not have (NUL)."""


def form_of(column: Column[Any], dialect: Dialect) -> Form:
    """How the column's values are written, each checked. All at once: a call for each would cost more than its SQL."""
    kind = column.type
    if isinstance(kind, MoneyColumn):
        return _money if dialect.name == "postgresql" else _padded
    if isinstance(kind, String):
        return _texts(kind.length)
    if isinstance(kind, Boolean):
        return _booleans if dialect.name == "postgresql" else _bits
    if isinstance(kind, Integer):
        return _integers(63 if isinstance(kind, BigInteger) else 31)
    if isinstance(kind, LargeBinary):
        return _bytes
    raise TypeError(f"a view has no column of {type(kind).__name__}")


def _texts(length: int | None) -> Form:
    def form(values: Values) -> Values:
        # What is absent or empty is of any length.
        texts = list(filter(None, values))
        whole = "".join(texts)
        if length is not None and texts and (longest := max(map(len, texts))) > length:
            raise ValueError(f"a text of {longest} characters, where at most {length} are kept")
        if "\x00" in whole:
            raise ValueError("a text with the character NUL")
        if not whole.isascii():
            whole.encode()
        # psycopg refuses a list in which some are of a class of their own, as our ids are.
        return [None if value is None else str(value) for value in values]

    return form


def _integers(bits: int) -> Form:
    least, most = -(1 << bits), (1 << bits) - 1

    def form(values: Values) -> Values:
        numbers = [None if value is None else index(value) for value in values]
        there = list(filter(None, numbers))
        if there and (min(there) < least or max(there) > most):
            raise ValueError(f"a number beyond {bits + 1} bits")
        return numbers

    return form


def _money(values: Values) -> Values:
    numbers = [None if value is None else index(value) for value in values]
    there = list(filter(None, numbers))
    if there and max(max(there), -min(there)) >= _TOO_MUCH:
        raise ValueError(f"an amount of more than {MONEY_DIGITS} digits")
    return numbers


def _padded(values: Values) -> Values:
    return [None if number is None else padded(number) for number in _money(values)]


def _booleans(values: Values) -> Values:
    for value in values:
        if value is not None and value is not True and value is not False:
            raise TypeError(f"{type(value).__name__} where true or false is kept")
    return values


def _bits(values: Values) -> Values:
    return [None if value is None else int(value) for value in _booleans(values)]


def _bytes(values: Values) -> Values:
    return [None if value is None else bytes(memoryview(value)) for value in values]
