"""Reconciliation: bank, books and chain are compared, and what was paid in for fees but never divided is named."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import islice

from adapters.bank.ports import NoAnswer
from contracts import Amount, Command, Digest
from contracts.inference import FEES, purpose_of
from contracts.treasury import (
    COINS,
    RECONCILIATION_INTERVAL_SECONDS,
    RECONCILIATION_RETRY_SECONDS,
    UNDIVIDED_SECONDS,
    AttestReserves,
    Reconcile,
    Slot,
    bank_of,
    reconciliation_stream,
    stablecoin_stream,
)
from projections.ledger import balance_of
from projections.rewards import divided_of
from projections.treasury.due import burns_to_send, mints_to_send, owed_in
from projections.treasury.outside import Books, Taken, books_of, is_reconciled, last_reconciled, taken_for
from streams import Desk, Errand, Outside

NATIVE_UNITS = 0
"""Native supply and what the bridge has locked of it, until the bridge speaks."""
LOOKED_UP = 1_000
"""Receipts that are asked for together."""


@dataclass(frozen=True)
class Debts:
    """What the books say of a coin's money."""

    owed: Amount
    held: int
    """Cents that the bank should hold, on all rails."""


@dataclass(frozen=True)
class Figures:
    """One coin, as bank, books and chain have it; None where a source does not answer."""

    bank: Amount | None
    owed: Amount | None
    block: int | None
    evm_supply: Amount | None


def reconcile_every_six_hours(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """At 00, 06, 12 and 18 UTC (white paper 8.2): `Reconcile`, then `AttestReserves` with the same figures.

    A source that stays silent for half an hour is a break of its own.
    """
    slot = slot_of(desk.now)
    name = Slot(f"{slot:%Y-%m-%dT%H}")
    may_be_silent = desk.is_due(slot + timedelta(seconds=RECONCILIATION_RETRY_SECONDS))
    desk.wake_at(slot + timedelta(seconds=RECONCILIATION_INTERVAL_SECONDS))
    under_way = [("minted", due.reference) for due in mints_to_send(desk.connection)]
    under_way += [("burned", due.withdrawal) for due in burns_to_send(desk.connection)]
    for coin in COINS:
        books = books_of(coin, desk.connection)
        if books is None:
            continue
        debts = Debts(owed_in(coin, desk.connection), balance_of("bank:", bank_of(coin), desk.connection))
        asked = partial(_compared, outside, coin, debts, under_way, may_be_silent)
        if not is_reconciled(coin, name, desk.connection):
            call = partial(_reconcile, asked, books, name, _newly_undivided(coin, slot, desk))
            yield Errand(call, reconciliation_stream(coin), f"{coin}:{name}:{may_be_silent}", slot)
        if books.as_of is None or books.as_of < slot:
            name_of_books = f"attest:{coin}:{books.since:%Y-%m-%dT%H:%M:%S.%f}"
            yield Errand(partial(_attest, asked, books), stablecoin_stream(coin), name_of_books, books.since)


def slot_of(now: datetime) -> datetime:
    """The beginning of the six hours."""
    seconds = int(now.timestamp())
    return datetime.fromtimestamp(seconds - seconds % RECONCILIATION_INTERVAL_SECONDS, UTC)


def undivided(taken: Iterator[Taken], divided: Callable[[list[str]], set[str]]) -> Iterator[Taken]:
    """Those captures for fees that nobody divided: there is no receipt, or it was not paid in full.

    They stay in the clearing account until somebody looks (white paper 9.5: only what was received is divided). `divided`
    says which of some receipts were.
    """
    while some := list(islice(taken, LOOKED_UP)):
        known = divided([_receipt(each) for each in some])
        yield from (each for each in some if _receipt(each) not in known)


def _receipt(taken: Taken) -> str:
    return taken.purpose.removeprefix(purpose_of(""))


def _newly_undivided(coin: str, slot: datetime, desk: Desk) -> Amount:
    """What became too old since the slot that was compared before: each capture is one slot's break, and no later one's."""
    day, last = timedelta(seconds=UNDIVIDED_SECONDS), last_reconciled(coin, desk.connection)
    taken = taken_for(FEES, slot - day, desk.connection, after=None if last is None else last - day)
    found = undivided(taken, partial(divided_of, connection=desk.connection))
    return Amount.of(coin, sum(each.amount.units for each in found if each.amount.asset == coin))


def _reconcile(asked: Callable[[], Figures | None], books: Books, slot: Slot, newly_undivided: Amount) -> Command | None:
    if (figures := asked()) is None:
        return None
    native = Amount.of(books.coin.partition(".")[0], NATIVE_UNITS)
    return Reconcile(
        slot=slot, block=figures.block, bank=figures.bank, owed=figures.owed, evm_supply=figures.evm_supply,
        native_supply=native, native_locked=native, in_flight=books.in_flight, books_supply=books.supply,
        undivided=newly_undivided if newly_undivided.units else None,
    )  # fmt: skip


def _attest(asked: Callable[[], Figures | None], books: Books) -> Command | None:
    """As of the coin's last event in the books: what moved since is counted by the rule itself."""
    figures = asked()
    if figures is None or figures.bank is None or figures.owed is None:
        return None
    source = f"{books.coin} {figures.bank.units} {figures.owed.units} {books.since.isoformat()}"
    return AttestReserves(bank=figures.bank, owed=figures.owed, as_of=books.since, statement=_digest(source))


def _compared(
    outside: Outside, coin: str, debts: Debts, under_way: Iterable[tuple[str, str]], may_be_silent: bool
) -> Figures | None:
    """None while the chain says what the books have not heard yet, or while a source is silent and may yet speak."""
    try:
        if any(outside.calls.told(kind, reference) for kind, reference in under_way):
            return None
    except NoAnswer:
        if not may_be_silent:
            return None
    figures = compare(outside, coin, debts)
    return None if None in (figures.bank, figures.evm_supply) and not may_be_silent else figures


def compare(outside: Outside, coin: str, debts: Debts) -> Figures:
    """What is owed are the books' debts, and whatever the bank holds that the books do not know."""
    bank = block = supply = None
    with suppress(NoAnswer):
        bank = outside.bank.balance(bank_of(coin)).held
    with suppress(NoAnswer):
        block = outside.chain.head()
        supply = Amount.of(coin, outside.chain.total_supply(coin, block))
    if bank is None:
        return Figures(None, None, block, supply)
    unknown = max(0, bank.units - debts.held)
    return Figures(bank, Amount.of(bank.asset, debts.owed.units + unknown), block, supply)


def _digest(text: str) -> Digest:
    return Digest(sha256(text.encode()).hexdigest())
