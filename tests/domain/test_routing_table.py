"""The routing table: the same for every interleaving of the shards, and what a router may know at its cut."""

from typing import Any

from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from contracts.providers import OfferSuspended, ProviderDraining, ProviderLeft, ProviderRegistered, ProviderResumed
from domain.inference.index import ANYTHING, RATIOS, Wanted
from domain.inference.routing import Ask, decide, scan
from domain.inference.table import GRACE_MS, STALE_MS, RoutingTable
from tests.domain.fleets import (
    CAUSE,
    LLAMA,
    NOW_MS,
    Fleet,
    Streams,
    ask,
    asks,
    beat,
    fold,
    in_turn,
    registration,
    shuffled,
    standing,
    streams,
)
from tests.domain.given import did


def all_of(table: RoutingTable) -> dict[str, Any]:
    """What the table says, and what its index holds."""
    offers = {
        name: (offer.is_indexed, offer.standing_reason(), offer.provider.heard_ms, offer.provider.tier, offer.provider.country)
        for name, offer in table.offers.items()
    }
    indexed = {
        model.name: [sorted(tier) for tier in model.index.tiers] + [sorted(model.resting)] for model in table.models.values()
    }
    return {"offers": offers, "indexed": indexed}


@hypothesis_given(streams(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_table_is_the_same_for_every_interleaving_of_the_streams(log: Streams, order: Any) -> None:
    """Shards are read side by side; a cut names how far, and must say all."""
    assert all_of(fold(shuffled(log, order))) == all_of(fold(in_turn(log)))


@hypothesis_given(streams(), st.lists(asks(), max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_orders_that_were_asked_for_early_are_kept_up(log: Streams, early: list[Ask], order: Any) -> None:
    """An order is made when somebody asks; what happens afterwards must reach it."""
    table = RoutingTable()
    for count, (stream, event) in enumerate(shuffled(log, order)):
        table.fold(event, stream)  # type: ignore[arg-type]
        if count % 5 == 0:
            for question in early:
                decide(table, question)
    fresh = fold(in_turn(log))

    for question in early:
        assert _names(decide(table, question)) == _names(decide(fresh, question))
    for model in fresh.models.values():
        for tier in range(4):
            for ratio in range(RATIOS):
                kept = table.models[model.name].index.order(ANYTHING, tier, ratio)
                made = model.index.order(ANYTHING, tier, ratio)
                assert [place[:2] for place in kept] == [place[:2] for place in made]


def _names(choice: Any) -> tuple[list[str], list[Any]]:
    return [o.name for o in choice.chain], [(o.name, cost, reason) for o, cost, reason in choice.considered]


def test_an_offer_is_in_the_index_while_nothing_but_the_request_forbids_it() -> None:
    fleet = Fleet().join("alice", tier="basic")
    assert fleet.table().offers["alice"].is_indexed

    for event, is_indexed in [(ProviderDraining(), False), (ProviderResumed(), True), (ProviderLeft(), False)]:
        fleet.then(did("alice"), event)
        table = fleet.table()
        assert table.offers["alice"].is_indexed is is_indexed
        assert ("alice" in table.models[LLAMA].resting) is not is_indexed


def test_an_offer_whose_name_is_none_is_passed_over() -> None:
    """It was recorded before names were checked. A request that considered it would be refused, and its model be down."""
    fleet = Fleet().join("alice").join("b:ad").join("x" * 100)
    fleet.then("b:ad", OfferSuspended(cause=CAUSE))
    table = fleet.table()

    assert list(table.offers) == ["alice"]
    assert _names(decide(table, ask()))[0] == ["alice"]


def test_an_offer_moves_in_the_index_with_its_providers_tier_and_country() -> None:
    fleet = Fleet().join("alice", tier="basic", country="DE")
    table = fleet.table()
    in_france = Wanted(country="FR")
    assert not table.models[LLAMA].index.order(in_france, 2, 8)

    table.fold(standing("pro", attested={"country": "FR"}), did("alice"))

    index = table.models[LLAMA].index
    assert [sorted(tier) for tier in index.tiers] == [[], [], ["alice"], []]
    assert [name for _, name, _ in index.order(in_france, 2, 8)] == ["alice"]
    assert not index.order(Wanted(country="DE"), 2, 8)


def test_who_was_silent_for_long_leaves_the_index_and_comes_back_with_a_beat() -> None:
    long_ago = NOW_MS - STALE_MS - GRACE_MS - 1
    table = Fleet().join("alice", heard_ms=long_ago).join("bob").table()
    assert not table.offers["alice"].is_indexed
    assert scan(table, ask()).rejected == {"alice": "stale"}

    table.fold(beat("alice", NOW_MS + 1), "0")

    assert table.offers["alice"].is_indexed


def test_a_moment_long_past_is_decided_without_the_index() -> None:
    """Who is silent by the newest beat was not stale then, and a decision of then must come out the same."""
    then = NOW_MS - STALE_MS - GRACE_MS - 1
    table = Fleet().join("alice", heard_ms=then).join("bob").table()

    chain = decide(table, ask(now_ms=then + STALE_MS)).chain

    assert {offer.name for offer in chain} == {"alice", "bob"}


def test_a_provider_that_comes_again_is_registered_anew() -> None:
    fleet = Fleet().join("alice", ProviderDraining(), ProviderLeft())
    assert not fleet.table().offers["alice"].is_indexed

    fleet.then(did("alice"), ProviderRegistered(**dict(registration("alice"))))

    assert fleet.table().offers["alice"].is_indexed
