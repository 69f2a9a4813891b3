"""A provider's receipt against what the router observed, and the bill that follows from both."""

from dataclasses import dataclass

from contracts.inference import (
    INFERENCE,
    AttemptEnded,
    Considered,
    DisputeCause,
    DisputeResolved,
    ReceiptDisputed,
    ReceiptMatched,
    ReceiptSettled,
    RequestClosed,
    RequestOpened,
    SettleReceipt,
    SubmitReceipt,
)
from contracts.liveness import SLOT_SECONDS, SLOTS_PER_EPOCH
from contracts.treasury import HoldId
from domain.inference.attempts import is_payable
from domain.inference.billing import most_of, protocol_fee
from domain.inference.refusals import BeyondHold, BeyondObserved, OtherTerms


@dataclass
class Receipt:
    """What one device claims for one attempt, and what became of it."""

    said: ReceiptMatched | ReceiptDisputed
    resolved: DisputeResolved | None = None
    evidence: str | None = None
    """By which it was refuted."""

    @property
    def stands(self) -> bool:
        """It matched, or what it claims was resolved, and nobody refuted it."""
        return self.evidence is None and (self.resolved is not None or isinstance(self.said, ReceiptMatched))

    @property
    def is_disputed(self) -> bool:
        return self.evidence is None and self.resolved is None and isinstance(self.said, ReceiptDisputed)

    @property
    def claimed(self) -> tuple[int, int]:
        """Tokens of prompt and completion: the arbiter's where there was a dispute."""
        found = self.resolved or self.said
        return found.prompt_tokens, found.completion_tokens


def cause_for_dispute(claim: SubmitReceipt, end: AttemptEnded, opened: RequestOpened) -> DisputeCause | None:
    """The first respect in which the claim is not borne out; None when it matches."""
    if not is_payable(end):
        return "not_owed"
    if claim.request_hash != opened.request_hash:
        return "request_hash"
    if claim.response_hash != end.response_hash:
        return "response_hash"
    if claim.prompt_tokens > most_of(end.prompt_tokens, end.method):
        return "prompt_tokens"
    if claim.completion_tokens > most_of(end.completion_tokens, end.method):
        return "completion_tokens"
    return None


def refuse_beyond_observed(prompt_tokens: int, completion_tokens: int, end: AttemptEnded) -> None:
    """Raises BeyondObserved."""
    if prompt_tokens > (most := most_of(end.prompt_tokens, end.method)):
        raise BeyondObserved(f"{prompt_tokens} tokens, at most {most} were observed", "prompt_tokens")
    if completion_tokens > (most := most_of(end.completion_tokens, end.method)):
        raise BeyondObserved(f"{completion_tokens} tokens, at most {most} were observed", "completion_tokens")


def settled(
    terms: SettleReceipt,
    receipt: Receipt,
    *,
    request: str,
    opened: RequestOpened,
    considered: Considered,
    end: AttemptEnded,
    closed: RequestClosed | None,
) -> ReceiptSettled:
    """The bill: by the prices of the decision, for no more than was asked for. Raises OtherTerms, BeyondHold."""
    _refuse_other_terms(terms, receipt, opened, considered, end)
    claimed_prompt, claimed_completion = receipt.claimed
    prompt_tokens = min(claimed_prompt, opened.prompt_tokens)
    completion_tokens = min(claimed_completion, opened.max_tokens * opened.n)
    price = prompt_tokens * terms.prompt_price + completion_tokens * terms.completion_price
    fee, funds = protocol_fee(price, billed_at(opened)), opened.funds
    if funds is not None and price + fee > funds.amount:
        raise BeyondHold(f"{price + fee} is owed, {funds.amount} is held")
    anew = funds is not None and closed is not None
    hold = funds and (HoldId(f"{request}.late") if anew else funds.hold)
    return ReceiptSettled(
        account=funds and funds.account, hold=hold, held_anew=anew, provider=terms.device, payee=terms.payee,
        model=opened.model, model_owner=terms.model_owner, asset=funds.asset if funds else "USD.s", price=price,
        protocol_fee=fee, prepaid=False, epoch=terms.epoch, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens,
        prompt_price=terms.prompt_price, completion_price=terms.completion_price, model_digest=terms.model_digest,
    )  # fmt: skip


def billed_at(opened: RequestOpened) -> int:
    """Basis points of the protocol fee: those of its opening."""
    return INFERENCE.protocol_fee_bp if opened.protocol_fee_bp is None else opened.protocol_fee_bp


def _refuse_other_terms(
    terms: SettleReceipt, receipt: Receipt, opened: RequestOpened, considered: Considered, end: AttemptEnded
) -> None:
    # Two prices and one cost: the prices come from the offer as the log has it, and this shows that it is the offer of then.
    cost = opened.prompt_tokens * terms.prompt_price + opened.max_tokens * opened.n * terms.completion_price
    if cost != considered.cost:
        raise OtherTerms(f"{considered.offer} was chosen at {considered.cost}, by these prices it costs {cost}", "prompt_price")
    if receipt.said.model_digest != terms.model_digest:
        raise OtherTerms(f"the receipt is for weights {receipt.said.model_digest}", "model_digest")
    epoch = int(end.ended_at.timestamp()) // (SLOT_SECONDS * SLOTS_PER_EPOCH)
    if terms.epoch != epoch:
        raise OtherTerms(f"the attempt ended in epoch {epoch}", "epoch")
