"""A router: follows the log, decides each request on its own table, and signs what it decided."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition

from adapters.kafka.bare import bare_consumer
from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer
from contracts import Command, Digest, Label, StreamName, parse_event, read_event, uuid7
from contracts.inference import Considered, Constraints, OpenRequest, request_stream
from contracts.liveness import ShardCut
from contracts.providers import ModelId, OfferId
from domain.inference.routing import POLICY_VERSION, Ask, Choice, decide, seed_of
from domain.inference.table import RoutingTable
from ops.demo.trace import Arrival

CONTEXTS = ("providers", "liveness")
HEARD_SECONDS = 600.0


class Router:
    """One SpaceRouter, without the gateway in front of it."""

    def __init__(self, signer: Signer, network: str, client: Mapping[str, Any], partitions: int) -> None:
        self._signer, self._network, self._client, self._partitions = signer, network, dict(client), partitions
        self.table = RoutingTable()

    async def follow(self) -> None:
        """Fold the log from its first record on, for ever. Repeats are dropped by their sequence."""
        async with bare_consumer(self._client, max_poll_records=2000) as consumer:
            places = [TopicPartition(f"{context}.events", n) for context in CONTEXTS for n in range(self._partitions)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._fold(record.value or b"")
                await asyncio.sleep(0)

    def _fold(self, value: bytes) -> None:
        record = parse_event(value)
        if record.sequence == self.table.cut.get(record.shard, 0):
            self.table.apply(read_event(record.document), record)  # type: ignore[arg-type]

    def heard(self) -> int:
        """How many providers it has heard of in the last ten minutes."""
        since = (time.time() - HEARD_SECONDS) * 1000
        return sum(provider.heard_ms > since for provider in self.table.providers.values())

    def open(self, model: str, arrival: Arrival, traceparent: str | None = None) -> tuple[SignedCommand, Choice]:
        """Decide a request and sign the decision."""
        subject, command, choice = self.decide(model, arrival)
        return self.sign(command, subject, command.as_of, traceparent), choice

    def sign(self, command: Command, subject: str, at: datetime | None = None, traceparent: str | None = None) -> SignedCommand:
        return sign_command(command, subject, self._signer, self._network, time=at, traceparent=traceparent)

    def decide(self, model: str, arrival: Arrival) -> tuple[StreamName, OpenRequest, Choice]:
        """On the router's own table. A request's id tells nothing of who asked."""
        request, now = uuid7(), datetime.now(UTC)
        seed = Digest(hashlib.sha256(f"{self._signer.did} {request}".encode()).hexdigest())
        now_ms = int(now.timestamp() * 1000)
        ask = Ask(model, arrival.prompt_tokens, arrival.completion_tokens, now_ms, seed_of(seed))
        choice = decide(self.table, ask)
        command = OpenRequest(
            key=Label("demo-key"), kind="chat", model=ModelId(model), stream=True, strategy="auto", n=1, as_of=now,
            constraints=Constraints(), prompt_tokens=ask.prompt_tokens, max_tokens=ask.max_tokens, seed=seed,
            policy_version=POLICY_VERSION, cut=tuple(ShardCut(shard=s, next=n) for s, n in sorted(self.table.cut.items())),
            chain=tuple(OfferId(offer.name) for offer in choice.chain),
            considered=tuple(
                Considered(offer=OfferId(offer.name), cost=cost, reason=reason) for offer, cost, reason in choice.considered
            ),
            request_hash=Digest(hashlib.sha256(f"salt of {request}".encode()).hexdigest()),
        )  # fmt: skip
        return request_stream(request), command, choice
