"""What each of treasury's events changes in its rows."""

from typing import assert_never

from contracts import Record
from contracts.treasury import (
    AccountOpened,
    Adjusted,
    AdjustmentProposed,
    BackingReceived,
    BackingWrittenDown,
    BreakClosed,
    BreakFound,
    Burned,
    Captured,
    Credited,
    Debited,
    DeficitFound,
    DepositAssigned,
    DepositDefended,
    DepositDisputed,
    DepositIssued,
    DepositLost,
    DepositObserved,
    DepositRefunded,
    DepositSettled,
    Frozen,
    Held,
    HoldExpired,
    MintConfirmed,
    Minted,
    MinterConfigured,
    MinterRemoved,
    MintFailed,
    MintingPaused,
    MintingResumed,
    OutflowReleased,
    OutflowReserved,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    Reconciled,
    Released,
    ReservesAttested,
    ResumeApproved,
    ReviewRequired,
    TreasuryEvent,
    Unfrozen,
    WithdrawalApproved,
    WithdrawalCancelled,
    WithdrawalEscrowed,
    WithdrawalFunded,
    WithdrawalReissued,
    WithdrawalRejected,
    WithdrawalRequested,
    WithdrawalReviewed,
)
from projections import Projection, Session
from projections.treasury.folding_accounts import fold_account
from projections.treasury.folding_coins import fold_coin
from projections.treasury.folding_corrections import fold_adjustment, fold_reconciliation
from projections.treasury.folding_deposits import fold_deposit
from projections.treasury.folding_withdrawals import fold_outflow, fold_withdrawal
from projections.treasury.tables import TABLES


def treasury() -> Projection:
    return Projection("treasury", ("treasury",), TABLES, project)


def project(event: TreasuryEvent, record: Record, session: Session) -> None:
    """By the kind of stream that the event is of."""
    match event:
        case (
            MinterConfigured()
            | MinterRemoved()
            | ReservesAttested()
            | DeficitFound()
            | MintingPaused()
            | BackingReceived()
            | BackingWrittenDown()
            | Minted()
            | MintConfirmed()
            | MintFailed()
            | Burned()
            | ResumeApproved()
            | MintingResumed()
        ):
            fold_coin(event, record, session)
        case (
            DepositObserved()
            | DepositSettled()
            | DepositAssigned()
            | DepositIssued()
            | DepositRefunded()
            | DepositDisputed()
            | DepositDefended()
            | DepositLost()
        ):
            fold_deposit(event, record, session)
        case (
            WithdrawalRequested()
            | WithdrawalCancelled()
            | WithdrawalEscrowed()
            | ReviewRequired()
            | WithdrawalReviewed()
            | WithdrawalApproved()
            | WithdrawalRejected()
            | WithdrawalFunded()
            | PayoutSubmitted()
            | WithdrawalReissued()
            | PayoutPaid()
            | PayoutReturned()
        ):
            fold_withdrawal(event, record, session)
        case OutflowReserved() | OutflowReleased():
            fold_outflow(event, record, session)
        case (
            AccountOpened() | Credited() | Debited() | Held() | Captured() | Released() | HoldExpired() | Frozen() | Unfrozen()
        ):
            fold_account(event, record, session)
        case Reconciled() | BreakFound() | BreakClosed():
            fold_reconciliation(event, record, session)
        case AdjustmentProposed() | Adjusted():
            fold_adjustment(event, record, session)
        case _:
            assert_never(event)
