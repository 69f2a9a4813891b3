"""The view of policies: every context's parameters and halts in one fold, whatever the batches."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest, parked_streams
from contracts import Halted, Lifted, ParameterAdopted, Scope, contexts, own_class, policy_stream
from contracts.rewards import RewardsParameters
from contracts.staking import StakingParameters
from projections._policy import halted_until, halts_of, parameters, policies, policies_of, shown, then
from projections.ledger import ledger
from tests.databases import upgrade
from tests.projections.records import chain

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)
REWARDS, STAKING = policy_stream("rewards"), policy_stream("staking")


def adopted(context: str, name: str, value: Any, policy_version: int, version: int = 1) -> ParameterAdopted:
    at = NOON + (policy_version - 2) * DAY
    return own_class(ParameterAdopted, context).model_validate(
        {"name": name, "value": value, "version": version, "policy_version": policy_version, "at": at}
    )


def halted(context: str, scope: Scope, days: int = 1) -> Halted:
    return own_class(Halted, context)(scope=scope, until=NOON + days * DAY)


HISTORY = [
    (REWARDS, adopted("rewards", "burn_percent", 25, 2)),
    (REWARDS, halted("rewards", "rewards")),
    (REWARDS, adopted("rewards", "split_percent", {"provider": 55, "model": 20, "oracles": 10, "treasury": 15}, 3)),
    (REWARDS, adopted("rewards", "burn_percent", 30, 4, 2)),
    (REWARDS, halted("rewards", "all", 2)),
    (REWARDS, own_class(Lifted, "rewards")(scope="rewards")),
]


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    yield engine
    engine.dispose()


def folded(engine: Engine, history: Any, size: int = 100, context: str = "rewards") -> None:
    projector, shard = Projector(engine, policies()), f"{context}.events/0"
    projector.claim([shard])
    values = chain(shard, history)
    for start in range(0, len(values), size):
        piece = [Published(n, n, value, "") for n, value in enumerate(values[start : start + size], start)]
        projector.apply({shard: piece})
        projector.apply({shard: piece})


def test_what_is_in_force_is_shown_with_what_was_before(views: Engine) -> None:
    folded(views, HISTORY)

    with reading(views) as connection:
        now, before = parameters(RewardsParameters, connection), policies_of(RewardsParameters, connection)
        found = {each.name: each for each in shown(connection, "rewards")}

    assert (now.burn_percent, now.split_percent.treasury, now.policy_version) == (30, 15, 4)
    assert [then(before, NOON + n * DAY / 2).burn_percent for n in range(-1, 5)] == [20, 25, 25, 25, 25, 30]
    burn = found["burn_percent"]
    assert (burn.value, burn.default, burn.bounds, burn.version) == (30, 20, {"": (0, 50)}, 2)
    assert (found["protocol_fee_bp"].value, found["protocol_fee_bp"].version) == (100, None)


def test_every_parameter_of_every_context_is_shown_before_anything_was_adopted(views: Engine) -> None:
    with reading(views) as connection:
        found = shown(connection)
        terms = parameters(StakingParameters, connection)

    assert {each.context for each in found} == {"inference", "rewards", "staking", "treasury"}
    assert all(each.value == each.default for each in found)
    assert terms == StakingParameters()


def test_a_halt_is_shown_until_it_is_lifted_with_its_end(views: Engine) -> None:
    folded(views, HISTORY)

    with reading(views) as connection:
        found = halts_of(connection)
        until = halted_until("rewards", "rewards", connection)
        elsewhere = halted_until("treasury", "minting", connection)

    assert [(halt.context, halt.scope, halt.until) for halt in found] == [("rewards", "all", NOON + 2 * DAY)]
    assert until == NOON + 2 * DAY
    assert elsewhere is None


def test_lifting_without_a_scope_lifts_all(views: Engine) -> None:
    folded(views, [*HISTORY, (REWARDS, own_class(Lifted, "rewards")())])

    with reading(views) as connection:
        assert halts_of(connection) == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_view_is_the_same_for_every_batch_size(views: Engine, tmp_path: Any, size: int) -> None:
    whole = engine_for(f"sqlite:///{tmp_path}/whole.db")
    upgrade(whole, "views")

    folded(views, HISTORY, size)
    folded(whole, HISTORY)

    with reading(views) as here, reading(whole) as there:
        assert digest(here, policies()) == digest(there, policies())
    whole.dispose()


def test_other_views_of_a_context_are_not_told_of_its_policy(views: Engine) -> None:
    """Their folds are closed over what the context says by itself: a policy would park its stream there."""
    shard = "rewards.events/0"
    projector = Projector(views, ledger())
    projector.claim([shard])

    projector.apply({shard: [Published(n, n, value, "") for n, value in enumerate(chain(shard, HISTORY))]})

    with reading(views) as connection:
        assert list(parked_streams(connection)) == []
    assert projector.position(shard).next == len(HISTORY)


def test_every_context_has_its_policy_in_the_view(views: Engine) -> None:
    for context in contexts():
        folded(views, [(policy_stream(context), halted(context, "all"))], context=context)

    with reading(views) as connection:
        assert [halt.context for halt in halts_of(connection)] == list(contexts())
