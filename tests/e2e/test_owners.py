"""Whoever owns a shard publishes it: owners that die, come and go, and are killed under load."""

import random
import signal
import time

import pytest

from tests.e2e.harness import LONG, Deployment, Kept, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def claims(deployment: Deployment) -> dict[int, int]:
    """How often each shard was claimed."""
    return {row["shard"]: row["epoch"] for row in deployment.rows("select shard, epoch from relays")}


def test_what_an_owner_left_when_it_died_is_published_by_the_one_that_follows(deployment: Deployment, seed: int) -> None:
    """It dies after the commit and before the broker has a byte of it, and nobody starts it again."""
    dying = deployment.start("worker", "--slot", "1", SPACEOS_CRASH="command.committed:8")
    client = deployment.client(seed, "--count", "400", "--rate", "100", "--patience", "30", begin=True)
    until(lambda: dying.ended, "death")
    left = until(deployment.decided, "an answer of the store") - deployment.count("select sum(next_outcome) as n from relays")
    deployment.start("worker", "--slot", "2")
    deployment.finish(client)

    verdict = deployment.judge()

    assert left > 0
    assert dying.process.returncode == -signal.SIGKILL
    assert verdict["ok"], verdict


def test_a_rebalance_hands_over_each_shard_that_moves_once(deployment: Deployment, seed: int) -> None:
    """With claims of all shards by each, two workers took them to and fro for as long as both lived."""
    deployment.start("worker")
    client = deployment.client(seed, "--count", "1000000", "--rate", "60", begin=True)
    until(lambda: deployment.decided() > 100, "100 decisions")
    alone = claims(deployment)

    second = deployment.start("worker")
    until(lambda: 2 in claims(deployment).values(), "a shard that moved")
    before = deployment.decided()
    until(lambda: deployment.decided() > before + 200, "200 decisions of both")
    shared = claims(deployment)
    assert second.stop() == 0
    until(lambda: 2 not in claims(deployment).values(), "all shards back")
    before = deployment.decided()
    until(lambda: deployment.decided() > before + 100, "100 decisions of the first")
    client.signal(signal.SIGTERM)
    deployment.finish(client)
    verdict = deployment.judge()

    assert verdict["ok"], verdict
    assert set(alone.values()) == {1}
    assert set(shared.values()) == {1, 2}
    assert claims(deployment) == {shard: 3 if epoch == 2 else 1 for shard, epoch in shared.items()}


def test_two_owners_that_are_killed_under_load_lose_and_double_nothing(deployment: Deployment, seed: int) -> None:
    chance = random.Random(seed)
    kept = [Kept(deployment, ("worker", "--slot", str(n)), iter(())) for n in (1, 2)]
    client = deployment.client(seed, "--count", "1000000", "--rate", "100", begin=True)
    until(lambda: deployment.decided() > 100, "100 decisions")
    kills = 0
    while kills < (100 if LONG else 8):
        time.sleep(chance.expovariate(1 / 1.5))
        if (now := chance.choice(kept).now) is not None and not now.ended:
            now.signal(signal.SIGKILL)
            kills += 1
    client.signal(signal.SIGTERM)
    deployment.finish(client)

    verdict = deployment.judge()
    for process in kept:
        process.stop()

    print(f"{kills} kills, {sum(claims(deployment).values())} claims of {len(claims(deployment))} shards, {verdict}")
    assert verdict["ok"], verdict
