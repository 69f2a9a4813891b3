"""Signed records by the million: one is encoded as a worker does it, the others differ from it where records differ."""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from adapters.keys import Signer
from contracts import ZERO_HASH
from ops.bench._events import SHARDS, records

TOPIC = "providers.events"


class Delivered(NamedTuple):
    """A record as a client delivers it, and its shard."""

    shard: str
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int | None = None


@dataclass
class _Shard:
    name: str
    sequence: int = 0
    last_hash: str = ZERO_HASH


def signed_records(count: int, signer: Signer, seconds: int = 3_600) -> Iterator[Delivered]:
    """Half a kilobyte each, dealt out to the shards in turn, chained and signed."""
    template = next(records(1, 1)).value.decode()
    document = _Cut(template)
    shards = [_Shard(f"{TOPIC}/{n}") for n in range(SHARDS)]
    for n in range(count):
        shard = shards[n % SHARDS]
        value = document.filled(signer.did, shard, n, n * seconds // count)
        headers = (("signature", signer.sign(value).encode()),)
        yield Delivered(shard.name, shard.sequence, document.key, value, headers)
        shard.sequence, shard.last_hash = shard.sequence + 1, hashlib.sha256(value).hexdigest()


class _Cut:
    """The first record, with gaps for what differs. All values are of one length, so nothing is parsed."""

    def __init__(self, template: str) -> None:
        found = orjson.loads(template)
        self.key = found["subject"].encode()
        names = ("id", "source", "time", "shard", "sequence", "streamversion", "prevhash")
        self._parts = template
        for name in names:
            written = orjson.dumps(found[name]).decode()
            self._parts = self._parts.replace(f'"{name}":{written}', f'"{name}":@{name}@', 1)
        self._found = found

    def filled(self, source: str, shard: _Shard, n: int, second: int) -> bytes:
        text = self._parts
        for name, value in (
            ("id", f'"{uuid.UUID(int=n, version=5)}"'), ("source", f'"{source}"'), ("shard", f'"{shard.name}"'),
            ("time", f'"2026-11-24T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000000Z"'),
            ("sequence", f'"{shard.sequence:020d}"'), ("streamversion", str(n + 1)), ("prevhash", f'"{shard.last_hash}"'),
        ):  # fmt: skip
            text = text.replace(f"@{name}@", value, 1)
        return text.encode()
