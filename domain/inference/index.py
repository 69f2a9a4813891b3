"""A model's offers in the orders in which requests want them, kept as the log is folded.

A request of p prompt and q completion tokens costs p·a + q·b. Over a class of requests, those whose p/(p+q) lies between
i/16 and (i+1)/16, that is linear, so it is never below its lesser end. Offers are kept in the order of that bound and walked
from the cheapest until the bound passes what is looked for.

An order is made when it is first asked for, and kept up from then on: of the many that are possible (tier, class, country,
capabilities) a router's customers use few.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from contracts.inference import Constraints
from contracts.providers import TIERS

if TYPE_CHECKING:
    from domain.inference.table import OfferEntry, ProviderEntry

RATIOS = 16
"""Classes of requests by their share of prompt tokens."""
MAX_VIEWS = 32
"""Kinds of constraints for which a model keeps orders; the oldest makes room."""

Place = tuple[int, str, "OfferEntry"]
"""A lower bound of the cost, the offer's name (so that no two are equal), the offer."""


class Terms(NamedTuple):
    """An offer as a scan wants it: what varies with the request, without going through the offer."""

    prompt_price: int
    completion_price: int
    context_tokens: int
    provider: "ProviderEntry"
    offer: "OfferEntry"


class Wanted(NamedTuple):
    """The constraints that do not depend on a request's size or moment."""

    country: str | None = None
    is_confidential: bool = False
    capabilities: frozenset[str] = frozenset()

    @classmethod
    def of(cls, limits: Constraints) -> "Wanted":
        if not (limits.country or limits.confidential or limits.capabilities):
            return ANYTHING
        return cls(limits.country, limits.confidential, frozenset(limits.capabilities))

    def admits(self, offer: "OfferEntry") -> bool:
        return (
            (self.country is None or offer.provider.country == self.country)
            and (offer.is_confidential or not self.is_confidential)
            and offer.capabilities >= self.capabilities
        )


ANYTHING = Wanted()


class ModelIndex:
    """The offers of one model that nothing but time and the request can forbid."""

    __slots__ = ("_views", "tiers")

    def __init__(self) -> None:
        self.tiers: tuple[dict[str, Terms], ...] = tuple({} for _ in TIERS)
        self._views: dict[Wanted, _View] = {}

    def __len__(self) -> int:
        return sum(map(len, self.tiers))

    def add(self, offer: "OfferEntry") -> None:
        """Its provider's tier and country stay as they are until it is removed."""
        terms = Terms(offer.prompt_price, offer.completion_price, offer.context_tokens, offer.provider, offer)
        self.tiers[offer.provider.tier][offer.name] = terms
        for ratio, places in self._orders_with(offer):
            insort(places, _place(offer, ratio))

    def remove(self, offer: "OfferEntry") -> None:
        del self.tiers[offer.provider.tier][offer.name]
        for ratio, places in self._orders_with(offer):
            del places[bisect_left(places, _place(offer, ratio))]

    def order(self, wanted: Wanted, tier: int, ratio: int) -> list[Place]:
        """That tier's offers which the constraints admit, by what they cost at least."""
        view = self._views.get(wanted)
        if view is None:
            if len(self._views) == MAX_VIEWS:
                del self._views[next(iter(self._views))]
            view = self._views[wanted] = {}
        places = view.get((tier, ratio))
        if places is None:
            offers = (terms.offer for terms in self.tiers[tier].values())
            places = view[tier, ratio] = sorted(_place(offer, ratio) for offer in offers if wanted.admits(offer))
        return places

    def _orders_with(self, offer: "OfferEntry") -> Iterator[tuple[int, list[Place]]]:
        for wanted, view in self._views.items():
            if wanted.admits(offer):
                for (tier, ratio), places in view.items():
                    if tier == offer.provider.tier:
                        yield ratio, places


_View = dict[tuple[int, int], list[Place]]


def _place(offer: "OfferEntry", ratio: int) -> Place:
    a, b = offer.prompt_price, offer.completion_price
    bound = min(ratio * a + (RATIOS - ratio) * b, (ratio + 1) * a + (RATIOS - ratio - 1) * b)
    return bound, offer.name, offer
