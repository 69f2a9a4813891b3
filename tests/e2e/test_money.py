"""Money through real processes that are killed at any moment, while bank and chain lose answers: then the books are judged."""

import asyncio
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any, TypeVar

import pytest

from adapters.bank.paper import Fault, PaperBank, PaperChain
from adapters.bank.ports import NoAnswer
from adapters.sql import engine_for
from contracts import Amount
from ops.compose import Deployment as Composed
from ops.demo.client import Client, client_for
from ops.demo.money import Money
from ops.demo.people import People, accepted
from ops.demo.stages import Stages
from ops.settings import Settings
from tests.databases import upgrade
from tests.e2e.harness import PARTITIONS, Deployment, Kept, until
from tests.forks import run

T = TypeVar("T")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READERS = ["treasury", "ledger"]
PARTS = (("worker", "--slot", "1"), ("projector", "--slot", "1"))
LIFE_SECONDS = (1.0, 3.0)
FAULTY = 0.5
"""How likely bank or chain lose the next two questions or answers, whenever something was killed."""
TWINS = {"SPACEOS_OUTSIDE": "paper"}
PLACES = ("todo.asked", "todo.sent", "project.committed", "process.sent")
"""Where the readers die: after bank or chain were asked and before the command, after the command, after a commit."""
DEATHS = 2


class Killer:
    """Kills the worker again and again, and makes bank and chain lose what they are asked."""

    def __init__(self, processes: list[Kept], outside: tuple[PaperBank, PaperChain], seed: int) -> None:
        self._processes, self._outside, self._chance = processes, outside, random.Random(seed)
        self.kills = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self._chance.uniform(*LIFE_SECONDS)):
            victim = self._chance.choice(self._processes).now
            if victim is not None and not victim.ended:
                victim.kill()
                self.kills += 1
            for twin in self._outside:
                # One that has not answered since is left alone: who asks waits longer after each fault, and would find
                # a new one whenever he asks.
                if not twin.demanded and self._chance.random() < FAULTY:
                    for fault in (self._chance.choice([Fault.FAIL, Fault.TIME_OUT]), Fault.NONE):
                        twin.demand(fault, 2)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


class Twice(Client):
    """A sender that says everything twice."""

    async def send(self, commands: Any) -> None:
        some = list(commands)
        await super().send([*some, *some[::-1]])


def twins(composed: Composed) -> tuple[PaperBank, PaperChain]:
    outside = composed.outside
    assert outside is not None
    assert isinstance(outside.bank, PaperBank)
    assert isinstance(outside.chain, PaperChain)
    return outside.bank, outside.chain


@contextlib.contextmanager
def killed(deployment: Deployment, composed: Composed, seed: int) -> Iterator[tuple[Killer, Kept]]:
    """A worker and the readers, that die; then they live until everything is read."""
    chance = random.Random(seed)
    lives = [TWINS | {"SPACEOS_CRASH": f"{place}:{chance.randint(1, 3)}"} for place in chance.sample(PLACES, DEATHS)]
    worker = Kept(deployment, PARTS[0], repeat(TWINS))
    readers = Kept(deployment, PARTS[1], chain(lives, repeat(TWINS)))
    killer = Killer([worker], twins(composed), seed)
    try:
        yield killer, readers
        killer.stop()
        until(lambda: deployment.quiet(READERS), "quiet", 90)
    finally:
        killer.stop()
        for process in (worker, readers):
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


def answered(ask: Callable[[], T]) -> T:
    """What a twin says once it has no fault left that was demanded."""
    while True:
        with contextlib.suppress(NoAnswer):
            return ask()


def judged(deployment: Deployment) -> dict[str, Any]:
    """What the outside checker of money says of the last dump."""
    said = run("ops.moneychecker:main", [str(deployment.home / "dump"), "--json"])
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_money_survives_kills_lost_answers_and_everything_twice(on_postgresql: Deployment, seed: int) -> None:
    """Deposits become coins once, a payout is paid once, and the trial balance and both checkers agree."""
    deployment = on_postgresql
    settings = Settings(
        home=deployment.home, kafka=deployment.kafka, store=deployment.store, partitions=PARTITIONS, outside="paper"
    )
    composed = Composed(settings)
    People.of(composed)
    upgrade(engine_for(deployment.views), "views")

    with killed(deployment, composed, seed) as (killer, readers):
        money = asyncio.run(play(composed, deployment.views))

    verdict = deployment.verdict()
    assert verdict["ok"], verdict
    books = judged(deployment)
    assert books["ok"], books
    assert books["entries"] > 0
    assert killer.kills
    assert readers.codes == [-signal.SIGKILL] * DEATHS
    left = Amount.of("USD.bank", money.told.minted - money.told.paid_out)
    bank, evm = twins(composed)
    assert answered(lambda: evm.total_supply("USD.s", evm.head())) == left.to("USD.s").units
    assert answered(lambda: bank.balance("USD.bank")).held == left


def test_the_whole_flow_goes_through_kills(on_sqlite: Deployment, seed: int) -> None:
    """Stakes, a slash, nights of rewards, requests, deposits, coins, a payout, receipts, a claim: whatever `spaceos demo` does,
    and one process of `spaceos up` after another is killed meanwhile. Each twice: the pause before another life doubles."""
    chance, kills = random.Random(seed), 0
    demo = on_sqlite.start("demo", "--limit", "100", "--providers", "20")
    names = sorted(until(on_sqlite.parts, "processes"))
    for name in [*chance.sample(names, len(names)), *chance.sample(names, len(names))]:
        time.sleep(chance.uniform(2, 5))
        pid = on_sqlite.parts().get(name)
        with contextlib.suppress(ProcessLookupError):
            if pid and not demo.ended:
                os.kill(pid, signal.SIGKILL)
                kills += 1

    assert demo.wait(200) == 0, demo.said()
    verdict, books = on_sqlite.verdict(), judged(on_sqlite)

    assert kills
    assert verdict["ok"], verdict
    assert books["ok"], books
    assert books["receipts split"] == books["receipts settled"] > 0
    assert books["roots"] > 0
    assert books["claims"] == 1
