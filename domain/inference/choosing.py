"""Deciding by index: from the cheapest offer on, until nothing further can matter."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from contracts.inference import MAX_CHAIN, MAX_CONSIDERED
from domain.inference.index import ANYTHING, RATIOS, Place, Wanted
from domain.inference.policy import Ask, Candidate, Choice, Rejected, answer, band_limit, band_of, rejection, spread
from domain.inference.scanning import scan
from domain.inference.table import ENTERPRISE, FREE, STALE_MS, TIER_RANK, ModelEntry, OfferEntry, RoutingTable

MET_PLACES = 4
"""Offers of each tier, from the cheapest on, of which a choice says that the constraints do not admit them."""
_ANY_COST: Final = 10**60


def choose(table: RoutingTable, ask: Ask) -> Choice:
    """Strategy `auto`: the chain that a scan would find. It names the reasons of the few cheaper offers that it meets.

    Where the index says nothing (an unlisted model, a moment long past) or finds nobody, it is a scan that answers.
    """
    model = table.models.get(ask.model)
    total = ask.prompt_tokens + ask.completion_tokens
    if model is None or not total or ask.strategy != "auto" or not _is_indexed(table, model, ask):
        return scan(table, ask)
    lowest = ENTERPRISE if ask.now_ms < model.early_until_ms else TIER_RANK[ask.constraints.min_tier or "free"]
    path = _Path(model, ask, total)
    chain: list[Candidate] = []
    staked = [path.walk(tier) for tier in range(ENTERPRISE, max(lowest, FREE + 1) - 1, -1)]
    _fill(chain, staked, ask)
    walks = staked
    if len(chain) < MAX_CHAIN and lowest == FREE:
        overflow = [path.walk(FREE)]
        walks = staked if chain else overflow
        _fill(chain, overflow, ask)
    if not chain:
        return scan(table, ask)
    return answer(chain, path.rejected(walks), ask)


def _is_indexed(table: RoutingTable, model: ModelEntry, ask: Ask) -> bool:
    scope = ask.constraints.models
    return model.is_listed and table.is_current(ask.now_ms) and (scope is None or ask.model in scope)


def _fill(chain: list[Candidate], walks: Sequence["_Walk"], ask: Ask) -> None:
    """From the best on, until the chain is full or nothing is left. The walks are in the order of tiers, the highest first."""
    cheapest: int | None = None
    for walk in walks:
        cheapest = walk.least(cheapest)
    if cheapest is None:
        return
    # Premium keys: each tier to its end before the next. Others: each band through all tiers.
    for group in [[walk] for walk in walks] if ask.constraints.premium else [walks]:
        _fill_by_bands(chain, group, cheapest, ask.seed)


def _fill_by_bands(chain: list[Candidate], walks: Sequence["_Walk"], cheapest: int, seed: int) -> None:
    band = 0
    while len(chain) < MAX_CHAIN:
        limit = band_limit(cheapest, band)
        for walk in walks:
            if room := MAX_CHAIN - len(chain):
                chain += spread(walk.take(limit), seed)[:room]
        if len(chain) < MAX_CHAIN:
            # The next offer may be many bands away.
            least = None
            for walk in walks:
                least = walk.least(least)
            if least is None:
                return
            band = band_of(least, cheapest)


class _Path:
    """What a request wants of a model's index."""

    __slots__ = ("_ask", "_model", "_ratio", "_total", "_wanted")

    def __init__(self, model: ModelEntry, ask: Ask, total: int) -> None:
        self._model, self._ask, self._total = model, ask, total
        self._ratio = min(ask.prompt_tokens * RATIOS // total, RATIOS - 1)
        self._wanted = Wanted.of(ask.constraints)

    def walk(self, tier: int) -> "_Walk":
        return _Walk(tier, self._model.index.order(self._wanted, tier, self._ratio), self._ask, self._total)

    def rejected(self, walks: Iterable["_Walk"]) -> list[Rejected]:
        """Offers that were met and may not serve, with their reasons."""
        found: list[Rejected] = []
        for offer in self._met(walks):
            cost = self._ask.prompt_tokens * offer.prompt_price + self._ask.completion_tokens * offer.completion_price
            if (reason := rejection(offer, self._ask, cost)) is not None:
                found.append((cost, offer, reason))
        return found

    def _met(self, walks: Iterable["_Walk"]) -> Iterator[OfferEntry]:
        for walk in walks:
            yield from walk.passed_by[:MAX_CONSIDERED]
            if self._wanted is not ANYTHING:
                for _, _, offer in self._model.index.order(ANYTHING, walk.tier, self._ratio)[:MET_PLACES]:
                    if not self._wanted.admits(offer):
                        yield offer


class _Walk:
    """One tier's offers from the cheapest on, each looked at once."""

    __slots__ = ("_ask", "_cap", "_places", "_position", "_total", "_waiting", "passed_by", "tier")

    def __init__(self, tier: int, places: Sequence[Place], ask: Ask, total: int) -> None:
        self.tier, self._places, self._ask, self._total = tier, places, ask, total
        self._cap = _ANY_COST if ask.constraints.max_price is None else ask.constraints.max_price
        self._position = 0
        self._waiting: list[Candidate] = []
        """Eligible and not taken."""
        self.passed_by: list[OfferEntry] = []

    def least(self, known: int | None = None) -> int | None:
        """The least cost of those that are left, or what is known from elsewhere if that is less; None when none is left."""
        for cost, _ in self._waiting:
            if known is None or cost < known:
                known = cost
        return self._look(_ANY_COST if known is None else known, known, falls=True)

    def take(self, limit: int) -> list[Candidate]:
        """Those that are left and cost at most that."""
        self._look(limit)
        taken = [candidate for candidate in self._waiting if candidate[0] <= limit]
        if taken:
            self._waiting = [candidate for candidate in self._waiting if candidate[0] > limit]
        return taken

    def _look(self, limit: int, known: int | None = None, *, falls: bool = False) -> int | None:
        """At all that may cost no more than the limit, which falls to the least cost that is found, if it shall."""
        ask, cap, total, places, position = self._ask, self._cap, self._total, self._places, self._position
        p, q, length, heard_since = ask.prompt_tokens, ask.completion_tokens, ask.length, ask.now_ms - STALE_MS
        greatest = min(limit, cap) * RATIOS
        while position < len(places):
            bound, name, offer = places[position]
            if bound * total > greatest:
                break
            position += 1
            cost = p * offer.prompt_price + q * offer.completion_price
            is_fine = offer.provider.heard_ms >= heard_since and offer.context_tokens >= length
            if not is_fine or cost > cap or name in ask.excluded:
                self.passed_by.append(offer)
                continue
            self._waiting.append((cost, offer))
            if falls and (known is None or cost < known):
                known, greatest = cost, cost * RATIOS
        self._position = position
        return known
