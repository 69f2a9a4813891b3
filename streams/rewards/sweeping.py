"""What fees leave to the DAO goes to its account, from which governance spends: once for each closed epoch and asset."""

from collections.abc import Iterator

from contracts import Amount, rfc3339
from contracts.rewards import epoch_stream
from contracts.treasury import AccountId, Credit, LedgerAccount, OpenAccount, Reference, account_stream
from projections.ledger import Balance, accounts, postings
from projections.rewards.due import last_closed
from streams import Desk, Task, TodoList

DAO = AccountId("dao")
KEPT = LedgerAccount("treasury:dao")


def todo() -> TodoList:
    return TodoList("sweep_the_daos_share", sweep_the_daos_share, every_seconds=60)


def sweep_the_daos_share(desk: Desk) -> Iterator[Task]:
    """All that the ledger shows in treasury:dao; what comes in afterwards is in the next epoch's."""
    closed = last_closed(desk.connection)
    if closed is None:
        return
    epoch, at = closed
    for balance in accounts(desk.connection, KEPT):
        swept = postings(desk.connection, account=KEPT, stream=account_stream(DAO, balance.asset), limit=1)
        if balance.account != KEPT or balance.units <= 0 or (swept and swept[0].at >= rfc3339(at)):
            continue
        subject = account_stream(DAO, balance.asset)
        if not swept:
            yield Task(OpenAccount(owner=DAO, asset=_amount(balance).asset), subject, f"open:{balance.asset}", at)
        reference = Reference(f"{epoch_stream(epoch)}:{balance.asset}")
        credit = Credit(amount=_amount(balance), counter=KEPT, reference=reference)
        yield Task(credit, subject, f"sweep:{epoch}:{balance.asset}", at)


def _amount(balance: Balance) -> Amount:
    return Amount.of(balance.asset, balance.units)
