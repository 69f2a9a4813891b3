"""Staking as rows: in batches of any size the same, and every question answered from them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from adapters.views.parked import parked_streams
from contracts import Event, Label, is_policy, languages
from contracts.staking import (
    SPACE,
    Appeal,
    CancelUnstake,
    DeregisterDevice,
    Dispute,
    Drip,
    Observe,
    RequestUnstake,
    ResolveAppeal,
    ResolveDispute,
    ResumeDevice,
    Withdraw,
    case_stream,
    collateral_stream,
)
from domain.staking.arithmetic import space_staking_reward
from projections import Projection
from projections.staking import downtime, staking
from projections.staking.queries import (
    at_risk_at,
    case,
    closed_epochs,
    next_drip,
    oracles_at,
    seed_of,
    space_pool,
    space_positions,
    stake_of,
    tier_of,
)
from tests.commands.test_staking import KEYS
from tests.databases import upgrade
from tests.domain.given import did
from tests.domain.given import digest as hashed
from tests.domain.staking import ACCOUNT, MIDNIGHT, NOON, TODAY, WALLET
from tests.ops.test_explain import a_lie
from tests.streams.test_staking import BOND, CASE, DEVICE, FIRST, Village

STAKE = collateral_stream("stake", WALLET)
COUNCIL = [did(f"council {n}") for n in range(5)]
SPACE_STAKE = f"staking/space/{WALLET}"


@pytest.fixture
def village(tmp_path: Path) -> Village:
    return Village(tmp_path)


def eventful(village: Village) -> Village:
    """A history in which every event of staking happens."""
    village.stake("bond", DEVICE, 100 * SPACE)
    village.register()
    village.stake("bond", "second", 100 * SPACE)
    village.register("second")
    village.oracles()
    village.stake("stake", WALLET, 10_000 * SPACE)
    [requested] = village.ask(RequestUnstake(amount=5), STAKE)[:1]
    village.ask(CancelUnstake(request=requested.request), STAKE)  # type: ignore[attr-defined]
    village.ask(Drip(), f"staking/faucet/{WALLET}")
    for kind, amount in (("fund", 10), ("stake", 10**21), ("reward", 3), ("unstake", 10**20), ("withdraw", 7)):
        village.ask(Observe(kind=kind, amount=amount, log=Label(f"0x1:{kind}")), SPACE_STAKE)
    village.a_day(missed=15)
    village.attest()
    holds = [village.hold(units * SPACE, f"bond:{case_stream(CASE)}") for units in (10, 20)]
    village.work()
    [disputed] = village.ask(Dispute(hold=holds[0], statement=hashed("up")), case_stream(CASE))
    vote = ResolveDispute(proposal=disputed.proposal, upheld=True, quorum_met=True)  # type: ignore[attr-defined]
    village.ask(vote, case_stream(CASE))
    village.ask(Appeal(hold=holds[1], statement=hashed("really")), case_stream(CASE))
    for member, verdict in zip(COUNCIL, ("uphold", "void", "uphold", "uphold"), strict=False):
        village.ask(ResolveAppeal(verdict=verdict), case_stream(CASE), member)
    village.work()
    village.ask(DeregisterDevice(), BOND)
    village.wait(days=8)
    return village


def clement(village: Village) -> Village:
    """A case that is voided by a vote, and an oracle that contradicts itself."""
    village.stake("bond", DEVICE, 100 * SPACE)
    village.register()
    for key in KEYS[:7]:
        village.stake("oracle", key.did, 10_000 * SPACE)
    village.a_day(missed=15)
    village.attest()
    hold = village.hold(10 * SPACE, f"bond:{case_stream(CASE)}")
    village.work()
    [disputed] = village.ask(Dispute(hold=hold, statement=hashed("up")), case_stream(CASE))
    vote = ResolveDispute(proposal=disputed.proposal, upheld=True, quorum_met=False)  # type: ignore[attr-defined]
    village.ask(vote, case_stream(CASE))
    a_lie(village)
    village.wait(days=2)
    [requested] = village.ask(RequestUnstake(amount=5), BOND)
    village.wait(days=8)
    village.ask(Withdraw(request=requested.request, account=ACCOUNT), BOND)  # type: ignore[attr-defined]
    village.work()
    return village


def lenient(village: Village) -> Village:
    """A case that too few attest."""
    village.stake("bond", DEVICE, 200 * SPACE)
    village.register()
    village.oracles()
    village.a_day(missed=15)
    village.attest(count=4)
    village.wait(hours=7)
    return village


def resumed(village: Village) -> Village:
    village.stake("bond", DEVICE, 200 * SPACE)
    village.register()
    village.oracles()
    village.a_day(missed=15)
    village.attest()
    village.wait(hours=25)
    village.ask(ResumeDevice(), BOND)
    return village


HISTORIES = (eventful, clement, lenient, resumed)


class Records:
    """A context's records as a source."""

    def __init__(self, village: Village, context: str) -> None:
        self.shard = f"{context}.events/0"
        self.values = [record.value for _, record in village.log if record.shard == self.shard]

    def published(self) -> Sequence[Published]:
        return [Published(n, n, value, "") for n, value in enumerate(self.values)]

    async def read(self, shard: str, start: int, end: int) -> Any:
        del shard
        for one in self.published()[start:end]:
            yield [one]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("make", "history"), [(downtime, eventful), *((staking, history) for history in HISTORIES)])
def test_every_batch_size_gives_one_digest(village: Village, tmp_path: Path, make: Any, history: Any, size: int) -> None:
    projection: Projection = make()
    source = Records(history(village), projection.contexts[0])
    engine = engine_for(f"sqlite:///{tmp_path}/again.db")
    upgrade(engine, "views")
    projector = Projector(engine, projection)
    projector.claim([source.shard])
    for start in range(0, len(source.values), size):
        piece = source.published()[start : start + size]
        projector.apply({source.shard: piece})
        projector.apply({source.shard: piece})

    with scratch_tables(projection, "replay_test") as scratch, reading(engine) as connection:
        fold = ScratchFold(scratch, batch_records=1)
        asyncio.run(fold.fold(source, {source.shard: len(source.values)}))  # type: ignore[arg-type]
        assert not parked_streams(connection, projection.name)
        with village.views() as live:
            assert fold.digest() == digest(connection, projection) == digest(live, projection)
    engine.dispose()


def test_an_appeal_that_three_upheld_is_executed_without_waiting(village: Village) -> None:
    eventful(village)

    with village.views() as connection:
        found = case(CASE, connection)
    assert found is not None
    assert found.state == "executed"
    assert [verdict for _, verdict in found.answers].count("uphold") == 3
    assert sorted(state for _, state in found.bonds) == ["burned", "burned"]
    assert [taken.state for taken in found.taken] == ["slashed"]


def test_a_tier_is_that_of_the_stake_at_the_epochs_start(village: Village) -> None:
    village.stake("stake", WALLET, 10_000 * SPACE)
    village.now = NOON
    village.ask(RequestUnstake(amount=1), STAKE)

    with village.views() as connection:
        tiers = [tier_of(WALLET.upper().replace("X", "x"), TODAY + days, connection) for days in (-3, -2, 0, 1, 9)]

    assert tiers == ["free", "pro", "pro", "basic", "basic"]


def test_a_stake_shows_what_leaves_when_and_what_a_case_holds(village: Village) -> None:
    village.stake("bond", DEVICE, 100 * SPACE)
    village.register()
    village.oracles()
    village.ask(RequestUnstake(amount=95 * SPACE), BOND)
    village.a_day(missed=15)
    village.attest()

    with village.views() as connection:
        position = stake_of("bond", DEVICE, connection)
        nobody = stake_of("bond", "nobody", connection)

    assert nobody is None
    assert position is not None
    [leaving] = position.unbonding
    assert (position.active, position.held) == (5 * SPACE, 10 * SPACE)
    assert (leaving.units, leaving.held) == (95 * SPACE, 5 * SPACE)
    assert leaving.releasable_at == NOON + timedelta(days=4)


def test_what_was_at_risk_and_who_was_an_oracle_is_known_for_each_epoch(village: Village) -> None:
    village.stake("bond", DEVICE, 100 * SPACE)
    village.oracles(3)
    village.now = NOON
    village.stake("bond", DEVICE, 5 * SPACE)
    village.ask(RequestUnstake(amount=1), collateral_stream("oracle", did("oracle 0")))

    with village.views() as connection:
        found = [at_risk_at("bond", DEVICE, TODAY + days, connection) for days in (-3, 0, 1)]
        oracles = [len(oracles_at(TODAY + days, connection)) for days in (-3, 0, 1)]

    assert found == [0, 100 * SPACE, 105 * SPACE]
    assert oracles == [0, 3, 2]


def test_an_epoch_shows_its_promise_and_its_seed(village: Village) -> None:
    village.a_day(missed=3, excused=range(FIRST, FIRST + 2))

    with village.views() as connection:
        [closed] = closed_epochs(TODAY, connection, DEVICE)
        assert closed_epochs(TODAY, connection, did("another")) == []
        seed = seed_of(TODAY, connection)
        assert seed_of(TODAY + 1, connection) is None

    assert (closed.uptime.expected, closed.uptime.excused, closed.uptime.missed) == (286, 2, 1)
    assert (closed.meets_sla, closed.is_breach) == (True, False)
    assert seed is not None


# SpaceStaking and the faucet


def observe(village: Village, kind: str, amount: int) -> None:
    village.serial += 1
    said = Observe(kind=kind, amount=amount, log=Label(f"0xab:{village.serial}"))
    village.ask(said, SPACE_STAKE)


def test_a_reward_from_space_staking_beyond_its_pool_is_shown_as_not_covered(village: Village) -> None:
    observe(village, "fund", 50 * 10**18)
    observe(village, "stake", 1_000 * 10**18)

    village.now += timedelta(days=365)
    with village.views() as connection:
        [position] = space_positions(village.now, connection)

    assert (position.owed, position.covered) == (125 * 10**18, 50 * 10**18)


def test_a_reward_that_was_paid_is_owed_no_more(village: Village) -> None:
    observe(village, "fund", 200 * 10**18)
    observe(village, "stake", 1_000 * 10**18)
    village.now += timedelta(days=365)
    observe(village, "reward", 125 * 10**18)
    observe(village, "unstake", 400 * 10**18)
    observe(village, "withdraw", 300 * 10**18)
    village.now += timedelta(days=1)

    with village.views() as connection:
        [position] = space_positions(village.now, connection)
        pool = space_pool(connection)

    assert (position.staked, position.unstaking) == (600 * 10**18, 100 * 10**18)
    assert position.owed == space_staking_reward(600 * 10**18, 86_400) == position.covered
    assert pool == 75 * 10**18


def test_an_address_sees_when_the_faucet_gives_again(village: Village) -> None:
    village.now = MIDNIGHT
    village.ask(Drip(), f"staking/faucet/{WALLET}")

    with village.views() as connection:
        assert next_drip(WALLET, connection) == MIDNIGHT + timedelta(days=1)
        assert next_drip("0x" + "f" * 40, connection) is None


def test_every_event_of_staking_happens_in_one_of_the_histories(tmp_path: Path) -> None:
    """Or the digests above would not show that it is folded."""
    seen: set[str] = set()
    for history in HISTORIES:
        (tmp_path / history.__name__).mkdir()
        seen.update(history(Village(tmp_path / history.__name__)).names("staking."))

    own = (cls for cls in languages() if cls.wire.context == "staking" and issubclass(cls, Event) and not is_policy(cls))
    assert seen == {cls.__name__ for cls in own}


@pytest.mark.parametrize("history", HISTORIES)
def test_every_aggregate_survives_its_snapshot(village: Village, history: Any) -> None:
    """A worker keeps what it folded as JSON, and goes on from there."""
    for stream, aggregate in history(village).streams.kept.items():
        if stream.startswith("staking/"):
            form: TypeAdapter[Any] = TypeAdapter(type(aggregate))
            assert form.validate_json(form.dump_json(aggregate)) == aggregate
