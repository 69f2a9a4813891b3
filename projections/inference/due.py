"""What waits to be done about requests: receipts to settle, routers that are lost, receipts that never came."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from contracts import instant, rfc3339
from contracts.inference import UNSETTLED_SECONDS
from projections.inference.receipts import receipts, requests
from projections.inference.terms import owners, payees, terms


@dataclass(frozen=True, slots=True)
class Settlement:
    """A receipt that stands, of the device that the offer belongs to, with the offer's terms."""

    request: str
    device: str
    payee: str
    model_owner: str | None
    model_digest: str
    prompt_price: int
    completion_price: int
    ended_at: datetime
    stands_since: datetime
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """From what a request is to be paid, and what it owes in units of the asset, once that is known."""

    state: str
    account: str | None
    asset: str
    hold: str | None
    paid_from: str | None
    owed: int | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A request for which nobody says anything any more, and since when."""

    request: str
    since: datetime


def to_settle(connection: Connection) -> Iterator[Settlement]:
    """The oldest first. What was closed is settled only after a dispute."""
    for row in connection.execute(_settlements().order_by(receipts.c.since, receipts.c.request)):
        yield Settlement(
            row.request, row.device, row.wallet, row.owner, row.model_digest, row.prompt_price, row.completion_price,
            instant(row.ended_at), instant(row.since), row.state == "late",
        )  # fmt: skip


def lost(now: datetime, connection: Connection) -> Iterator[Overdue]:
    """Requests of which some attempt never ended. One for which nothing is held, and that delivered nothing, is let be."""
    late = and_(requests.c.running > 0, requests.c.lost_at <= rfc3339(now))
    for row in connection.execute(_unowed(late)):
        yield Overdue(row.request, _until(row, instant(row.lost_at)))


def unreceived(now: datetime, connection: Connection) -> Iterator[Overdue]:
    """Requests whose attempts all ended, without a receipt in time of whom they are owed to."""
    late = and_(requests.c.running == 0, requests.c.receipt_until < rfc3339(now))
    for row in connection.execute(_unowed(late)):
        yield Overdue(row.request, _until(row, instant(row.receipt_until)))


def next_late(now: datetime, connection: Connection) -> datetime | None:
    """When the first that is neither lost nor without a receipt yet will be, as far as nothing comes meanwhile."""
    is_open = requests.c.state.in_(("open", "won"))
    losing = select(func.min(requests.c.lost_at)).where(is_open, requests.c.running > 0, requests.c.lost_at > rfc3339(now))
    until = requests.c.receipt_until
    waiting = select(func.min(until)).where(is_open, requests.c.running == 0, until >= rfc3339(now))
    lost_at, late = connection.scalar(losing), connection.scalar(waiting)
    # A receipt may still come in the last microsecond.
    found = [instant(lost_at)] if lost_at else []
    found += [instant(late) + timedelta(microseconds=1)] if late else []
    return min(found, default=None)


def payments_of(names: Collection[str], connection: Connection) -> dict[str, Payment]:
    """By request; those that were never opened are left out."""
    found, asked = {}, sorted(names)
    for start in range(0, len(asked), 500):
        piece = select(requests).where(requests.c.request.in_(asked[start : start + 500]))
        for row in connection.execute(piece):
            owed = None if row.settled_at is None else row.price + row.protocol_fee
            settled_at = None if row.settled_at is None else instant(row.settled_at)
            found[row.request] = Payment(row.state, row.account, row.asset, row.hold, row.paid_from, owed, settled_at)
    return found


def _until(row: Any, at: datetime) -> datetime:
    if row.receipt_until is not None and row.winner is not None:
        at = max(at, instant(row.receipt_until))
    return at + timedelta(seconds=UNSETTLED_SECONDS) if row.has_receipt else at


def _unowed(late: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    mine = receipts.c.request == requests.c.request
    has_receipt = exists().where(mine, receipts.c.stands).label("has_receipt")
    settlements = _settlements().subquery()
    return (
        select(requests.c.request, requests.c.lost_at, requests.c.receipt_until, requests.c.winner, has_receipt)
        .where(late, requests.c.state.in_(("open", "won")))
        .where(~exists().where(settlements.c.request == requests.c.request))
        .order_by(requests.c.opened_at, requests.c.request)
    )


def _settlements() -> Select[*tuple[Any, ...]]:
    joined = (
        requests.join(receipts, and_(receipts.c.request == requests.c.request, receipts.c.number == requests.c.winner))
        .join(terms, and_(terms.c.offer == requests.c.offer, terms.c.device == receipts.c.device))
        .join(payees, payees.c.device == terms.c.device)
        .outerjoin(owners, owners.c.model == requests.c.model)
    )
    return (
        select(
            requests.c.request, receipts.c.device, payees.c.wallet, owners.c.owner, terms.c.model_digest,
            terms.c.prompt_price, terms.c.completion_price, requests.c.ended_at, requests.c.state, receipts.c.since,
        )
        .select_from(joined)
        .where(requests.c.state.in_(("won", "late")), receipts.c.stands)
    )  # fmt: skip
