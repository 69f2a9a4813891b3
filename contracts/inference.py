"""Inference, its deciding part: which offer was chosen for a request, and why not the others (white paper 5.1 to 5.4).

The router decides and signs; anybody can decide again from the log at the recorded cut and must come to the same chain.
Prompts never occur here: `request_hash` is salted.
"""

from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._values import Address, Count, Country, Did, Digest, Flag, Label, Money, Timestamp, Uuid
from contracts.liveness import Cut
from contracts.providers import ModelId, ModelKind, OfferId, Tier

MAX_CHAIN = 8
MAX_CONSIDERED = 32
MAX_EXCLUDED = 256
RACERS = 2
"""Offers of a parallel request (white paper 5.3): the first complete answer wins."""
TABLE_AGE_SECONDS = 60
"""SPACEOS_REFRESH_INTERVAL (white paper 5.2): the greatest age of the table that a decision may use."""

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


class OpenRequest(Command, role="inference.router", stream="inference/request"):
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


InferenceCommand = OpenRequest
InferenceEvent = RequestOpened | RouteDecided
