"""What is adopted while a network lives: the lists plan by it, the books are judged by it, anybody finds the same numbers."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commands.rewards import Rewards
from contracts import AdoptParameter, Halt, Lift, ParameterName, own_class, policy_stream
from contracts.rewards import EMISSION, DeclareGenesis, epoch_stream
from contracts.staking import SPACE, TierChanged
from ops.moneychecker import Judge
from projections.rewards import rewards
from projections.staking.queries import tier_of
from streams import Stream
from streams.policy import streams as policy_wiring
from streams.rewards.day import Day
from streams.staking.recomputing import recompute
from tests.commands.test_rewards import FEES, GENESIS, N, fee
from tests.domain.staking import MIDNIGHT, TODAY, WALLET
from tests.streams.test_staking import DEVICE, Village
from tests.streams.town import Town

DAY = timedelta(days=1)
POLICIES: list[Stream] = list(policy_wiring(None))  # type: ignore[arg-type]


def adopt(town: Town, name: str, value: Any, version: int = 1) -> None:
    context, _, parameter = name.partition(".")
    command = own_class(AdoptParameter, context)(name=ParameterName(parameter), value=value, version=version)
    town.ask(command, policy_stream(context))


@pytest.fixture
def village(tmp_path: Path) -> Village:
    found = Village(tmp_path)
    found.wire(*POLICIES)
    found.stake("bond", DEVICE, 100 * SPACE)
    found.register()
    found.oracles()
    return found


# Staking


@pytest.mark.parametrize(("missed", "state"), [(18, "attested"), (17, "none")])
def test_a_breach_is_what_was_adopted_before_its_day_began(village: Village, missed: int, state: str) -> None:
    """6 % of 288 slots: 17 are none, 18 are one, and it costs a fifth."""
    adopt(village, "staking.downtime_threshold_percent", 6)
    adopt(village, "staking.downtime_slash_percent", 20)

    village.a_day(missed=missed)
    if state == "attested":
        village.attest()

    assert village.state() == state
    if state == "attested":
        opened = village.opened()
        found = recompute(opened, village.liveness(), village.staking())
        assert (opened.percent, opened.threshold_percent, opened.policy_version) == (20, 6, 3)
        assert [share.units for share in found.amounts] == [20 * SPACE]
        assert list(found.differences(opened)) == []


def test_a_day_that_had_begun_is_judged_by_what_held_then(village: Village) -> None:
    """Whoever reads the rule at midnight knows what the day can cost."""
    village.now = MIDNIGHT - DAY / 2
    adopt(village, "staking.downtime_threshold_percent", 20)
    adopt(village, "staking.downtime_slash_percent", 1)

    village.a_day(missed=15)
    village.attest()

    opened = village.opened()
    assert (opened.percent, opened.policy_version) == (10, 1)
    assert list(recompute(opened, village.liveness(), village.staking()).differences(opened)) == []


def test_a_case_by_another_policy_than_the_logs_is_found(village: Village) -> None:
    adopt(village, "staking.downtime_slash_percent", 20)
    village.a_day(missed=15)
    opened = village.opened()
    found = recompute(opened, village.liveness(), village.staking())

    forged = opened.model_copy(update={"percent": 10, "policy_version": 1})

    assert [difference.partition(":")[0] for difference in found.differences(forged)] == ["percent", "policy"]


def test_every_stake_has_the_tier_of_the_new_minimum_from_the_next_epoch_and_is_told_once(village: Village) -> None:
    village.stake("stake", WALLET, 1_500 * SPACE)
    village.wait(days=2)
    minimum = {"basic": 2_000 * SPACE, "pro": 10_000 * SPACE, "enterprise": 100_000 * SPACE}
    adopt(village, "staking.tier_minimum", minimum)
    village.wait(hours=1)
    village.wait(hours=1)
    epoch = TODAY - 1
    with village.views() as connection:
        tiers = [tier_of(WALLET, epoch + days, connection) for days in (0, 1)]

    adopt(village, "staking.tier_minimum", {**minimum, "basic": 1_000 * SPACE}, 2)
    village.wait(hours=1)

    changes = [event for event, _ in village.log if isinstance(event, TierChanged)]
    assert tiers == ["basic", "free"]
    assert [(event.tier, event.policy_version) for event in changes] == [("basic", None), ("free", 2), ("basic", 3)]


def test_a_hold_for_a_stake_that_a_halt_refuses_is_free_again(village: Village) -> None:
    until = village.now + DAY
    command = own_class(Halt, "staking")(scope="staking", until=until)
    village.ask(command, policy_stream("staking"))

    village.stake("stake", WALLET, 1_500 * SPACE)
    village.wait(minutes=5)

    assert village.names("treasury")[-1] == "Released"
    assert "StakingHalted" in {refusal.name for refusal in village.refusals["fund_a_stake"].values()}


# Rewards


def a_rewards_town(path: Path) -> Town:
    town = Town(path, [Rewards], [rewards(), *POLICIES], GENESIS)
    town.ask(DeclareGenesis(at=GENESIS), EMISSION)
    return town


def test_an_epoch_that_a_halt_refused_is_opened_when_it_is_over(tmp_path: Path) -> None:
    town = a_rewards_town(tmp_path)
    town.ask(own_class(Halt, "rewards")(scope="all", until=town.now + DAY / 2), policy_stream("rewards"))
    town.wire(Day(stakes=lambda _epoch, _desk: None).todo())
    town.work()
    refused = town.names().count("EpochOpened")

    for _ in range(14):
        town.wait(hours=1)

    assert refused == 0
    assert [record.subject for event, record in town.log if type(event).__name__ == "EpochOpened"] == [epoch_stream(N)]


def test_a_halt_that_is_lifted_lets_the_next_attempt_pass(tmp_path: Path) -> None:
    town = a_rewards_town(tmp_path)
    town.ask(own_class(Halt, "rewards")(scope="rewards", until=town.now + 7 * DAY), policy_stream("rewards"))
    town.wire(Day(stakes=lambda _epoch, _desk: None).todo())
    town.work()

    town.ask(own_class(Lift, "rewards")(), policy_stream("rewards"))
    town.wait(hours=1)

    assert town.names().count("EpochOpened") == 1


# The books


def judged(town: Town, path: Path, forge: Any = None) -> list[str]:
    """What the checker, which shares no code with us, says of policies."""
    rows = []
    for _, record in town.log:
        document = json.loads(record.value)
        if forge:
            forge(document)
        rows.append({"table": "events", "value": base64.b64encode(json.dumps(document).encode()).decode()})
    (path / "store.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [problem.text for problem in Judge(path).judge() if problem.invariant in ("M5", "M11")]


@pytest.fixture
def divided(tmp_path: Path) -> Town:
    """Fees before and after two changes, a minute apart."""
    town = a_rewards_town(tmp_path)
    for n, change in enumerate([None, ("burn_percent", 33), ("split_percent", SPLIT), None]):
        if change:
            town.now += timedelta(minutes=1)
            adopt(town, f"rewards.{change[0]}", change[1])
        town.now += timedelta(minutes=1)
        for m in range(3):
            town.ask(fee(10 * n + m, 1_000_003 + 7 * m), FEES)
    return town


SPLIT = {"provider": 55, "model": 25, "oracles": 5, "treasury": 15}


def test_the_checker_divides_by_the_policies_in_the_log(divided: Town, tmp_path: Path) -> None:
    assert judged(divided, tmp_path) == []


def test_a_share_by_another_split_is_found(divided: Town, tmp_path: Path) -> None:
    def forge(document: dict[str, Any]) -> None:
        if document["type"] == "rewards.FeeSplit" and document["data"]["receipt"] == "r21":
            document["data"]["provider_share"] = str(int(document["data"]["provider_share"]) + 1)

    assert len(judged(divided, tmp_path, forge)) == 1


def test_a_decision_that_names_another_policy_than_was_in_force_is_found(divided: Town, tmp_path: Path) -> None:
    def forge(document: dict[str, Any]) -> None:
        if document["type"] == "rewards.FeeSplit" and document["data"]["receipt"] == "r30":
            document["data"]["policy_version"] = 2

    assert any("policy 3 was in force" in text for text in judged(divided, tmp_path, forge))
