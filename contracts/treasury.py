"""Treasury: money that a bank holds, the coins issued against it, and the prepaid accounts (white paper 2.3, 8.2, 9.1).

Nothing is issued before the money is there. Each event that moves value says here what it posts (`legs`): assets that are
held are positive, what is owed negative, and `supply` is what the network owes for its coins.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from contracts._carried import Carried
from contracts._language import Command, Event, Value
from contracts._money import Amount, Asset, AssetName, Leg, move
from contracts._policy import Parameters, PolicyVersion
from contracts._sealed import Sealed
from contracts._values import Address, AtomicText, Count, Did, Digest, Flag, Label, Money, StreamId, StreamName, Timestamp

RECONCILIATION_INTERVAL_SECONDS = 21_600
"""White paper 8.2: every six hours."""
RECONCILIATION_RETRY_SECONDS = 1_800
UNDIVIDED_SECONDS = 86_400
"""What was captured for fees is divided within a day, or it is a break."""
PAYOUT_WINDOW_SECONDS = 86_400
RATE_SCALE = 10**8
"""A rate of one coin's money in US dollars is a whole number of so many parts."""
ESCROW_TIMEOUT_SECONDS = 86_400
HOLD_SECONDS_MAX = 86_400
MINT_RETRY_MAX = 1
PAYOUT_ATTEMPTS_MAX = 2

COINS = ("USD.s", "EUR.s", "GBP.s")
"""White paper 8.2: issued by FiatStablecoinFactory. The bridge issues USDT.s and USDC.s."""
OUTFLOW = StreamName("treasury/outflow/USD")


_Seconds = Annotated[Count, Field(ge=3_600, le=14 * 86_400)]
_Cents = Annotated[Count, Field(ge=1, le=10**9)]


class TreasuryParameters(Parameters):
    """What is paid without a review, and when minting stops by itself."""

    reserves_age_max_seconds: _Seconds = 43_200
    """Since the last attestation; nothing is minted against an older one."""
    deficit_pause_percent: Annotated[Count, Field(le=10)] = 1
    """Per cent of the supply: a deficit strictly above it pauses minting (white paper 8.2)."""
    payout_single_max_usd_cents: _Cents = 50_000
    """US cents of one payout without a review (white paper 8.2)."""
    payout_daily_max_usd_cents: _Cents = 500_000
    """US cents of all payouts in any 24 hours without a review (white paper 8.2)."""
    review_threshold_usd_cents: _Cents = 50_000
    """US cents: a larger payout is reviewed; never above the single maximum (white paper 8.2)."""
    new_destination_review_seconds: Annotated[Count, Field(le=14 * 86_400)] = 86_400
    """For so long a destination is new, and what goes there is reviewed."""
    rate_age_max_seconds: _Seconds = 86_400
    """Of an oracle's answer; with an older one a payout is reviewed."""
    review_timeout_seconds: _Seconds = 259_200
    """After so long a review that nobody answered has rejected."""

    @model_validator(mode="after")
    def _review_what_is_not_automatic(self) -> Self:
        if self.review_threshold_usd_cents > self.payout_single_max_usd_cents:
            raise ValueError("the review threshold is above the single maximum")
        if self.payout_single_max_usd_cents > self.payout_daily_max_usd_cents:
            raise ValueError("the single maximum is above the daily one")
        return self


TREASURY = TreasuryParameters()
"""The white paper's, in force until something is adopted."""


class Rail(AtomicText):
    """The way on which money comes and goes: `stripe`, `wise`, `wire`, `sepa`."""

    pattern = r"^[a-z][a-z0-9-]*$"
    max_length = 20


class BankReference(AtomicText):
    """What the bank calls an entry or an order; what it names with other characters is digested before it gets here."""

    pattern = r"^[A-Za-z0-9._:+@-]+$"
    max_length = 98


class AccountId(AtomicText):
    """Whose money it is: an identity's account, or `dao`. Without dots, since the asset follows after one."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9:_-]*$"
    max_length = 100


class DepositId(AtomicText):
    """`<rail>.<bank reference>`."""

    pattern = r"^[a-z][a-z0-9-]*\.[A-Za-z0-9._:+@-]+$"
    max_length = 119


class WithdrawalId(AtomicText):
    """`<account>.<n>`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9:_-]*\.[0-9]{1,9}$"
    max_length = 110


class Reference(AtomicText):
    """What a movement is for, once and for all: a deposit's id, `return:<withdrawal>`, a log's transaction and index."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:+@/-]*$"
    max_length = 200


class Transaction(AtomicText):
    """The hash of an EVM transaction."""

    pattern = r"^0x[0-9a-f]{64}$"
    max_length = 66


class HoldId(AtomicText):
    """A hold's name within its account."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._:+@-]*$"
    max_length = 120


class Purpose(AtomicText):
    """What a hold is for: `stake:<stream>`, `block`. One that names a stream waits for what becomes of it there."""

    pattern = r"^[a-z][a-z0-9_]*(:[A-Za-z0-9._:/+@-]+)?$"
    max_length = 300


class LedgerAccount(AtomicText):
    """`<class>` or `<class>:<name>`, as a posting rule names it: `fees:clearing`."""

    pattern = r"^[a-z][a-z0-9]*(:[A-Za-z0-9._:+@-]+)?$"
    max_length = 200


class Slot(AtomicText):
    """When it was reconciled, `2026-11-24T06`, or for which statement, `statement:<digest>`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9:-]*$"
    max_length = 80


class BreakId(AtomicText):
    """`<slot>.<kind>`."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9:-]*\.[a-z_]+$"
    max_length = 120


class Words(AtomicText):
    """Printable ASCII that people wrote."""

    pattern = r"^[\x20-\x7e]+$"
    max_length = 500


def _some(amount: Amount) -> Amount:
    if amount.units == 0:
        raise ValueError("an amount that moves is not zero")
    return amount


Some = Annotated[Amount, AfterValidator(_some)]
"""An amount that is not zero."""

Origin = Literal["deposit", "returned_payout", "capital"]
Reason = Literal[
    "above_threshold", "over_single", "over_daily", "new_destination", "anomaly", "new_device", "stale_rate", "account_frozen",
    "after_return",
]  # fmt: skip
Reasons = Annotated[tuple[Reason, ...], Field(max_length=9)]
BreakKind = Literal["deficit", "books_differ", "missing_source", "undivided"]
Written = Literal["chargeback", "unissued"]

_ORIGINS: dict[Origin, str] = {"deposit": "due:deposits", "returned_payout": "due:payouts", "capital": "capital"}
_LOSSES: dict[Written, str] = {"chargeback": "loss:chargeback", "unissued": "due:deposits"}


class Rate(Value):
    """An oracle's answer: one of the currency in US dollars, times 10^8."""

    rate: Money
    answered_at: Timestamp


class ProposedLeg(Value):
    """One line of a correction: the account gains (`in`) or gives up (`out`) the amount."""

    account: LedgerAccount
    direction: Literal["in", "out"]
    amount: Some

    def leg(self) -> Leg:
        return Leg(self.account, self.amount.asset, self.amount.units if self.direction == "in" else -self.amount.units)


# Stablecoin


STREAM_IDS: Mapping[str, type[AtomicText]] = {
    "account": StreamId, "adjustment": StreamId, "deposit": DepositId, "outflow": AssetName, "reconciliation": AssetName,
    "stablecoin": AssetName, "withdrawal": WithdrawalId,
}  # fmt: skip
"""What the streams of each kind are named by."""


class ConfigureMinter(Command, role="treasury.governor", stream="treasury/stablecoin"):
    """A key may mint so much from now on; what it was allowed before is replaced."""

    minter: Did
    allowance: Amount


class RemoveMinter(Command, role="treasury.governor", stream="treasury/stablecoin"):
    """The key mints no more."""

    minter: Did


class AttestReserves(Command, role="treasury.attestor", stream="treasury/stablecoin"):
    """What the bank held at a time, and how much of it was owed to others: deposits not issued, payouts not paid, credits
    that nobody has claimed."""

    bank: Amount
    owed: Amount
    as_of: Timestamp
    statement: Digest


class ReceiveBacking(Command, role="treasury.process", stream="treasury/stablecoin"):
    """Money that was owed to somebody, or is the network's own, now backs coins."""

    amount: Some
    reference: Reference
    origin: Origin


class WriteDownBacking(Command, role="treasury.process", stream="treasury/stablecoin"):
    """Money that backed coins is gone. `unissued`: nothing had been issued for it, so that the depositor bears it."""

    amount: Some
    reference: Reference
    cause: Written = "chargeback"


class Mint(Command, role="treasury.minter", stream="treasury/stablecoin", halted_by="minting"):
    """Issue coins against money that has arrived."""

    amount: Some
    reference: Reference
    to: Address


class ConfirmMint(Command, role="treasury.relayer", stream="treasury/stablecoin"):
    """The chain has it, finally."""

    reference: Reference
    transaction: Transaction
    block: Count


class FailMint(Command, role="treasury.relayer", stream="treasury/stablecoin"):
    """The transaction reverted, or another one took its nonce: it can never be in the chain."""

    reference: Reference
    transaction: Transaction
    cause: Label


class Burn(Command, role="treasury.burner", stream="treasury/stablecoin"):
    """Coins were burned on the chain, finally; their money is owed to whoever withdraws."""

    amount: Some
    withdrawal: WithdrawalId
    transaction: Transaction
    block: Count


class PauseMinting(Command, role="treasury.pauser", stream="treasury/stablecoin"):
    """Mint no more. Burns, payouts and refunds go on."""

    reason: Label


class ResumeMinting(Command, role="treasury.reviewer", stream="treasury/stablecoin"):
    """Mint again: it takes two persons."""


# Deposit


class ObserveDeposit(Command, role="treasury.cashier", stream="treasury/deposit"):
    """Money was announced or booked; the same entry is seen by webhook, poll and statement."""

    rail: Rail
    reference: BankReference
    amount: Some
    owner: AccountId | None = None
    to: Address | None = None
    """The owner's wallet."""
    booked_at: Timestamp
    value_date: Timestamp
    source: Digest
    """SHA-256 of what was read."""


class SettleDeposit(Command, role="treasury.cashier", stream="treasury/deposit"):
    """The bank has booked it: `net` is what it holds, `fee` what the rail kept."""

    net: Some
    fee: Amount
    available_on: Timestamp


class AssignDeposit(Command, role="treasury.reviewer", stream="treasury/deposit"):
    """Say whose it is."""

    owner: AccountId
    to: Address


class MarkIssued(Command, role="treasury.process", stream="treasury/deposit"):
    """Coins were issued for it, under that reference."""

    reference: Reference


class RefundDeposit(Command, role="treasury.process", stream="treasury/deposit"):
    """Give it back, or note that the rail has."""

    amount: Some
    reference: Reference


class DisputeDeposit(Command, role="treasury.cashier", stream="treasury/deposit"):
    """The payer's bank wants it back."""

    dispute: BankReference
    amount: Some


class CloseDispute(Command, role="treasury.cashier", stream="treasury/deposit"):
    """The dispute is decided."""

    dispute: BankReference
    outcome: Literal["won", "lost"]


# Withdrawal


class RequestWithdrawal(Command, role="treasury.holder", stream="treasury/withdrawal", halted_by="withdrawals"):
    """Ask for money against coins."""

    amount: Some
    destination: Sealed
    destination_digest: Digest
    """Keyed, so that the same destination is known again and no other can be guessed."""


class CancelWithdrawal(Command, role=("treasury.holder", "treasury.process"), stream="treasury/withdrawal"):
    """Want it no longer; or the coins did not come in time."""


class EscrowWithdrawal(Command, role="treasury.relayer", stream="treasury/withdrawal"):
    """The wallet's `requestBurn` is final: the coins are in escrow."""

    amount: Some
    wallet: Address
    transaction: Transaction
    block: Count


class RouteWithdrawal(Command, role="treasury.process", stream="treasury/withdrawal"):
    """Pay it without being asked, or have it reviewed. What the amount itself says is added to the reasons."""

    usd_cents: Count
    answer: Rate | None = None
    reasons: Reasons = ()


class ReviewWithdrawal(Command, role="treasury.reviewer", stream="treasury/withdrawal"):
    """One person's verdict. Of a returned payout: whether the bank is tried once more."""

    verdict: Literal["approve", "reject"]
    note: Sealed | None = None


class LapseReview(Command, role="treasury.process", stream="treasury/withdrawal"):
    """Nobody has answered in time."""


class FundWithdrawal(Command, role="treasury.process", stream="treasury/withdrawal"):
    """Its coins are burned, so that the payout may be made."""

    transaction: Transaction
    payout: Some


class SubmitPayout(Command, role="treasury.process", stream="treasury/withdrawal"):
    """Let the bank be told, under a key of this attempt's own."""

    rail: Rail
    attempt: Annotated[Count, Field(ge=1)]


class ReissueWithdrawal(Command, role="treasury.process", stream="treasury/withdrawal"):
    """The payout came back and its coins were issued again, under that reference."""

    reference: Reference


class ConfirmPayout(Command, role="treasury.cashier", stream="treasury/withdrawal"):
    """The bank has booked it."""

    bank_reference: BankReference
    booked_at: Timestamp


class ReturnPayout(Command, role="treasury.cashier", stream="treasury/withdrawal"):
    """The bank would not, or the money came back."""

    bank_reference: BankReference
    reason: Label
    booked_at: Timestamp


# Outflow


class ReserveOutflow(Command, role="treasury.process", stream="treasury/outflow"):
    """Count a payout towards the limits. One that was reviewed is counted and not limited."""

    withdrawal: WithdrawalId
    usd_cents: Count
    reviewed: Flag


class ReleaseOutflow(Command, role="treasury.process", stream="treasury/outflow"):
    """It will not be paid."""

    withdrawal: WithdrawalId


# Account


class OpenAccount(Command, role="treasury.process", stream="treasury/account"):
    """A prepaid balance of one asset."""

    owner: AccountId
    asset: Asset


class Credit(Command, role="treasury.process", stream="treasury/account"):
    """Put in what the counter account gives up."""

    amount: Some
    counter: LedgerAccount
    reference: Reference


class Debit(Command, role="treasury.process", stream="treasury/account"):
    """Take out what the counter account gains."""

    amount: Some
    counter: LedgerAccount
    reference: Reference


class Hold(Command, role=("treasury.holder", "treasury.gateway", "treasury.process"), stream="treasury/account"):
    """Set aside for a purpose."""

    hold: HoldId
    amount: Some
    purpose: Purpose
    expires_at: Timestamp


class Capture(Command, role="treasury.process", stream="treasury/account"):
    """Take what was held, or less; the rest is free again."""

    hold: HoldId
    amount: Amount
    counter: LedgerAccount


class Release(Command, role="treasury.process", stream="treasury/account"):
    """Free what was held."""

    hold: HoldId


class ExpireHold(Command, role="treasury.process", stream="treasury/account"):
    """Free what was held for too long."""

    hold: HoldId


class Freeze(Command, role=("treasury.reviewer", "treasury.process"), stream="treasury/account"):
    """Up to so much of the balance may not leave, because of that."""

    amount: Some
    cause: Reference


class Unfreeze(Command, role=("treasury.reviewer", "treasury.process"), stream="treasury/account"):
    """The cause is gone."""

    cause: Reference


# Reconciliation and adjustment


class Reconcile(Command, role="treasury.attestor", stream="treasury/reconciliation"):
    """Bank, books and chain at one EVM block. A source that stayed silent is absent."""

    slot: Slot
    block: Count | None = None
    bank: Amount | None = None
    owed: Amount | None = None
    evm_supply: Amount | None = None
    native_supply: Amount | None = None
    native_locked: Amount | None = None
    in_flight: Amount
    books_supply: Amount
    undivided: Amount | None = None
    """What was captured for fees in coins, and became a day old undivided since the slot before; absent where there is none."""


class CloseBreak(Command, role="treasury.reviewer", stream="treasury/reconciliation"):
    """Somebody has found out why."""

    break_id: BreakId
    explanation: Words


class Adjust(Command, role="treasury.reviewer", stream="treasury/adjustment"):
    """Propose a correction of the ledger."""

    lines: Annotated[tuple[ProposedLeg, ...], Field(min_length=2, max_length=32)]
    reason: Words


class ApproveAdjustment(Command, role="treasury.reviewer", stream="treasury/adjustment"):
    """Make the correction: another person than the one who proposed it."""


# What happened to a stablecoin. `supply` includes the mints in flight; `reserves` are in bank money; both after the event.


class MinterConfigured(Event):
    minter: Did
    allowance: Amount


class MinterRemoved(Event):
    minter: Did


class ReservesAttested(Event, retention="financial"):
    bank: Amount
    owed: Amount
    as_of: Timestamp
    statement: Digest
    supply: Amount
    reserves: Amount


class DeficitFound(Event):
    deficit: Amount
    """In coins."""


class MintingPaused(Event):
    cause: Label
    policy_version: PolicyVersion = None


class BackingReceived(Event, retention="financial"):
    amount: Amount
    reference: Reference
    origin: Origin
    at: Timestamp
    supply: Amount
    reserves: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(f"backing:{_id(stream)}", _ORIGINS[self.origin], self.amount.asset, self.amount.units)


class BackingWrittenDown(Event, retention="financial"):
    amount: Amount
    reference: Reference
    cause: Written
    at: Timestamp
    supply: Amount
    reserves: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(_LOSSES[self.cause], f"backing:{_id(stream)}", self.amount.asset, self.amount.units)


class Minted(Event, retention="financial"):
    amount: Amount
    reference: Reference
    to: Address
    minter: Did
    supply: Amount
    reserves: Amount
    policy_version: PolicyVersion = None

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return move("supply", "inflight", self.amount.asset, self.amount.units)


class MintConfirmed(Event, retention="financial"):
    reference: Reference
    transaction: Transaction
    block: Count
    amount: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return move("inflight", "holders", self.amount.asset, self.amount.units)


class MintFailed(Event, retention="financial"):
    reference: Reference
    transaction: Transaction
    cause: Label
    amount: Amount
    supply: Amount
    reserves: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return move("inflight", "supply", self.amount.asset, self.amount.units)


class Burned(Event, retention="financial"):
    amount: Amount
    withdrawal: WithdrawalId
    transaction: Transaction
    block: Count
    payout: Amount
    at: Timestamp
    supply: Amount
    reserves: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        coins = move("holders", "supply", self.amount.asset, self.amount.units)
        return *coins, *move("due:payouts", f"backing:{_id(stream)}", self.payout.asset, self.payout.units)


class ResumeApproved(Event):
    approved_by: Did
    person: Did


class MintingResumed(Event):
    resumed_by: Did
    person: Did


# What happened to a deposit


class DepositObserved(Event, retention="financial"):
    rail: Rail
    reference: BankReference
    amount: Amount
    owner: AccountId | None = None
    to: Address | None = None
    booked_at: Timestamp
    value_date: Timestamp
    source: Digest


class DepositSettled(Event, retention="financial"):
    net: Amount
    fee: Amount
    available_on: Timestamp

    def legs(self, stream: str) -> Iterable[Leg]:
        return move("due:deposits", f"bank:{_rail(stream)}", self.net.asset, self.net.units)


class DepositAssigned(Event, retention="financial"):
    owner: AccountId
    to: Address


class DepositIssued(Event, retention="financial"):
    reference: Reference


class DepositRefunded(Event, retention="financial"):
    amount: Amount
    reference: Reference
    settled: Flag
    """What goes back before it was booked as ours posts nothing."""

    def legs(self, stream: str) -> Iterable[Leg]:
        if not self.settled:
            return ()
        return move(f"bank:{_rail(stream)}", "due:deposits", self.amount.asset, self.amount.units)


class DepositDisputed(Event, retention="financial"):
    dispute: BankReference
    amount: Amount


class DepositDefended(Event, retention="financial"):
    dispute: BankReference


class DepositLost(Event, retention="financial"):
    dispute: BankReference
    amount: Amount
    settled: Flag
    issued: Flag
    """Coins had been issued for it, so that the network bears the loss."""

    def legs(self, stream: str) -> Iterable[Leg]:
        if not self.settled:
            return ()
        lost = _LOSSES["chargeback" if self.issued else "unissued"]
        return move(f"bank:{_rail(stream)}", lost, self.amount.asset, self.amount.units)


# What happened to a withdrawal


class WithdrawalRequested(Event, retention="financial"):
    amount: Amount
    destination: Sealed
    destination_digest: Digest
    payout: Amount
    requested_by: Did
    person: Did


class WithdrawalCancelled(Event, retention="financial"):
    pass


class WithdrawalEscrowed(Event, retention="financial"):
    amount: Amount
    wallet: Address
    transaction: Transaction
    block: Count


class ReviewRequired(Event):
    usd_cents: Count
    answer: Rate | None = None
    reasons: tuple[Reason, ...]
    at: Timestamp
    policy_version: PolicyVersion = None


class WithdrawalReviewed(Event, retention="financial"):
    verdict: Literal["approve", "reject"]
    note: Sealed | None = None
    reviewed_by: Did
    person: Did


class WithdrawalApproved(Event, retention="financial"):
    route: Literal["automatic", "reviewed"]
    usd_cents: Count
    answer: Rate | None = None
    policy_version: PolicyVersion = None


class WithdrawalRejected(Event, retention="financial"):
    cause: Literal["reviewer", "unanswered"]
    policy_version: PolicyVersion = None


class WithdrawalFunded(Event, retention="financial"):
    transaction: Transaction
    payout: Amount


class PayoutSubmitted(Event, retention="financial"):
    rail: Rail
    attempt: Count
    key: Label
    """`<withdrawal>:<attempt>`: under it the bank is told once."""


class WithdrawalReissued(Event, retention="financial"):
    reference: Reference


class PayoutPaid(Event, retention="financial"):
    bank_reference: BankReference
    booked_at: Timestamp
    rail: Rail
    payout: Amount

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return move(f"bank:{self.rail}", "due:payouts", self.payout.asset, self.payout.units)


class PayoutReturned(Event, retention="financial"):
    bank_reference: BankReference
    reason: Label
    booked_at: Timestamp
    rail: Rail
    payout: Amount
    paid: Flag
    """It had been reported as paid; what the bank refused at once had never left."""

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        if not self.paid:
            return ()
        return move("due:payouts", f"bank:{self.rail}", self.payout.asset, self.payout.units)


class OutflowReserved(Event):
    withdrawal: WithdrawalId
    usd_cents: Count
    reviewed: Flag
    at: Timestamp
    window_usd_cents: Count
    """All payouts of the 24 hours before, and this one."""
    policy_version: PolicyVersion = None


class OutflowReleased(Event):
    withdrawal: WithdrawalId


# What happened to an account


class AccountOpened(Event, retention="financial"):
    owner: AccountId
    asset: Asset


class Credited(Event, retention="financial"):
    amount: Amount
    counter: LedgerAccount
    reference: Reference

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(self.counter, _balance(stream), self.amount.asset, self.amount.units)


class Debited(Event, retention="financial"):
    amount: Amount
    counter: LedgerAccount
    reference: Reference

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(_balance(stream), self.counter, self.amount.asset, self.amount.units)


class Held(Event, retention="financial"):
    hold: HoldId
    amount: Amount
    purpose: Purpose
    expires_at: Timestamp


class HeldRecord(Carried, of="treasury.Held"):
    """What an account holds, how much and for what, as another context's command carries it."""


class Captured(Event, retention="financial"):
    hold: HoldId
    amount: Amount
    counter: LedgerAccount
    returned: Amount
    purpose: Purpose

    def legs(self, stream: str) -> Iterable[Leg]:
        return move(_balance(stream), self.counter, self.amount.asset, self.amount.units)


class Released(Event, retention="financial"):
    hold: HoldId
    purpose: Purpose


class HoldExpired(Event, retention="financial"):
    hold: HoldId
    purpose: Purpose


class Frozen(Event, retention="financial"):
    amount: Amount
    cause: Reference


class Unfrozen(Event, retention="financial"):
    cause: Reference


# Reconciliation and adjustment


class Reconciled(Event, retention="financial"):
    slot: Slot
    block: Count
    bank: Amount
    owed: Amount
    evm_supply: Amount
    native_supply: Amount
    native_locked: Amount
    in_flight: Amount
    books_supply: Amount
    undivided: Amount | None = None
    surplus: Amount
    """In coins; zero where there is a deficit, which is then a break."""


class BreakFound(Event, retention="financial"):
    slot: Slot
    break_id: BreakId
    kind: BreakKind
    amount: Amount


class BreakClosed(Event, retention="financial"):
    break_id: BreakId
    explanation: Words
    closed_by: Did


class AdjustmentProposed(Event, retention="financial"):
    lines: tuple[ProposedLeg, ...]
    reason: Words
    proposed_by: Did
    person: Did


class Adjusted(Event, retention="financial"):
    lines: tuple[ProposedLeg, ...]
    reason: Words
    approved_by: Did
    person: Did

    def legs(self, stream: str) -> Iterable[Leg]:
        del stream
        return [line.leg() for line in self.lines]


StablecoinEvent = (
    MinterConfigured
    | MinterRemoved
    | ReservesAttested
    | DeficitFound
    | MintingPaused
    | BackingReceived
    | BackingWrittenDown
    | Minted
    | MintConfirmed
    | MintFailed
    | Burned
    | ResumeApproved
    | MintingResumed
)
DepositEvent = (
    DepositObserved
    | DepositSettled
    | DepositAssigned
    | DepositIssued
    | DepositRefunded
    | DepositDisputed
    | DepositDefended
    | DepositLost
)
WithdrawalEvent = (
    WithdrawalRequested
    | WithdrawalCancelled
    | WithdrawalEscrowed
    | ReviewRequired
    | WithdrawalReviewed
    | WithdrawalApproved
    | WithdrawalRejected
    | WithdrawalFunded
    | PayoutSubmitted
    | WithdrawalReissued
    | PayoutPaid
    | PayoutReturned
)
OutflowEvent = OutflowReserved | OutflowReleased
AccountEvent = AccountOpened | Credited | Debited | Held | Captured | Released | HoldExpired | Frozen | Unfrozen
ReconciliationEvent = Reconciled | BreakFound | BreakClosed
AdjustmentEvent = AdjustmentProposed | Adjusted

StablecoinCommand = (
    ConfigureMinter
    | RemoveMinter
    | AttestReserves
    | ReceiveBacking
    | WriteDownBacking
    | Mint
    | ConfirmMint
    | FailMint
    | Burn
    | PauseMinting
    | ResumeMinting
)
DepositCommand = ObserveDeposit | SettleDeposit | AssignDeposit | MarkIssued | RefundDeposit | DisputeDeposit | CloseDispute
WithdrawalCommand = (
    RequestWithdrawal
    | CancelWithdrawal
    | EscrowWithdrawal
    | RouteWithdrawal
    | ReviewWithdrawal
    | LapseReview
    | FundWithdrawal
    | SubmitPayout
    | ReissueWithdrawal
    | ConfirmPayout
    | ReturnPayout
)
OutflowCommand = ReserveOutflow | ReleaseOutflow
AccountCommand = OpenAccount | Credit | Debit | Hold | Capture | Release | ExpireHold | Freeze | Unfreeze
ReconciliationCommand = Reconcile | CloseBreak
AdjustmentCommand = Adjust | ApproveAdjustment

TreasuryCommand = (
    StablecoinCommand
    | DepositCommand
    | WithdrawalCommand
    | OutflowCommand
    | AccountCommand
    | ReconciliationCommand
    | AdjustmentCommand
)
TreasuryEvent = (
    StablecoinEvent | DepositEvent | WithdrawalEvent | OutflowEvent | AccountEvent | ReconciliationEvent | AdjustmentEvent
)


def coin_of(asset: str) -> str:
    """`USD.bank` to `USD.s`."""
    return f"{asset.partition('.')[0]}.s"


def bank_of(asset: str) -> str:
    """`USD.s` to `USD.bank`."""
    return f"{asset.partition('.')[0]}.bank"


def stablecoin_stream(coin: str) -> StreamName:
    """`treasury/stablecoin/USD.s`."""
    return StreamName(f"treasury/stablecoin/{coin}")


def deposit_stream(rail: str, reference: str) -> StreamName:
    """`treasury/deposit/<rail>.<reference>`."""
    return StreamName(f"treasury/deposit/{rail}.{reference}")


def withdrawal_stream(withdrawal: str) -> StreamName:
    """`treasury/withdrawal/<account>.<n>`."""
    return StreamName(f"treasury/withdrawal/{withdrawal}")


def account_stream(owner: str, asset: str) -> StreamName:
    """`treasury/account/<account>.<asset>`."""
    return StreamName(f"treasury/account/{owner}.{asset}")


def reconciliation_stream(coin: str) -> StreamName:
    """`treasury/reconciliation/USD.s`."""
    return StreamName(f"treasury/reconciliation/{coin}")


def return_reference(withdrawal: str) -> Reference:
    """Under which the coins of a payout that came back are issued again."""
    return Reference(f"return:{withdrawal}")


def payout_key(withdrawal: str, attempt: int) -> Label:
    """Under which the bank is told of one attempt."""
    return Label(f"{withdrawal}:{attempt}")


def slot_of(moment: datetime) -> Slot:
    """The last of 00, 06, 12 and 18 UTC."""
    hours = RECONCILIATION_INTERVAL_SECONDS // 3600
    return Slot(f"{moment:%Y-%m-%d}T{moment.hour // hours * hours:02d}")


def _id(stream: str) -> str:
    return stream.rpartition("/")[2]


def _rail(stream: str) -> str:
    return _id(stream).partition(".")[0]


def _balance(stream: str) -> str:
    return f"account:{_id(stream).partition('.')[0]}"
