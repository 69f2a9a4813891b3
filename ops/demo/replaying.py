"""The trace's requests, decided by the router and sent below what the machine sustains; some are looked for in the view."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine, select

from adapters.kafka.commands import SignedCommand
from adapters.sql import reading
from ops.demo.client import Client
from ops.demo.pacing import Pacing
from ops.demo.router import Router
from ops.demo.trace import Arrival
from ops.fleet import CATALOGUE, Machine
from projections.inference import decisions

SAMPLE_EVERY = 10
LOOK_SECONDS = 0.004
PIECE = 20
"""Requests that are decided and signed before they are sent together: 10 ms."""
CATCH_UP_SECONDS = 120.0


def models_asked_for(machines: Sequence[Machine]) -> Iterator[str]:
    """For ever: what is asked for by its popularity, as far as somebody offers it."""
    chance = random.Random(7)  # noqa: S311  which model is asked for is no secret
    offered = {offer.model for machine in machines for _, offer in machine.offers}
    models = [model for model in CATALOGUE if model.kind == "chat" and model.id in offered]
    weights = [model.popularity for model in models]
    while True:
        yield chance.choices(models, weights)[0].id


@dataclass
class Replayed:
    """What came of it."""

    requests: int = 0
    nobody: int = 0
    """Requests that no provider could serve."""
    rate: float = 0.0
    """Requests a second while they were paced."""
    latencies_ms: list[float] = field(default_factory=list)
    """From command to view, of those that were paced."""


@dataclass
class _Sample:
    sent_at: float
    is_paced: bool


class Replay:
    """One trace through one router and one client."""

    def __init__(self, client: Client, router: Router, machines: Sequence[Machine], views: Engine, pacing: Pacing) -> None:
        self._client, self._router, self._machines, self._views = client, router, machines, views
        self._pacing = pacing
        self._waiting: dict[str, _Sample] = {}
        self._seen = 0
        self._replayed = Replayed()

    async def run(self, found: Sequence[Arrival], advance: Callable[[int], None]) -> Replayed:
        """Until all are answered and seen. Raises TimeoutError."""
        looking = asyncio.create_task(self._look())
        try:
            await self._send_in_rhythm(found, advance)
            if missing := await self._client.settle(CATCH_UP_SECONDS):
                raise TimeoutError(f"{missing} requests have no outcome; the logs are in <home>/logs")
            await self._until_seen()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        return self._replayed

    async def _send_in_rhythm(self, found: Sequence[Arrival], advance: Callable[[int], None]) -> None:
        """The trace's own rhythm, compressed."""
        models, pacing = models_asked_for(self._machines), self._pacing
        mean = len(found) / max(found[-1].at_seconds, 1e-9) if found else 1.0
        last, clock, position = time.monotonic(), 0.0, 0
        paced_seconds, paced = 0.0, 0
        while position < len(found):
            now = time.monotonic()
            paced_seconds += now - last if pacing.state == "paced" else 0.0
            clock, last = clock + (now - last) * pacing.rate / mean, now
            pacing.turn(now, position, self._seen * SAMPLE_EVERY, self._behind(now))
            batch: list[SignedCommand] = []
            while position < len(found) and found[position].at_seconds <= clock and len(batch) < PIECE:
                batch.append(self._decide(next(models), found[position], position))
                position += 1
            if batch:
                await self._client.room()
                await self._client.send(batch)
                self._replayed.requests += len(batch)
                paced += len(batch) if pacing.state == "paced" else 0
                advance(len(batch))
            else:
                await asyncio.sleep(0.001)
        self._replayed.rate = paced / max(paced_seconds, 0.001)

    def _decide(self, model: str, arrival: Arrival, position: int) -> SignedCommand:
        command, choice = self._router.open(model, arrival)
        self._replayed.nobody += choice.refusal is not None
        if position % SAMPLE_EVERY == 0 and choice.refusal is None:
            sample = _Sample(time.monotonic(), self._pacing.state == "paced")
            self._waiting[command.subject.rpartition("/")[2]] = sample
        return command

    def _behind(self, now: float) -> float:
        """Seconds that the oldest sample waits."""
        return now - next(iter(self._waiting.values())).sent_at if self._waiting else 0.0

    async def _look(self) -> None:
        """When each sampled request is in the view, as somebody sees it who asks the database."""
        while True:
            waiting = list(self._waiting)[:400]
            if waiting:
                seen = await asyncio.to_thread(self._rows, waiting)
                now = time.monotonic()
                for request in seen:
                    sample = self._waiting.pop(request)
                    self._seen += 1
                    if sample.is_paced:
                        self._replayed.latencies_ms.append((now - sample.sent_at) * 1000)
            await asyncio.sleep(LOOK_SECONDS)

    def _rows(self, requests: Sequence[str]) -> list[str]:
        with reading(self._views) as connection:
            return list(connection.scalars(select(decisions.c.request).where(decisions.c.request.in_(requests))))

    async def _until_seen(self) -> None:
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self._waiting and time.monotonic() < deadline:  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.01)
