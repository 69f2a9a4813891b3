"""The processes of a deployment as functions: each runs until it is asked to stop, and fails loudly when it cannot go on."""

import asyncio
import hashlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Engine

from adapters import keys
from adapters.garbage import collect_rarely
from adapters.kafka.authentic import signed
from adapters.kafka.commands import CommandSender, sign_command, watching_outcomes
from adapters.kafka.publisher import Publisher
from adapters.locks import hold, lock_of
from adapters.sql import is_transient
from adapters.sql.outbox import Outbox
from adapters.sql.store import Sealed
from adapters.telemetry import PublisherTelemetry, WorkerTelemetry, observe_folds
from adapters.views import Projector
from adapters.views.catching import work_beside
from adapters.views.collecting import Arrived, CollectorReader
from adapters.views.processes import ProcessReader
from adapters.views.projector import Redriven
from adapters.views.sets import ReaderSet
from adapters.views.states import States
from adapters.views.todo import Lists
from adapters.views.wishes import Send, Wish
from contracts import Command
from ops.compose import DEFAULT_SET, READERS, Deployment, NoSuchReader, open_engine
from ops.heartbeat import Heartbeat
from ops.supervisor import Part
from ops.worker.deciding import Decider
from ops.worker.loop import Worker
from streams import Collector, Process, Projection, RawRecord, TodoList

if TYPE_CHECKING:
    from adapters.faust.group import Reader

log = logging.getLogger(__name__)


def parts_of(deployment: Deployment, workers: int) -> list[Part]:
    """The processes of `spaceos up`. Each serves its metrics on a port of its own, the first on the one that is set.

    Raises NoSuchReader.
    """
    deployment.streams_of(DEFAULT_SET)
    found: list[tuple[str, tuple[str, ...]]] = [(f"worker-{n + 1}", ("worker", "--slot", str(n + 1))) for n in range(workers)]
    found += [("projectors", ("projector", "--slot", "1"))]
    found += [(f"projector-{name}", ("projector", name, "--slot", "1")) for name in deployment.settings.sets]
    found += [("auditor", ("auditor", "--slot", "1"))]
    port = deployment.settings.metrics_port
    ports = [{} if port is None else {"SPACEOS_METRICS_PORT": str(port + n)} for n in range(len(found))]
    settings = {"SPACEOS_OUTSIDE": deployment.settings.outside, "SPACEOS_CLOCK": deployment.settings.clock}
    same = {name: str(value) for name, value in settings.items() if value is not None}
    return [Part(name, arguments, {**same, **ports[n], **_user(arguments)}) for n, (name, arguments) in enumerate(found)]


def _user(arguments: Sequence[str]) -> dict[str, str]:
    # Said to each, or all would be whom the environment of the supervisor names.
    return {"SPACEOS_KAFKA_USER": "worker" if arguments[0] == "worker" else "readers"}


def _tell_batch(sealed: Sealed, seconds: float) -> None:
    # Refusals are few and signed; an acceptance is neither read nor parsed for being counted.
    refused = [row for row in sealed.commands if row.outcome_signature is not None]
    names = [orjson.loads(row.outcome)["data"]["refusal"]["name"] for row in refused]
    WorkerTelemetry().committed(len(sealed.commands) - len(refused), names, seconds)


async def run_worker(deployment: Deployment, slot: str | None = None) -> None:
    """Decide commands of every context, in the partitions that the group gives to this process, and publish what follows.

    Raises AlreadyRuns.
    """
    heartbeat = Heartbeat()
    member = hold_slot(deployment.settings.home, "worker", slot)
    store = deployment.open_store()
    decider = Decider(store, deployment.writer, deployment.network, deployment.settings.partitions)
    client = deployment.settings.kafka_client_options()
    publisher = Publisher(Outbox(store.engine), client, signed(deployment.vouch), on_publish=PublisherTelemetry().published)
    worker = Worker(
        store, decider, publisher, deployment.contexts(), client, deployment.settings.partitions,
        on_batch=_tell_batch, on_poll=heartbeat.beat, instance=member,
    )  # fmt: skip
    stop_on_signals(worker.stop)
    collect_rarely()
    try:
        await worker.run()
    finally:
        # SQLite moves its write-ahead log into the database file when the last connection is closed in order.
        store.engine.dispose()


GATHER_SECONDS = 0.02
"""What flows to readers is applied in turns that are worth so much time: a turn costs more than its records."""
OUTCOMES_SECONDS = 0.1
"""Lists hear what became of their tasks so often."""
AGAIN_SECONDS = 0.5


async def run_readers(deployment: Deployment, name: str = DEFAULT_SET, slot: str | None = None) -> None:
    """Run a set: projections and processes with one consumer, each collector with its own, and to-do lists.

    Raises GroupFailed, NoSuchSet, NoSuchReader, AlreadyRuns.
    """
    # Faust takes longer to import than all the rest, and the worker, which never needs it, starts again in a hurry.
    from adapters.faust import Group, Lookout

    heartbeat, stop = Heartbeat(), asyncio.Event()
    wanted = deployment.streams_of(name)
    instance = hold_slot(deployment.settings.home, "projector" if name == DEFAULT_SET else f"projector-{name}", slot)
    engine = open_engine(deployment.settings.views, "views")
    client = deployment.settings.kafka_client_options()
    sender = CommandSender(client, deployment.settings.partitions)
    await sender.start()
    stop_on_signals(stop.set)
    send = _signing(deployment, sender)
    listings = [stream for stream in wanted if isinstance(stream, TodoList)]
    views = [stream for stream in deployment.streams if isinstance(stream, Projection)]
    lists, lookout = Lists(engine, listings, views, send), Lookout(client)

    def group(reader: "Reader") -> Group:
        return Group(
            reader, client, network=deployment.network, instance=instance, on_life=heartbeat.beat, lookout=lookout,
            gather=GATHER_SECONDS,
        )  # fmt: skip

    states = States(engine, name)
    observe_folds(states.totals)
    works = [group(CollectorReader(engine, x, send, _raw, states)).run(stop) for x in wanted if isinstance(x, Collector)]
    works += [lists.run(stop, heartbeat.beat), _tell_outcomes(deployment, lists, stop)] if listings else []
    members = [_member(deployment, engine, stream, send) for stream in wanted if isinstance(stream, Projection | Process)]
    readers = ReaderSet(engine, f"{READERS}.{name}", members, on_moved=lists.moved, states=states, vouch=deployment.vouch)
    works += [_until(stop, work_beside(readers, client, heartbeat.beat))]
    works += [group(readers).run(stop)] if members else []
    collect_rarely()
    tasks = [asyncio.create_task(work) for work in works]
    try:
        # The first that fails ends the process, and with it all: whoever supervises it starts it again.
        await asyncio.gather(*tasks)
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await lookout.close()
        await sender.stop()
        engine.dispose()


async def redrive(deployment: Deployment, reader: str, stream: str) -> Redriven:
    """Apply, send or collect what is parked of a stream, in order, with the code of today. Raises NoSuchReader."""
    wired = {found.name: found for found in deployment.streams if not isinstance(found, TodoList)}
    if reader not in wired:
        raise NoSuchReader(f"no context wires {reader}; there are: {', '.join(sorted(wired))}")
    engine, kind = open_engine(deployment.settings.views, "views"), wired[reader]
    if isinstance(kind, Projection):
        projector = Projector(engine, kind, vouch=deployment.vouch)
        return await _until_done(lambda: asyncio.to_thread(projector.redrive, stream))
    sender = CommandSender(deployment.settings.kafka_client_options(), deployment.settings.partitions)
    await sender.start()
    try:
        send = _signing(deployment, sender)
        sending = ProcessReader(engine, kind, send) if isinstance(kind, Process) else CollectorReader(engine, kind, send, _raw)
        return await _until_done(lambda: sending.redrive(stream))
    finally:
        await sender.stop()


async def _until_done(some: Callable[[], Awaitable[Redriven]]) -> Redriven:
    applied = 0
    while True:
        found = await some()
        applied += found.applied
        if found.failure is not None or not found.more:
            return replace(found, applied=applied)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Work until it is set."""
    tasks = [asyncio.create_task(work), asyncio.create_task(stop.wait())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _member(deployment: Deployment, engine: Engine, stream: Projection | Process, send: Send) -> Projector | ProcessReader:
    if isinstance(stream, Projection):
        return Projector(engine, stream, vouch=deployment.vouch)
    return ProcessReader(engine, stream, send)


async def _tell_outcomes(deployment: Deployment, lists: Lists, stop: asyncio.Event) -> None:
    """What was missed while nobody listened is repeated when its task is sent again."""
    client, partitions = deployment.settings.kafka_client_options(), deployment.settings.partitions
    async with watching_outcomes(client, deployment.contexts(), partitions, OUTCOMES_SECONDS, deployment.vouch) as outcomes:
        while not stop.is_set():
            if answers := await outcomes.answers():
                await patiently(partial(lists.hear, answers), stop)


async def patiently(work: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Until it is done, or nobody waits for it any more: a database that is busy or away is asked again."""
    while not stop.is_set():
        try:
            await work()
            return
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("waiting for the database: %s", str(error).partition("\n")[0])
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_SECONDS)


def _signing(deployment: Deployment, sender: CommandSender) -> Send:
    """Signs what processes, collectors and to-do lists want: with the key that bears a role's name, else the processes'."""
    folder = deployment.settings.keys
    signers = {path.stem: keys.read_key(path) for path in sorted(folder.glob("*.*.key"))}
    process = keys.read_key(folder / "process.key")

    def signer(command: Command) -> keys.Signer:
        return next((signers[role] for role in command.wire.roles if role in signers), process)

    async def send(wishes: Sequence[Wish]) -> None:
        signed = [
            sign_command(
                wish.command, wish.subject, signer(wish.command), deployment.network, id=wish.id, time=wish.time,
                causationid=wish.causationid, correlationid=wish.correlationid, traceparent=wish.traceparent,
            )
            for wish in wishes
        ]  # fmt: skip
        await sender.send(signed)

    return send


def _raw(partition: int, record: Arrived) -> RawRecord:
    headers = [(name, value or b"") for name, value in record.headers]
    return RawRecord(partition, record.offset, record.key or b"", record.value or b"", headers, record.timestamp)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call it when the process is asked to end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def hold_slot(home: Path, kind: str, slot: str | None) -> str | None:
    """The group instance id of this slot, for as long as this process lives; None without a slot. Raises AlreadyRuns.

    Two live processes with one instance id would steal the group from each other for ever.
    """
    if slot is None:
        return None
    hold(lock_of(home, f"{kind}-{slot}"), f"{kind} {slot}")
    where = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{where}-{slot}"
