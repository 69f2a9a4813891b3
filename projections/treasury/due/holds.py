"""Holds that are open, for whoever they were made, and those whose time is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from contracts import Amount, instant, rfc3339
from projections.treasury import tables

WAITS_AT_MOST = timedelta(days=14)
"""Longer than a context may be halted. Whoever holds names the purpose, and one that nobody answers must end some day."""


@dataclass(frozen=True, slots=True)
class HoldDue:
    """A hold that is open."""

    account: str
    owner: str
    hold: str
    amount: Amount
    purpose: str
    expires_at: datetime
    held_by: str
    since: datetime
    event: str
    """The `Held`."""


def open_holds(purpose: str, connection: Connection) -> list[HoldDue]:
    """Open holds whose purpose is that, or begins with it and a colon: `stake` finds `stake:<stream>`."""
    named = (tables.holds.c.purpose == purpose) | tables.holds.c.purpose.startswith(f"{purpose}:", autoescape=True)
    return _holds(connection, named)


def holds_overdue(at: datetime, connection: Connection) -> list[HoldDue]:
    """Open holds whose time is over. Those that wait for another context, whose stream their purpose names, have longer."""
    expires = tables.holds.c.expires_at
    return _holds(connection, ((expires <= rfc3339(at)) & ~_waits()) | (expires <= rfc3339(at - WAITS_AT_MOST)))


def next_overdue(at: datetime, connection: Connection) -> datetime | None:
    """When the first of those that are not overdue yet is."""
    expires = tables.holds.c.expires_at
    found = []
    for longer, which in ((timedelta(0), ~_waits()), (WAITS_AT_MOST, _waits())):
        statement = select(func.min(expires)).where(tables.holds.c.state == "open", expires > rfc3339(at - longer), which)
        if (first := connection.scalar(statement)) is not None:
            found.append(instant(first) + longer)
    return min(found, default=None)


def _waits() -> ColumnElement[bool]:
    return tables.holds.c.purpose.contains("/")


def _holds(connection: Connection, which: Any) -> list[HoldDue]:
    table, account = tables.holds, tables.accounts
    joined = table.join(account, account.c.account == table.c.account)
    statement = select(table, account.c.owner, account.c.asset).select_from(joined).where(table.c.state == "open", which)
    return [
        HoldDue(
            row.account, row.owner, row.hold, Amount.of(row.asset, row.units), row.purpose, instant(row.expires_at),
            row.held_by, instant(row.at), row.event,
        )
        for row in connection.execute(statement.order_by(table.c.at, table.c.account, table.c.hold))
    ]  # fmt: skip
