"""A batch is durable whole or not at all, from what is so and from nothing else; and the log that it makes is dense."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import timedelta
from hashlib import sha256
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Integer, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError

import ops.worker.aggregates as aggregates
from adapters import clock
from adapters.keys import verify
from adapters.replay.streams import aggregates_of
from adapters.sql import engine_for, reading, tables
from adapters.sql.store import AuthorityMoved, Fenced, IntegrityError, Shard, SnapshotRow, Store
from commands.identity import Identity
from contracts import MAX_RECORD_BYTES, ZERO_HASH, Did, Role, contexts, event_id, instant, outcome_id, parse_event, read_event
from contracts.identity import (
    SERVICE_KEY_DAYS,
    Found,
    IdentityCommand,
    IdentityEvent,
    RevokeKey,
    RoleWithdrawn,
    WithdrawRole,
)
from domain import Refused
from domain.identity import Key
from ops.worker.forms import form_of
from tests.worker.world import (
    FAR,
    NETWORK,
    PARTITIONS,
    ROOTS,
    Sent,
    Worker,
    World,
    alice,
    approve,
    bob,
    carol,
    erin,
    open_world,
    partition_of,
    propose,
    revoke,
    rotate,
    signed,
    someone,
    stream_of,
    writer,
)

new = someone(1)
FOUND = Found(roots=tuple(map(Did, ROOTS)), quorum=2, chain_id=800_000, profile="consumer")


def home(signer: Any) -> int:
    return partition_of(stream_of(signer), PARTITIONS)


def withdraw(signer: Any, **more: Any) -> Sent:
    return signed(WithdrawRole(role="providers.gpu", prefix="providers/"), stream_of(signer), **more)


# The log


def test_the_log_is_dense_chained_and_signed(world: World) -> None:
    """What anybody checks with the written format alone."""
    for n in range(12):
        world.publish(propose(someone(n)), revoke(someone(n)))
    world.worker().work_all(limit=5)

    for partition in range(PARTITIONS):
        shard = f"identity.events/{partition}"
        before, last_time, versions = ZERO_HASH, "", dict[str, int]()
        for n, record in enumerate(e for e in world.events() if e["shard"] == shard):
            assert (int(record["sequence"]), record["prevhash"]) == (n, before)
            assert verify(writer.did, record["_value"], record["_signature"])
            assert record["source"] == writer.did
            versions[record["subject"]] = versions.get(record["subject"], 0) + 1
            assert record["streamversion"] == versions[record["subject"]]
            assert record["time"] >= last_time
            before, last_time = sha256(record["_value"]).hexdigest(), record["time"]
        [row] = [s for s in world.store.shards() if s.partition == partition]
        assert (row.last_hash, row.position) == (before, len(world.topics[partition]))


def test_an_outcome_names_its_events_and_is_numbered_without_gaps(world: World) -> None:
    sent, refused = propose(new), propose(new, by=bob)
    world.publish(sent, refused)

    world.worker().work()

    outcomes, events = world.outcomes(home(new)), world.events()
    assert [int(o["sequence"]) for o in outcomes] == list(range(len(outcomes)))
    assert {o["shard"] for o in outcomes} == {f"identity.outcomes/{home(new)}"}
    accepted = world.outcome(sent)
    assert accepted["_signature"] is None
    assert accepted["id"] == outcome_id(alice.did, sent.id)
    assert accepted["data"]["commandhash"] == sha256(sent.value).hexdigest()
    assert accepted["data"]["events"] == [
        {"shard": e["shard"], "sequence": int(e["sequence"]), "id": e["id"], "streamversion": e["streamversion"]}
        for e in events
    ]
    assert [e["id"] for e in events] == [event_id(alice.did, sent.id, n) for n in range(2)]
    assert {(e["actor"], e["causationid"], e["commandhash"]) for e in events} == {
        (alice.did, sent.id, sha256(sent.value).hexdigest())
    }


def test_a_clock_that_was_set_back_neither_orders_events_backwards_nor_revives_a_role(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [timedelta()]
    monkeypatch.setattr(clock, "shift", lambda: ahead[0])
    short, worker = someone(2), world.worker()
    world.publish(propose(short, not_after=clock.now() + timedelta(seconds=10)))
    worker.work()
    ahead[0] = timedelta(seconds=20)
    last = propose(next(s for s in map(someone, range(50, 99)) if home(s) == home(short)))
    world.publish(last)
    worker.work()

    ahead[0] = timedelta(seconds=5)
    late = withdraw(short, by=short)
    world.publish(late)
    worker.work()

    assert world.refusal(late) == "Expired"
    assert world.outcome(late)["time"] >= world.outcome(last)["time"]


# Who is fenced


def test_of_two_workers_on_a_shard_the_second_is_void_and_then_answers_as_the_first_did(world: World) -> None:
    """A worker that lost its partition must not even refuse."""
    sent, refused = propose(new), propose(new, by=bob)
    world.publish(sent, refused)
    first, second = world.worker(), world.worker()
    first.work()
    before = world.outcomes()

    with pytest.raises(Fenced):
        second.work()
    second.recover()
    world.publish(sent)
    second.work()

    assert world.outcomes() == before
    assert world.repeats() == 1


def test_a_stale_worker_that_would_only_refuse_is_void_as_well(world: World) -> None:
    first, second = world.worker(), world.worker()
    stale = propose(new, by=bob)
    world.publish(stale)
    first.work()

    with pytest.raises(Fenced):
        second.work()

    assert len(world.outcomes()) == 1


@pytest.mark.parametrize(
    "column", [column.name for column in fields(Shard) if column.name not in ("id", "context", "partition")]
)
def test_whatever_differs_in_the_counter_row_voids_the_batch(world: World, column: str) -> None:
    world.publish(propose(new))
    worker = world.worker()
    value: Any = 7 if isinstance(tables.shards.c[column].type, Integer) else "f" * 30
    with world.engine.begin() as connection:
        connection.execute(update(tables.shards).values({column: value}))

    with pytest.raises(Fenced):
        worker.work()

    assert world.events() == []
    assert world.outcomes() == []


def test_a_reply_to_commit_that_was_lost_is_answered_with_the_first_outcome(world: World) -> None:
    """The worker cannot know whether it happened: it forgets, reads its row, and goes on from there."""
    sent = propose(new)
    world.publish(sent)
    worker = world.worker()
    worker.decider.commit(worker.chunks())
    first = world.outcomes()

    with pytest.raises(Fenced):
        worker.work()
    worker.recover()
    assert worker.work() is None
    world.publish(sent)
    worker.work()

    assert world.outcomes() == first
    assert world.types(new) == ["KeyProposed", "KeyRegistered"]


def test_a_shard_that_comes_back_is_decided_from_what_another_made_of_it(world: World) -> None:
    """A fresh counter row over remembered streams would let a stale refusal through: no unique version stops it."""
    first = world.worker()
    world.publish(propose(new))
    first.work()
    second = world.worker()
    world.publish(withdraw(new))
    second.work()
    # The partition comes back: only the counter row is read, as after a rebalance.
    first.shards = {p: world.store.shard("identity", p) for p in first.partitions}

    again, expecting = propose(new), propose(new, streamversion=5)
    world.publish(again, expecting)
    first.work()

    assert world.refusal(again) is None
    assert world.types(new) == ["KeyProposed", "KeyRegistered", "RoleWithdrawn", "KeyProposed", "KeyRegistered"]
    assert world.refusal(expecting) is None


# What is looked at in other shards


def in_other_shard(than: int) -> Any:
    return next(s for s in map(someone, range(300, 400)) if home(s) != than)


def rotation(successor: Any, **more: Any) -> Sent:
    return rotate(new, successor, 60, **more)


def test_a_successor_that_another_shard_registers_meanwhile_voids_the_decision(world: World) -> None:
    """Carol registers the successor while the rotation to it is being decided: one of the two must see the other."""
    successor = in_other_shard(home(new))
    mine, other = world.worker(home(new)), world.worker(home(successor))
    world.publish(propose(new))
    mine.work()
    sent = rotation(successor)
    world.publish(sent)

    with between_deciding_and_committing(mine):
        world.publish(propose(successor, by=carol))
        other.work()
        with pytest.raises(AuthorityMoved):
            resume(mine)
    mine.recover()
    mine.work()

    assert world.refusal(sent) == "AlreadyKnown"


def test_a_key_that_was_looked_up_before_is_compared_each_time(world: World) -> None:
    """Whether it is known is asked of the table in the transaction; its shard is another's."""
    successor = in_other_shard(home(new))
    mine, other = world.worker(home(new)), world.worker(home(successor))
    early = rotation(successor, streamversion=9)
    world.publish(propose(new), early)
    mine.work()
    world.publish(propose(successor))
    other.work()
    sent = rotation(successor)
    world.publish(sent)

    mine.work()

    assert world.refusal(early) == "StreamAdvanced"
    assert world.refusal(sent) == "AlreadyKnown"


@pytest.mark.parametrize("at_once", [True, False])
def test_whoever_rotates_a_key_stays_one_person(world: World, at_once: bool) -> None:
    """Where two persons must agree, a successor is not a second one; in the batch that rotates as in every later one."""
    worker, successor = world.worker(home(new)), in_other_shard(home(new))
    world.publish(propose(new), rotation(successor))

    while worker.chunks():
        worker.work(None if at_once else 1)

    keys = [new.did, successor.did]
    cached, stored = worker.decider.authority_of(keys), world.store.look(keys=keys).authority
    assert [cached[key].holder for key in keys] == [new.did] * 2
    assert [stored[key].holder for key in keys] == [new.did] * 2


_waiting: dict[int, Any] = {}


@contextmanager
def between_deciding_and_committing(worker: Worker) -> Iterator[None]:
    """Inside, the worker has decided its batch and not begun its transaction; `resume` lets it."""
    store, whole = worker.decider.store, worker.decider.store.commit
    decided: list[Any] = []

    def hold(batch: Any) -> Any:
        decided.append(batch)
        raise InterruptedError

    worker.decider.store = _Holding(store, hold)  # type: ignore[assignment]
    with pytest.raises(InterruptedError):
        worker.work()
    worker.decider.store = store
    _waiting[id(worker)] = (whole, decided[0])
    yield
    del _waiting[id(worker)]


def resume(worker: Worker) -> Any:
    commit, decided = _waiting[id(worker)]
    return commit(decided)


class _Holding:
    def __init__(self, store: Store, commit: Any) -> None:
        self._store, self.commit = store, commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_key_that_was_revoked_between_deciding_and_committing_voids_the_decision(world: World) -> None:
    """The lock in the transaction puts each use before or after the revocation, never beside it."""
    victim = in_other_shard(home(alice))
    mine, other = world.worker(home(victim)), world.worker(home(alice))
    sent = propose(victim)
    world.publish(sent)

    with between_deciding_and_committing(mine):
        world.publish(revoke(alice, by=alice))
        other.work()
        with pytest.raises(AuthorityMoved):
            resume(mine)
    assert mine.work() is not None

    assert world.refusal(sent) == "Revoked"
    assert world.types(victim) == []


def test_the_decider_decides_again_by_itself_where_authority_moved(world: World) -> None:
    """Nobody is to blame, and the records are verified already."""
    victim = in_other_shard(home(alice))
    mine, other = world.worker(home(victim)), world.worker(home(alice))
    world.publish(propose(victim))
    mine.work()
    world.publish(revoke(alice, by=alice))
    other.work()

    sent = withdraw(victim)
    world.publish(sent)
    mine.work()

    assert world.refusal(sent) == "Revoked"


def test_a_revocation_is_later_than_every_decision_that_relied_on_the_key(world: World) -> None:
    victim = in_other_shard(home(alice))
    mine, other = world.worker(home(victim)), world.worker(home(alice))
    sent = propose(victim)
    world.publish(sent, revoke(alice, by=alice))

    mine.work()
    other.work()

    [revocation] = [e for e in world.events() if e["type"] == "identity.KeyRevoked"]
    assert revocation["time"] >= world.outcome(sent)["data"]["time"]


def test_what_records_nothing_does_not_record_what_comes_next_in_its_stream(world: World) -> None:
    """All in one batch: registered, registered again (which is accepted and changes nothing), revoked."""
    key = someone(1)
    first, again, end = propose(key), propose(key), revoke(key)
    world.publish(first, again, end)

    world.worker().work()

    assert world.types(key) == ["KeyProposed", "KeyRegistered", "KeyRevoked"]
    assert [len(world.outcome(sent)["data"]["events"]) for sent in (first, again, end)] == [2, 0, 1]


# Poison, and refusals that come late


class OnSecondThought(Refused):
    """It was recorded and then refused."""


class Strange(Identity):
    """Does what no service may do, by the reason of a revocation."""

    context = "identity"

    def handle(self, command: IdentityCommand) -> None:
        super().handle(command)
        if isinstance(command, RevokeKey) and command.reason == "mistaken":
            raise OnSecondThought(field="reason")
        if isinstance(command, RevokeKey) and command.reason == "retired":
            raise RuntimeError("a fault of ours")


Strange.context = "identity"


def strange(worker: Worker) -> Worker:
    worker.decider._services["identity"] = Strange(worker.decider.aggregates, verify)
    return worker


@pytest.mark.parametrize(("reason", "name"), [("mistaken", "OnSecondThought"), ("retired", "Poison")])
@pytest.mark.parametrize("is_cached", [True, False])
def test_what_is_refused_after_something_was_recorded_leaves_no_trace(
    world: World, reason: Any, name: str, is_cached: bool
) -> None:
    """Neither in the store nor in what the next command of the same batch finds."""
    worker = strange(world.worker())
    world.publish(propose(new))
    if is_cached:
        worker.work()
    bad = signed(RevokeKey(reason=reason), stream_of(new))
    world.publish(bad, withdraw(new), propose(new))

    worker.work()

    assert world.refusal(bad) == name
    assert world.types(new) == ["KeyProposed", "KeyRegistered", "RoleWithdrawn", "KeyProposed", "KeyRegistered"]


def test_what_fails_in_the_middle_of_apply_leaves_no_half_assigned_state(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is pending then, and yet the remembered aggregate is wrong."""
    plain = Key.apply

    def apply(self: Key, event: IdentityEvent) -> None:
        plain(self, event)
        if type(event).__name__ == "RoleWithdrawn":
            raise KeyError("a fault of ours")

    worker = world.worker()
    world.publish(propose(new))
    worker.work()
    monkeypatch.setattr(Key, "apply", apply)
    poison = withdraw(new)
    world.publish(poison)
    worker.work()
    monkeypatch.setattr(Key, "apply", plain)
    good = withdraw(new)
    world.publish(good)
    worker.work()

    assert world.refusal(poison) == "Poison"
    assert world.refusal(good) is None
    assert world.types(new) == ["KeyProposed", "KeyRegistered", "RoleWithdrawn"]


def test_a_poison_command_harms_no_other(world: World) -> None:
    worker = strange(world.worker())
    before, poison, after = (
        propose(new),
        signed(RevokeKey(reason="retired"), stream_of(new)),
        propose(someone(2)),
    )
    world.publish(before, poison, after)

    worker.work()

    assert [world.refusal(sent) for sent in (before, poison, after)] == [None, "Poison", None]
    assert "fault of ours" not in json.dumps(world.outcome(poison)["data"])


@pytest.mark.parametrize("state", ["25P03", "57P01", "40001", "42P01"])
def test_what_the_database_says_while_deciding_is_no_fault_of_the_command(postgres_url: str, state: str) -> None:
    """A worker that was suspended for two seconds made a valid command poison for ever; a missing table would, too."""
    world = World(engine_for(postgres_url))
    sent = propose(new)
    world.publish(sent)
    worker = world.worker()
    raising = [f"do $$ begin raise exception 'asked for' using errcode = '{state}'; end $$"]

    def load(kind: type[Any], stream: str) -> Any:
        with reading(world.engine) as connection:
            connection.exec_driver_sql(raising.pop() if raising else "select 1")
        return loads(kind, stream)

    loads, worker.decider.aggregates.load = worker.decider.aggregates.load, load  # type: ignore[method-assign]
    with pytest.raises(DBAPIError):
        worker.work()
    worker.recover()
    worker.work()

    assert world.refusal(sent) is None


# Limits


class Verbose(Identity):
    """Records as many events as nothing asks for, of a role that nobody has."""

    def handle(self, command: IdentityCommand) -> None:
        if isinstance(command, WithdrawRole) and command.role == "a.b":
            key = self.load(Key)
            for n in range(600):
                key.record(RoleWithdrawn(key=Did(key.id), role=Role("a.b"), prefix=f"p/{n}"))
            return
        super().handle(command)


Verbose.context = "identity"


def test_an_outcome_that_would_be_too_large_refuses_its_command_only(world: World) -> None:
    """A record has at most 60,000 bytes, and an outcome is one: 600 events do not fit in it."""
    worker = world.worker()
    worker.decider._services["identity"] = Verbose(worker.decider.aggregates, verify)
    large, good = signed(WithdrawRole.read({"role": "a.b", "prefix": "p/"}), stream_of(new)), propose(someone(2))
    world.publish(large, good)

    worker.work()

    assert (world.refusal(large), world.refusal(good)) == ("TooLarge", None)
    assert world.types(new) == []


def test_an_event_that_would_be_too_large_refuses_its_command_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.worker.deciding.MAX_RECORD_BYTES", 1_700)
    roles = [{"role": "providers.gpu", "prefix": f"providers/{'x' * 150}/{n}/"} for n in range(6)]
    document = json.loads(propose(new).value)
    document["data"]["roles"] = roles
    from tests.worker.world import resigned

    large, good = resigned(json.dumps(document).encode(), stream_of(new)), propose(someone(2))
    world.publish(large, good)

    world.worker().work()

    assert (world.refusal(large), world.refusal(good)) == ("TooLarge", None)
    assert world.types(new) == []
    assert MAX_RECORD_BYTES == 60_000


# Snapshots


def flip(world: World, count: int) -> None:
    """So many events more in one stream, and a little state: proposals that wait for a second person."""
    for n in range(count):
        world.publish(propose(bob, role="providers.catalogue", not_after=FAR - timedelta(seconds=n)))


def snapshot(world: World) -> Any:
    with world.engine.connect() as connection:
        return connection.execute(select(tables.snapshots)).one()


def test_a_long_stream_has_a_snapshot_that_is_what_its_events_say(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregates, "SNAPSHOT_EVERY", 10)
    flip(world, 25)

    world.worker().work_all(limit=6)

    assert snapshot(world).version == 24
    kept = aggregates.Aggregates(world.store).load(Key, stream_of(bob))
    found = world.store.streams([stream_of(bob)])[stream_of(bob)]
    _, _, values = world.store.streams([stream_of(bob)], snapshots=False)[stream_of(bob)]
    events = [read_event(parse_event(value).document) for value in values]
    assert kept == aggregates.replayed(Key(stream_of(bob)), events)
    assert len(found[2]) == 1


def test_a_snapshot_of_another_form_is_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that changed its fields reads its events, not its past self."""
    monkeypatch.setattr(aggregates, "SNAPSHOT_EVERY", 10)
    flip(world, 12)
    world.worker().work_all(limit=4)
    wrong = Key(stream_of(bob), version=12, revoked=True)
    row = SnapshotRow(stream_of(bob), 12, "Key:of-last-year", form_of(Key).dump(wrong))
    with world.engine.begin() as connection:
        connection.execute(tables.snapshots.delete())
        connection.execute(insert(tables.snapshots).values(row._asdict()))

    sent = propose(bob, streamversion=12)
    world.publish(sent)
    world.worker().work()

    assert world.refusal(sent) is None


def test_every_aggregate_is_its_snapshot(world: World) -> None:
    """Whatever its fields: written and read again, it is the same."""
    for kind in (kind for context in contexts() for kind in aggregates_of(context)):
        form, empty = form_of(kind), kind("context/x/y")
        assert form.read(form.dump(empty)) == empty
        assert form.name.startswith(kind.__name__)


# Several at once


def test_two_workers_decide_different_shards_at_once(store_url: str) -> None:
    """Each in its thread with its own store, one network."""
    world, other = open_world(store_url), open_world(store_url)
    other.topics = world.topics
    keys = [someone(n) for n in range(40)]
    for key in keys:
        world.publish(propose(key), revoke(key, by=carol))
    failures: list[Exception] = []

    def run(worker: Worker) -> None:
        try:
            worker.work_all(limit=3)
        except Exception as error:
            failures.append(error)

    threads = [Thread(target=run, args=(w,)) for w in (world.worker(0), other.worker(1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    assert {tuple(world.types(key)) for key in keys} == {("KeyProposed", "KeyRegistered", "KeyRevoked")}
    world.engine.dispose()
    other.engine.dispose()


def test_a_transaction_that_fails_has_done_nothing(world: World) -> None:
    """Whichever statement it is that fails."""
    world.publish(propose(new), withdraw(new), propose(new, by=bob))
    statements = _statements_of_a_batch(world)

    for n in range(len(statements)):
        worker = world.worker()
        before = world.store.shards()
        with _failing(world, n), pytest.raises(OSError, match="the database is away"):
            worker.work()
        assert world.store.shards() == before
        assert world.events() == world.outcomes() == []
    worker.recover()
    worker.work()

    assert world.types(new) == ["KeyProposed", "KeyRegistered", "RoleWithdrawn"]


def _statements_of_a_batch(world: World) -> list[str]:
    """What a batch says to the database in its one transaction, tried and rolled back."""
    said: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    worker = world.worker()
    with between_deciding_and_committing(worker):
        event.listen(world.engine, "before_cursor_execute", note)
        with _no_commit(world), pytest.raises(OSError, match="the database is away"):
            resume(worker)
        event.remove(world.engine, "before_cursor_execute", note)
    return said


@contextmanager
def _no_commit(world: World) -> Iterator[None]:
    def fail(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement == "commit":
            raise OSError("the database is away")

    event.listen(world.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(world.engine, "before_cursor_execute", fail)


@contextmanager
def _failing(world: World, at: int) -> Iterator[None]:
    """The n-th statement that writes or locks, of the batch's transaction, fails."""
    left = [at]

    def fail(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("insert", "update", "delete", "notify", "commit")) or " for " in statement:
            if left[0] == 0:
                raise OSError("the database is away")
            left[0] -= 1

    event.listen(world.engine, "before_cursor_execute", fail)
    try:
        with _no_commit(world):
            yield
    finally:
        event.remove(world.engine, "before_cursor_execute", fail)


def test_a_topic_made_anew_is_read_from_its_beginning_and_its_places_are_told_apart(world: World) -> None:
    partition = home(new)
    world.raw(partition, b"x", b"garbage")
    worker = world.worker(partition)
    worker.work()
    world.topics[partition].clear()
    world.raw(partition, b"x", b"garbage")

    worker.shards[partition] = world.store.start_over(worker.shards[partition], 0)
    worker.work()

    assert [o["causationid"] for o in world.outcomes()] == [
        f"identity.commands/{partition}@0", f"identity.commands/{partition}@0#1",
    ]  # fmt: skip
    with pytest.raises(Fenced):
        world.store.start_over(replace(worker.shards[partition], position=9), 0)


def test_the_database_itself_refuses_a_second_event_of_one_version(world: World) -> None:
    """Were everything else to fail, this would hold."""
    world.publish(propose(new))
    world.worker().work()

    with pytest.raises(IntegrityError), world.engine.begin() as connection:
        connection.execute(text("update events set version = 1"))


def test_a_network_is_founded_and_its_roots_register(world: World) -> None:
    """The whole way of identity.md: found, propose, approve."""
    found = signed(FOUND, f"identity/network/{NETWORK}", by=erin)
    world.publish(found)
    worker = world.worker()
    worker.work()
    proposal = propose(new, by=erin, role="providers.catalogue")
    own, second = approve(proposal, by=erin), approve(proposal, by=carol)
    world.publish(proposal, own, second)

    worker.work()

    assert [world.refusal(sent) for sent in (found, proposal, own, second)] == [None, None, "SamePerson", None]
    assert world.types(new) == ["KeyProposed", "KeyApproved", "KeyRegistered"]


def test_the_end_of_a_founding_role_follows_from_the_record_alone(world: World) -> None:
    """Who has only the log must find the same authority: the end is counted from the record's time, not the decision's."""
    world.publish(signed(FOUND, f"identity/network/{NETWORK}", by=erin))

    world.worker().work()

    [founded] = world.events()
    wanted = instant(founded["time"]) + timedelta(days=SERVICE_KEY_DAYS)
    granted = [grant for root in world.store.look(keys=ROOTS).authority.values() for grant in root.grants]
    assert {grant.not_after for grant in granted if grant.role == "identity.registrar" and grant.prefix == "identity/"} >= {
        wanted
    }
    assert sum(grant.not_after == wanted for grant in granted) == len(ROOTS)
