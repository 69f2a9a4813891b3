"""A halt on its way through the worker: signed, decided, appended, fenced; then what is new is refused and the rest goes on."""

import time
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import text

from adapters.sql.store import StreamMoved
from commands import Grant
from contracts import AdoptParameter, Halt, Lift, ParameterName, own_class, partition_of, policy_stream
from tests.worker.world import FAR, PARTITIONS, Sent, World, dave, propose, revoke, signed, someone, stream_of

POLICY = policy_stream("identity")
new, other, third, process = (someone(n) for n in range(101, 105))


@pytest.fixture
def halting(world: World) -> World:
    """There is a key that speaks for the processes of identity."""
    world.store.plant([Grant(process.did, "identity.process", "identity/", FAR)])
    return world


def halt(seconds: float = 3_600, scope: str = "all") -> Sent:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return signed(own_class(Halt, "identity").model_validate({"scope": scope, "until": until}), POLICY, by=process)


def lift() -> Sent:
    return signed(own_class(Lift, "identity")(), POLICY, by=process)


def test_a_halted_context_refuses_what_is_new_until_it_is_lifted(halting: World) -> None:
    worker, before = halting.worker(), propose(new)
    halting.publish(before)
    worker.work()
    stop, refused, revoking = halt(), propose(other), revoke(new)
    halting.publish(stop)
    worker.work()
    halting.publish(refused, revoking)
    worker.work()
    go_on, after = lift(), propose(third)
    halting.publish(go_on)
    worker.work()
    halting.publish(after)
    worker.work()

    sent = (before, stop, refused, revoking, go_on, after)
    assert [halting.refusal(each) for each in sent] == [None, None, "IdentityHalted", None, None, None]
    assert halting.types(other) == []


def test_only_who_has_the_role_halts(halting: World) -> None:
    stranger = signed(own_class(Lift, "identity")(), POLICY, by=dave)
    halting.publish(stranger)

    halting.worker().work()

    assert halting.refusal(stranger) == "NotInRole"


def test_what_no_context_has_is_not_adopted(halting: World) -> None:
    command = own_class(AdoptParameter, "identity")(name=ParameterName("quorum"), value=2, version=1)
    asking = signed(command, POLICY, by=process)
    halting.publish(asking)

    halting.worker().work()

    assert halting.refusal(asking) == "NotMutable"
    assert halting.outcome(asking)["data"]["refusal"]["field"] == "name"


def test_a_worker_that_knows_of_no_halt_decides_nothing_by_what_it_knows(halting: World) -> None:
    """Two workers, one shard each: the one that has not seen the halt is told by the fence, and refuses like the other."""
    place = partition_of(POLICY, PARTITIONS)
    keys = (key for key in map(someone, range(200, 300)) if partition_of(stream_of(key), PARTITIONS) != place)
    warm, elsewhere = next(keys), next(keys)
    theirs, ours = halting.worker(place), halting.worker(1 - place)
    halting.publish(propose(warm))
    ours.work()
    halting.publish(halt())
    theirs.work()
    asking = propose(elsewhere)
    halting.publish(asking)

    with pytest.raises(StreamMoved):
        ours.work()
    ours.recover()
    ours.work()

    assert halting.refusal(asking) == "IdentityHalted"


def test_a_halt_ends_by_itself(halting: World) -> None:
    """Nobody says anything: the store's clock does."""
    worker, stop = halting.worker(), halt(seconds=1.0)
    halting.publish(stop)
    worker.work()
    time.sleep(1.1)
    asking = propose(new)
    halting.publish(asking)

    worker.work()

    # A machine that took a second to get there refused the halt as over, and nothing was stopped either.
    assert halting.refusal(stop) in (None, "AlreadyOver")
    assert halting.refusal(asking) is None


def test_who_decides_by_a_policy_waits_for_no_other_shard(halting: World) -> None:
    """The shard in which the policy lies is being written: only who appends to the policy itself is waited for."""
    if halting.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: everybody waits for everybody")
    place = partition_of(POLICY, PARTITIONS)
    key = next(key for key in map(someone, range(200, 300)) if partition_of(stream_of(key), PARTITIONS) != place)
    ours, asking = halting.worker(1 - place), propose(key)
    halting.publish(asking)

    with halting.engine.begin() as busy:
        busy.execute(
            text("select 1 from shards where context = 'identity' and partition = :place for update"), {"place": place}
        )
        ours.work()

    assert halting.refusal(asking) is None


def test_a_halt_waits_for_who_decides_by_what_was_before(halting: World) -> None:
    """And the other way round: what committed after it has seen it."""
    if halting.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: everybody waits for everybody")
    theirs, stop = halting.worker(partition_of(POLICY, PARTITIONS)), halt()
    halting.publish(stop)
    stopped = Thread(target=theirs.work)

    with halting.engine.begin() as deciding:
        deciding.execute(text("select pg_advisory_xact_lock_shared(hashtextextended(:stream, 0))"), {"stream": POLICY})
        stopped.start()
        stopped.join(0.5)
        waits = stopped.is_alive()
    stopped.join()

    assert waits
    assert halting.refusal(stop) is None
