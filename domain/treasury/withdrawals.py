"""Withdrawals: coins in escrow, a decision by rule or by two persons, a burn, and then the payout."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, assert_never, get_args

from contracts import Amount, Did
from contracts.treasury import (
    COINS,
    PAYOUT_ATTEMPTS_MAX,
    RATE_SCALE,
    TREASURY,
    ConfirmPayout,
    EscrowWithdrawal,
    FundWithdrawal,
    PayoutPaid,
    PayoutReturned,
    PayoutSubmitted,
    Rail,
    Rate,
    Reason,
    ReissueWithdrawal,
    RequestWithdrawal,
    ReturnPayout,
    ReviewRequired,
    ReviewWithdrawal,
    RouteWithdrawal,
    SubmitPayout,
    TreasuryParameters,
    WithdrawalApproved,
    WithdrawalCancelled,
    WithdrawalEscrowed,
    WithdrawalEvent,
    WithdrawalFunded,
    WithdrawalId,
    WithdrawalReissued,
    WithdrawalRejected,
    WithdrawalRequested,
    WithdrawalReviewed,
    payout_key,
    return_reference,
)
from domain import Aggregate
from domain.treasury import (
    AccountFrozen,
    AddressedWrongly,
    AlreadyFunded,
    AlreadyRouted,
    AmountDiffers,
    AttemptsUsed,
    NotApproved,
    NotBurned,
    NotEscrowed,
    NotExpired,
    NotFunded,
    NotMinted,
    NotOurCurrency,
    NotReserved,
    NotReturned,
    NotSubmitted,
    NotUnderReview,
    PayoutPending,
    ReferenceUsed,
    RequesterCannotReview,
    SamePerson,
    WithdrawalClosed,
)
from domain.treasury.stablecoin import Burning, in_bank_money

State = Literal[
    "absent", "requested", "escrowed", "under_review", "approved", "funded", "submitted", "paid", "returned", "reissued",
    "rejected", "cancelled",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
USD = "USD.bank"


def in_usd_cents(payout: Amount, answer: Rate) -> int:
    """US cents of another currency's cents, rounded up: a limit is never widened by a fraction."""
    return -(-payout.units * answer.rate // RATE_SCALE)


@dataclass
class Withdrawal(Aggregate[WithdrawalEvent]):
    """One withdrawal, from its request to one of its four ends: paid, rejected, cancelled or reissued."""

    state: State = "absent"
    requested: WithdrawalRequested | None = None
    escrow: WithdrawalEscrowed | None = None
    usd_cents: int = 0
    reasons: list[Reason] = field(default_factory=list)
    review_since: datetime | None = None
    answer: Rate | None = None
    route: Literal["automatic", "reviewed"] | None = None
    approved_by: list[str] = field(default_factory=list)
    """The first reviewer who approved, as a person."""
    funded: WithdrawalFunded | None = None
    submitted: PayoutSubmitted | None = None
    paid: PayoutPaid | None = None
    returned: PayoutReturned | None = None
    may_retry: bool = False
    """Of a payout that came back: a reviewer wants the bank to be tried once more."""
    reissued: str | None = None

    @property
    def account(self) -> str:
        return self.id.partition(".")[0]

    def request(self, command: RequestWithdrawal, *, actor: str, person: str, is_frozen: bool) -> None:
        """Raises NotOurCurrency, DustNotAllowed, AccountFrozen, ReferenceUsed, AddressedWrongly."""
        try:
            WithdrawalId.checked(self.id)
        except ValueError as error:
            raise AddressedWrongly(str(error), "subject") from None
        if command.amount.asset not in COINS:
            raise NotOurCurrency(f"{command.amount.asset} is not paid out here", "amount")
        payout = in_bank_money(command.amount)
        event = WithdrawalRequested(**dict(command), payout=payout, requested_by=Did(actor), person=Did(person))
        if self.requested is not None:
            if self.requested != event:
                raise ReferenceUsed(f"{self.id} was requested otherwise", "subject")
            return
        if is_frozen:
            raise AccountFrozen
        self.record(event)

    def cancel(self) -> None:
        """Before it is approved. Raises WithdrawalClosed, AlreadyFunded."""
        if self.state in ("requested", "escrowed", "under_review"):
            self.record(WithdrawalCancelled())
        elif self.state in ("absent", "rejected", "paid", "reissued"):
            raise WithdrawalClosed(f"it is {self.state}")
        elif self.state != "cancelled":
            raise AlreadyFunded

    def put_in_escrow(self, command: EscrowWithdrawal) -> None:
        """Also of one that was cancelled meanwhile, so that the coins are released. Raises AmountDiffers, WithdrawalClosed."""
        event = WithdrawalEscrowed(**dict(command))
        if self.escrow == event:
            return
        if self.requested is None or self.escrow is not None:
            raise WithdrawalClosed("it was never requested" if self.requested is None else "its coins are in escrow already")
        if command.amount != self.requested.amount:
            raise AmountDiffers(f"{self.requested.amount} was asked for, {command.amount} came", "amount")
        self.record(event)

    def route_it(
        self, command: RouteWithdrawal, now: datetime, *, reserved: int | None, is_frozen: bool,
        terms: TreasuryParameters = TREASURY,
    ) -> None:  # fmt: skip
        """`reserved`: what is counted for it towards the limits. Raises NotEscrowed, AlreadyRouted, AmountDiffers,
        NotReserved, WithdrawalClosed."""
        if self.route or self.state == "under_review":
            if command.usd_cents != self.usd_cents or not set(command.reasons) <= set(self.reasons):
                raise AlreadyRouted
            return
        if self.state == "requested":
            raise NotEscrowed
        payout = self._open()
        reasons = self._reasons(command, payout, now, terms, is_frozen=is_frozen)
        said = {"usd_cents": command.usd_cents, "answer": command.answer, "policy_version": terms.policy_version}
        if reasons:
            self.record(ReviewRequired(**said, reasons=reasons, at=now))
        elif reserved != command.usd_cents:
            raise NotReserved(f"{reserved or 0} cents are counted for it", "usd_cents")
        else:
            self.record(WithdrawalApproved(**said, route="automatic"))

    def review(self, command: ReviewWithdrawal, *, actor: str, person: str, is_reissuing: bool) -> None:
        """Two persons approve, one rejects; after a return one lets the bank be tried again, while its coins are not
        being reissued. Raises NotUnderReview, RequesterCannotReview, SamePerson, AttemptsUsed."""
        reviewed = WithdrawalReviewed(verdict=command.verdict, note=command.note, reviewed_by=Did(actor), person=Did(person))
        after_return = self.state == "returned" and command.verdict == "approve" and not (is_reissuing or self.may_retry)
        if self.state != "under_review" and not after_return:
            raise NotUnderReview
        if self.requested is not None and person == self.requested.person:
            raise RequesterCannotReview
        if after_return:
            # Else the money would wait for an attempt that nobody may make, and its coins would never come again.
            if self.submitted is not None and self.submitted.attempt >= PAYOUT_ATTEMPTS_MAX:
                raise AttemptsUsed("its coins are issued again", "verdict")
            self.record(reviewed)
            return
        if person in self.approved_by and command.verdict == "approve":
            raise SamePerson
        is_second = bool(self.approved_by)
        self.record(reviewed)
        if command.verdict == "reject":
            self.record(WithdrawalRejected(cause="reviewer"))
        elif is_second:
            self.record(WithdrawalApproved(route="reviewed", usd_cents=self.usd_cents, answer=self.answer))

    def lapse(self, now: datetime, terms: TreasuryParameters = TREASURY) -> None:
        """Raises NotUnderReview, NotExpired."""
        if self.state == "rejected":
            return
        if self.state != "under_review" or self.review_since is None:
            raise NotUnderReview
        if now < self.review_since + timedelta(seconds=terms.review_timeout_seconds):
            raise NotExpired
        self.record(WithdrawalRejected(cause="unanswered", policy_version=terms.policy_version))

    def fund(self, command: FundWithdrawal, *, burning: Burning | None, reserved: int | None) -> None:
        """Raises NotApproved, NotBurned, NotReserved."""
        event = WithdrawalFunded(**dict(command))
        if self.funded == event:
            return
        if self.state != "approved" or self.requested is None:
            raise NotApproved
        burned = burning is not None and (burning.transaction, burning.cents) == (command.transaction, command.payout.units)
        if not burned or command.payout != self.requested.payout:
            raise NotBurned
        if reserved is None:
            raise NotReserved
        self.record(event)

    def submit(self, command: SubmitPayout) -> None:
        """Raises NotFunded, PayoutPending, AttemptsUsed, NotReturned."""
        event = PayoutSubmitted(**dict(command), key=payout_key(self.id, command.attempt))
        if self.submitted == event:
            return
        if self.funded is None:
            raise NotFunded
        done = self.submitted.attempt if self.submitted else 0
        if self.state in ("submitted", "paid"):
            raise PayoutPending(f"attempt {done} is {self.state}", "attempt")
        if command.attempt > PAYOUT_ATTEMPTS_MAX:
            raise AttemptsUsed(f"at most {PAYOUT_ATTEMPTS_MAX}", "attempt")
        if command.attempt != done + 1 or self.state == "reissued" or (done and not self.may_retry):
            raise NotReturned("a second attempt takes a reviewer", "attempt")
        self.record(event)

    def confirm(self, command: ConfirmPayout) -> None:
        """Raises NotSubmitted."""
        if self.paid is not None and self.paid.bank_reference == command.bank_reference:
            return
        if self.state != "submitted":
            raise NotSubmitted
        self.record(PayoutPaid(**dict(command), rail=self._rail(), payout=self._payout()))

    def take_back(self, command: ReturnPayout) -> None:
        """Also after it was reported as paid. Raises NotSubmitted."""
        if self.returned is not None and self.returned.bank_reference == command.bank_reference:
            return
        if self.state not in ("submitted", "paid"):
            raise NotSubmitted
        was_paid = self.state == "paid"
        self.record(PayoutReturned(**dict(command), rail=self._rail(), payout=self._payout(), paid=was_paid))

    def reissue(self, command: ReissueWithdrawal, *, is_confirmed: bool) -> None:
        """`is_confirmed`: the coins are in the chain again. Raises NotReturned, NotMinted."""
        if self.reissued == command.reference:
            return
        if self.state != "returned" or command.reference != return_reference(self.id):
            raise NotReturned
        if not is_confirmed:
            raise NotMinted(field="reference")
        self.record(WithdrawalReissued(reference=command.reference))

    def require_returned(self, payout: Amount | None = None, coins: Amount | None = None) -> None:
        """That its coins may be issued again, exactly those that were burned. Raises NotReturned, AmountDiffers."""
        if self.state != "returned" or self.may_retry or self.requested is None:
            raise NotReturned(f"{self.id} is {self.state}", "reference")
        if payout not in (None, self.requested.payout) or coins not in (None, self.requested.amount):
            raise AmountDiffers(f"{self.requested.amount} was burned", "amount")

    def _reasons(
        self, command: RouteWithdrawal, payout: Amount, now: datetime, terms: TreasuryParameters, *, is_frozen: bool
    ) -> tuple[Reason, ...]:
        of_rate = _rate_reasons(command, payout, now, terms.rate_age_max_seconds)
        found: set[Reason] = {*command.reasons, *_amount_reasons(command.usd_cents, terms), *of_rate}
        if is_frozen:
            found.add("account_frozen")
        return tuple(reason for reason in REASONS if reason in found)

    def _open(self) -> Amount:
        if self.state != "escrowed":
            raise WithdrawalClosed(f"it is {self.state}")
        return self._payout()

    def _payout(self) -> Amount:
        if self.requested is None:
            raise WithdrawalClosed("it was never requested")
        return self.requested.payout

    def _rail(self) -> Rail:
        if self.submitted is None:
            raise NotSubmitted
        return self.submitted.rail

    def apply(self, event: WithdrawalEvent) -> None:
        match event:
            case WithdrawalRequested():
                self.state, self.requested = "requested", event
            case WithdrawalCancelled():
                self.state = "cancelled"
            case WithdrawalEscrowed():
                self.escrow = event
                self.state = "escrowed" if self.state == "requested" else self.state
            case ReviewRequired(usd_cents=cents, answer=answer, reasons=reasons, at=at):
                self.state, self.usd_cents, self.answer = "under_review", cents, answer
                self.reasons, self.review_since = list(reasons), at
            case WithdrawalReviewed(verdict=verdict, person=person):
                self.may_retry = self.state == "returned"
                if verdict == "approve" and self.state == "under_review":
                    self.approved_by.append(person)
            case WithdrawalApproved(route=route, usd_cents=cents, answer=answer):
                self.state, self.route, self.usd_cents, self.answer = "approved", route, cents, answer
            case WithdrawalRejected():
                self.state = "rejected"
            case WithdrawalFunded():
                self.state, self.funded = "funded", event
            case PayoutSubmitted():
                self.state, self.submitted, self.may_retry = "submitted", event, False
            case WithdrawalReissued(reference=reference):
                self.state, self.reissued = "reissued", reference
            case PayoutPaid():
                self.state, self.paid = "paid", event
            case PayoutReturned():
                self.state, self.returned = "returned", event
            case _:
                assert_never(event)


def _amount_reasons(usd_cents: int, terms: TreasuryParameters) -> Iterable[Reason]:
    if usd_cents > terms.review_threshold_usd_cents:
        yield "above_threshold"
    if usd_cents > terms.payout_single_max_usd_cents:
        yield "over_single"


def _rate_reasons(command: RouteWithdrawal, payout: Amount, now: datetime, age_max_seconds: int) -> Iterable[Reason]:
    """Raises AmountDiffers where the cents do not follow from the payout and the answer."""
    if payout.asset == USD:
        expected = payout.units
    elif command.answer is None:
        yield "stale_rate"
        return
    else:
        expected = in_usd_cents(payout, command.answer)
        age = now - command.answer.answered_at
        if not timedelta(0) <= age <= timedelta(seconds=age_max_seconds):
            yield "stale_rate"
    if command.usd_cents != expected:
        raise AmountDiffers(f"{payout} are {expected} US cents", "usd_cents")
