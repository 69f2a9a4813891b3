"""Which offer serves: every filter and its order, every strategy, and both forms of deciding held equal."""

from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings

from contracts import Country, Label
from contracts.inference import MAX_CHAIN, MAX_CONSIDERED, Reason
from contracts.providers import (
    ModelDelisted,
    ModelId,
    ModelListed,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
)
from domain.inference.routing import Ask, Choice, choose, decide, scan
from domain.inference.table import FREE, RoutingTable
from tests.domain.fleets import CAUSE, LLAMA, NOW_MS, Fleet, Streams, ask, asks, fold, in_turn, standing, streams
from tests.domain.given import a_listing, did


def chain(choice: Choice) -> list[str]:
    return [offer.name for offer in choice.chain]


def reason_of(fleet: Fleet, question: Ask, name: str = "alice") -> Reason | None:
    """By scan; deciding by index must not choose what it rejects."""
    table = fleet.table()
    reason = scan(table, question).rejected.get(name)
    assert (name in chain(choose(table, question))) is (reason is None)
    return reason


# The filters


def test_an_offer_that_nothing_forbids_is_chosen() -> None:
    assert reason_of(Fleet().join("alice"), ask()) is None


def test_an_unlisted_model_is_served_by_nobody() -> None:
    fleet = Fleet().join("alice")
    fleet.then(LLAMA, ModelDelisted())

    assert reason_of(fleet, ask()) == "unlisted"


def test_a_new_model_is_served_by_enterprise_offers_only() -> None:
    """White paper App. A; the day after, by all."""
    fleet = Fleet().join("alice", tier="pro").join("bob", tier="enterprise")
    until = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    fleet.streams[LLAMA] = [ModelListed(**dict(a_listing(early_until=until)))]

    assert reason_of(fleet, ask(now_ms=NOW_MS - 1)) == "early_access"
    assert chain(decide(fleet.table(), ask(now_ms=NOW_MS - 1))) == ["bob"]
    assert reason_of(fleet, ask()) is None


def test_a_withdrawn_offer_serves_nobody() -> None:
    fleet = Fleet().join("alice")
    fleet.then("alice", OfferWithdrawn())

    assert reason_of(fleet, ask()) == "withdrawn"


def test_who_left_serves_nobody() -> None:
    assert reason_of(Fleet().join("alice", ProviderLeft()), ask()) == "withdrawn"


def test_an_offer_that_failed_probes_is_suspended() -> None:
    fleet = Fleet().join("alice")
    fleet.then("alice", OfferSuspended(cause=CAUSE))

    assert reason_of(fleet, ask()) == "suspended"


def test_a_suspended_provider_serves_nobody() -> None:
    assert reason_of(Fleet().join("alice", standing(suspended=True)), ask()) == "suspended"


def test_a_provider_noted_without_a_bond_serves_nobody() -> None:
    assert reason_of(Fleet().join("alice", standing(bonded=False)), ask()) == "not_bonded"


def test_a_provider_of_which_nothing_is_noted_serves_as_overflow() -> None:
    fleet = Fleet().join("alice", tier="free")

    assert reason_of(fleet, ask()) is None
    assert fleet.table().providers[did("alice")].tier == FREE


def test_a_draining_provider_takes_no_new_request() -> None:
    assert reason_of(Fleet().join("alice", ProviderDraining()), ask()) == "draining"


@pytest.mark.parametrize(("age_ms", "reason"), [(600_000, None), (600_001, "stale"), (601_000, "stale")])
def test_a_provider_last_heard_600_seconds_ago_is_routable_and_601_ago_is_not(age_ms: int, reason: Reason | None) -> None:
    assert reason_of(Fleet().join("alice", heard_ms=NOW_MS - age_ms).join("bob"), ask()) == reason


def test_a_provider_that_was_never_heard_is_stale() -> None:
    assert reason_of(Fleet().join("alice", heard_ms=None), ask()) == "stale"


def test_a_model_outside_the_manifest_is_not_served() -> None:
    assert reason_of(Fleet().join("alice", standing(allowed=(ModelId("phi-3"),))), ask()) == "outside_manifest"


def test_attested_memory_counts_before_the_declared_one() -> None:
    assert reason_of(Fleet().join("alice", standing(attested={"vram_mib": 1_000}), vram_mib=80_000), ask()) == "vram"


def test_a_request_longer_than_the_offers_context_goes_elsewhere() -> None:
    fleet = Fleet().join("alice", context_tokens=150)

    assert reason_of(fleet, ask(prompt_tokens=100, max_tokens=50)) is None
    assert reason_of(fleet, ask(prompt_tokens=101, max_tokens=50)) == "context"


def test_each_of_n_answers_has_a_context_of_its_own() -> None:
    assert reason_of(Fleet().join("alice", context_tokens=150), ask(prompt_tokens=100, max_tokens=50, n=8)) is None


def test_a_fallback_never_leaves_the_country_that_was_asked_for() -> None:
    fleet = Fleet().join("alice", country="FR", price=1).join("bob", country="DE").join("carol", country="DE", price=900)
    in_germany = ask(constraints={"country": Country("DE")})

    assert reason_of(fleet, in_germany) == "country"
    assert chain(decide(fleet.table(), in_germany)) == ["bob", "carol"]


def test_an_attested_country_counts_before_the_declared_one() -> None:
    fleet = Fleet().join("alice", standing(attested={"country": "FR"}), country="DE")

    assert reason_of(fleet, ask(constraints={"country": Country("DE")})) == "country"


def test_a_key_reaches_the_models_of_its_scope_only() -> None:
    fleet = Fleet().join("alice")

    assert reason_of(fleet, ask(constraints={"models": (LLAMA,)})) is None
    assert reason_of(fleet, ask(constraints={"models": (ModelId("phi-3"),)})) == "key_scope"


def test_a_price_cap_is_for_the_whole_request() -> None:
    """100 prompt tokens and 2 × 50 completion tokens at 100 units cost 20,000."""
    fleet = Fleet().join("alice", price=100)

    assert reason_of(fleet, ask(n=2, constraints={"max_price": 20_000})) is None
    assert reason_of(fleet, ask(n=2, constraints={"max_price": 19_999})) == "price"


def test_an_excluded_offer_is_passed_over() -> None:
    """Full, or its breaker open: the router's own list, recorded with the decision."""
    assert reason_of(Fleet().join("alice").join("bob"), ask(excluded=frozenset(["alice"]))) == "excluded"


def test_what_was_asked_for_as_confidential_stays_so() -> None:
    fleet = Fleet().join("alice").join("bob", confidential="tee", price=900)

    assert chain(decide(fleet.table(), ask(constraints={"confidential": True}))) == ["bob"]


def test_tools_are_served_by_who_has_them() -> None:
    fleet = Fleet().join("alice").join("bob", capabilities=(Label("tools"),), price=900)

    assert chain(decide(fleet.table(), ask(constraints={"capabilities": (Label("tools"),)}))) == ["bob"]


def test_the_first_filter_that_fails_is_the_reason() -> None:
    """Everything is wrong with alice; mended one after the other, the reasons come in the order of the filters."""
    everything: dict[str, Any] = {"country": Country("FR"), "models": (ModelId("phi-3"),), "max_price": 0}
    wrong = ask(prompt_tokens=10_000, constraints=everything, excluded=frozenset(["alice"]))
    table = Fleet().join("alice", ProviderDraining(), standing(suspended=True, bonded=False, allowed=()), heard_ms=None).table()
    alice, found = table.offers["alice"], []
    alice.is_withdrawn, alice.provider.attested_vram_mib, alice.model.early_until_ms = True, 1, 2**60
    alice.model.is_listed = False

    def now() -> None:
        found.append(scan(table, wrong).rejected["alice"])

    now()
    alice.model.is_listed = True
    now()
    alice.model.early_until_ms = 0
    now()
    alice.is_withdrawn = False
    now()
    alice.provider.is_suspended = False
    now()
    alice.provider.is_bonded = True
    now()
    alice.provider.is_draining = False
    now()
    alice.provider.heard_ms = NOW_MS
    now()
    alice.provider.allowed = None
    now()
    alice.provider.attested_vram_mib = None
    now()
    alice.context_tokens = 100_000
    now()
    alice.provider.attested_country = "FR"
    now()
    for changes in ({"models": None}, {"models": None, "max_price": None}):
        wrong = ask(prompt_tokens=10_000, constraints={**everything, **changes}, excluded=frozenset(["alice"]))
        now()

    assert found == [
        "unlisted", "early_access", "withdrawn", "suspended", "not_bonded", "draining", "stale", "outside_manifest", "vram",
        "context", "country", "key_scope", "price", "excluded",
    ]  # fmt: skip


# The order


def test_the_cheapest_comes_first_whatever_its_tier() -> None:
    fleet = Fleet().join("alice", tier="enterprise", price=200).join("bob", tier="basic", price=100)

    assert chain(decide(fleet.table(), ask())) == ["bob", "alice"]


def test_within_five_percent_of_the_cheapest_the_tier_decides() -> None:
    fleet = Fleet().join("alice", price=1000).join("bob", tier="pro", price=1049).join("carol", tier="enterprise", price=1050)

    assert chain(decide(fleet.table(), ask())) == ["bob", "alice", "carol"]


def test_a_premium_key_is_served_by_tier_first() -> None:
    fleet = Fleet().join("alice", price=100).join("bob", tier="pro", price=400).join("carol", tier="pro", price=300)

    assert chain(decide(fleet.table(), ask(constraints={"premium": True}))) == ["carol", "bob", "alice"]


def test_free_offers_are_overflow_even_when_they_are_cheapest() -> None:
    fleet = Fleet().join("alice", tier="free", price=1).join("bob", price=900)

    assert chain(decide(fleet.table(), ask())) == ["bob", "alice"]


def test_prompt_and_completion_have_prices_of_their_own() -> None:
    fleet = Fleet()
    fleet.join("reader", prompt_price=10, completion_price=1000).join("writer", prompt_price=1000, completion_price=10)

    assert chain(decide(fleet.table(), ask(prompt_tokens=900, max_tokens=10)))[0] == "reader"
    assert chain(decide(fleet.table(), ask(prompt_tokens=10, max_tokens=900)))[0] == "writer"


def test_a_chain_has_at_most_eight_offers() -> None:
    fleet = Fleet()
    for n in range(20):
        fleet.join(f"p{n}", price=100 + 10 * n)

    assert chain(decide(fleet.table(), ask())) == [f"p{n}" for n in range(MAX_CHAIN)]


def test_the_same_seed_gives_the_same_spread_and_others_spread_evenly() -> None:
    """The cheapest is not stampeded: equals share the requests."""
    fleet = Fleet()
    for n in range(10):
        fleet.join(f"p{n}", price=1000 + n)
    table = fleet.table()

    first = Counter(chain(decide(table, ask(seed=seed * 2_654_435_761 % 2**32)))[0] for seed in range(2_000))

    assert chain(decide(table, ask(seed=11))) == chain(decide(table, ask(seed=11)))
    assert set(first) == {f"p{n}" for n in range(10)}
    assert max(first.values()) < 2 * min(first.values())


def test_a_model_that_nobody_knows_has_no_provider() -> None:
    choice = decide(Fleet().join("alice").table(), ask(model="unknown"))

    assert (choice.chain, choice.considered, choice.refusal) == ([], [], "NoProviderEligible")


def test_a_request_for_nothing_is_decided_all_the_same() -> None:
    assert chain(decide(Fleet().join("alice").table(), ask(prompt_tokens=0, max_tokens=0))) == ["alice"]


def test_a_cheaper_offer_that_was_rejected_is_named_with_its_reason() -> None:
    fleet = Fleet().join("alice", price=1, heard_ms=NOW_MS - 601_000).join("bob", price=100)

    considered = [(offer.name, cost, reason) for offer, cost, reason in decide(fleet.table(), ask()).considered]

    assert considered == [("bob", 15_000, None), ("alice", 150, "stale")]


# The strategies


def test_a_race_is_between_two_offers_of_distinct_owners() -> None:
    fleet = Fleet().join("alice", owner="x", price=100).join("twin", owner="x", price=110).join("bob", price=200)
    choice = scan(fleet.table(), ask(strategy="parallel"))

    assert chain(choice) == ["alice", "bob"]
    assert choice.rejected == {"twin": "same_owner"}


def test_a_race_between_two_machines_of_one_owner_is_refused() -> None:
    fleet = Fleet().join("alice", owner="x", price=100).join("twin", owner="x", price=110)

    assert chain(decide(fleet.table(), ask(strategy="parallel"))) == ["alice"]


def test_who_does_not_race_is_not_raced() -> None:
    fleet = Fleet().join("alice", race=False, price=1).join("bob", price=200).join("carol", price=300)

    assert chain(decide(fleet.table(), ask(strategy="parallel"))) == ["bob", "carol"]
    assert chain(decide(Fleet().join("alice", race=False).table(), ask(strategy="parallel"))) == ["alice"]


def test_a_pinned_request_goes_to_its_device_or_nowhere() -> None:
    """A pin is a promise about where the prompt goes."""
    fleet = Fleet().join("alice", price=1).join("bob", heard_ms=NOW_MS - 601_000)
    pinned = ask(strategy="handoff", constraints={"device": did("alice")})
    gone = ask(strategy="handoff", constraints={"device": did("bob")})

    assert chain(decide(fleet.table(), pinned)) == ["alice"]
    assert (chain(decide(fleet.table(), gone)), decide(fleet.table(), gone).refusal) == ([], "TargetUnreachable")


def test_steps_are_taken_in_their_order() -> None:
    fleet = Fleet().join("alice", price=1).join("bob", price=200).join("carol", tier="pro", price=300)
    wanted = {"steps": ({"tier": "pro"}, {"offer": "bob"}, {"max_price": 1_000})}

    for strategy in ("failover", "custom"):
        assert chain(decide(fleet.table(), ask(strategy=strategy, constraints=wanted))) == ["carol", "bob", "alice"]


def test_a_step_that_nobody_fits_is_left_out() -> None:
    fleet = Fleet().join("alice")
    wanted = {"steps": ({"tier": "enterprise"}, {"owner": fleet.table().providers[did("alice")].wallet})}

    assert chain(decide(fleet.table(), ask(strategy="custom", constraints=wanted))) == ["alice"]


# Both forms


@hypothesis_given(streams(), asks())
@settings(max_examples=150, deadline=None)
def test_index_and_scan_choose_the_same(log: Streams, question: Ask) -> None:
    table = fold(in_turn(log))

    by_index, by_scan = choose(table, question), scan(table, question)

    assert chain(by_index) == chain(by_scan)
    assert by_index.refusal == by_scan.refusal
    assert len(by_scan.considered) <= MAX_CONSIDERED
    for offer, cost, reason in by_index.considered:
        assert by_scan.rejected.get(offer.name) == reason
        assert cost == question.prompt_tokens * offer.prompt_price + question.completion_tokens * offer.completion_price


@hypothesis_given(streams(), asks("auto"))
@settings(max_examples=80, deadline=None)
def test_the_chain_is_the_first_of_all_eligible_in_the_order_of_the_policy(log: Streams, question: Ask) -> None:
    """Against the policy written down once more, as plainly as it can be."""
    table = fold(in_turn(log))
    choice = scan(table, question)

    assert chain(choice) == plainly(table, question, set(choice.rejected))


def plainly(table: RoutingTable, question: Ask, rejected: set[str]) -> list[str]:
    model = table.models.get(question.model)
    offers = [offer for name, offer in model.offers.items() if name not in rejected] if model else []
    chosen: list[str] = []
    for pool in ([o for o in offers if o.provider.tier], [o for o in offers if not o.provider.tier]):
        costs = {
            o.name: question.prompt_tokens * o.prompt_price + question.completion_tokens * o.completion_price for o in pool
        }
        least = min(costs.values(), default=0)

        def band(name: str, costs: dict[str, int] = costs, least: int = least) -> int:
            return int(Fraction(costs[name] - least, least) / Fraction(5, 100)) if least else 0

        def key(offer: Any, band: Any = band) -> tuple[int, ...]:
            mixed = ((offer.salt ^ question.seed) * 2654435761) % 2**32
            by_seed = (mixed ^ mixed >> 15) * 2654435761 % 2**32
            order = (-offer.provider.tier, band(offer.name))
            return (*(order if question.constraints.premium else reversed(order)), by_seed)

        chosen += [offer.name for offer in sorted(pool, key=key)]
    return chosen[:MAX_CHAIN]
