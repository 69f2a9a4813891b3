"""Cases at a glance."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from projections.staking.tables import cases


@dataclass(frozen=True, slots=True)
class CaseLine:
    """A case and where it stands; `until` is the end of the window that is open."""

    case: str
    offence: str
    state: str
    opened_at: str
    until: str | None


def recent_cases(connection: Connection, limit: int = 20) -> list[CaseLine]:
    """The newest first."""
    rows = connection.execute(select(cases).order_by(cases.c.opened_at.desc(), cases.c.case).limit(limit))
    return [CaseLine(row.case, row.offence, row.state, row.opened_at, row.deadline) for row in rows]
