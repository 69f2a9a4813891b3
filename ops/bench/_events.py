"""The log of a network that was busy for a while: standings, drains and resumptions, chained as a worker chains them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from adapters.keys import ed25519_signer
from contracts import ZERO_HASH, CommandRecord, Event, EventId, Record, event_id, uuid7
from contracts.providers import ProviderDraining, ProviderResumed, StandingNoted

SHARDS = 4


class Written(NamedTuple):
    """One record, and where it goes."""

    partition: int
    key: bytes
    value: bytes


class Delivered(NamedTuple):
    """A record as a client delivers it to whoever looks at the chain only."""

    offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = (("signature", b"not looked at"),)
    timestamp: int | None = None


def records(count: int, devices: int, writer: str | None = None) -> Iterator[Written]:
    """Half a kilobyte each, by a writer who is nobody unless he is named. Not signed."""
    shards = [_Shard(f"providers.events/{n}") for n in range(SHARDS)]
    writer = writer or ed25519_signer(os.urandom(32)).did
    names = [f"did:key:z6Mk{hashlib.sha256(str(n).encode()).hexdigest()[:44].replace('0', 'x')}" for n in range(devices)]
    now = datetime.now(UTC)
    for n in range(count):
        partition, device = n % SHARDS, names[n % devices]
        value = _record(_event(n // devices), device, shards[partition], writer, now, n // devices + 1)
        yield Written(partition, f"providers/provider/{device}".encode(), value)


@dataclass
class _Shard:
    name: str
    sequence: int = 0
    last_hash: str = ZERO_HASH


def _event(turn: int) -> Event:
    if turn % 3 == 0:
        cause = EventId(event_id("bench", "standing", turn))
        return StandingNoted(tier="pro", bonded=True, suspended=False, from_epoch=turn, cause=cause)
    return ProviderDraining() if turn % 3 == 1 else ProviderResumed()


def _record(event: Event, device: str, shard: _Shard, writer: str, now: datetime, version: int) -> bytes:
    command = CommandRecord(
        value=b"", signature="", hash="0" * 64, id=uuid7(), source=device, type="", subject=f"providers/provider/{device}",
        network="bench", dataschema="", time=now, expires=None, correlationid=None, causationid=None, streamversion=None,
        data={},
    )  # fmt: skip
    value = Record.encode(
        event, id=event_id(device, command.id, 0), command=command, source=writer, time=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        shard=shard.name, sequence=shard.sequence, streamversion=version, prevhash=shard.last_hash,
    )  # fmt: skip
    shard.sequence, shard.last_hash = shard.sequence + 1, hashlib.sha256(value).hexdigest()
    return value
