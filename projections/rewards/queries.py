"""What rewards can be asked: how a receipt was divided, what is in circulation, what is owed, and the proof of a claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, select

from contracts import instant
from contracts.rewards import SPACE, TRANCHE_SECONDS, Bucket, ChainHash, GrantCreated, Payee, Recipient
from domain.rewards.claims import NATIVE_TOKEN, Claim, ClaimTree, proves, table
from domain.rewards.emission import line
from domain.rewards.grants import releasable
from projections import Row
from projections.rewards import tables as t


class OtherTable(Exception):
    """What the views show as earned does not lead to the root: they are behind, or an asset's contract is another than then."""


@dataclass(frozen=True, slots=True)
class Supply:
    """SPACE units (4 decimals). What was burned stays issued: the cap does not reopen."""

    issued: int
    burned: int

    @property
    def circulating(self) -> int:
        return self.issued - self.burned


@dataclass(frozen=True, slots=True)
class BucketState:
    """A share of the cap; `ceiling` is what may have left it by now."""

    bucket: str
    share: int
    issued: int
    set_aside: int
    ceiling: int

    @property
    def left(self) -> int:
        return self.share - self.issued - self.set_aside


@dataclass(frozen=True, slots=True)
class EpochState:
    """A day. `factor` is the part of what was owed that the pool paid, in millionths."""

    epoch: int
    state: str
    pool: int | None
    owed: int | None
    paid: int
    lapsed: int
    factor: int | None
    root: str | None
    block: int | None
    """In which the contract got the root."""


@dataclass(frozen=True, slots=True)
class Root:
    """Of an epoch. `assets` are those that its table holds; `block` is None until the contract has it."""

    epoch: int
    root: ChainHash
    assets: frozenset[str]
    block: int | None


@dataclass(frozen=True, slots=True)
class ClaimState:
    """A payee in an asset. With `claim` and `proof` the contract pays what is cumulative there and not claimed yet."""

    payee: str
    asset: str
    earned: int
    claimed: int
    claim: Claim | None
    """The row under the newest root that the contract has."""
    proof: tuple[str, ...]
    root: Root | None
    waiting: int | None
    """The epoch of a newer root, which the contract does not have yet."""

    @property
    def claimable(self) -> int:
        return max(0, self.claim.cumulative - self.claimed) if self.claim else 0


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant at a moment."""

    grant: str
    beneficiary: str
    total: int
    released: int
    releasable: int
    """Given by the schedule and not released."""
    next_at: datetime | None
    """When the schedule gives more, where it is by time."""
    milestones_open: tuple[int, ...]
    revoked: bool
    since: datetime
    """Its last release, or else its creation."""


def split_of(receipt: str, connection: Connection) -> list[Row]:
    """How the receipt was divided."""
    return [row._asdict() for row in connection.execute(select(t.fee_splits).where(t.fee_splits.c.receipt == receipt))]


def divided_of(receipts: list[str], connection: Connection) -> set[str]:
    """Those of the receipts that were divided."""
    return set(connection.scalars(select(t.fee_splits.c.receipt).where(t.fee_splits.c.receipt.in_(receipts))))


def earnings_of(payee: str, epoch: int, connection: Connection) -> dict[str, int]:
    """Units of each asset that a provider's wallet earned from fees in an epoch."""
    columns = t.fee_totals.c
    found: dict[str, int] = {}
    for row in connection.execute(select(t.fee_totals).where(columns.payee == payee, columns.epoch == epoch)):
        found[row.asset] = found.get(row.asset, 0) + row.provider_share
    return found


def supply_at(version: int | None, connection: Connection) -> Supply:
    """At a version of the emission's stream; None is now."""
    statement = select(t.supply).order_by(t.supply.c.version.desc()).limit(1)
    if version is not None:
        statement = statement.where(t.supply.c.version <= version)
    row = connection.execute(statement).one_or_none()
    return Supply(row.issued, row.burned) if row else Supply(0, 0)


def buckets_at(now: datetime, connection: Connection) -> list[BucketState]:
    """Every bucket, with what its line has opened by then."""
    genesis = connection.scalar(select(t.emission.c.genesis_at))
    open_line = line((now - instant(genesis)) // timedelta(seconds=1)) if genesis else 0
    rows = connection.execute(select(t.buckets).order_by(t.buckets.c.bucket))
    return [
        BucketState(r.bucket, r.share, r.issued, r.set_aside, open_line if r.bucket == "providers" else r.share) for r in rows
    ]


def epoch_of(epoch: int, connection: Connection) -> EpochState | None:
    """What the day owed and what was paid of it."""
    row = connection.execute(select(t.epochs).where(t.epochs.c.epoch == epoch)).one_or_none()
    if row is None:
        return None
    paid = lapsed = 0
    for found in connection.execute(select(t.yields.c.paid, t.yields.c.lapsed).where(t.yields.c.epoch == epoch)):
        paid, lapsed = paid + (found.paid or 0), lapsed + (found.lapsed or 0)
    factor = None
    if row.owed is not None:
        factor = 1_000_000 if row.owed <= row.pool else row.pool * 1_000_000 // row.owed
    return EpochState(row.epoch, row.state, row.pool, row.owed, paid, lapsed, factor, row.root, row.confirmed_in)


def yield_of(position: str, connection: Connection) -> list[Row]:
    """Each day of a stake, the newest first."""
    statement = select(t.yields).where(t.yields.c.position == position).order_by(t.yields.c.epoch.desc())
    return [row._asdict() for row in connection.execute(statement)]


def earned_until(epoch: int, connection: Connection) -> dict[tuple[Payee, str], int]:
    """Of payee and asset what was earned up to and with an epoch: the table of that epoch's root."""
    found = {(Payee(r.payee), r.asset): r.cumulative for r in connection.execute(select(t.claims))}
    for row in connection.execute(select(t.earned).where(t.earned.c.epoch > epoch)):
        found[Payee(row.payee), row.asset] -= row.units
    return {key: units for key, units in found.items() if units}


def claimable(earned: Mapping[tuple[Payee, str], int], tokens: Mapping[str, Payee]) -> dict[tuple[Payee, str], int]:
    """What a root can hold: SPACE, and assets that have a contract; the rest waits for one."""
    return {key: units for key, units in earned.items() if key[1] == SPACE or key[1] in tokens}


def newest_root(connection: Connection, *, is_confirmed: bool) -> Root | None:
    """The newest root of all, or of those that the contract has."""
    states = ("confirmed",) if is_confirmed else ("published", "confirmed")
    statement = select(t.epochs).where(t.epochs.c.state.in_(states)).order_by(t.epochs.c.epoch.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    return Root(row.epoch, ChainHash(row.root), frozenset(orjson.loads(row.totals)), row.confirmed_in)


def earned_under(root: Root, connection: Connection) -> dict[tuple[Payee, str], int]:
    """Of payee and asset what the root's table holds."""
    return {key: units for key, units in earned_until(root.epoch, connection).items() if key[1] in root.assets}


def claim_of(payee: str, tokens: Mapping[str, Payee], connection: Connection) -> list[ClaimState]:
    """Each asset of the payee with its proof, which leads to the root. `tokens` are the assets' contracts; SPACE needs none.

    Raises OtherTable.
    """
    root, last = newest_root(connection, is_confirmed=True), newest_root(connection, is_confirmed=False)
    waiting = last.epoch if last is not None and last != root else None
    rows = _rows_under(root, tokens, connection) if root is not None else ()
    mine = {row.token: row for row in rows if row.account == payee}
    known = {SPACE: NATIVE_TOKEN, **tokens}
    found = connection.execute(select(t.claims).where(t.claims.c.payee == payee).order_by(t.claims.c.asset))
    states = []
    for row in found:
        claim = mine.get(known[row.asset]) if row.asset in known else None
        proof = _proof(claim, rows, root) if claim is not None and root is not None else ()
        states.append(ClaimState(payee, row.asset, row.cumulative, row.claimed, claim, proof, root, waiting))
    return states


def _rows_under(root: Root, tokens: Mapping[str, Payee], connection: Connection) -> tuple[Claim, ...]:
    if unknown := root.assets - tokens.keys() - {SPACE}:
        raise OtherTable(f"the contracts of {', '.join(sorted(unknown))} are not known here")
    return tuple(table(earned_under(root, connection), tokens))


def _proof(claim: Claim, rows: tuple[Claim, ...], root: Root) -> tuple[str, ...]:
    proof = tree_of(rows).proof(claim)
    if not proves(claim, proof, root.root):
        raise OtherTable(f"the table of epoch {root.epoch} leads to {tree_of(rows).root}, not to {root.root}")
    return tuple("0x" + node.hex() for node in proof)


@lru_cache(maxsize=2)
def tree_of(rows: tuple[Claim, ...]) -> ClaimTree:
    """The last tables' trees: one of 10,000 rows takes its time to build."""
    return ClaimTree.of(rows)


def grants_at(now: datetime, connection: Connection, grant: str | None = None) -> list[GrantState]:
    """Every grant, or one, as its schedule stands at that moment."""
    statement = select(t.grants).order_by(t.grants.c.name)
    if grant is not None:
        statement = statement.where(t.grants.c.name == grant)
    return [_grant(row, now) for row in connection.execute(statement)]


def _grant(row: Any, now: datetime) -> GrantState:
    created = as_created(row)
    reached = set(orjson.loads(row.reached))
    given = releasable(created, sum(created.milestones[n - 1] for n in reached), now)
    still_open = tuple(n for n in range(1, len(created.milestones) + 1) if n not in reached)
    due = 0 if row.revoked else given - row.released
    next_at = None if row.revoked or created.kind == "milestone" or given >= row.total else _next(created, now)
    since = instant(row.released_at or row.since)
    return GrantState(row.name, row.beneficiary, row.total, row.released, due, next_at, still_open, row.revoked, since)


def as_created(row: Any) -> GrantCreated:
    """The row's terms."""
    bucket: Bucket = row.bucket
    return GrantCreated(
        bucket=bucket, beneficiary=Recipient(row.beneficiary), total=row.total, kind=row.kind, start=instant(row.start),
        duration_seconds=row.duration_seconds, cliff_seconds=row.cliff_seconds,
        milestones=tuple(int(units) for units in orjson.loads(row.milestones)),
    )  # fmt: skip


def _next(created: GrantCreated, now: datetime) -> datetime:
    """When more is given, of a grant by time that has not given all."""
    if created.kind == "immediate":
        return created.start
    if created.kind == "cliff":
        return created.start + timedelta(seconds=created.cliff_seconds)
    past = max(0, (now - created.start) // timedelta(seconds=1)) // TRANCHE_SECONDS
    return created.start + timedelta(seconds=max(created.cliff_seconds, (past + 1) * TRANCHE_SECONDS))
