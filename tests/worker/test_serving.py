"""Who may read over HTTP is looked up when he reads: in the decision that records it, for the reader and not for the server."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from adapters.keys import Signer
from adapters.sql import engine_for
from commands import Grant
from contracts import Did, Digest, Label
from contracts.audit import RecordServed
from contracts.identity import WithdrawRole
from contracts.liveness import Beat, RecordHeartbeats, fleet_of
from tests.worker.world import FAR, GRANTS, START, Sent, World, alice, revoke, signed, someone, stream_of

server, reader, other, former = (someone(n) for n in range(71, 75))
MINE = (
    Grant(server.did, "audit.sequencer", "audit/", FAR),
    Grant(reader.did, "audit.reader", "audit/", FAR),
    Grant(other.did, "audit.reader", "audit/shard/", FAR),
    Grant(former.did, "audit.reader", "audit/", START - timedelta(seconds=1)),
)
DAY = "audit/reads/2026-11-30"


@pytest.fixture
def worlds(store_url: str) -> Iterator[tuple[World, World]]:
    """Audit's commands and identity's, decided over one store."""
    engine = engine_for(store_url)
    grants = (*GRANTS, *MINE)
    yield World(engine, "audit", grants), World(engine, "identity", grants)
    engine.dispose()


def served(to: Signer) -> Sent:
    command = RecordServed(
        reader=Did(to.did), purpose=Label("http"), filter_digest=Digest("0" * 64), first=0, last=255, count=256
    )
    return signed(command, DAY, server)


def test_beats_count_for_keys_that_are_providers_now(store_url: str) -> None:
    """One is registered for itself alone, one was, and a stranger just made his key."""
    provider, was, made = (someone(n) for n in range(81, 84))
    grants = (
        Grant(server.did, "liveness.collector", "liveness/", FAR),
        Grant(provider.did, "providers.gpu", f"providers/provider/{provider.did}", FAR),
        Grant(was.did, "providers.gpu", "providers/", START - timedelta(seconds=1)),
    )
    world, slot = World(engine_for(store_url), "liveness", grants), 5_000_000
    for device in (provider, was, made):
        beat = Beat(
            device=Did(device.did), slot=slot, seq=1, boot=Label("b"), sent_at_ms=slot * 300_000,
            received_at_ms=slot * 300_000 + 1, load_percent=1, hash=Digest("0" * 64),
        )  # fmt: skip
        world.publish(signed(RecordHeartbeats(beats=(beat,)), f"liveness/fleet/{fleet_of(device.did)}", server))

    world.worker().work_all()

    told = [event["data"] for event in world.events()]
    assert [beat["device"] for data in told for beat in data["beats"]] == [provider.did]
    assert [entry for data in told for entry in data["rejected"]] == [{"reason": "not-registered", "count": 1}] * 2
    world.engine.dispose()


def withdraw(key: Signer) -> Sent:
    return signed(WithdrawRole.read({"role": "audit.reader", "prefix": "audit/"}), stream_of(key), alice)


def test_only_who_has_the_role_now_and_for_reads_is_served(worlds: tuple[World, World]) -> None:
    audit, _ = worlds
    asked = {who: served(who) for who in (reader, other, former, someone(99))}
    audit.publish(*asked.values())

    audit.worker().work_all()

    refusals = {who.did: audit.refusal(sent) for who, sent in asked.items()}
    assert refusals.pop(reader.did) is None
    assert set(refusals.values()) == {"NotEntitled"}
    assert [event["data"]["reader"] for event in audit.events()] == [reader.did]


@pytest.mark.parametrize("end", [withdraw, revoke])
def test_a_role_that_is_withdrawn_ends_what_is_served_although_the_worker_remembers_it(
    worlds: tuple[World, World], end: object
) -> None:
    """What the decision relied on is compared when it commits; then it is made again."""
    audit, identity = worlds
    worker, before, after = audit.worker(), served(reader), served(reader)
    audit.publish(before)
    worker.work_all()
    assert callable(end)
    identity.publish(end(reader))
    identity.worker().work_all()

    audit.publish(after)
    worker.work_all()

    assert (audit.refusal(before), audit.refusal(after)) == (None, "NotEntitled")
