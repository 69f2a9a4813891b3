"""The ledger: double entry over the value events of every context. An event's own posting rule says what it moves.

No context is named here: whatever has a posting rule is posted. An account's balance is the sum of its rows, one for each
stream that touched it, because a row is written from one stream only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, String, Table, select

from contracts import Event, Leg, Record, languages, moves_value, sums
from projections import METADATA, MoneyColumn, Projection, Row, Session, WholeColumn

balances = Table(
    "ledger_balances",
    METADATA,
    Column("account", String(200), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("stream", String(250), primary_key=True),
    Column("gained", MoneyColumn(), nullable=False, comment="minor units of the asset"),
    Column("given", MoneyColumn(), nullable=False, comment="minor units of the asset"),
    Column("entries", BigInteger, nullable=False),
)

entries = Table(
    "ledger_entries",
    METADATA,
    Column("shard", String(80), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("leg", WholeColumn, primary_key=True, autoincrement=False),
    Column("account", String(200), nullable=False, index=True),
    Column("asset", String(30), nullable=False),
    Column("gained", MoneyColumn(), nullable=False),
    Column("given", MoneyColumn(), nullable=False),
    Column("type", String(120), nullable=False),
    Column("stream", String(250), nullable=False, index=True),
    Column("event", String(36), nullable=False),
    Column("at", String(30), nullable=False, index=True),
)


class Unbalanced(ValueError):
    """An event's legs do not sum to zero for an asset: its posting rule is wrong, and its stream waits for better code."""


def ledger() -> Projection:
    contexts = sorted({cls.wire.context for cls in languages() if moves_value(cls)})
    return Projection("ledger", tuple(contexts), (balances, entries), project)


def project(event: Event, record: Record, session: Session) -> None:
    """Post what the event moves. Raises Unbalanced."""
    legs = [leg for leg in event.legs(record.subject) if leg.units]
    if any(sums(legs).values()):
        raise Unbalanced(f"{record.type} {record.id} posts {sums(legs)}")
    for number, leg in enumerate(legs):
        _post(session, record.subject, leg)
        session.put(entries, _entry(number, leg, record))


def _post(session: Session, stream: str, leg: Leg) -> None:
    row: Row = session.get(balances, leg.account, leg.asset, stream) or {"gained": 0, "given": 0, "entries": 0}
    session.put(
        balances,
        {
            "account": leg.account, "asset": leg.asset, "stream": stream, "gained": row["gained"] + max(leg.units, 0),
            "given": row["given"] + max(-leg.units, 0), "entries": row["entries"] + 1,
        },
    )  # fmt: skip


def _entry(number: int, leg: Leg, record: Record) -> Row:
    return {
        "shard": record.shard, "sequence": record.sequence, "leg": number, "account": leg.account, "asset": leg.asset,
        "gained": max(leg.units, 0), "given": max(-leg.units, 0), "type": record.type, "stream": record.subject,
        "event": record.id, "at": record.time,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Balance:
    """An account in one asset: minor units that it gained and gave up. What it holds is the difference, which may be negative.

    Accounts of origin (`supply`, `issued`, `backing`, `capital`) are negative by what they brought forth.
    """

    account: str
    asset: str
    gained: int
    given: int
    entries: int

    @property
    def units(self) -> int:
        return self.gained - self.given


@dataclass(frozen=True, slots=True)
class Posting:
    """One leg of an event, in the order of its log."""

    at: str
    account: str
    asset: str
    units: int
    type: str
    stream: str
    event: str


@dataclass(frozen=True, slots=True)
class Trial:
    """An asset over all accounts: what was gained was given, or the ledger is wrong."""

    asset: str
    gained: int
    given: int
    accounts: int

    @property
    def difference(self) -> int:
        return self.gained - self.given


def accounts(connection: Connection, prefix: str = "", asset: str | None = None) -> list[Balance]:
    """Every account whose name begins so, by asset and name."""
    # Amounts of 78 digits are text on SQLite, which cannot sum them: they are added up here, exactly.
    statement = select(balances.c.account, balances.c.asset, balances.c.gained, balances.c.given, balances.c.entries)
    if prefix:
        statement = statement.where(balances.c.account.startswith(prefix, autoescape=True))
    if asset is not None:
        statement = statement.where(balances.c.asset == asset)
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for row in connection.execute(statement):
        gained, given, count = found.get((row.asset, row.account), (0, 0, 0))
        found[row.asset, row.account] = (gained + row.gained, given + row.given, count + row.entries)
    return [Balance(account, name, *found[name, account]) for name, account in sorted(found)]


def balance_in(account: str, asset: str, connection: Connection) -> int:
    """What the account holds, in minor units."""
    mine = (balances.c.account == account) & (balances.c.asset == asset)
    return sum(row.gained - row.given for row in connection.execute(select(balances.c.gained, balances.c.given).where(mine)))


def balance_of(prefix: str, asset: str, connection: Connection) -> int:
    """What all accounts whose names begin so hold together."""
    return sum(balance.units for balance in accounts(connection, prefix, asset))


def trial_balance(connection: Connection) -> list[Trial]:
    """Each asset's sum over all accounts; every difference is zero after every event."""
    found: dict[str, list[Balance]] = {}
    for balance in accounts(connection):
        found.setdefault(balance.asset, []).append(balance)
    return [Trial(asset, sum(b.gained for b in rows), sum(b.given for b in rows), len(rows)) for asset, rows in found.items()]


def postings(
    connection: Connection, *, account: str | None = None, stream: str | None = None, limit: int = 50
) -> list[Posting]:
    """The newest first; of one account or one stream, if it is named."""
    statement = select(entries)
    if account is not None:
        statement = statement.where(entries.c.account == account)
    if stream is not None:
        statement = statement.where(entries.c.stream == stream)
    newest = (entries.c.at.desc(), entries.c.shard, entries.c.sequence.desc(), entries.c.leg)
    return list(_postings(connection, statement.order_by(*newest).limit(limit)))


def _postings(connection: Connection, statement: object) -> Iterator[Posting]:
    for row in connection.execute(statement):  # type: ignore[call-overload]
        yield Posting(row.at, row.account, row.asset, row.gained - row.given, row.type, row.stream, row.event)
