"""What the trace needs: a network with a catalogue and a fleet that beats, and a router that has heard of it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from ops.demo.client import Client
from ops.demo.router import Router
from ops.demo.stages import Stages
from ops.fleet import Machine

BEAT_SECONDS = 120.0
CATCH_UP_SECONDS = 120.0


class Stage(Protocol):
    """Progress of one stage, as somebody shows it."""

    def __call__(self, title: str, total: int) -> Callable[[int], None]: ...


class Scene:
    """One network's fleet, through one client."""

    def __init__(self, stages: Stages, machines: Sequence[Machine], client: Client) -> None:
        self._stages, self._machines, self._client = stages, machines, client

    async def begin(self, stage: Stage) -> None:
        """Found the network, register keys, list models, register the fleet with its offers, beat once."""
        stages, machines = self._stages, self._machines
        await self._all(stage, "Founding the network", stages.founding())
        await self._all(stage, "Registering keys", list(stages.keys(machines)))
        await self._all(stage, "Listing models", list(stages.models()))
        await self._all(stage, "Registering providers", list(stages.fleet(machines)))
        await self._all(stage, "Declaring offers", list(stages.offers(machines)))
        advance = stage("Beating", len(machines))
        await self._beat()
        advance(len(machines))

    async def _all(self, stage: Stage, title: str, commands: list[Any]) -> None:
        await self._client.all(commands, stage(title, len(commands)))

    async def keep_beating(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._beat()

    async def _beat(self) -> None:
        await self._client.send_without_answer(self._beats())

    def _beats(self) -> list[Any]:
        return list(self._stages.beats(self._machines, datetime.now(UTC)))

    async def heard(self, router: Router) -> None:
        """The collector has recorded the beats, and the router has heard of them. Raises TimeoutError."""
        wanted = len(self._beats()) * 9 // 10
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while router.heard() < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError("the fleet's heartbeats did not arrive; the logs are in <home>/logs")
            await asyncio.sleep(0.05)
