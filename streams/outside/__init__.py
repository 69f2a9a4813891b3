"""What money's lists do at the bank and on the chain: each errand calls under its name and answers with a command.

Whoever runs them may die anywhere: the bank is asked by the key before it is told again, the chain by the reference.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial

from adapters.bank.entries import Entry
from adapters.bank.ports import NoAnswer, OrderRefused, Payment
from contracts import Address, Amount, Command, Digest, EventId, Label
from contracts.treasury import (
    COINS,
    BankReference,
    Burn,
    ConfirmMint,
    ConfirmPayout,
    EscrowWithdrawal,
    FailMint,
    ObserveDeposit,
    Rail,
    Reference,
    ReturnPayout,
    SettleDeposit,
    Transaction,
    WithdrawalId,
    bank_of,
    deposit_stream,
    stablecoin_stream,
    withdrawal_stream,
)
from projections.treasury.due import (
    BurnDue,
    MintDue,
    PayoutDue,
    RefundDue,
    burns_to_send,
    escrows_to_release,
    mints_to_send,
    payouts_to_send,
    refunds_to_send,
)
from projections.treasury.outside import (
    EscrowAwaited,
    PayoutPaid,
    deposits_known,
    escrows_awaited,
    payouts_paid_since,
)
from streams import Desk, Errand, Outside, Stream, Task, TodoList, World
from streams.outside.comparing import reconcile_every_six_hours

RETURNS_WATCHED = timedelta(days=30)


def streams(world: World) -> Iterator[Stream]:
    outside = world.outside
    if outside is None:
        return
    yield TodoList("mint_on_the_chain", partial(mint_on_the_chain, outside))
    yield TodoList("burn_on_the_chain", partial(burn_on_the_chain, outside))
    yield TodoList("release_what_is_not_paid", partial(release_what_is_not_paid, outside), every_seconds=5)
    yield TodoList("notice_coins_in_escrow", partial(notice_coins_in_escrow, outside))
    yield TodoList("pay_through_the_bank", partial(pay_through_the_bank, outside))
    yield TodoList("give_back_what_was_not_issued", partial(give_back_what_was_not_issued, outside), every_seconds=10)
    yield TodoList("notice_payouts_that_return", partial(notice_payouts_that_return, outside), every_seconds=5)
    yield Credits(outside).todo()
    yield TodoList("reconcile_every_six_hours", partial(reconcile_every_six_hours, outside), every_seconds=5)


# The chain


def mint_on_the_chain(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """Mints that were decided and are not final."""
    for due in mints_to_send(desk.connection):
        yield Errand(
            partial(_mint, outside, due), stablecoin_stream(due.coin), f"{due.coin}:{due.reference}:{due.failures}", due.since,
            EventId(due.event),
        )  # fmt: skip


def _mint(outside: Outside, due: MintDue) -> Command | None:
    answer = outside.calls.answer("mint", due.coin, due.reference, due.amount.units, due.to)
    if answer is None:
        return None
    reference, transaction = Reference(due.reference), Transaction(answer.transaction)
    if answer.cause:
        return FailMint(reference=reference, transaction=transaction, cause=Label(answer.cause))
    return ConfirmMint(reference=reference, transaction=transaction, block=answer.block)


def burn_on_the_chain(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """Withdrawals that are approved and whose coins are in escrow."""
    for due in burns_to_send(desk.connection):
        stream = stablecoin_stream(due.amount.asset)
        yield Errand(partial(_burn, outside, due), stream, f"burn:{due.withdrawal}", due.since, EventId(due.event))


def _burn(outside: Outside, due: BurnDue) -> Command | None:
    answer = outside.calls.answer("burn", due.amount.asset, due.withdrawal, due.amount.units, "")
    if answer is None or answer.cause:
        return None
    return Burn(
        amount=due.amount, withdrawal=WithdrawalId(due.withdrawal), transaction=Transaction(answer.transaction),
        block=answer.block,
    )  # fmt: skip


def release_what_is_not_paid(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """Coins in escrow of withdrawals that were rejected or cancelled go back to their wallet; nothing is to be said of it."""
    for due in escrows_to_release(desk.connection):
        stream = withdrawal_stream(due.withdrawal)
        yield Errand(partial(_release, outside, due), stream, f"release:{due.withdrawal}", due.since)


def _release(outside: Outside, due: BurnDue) -> None:
    outside.calls.answer("release", due.amount.asset, due.withdrawal, due.amount.units, due.wallet)


def notice_coins_in_escrow(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """The wallet's `requestBurn` of a withdrawal that was asked for."""
    for due in escrows_awaited(desk.connection):
        stream = withdrawal_stream(due.withdrawal)
        yield Errand(partial(_escrowed, outside, due), stream, f"escrow:{due.withdrawal}", due.since, EventId(due.event))


def _escrowed(outside: Outside, due: EscrowAwaited) -> Command | None:
    told = outside.calls.told("burn_requested", due.withdrawal)
    if told is None:
        return None
    return EscrowWithdrawal(
        amount=Amount.of(told.asset, told.units), wallet=Address(told.source), transaction=Transaction(told.transaction),
        block=told.block,
    )  # fmt: skip


# The bank


def pay_through_the_bank(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """Orders that the bank has not booked."""
    for due in payouts_to_send(desk.connection):
        stream = withdrawal_stream(due.withdrawal)
        yield Errand(partial(_pay, outside, due), stream, f"pay:{due.key}", due.since, EventId(due.event))


def _pay(outside: Outside, due: PayoutDue) -> Command | None:
    payment = outside.bank.find(due.key)
    if payment is None:
        destination = outside.reveal(due.destination, withdrawal_stream(due.withdrawal), due.command, "/destination")
        try:
            payment = outside.bank.pay(due.key, destination, due.payout)
        except OrderRefused as refused:
            # Nothing was done: the order is due until there is money for it.
            raise NoAnswer(str(refused)) from refused
    return _told_of(outside, payment)


def give_back_what_was_not_issued(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """Money whose coins could not be made goes back by the rail on which it came; the bank itself knows which has gone."""
    for due in refunds_to_send(desk.connection):
        stream = deposit_stream(due.rail, due.deposit.partition(".")[2])
        yield Errand(partial(_give_back, outside, due), stream, f"refund:{due.reference}", due.since, EventId(due.event))


def _give_back(outside: Outside, due: RefundDue) -> None:
    if outside.bank.find(due.reference) is None:
        outside.bank.pay(due.reference, f"the sender of {due.deposit}", due.amount)


def _told_of(outside: Outside, payment: Payment) -> Command | None:
    if payment.state == "accepted":
        return None
    booked = _booking(outside, payment, is_return=payment.state == "returned")
    if booked is None:
        return None
    at = _midnight(booked.booked_at)
    if payment.state == "paid":
        return ConfirmPayout(bank_reference=BankReference(payment.reference), booked_at=at)
    return ReturnPayout(bank_reference=BankReference(booked.reference), reason=Label("returned by the bank"), booked_at=at)


def _booking(outside: Outside, payment: Payment, *, is_return: bool) -> Entry | None:
    entries = outside.bank.entries(payment.amount.asset).entries
    mine = (entry for entry in entries if entry.payment_reference == payment.key and entry.is_reversal == is_return)
    return next(mine, None)


def notice_payouts_that_return(outside: Outside, desk: Desk) -> Iterator[Errand]:
    """The bank may send money back after it was reported as paid."""
    for due in payouts_paid_since(desk.now - RETURNS_WATCHED, desk.connection):
        stream = withdrawal_stream(due.withdrawal)
        yield Errand(partial(_returned, outside, due), stream, f"return:{due.key}", due.since, EventId(due.event))


def _returned(outside: Outside, due: PayoutPaid) -> Command | None:
    payment = outside.bank.find(due.key)
    return None if payment is None or payment.state != "returned" else _told_of(outside, payment)


@dataclass
class Credits:
    """Credits that the bank has booked: observed, then settled. The bank is asked for what is new only."""

    outside: Outside
    _cursors: dict[str, str] = field(default_factory=dict)
    _open: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def todo(self) -> TodoList:
        return TodoList("notice_deposits", self.plan, every_seconds=1, look=self.look)

    def look(self) -> bool:
        """Whether the bank has booked something else."""
        before = len(self._open)
        for coin in COINS:
            # A silent bank is asked again in the next turn.
            with suppress(NoAnswer):
                self._ask(bank_of(coin))
        return len(self._open) > before

    def plan(self, desk: Desk) -> Iterator[Task]:
        if not self._open:
            return
        known = deposits_known([f"{self.outside.rail}.{entry.reference}" for entry in self._open.values()], desk.connection)
        for (asset, reference), entry in list(self._open.items()):
            if known.get(f"{self.outside.rail}.{reference}", "observed") != "observed":
                del self._open[asset, reference]
            else:
                yield from seen(self.outside.rail, asset, entry, known)

    def _ask(self, asset: str) -> None:
        found = self.outside.bank.entries(asset, self._cursors.get(asset, ""))
        self._cursors[asset] = found.cursor
        booked = (entry for entry in found.entries if entry.cents > 0 and not entry.is_reversal)
        self._open.update({(asset, entry.reference): entry for entry in booked})


def seen(rail: str, asset: str, entry: Entry, known: dict[str, str]) -> Iterator[Task]:
    """What is to be said of a booked credit. `known` is each deposit's state; a settled one needs nothing more."""
    stream, name = deposit_stream(rail, entry.reference), f"{rail}.{entry.reference}"
    amount, booked, value_date = Amount.of(asset, entry.cents), _midnight(entry.booked_at), _midnight(entry.value_date)
    if name not in known:
        observe = ObserveDeposit(
            rail=Rail(rail), reference=BankReference(entry.reference), amount=amount, booked_at=booked, value_date=value_date,
            source=Digest(entry.source),
        )  # fmt: skip
        yield Task(observe, stream, f"observe:{name}", booked)
    elif known[name] == "observed":
        settle = SettleDeposit(net=amount, fee=Amount.of(asset, 0), available_on=value_date)
        yield Task(settle, stream, f"settle:{name}", booked)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
