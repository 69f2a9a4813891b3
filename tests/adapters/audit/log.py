"""A small signed log for the sequencer's tests: three shards, chained and signed as a worker does it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from adapters.keys import Signer, ed25519_signer
from contracts import ZERO_HASH, Record, event_id, rfc3339, shard_name
from contracts.identity import KeyRevoked
from tests.adapters.shards import KEY, START, _asked

NETWORK = "test"
WRITER = ed25519_signer(bytes([7]) * 32)
STRANGER = ed25519_signer(bytes([8]) * 32)


@dataclass(frozen=True)
class Arrived:
    """A record as a client delivers it."""

    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass
class SignedShard:
    """One shard that grows. Its clock stands still now and then, and once leaps a day."""

    partition: int
    records: list[Arrived] = field(default_factory=list)
    _hash: str = ZERO_HASH

    @property
    def name(self) -> str:
        return shard_name("tally.events", self.partition)

    def append(self, signer: Signer = WRITER, network: str = NETWORK) -> Arrived:
        n = len(self.records)
        asked = _asked(f"tally/key/s{self.partition}", f"{self.partition:08x}{n:024x}")
        asked.network = network
        moment = START + timedelta(milliseconds=n // 3 + self.partition) + (timedelta(days=1) if n == 5 else timedelta())
        value = Record.encode(
            KeyRevoked(key=KEY, reason="retired"), command=asked, id=event_id(KEY, asked.id, 0), source=signer.did,
            time=rfc3339(moment), shard=self.name, sequence=n, streamversion=n + 1, prevhash=self._hash,
        )  # fmt: skip
        self._hash = sha256(value).hexdigest()
        self.records.append(Arrived(n, value, [("signature", signer.sign(value).encode())]))
        return self.records[-1]

    def fill(self, count: int) -> "SignedShard":
        for _ in range(count):
            self.append()
        return self


def three(count: int = 20) -> list[SignedShard]:
    """Shards of different lengths."""
    return [SignedShard(n).fill(count + n) for n in range(3)]
