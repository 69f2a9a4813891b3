"""What people of the treasury do by hand: settle the credits of a statement, reconcile when one came."""

from collections.abc import Sequence
from datetime import UTC, datetime

from adapters.bank.entries import Entry, Statement
from contracts import Amount, Command, Digest
from contracts.treasury import BankReference, ObserveDeposit, Rail, SettleDeposit, deposit_stream
from ops.asking import Asking
from ops.compose import Deployment


async def settle_credits(deployment: Deployment, statements: Sequence[Statement], rail: str, key: str) -> list[str]:
    """Observe and settle every credit; their streams. What was said before is said again to no effect.

    Raises ops.asking.NotAccepted, NoSuchKey.
    """
    asking = Asking(deployment, key)
    found = [
        (statement.asset, entry)
        for statement in statements
        for entry in statement.entries
        if entry.cents > 0 and not entry.is_reversal
    ]
    for kind in (_observed, _settled):
        asked = [(kind(rail, asset, entry), deposit_stream(rail, entry.reference)) for asset, entry in found]
        if asked:
            await asking(*asked)
    return [str(deposit_stream(rail, entry.reference)) for _, entry in found]


def _observed(rail: str, asset: str, entry: Entry) -> Command:
    return ObserveDeposit(
        rail=Rail(rail), reference=BankReference(entry.reference), amount=Amount.of(asset, entry.cents),
        booked_at=_midnight(entry, "booked_at"), value_date=_midnight(entry, "value_date"), source=Digest(entry.source),
    )  # fmt: skip


def _settled(_rail: str, asset: str, entry: Entry) -> Command:
    amount, nothing = Amount.of(asset, entry.cents), Amount.of(asset, 0)
    return SettleDeposit(net=amount, fee=nothing, available_on=_midnight(entry, "value_date"))


def _midnight(entry: Entry, name: str) -> datetime:
    day = getattr(entry, name)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
