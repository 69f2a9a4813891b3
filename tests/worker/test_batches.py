"""How a client's commands fall into batches is chance; what is recorded must not be."""

import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.identity import WithdrawRole
from tests.worker.world import (
    FAR,
    PARTITIONS,
    Sent,
    World,
    alice,
    bob,
    carol,
    open_world,
    propose,
    revoke,
    signed,
    someone,
    stream_of,
)

PEOPLE = [someone(n) for n in range(5)]


def commands() -> st.SearchStrategy[list[Sent]]:
    """Registrations, withdrawals and revocations of two keys by five others, some of them allowed."""
    # Few keys, or seldom anything happens twice to one of them in a batch.
    key, by = st.sampled_from(PEOPLE[:2]), st.sampled_from([alice, alice, bob, carol, *PEOPLE[:2]])
    version = st.sampled_from([{}, {}, {}, {"streamversion": 0}, {"streamversion": 2}])
    role = st.sampled_from(["providers.gpu", "identity.registrar"])
    proposals = st.builds(
        lambda k, b, r, v, n: propose(k, b, r, "identity/", not_after=FAR - timedelta(days=n), **v),
        key,
        by,
        role,
        version,
        st.integers(0, 1),
    )
    withdrawals = st.builds(
        lambda k, b, v: signed(WithdrawRole(role="providers.gpu", prefix="identity/"), stream_of(k), b, **v), key, by, version
    )
    endings = st.builds(lambda k, b: revoke(k, b), key, st.sampled_from([alice, carol, *PEOPLE]))
    some = st.lists(proposals | proposals | withdrawals | endings, min_size=6, max_size=20)
    # Some come twice.
    return st.tuples(some, st.lists(st.integers(0, 19), max_size=3)).map(lambda t: t[0] + [t[0][n % len(t[0])] for n in t[1]])


def told(world: World) -> list[Any]:
    """Everything that the store holds, but for times and what follows from them."""
    without = {"time", "prevhash", "_value", "_signature"}
    events = [{name: item for name, item in event.items() if name not in without} for event in world.events()]
    outcomes = []
    for outcome in world.outcomes():
        outcome["data"] = {name: item for name, item in outcome["data"].items() if name != "time"}
        outcomes.append({name: item for name, item in outcome.items() if name not in without})
    return [json.dumps(events, sort_keys=True), json.dumps(outcomes, sort_keys=True)]


def run(folder: Path, name: str, partition: int, sent: list[Sent], cuts: list[int], recover_at: set[int]) -> list[Any]:
    """The commands of one partition, in batches that end at the cuts; before some the worker forgets all."""
    world = open_world(f"sqlite:///{folder}/{name}.db")
    world.publish(*sent)
    del world.topics[1 - partition]
    worker = world.worker(partition)
    for n, (start, end) in enumerate(pairwise([0, *cuts, len(world.topics[partition])])):
        if n in recover_at:
            worker.recover()
        worker.work(limit=end - start)
    found = [*told(world), world.repeats()]
    world.engine.dispose()
    return found


@given(commands(), st.data())
# No shrinking: with databases behind each example it takes minutes, and what was drawn is short already.
@settings(
    max_examples=80, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
def test_every_split_into_batches_records_the_same(sent: list[Sent], data: st.DataObject) -> None:
    """Apart from times and the hashes that they go into. And so does a worker that forgets between two batches."""
    for partition in range(PARTITIONS):
        with TemporaryDirectory() as folder:
            count = len([record for record in sent if _partition(record) == partition])
            cuts = sorted(data.draw(st.sets(st.integers(1, count - 1)))) if count > 1 else []
            recover_at = data.draw(st.sets(st.integers(0, 5), max_size=2))

            whole = run(Path(folder), "whole", partition, sent, [], set())
            in_parts = run(Path(folder), "parts", partition, sent, cuts, recover_at)

            assert in_parts == whole


def _partition(sent: Sent) -> int:
    from contracts import partition_of

    return partition_of(sent.subject, PARTITIONS)
