"""What is under way and not done: what treasury's to-do lists plan from, and what a bank and a chain are to be told.

Whoever calls the bank or the chain asks here, calls under the name that stands here, and answers with a command of
treasury's. Each row stands until that command shows.
"""

from projections.treasury.due.holds import HoldDue, holds_overdue, next_overdue, open_holds
from projections.treasury.due.sending import (
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
from projections.treasury.due.steps import (
    CoinTurn,
    DepositDue,
    LossDue,
    Minting,
    ReturnDue,
    WithdrawalDue,
    coin_turns,
    deposits_under_way,
    losses_under_way,
    owed_in,
    returns_under_way,
    withdrawals_under_way,
)

__all__ = [
    "BurnDue", "CoinTurn", "DepositDue", "HoldDue", "LossDue", "MintDue", "Minting", "PayoutDue", "RefundDue", "ReturnDue",
    "WithdrawalDue", "burns_to_send", "coin_turns", "deposits_under_way", "escrows_to_release", "holds_overdue",
    "losses_under_way", "mints_to_send", "next_overdue", "open_holds", "owed_in", "payouts_to_send", "refunds_to_send",
    "returns_under_way", "withdrawals_under_way",
]  # fmt: skip
