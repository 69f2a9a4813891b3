"""Money through real processes that are killed at any moment, while bank and chain lose answers: then the books are judged."""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from adapters.bank.paper import Fault, PaperBank, PaperChain
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from contracts import Amount
from ops.compose import Deployment as Composed
from ops.demo.client import Client, client_for
from ops.demo.money import Money
from ops.demo.people import People, accepted
from ops.demo.stages import Stages
from ops.settings import Settings
from tests.e2e.harness import PARTITIONS, ROOT, Deployment, Kept, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READERS = ["treasury", "ledger"]
PARTS = (("worker", "--slot", "1"), ("relay",), ("projector",))
LIFE_SECONDS = (1.5, 4.0)


class Killer:
    """Kills worker and relay again and again, and makes bank and chain lose what they are asked."""

    def __init__(self, processes: list[Kept], outside: tuple[PaperBank, PaperChain], seed: int) -> None:
        self._processes, self._outside, self._chance = processes, outside, random.Random(seed)
        self.kills = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self._chance.uniform(*LIFE_SECONDS)):
            victim = self._chance.choice(self._processes[:2]).now
            if victim is not None and not victim.ended:
                victim.kill()
                self.kills += 1
            for twin in self._outside:
                if not twin.demanded:
                    twin.demand(self._chance.choice([Fault.FAIL, Fault.TIME_OUT]), 2)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


class Twice(Client):
    """A sender that says everything twice."""

    async def send(self, commands: Any) -> None:
        some = list(commands)
        await super().send([*some, *some[::-1]])


@contextlib.contextmanager
def killed(deployment: Deployment, composed: Composed, seed: int) -> Iterator[Killer]:
    processes = [Kept(deployment, part, repeat({"SPACEOS_OUTSIDE": "paper"})) for part in PARTS]
    outside = composed.outside
    assert outside is not None
    assert isinstance(outside.bank, PaperBank)
    assert isinstance(outside.chain, PaperChain)
    killer = Killer(processes, (outside.bank, outside.chain), seed)
    try:
        yield killer
        killer.stop()
        until(lambda: deployment.quiet(READERS), "quiet", 90)
    finally:
        killer.stop()
        for process in processes:
            process.stop()


async def play(composed: Composed, views: str) -> Money:
    """Deposits from a statement, coins, a payout: with every command twice."""
    stages, people = Stages.of(composed), People.of(composed)
    options = composed.settings.kafka_client_options()
    async with client_for(options, PARTITIONS, Twice) as client:
        money = Money(composed, people, client, engine_for(views), None)
        turning = asyncio.create_task(money.turn_the_world())
        try:
            await accepted(client, stages.founding())
            await accepted(client, people.registrations())
            await money.deposit_and_pay_out(lambda _: None)
        finally:
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
    return money


def judged(deployment: Deployment) -> dict[str, Any]:
    """What the outside checker of money says of the last dump."""
    said = subprocess.run(
        [sys.executable, str(ROOT / "ops/moneychecker.py"), str(deployment.home / "dump"), "--json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_money_survives_kills_lost_answers_and_everything_twice(deployment: Deployment, seed: int) -> None:
    """Deposits become coins once, a payout is paid once, and the trial balance and both checkers agree."""
    settings = Settings(
        home=deployment.home, kafka=deployment.kafka, store=deployment.store, partitions=PARTITIONS, outside="paper"
    )
    composed = Composed(settings)
    People.of(composed)
    upgrade(engine_for(deployment.views), "views")

    with killed(deployment, composed, seed) as killer:
        money = asyncio.run(play(composed, deployment.views))
        kills = killer.kills

    verdict = deployment.verdict()
    assert verdict["ok"], verdict
    books = judged(deployment)
    assert books["ok"], books
    print(f"kills={kills}")
    assert kills
    chain, bank = composed.outside.chain, composed.outside.bank
    left = money.told.minted - money.told.paid_out
    assert chain.total_supply("USD.s", chain.head()) == Amount.of("USD.bank", left).to("USD.s").units
    assert bank.balance("USD.bank").held.units == left
    assert books["entries"] > 0
