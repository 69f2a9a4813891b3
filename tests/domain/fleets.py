"""Small fleets as events, drawn by Hypothesis or written by hand, for the tests of the routing table and of routing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from contracts import Address, Country, Event, EventId, Label
from contracts.inference import Constraints, Step
from contracts.liveness import Beat, HeartbeatsRecorded
from contracts.providers import (
    TIERS,
    Attested,
    ModelDelisted,
    ModelId,
    ModelListed,
    OfferDeclared,
    OfferId,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    StandingNoted,
)
from domain.inference.routing import Ask
from domain.inference.table import RoutingTable
from tests.domain.given import a_gpu, a_listing, an_offer, did, digest

NOW_MS = 1_795_521_600_000
CAUSE = EventId("0189b1b2-0000-5000-8000-000000000001")
LLAMA = ModelId("llama-3.1-8b")

Streams = dict[str, list[Event]]
"""Stream's id to its events, in their order."""


def beat(name: str, received_at_ms: int = NOW_MS) -> HeartbeatsRecorded:
    one = Beat(
        device=did(name), slot=received_at_ms // 300_000, seq=1, boot=Label("b"), sent_at_ms=received_at_ms,
        received_at_ms=received_at_ms, load_percent=1, hash=digest(f"{name} {received_at_ms}"),
    )  # fmt: skip
    return HeartbeatsRecorded(beats=(one,), repeated=0)


def standing(tier: str = "basic", **changes: Any) -> StandingNoted:
    fields = {"tier": tier, "bonded": True, "suspended": False, "from_epoch": 1, "cause": CAUSE}
    return StandingNoted(**{**fields, **changes})


def registration(name: str, owner: str = "", country: str = "DE", vram_mib: int = 24_576) -> ProviderRegistered:
    wallet = Address("0x" + sha256((owner or name).encode()).hexdigest()[:40])
    return ProviderRegistered(device=did(name), wallet=wallet, gpu=a_gpu(vram_mib, name), country=Country(country))


@dataclass
class Fleet:
    """Providers written one by one. What is not said is so that the provider may serve."""

    streams: Streams = field(default_factory=lambda: {LLAMA: [ModelListed(**dict(a_listing()))]})

    def join(self, name: str, *later: Event, tier: str = "basic", price: int = 100, **terms: Any) -> "Fleet":
        """A provider that is heard now, with one offer named like it. `later` happens to it."""
        about = {key: terms.pop(key) for key in ("owner", "country", "vram_mib") if key in terms}
        heard = terms.pop("heard_ms", NOW_MS)
        standings = [] if tier == "free" else [standing(tier)]
        self.streams[did(name)] = [registration(name, **about), *standings, *later]
        terms = {"prompt_price": price, "completion_price": price, "device": did(name), **terms}
        self.streams[name] = [OfferDeclared(**dict(an_offer(name, **terms)))]
        if heard is not None:
            self.streams[f"beats of {name}"] = [beat(name, heard)]
        return self

    def then(self, stream: str, *events: Event) -> "Fleet":
        self.streams[stream].extend(events)
        return self

    def table(self) -> RoutingTable:
        return fold(in_turn(self.streams))


def fold(events: Iterator[tuple[str, Event]]) -> RoutingTable:
    table = RoutingTable()
    for stream, event in events:
        table.fold(event, stream)  # type: ignore[arg-type]
    return table


def in_turn(streams: Streams) -> Iterator[tuple[str, Event]]:
    """Stream after stream."""
    return ((stream, event) for stream, events in streams.items() for event in events)


def shuffled(streams: Streams, order: Any) -> Iterator[tuple[str, Event]]:
    """The streams in some interleaving, each in its own order."""
    turns = [stream for stream, events in streams.items() for _ in events]
    order.shuffle(turns)
    left = {stream: iter(events) for stream, events in streams.items()}
    return ((stream, next(left[stream])) for stream in turns)


def ask(**changes: Any) -> Ask:
    constraints = Constraints(**changes.pop("constraints", {}))
    fields = {"model": LLAMA, "prompt_tokens": 100, "max_tokens": 50, "now_ms": NOW_MS, "seed": 7, "constraints": constraints}
    return Ask(**{**fields, **changes})


# What Hypothesis draws

NAMES = tuple(f"p{n}" for n in range(12))
_MODELS = (LLAMA, ModelId("phi-3"))
_COUNTRIES = ("DE", "FR", "US")
_MOVES: tuple[tuple[Event, ...], ...] = (
    (), (), (), (ProviderDraining(),), (ProviderDraining(), ProviderResumed()), (ProviderLeft(),),
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> Streams:
    """A fleet in any state: unlisted models, providers that left, drain, are silent, suspended, too small, …"""
    found: Streams = {}
    for model in _MODELS:
        listing = ModelListed(**dict(a_listing(min_vram_mib=draw(st.sampled_from((8_192, 20_000))))))
        found[model] = draw(st.sampled_from(([listing], [listing], [listing], [], [listing, ModelDelisted()])))
    for name in NAMES:
        vram_mib = 24_576 - draw(st.sampled_from((0, 5_000)))
        about = [
            registration(name, draw(st.sampled_from(NAMES[:4])), draw(st.sampled_from(_COUNTRIES)), vram_mib),
            *draw(st.lists(standings(), max_size=2)),
            *draw(st.sampled_from(_MOVES)),
        ]
        found[did(name)] = about
        ages = draw(st.lists(st.sampled_from((0, 300_000, 600_000, 600_001, 700_000, 900_000)), max_size=2))
        found[f"beats of {name}"] = [beat(name, NOW_MS - age) for age in ages]
        for offer in draw(st.lists(offers(name), max_size=2)):
            fate = draw(
                st.sampled_from(
                    ((), (), (), (), (OfferWithdrawn(),), (OfferSuspended(cause=CAUSE),),
                     (OfferSuspended(cause=CAUSE), OfferReinstated(cause=CAUSE)))
                )
            )  # fmt: skip
            found[f"{name}.{offer.model}"] = [offer, *fate]
    return found


@st.composite
def standings(draw: st.DrawFn) -> StandingNoted:
    attested = st.builds(
        Attested,
        vram_mib=st.sampled_from((None, 16_000, 24_576)),
        country=st.sampled_from((None, *map(Country, _COUNTRIES))),
    )
    return standing(
        draw(st.sampled_from(TIERS)),
        bonded=draw(st.sampled_from((True, True, True, False))),
        suspended=draw(st.sampled_from((False, False, False, True))),
        allowed=draw(st.sampled_from((None, None, (LLAMA,), ()))),
        attested=draw(st.none() | attested),
    )


@st.composite
def offers(draw: st.DrawFn, name: str) -> OfferDeclared:
    return OfferDeclared(
        **dict(
            an_offer(
                name,
                model=draw(st.sampled_from(_MODELS)),
                prompt_price=draw(prices),
                completion_price=draw(prices),
                context_tokens=draw(st.sampled_from((100, 1_000, 100_000))),
                race=draw(st.booleans()),
                confidential=draw(st.sampled_from(("none", "none", "tee"))),
                capabilities=draw(st.sampled_from(((), (Label("tools"),)))),
            )
        )
    )


prices = st.one_of(st.integers(95, 115), st.integers(0, 1_000), st.sampled_from((0, 10**15)))


@st.composite
def asks(draw: st.DrawFn, strategy: str | None = None) -> Ask:
    limits = Constraints(
        country=draw(st.none() | st.sampled_from(_COUNTRIES).map(Country)),
        max_price=draw(st.none() | st.integers(0, 30_000)),
        min_tier=draw(st.none() | st.sampled_from(TIERS)),
        confidential=draw(st.sampled_from((False, False, False, True))),
        capabilities=draw(st.sampled_from(((), (), (Label("tools"),)))),
        device=draw(st.none() | st.sampled_from(NAMES).map(did)),
        models=draw(st.sampled_from((None, None, (LLAMA,), ()))),
        premium=draw(st.booleans()),
        steps=draw(st.lists(steps(), max_size=4).map(tuple)),
    )
    excluded = draw(st.frozensets(st.sampled_from([f"{name}.{model}" for name in NAMES for model in _MODELS]), max_size=3))
    return Ask(
        model=draw(st.sampled_from((*_MODELS, "unknown"))),
        prompt_tokens=draw(st.integers(0, 200)),
        max_tokens=draw(st.integers(0, 200)),
        now_ms=NOW_MS + draw(st.sampled_from((0, 60_000, -60_000, -300_000, 600_000))),
        seed=draw(st.integers(0, 2**32 - 1)),
        n=draw(st.sampled_from((1, 1, 3))),
        strategy=draw(
            st.sampled_from(("auto", "parallel", "handoff", "failover", "custom")) if strategy is None else st.just(strategy)
        ),  # type: ignore[arg-type]
        constraints=limits if draw(st.booleans()) else Constraints(premium=limits.premium),
        excluded=excluded if draw(st.booleans()) else frozenset(),
    )


@st.composite
def steps(draw: st.DrawFn) -> Step:
    return Step(
        offer=draw(st.none() | st.sampled_from(NAMES).map(lambda name: OfferId(f"{name}.{LLAMA}"))),
        owner=draw(st.none() | st.sampled_from(NAMES[:4]).map(lambda name: registration("", name).wallet)),
        tier=draw(st.none() | st.sampled_from(TIERS)),
        max_price=draw(st.none() | st.integers(0, 30_000)),
    )
