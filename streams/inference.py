"""Inference's wiring: decisions and receipts become views, what matches is settled, what is lost is closed, money follows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts import Address, Amount, Did, Digest, Event, EventId, Record, StreamName
from contracts.inference import (
    FEES,
    LATE_HOLD_SECONDS,
    RECEIPT_SECONDS,
    UNSETTLED_SECONDS,
    CloseCause,
    CloseRequest,
    NotePayment,
    ReceiptSettled,
    RouteDecided,
    SettleReceipt,
    purpose_of,
    request_stream,
)
from contracts.liveness import LivenessEvent, epoch_of, slot_at
from contracts.providers import ProvidersEvent
from contracts.treasury import AccountId, Capture, Captured, Hold, HoldId, Release, account_stream
from domain.inference.routing import Ask, decide
from domain.inference.table import RoutingTable
from projections.inference import (
    Overdue,
    Payment,
    Settlement,
    billing_terms,
    decision_log,
    lost,
    next_late,
    payments_of,
    provider_earnings,
    receipt_book,
    to_settle,
    unreceived,
)
from projections.treasury import HoldDue, open_holds
from streams import Desk, Intent, Process, Stream, Task, TodoList, World

ASK_AGAIN_SECONDS = 60
"""A closing that came too soon by the store's clock, or that a receipt came before, is asked for again after this."""
MAX_ASKED = 100
_REQUEST = r"inference/request/[0-9a-f-]{36}"


def streams(world: World) -> Iterator[Stream]:
    del world
    yield decision_log()
    yield receipt_book()
    yield provider_earnings()
    yield billing_terms()
    yield Process("hold_what_is_settled_late", ("inference",), hold_what_is_settled_late)
    yield Process("note_what_was_captured", ("treasury",), note_what_was_captured)
    yield TodoList("settle_what_matches", settle_what_matches)
    yield TodoList("close_lost_requests", close_lost_requests, every_seconds=5)
    yield TodoList("capture_what_was_settled", capture_what_was_settled)


def settle_what_matches(desk: Desk) -> Iterator[Task]:
    """Receipts that stand, by the terms of their offers. One that cannot be settled is charged to nobody."""
    for due in to_settle(desk.connection):
        key = f"settle:{due.request}:{due.stands_since.isoformat()}"
        yield Task(_settling(due), request_stream(due.request), key, due.stands_since)
        if desk.refusal(key) and not due.is_closed:
            until = due.ended_at + timedelta(seconds=RECEIPT_SECONDS + UNSETTLED_SECONDS + 1)
            yield from _closing(Overdue(due.request, until), "no_receipt", desk)


def _settling(due: Settlement) -> SettleReceipt:
    return SettleReceipt(
        device=Did(due.device), payee=Address(due.payee), model_owner=Address(due.model_owner) if due.model_owner else None,
        model_digest=Digest(due.model_digest), prompt_price=due.prompt_price, completion_price=due.completion_price,
        epoch=epoch_of(slot_at(due.ended_at.timestamp())),
    )  # fmt: skip


def close_lost_requests(desk: Desk) -> Iterator[Task]:
    """Of routers that say no more, and of providers that send no receipt."""
    desk.wake_at(next_late(desk.now, desk.connection))
    for overdue in lost(desk.now, desk.connection):
        yield from _closing(overdue, "router_lost", desk)
    for overdue in unreceived(desk.now, desk.connection):
        yield from _closing(overdue, "no_receipt", desk)


def _closing(overdue: Overdue, cause: CloseCause, desk: Desk) -> Iterator[Task]:
    at = overdue.since
    for number in range(MAX_ASKED):
        key = f"{cause}:{overdue.request}:{number}"
        refusal = desk.refusal(key)
        if refusal is None:
            if desk.is_due(at):
                yield Task(CloseRequest(cause=cause), request_stream(overdue.request), key, at)
            return
        at = refusal.at + timedelta(seconds=ASK_AGAIN_SECONDS)


def capture_what_was_settled(desk: Desk) -> Iterator[Task]:
    """What is owed is taken from its hold and the rest is free again; what is not owed is free.

    A hold waits as long as its request is under way. One without a request (its router died before it asked) waits for its end.
    """
    held = open_holds("request", desk.connection)
    payments = payments_of({_request_of(due) for due in held}, desk.connection)
    for due in held:
        payment = payments.get(_request_of(due))
        is_its = payment is not None and payment.account == due.owner and payment.asset == due.amount.asset
        if payment is not None and is_its and payment.paid_from == due.hold:
            yield from _capture(due, payment)
        elif payment is not None and is_its and payment.hold == due.hold:
            if payment.state in ("closed", "late", "settled"):
                yield _release(due, due.since)
        elif desk.is_due(due.expires_at):
            yield _release(due, due.expires_at)


def _request_of(due: HoldDue) -> str:
    return due.purpose.rpartition("/")[2]


def _capture(due: HoldDue, payment: Payment) -> Iterator[Task]:
    if payment.owed is not None and payment.settled_at is not None:
        # No more than there is: what the router said of the hold is its own word.
        amount = Amount.of(due.amount.asset, min(payment.owed, due.amount.units))
        command = Capture(hold=HoldId(due.hold), amount=amount, counter=FEES)
        yield Task(command, _account(due), f"capture:{due.event}", payment.settled_at, EventId(due.event))


def _release(due: HoldDue, at: datetime) -> Task:
    return Task(Release(hold=HoldId(due.hold)), _account(due), f"release:{due.event}", at, EventId(due.event))


def _account(due: HoldDue) -> StreamName:
    return account_stream(due.owner, due.amount.asset)


def hold_what_is_settled_late(event: Event, record: Record) -> Iterator[Intent]:
    """A dispute that was resolved after its request was closed: its hold is free, so another is made."""
    match event:
        case ReceiptSettled(held_anew=True, account=AccountId() as account, hold=HoldId() as hold):
            owed = Amount.of(event.asset, event.price + event.protocol_fee)
            until = record.moment + timedelta(seconds=LATE_HOLD_SECONDS)
            if owed.units:
                command = Hold(hold=hold, amount=owed, purpose=purpose_of(record.stream_id), expires_at=until)
                yield Intent(command, account_stream(account, event.asset))
        case _:
            pass


def note_what_was_captured(event: Event, record: Record) -> Iterator[Intent]:
    """What a request's hold gave is told to the request: its bill is paid, and may be divided."""
    del record
    match event:
        case Captured(hold=hold, amount=amount, counter=counter, purpose=purpose) if counter == FEES:
            what, _, stream = purpose.partition(":")
            # Whoever holds names the purpose: one that names no request must not stop the reader.
            if what == "request" and re.fullmatch(_REQUEST, stream):
                yield Intent(NotePayment(hold=hold, amount=amount), StreamName(stream))
        case _:
            pass


@dataclass(frozen=True)
class Difference:
    """A recorded decision that its own table does not give."""

    request: str
    router: str
    recorded: tuple[str, ...]
    derived: tuple[str, ...]


Shards = Mapping[str, list[tuple[ProvidersEvent | LivenessEvent, Record]]]
"""Shard to its events of `providers` and `liveness`, in their order from the first."""


def decide_again(decisions: Iterable[tuple[RouteDecided, Record]], shards: Shards) -> Iterator[Difference]:
    """Derive each decision from the log at its cut; what differs is an alarm that names the router (white paper 5.2).

    The cuts of one router only grow, so the table is folded once; a cut that lies before another one is folded anew.
    """
    table = RoutingTable()
    for event, record in sorted(decisions, key=lambda entry: (entry[0].as_of, entry[1].shard, entry[1].sequence)):
        cut = {place.shard: place.next for place in event.cut}
        if any(cut.get(shard, 0) < seen for shard, seen in table.cut.items()):
            table = RoutingTable()
        _fold_to(table, cut, shards)
        derived = tuple(offer.name for offer in decide(table, Ask.of(event)).chain)
        if derived != event.chain:
            yield Difference(record.stream_id, record.actor, event.chain, derived)


def _fold_to(table: RoutingTable, cut: Mapping[str, int], shards: Shards) -> None:
    for shard, wanted in sorted(cut.items()):
        for event, record in shards.get(shard, [])[table.cut.get(shard, 0) : wanted]:
            table.apply(event, record)
