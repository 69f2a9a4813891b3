"""Whose key it was that asked: what a decision compares where two keys of one person are not two persons."""

import hashlib
from collections.abc import Collection, Iterator

import orjson

from adapters.replay.sources import RangeMissing
from commands import Grant, service_class
from contracts import Record, parse_event, read_event
from ops.replay.evidence import Evidence

TOPIC = "identity.events"


async def persons_of(evidence: Evidence, keys: Collection[str], permits: Collection[tuple[str, int]]) -> dict[str, str]:
    """Of each key the first one of its chain of rotations, itself where it has taken no other's place.

    A key has one person for ever, so all that the source holds is read, whatever the window is; `permits` are the places of
    the events of identity by which the keys could ask. Raises RangeMissing where the source does not hold those yet.
    """
    ends = await evidence.source.ends(await evidence.source.shards([TOPIC]))
    for shard, sequence in permits:
        if sequence >= ends.get(shard, sequence + 1):
            raise RangeMissing(f"{shard} ends before {ends[shard]}, and {sequence} gave a role that was used: ask again soon")
    follows: dict[str, str] = {}
    for shard, end in sorted(ends.items()):
        async for piece in evidence.source.read(shard, 0, end):
            for published in piece:
                evidence.check(shard, published)
                follows.update(_rotations(parse_event(published.value)))
    found = {key: _first(key, follows) for key in sorted(keys)}
    evidence.saw("persons", hashlib.sha256(orjson.dumps(found)).hexdigest())
    return found


def _rotations(record: Record) -> Iterator[tuple[str, str]]:
    service = service_class("identity")
    for change in service.authority(service.__new__(service), read_event(record.document), record.moment):
        if isinstance(change, Grant) and change.follows:
            yield change.key, change.follows


def _first(key: str, follows: dict[str, str]) -> str:
    while key in follows:
        key = follows[key]
    return key
