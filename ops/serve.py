"""The processes of a deployment as functions: each runs until it is asked to stop, and fails loudly when it cannot go on."""

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import Engine

from adapters import keys
from adapters.garbage import collect_rarely
from adapters.kafka.commands import CommandSender, sign_command, watching_outcomes
from adapters.kafka.relay import Relay
from adapters.sql.outbox import Outbox
from adapters.sql.store import Sealed
from adapters.telemetry import RelayTelemetry, WorkerTelemetry
from adapters.views import Projector
from adapters.views.processes import Arrived, CollectorReader, ProcessReader
from adapters.views.readers import ProjectionReader
from adapters.views.todo import Leases, Pulse, TodoRunner
from adapters.views.wishes import Send, Wish
from contracts import Command
from ops.compose import Deployment, open_engine
from ops.heartbeat import Heartbeat
from ops.supervisor import Part
from ops.worker.deciding import Decider
from ops.worker.loop import Worker
from streams import Collector, Process, Projection, RawRecord, TodoList

if TYPE_CHECKING:
    from adapters.faust.group import Reader


def parts_of(deployment: Deployment, workers: int) -> list[Part]:
    """The processes of `spaceos up`. Each serves its metrics on a port of its own, the first on the one that is set."""
    found: list[tuple[str, tuple[str, ...]]] = [(f"worker-{n + 1}", ("worker", "--slot", str(n + 1))) for n in range(workers)]
    found += [("relay", ("relay",)), ("projectors", ("projector", "--slot", "1")), ("auditor", ("auditor", "--slot", "1"))]
    port = deployment.settings.metrics_port
    ports = [{} if port is None else {"SPACEOS_METRICS_PORT": str(port + n)} for n in range(len(found))]
    settings = {"SPACEOS_OUTSIDE": deployment.settings.outside, "SPACEOS_CLOCK": deployment.settings.clock}
    same = {name: str(value) for name, value in settings.items() if value is not None}
    return [Part(name, arguments, {**same, **ports[n]}) for n, (name, arguments) in enumerate(found)]


def _tell_batch(sealed: Sealed, seconds: float) -> None:
    # Refusals are few and signed; an acceptance is neither read nor parsed for being counted.
    refused = [row for row in sealed.commands if row.outcome_signature is not None]
    names = [orjson.loads(row.outcome)["data"]["refusal"]["name"] for row in refused]
    WorkerTelemetry().committed(len(sealed.commands) - len(refused), names, seconds)


class SlotTaken(RuntimeError):
    """A process of that kind holds the slot here already."""


async def run_worker(deployment: Deployment, slot: str | None = None) -> None:
    """Decide commands of every context, in the partitions that the group gives to this process. Raises SlotTaken."""
    heartbeat = Heartbeat()
    member = hold_slot(deployment.settings.home, "worker", slot)
    store = deployment.open_store()
    decider = Decider(store, deployment.writer, deployment.network, deployment.settings.partitions)
    client = deployment.settings.kafka_client_options()
    worker = Worker(
        store, decider, deployment.contexts(), client, on_batch=_tell_batch, on_poll=heartbeat.beat, instance=member
    )
    stop_on_signals(worker.stop)
    collect_rarely()
    try:
        await worker.run()
    finally:
        # SQLite moves its write-ahead log into the database file when the last connection is closed in order.
        store.engine.dispose()


async def run_relay(deployment: Deployment) -> None:
    """Publish what workers made durable."""
    heartbeat = Heartbeat()
    outbox = Outbox(deployment.open_store().engine)
    client = deployment.settings.kafka_client_options()
    relay = Relay(outbox, client, on_publish=RelayTelemetry().published, on_turn=heartbeat.beat)
    stop_on_signals(relay.stop)
    collect_rarely()
    try:
        await relay.run()
    finally:
        outbox.engine.dispose()


async def run_readers(deployment: Deployment, names: Collection[str] = (), slot: str | None = None) -> None:
    """Run projections, processes, collectors (a Faust app each) and to-do lists; all, or those named.

    Raises GroupFailed, NoSuchStream, SlotTaken.
    """
    # Faust takes longer to import than all the rest, and worker and relay, which never need it, start again in a hurry.
    from adapters.faust import Group, Lookout

    heartbeat, stop = Heartbeat(), asyncio.Event()
    wired = {stream.name: stream for stream in deployment.streams}
    if unknown := set(names) - wired.keys():
        raise NoSuchStream(f"no context wires {min(unknown)}; there are: {', '.join(sorted(wired))}")
    instance = hold_slot(deployment.settings.home, "projector", slot)
    engine = open_engine(deployment.settings.views, "views")
    client = deployment.settings.kafka_client_options()
    sender = CommandSender(client, deployment.settings.partitions)
    await sender.start()
    stop_on_signals(stop.set)
    wanted = [wired[name] for name in sorted(names or wired)]
    readers = [_reader(deployment, stream, engine, sender) for stream in wanted if not isinstance(stream, TodoList)]
    send = _signing(deployment, sender)
    pulse, held, lookout = Pulse(engine), Leases(engine), Lookout(client)
    lists = [TodoRunner(engine, stream, send, pulse=pulse, held=held) for stream in wanted if isinstance(stream, TodoList)]
    groups = [
        Group(reader, client, network=deployment.network, instance=instance, on_life=heartbeat.beat, lookout=lookout)
        for reader in readers
    ]
    collect_rarely()
    tasks = [asyncio.create_task(group.run(stop)) for group in groups]
    tasks += [asyncio.create_task(working.run(stop, heartbeat.beat)) for working in lists]
    tasks += [asyncio.create_task(_tell_outcomes(deployment, lists, stop))] if lists else []
    try:
        # The first that fails ends the process, and with it all: whoever supervises it starts it again.
        await asyncio.gather(*tasks)
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await sender.stop()
        engine.dispose()


class NoSuchStream(LookupError):
    """The name is that of no projection, process, collector or to-do list."""


async def _tell_outcomes(deployment: Deployment, lists: Sequence[TodoRunner], stop: asyncio.Event) -> None:
    """What was missed while nobody listened is repeated when its task is sent again."""
    client, partitions = deployment.settings.kafka_client_options(), deployment.settings.partitions
    async with watching_outcomes(client, deployment.contexts(), partitions) as outcomes:
        while not stop.is_set():
            if answers := await outcomes.answers():
                await asyncio.gather(*(working.hear(answers) for working in lists))


def _reader(
    deployment: Deployment, stream: Projection | Process | Collector, engine: Engine, sender: CommandSender
) -> "Reader":
    if isinstance(stream, Projection):
        return ProjectionReader(Projector(engine, stream))
    send = _signing(deployment, sender)
    if isinstance(stream, Process):
        return ProcessReader(engine, stream, send)
    return CollectorReader(engine, stream, send, _raw)


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


_held: list[int] = []
"""Descriptors of the locks that this process holds until it ends."""


def hold_slot(home: Path, kind: str, slot: str | None) -> str | None:
    """The group instance id of this slot, for as long as this process lives; None without a slot. Raises SlotTaken.

    Two live processes with one instance id would steal the group from each other for ever.
    """
    if slot is None:
        return None
    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{kind}-{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SlotTaken(f"another process is {kind} {slot} of {home}") from None
    _held.append(descriptor)
    where = hashlib.sha256(str(home).encode()).hexdigest()[:8]
    return f"{socket.gethostname()}-{where}-{slot}"
