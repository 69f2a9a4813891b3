"""Who may serve: registrations, standings, machines, offers and the catalogue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from contracts import Country, EventId
from contracts.providers import (
    Attested,
    GpuBound,
    GpuContested,
    ModelDelisted,
    ModelId,
    ModelListed,
    NoteStanding,
    OfferDeclared,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    ReinstateOffer,
    StandingNoted,
    SuspendOffer,
)
from domain.providers import (
    AlreadyDeclared,
    AlreadyListed,
    AlreadyRegistered,
    AlreadyWithdrawn,
    ContextTooLong,
    CountedTwice,
    EarlyAccessTooLong,
    GpuBoundElsewhere,
    Machine,
    Model,
    ModelUnlisted,
    NotBonded,
    NotListed,
    NotServing,
    NotYourDevice,
    Offer,
    OlderStanding,
    OutsideManifest,
    PriceOutOfBounds,
    Provider,
    VramTooSmall,
)
from tests.domain.given import a_gpu, a_listing, a_registration, an_offer, did, digest, given, refused, then

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CAUSE = EventId("0189b1b2-0000-5000-8000-000000000001")
ALICE, BOB = did("alice"), did("bob")


def registered(name: str = "alice", **changes: Any) -> ProviderRegistered:
    return ProviderRegistered(device=did(name), **dict(a_registration(name, **changes)))


def standing(**changes: Any) -> StandingNoted:
    fields = {"tier": "basic", "bonded": True, "suspended": False, "from_epoch": 20_000, "cause": CAUSE}
    return StandingNoted(**{**fields, **changes})


def provider(*events: Any, name: str = "alice") -> Provider:
    return given(Provider, f"providers/provider/{did(name)}", *events)


# Registration


def test_a_device_registers_by_its_own_key() -> None:
    alice = provider()

    then(alice, lambda: alice.register(a_registration(), ALICE), registered())


def test_nobody_registers_another_device() -> None:
    alice = provider()

    assert refused(alice, lambda: alice.register(a_registration(), BOB), NotYourDevice).field == "subject"


def test_registering_with_another_wallet_is_refused() -> None:
    alice = provider(registered())

    refused(alice, lambda: alice.register(a_registration(country=Country("FR")), ALICE), AlreadyRegistered)


def test_a_machine_of_a_serving_device_is_bound_elsewhere() -> None:
    """A new key must not shed the open case that follows the machine's serial number."""
    alice, bob = provider(registered()), provider(name="bob")

    ask = a_registration("bob", gpu=a_gpu(serial="alice"))

    refused(bob, lambda: bob.register(ask, BOB, bound_to=alice), GpuBoundElsewhere)


def test_a_machine_whose_device_left_may_serve_under_another_key() -> None:
    alice, bob = provider(registered(), ProviderLeft()), provider(name="bob")
    gpu = a_gpu(serial="alice")

    then(bob, lambda: bob.register(a_registration("bob", gpu=gpu), BOB, bound_to=alice), registered("bob", gpu=gpu))


def test_who_came_again_with_another_machine_holds_the_old_one_no_more() -> None:
    alice = provider(registered(), ProviderLeft(), registered(gpu=a_gpu(serial="newer")))
    bob = provider(name="bob")
    gpu = a_gpu(serial="alice")

    then(bob, lambda: bob.register(a_registration("bob", gpu=gpu), BOB, bound_to=alice), registered("bob", gpu=gpu))


def test_a_provider_noted_as_unbonded_cannot_register() -> None:
    alice = provider(standing(bonded=False))

    refused(alice, lambda: alice.register(a_registration(), ALICE), NotBonded)


def test_a_provider_of_which_nothing_is_noted_registers_as_free() -> None:
    """The Free tier's stake is 0 (white paper 5.4)."""
    alice = provider()
    alice.register(a_registration(), ALICE)

    assert alice.is_serving
    assert alice.standing is None


def test_who_left_may_come_again() -> None:
    alice = provider(registered(), ProviderDraining(), ProviderLeft())

    then(alice, lambda: alice.register(a_registration(), ALICE), registered())
    assert not alice.is_draining


# Draining and leaving


def test_draining_and_resuming_are_recorded_once() -> None:
    alice = provider(registered())

    then(alice, lambda: alice.drain(ALICE), ProviderDraining())
    alice.pending.clear()
    then(alice, lambda: alice.resume(ALICE), ProviderResumed())


def test_leaving_is_recorded_once() -> None:
    alice = provider(registered())

    then(alice, lambda: alice.leave(ALICE), ProviderLeft())


@pytest.mark.parametrize("ask", ["drain", "resume", "leave"])
def test_only_the_device_itself_drains_resumes_or_leaves(ask: str) -> None:
    alice = provider(registered())

    refused(alice, lambda: getattr(alice, ask)(BOB), NotYourDevice)


@pytest.mark.parametrize("ask", ["drain", "resume", "leave"])
def test_who_never_registered_is_not_serving(ask: str) -> None:
    alice = provider()

    refused(alice, lambda: getattr(alice, ask)(ALICE), NotServing)


@pytest.mark.parametrize("ask", ["drain", "resume"])
def test_who_left_is_not_serving(ask: str) -> None:
    alice = provider(registered(), ProviderLeft())

    refused(alice, lambda: getattr(alice, ask)(ALICE), NotServing)


# Standing


def noting(**changes: Any) -> NoteStanding:
    return NoteStanding(**dict(standing(**changes)))


def test_a_standing_may_be_noted_before_the_registration() -> None:
    """Staking and mesh do not wait for the device."""
    alice = provider()

    then(alice, lambda: alice.note_standing(noting()), standing())


def test_a_standing_of_an_earlier_epoch_is_older() -> None:
    alice = provider(standing(from_epoch=20_001))

    assert refused(alice, lambda: alice.note_standing(noting()), OlderStanding).field == "from_epoch"


def test_a_standing_of_the_same_epoch_takes_the_place_of_the_one_before() -> None:
    alice = provider(standing())

    then(alice, lambda: alice.note_standing(noting(tier="pro")), standing(tier="pro"))


# Machines


def machine(*events: Any) -> Machine:
    return given(Machine, f"providers/gpu/{digest('alice')}", *events)


def test_a_machine_is_bound_to_who_registered_with_it() -> None:
    found = machine()

    then(found, lambda: found.bind(ALICE, None), GpuBound(device=ALICE))


def test_who_registered_at_the_same_time_contests_and_does_not_get_it() -> None:
    """Neither registration could see the other, so the machine's own stream puts them in order."""
    found, alice = machine(GpuBound(device=ALICE)), provider(registered())

    then(found, lambda: found.bind(BOB, alice), GpuContested(device=BOB, bound_to=ALICE))
    assert found.device == ALICE


def test_a_machine_whose_device_left_is_bound_anew() -> None:
    found, alice = machine(GpuBound(device=ALICE)), provider(registered(), ProviderLeft())

    then(found, lambda: found.bind(BOB, alice), GpuBound(device=BOB))


# The catalogue


def model(*events: Any) -> Model:
    return given(Model, "providers/model/llama-3.1-8b", *events)


def listed(**changes: Any) -> ModelListed:
    return ModelListed(**dict(a_listing(**changes)))


def test_a_model_is_listed_once() -> None:
    llama = model()

    then(llama, lambda: llama.list_it(a_listing(), NOW), listed())


def test_a_listed_model_is_not_listed_differently() -> None:
    llama = model(listed())

    refused(llama, lambda: llama.list_it(a_listing(context_tokens=8_192), NOW), AlreadyListed)


def test_a_delisted_model_may_be_listed_again_differently() -> None:
    llama = model(listed(), ModelDelisted())

    then(llama, lambda: llama.list_it(a_listing(context_tokens=8_192), NOW), listed(context_tokens=8_192))


def test_a_model_that_is_not_listed_cannot_be_delisted() -> None:
    for llama in (model(), model(listed(), ModelDelisted())):
        refused(llama, llama.delist, NotListed)


def test_delisting_twice_is_refused_the_second_time() -> None:
    llama = model(listed())

    llama.delist()

    assert llama.pending == [ModelDelisted()]
    refused(llama, llama.delist, NotListed)


@pytest.mark.parametrize("counting", [{"tokenizer": digest("t")}, {"bytes_per_token_percent": None}])
def test_tokens_are_counted_in_exactly_one_way(counting: dict[str, Any]) -> None:
    """Two ways would give two bills, none would give none."""
    llama = model()

    refused(llama, lambda: llama.list_it(a_listing(**counting), NOW), CountedTwice)


def test_early_access_lasts_fourteen_days_at_most() -> None:
    llama = model()
    longest = a_listing(early_until=NOW + timedelta(days=14))

    refused(llama, lambda: llama.list_it(a_listing(early_until=NOW + timedelta(days=14, seconds=1)), NOW), EarlyAccessTooLong)
    then(llama, lambda: llama.list_it(longest, NOW), ModelListed(**dict(longest)))


# Offers


def offer(*events: Any) -> Offer:
    return given(Offer, "providers/offer/alice.llama", *events)


def declared(**changes: Any) -> OfferDeclared:
    return OfferDeclared(**dict(an_offer(**changes)))


def test_a_registered_provider_offers_a_listed_model() -> None:
    found = offer()

    then(
        found,
        lambda: found.declare(an_offer(), actor=ALICE, provider=provider(registered()), model=model(listed())),
        declared(),
    )


def test_an_offer_is_declared_by_its_own_device() -> None:
    found = offer()

    refused(
        found,
        lambda: found.declare(an_offer(), actor=BOB, provider=provider(registered()), model=model(listed())),
        NotYourDevice,
    )


@pytest.mark.parametrize("events", [(), (registered(), ProviderLeft())])
def test_who_does_not_serve_offers_nothing(events: tuple[Any, ...]) -> None:
    found = offer()

    refused(
        found, lambda: found.declare(an_offer(), actor=ALICE, provider=provider(*events), model=model(listed())), NotServing
    )


@pytest.mark.parametrize("events", [(), (listed(), ModelDelisted())])
def test_a_model_outside_the_catalogue_is_not_offered(events: tuple[Any, ...]) -> None:
    found = offer()

    refusal = refused(
        found,
        lambda: found.declare(an_offer(), actor=ALICE, provider=provider(registered()), model=model(*events)),
        ModelUnlisted,
    )
    assert refusal.field == "model"


def test_an_alias_and_a_digest_that_disagree_are_not_offered() -> None:
    found, llama = offer(), model(listed(digests=(digest("other weights"),)))

    refusal = refused(
        found, lambda: found.declare(an_offer(), actor=ALICE, provider=provider(registered()), model=llama), ModelUnlisted
    )
    assert refusal.field == "model_digest"


def test_weights_that_the_catalogue_names_are_offered() -> None:
    found, llama = offer(), model(listed(digests=(digest("other weights"), digest("weights"))))

    then(found, lambda: found.declare(an_offer(), actor=ALICE, provider=provider(registered()), model=llama), declared())


def test_a_machine_too_small_for_the_model_is_refused() -> None:
    found = offer()

    refused(
        found,
        lambda: found.declare(
            an_offer(), actor=ALICE, provider=provider(registered(gpu=a_gpu(8_191))), model=model(listed())
        ),
        VramTooSmall,
    )  # fmt: skip


def test_a_claim_of_memory_above_the_attested_one_is_refused() -> None:
    """What an oracle measured counts before what the owner says (white paper 13.3)."""
    found = offer()
    alice = provider(registered(gpu=a_gpu(80_000)), standing(attested=Attested(vram_mib=8_191)))

    refused(found, lambda: found.declare(an_offer(), actor=ALICE, provider=alice, model=model(listed())), VramTooSmall)


def test_attested_memory_adds_nothing_to_the_declared_one() -> None:
    found = offer()
    alice = provider(registered(gpu=a_gpu(8_191)), standing(attested=Attested(vram_mib=80_000)))

    refused(found, lambda: found.declare(an_offer(), actor=ALICE, provider=alice, model=model(listed())), VramTooSmall)


def test_an_offer_outside_the_manifest_is_refused() -> None:
    found, alice = offer(), provider(registered(), standing(allowed=(ModelId("phi-3"),)))

    refused(found, lambda: found.declare(an_offer(), actor=ALICE, provider=alice, model=model(listed())), OutsideManifest)


@pytest.mark.parametrize("field", ["prompt_price", "completion_price"])
def test_a_price_above_a_thousand_dollars_a_million_is_refused(field: str) -> None:
    """A higher price is a slip of the pen."""
    found = offer()
    ask = an_offer(**{field: 10**15 + 1})

    refusal = refused(
        found, lambda: found.declare(ask, actor=ALICE, provider=provider(registered()), model=model(listed())), PriceOutOfBounds
    )
    assert refusal.field == field


def test_a_price_of_exactly_the_bound_and_a_price_of_nothing_are_taken() -> None:
    for price in (0, 10**15):
        found = offer()
        ask = an_offer(prompt_price=price, completion_price=price)

        then(
            found,
            lambda ask=ask, found=found: found.declare(  # type: ignore[misc]
                ask, actor=ALICE, provider=provider(registered()), model=model(listed())
            ),
            OfferDeclared(**dict(ask)),
        )  # fmt: skip


def test_no_offer_promises_more_context_than_the_model_has() -> None:
    found = offer()
    ask = an_offer(context_tokens=131_073)

    refused(
        found, lambda: found.declare(ask, actor=ALICE, provider=provider(registered()), model=model(listed())), ContextTooLong
    )


def test_an_offer_is_not_declared_with_other_terms() -> None:
    """A price that changes under a name would change a decision that was recorded with that name."""
    found = offer(declared())

    refused(
        found,
        lambda: found.declare(
            an_offer(prompt_price=1), actor=ALICE, provider=provider(registered()), model=model(listed())
        ),
        AlreadyDeclared,
    )  # fmt: skip


def test_a_withdrawn_offer_is_not_declared_again() -> None:
    found = offer(declared(), OfferWithdrawn())

    refused(
        found,
        lambda: found.declare(an_offer(), actor=ALICE, provider=provider(registered()), model=model(listed())),
        AlreadyDeclared,
    )


def test_an_offer_is_withdrawn_once_by_its_own_device() -> None:
    found = offer(declared())

    refused(found, lambda: found.withdraw(BOB), NotYourDevice)
    found.withdraw(ALICE)

    assert found.pending == [OfferWithdrawn()]
    refused(found, lambda: found.withdraw(ALICE), AlreadyWithdrawn)


def test_an_offer_is_suspended_and_reinstated_once() -> None:
    found = offer(declared())

    then(found, lambda: found.suspend(SuspendOffer(cause=CAUSE)), OfferSuspended(cause=CAUSE))
    found.pending.clear()
    then(found, lambda: found.reinstate(ReinstateOffer(cause=CAUSE)), OfferReinstated(cause=CAUSE))


@pytest.mark.parametrize("events", [(), (declared(), OfferWithdrawn())])
def test_a_withdrawn_offer_is_not_suspended_or_reinstated(events: tuple[Any, ...]) -> None:
    found = offer(*events)

    refused(found, lambda: found.suspend(SuspendOffer(cause=CAUSE)), AlreadyWithdrawn)
    refused(found, lambda: found.reinstate(ReinstateOffer(cause=CAUSE)), AlreadyWithdrawn)


@pytest.mark.parametrize(
    "aggregate",
    [
        provider(registered(), standing(allowed=(ModelId("phi-3"),), attested=Attested(vram_mib=1, country=Country("DE")))),
        machine(GpuBound(device=ALICE), GpuContested(device=BOB, bound_to=ALICE)),
        model(listed(early_until=NOW, digests=(digest("w"),))),
        offer(declared(), OfferSuspended(cause=CAUSE)),
    ],
    ids=lambda aggregate: type(aggregate).__name__,
)
def test_a_snapshot_is_the_aggregate(aggregate: Any) -> None:
    form = TypeAdapter(type(aggregate))

    assert form.validate_json(form.dump_json(aggregate)) == aggregate
