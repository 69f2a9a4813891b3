"""The auditor: the process that keeps the audit log, signs its heads and serves them."""

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from sqlalchemy import Engine, make_url

from adapters import keys
from adapters.audit import Sequencer
from adapters.audit.checking import Verify
from adapters.audit.log import AuditLog
from adapters.audit.patrol import Patrol, Tampering
from adapters.audit.policy import KnownLog, Policy
from adapters.audit.reader import GATHER_SECONDS, SIGN_SECONDS, Clock, SequencerReader
from adapters.audit.signing import Forked, RolledBack, Unremembered, check_signed
from adapters.audit.witnesses import WitnessRefused, compare_with_witnesses, gather_cosignatures, witness_session
from adapters.garbage import collect_rarely
from adapters.http import serving
from adapters.kafka.commands import CommandSender, sign_command
from adapters.sql import engine_for
from adapters.sql.schema import current, heads
from adapters.sql.store import Store
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.notes import NoteInvalid, NoteKey, NoteSigner
from contracts import Command, Digest, Label
from contracts.audit import HaltShard, ReportTampering
from ops.auditing_http import Reads, audit_http
from ops.compose import Deployment, open_engine
from ops.erasing import LOOK_SECONDS, Eraser
from ops.genesis import LOG_KEY, BadGenesis
from ops.heartbeat import Heartbeat

log = logging.getLogger(__name__)

PATROL_SECONDS = 1.0
REPORT_SECONDS = 5.0
"""A report of tampering that is on its way when the process ends gets so long."""
LAST_SIGNED = "last-signed"
"""The file in the home, outside every database, that holds the head that was signed last."""


class InTheStore:
    """That the log has signed, as the event store remembers it: whoever lost the log's database and the file still has that.

    Where there is no store in reach nothing is remembered.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._is_noted = deployment, False
        origin = log_key(deployment).name
        self._fact = {f"signed {hashlib.sha256(origin.encode()).hexdigest()[:30]}": origin}

    def has_signed(self) -> bool:
        return self._fact.items() <= self._facts().items()

    def note(self) -> None:
        if not self._is_noted and (engine := self._engine()) is not None:
            try:
                Store(engine).establish(**self._fact)
            finally:
                engine.dispose()
            self._is_noted = True

    def _facts(self) -> Mapping[str, str]:
        if (engine := self._engine()) is None:
            return {}
        try:
            # Before the first start of a worker there are no tables.
            return Store(engine).facts() if current(engine, "store") else {}
        finally:
            engine.dispose()

    def _engine(self) -> Engine | None:
        url = make_url(self._deployment.settings.store)
        is_there = url.get_backend_name() != "sqlite" or Path(url.database or "").exists()
        return engine_for(self._deployment.settings.store) if is_there else None


def open_audit(deployment: Deployment) -> Engine:
    """The audit log's database. Raises NotDurable."""
    return open_engine(deployment.settings.audit, "audit")


def log_key(deployment: Deployment) -> NoteKey:
    """Whose signature a checkpoint must have. Raises BadGenesis."""
    if deployment.genesis.log is None:
        raise BadGenesis(f"{deployment.genesis_path} names no audit log: it is of an older network; begin a new one")
    return NoteKey.parse(deployment.genesis.log)


def log_signer(deployment: Deployment) -> NoteSigner:
    """The log's key with its secret half. Raises BadGenesis, KeyFileUnsafe."""
    key = log_key(deployment)
    signer = NoteSigner.of(key.name, keys.read_seed(deployment.settings.keys / f"{LOG_KEY}.key"))
    if signer.key != key:
        raise BadGenesis(f"{LOG_KEY}.key is not the key of the log that the genesis names, {key.name}")
    return signer


def writer_signed(deployment: Deployment) -> Verify:
    """Whether a writer of the network who was entitled then signed a record, as the one that it names."""

    def verify(did: str, value: bytes, signature: str) -> bool:
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError:
            return False
        is_named = isinstance(document, dict) and document.get("source") == did
        return is_named and deployment.vouch(document, value, [("signature", signature.encode())])

    return verify


def refusal_to_sign(deployment: Deployment) -> str | None:
    """Why the log signs nothing, as far as its databases and the file tell; None where it signs. Raises SQLAlchemy's errors."""
    url, last_signed, elsewhere = (
        make_url(deployment.settings.audit),
        deployment.settings.home / LAST_SIGNED,
        InTheStore(deployment),
    )
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        if last_signed.exists() or elsewhere.has_signed():
            return f"heads of this log were signed, and its database {url.database} is gone"
        return None
    engine = engine_for(deployment.settings.audit)
    try:
        if current(engine, "audit") == heads("audit"):
            check_signed(engine, log_key(deployment), last_signed, elsewhere)
    except (RolledBack, Forked, Unremembered) as error:
        return str(error)
    except NoteInvalid as error:
        return f"{last_signed} holds no head of this log: {error}"
    finally:
        engine.dispose()
    return None


async def ask_witnesses(deployment: Deployment, engine: Engine, note: str) -> Mapping[str, str]:
    """Who of the policy's witnesses does not say whether that head is the last one, and why.

    Raises NoteInvalid, RolledBack, Forked.
    """
    head, _ = open_checkpoint(note.encode(), log_key(deployment))
    async with witness_session() as session:
        return await compare_with_witnesses(AuditLog(engine), audit_policy(deployment), session, head.size, note)


async def run_auditor(deployment: Deployment, slot: str | None = None) -> None:
    """Append every event to the log, sign its heads, read random places of it back.

    Raises GroupFailed, RolledBack, Forked, Unremembered, Released, AlreadyRuns.
    """
    from adapters.faust.group import Group
    from ops.serve import hold_slot, stop_on_signals

    heartbeat, stop = Heartbeat(), asyncio.Event()
    instance = hold_slot(deployment.settings.home, "auditor", slot)
    stop_on_signals(stop.set)
    client = deployment.settings.kafka_client_options()
    engine = open_audit(deployment)
    async with AsyncExitStack() as stack:
        stack.callback(engine.dispose)
        sender = CommandSender(client, deployment.settings.partitions)
        await sender.start()
        stack.push_async_callback(sender.stop)
        sequencer = Sequencer(engine, deployment.network, deployment.vouch)
        alarm = _Alarm(deployment, sender)
        stack.push_async_callback(alarm.told)
        reader = SequencerReader(sequencer, audit_topics(deployment), on_halt=alarm.halted)
        log, policy = AuditLog(engine), audit_policy(deployment)
        clock = Clock(
            reader, sequencer, log_signer(deployment), deployment.settings.home / LAST_SIGNED, InTheStore(deployment)
        )  # fmt: skip
        life = heartbeat.beat
        group = Group(reader, client, network=deployment.network, instance=instance, on_life=life, gather=GATHER_SECONDS)
        collect_rarely()
        reads: Reads | None = None
        if (port := deployment.settings.audit_port) is not None:
            reads = Reads(deployment, sender)
            app = audit_http(deployment, log, policy, reads)
            await stack.enter_async_context(serving(app, deployment.settings.audit_host, port))
        patrol = Patrol(engine, log_key(deployment), writer_signed(deployment))
        works = [group.run(stop), clock.run(), _erase(Eraser(deployment)), _patrol(patrol, alarm)]
        if reads is not None:
            works.append(reads.run())
        if any(witness.url for witness in policy.witnesses):
            works.append(_have_cosigned(log, policy, stop))
        await _first_of(stop, *works)


async def _first_of(stop: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Whatever ends first ends the process: whoever supervises it starts it again."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        stop.set()
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _patrol(patrol: Patrol, alarm: "_Alarm") -> None:
    """Once something does not fit, nothing more is signed until an operator has looked into it."""
    while True:
        # What was found would be found again, and reported again, until somebody has looked into it.
        if not await asyncio.to_thread(patrol.is_distrusted) and (found := await asyncio.to_thread(patrol.turn)):
            await asyncio.to_thread(patrol.distrust, found[0])
            alarm.tampered(found)
        await asyncio.sleep(PATROL_SECONDS)


async def _erase(eraser: Eraser) -> None:
    while True:
        await eraser.turn()
        await asyncio.sleep(LOOK_SECONDS)


async def _have_cosigned(log: AuditLog, policy: Policy, stop: asyncio.Event) -> None:
    """Ask the witnesses for each new head, beside the signing: one that is silent delays only what is witnessed.

    Once one has refused a head, nothing is signed, and nobody asked, until an operator has looked into it.
    """
    async with witness_session() as session:
        while not stop.is_set():
            # That it stands is the clock's to say.
            with suppress(WitnessRefused):
                if log.checkpoint_size():
                    await gather_cosignatures(log, policy, session)
            await asyncio.sleep(SIGN_SECONDS)


class _Alarm:
    """Says in the log itself that a shard of it stands still, or that something in it is not as it was written."""

    def __init__(self, deployment: Deployment, sender: CommandSender) -> None:
        self._deployment, self._sender = deployment, sender
        self._signer = keys.read_key(deployment.settings.keys / "process.key")
        self._telling = set[asyncio.Task[None]]()

    async def halted(self, shard: str, sequence: int, why: str) -> None:
        evidence = Digest(hashlib.sha256(why.encode()).hexdigest())
        await self._send(shard, HaltShard(sequence=sequence, evidence=evidence, reason=why[:1000]))

    def tampered(self, found: Sequence[Tampering]) -> None:
        """The reports are on their way; `told` waits for them."""
        for tampering in found:
            log.error("TAMPERING: %s", tampering.text)
            self._telling.add(asyncio.create_task(self._report(tampering)))

    async def told(self) -> None:
        """What is on its way has arrived, or its time is over."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=REPORT_SECONDS)

    async def _report(self, found: Tampering) -> None:
        check = Label(found.finding.check)
        try:
            await self._send(found.shard, ReportTampering(index=found.entry, evidence=Digest(found.evidence), check=check))
        except KafkaError as error:
            log.error("it could not be reported: %s", error)

    async def _send(self, shard: str, command: Command) -> None:
        await self._sender.send([sign_command(command, f"audit/shard/{shard}", self._signer, self._deployment.network)])


def audit_topics(deployment: Deployment) -> Sequence[str]:
    """What the log holds: every context's events."""
    return [f"{context}.events" for context in deployment.contexts()]


def audit_policy(deployment: Deployment) -> Policy:
    """The log's key, and the witnesses and quorum of SPACEOS_AUDIT_POLICY. Raises PolicyInvalid, BadGenesis."""
    path = deployment.settings.audit_policy
    mine = Policy(logs=(KnownLog(log_key(deployment)),))
    if path is None:
        return mine
    given = Policy.parse(path.read_bytes())
    return replace(given, logs=given.logs or mine.logs)
