"""The policy of routing: what is asked, which offers may serve, and what order is fair (white paper 5.2 to 5.4).

The order: not overflow before overflow (Free serves when no staked offer is left), then the cost band (steps of 5 % of the
cheapest), then the tier, then a place that the request's seed gives to each offer, so that nobody is stampeded. For premium
keys the tier comes before the band.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from contracts.inference import MAX_CONSIDERED, Constraints, OpenRequest, Reason, RouteDecided, Strategy
from domain.inference.table import ENTERPRISE, FREE, STALE_MS, TIER_RANK, OfferEntry

POLICY_VERSION = 1
BAND_PERCENT = 5
_GOLDEN: Final = 2654435761
_ANY_COST: Final = 10**60

Refusal = Literal["NoProviderEligible", "TargetUnreachable"]
Candidate = tuple[int, OfferEntry]
"""Cost in USD.s units for the whole request, and offer."""
Rejected = tuple[int, OfferEntry, Reason]


@dataclass(slots=True)
class Ask:
    """What is asked of the table."""

    model: str
    prompt_tokens: int
    max_tokens: int
    now_ms: int
    seed: int
    """32 bits of the request's seed."""
    n: int = 1
    strategy: Strategy = "auto"
    constraints: Constraints = field(default_factory=Constraints)
    excluded: frozenset[str] = frozenset()

    @property
    def completion_tokens(self) -> int:
        """What is paid for at most."""
        return self.max_tokens * self.n

    @property
    def length(self) -> int:
        """The context that an answer needs; each of the n has its own."""
        return self.prompt_tokens + self.max_tokens

    @property
    def is_plain(self) -> bool:
        """Nothing is asked but to be heard and long enough."""
        limits = self.constraints
        return not (
            limits.confidential or limits.capabilities or limits.country or limits.models is not None or limits.min_tier
            or limits.max_price is not None or self.excluded
        )  # fmt: skip

    @classmethod
    def of(cls, said: OpenRequest | RouteDecided) -> "Ask":
        """The question that a recorded decision answered."""
        return cls(
            said.model, said.prompt_tokens, said.max_tokens, int(said.as_of.timestamp() * 1000), seed_of(said.seed), said.n,
            said.strategy, said.constraints, frozenset(said.excluded),
        )  # fmt: skip


@dataclass(slots=True)
class Choice:
    """The answer: offers to try in order, and what was found of others."""

    chain: list[OfferEntry]
    considered: list[tuple[OfferEntry, int, Reason | None]]
    """Offer, cost in USD.s units, and the reason of its rejection: the chain, then what was cheaper and rejected."""
    refusal: Refusal | None = None
    rejected: dict[str, Reason] = field(default_factory=dict)
    """Of a scan only: every offer of the model that was not eligible."""


def seed_of(digest: str) -> int:
    """The 32 bits of a request's seed that spread it."""
    return int(digest[:8], 16)


def rejection(offer: OfferEntry, ask: Ask, cost: int) -> Reason | None:
    """The first filter that the offer fails, in the order of the policy; None when it may serve."""
    provider, model, limits = offer.provider, offer.model, ask.constraints
    if not model.is_listed:
        return "unlisted"
    if ask.now_ms < model.early_until_ms and provider.tier != ENTERPRISE:
        return "early_access"
    if offer.is_withdrawn or provider.has_left or not provider.is_registered:
        return "withdrawn"
    if offer.is_suspended or provider.is_suspended:
        return "suspended"
    if not provider.is_bonded:
        return "not_bonded"
    if provider.is_draining:
        return "draining"
    if ask.now_ms - provider.heard_ms > STALE_MS:
        return "stale"
    if provider.allowed is not None and model.name not in provider.allowed:
        return "outside_manifest"
    if (limits.confidential and not offer.is_confidential) or not offer.capabilities.issuperset(limits.capabilities):
        return "outside_manifest"
    if provider.vram_mib < model.min_vram_mib:
        return "vram"
    if ask.prompt_tokens + ask.max_tokens > offer.context_tokens:
        return "context"
    if limits.country is not None and provider.country != limits.country:
        return "country"
    if limits.models is not None and ask.model not in limits.models:
        return "key_scope"
    if limits.min_tier is not None and provider.tier < TIER_RANK[limits.min_tier]:
        return "key_scope"
    if limits.max_price is not None and cost > limits.max_price:
        return "price"
    if offer.name in ask.excluded:
        return "excluded"
    return None


def _is_plain(ask: Ask) -> bool:
    """No constraint of the request's own: open, heard and long enough is all there is to ask."""
    limits = ask.constraints
    return not (
        limits.confidential or limits.capabilities or limits.country or limits.models is not None or limits.min_tier
        or limits.max_price is not None or ask.excluded
    )  # fmt: skip


def band_of(cost: int, cheapest: int) -> int:
    """The step of 5 % of the cheapest in which a cost lies; where the cheapest is free, there is one band."""
    return (cost - cheapest) * 100 // (cheapest * BAND_PERCENT) if cheapest else 0


def band_limit(cheapest: int, band: int) -> int:
    """The greatest cost of a band."""
    return cheapest - 1 - (-(band + 1) * cheapest * BAND_PERCENT // 100) if cheapest else _ANY_COST


def rank(offer: OfferEntry, seed: int) -> int:
    """The offer's place for this seed, among equals."""
    mixed = ((offer.salt ^ seed) * _GOLDEN) & 0xFFFFFFFF
    return ((mixed ^ mixed >> 15) * _GOLDEN) & 0xFFFFFFFF


def spread(candidates: list[Candidate], seed: int) -> list[Candidate]:
    """In the order that the seed gives."""
    if len(candidates) > 1:
        candidates.sort(key=lambda candidate: (rank(candidate[1], seed), candidate[1].name))
    return candidates


def answer(chain: Sequence[Candidate], rejected: Iterable[Rejected], ask: Ask) -> Choice:
    """The chain, and the rejected offers of its kind that would have been cheaper than its first, cheapest first."""
    met = list(rejected)
    if chain:
        cost, first = chain[0]
        is_free = first.provider.tier == FREE
        met = [entry for entry in met if entry[0] < cost and (entry[1].provider.tier == FREE) == is_free]
    met.sort(key=lambda entry: (entry[0], entry[1].name))
    considered: list[tuple[OfferEntry, int, Reason | None]] = [(offer, cost, None) for cost, offer in chain]
    considered.extend((offer, cost, reason) for cost, offer, reason in met[: MAX_CONSIDERED - len(chain)])
    refusal: Refusal | None = None
    if not chain:
        refusal = "TargetUnreachable" if ask.strategy == "handoff" else "NoProviderEligible"
    return Choice([offer for _, offer in chain], considered, refusal)
