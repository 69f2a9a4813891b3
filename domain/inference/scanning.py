"""Deciding by a plain look at every offer of the model: the form that names the reason of each rejection."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter

from contracts.inference import MAX_CHAIN, Step, Strategy
from domain.inference.index import Terms
from domain.inference.policy import Ask, Candidate, Choice, Rejected, answer, band_limit, band_of, rank, rejection
from domain.inference.table import FREE, STALE_MS, TIER_RANK, ModelEntry, OfferEntry, RoutingTable


def scan(table: RoutingTable, ask: Ask) -> Choice:
    """Look at every offer of the model, for any strategy."""
    model = table.models.get(ask.model)
    if model is None:
        return answer([], [], ask)
    if ask.is_plain and table.is_current(ask.now_ms) and ask.now_ms >= model.early_until_ms:
        pools, rejected = _sift(model, ask)
    else:
        pools, rejected = _judge(model.offers.values(), ask)
    chain, passed_over = _strategies[ask.strategy](pools, ask)
    rejected += passed_over
    choice = answer(chain, rejected, ask)
    choice.rejected = {offer.name: reason for _, offer, reason in rejected}
    return choice


Pools = tuple[list[Candidate], list[Candidate]]
"""The eligible offers with a stake, and those without: overflow, which comes after all others."""


def _sift(model: ModelEntry, ask: Ask) -> tuple[Pools, list[Rejected]]:
    """For a request that asks for nothing special: what is in the index is fine if it was heard and is long enough."""
    tiers = model.index.tiers
    pools = _fine(tiers[FREE + 1 :], ask), _fine(tiers[: FREE + 1], ask)
    others = list(model.resting.values())
    if len(pools[0]) + len(pools[1]) < len(model.index):
        others += _others(tiers, ask)
    return pools, _judge(others, ask)[1]


def _fine(tiers: Iterable[Mapping[str, Terms]], ask: Ask) -> list[Candidate]:
    p, q, length, heard_since = ask.prompt_tokens, ask.completion_tokens, ask.length, ask.now_ms - STALE_MS
    return [
        (p * a + q * b, offer)
        for tier in tiers
        for a, b, context, provider, offer in tier.values()
        if provider.heard_ms >= heard_since and context >= length
    ]


def _others(tiers: Iterable[Mapping[str, Terms]], ask: Ask) -> list[OfferEntry]:
    length, heard_since = ask.length, ask.now_ms - STALE_MS
    return [
        offer
        for tier in tiers
        for _, _, context, provider, offer in tier.values()
        if provider.heard_ms < heard_since or context < length
    ]


def _judge(offers: Iterable[OfferEntry], ask: Ask) -> tuple[Pools, list[Rejected]]:
    pools: Pools = ([], [])
    rejected: list[Rejected] = []
    for offer in offers:
        cost = ask.prompt_tokens * offer.prompt_price + ask.completion_tokens * offer.completion_price
        reason = rejection(offer, ask, cost)
        if reason is None:
            pools[offer.provider.tier == FREE].append((cost, offer))
        else:
            rejected.append((cost, offer, reason))
    return pools, rejected


# The policy's order.


_cost = itemgetter(0)


def _ordered(pools: Pools, ask: Ask) -> Iterator[Candidate]:
    """All eligible offers in order, worked out only as far as somebody looks."""
    for pool in pools:
        if pool:
            cheapest = min(map(_cost, pool))
            if ask.constraints.premium:
                yield from _by_tiers(pool, cheapest, ask.seed)
            else:
                yield from _by_bands(pool, cheapest, ask.seed)


def _by_bands(pool: list[Candidate], cheapest: int, seed: int) -> Iterator[Candidate]:
    """First the bands that fill a chain: thousands of offers need not be sorted for eight of them."""
    last = nsmallest(MAX_CHAIN, map(_cost, pool))[-1]
    limit = band_limit(cheapest, band_of(last, cheapest))
    yield from _sorted_by_bands([candidate for candidate in pool if candidate[0] <= limit], cheapest, seed)
    yield from _sorted_by_bands([candidate for candidate in pool if candidate[0] > limit], cheapest, seed)


def _sorted_by_bands(pool: list[Candidate], cheapest: int, seed: int) -> list[Candidate]:
    def place(candidate: Candidate) -> tuple[int, int, int, str]:
        cost, offer = candidate
        return band_of(cost, cheapest), -offer.provider.tier, rank(offer, seed), offer.name

    return sorted(pool, key=place)


def _by_tiers(pool: list[Candidate], cheapest: int, seed: int) -> Iterator[Candidate]:
    for _, tier in groupby(sorted(pool, key=_tier_downwards), _tier_downwards):
        yield from _by_bands(list(tier), cheapest, seed)


def _tier_downwards(candidate: Candidate) -> int:
    return -candidate[1].provider.tier


# Strategies (white paper 5.3): from the eligible offers to the chain, and what the strategy itself passed over.


Chosen = tuple[list[Candidate], list[Rejected]]


def _auto(pools: Pools, ask: Ask) -> Chosen:
    return _first(_ordered(pools, ask)), []


def _parallel(pools: Pools, ask: Ask) -> Chosen:
    """Two racing offers of distinct owners; where there is one owner only, one offer and no race."""
    racing = [candidate for candidate in _ordered(pools, ask) if candidate[1].can_race]
    if not racing:
        return _first(_ordered(pools, ask))[:1], []
    owner = racing[0][1].provider.wallet
    second = next((n for n, (_, offer) in enumerate(racing) if offer.provider.wallet != owner), len(racing))
    passed_over: list[Rejected] = [(cost, offer, "same_owner") for cost, offer in racing[1:second]]
    return [racing[0], *racing[second : second + 1]], passed_over


def _handoff(pools: Pools, ask: Ask) -> Chosen:
    """The pinned device, and nobody else."""
    return _first(c for c in _ordered(pools, ask) if c[1].provider.device == ask.constraints.device), []


def _steps(pools: Pools, ask: Ask) -> Chosen:
    """A step after the other, the first offer that fits each."""
    ordered, chain = list(_ordered(pools, ask)), list[Candidate]()
    for step in ask.constraints.steps:
        chain += [candidate for candidate in ordered if candidate not in chain and _fits(step, candidate)][:1]
    return _first(chain), []


def _fits(step: Step, candidate: Candidate) -> bool:
    cost, offer = candidate
    return (
        (step.offer is None or offer.name == step.offer)
        and (step.owner is None or offer.provider.wallet == step.owner.lower())
        and (step.tier is None or offer.provider.tier == TIER_RANK[step.tier])
        and (step.max_price is None or cost <= step.max_price)
    )


_strategies: dict[Strategy, Callable[[Pools, Ask], Chosen]] = {
    "auto": _auto,
    "parallel": _parallel,
    "handoff": _handoff,
    "failover": _steps,
    "custom": _steps,
}


def _first(candidates: Iterable[Candidate]) -> list[Candidate]:
    return [candidate for candidate, _ in zip(candidates, range(MAX_CHAIN), strict=False)]
