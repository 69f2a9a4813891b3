"""A request's decision: recorded once, and refused where it contradicts itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts import Label, Uuid
from contracts.inference import Considered, Constraints, OpenRequest, RequestOpened, RouteDecided
from contracts.liveness import ShardCut
from contracts.providers import ModelId, OfferId
from domain.inference import (
    AlreadyOpened,
    ConstraintBroken,
    NoProviderEligible,
    Request,
    TableTooOld,
    TargetUnreachable,
)
from tests.domain.given import did, digest, refused

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REQUEST = Uuid("01935e2f-0000-7000-8000-000000000001")
ALICE, BOB, CAROL = OfferId("alice"), OfferId("bob"), OfferId("carol")

TWICE = (Considered(offer=ALICE, cost=1), Considered(offer=ALICE, cost=2), Considered(offer=BOB, cost=1))


def request() -> Request:
    return Request(f"inference/request/{REQUEST}")


def opening(**changes: Any) -> OpenRequest:
    fields: dict[str, Any] = {
        "key": Label("key-1"), "kind": "chat", "model": ModelId("llama-3.1-8b"), "stream": True, "strategy": "auto",
        "constraints": Constraints(), "prompt_tokens": 100, "max_tokens": 50, "n": 1,
        "cut": (ShardCut(shard="providers.events/0", next=7),), "as_of": NOW, "policy_version": 1, "seed": digest("seed"),
        "chain": (ALICE, BOB),
        "considered": (
            Considered(offer=ALICE, cost=10), Considered(offer=BOB, cost=12), Considered(offer=CAROL, cost=9, reason="stale"),
        ),
        "request_hash": digest("body"),
    }  # fmt: skip
    return OpenRequest(**{**fields, **changes})


def test_a_request_is_opened_with_the_decision_that_was_taken_for_it() -> None:
    ours, command = request(), opening()

    ours.open(command, NOW)

    opened, decided = ours.pending
    assert isinstance(opened, RequestOpened)
    assert isinstance(decided, RouteDecided)
    assert (opened.key, opened.request_hash) == (command.key, command.request_hash)
    assert (decided.request, decided.chain, decided.considered) == (REQUEST, command.chain, command.considered)
    assert (decided.cut, decided.seed, decided.as_of) == (command.cut, command.seed, NOW)


def test_opening_twice_with_the_same_decision_records_once() -> None:
    ours = request()

    ours.open(opening(), NOW)
    ours.open(opening(), NOW + timedelta(hours=1))

    assert len(ours.pending) == 2


@pytest.mark.parametrize("changes", [{"chain": (BOB,)}, {"seed": digest("another")}, {"request_hash": digest("another body")}])
def test_a_request_is_opened_once(changes: dict[str, Any]) -> None:
    """Else a second decision could be written over the one that was kept."""
    ours = request()
    ours.open(opening(), NOW)

    refused(ours, lambda: ours.open(opening(**changes), NOW), AlreadyOpened)


def test_a_request_without_a_chain_is_refused() -> None:
    ours = request()
    nobody = opening(chain=(), considered=(Considered(offer=CAROL, cost=9, reason="stale"),))

    assert refused(ours, lambda: ours.open(nobody, NOW), NoProviderEligible).field == "chain"


def test_a_pinned_request_without_a_chain_has_an_unreachable_target() -> None:
    ours = request()
    pinned = opening(chain=(), considered=(), strategy="handoff", constraints=Constraints(device=did("alice")))

    refused(ours, lambda: ours.open(pinned, NOW), TargetUnreachable)


def test_a_table_may_be_sixty_seconds_old() -> None:
    for age in (timedelta(seconds=60), timedelta(seconds=-60)):
        ours = request()
        ours.open(opening(), NOW + age)
        assert len(ours.pending) == 2

    for age in (timedelta(seconds=60, microseconds=1), timedelta(seconds=-60, microseconds=-1)):
        ours = request()
        refused(ours, lambda ours=ours, age=age: ours.open(opening(), NOW + age), TableTooOld)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chain": (ALICE, ALICE)}, "chain"),
        ({"chain": (ALICE, CAROL)}, "considered"),
        ({"chain": (ALICE, OfferId("dave"))}, "considered"),
        ({"excluded": (BOB,)}, "chain"),
        ({"constraints": Constraints(max_price=11)}, "chain"),
        ({"constraints": Constraints(models=(ModelId("phi-3"),))}, "model"),
        ({"considered": TWICE}, "considered"),
        ({"strategy": "handoff"}, "constraints"),
        ({"strategy": "failover"}, "constraints"),
        ({"strategy": "custom"}, "constraints"),
        ({"strategy": "parallel", "chain": (ALICE, BOB, OfferId("dave"))}, "chain"),
    ],
    ids=["twice", "rejected", "not considered", "excluded", "too dear", "out of scope", "considered twice", "no pin",
         "no steps", "no steps either", "three racers"],
)  # fmt: skip
def test_a_chain_that_contradicts_what_was_asked_is_refused(changes: dict[str, Any], field: str) -> None:
    ours = request()

    assert refused(ours, lambda: ours.open(opening(**changes), NOW), ConstraintBroken).field == field


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": tuple(OfferId(f"p{n}") for n in range(9))},
        {"considered": tuple(Considered(offer=OfferId(f"p{n}"), cost=1) for n in range(33))},
        {"excluded": tuple(OfferId(f"p{n}") for n in range(257))},
        {"constraints": {"steps": ({"offer": "alice"},) * 9}},
        {"n": 0},
    ],
    ids=["a ninth offer", "too much considered", "too much excluded", "a ninth step", "no answer"],
)
def test_a_request_beyond_its_limits_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        opening(**changes)


def test_a_snapshot_is_the_request() -> None:
    ours, form = request(), TypeAdapter(Request)
    ours.open(opening(constraints=Constraints(max_price=10**30)), NOW)

    assert form.validate_json(form.dump_json(ours)) == ours
