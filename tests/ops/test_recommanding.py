"""Recorded commands are decided again as they were decided: by the same persons, in the same order, and all of them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from aiokafka import TopicPartition

from adapters.replay.folding import unchecked
from adapters.replay.kafka import KafkaSource
from adapters.replay.sources import RangeMissing
from contracts import Did, Digest, parse_command, partition_of
from contracts.identity import ApproveKey, Found
from ops.replay.evidence import Evidence
from ops.replay.persons import persons_of
from ops.replay.recommanding import _Outcome, _recorded, _until, _World
from ops.replay.verdict import Verdict, compared
from tests.adapters.replay.topics import Held, MemoryConsumer
from tests.worker.world import (
    FOUNDING,
    GRANTS,
    NETWORK,
    PARTITIONS,
    ROOTS,
    START,
    Sent,
    World,
    carol,
    erin,
    open_world,
    propose,
    rotate,
    signed,
    someone,
    stream_of,
)

SOON = START + timedelta(hours=12)
RUN = "0189b1b2-0000-7000-8000-000000000001"
first, second, successor, new = someone(5), someone(6), someone(7), someone(8)


@pytest.fixture
def world(store_url: str) -> World:
    return open_world(store_url)


def rotation(old: Any, to: Any) -> Sent:
    """The overlap ends with the roles: else it would be counted from the decision, which is dated when it is sealed."""
    return rotate(old, to, 86_400)


def approval(proposal: Sent, of: Any, by: Any) -> Sent:
    return signed(ApproveKey(proposal=Digest(sha256(proposal.value).hexdigest())), stream_of(of), by=by)


def source_of(world: World) -> KafkaSource:
    """The events as a topic would have them."""
    places = {TopicPartition("identity.events", n): list[Held]() for n in range(PARTITIONS)}
    for event in world.events():
        held = places[TopicPartition("identity.events", int(event["shard"].rpartition("/")[2]))]
        held.append(Held(len(held), event["_value"]))
    return KafkaSource(MemoryConsumer(places))  # type: ignore[arg-type]


def again(world: World, sent: Sequence[Sent]) -> Verdict:
    """All that was sent, decided by the rules and parameters of today."""
    events = {(event["shard"], int(event["sequence"])): event["_value"] for event in world.events()}
    outcomes = [_Outcome(o["shard"], int(o["sequence"]), o) for o in world.outcomes()]
    asked = sorted((outcome for outcome in outcomes if outcome.is_by_rule), key=lambda outcome: outcome.order)
    commands = {(record.id, record.source): record for record in (parse_command(s.value, s.key, s.headers) for s in sent)}
    source = source_of(world)
    evidence = Evidence(RUN, source, {}, {}, unchecked, PARTITIONS)
    permits = {place for outcome in asked for place in outcome.permits}
    persons = asyncio.run(persons_of(evidence, {actor for _, actor in commands}, permits))
    decided = list(_World("identity", {}, events, persons, (FOUNDING, GRANTS)).decide(asked, commands))
    return compared([_recorded(outcome, events) for outcome in asked], decided, decided)


def test_a_rotated_key_is_the_same_person_again(world: World) -> None:
    """It was asked who held the key; a what-if that does not know shows approvals that nobody could have given."""
    roots = tuple(Did(root) for root in ROOTS)
    found = signed(Found(roots=roots, quorum=2, chain_id=800_000, profile="consumer"), f"identity/network/{NETWORK}", by=erin)
    registered = propose(second, by=erin, role="identity.registrar", prefix="identity/", not_after=SOON)
    proposal = propose(new, by=second, role="operations.operator", prefix="operations/")
    own = approval(proposal, new, successor)
    sent = [
        found, registered, approval(registered, second, carol), rotation(second, successor), proposal, own,
        approval(proposal, new, carol),
    ]  # fmt: skip
    for each in sent:
        world.publish(each)
        world.worker().work()
    assert world.refusal(own) == "SamePerson"
    assert world.refusal(sent[-1]) is None

    assert again(world, sent).unfaithful == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("shard", [0, 1])
def test_a_batch_of_several_shards_is_decided_in_one_order(world: World, order: tuple[int, int], shard: int) -> None:
    """What is decided of one may rest on what was just decided of another, and all have one time."""
    old, taken = (next(k for k in map(someone, range(300, 400)) if home(k) == n) for n in (shard, 1 - shard))
    sent = [propose(old, not_after=SOON), rotation(old, taken), propose(taken, by=carol)]
    world.publish(sent[0])
    world.worker().work()
    world.publish(*sent[1:])

    world.worker(*order).work()

    assert again(world, sent).unfaithful == []


def test_a_role_whose_event_the_source_does_not_hold_yet_is_no_role_of_a_stranger(world: World) -> None:
    """Topics are published one by one: that of identity may be behind."""
    evidence = Evidence(RUN, source_of(world), {}, {}, unchecked, PARTITIONS)

    assert asyncio.run(persons_of(evidence, [first.did], [("genesis", 0)])) == {first.did: first.did}
    with pytest.raises(RangeMissing, match=r"identity\.events/1 ends before 0"):
        asyncio.run(persons_of(evidence, [first.did], [("identity.events/1", 0)]))


def outcome(number: int, *events: int) -> _Outcome:
    places = [{"shard": "identity.events/0", "sequence": sequence} for sequence in events]
    return _Outcome("identity.outcomes/0", number, {"data": {"events": places, "authority": []}})


def test_outcomes_that_have_not_come_yet_are_not_passed_over() -> None:
    """A window judged by half of its decisions would look like an answer."""
    outcomes = [outcome(0, 0), outcome(1), outcome(2, 1, 2), outcome(3)]

    def numbers(start: int, end: int) -> list[int]:
        return [o.number for o, is_in_question in _until("identity.events/0", iter(outcomes), start, end) if is_in_question]

    assert [numbers(0, 1), numbers(0, 3), numbers(1, 2), numbers(0, 0)] == [[0, 1], [0, 1, 2, 3], [1, 2, 3], []]
    with pytest.raises(RangeMissing, match="end at 3"):
        numbers(0, 4)


def home(key: Any) -> int:
    return partition_of(stream_of(key), PARTITIONS)
