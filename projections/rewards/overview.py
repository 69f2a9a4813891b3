"""Everybody and every day at a glance."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from contracts.rewards import Payee
from projections.rewards import tables as t
from projections.rewards.queries import earned_under, newest_root


@dataclass(frozen=True, slots=True)
class Earnings:
    """A wallet in one asset: units that it ever earned and ever claimed, what the contract would pay it now, and what its
    fees come to that no epoch has closed yet."""

    payee: str
    asset: str
    earned: int
    claimed: int
    claimable: int
    open: int


def last_epochs(count: int, connection: Connection) -> list[int]:
    """The newest first."""
    return list(connection.scalars(select(t.epochs.c.epoch).order_by(t.epochs.c.epoch.desc()).limit(count)))


def count_of_roots(connection: Connection) -> int:
    """That the contract has, the newest and those before."""
    return connection.scalar(select(func.count()).where(t.epochs.c.state == "confirmed")) or 0


def payees(connection: Connection) -> list[Earnings]:
    """By wallet and asset."""
    root = newest_root(connection, is_confirmed=True)
    under = earned_under(root, connection) if root is not None else {}
    found: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute(select(t.claims)):
        claimable = max(0, under.get((Payee(row.payee), row.asset), 0) - row.claimed)
        found[row.payee, row.asset] = [row.cumulative, row.claimed, claimable, 0]
    fees = select(t.fee_totals.c.payee, t.fee_totals.c.asset, t.fee_totals.c.provider_share).where(
        t.fee_totals.c.kind.in_(("inference", "storage")), ~t.fee_totals.c.epoch.in_(_closed())
    )
    for row in connection.execute(fees):
        found.setdefault((row.payee, row.asset), [0, 0, 0, 0])[3] += row.provider_share
    return [Earnings(*key, *amounts) for key, amounts in sorted(found.items())]


def _closed() -> Select[Any]:
    return select(t.epochs.c.epoch).where(t.epochs.c.state != "open")
