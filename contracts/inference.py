"""Inference: which offer was chosen for a request and why, what was delivered, what is owed (white paper 5.1 to 5.4, 9.1, 9.7).

The router decides and signs; anybody can decide again from the log at the recorded cut and must come to the same chain.
A charge rests on two signatures over the same hashes: what the router observed, and the provider's own receipt, which is the
invoice. Prompts never occur here: `request_hash` is salted.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._money import Amount
from contracts._policy import Parameters, PolicyVersion
from contracts._values import Address, AtomicText, Count, Country, Did, Digest, Flag, Label, Money, StreamName, Timestamp, Uuid
from contracts.liveness import Cut
from contracts.providers import ModelId, ModelKind, OfferId, Tier
from contracts.treasury import AccountId, HoldId, LedgerAccount, Purpose

MAX_CHAIN = 8
MAX_CONSIDERED = 32
MAX_EXCLUDED = 256
RACERS = 2
"""Offers of a parallel request (white paper 5.3): the first complete answer wins."""
TABLE_AGE_SECONDS = 60
"""SPACEOS_REFRESH_INTERVAL (white paper 5.2): the greatest age of the table that a decision may use."""
MAX_ATTEMPTS = 4
REQUEST_SECONDS = 900
"""A request whose router has not said by then how it ended has lost its router; the longest answer takes 600."""
RECEIPT_SECONDS = 600
"""After the end of the attempt. Without a receipt nobody is charged."""
UNSETTLED_SECONDS = 3_600
"""A receipt that stands so much longer and is not settled is somebody else's than the offer's device: it holds up no money."""
DISPUTE_SECONDS = 604_800
"""In which a dispute is resolved and a receipt refuted."""
HOLD_SECONDS = REQUEST_SECONDS + RECEIPT_SECONDS + UNSETTLED_SECONDS
"""What a request's hold lasts at least, so that it does not expire under a receipt that comes in time."""
LATE_HOLD_SECONDS = 3_600
"""What a resolved dispute takes is held anew, for so long."""
GIVEN_BY_ONE = frozenset({"inference.gpu"})
"""One registrar gives it on any prefix: a receipt is kept under its signer's key, and pays where the offer was his."""
MAX_RECEIPTS = 32
"""Of one request, from all that sign any: whose receipt counts is known only when it is settled."""

Strategy = Literal["auto", "parallel", "handoff", "failover", "custom"]

Reason = Literal[
    "unlisted",
    "early_access",
    "withdrawn",
    "suspended",
    "not_bonded",
    "draining",
    "stale",
    "outside_manifest",
    "vram",
    "context",
    "country",
    "key_scope",
    "price",
    "same_owner",
    "excluded",
]
"""Why an offer was not eligible; the filters run in this order and the first that fails is the reason."""

Method = Literal["tokenizer", "bytes"]
"""How the router counts: by the model's own tokenizer, or from the bytes that went through it."""
TOLERANCES: dict[Method, tuple[int, int]] = {"tokenizer": (2, 8), "bytes": (25, 16)}
"""How far a claim may exceed what was observed: so many per cent, or so many tokens where that is more."""
Ending = Literal["completed", "failed", "cancelled"]
Failure = Literal[
    "connect",
    "first_token",
    "idle",
    "total",
    "refused",
    "status",
    "malformed",
    "empty_body",
    "error_frame",
    "missing_usage",
]
"""The first four are time-outs: 2, 30, 30 and 600 s. A 200 that is empty, turns into an error or lacks its usage has failed."""
CancelCause = Literal["client", "budget", "revoked", "screened", "race"]
"""Who loses a race is not paid; of what was cancelled otherwise, what was delivered is."""
CloseCause = Literal["client", "budget", "revoked", "router_lost", "no_receipt"]
DisputeCause = Literal["not_owed", "request_hash", "response_hash", "prompt_tokens", "completion_tokens"]


class Step(Value):
    """One step of a failover or custom chain: an offer, an owner's offers or a tier's, up to a price."""

    offer: OfferId | None = None
    owner: Address | None = None
    """The wallet to which the device's earnings go."""
    tier: Tier | None = None
    max_price: Money | None = None


class Constraints(Value):
    """What no strategy relaxes."""

    country: Country | None = None
    max_price: Money | None = None
    """USD.s units for the whole request."""
    min_tier: Tier | None = None
    confidential: Flag = False
    capabilities: Annotated[tuple[Label, ...], Field(max_length=16)] = ()
    device: Did | None = None
    """Handoff: this device and no other."""
    models: Annotated[tuple[ModelId, ...], Field(max_length=64)] | None = None
    """The scope of the key; absent, all."""
    premium: Flag = False
    """Tier comes before the cost band."""
    steps: Annotated[tuple[Step, ...], Field(max_length=MAX_CHAIN)] = ()
    """Of `failover` and `custom`."""


class Considered(Value):
    """An offer that was looked at: its cost for this request, and the reason if it was not eligible."""

    offer: OfferId
    cost: Money
    reason: Reason | None = None


class Funds(Value):
    """From which a request is paid: so many units that the treasury holds for it."""

    account: AccountId
    asset: Literal["USD.s", "SPACE"]
    hold: HoldId
    amount: Money


class InferenceParameters(Parameters):
    """What a request costs besides its tokens."""

    protocol_fee_bp: Annotated[Count, Field(le=300)] = 100
    """Basis points on top of the price, rounded up (white paper 9.7); that of rewards, which must have adopted it before."""


INFERENCE = InferenceParameters()
"""The white paper's, in force until something is adopted."""


STREAM_IDS: Mapping[str, type[AtomicText]] = {"request": Uuid}
"""What the streams of each kind are named by."""


class OpenRequest(Command, role="inference.router", stream="inference/request", halted_by="inference"):
    """A request for tokens, with the decision that the router took for it."""

    key: Label
    """The API key's id."""
    block: Label | None = None
    kind: ModelKind
    model: ModelId
    stream: Flag
    strategy: Strategy
    constraints: Constraints
    prompt_tokens: Count
    max_tokens: Count
    n: Annotated[Count, Field(ge=1, le=128)]
    cut: Cut
    as_of: Timestamp
    """The router's clock at the decision: staleness is judged by it."""
    policy_version: Count
    seed: Digest
    excluded: Annotated[tuple[OfferId, ...], Field(max_length=MAX_EXCLUDED)] = ()
    chain: Annotated[tuple[OfferId, ...], Field(max_length=MAX_CHAIN)]
    considered: Annotated[tuple[Considered, ...], Field(max_length=MAX_CONSIDERED)]
    request_hash: Digest
    """SHA-256 of a salt and the request's body."""
    funds: Funds | None = None
    """Held before: the dearest of the chain and 1 %. Absent, the request is recorded and moves no money."""


class StartAttempt(Command, role="inference.router", stream="inference/request"):
    """Try another offer of the chain. The first attempt begins with the request."""

    number: Annotated[Count, Field(ge=2)]
    offer: OfferId


class Observation(Value):
    """What the router saw of an attempt. Tokens are its own count; a provider's number is believed nowhere."""

    delivered_bytes: Count
    """To the client."""
    prompt_tokens: Count
    completion_tokens: Count
    method: Method
    finish_reason: Label | None = None
    first_token_ms: Count | None = None
    response_hash: Digest | None = None
    """SHA-256 of what was delivered; absent where nothing was."""
    screens: Annotated[tuple[Label, ...], Field(max_length=8)] = ()
    """The ids of what the filters said of it."""


class EndAttempt(Observation, Command, role="inference.router", stream="inference/request"):
    """Say how an attempt ended, and what was delivered."""

    number: Annotated[Count, Field(ge=1)]
    outcome: Ending
    failure: Failure | None = None
    cause: CancelCause | None = None


class Claim(Value):
    """What a provider says that it delivered."""

    number: Count
    offer: OfferId
    model_digest: Digest
    opened: Digest
    """SHA-256 of the signed `OpenRequest`, which the router hands on with the request."""
    request_hash: Digest
    response_hash: Digest
    prompt_tokens: Count
    completion_tokens: Count
    started_at: Timestamp
    ended_at: Timestamp
    finish_reason: Label
    partial: Flag


class SubmitReceipt(Claim, Command, role="inference.gpu", stream="inference/request"):
    """The invoice, signed by the device that served: it comes back inside the response and is published unchanged."""


class ResolveDispute(Command, role="inference.arbiter", stream="inference/request"):
    """Say what is owed for a disputed receipt, within what was observed."""

    device: Did
    """Whose receipt."""
    prompt_tokens: Count
    completion_tokens: Count
    basis: Label


class RefuteReceipt(Command, role="inference.oracle", stream="inference/request"):
    """A probe shows that the receipt is false."""

    device: Did
    evidence: Digest
    """SHA-256 of the record that shows it."""


class SettleReceipt(Command, role="inference.process", stream="inference/request"):
    """State what is owed and to whom: the offer's terms and owners as the views have them, checked against the decision."""

    device: Did
    """Of the offer: its receipt counts, and nobody else's."""
    payee: Address
    """The device's wallet."""
    model_owner: Address | None = None
    model_digest: Digest
    prompt_price: Money
    """USD.s units (18 decimals) a token."""
    completion_price: Money
    epoch: Count
    """The day on which the attempt ended, since 1970-01-01 UTC."""


class NotePayment(Command, role="inference.process", stream="inference/request"):
    """What the treasury captured for the bill. Only what came in is divided."""

    hold: HoldId
    amount: Amount


class CloseRequest(Command, role=("inference.process", "inference.router"), stream="inference/request"):
    """End a request for which nothing is owed."""

    cause: CloseCause


class RequestOpened(Event):
    key: Label
    block: Label | None = None
    kind: ModelKind
    model: ModelId
    stream: Flag
    prompt_tokens: Count
    max_tokens: Count
    n: Count
    request_hash: Digest
    funds: Funds | None = None
    opened: Digest | None = None
    """SHA-256 of the signed `OpenRequest`, where there are funds: a receipt that takes money names it."""
    protocol_fee_bp: Annotated[Count, Field(le=300)] | None = None
    """At which it will be billed, whatever is adopted until then; absent, where it is the white paper's hundred."""
    policy_version: PolicyVersion = None


class RouteDecided(Event, retention="ai-log"):
    request: Uuid
    model: ModelId
    strategy: Strategy
    constraints: Constraints
    prompt_tokens: Count
    max_tokens: Count
    n: Count
    cut: Cut
    as_of: Timestamp
    policy_version: Count
    seed: Digest
    excluded: tuple[OfferId, ...] = ()
    chain: tuple[OfferId, ...]
    considered: tuple[Considered, ...]


class AttemptStarted(Event):
    number: Count
    offer: OfferId


class AttemptCompleted(Observation, Event):
    number: Count
    offer: OfferId
    ended_at: Timestamp
    """The store's clock: from then on 600 s are counted."""


class AttemptFailed(Observation, Event):
    number: Count
    offer: OfferId
    failure: Failure
    before_first_token: Flag
    """Nothing had reached the client, so that another offer may be tried."""
    ended_at: Timestamp


class AttemptCancelled(Observation, Event):
    number: Count
    offer: OfferId
    cause: CancelCause
    ended_at: Timestamp


class ReceiptMatched(Claim, Event, retention="financial"):
    device: Did
    """Who signed it."""
    person: Did


class ReceiptDisputed(Claim, Event, retention="financial"):
    device: Did
    person: Did
    cause: DisputeCause


class DisputeResolved(Event, retention="financial"):
    device: Did
    number: Count
    prompt_tokens: Count
    completion_tokens: Count
    basis: Label
    resolved_by: Did
    person: Did


class ReceiptRefuted(Event, retention="financial"):
    device: Did
    number: Count
    evidence: Digest
    refuted_by: Did


class ReceiptSettled(Event, retention="financial"):
    """What is owed for the request. Money moves when the treasury captures the hold."""

    account: AccountId | None = None
    hold: HoldId | None = None
    held_anew: Flag = False
    """The request was closed and its hold released before the dispute was resolved: this hold has yet to be made."""
    provider: Did
    payee: Address
    model: ModelId
    model_owner: Address | None = None
    asset: Literal["USD.s", "SPACE"]
    price: Money
    protocol_fee: Money
    """1 % of the price, rounded up (white paper 9.7)."""
    prepaid: Flag
    """From a subscription's bundle, which has paid the protocol fee."""
    epoch: Count
    prompt_tokens: Count
    completion_tokens: Count
    prompt_price: Money
    """USD.s units (18 decimals) a token."""
    completion_price: Money
    model_digest: Digest


class ReceiptPaid(Event, retention="financial"):
    """The bill was captured in full; with all that its division takes (white paper 9.5)."""

    hold: HoldId
    provider: Did
    payee: Address
    model: ModelId
    model_owner: Address | None = None
    asset: Literal["USD.s", "SPACE"]
    price: Money
    protocol_fee: Money
    prepaid: Flag
    epoch: Count


class RequestClosed(Event):
    cause: CloseCause
    funds: Funds | None = None
    """What is held for it and not owed."""


InferenceCommand = (
    OpenRequest
    | StartAttempt
    | EndAttempt
    | SubmitReceipt
    | ResolveDispute
    | RefuteReceipt
    | SettleReceipt
    | NotePayment
    | CloseRequest
)
AttemptEnded = AttemptCompleted | AttemptFailed | AttemptCancelled
InferenceEvent = (
    RequestOpened
    | RouteDecided
    | AttemptStarted
    | AttemptCompleted
    | AttemptFailed
    | AttemptCancelled
    | ReceiptMatched
    | ReceiptDisputed
    | DisputeResolved
    | ReceiptRefuted
    | ReceiptSettled
    | ReceiptPaid
    | RequestClosed
)

FEES = LedgerAccount("fees:clearing")
"""Where what requests pay waits to be divided."""


def request_stream(request: str) -> StreamName:
    """`inference/request/<request>`."""
    return StreamName(f"inference/request/{request}")


def purpose_of(request: str) -> Purpose:
    """What the hold of a request is for."""
    return Purpose(f"request:{request_stream(request)}")
