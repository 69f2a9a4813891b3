"""One request for tokens, from its decision to its bill."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Amount, Did, Digest, Uuid
from contracts.inference import (
    DISPUTE_SECONDS,
    INFERENCE,
    MAX_ATTEMPTS,
    MAX_RECEIPTS,
    RACERS,
    RECEIPT_SECONDS,
    REQUEST_SECONDS,
    TABLE_AGE_SECONDS,
    UNSETTLED_SECONDS,
    AttemptCancelled,
    AttemptCompleted,
    AttemptEnded,
    AttemptFailed,
    AttemptStarted,
    Claim,
    CloseRequest,
    DisputeResolved,
    EndAttempt,
    InferenceEvent,
    InferenceParameters,
    NotePayment,
    OpenRequest,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptPaid,
    ReceiptRefuted,
    ReceiptSettled,
    RefuteReceipt,
    RequestClosed,
    RequestOpened,
    ResolveDispute,
    RouteDecided,
    SettleReceipt,
    StartAttempt,
    SubmitReceipt,
)
from domain import Aggregate
from domain.inference.attempts import Attempt, ending, is_payable, is_same_end
from domain.inference.opening import refuse_contradictions, refuse_empty, refuse_unfunded
from domain.inference.receipts import Receipt, cause_for_dispute, refuse_beyond_observed, settled
from domain.inference.refusals import (
    AlreadyClosed,
    AlreadyEnded,
    AlreadyMatched,
    AlreadyOpened,
    AlreadyRefuted,
    AlreadySettled,
    AlreadyWon,
    NoSuchAttempt,
    NoSuchReceipt,
    NotDisputed,
    NothingOwed,
    NotInChain,
    NotMatched,
    NotOpen,
    NotSettled,
    NotYetLost,
    OtherRequest,
    OutOfTurn,
    Owed,
    OwnReceipt,
    PaidOtherwise,
    StillRunning,
    TableTooOld,
    TooLate,
    TooManyAttempts,
    TooManyReceipts,
    WindowClosed,
)


@dataclass
class Request(Aggregate[InferenceEvent]):
    """One request for tokens. `attempts` by their numbers, `receipts` by number and device."""

    opened: RequestOpened | None = None
    decided: RouteDecided | None = None
    attempts: dict[int, Attempt] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    settled: ReceiptSettled | None = None
    is_paid: bool = False
    closed: RequestClosed | None = None

    def open(
        self, command: OpenRequest, now: datetime, command_hash: Digest | None = None, terms: InferenceParameters = INFERENCE
    ) -> None:
        """Record the request and the router's decision (white paper 5.2, 5.3). `command_hash` is of the signed command.

        Raises NoProviderEligible, TargetUnreachable, TableTooOld, ConstraintBroken, NoRate, NotHeld, AlreadyOpened.
        """
        opened = RequestOpened(
            key=command.key, block=command.block, kind=command.kind, model=command.model, stream=command.stream,
            prompt_tokens=command.prompt_tokens, max_tokens=command.max_tokens, n=command.n, request_hash=command.request_hash,
            funds=command.funds, opened=command_hash if command.funds else None,
            protocol_fee_bp=terms.protocol_fee_bp if terms.policy_version else None, policy_version=terms.policy_version,
        )  # fmt: skip
        decided = RouteDecided(
            request=Uuid(self.id), model=command.model, strategy=command.strategy, constraints=command.constraints,
            prompt_tokens=command.prompt_tokens, max_tokens=command.max_tokens, n=command.n, cut=command.cut,
            as_of=command.as_of, policy_version=command.policy_version, seed=command.seed, excluded=command.excluded,
            chain=command.chain, considered=command.considered,
        )  # fmt: skip
        if self.opened is not None:
            # The same wish signed again has another hash, and may come after a change; receipts are for the first.
            of_then = ("opened", "protocol_fee_bp", "policy_version")
            first = {name: getattr(self.opened, name) for name in of_then}
            if (self.opened, self.decided) != (opened.model_copy(update=first), decided):
                raise AlreadyOpened
            return
        refuse_empty(command)
        refuse_contradictions(command)
        refuse_unfunded(command, terms.protocol_fee_bp)
        if abs(now - command.as_of) > timedelta(seconds=TABLE_AGE_SECONDS):
            raise TableTooOld(f"the table is of {command.as_of.isoformat()}, it is {now.isoformat()}", "as_of")
        self.record(opened)
        self.record(decided)

    # What the router tries and observes

    def start(self, command: StartAttempt) -> None:
        """Another attempt. Raises NotInChain, TooManyAttempts, AlreadyWon, OutOfTurn, AlreadyClosed."""
        _, decided = self._require_open()
        known = self.attempts.get(command.number)
        if known is not None and known.offer == command.offer:
            return
        self._refuse_over()
        if command.offer not in decided.chain:
            raise NotInChain(f"{command.offer} was not chosen", "offer")
        if command.number > MAX_ATTEMPTS:
            raise TooManyAttempts(field="number")
        if self.winner is not None:
            raise AlreadyWon
        racers = RACERS if decided.strategy == "parallel" else 1
        if command.number != len(self.attempts) + 1 or len(self.running) >= racers:
            raise OutOfTurn(f"{len(self.attempts)} began, {len(self.running)} run", "number")
        self.record(AttemptStarted(number=command.number, offer=command.offer))

    def end(self, command: EndAttempt, now: datetime) -> None:
        """What was observed. Raises NoSuchAttempt, AlreadyEnded, HalfAnEnd, AlreadyWon, AlreadyClosed."""
        attempt = self.attempts.get(command.number)
        if attempt is None:
            raise NoSuchAttempt(f"attempt {command.number} never began", "number")
        event = ending(command, attempt.offer, now)
        if attempt.end is not None:
            if not is_same_end(attempt.end, event):
                raise AlreadyEnded
            return
        if self.closed is not None:
            raise AlreadyClosed
        if is_payable(event) and self.winner is not None:
            raise AlreadyWon
        self.record(event)

    # What the provider claims

    def submit(self, command: SubmitReceipt, actor: str, person: str, now: datetime) -> None:
        """The provider's receipt, matched with what was observed (white paper 9.1), or disputed with a cause.

        Raises NoSuchAttempt, AlreadySettled, TooLate, StillRunning, OtherRequest, AlreadyMatched, TooManyReceipts.
        """
        claim, place = {name: getattr(command, name) for name in Claim.model_fields}, _place(command.number, actor)
        known = self.receipts.get(place)
        if known is not None and all(getattr(known.said, name) == value for name, value in claim.items()):
            return
        attempt = self.attempts.get(command.number)
        if attempt is None or self.opened is None or attempt.offer != command.offer:
            raise NoSuchAttempt(f"no attempt {command.number} with {command.offer}", "number")
        if self.settled is not None:
            raise AlreadySettled
        if self.closed is not None or not attempt.may_be_invoiced(now):
            raise TooLate
        if attempt.end is None:
            raise StillRunning
        if self.opened.opened not in (command.opened, None):
            raise OtherRequest(f"it names {command.opened}", "opened")
        if known is not None and not known.is_disputed:
            raise AlreadyMatched
        if known is None and len(self.receipts) >= MAX_RECEIPTS:
            raise TooManyReceipts
        cause = cause_for_dispute(command, attempt.end, self.opened)
        if cause is None:
            self.record(ReceiptMatched(device=Did(actor), person=Did(person), **claim))
        else:
            self.record(ReceiptDisputed(device=Did(actor), person=Did(person), cause=cause, **claim))

    def resolve(self, command: ResolveDispute, actor: str, person: str, now: datetime) -> None:
        """An arbiter's answer. Raises NothingOwed, NotDisputed, AlreadySettled, WindowClosed, OwnReceipt, BeyondObserved."""
        number, end = self._require_delivered()
        receipt = self.receipts.get(_place(number, command.device))
        event = DisputeResolved(number=number, resolved_by=Did(actor), person=Did(person), **dict(command))
        if receipt is not None and receipt.resolved == event:
            return
        if receipt is None or not receipt.is_disputed:
            raise NotDisputed
        if self.settled is not None:
            raise AlreadySettled
        self._refuse_past_dispute(end, now)
        if person == receipt.said.person:
            raise OwnReceipt
        refuse_beyond_observed(command.prompt_tokens, command.completion_tokens, end)
        self.record(event)

    def refute(self, command: RefuteReceipt, actor: str, now: datetime) -> None:
        """An oracle's evidence. Raises NothingOwed, NoSuchReceipt, AlreadyRefuted, WindowClosed."""
        number, end = self._require_delivered()
        receipt = self.receipts.get(_place(number, command.device))
        if receipt is None:
            raise NoSuchReceipt(f"{command.device} has none", "device")
        if receipt.evidence is not None:
            if receipt.evidence != command.evidence:
                raise AlreadyRefuted
            return
        self._refuse_past_dispute(end, now)
        self.record(
            ReceiptRefuted(device=command.device, number=number, evidence=command.evidence, refuted_by=Did(actor))
        )  # fmt: skip

    # What is owed

    def settle(self, command: SettleReceipt) -> None:
        """Raises NotMatched, OtherTerms, BeyondHold, AlreadySettled, AlreadyClosed, NothingOwed."""
        opened, decided = self._require_open()
        number, end = self._require_delivered()
        receipt = self.receipts.get(_place(number, command.device))
        if self.settled is not None and not _is_same(self.settled, command):
            raise AlreadySettled
        if self.settled is not None:
            return
        if receipt is None or not receipt.stands:
            raise NotMatched(f"{command.device} has no receipt that stands", "device")
        if self.closed is not None and receipt.resolved is None:
            raise AlreadyClosed
        [considered] = [entry for entry in decided.considered if entry.offer == end.offer]
        self.record(
            settled(
                command, receipt, request=self.id, opened=opened, considered=considered, end=end, closed=self.closed
            )
        )  # fmt: skip

    def note_payment(self, command: NotePayment) -> None:
        """Raises NotSettled, PaidOtherwise."""
        bill = self.settled
        if bill is None or bill.hold != command.hold:
            raise NotSettled(f"{command.hold} pays no bill here", "hold")
        if command.amount != Amount.of(bill.asset, bill.price + bill.protocol_fee):
            raise PaidOtherwise(f"{bill.price + bill.protocol_fee} {bill.asset} is owed", "amount")
        if self.is_paid:
            return
        said = {name: getattr(bill, name) for name in ReceiptPaid.model_fields if name != "hold"}
        self.record(ReceiptPaid(hold=command.hold, **said))

    def close(self, command: CloseRequest, now: datetime) -> None:
        """Nothing is owed, so what is held is free again.

        Raises AlreadySettled, AlreadyClosed, StillRunning, NotYetLost, Owed.
        """
        opened, decided = self._require_open()
        if self.closed is not None:
            if self.closed.cause != command.cause:
                raise AlreadyClosed
            return
        if self.settled is not None:
            raise AlreadySettled
        if command.cause == "router_lost":
            self._refuse_unless_lost(decided, now)
        elif self.running:
            raise StillRunning(field="cause")
        elif command.cause == "no_receipt":
            self._refuse_in_time(now)
        elif self.winner is not None:
            raise Owed(field="cause")
        self.record(RequestClosed(cause=command.cause, funds=opened.funds))

    @property
    def winner(self) -> int | None:
        """The attempt that delivered; there is at most one."""
        return next((number for number, attempt in self.attempts.items() if attempt.is_payable), None)

    @property
    def running(self) -> list[int]:
        return [number for number, attempt in self.attempts.items() if attempt.end is None]

    def apply(self, event: InferenceEvent) -> None:
        match event:
            case RequestOpened():
                self.opened = event
            case RouteDecided():
                self.decided = event
                self.attempts[1] = Attempt(event.chain[0])
            case AttemptStarted():
                self.attempts[event.number] = Attempt(event.offer)
            case AttemptCompleted() | AttemptFailed() | AttemptCancelled():
                self.attempts[event.number].end = event
            case ReceiptMatched() | ReceiptDisputed():
                self.receipts[_place(event.number, event.device)] = Receipt(event)
            case DisputeResolved():
                self.receipts[_place(event.number, event.device)].resolved = event
            case ReceiptRefuted():
                self.receipts[_place(event.number, event.device)].evidence = event.evidence
            case ReceiptSettled():
                self.settled = event
            case ReceiptPaid():
                self.is_paid = True
            case RequestClosed():
                self.closed = event
            case _:
                assert_never(event)

    def _require_open(self) -> tuple[RequestOpened, RouteDecided]:
        if self.opened is None or self.decided is None:
            raise NotOpen
        return self.opened, self.decided

    def _require_delivered(self) -> tuple[int, AttemptEnded]:
        number = self.winner
        end = self.attempts[number].end if number is not None else None
        if number is None or end is None:
            raise NothingOwed
        return number, end

    def _refuse_over(self) -> None:
        if self.closed is not None:
            raise AlreadyClosed
        for attempt in self.attempts.values():
            if isinstance(attempt.end, AttemptCancelled) and attempt.end.cause != "race" and not attempt.is_payable:
                raise AlreadyClosed(f"it was cancelled: {attempt.end.cause}")

    def _refuse_past_dispute(self, end: AttemptEnded, now: datetime) -> None:
        if now > end.ended_at + timedelta(seconds=DISPUTE_SECONDS):
            raise WindowClosed

    def _refuse_unless_lost(self, decided: RouteDecided, now: datetime) -> None:
        if not self.running:
            raise NotYetLost("the router has said how each attempt ended", "cause")
        # The router's clock may be as far ahead of the store's as its table may be old.
        if now < decided.as_of + timedelta(seconds=REQUEST_SECONDS - TABLE_AGE_SECONDS):
            raise NotYetLost(field="cause")
        if self.winner is not None:
            self._refuse_in_time(now)

    def _refuse_in_time(self, now: datetime) -> None:
        last = max(attempt.end.ended_at for attempt in self.attempts.values() if attempt.end is not None)
        if now <= last + timedelta(seconds=RECEIPT_SECONDS):
            raise NotYetLost(field="cause")
        stands = any(receipt.stands for receipt in self.receipts.values())
        if stands and now <= last + timedelta(seconds=RECEIPT_SECONDS + UNSETTLED_SECONDS):
            raise Owed(field="cause")


def _place(number: int, device: str) -> str:
    return f"{number} {device}"


def _is_same(event: ReceiptSettled, command: SettleReceipt) -> bool:
    said = SettleReceipt(
        device=event.provider, payee=event.payee, model_owner=event.model_owner, model_digest=event.model_digest,
        prompt_price=event.prompt_price, completion_price=event.completion_price, epoch=event.epoch,
    )  # fmt: skip
    return said == command
