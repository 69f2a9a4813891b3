"""The demo from beginning to end. It starts what is missing, and stops what it started."""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from sqlalchemy import Engine, select

from adapters.audit.checking import Finding
from adapters.audit.log import AuditLog
from adapters.kafka.bare import bare_consumer
from adapters.sql import engine_for, reading
from adapters.sql.tables import shards as store_shards
from contracts import parse_event, read_event
from contracts.inference import RouteDecided
from ops.auditor import open_audit
from ops.compose import Deployment
from ops.demo.client import Client, client_for
from ops.demo.money import Money, Told
from ops.demo.pacing import Pacing
from ops.demo.past import Past
from ops.demo.people import People
from ops.demo.replaying import Replay, Replayed
from ops.demo.router import CONTEXTS, Router
from ops.demo.scene import Scene, Stage
from ops.demo.stages import Stages
from ops.demo.tally import Tally, tally
from ops.demo.trace import arrivals
from ops.fleet import Machine, fleet
from ops.serve import parts_of
from ops.supervisor import Happening, Supervisor
from ops.verifying import verify_live
from streams import Projection
from streams.inference import Difference, Shards, decide_again

CATCH_UP_SECONDS = 120.0


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    trace: Path | None = None
    limit: int | None = None
    rate: float | None = None
    """Requests a second, in the trace's own rhythm, compressed; None: below what the machine sustains."""
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
    replayed: Replayed = field(default_factory=Replayed)
    sustained: float | None = None
    """Requests a second with which the views are never more than a second behind, where it was looked for."""
    sustains_more: bool = False
    """No more than that was tried."""
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
        found = self.replayed.latencies_ms
        if len(found) < 2:
            return found[0] if found else 0.0
        return statistics.quantiles(found, n=1000, method="inclusive")[min(int(share * 1000), 999) - 1]

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
            "commands_per_second": round(self.replayed.rate, 1),
            "latency_ms": {"p50": round(self.percentile(0.5), 1), "p99": round(self.percentile(0.99), 1)},
            "sustained_per_second": None if self.sustained is None else round(self.sustained, 1),
        }


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
        self._views: Engine = engine_for(self._settings.views)
        self._store: Engine = engine_for(self._settings.store)

    async def play(self) -> Result:
        async with client_for(self._options_of_client, self._settings.partitions) as client:
            if self._options.money:
                await self._live_through_the_past(client)
            scene = Scene(self._stages, self._machines, client)
            await scene.begin(self._stage)
            await client.send_without_answer(self._stages.mischief())
            router = Router(
                self._stages.others["router"], self._deployment.network, self._options_of_client, self._settings.partitions
            )
            following = asyncio.create_task(router.follow())
            beating = asyncio.create_task(scene.keep_beating())
            try:
                await scene.heard(router)
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
        founding = self._stages.founding()
        await client.all(founding, self._stage("Founding the network", len(founding)))
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

    async def _replay(self, client: Client, router: Router) -> None:
        self._result.source, found = arrivals(self._options.trace, self._options.limit)
        pacing = Pacing(len(found), self._options.rate)
        replay = Replay(client, router, self._machines, self._views, pacing)
        advance = self._stage(f"Replaying {self._result.source}", len(found))
        self._result.replayed = await replay.run(found, advance)
        self._result.sustained, self._result.sustains_more = pacing.sustained, pacing.is_more

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
