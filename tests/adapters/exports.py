"""Signed events of any kind, chained as a worker does it, and exports that are made of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from adapters.keys import ed25519_signer
from adapters.parquet import Manifest, Writer
from contracts import ZERO_HASH, CommandRecord, Did, Digest, Event, Label, Record, Uuid, event_id, rfc3339, shard_name
from contracts.inference import Considered, Constraints, RouteDecided
from contracts.providers import ModelId, OfferDeclared, OfferId

NETWORK = "test"
WRITER = ed25519_signer(bytes([7]) * 32)
START = datetime(2026, 11, 24, 23, 59, 58, tzinfo=UTC)
HUGE = 10**60


@dataclass(frozen=True)
class Signed:
    """A record and its signature."""

    value: bytes
    signature: str


@dataclass
class Chained:
    """One shard that grows, a second with each record."""

    context: str = "providers"
    partition: int = 0
    network: str = NETWORK
    records: list[Signed] = field(default_factory=list)
    last_hash: str = ZERO_HASH

    @property
    def name(self) -> str:
        return shard_name(f"{self.context}.events", self.partition)

    def append(self, event: Event, stream: str, **changed: Any) -> Signed:
        """The next record; `changed` are attributes or data that no worker would write."""
        n = len(self.records)
        value = Record.encode(
            event, id=event_id(WRITER.did, f"{self.name}{n}", 0), command=_asked(stream, f"{n:032x}", self.network),
            source=WRITER.did, time=rfc3339(START + timedelta(seconds=n)), shard=self.name, sequence=n, streamversion=n + 1,
            prevhash=self.last_hash,
        )  # fmt: skip
        return self.take(_changed(value, changed) if changed else value)

    def take(self, value: bytes) -> Signed:
        self.last_hash = sha256(value).hexdigest()
        self.records.append(Signed(value, WRITER.sign(value)))
        return self.records[-1]


def declared(price: int, name: str = "offer") -> OfferDeclared:
    return OfferDeclared(
        device=Did(WRITER.did), model=ModelId("llama-3.1-8b"), model_digest=Digest("0" * 64), quantisation=Label("q8_0"),
        prompt_price=price, completion_price=2, context_tokens=8192, max_concurrency=4, race=False, transport="relay",
        confidential="none", capabilities=(Label("tools"),),
    )  # fmt: skip


def decided(number: int, *costs: int) -> RouteDecided:
    """A chain of offers at these costs, and one that was too dear."""
    offers = [OfferId(f"offer-{n}") for n in range(len(costs))]
    looked = [Considered(offer=offer, cost=cost) for offer, cost in zip(offers, costs, strict=True)]
    return RouteDecided(
        request=Uuid(f"00000000-0000-7000-8000-{number:012x}"), model=ModelId("llama-3.1-8b"), strategy="auto",
        constraints=Constraints(), prompt_tokens=100, max_tokens=10, n=1, cut=(), as_of=START, policy_version=1,
        seed=Digest("0" * 64), chain=tuple(offers),
        considered=(*looked, Considered(offer=OfferId("dear"), cost=HUGE, reason="price")),
    )  # fmt: skip


def exported(folder: Path, *shards: Chained, values: bool = False, start: int = 0) -> Manifest:
    """An export of these shards, from a sequence on."""
    with Writer(folder, NETWORK, values=values) as writer:
        for shard in shards:
            written(writer, shard, start)
        return writer.finish()


def written(writer: Writer, shard: Chained, start: int = 0, records: Iterable[Signed] | None = None) -> None:
    found = writer.shard(shard.name, start)
    for record in shard.records[max(start - 1, 0) :] if records is None else records:
        found.take(record.value, record.signature)
    found.finish()


def _asked(stream: str, id: str, network: str) -> CommandRecord:
    without: Any = dict.fromkeys(("expires", "correlationid", "causationid", "streamversion"))
    return CommandRecord(
        value=b"", signature="", hash="0" * 64, id=id, source=WRITER.did, type="", subject=stream, network=network,
        dataschema="", time=START, data={}, **without,
    )  # fmt: skip


def _changed(value: bytes, changed: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps({**orjson.loads(value), **changed})
