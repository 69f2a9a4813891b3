"""The demo from beginning to end. It starts what is missing, and stops what it started."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aiokafka import TopicPartition
from sqlalchemy import Engine, select

from adapters.audit.checking import Finding
from adapters.audit.log import AuditLog
from adapters.kafka.bare import bare_consumer
from adapters.kafka.commands import SignedCommand
from adapters.sql import engine_for, reading
from adapters.sql.tables import shards as store_shards
from contracts import parse_event, read_event
from contracts.inference import RouteDecided
from ops.auditor import open_audit
from ops.compose import Deployment
from ops.demo.client import Client, client_for
from ops.demo.money import Money, Told
from ops.demo.past import Past
from ops.demo.people import People
from ops.demo.router import CONTEXTS, Router
from ops.demo.stages import Stages
from ops.demo.tally import Tally, tally
from ops.demo.trace import Arrival, arrivals
from ops.fleet import CATALOGUE, Machine, fleet
from ops.serve import parts_of
from ops.supervisor import Happening, Supervisor
from ops.verifying import verify_live
from projections.inference import decisions
from streams import Projection
from streams.inference import Difference, Shards, decide_again

SAMPLE_EVERY = 10
LOOK_SECONDS = 0.004
BEAT_SECONDS = 120.0
PIECE = 20
"""Requests that are decided and signed before they are sent together: 10 ms."""
CATCH_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    trace: Path | None = None
    limit: int | None = None
    rate: float = 1_000.0
    """Requests a second; the trace's own rhythm, compressed."""
    providers: int = 200
    workers: int = 1
    money: bool = False
    """Also live through the days before, and move money."""
    statement: Path | None = None
    """A bank's file, whose credits become coins."""
    receipts: int = 25
    """Requests that are paid for."""


@dataclass
class Result:
    """What the demo has to tell."""

    source: str = ""
    requests: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    nobody: int = 0
    """Requests that no provider could serve."""
    differences: list[Difference] = field(default_factory=list)
    again: int = 0
    """Decisions that were derived again from the log."""
    restarts: int = 0
    tally: Tally = field(default_factory=Tally)
    entries: int = 0
    """Of the audit log, all verified: signatures, chains, seals, tree, and byte for byte against store and topics."""
    checkpoint: str = ""
    money: Told | None = None
    findings: list[Finding] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Of the latencies from command to view, in milliseconds."""
        if len(self.latencies_ms) < 2:
            return self.latencies_ms[0] if self.latencies_ms else 0.0
        return statistics.quantiles(self.latencies_ms, n=1000, method="inclusive")[min(int(share * 1000), 999) - 1]

    @property
    def is_ok(self) -> bool:
        return self.tally.is_ok and not self.differences and not self.findings

    def document(self) -> dict[str, Any]:
        """The last line with --json."""
        found = self.tally
        return {
            "ok": self.is_ok,
            "commands": found.commands,
            "accepted": found.accepted,
            "refused": found.refused,
            "events": found.events,
            "lost": found.lost,
            "duplicated": found.duplicated,
            "out_of_order": found.out_of_order,
            "audit": {"entries": self.entries, "findings": len(self.findings), "checkpoint": self.checkpoint},
            **({"money": asdict(self.money)} if self.money else {}),
            "commands_per_second": round(self.requests / self.seconds, 1) if self.seconds else 0.0,
            "latency_ms": {"p50": round(self.percentile(0.5), 1), "p99": round(self.percentile(0.99), 1)},
        }


class Stage(Protocol):
    """Progress of one stage, as somebody shows it."""

    def __call__(self, title: str, total: int) -> Callable[[int], None]: ...


async def run(deployment: Deployment, options: Options, stage: Stage, tell: Callable[[Happening], None]) -> Result:
    """Everything; the deployment's processes run as long as this does. Raises what keeps it from working."""
    if options.money:
        settings = deployment.settings
        deployment = Deployment(settings.model_copy(update={"outside": "paper", "clock": settings.home / "clock"}))
        People.of(deployment)
    supervisor = Supervisor(parts_of(deployment, options.workers), deployment.settings.home, tell)
    await deployment.prepare()
    running = asyncio.create_task(supervisor.run())
    try:
        result = await _Demo(deployment, options, stage).play()
        result.restarts = supervisor.restarts
        return result
    finally:
        supervisor.stop()
        await running


class _Demo:
    def __init__(self, deployment: Deployment, options: Options, stage: Stage) -> None:
        self._deployment, self._options, self._stage = deployment, options, stage
        self._settings = deployment.settings
        self._options_of_client = self._settings.kafka_client_options()
        self._machines: list[Machine] = fleet(options.providers)
        self._stages = Stages.of(deployment)
        self._result = Result()
        self._sampled: dict[str, float] = {}
        self._views: Engine = engine_for(self._settings.views)
        self._store: Engine = engine_for(self._settings.store)

    async def play(self) -> Result:
        async with client_for(self._options_of_client, self._settings.partitions) as client:
            if self._options.money:
                await self._live_through_the_past(client)
            await self._set_the_scene(client)
            router = Router(
                self._stages.others["router"], self._deployment.network, self._options_of_client, self._settings.partitions
            )
            following = asyncio.create_task(router.follow())
            beating = asyncio.create_task(self._keep_beating(client))
            try:
                await self._wait_for_table(router)
                await self._replay(client, router)
                if self._options.money:
                    await self._move_money(client, router)
            finally:
                for task in (following, beating):
                    task.cancel()
                await asyncio.gather(following, beating, return_exceptions=True)
        await self._check()
        return self._result

    async def _live_through_the_past(self, client: Client) -> None:
        past = Past(self._deployment, People.of(self._deployment), client, self._views, lambda _: None)
        if past.is_over():
            past.end()
            return
        past.advance = self._stage("Living through four days: stakes, a silent device, a slash", Past.STEPS)
        past.begin()
        await self._all(client, "Founding the network", self._stages.founding())
        await past.live()

    async def _move_money(self, client: Client, router: Router) -> None:
        money = Money(self._deployment, People.of(self._deployment), client, self._views, self._options.statement)
        turning = asyncio.create_task(money.turn_the_world())
        try:
            await money.deposit_and_pay_out(self._stage("From a bank statement to coins and back", 5))
            _, found = arrivals(self._options.trace, self._options.receipts)
            await money.serve(router, found, self._machines, self._stage("Serving requests that are paid for", len(found)))
            await money.claim(self._stage("Claiming what a provider's stake has earned", 2))
        finally:
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
        self._result.money = money.told

    async def _set_the_scene(self, client: Client) -> None:
        stages, machines = self._stages, self._machines
        await self._all(client, "Founding the network", stages.founding())
        await self._all(client, "Registering keys", list(stages.keys(machines)))
        await self._all(client, "Listing models", list(stages.models()))
        await self._all(client, "Registering providers", list(stages.fleet(machines)))
        await self._all(client, "Declaring offers", list(stages.offers(machines)))
        advance = self._stage("Beating", len(machines))
        beats = list(stages.beats(machines, datetime.now(UTC)))
        await client.send_without_answer(beats)
        advance(len(machines))
        await client.send_without_answer(stages.mischief())

    async def _all(self, client: Client, title: str, commands: list[Any]) -> None:
        await client.all(commands, self._stage(title, len(commands)))

    async def _keep_beating(self, client: Client) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await client.send_without_answer(list(self._stages.beats(self._machines, datetime.now(UTC))))

    async def _wait_for_table(self, router: Router) -> None:
        """The collector has recorded the beats, and the router has heard of them."""
        wanted = len(list(self._stages.beats(self._machines, datetime.now(UTC)))) * 9 // 10
        since = (time.time() - 600) * 1000
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while sum(p.heard_ms > since for p in router.table.providers.values()) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError("the fleet's heartbeats did not arrive; the logs are in <home>/logs")
            await asyncio.sleep(0.05)

    # The trace

    async def _replay(self, client: Client, router: Router) -> None:
        self._result.source, found = arrivals(self._options.trace, self._options.limit)
        span = max(found[-1].at_seconds, 1e-9) if found else 1.0
        pace = len(found) / self._options.rate / span
        advance = self._stage(f"Replaying {self._result.source}", len(found))
        looking = asyncio.create_task(self._look())
        started = time.monotonic()
        try:
            await self._send_in_rhythm(client, router, found, pace, started, advance)
            missing = await client.settle(CATCH_UP_SECONDS)
            self._result.seconds = time.monotonic() - started
            if missing:
                raise TimeoutError(f"{missing} requests have no outcome; the logs are in <home>/logs")
            await self._until_seen()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _send_in_rhythm(
        self,
        client: Client,
        router: Router,
        found: Sequence[Arrival],
        pace: float,
        started: float,
        advance: Callable[[int], None],
    ) -> None:
        chance = random.Random(7)  # noqa: S311  which model is asked for is no secret
        offered = {offer.model for machine in self._machines for _, offer in machine.offers}
        models = [model for model in CATALOGUE if model.kind == "chat" and model.id in offered]
        weights = [model.popularity for model in models]
        position = 0
        while position < len(found):
            due = (time.monotonic() - started) / pace if pace else found[-1].at_seconds
            batch: list[SignedCommand] = []
            while position < len(found) and found[position].at_seconds <= due and len(batch) < PIECE:
                [model] = chance.choices(models, weights)
                command, choice = router.open(model.id, found[position])
                position += 1
                self._result.nobody += choice.refusal is not None
                if position % SAMPLE_EVERY == 0 and choice.refusal is None:
                    self._sampled[command.subject.rpartition("/")[2]] = time.monotonic()
                batch.append(command)
            if batch:
                await client.room()
                await client.send(batch)
                self._result.requests += len(batch)
                advance(len(batch))
            else:
                await asyncio.sleep(0.001)

    async def _look(self) -> None:
        """When each sampled request is in the view, as somebody sees it who asks the database."""
        while True:
            waiting = list(self._sampled)[:400]
            if waiting:
                seen = await asyncio.to_thread(self._seen, waiting)
                now = time.monotonic()
                self._result.latencies_ms += [(now - self._sampled.pop(request)) * 1000 for request in seen]
            await asyncio.sleep(LOOK_SECONDS)

    def _seen(self, requests: Sequence[str]) -> list[str]:
        with reading(self._views) as connection:
            return list(connection.scalars(select(decisions.c.request).where(decisions.c.request.in_(requests))))

    async def _until_seen(self) -> None:
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while self._sampled and time.monotonic() < deadline:  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.01)

    # The check

    async def _check(self) -> None:
        readers = {s.name: s.contexts for s in self._deployment.streams if isinstance(s, Projection)}
        advance = self._stage("Counting store, topics and views", 1)
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while True:
            self._result.tally = await tally(self._store, self._views, self._options_of_client, readers)
            if self._result.tally.is_ok or time.monotonic() > deadline:
                break
            await asyncio.sleep(1)  # a reader may be one chunk behind
        advance(1)
        advance = self._stage("Deciding again from the log", 1)
        await self._decide_again()
        advance(1)
        await self._verify_the_audit_log()

    async def _verify_the_audit_log(self) -> None:
        engine = open_audit(self._deployment)
        log, deadline = AuditLog(engine), time.monotonic() + CATCH_UP_SECONDS
        while not self._is_audited(log) and time.monotonic() < deadline:  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.1)
        advance = self._stage("Verifying the audit log", log.checkpoint()[0])
        done = 0

        def tell(entries: int, total: int) -> None:
            nonlocal done
            if entries - done >= 200 or entries == total:
                advance(entries - done)
                done = entries

        self._result.findings = [found async for found in verify_live(self._deployment, engine, tell)]
        self._result.entries, (_, self._result.checkpoint) = done, log.checkpoint()
        engine.dispose()

    def _is_audited(self, log: AuditLog) -> bool:
        """Everything that was recorded is in the log, and its head is signed."""
        with reading(self._store) as connection:
            shards = connection.execute(select(store_shards)).all()
        wanted = {f"{shard.context}.events/{shard.partition}": shard.next_sequence for shard in shards}
        return wanted.items() <= {**dict.fromkeys(wanted, 0), **log.positions()}.items() and log.is_signed()

    async def _decide_again(self) -> None:
        shards: dict[str, list[Any]] = {}
        taken: list[Any] = []
        async with bare_consumer(self._options_of_client, max_poll_records=5000) as consumer:
            for context in (*CONTEXTS, "inference"):
                for partition in range(self._settings.partitions):
                    found = await _events(consumer, TopicPartition(f"{context}.events", partition))
                    if context == "inference":
                        taken += [entry for entry in found if isinstance(entry[0], RouteDecided)]
                    else:
                        shards[f"{context}.events/{partition}"] = found
        self._result.again = len(taken)
        self._result.differences = await asyncio.to_thread(lambda: list(decide_again(taken, _typed(shards))))


def _typed(shards: dict[str, list[Any]]) -> Shards:
    return shards


async def _events(consumer: Any, partition: TopicPartition) -> list[Any]:
    """The partition's events in their order, each once."""
    consumer.assign([partition])
    end = (await consumer.end_offsets([partition]))[partition]
    await consumer.seek_to_beginning(partition)
    found: list[Any] = []
    while await consumer.position(partition) < end:
        for raw in (await consumer.getmany(partition, timeout_ms=1000)).get(partition, []):
            record = parse_event(raw.value)
            if record.sequence == len(found):
                found.append((read_event(record.document), record))
    return found
