"""When two views are equal: one SHA-256 over their rows, the same on SQLite and PostgreSQL and at any batch size."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Column, Connection, MetaData, String, Table, select

from contracts import rfc3339
from projections import MoneyColumn, Projection

_FETCH_ROWS = 2_000
_LARGEST_EXACT = 2**53
"""Above, a reader of JSON may see another number."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A view's digest, and how many rows it is over."""

    sha256: str
    rows: int


def digest(connection: Connection, projection: Projection, names: Mapping[Table, str] | None = None) -> Digest:
    """The tables by name, a line with the name of each; their rows by primary key, each a line of JSON: its columns in order.

    Money and integers beyond 2^53 are text, bytes are hexadecimal. `names` are those of a rebuild's tables.
    """
    hashed, rows = hashlib.sha256(), 0
    if connection.dialect.name == "postgresql":
        # It holds no lock, so a reader that is slow to ask for the next rows harms nobody.
        connection.exec_driver_sql("set local idle_in_transaction_session_timeout = '60s'")
    for table in sorted(projection.tables, key=lambda table: table.name):
        hashed.update(orjson.dumps(table.name) + b"\n")
        target = table.to_metadata(MetaData(), name=names[table]) if names else table
        for lines in _lines(connection, target):
            hashed.update(b"\n".join(lines) + b"\n")
            rows += len(lines)
    return Digest(hashed.hexdigest(), rows)


def _lines(connection: Connection, table: Table) -> Iterable[list[bytes]]:
    forms = [_form(column) for column in table.columns]
    found = connection.execute(select(table).order_by(*_order(connection, table)).execution_options(yield_per=_FETCH_ROWS))
    for rows in found.partitions():
        yield [orjson.dumps([form(value) for form, value in zip(forms, row, strict=True)]) for row in rows]


def _order(connection: Connection, table: Table) -> Iterable[Any]:
    for column in table.primary_key.columns:
        # SQLite compares bytes; PostgreSQL would follow the language of the database.
        plain = connection.dialect.name != "postgresql" or not isinstance(column.type, String)
        yield column if plain else column.collate("C")


def _form(column: Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, MoneyColumn):
        return lambda value: None if value is None else str(value)
    return _json


def _json(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_LARGEST_EXACT <= value <= _LARGEST_EXACT else str(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"a view has no column of {type(value).__name__}")
