"""The audit log by HTTP: whose entries leave, and that each read is recorded, and accepted, before they do.

Whether a reader may read is decided where everything is decided: the server asks for him (`RecordServed`), and the decision
looks his role up, with its prefix, its end and its withdrawal. No byte leaves before the writer has published its `LogRead`.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from adapters import keys
from adapters.audit.log import AuditLog
from adapters.audit.policy import Policy
from adapters.http import Application, NotEntitled, audit_app, bearer
from adapters.kafka.bare import bare_consumer, tell_topics
from adapters.kafka.commands import CommandSender, SignedCommand, answer_in, sign_command
from adapters.vouching import Vouch
from contracts import BadDocument, Did, Digest, Label, event_id, parse_strictly
from contracts.audit import LogRead, RecordServed
from ops.compose import Deployment

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
"""So long a reader waits for his read to be recorded. The command expires with it: what nobody waits for is not recorded."""
PAUSE_SECONDS: Final = 1.0
WAIT_MS: Final = 500
"""So long a fetch waits at the broker for something to come; what comes is heard at once."""
_TOPICS: Final = ("audit.events", "audit.outcomes")
_HEX: Final = 64


class NotRecorded(RuntimeError):
    """The read is not recorded, so nothing leaves. The message says why."""


class Reads:
    """Has reads recorded, and hears what becomes of them."""

    def __init__(self, deployment: Deployment, sender: CommandSender) -> None:
        self._client, self._partitions = deployment.settings.kafka_client_options(), deployment.settings.partitions
        self._network, self._vouch, self._sender = deployment.network, deployment.vouch, sender
        self._signer = keys.read_key(deployment.settings.keys / "process.key")
        self._waiting: dict[str, tuple[SignedCommand, asyncio.Future[str | None]]] = {}
        self._is_hearing = False

    async def record(self, reader: str, first: int, last: int) -> None:
        """Return when the log's writer has published the LogRead. Raises NotEntitled, NotRecorded, KafkaError."""
        if not self._is_hearing:
            raise NotRecorded("nothing is heard from the broker")
        now = datetime.now(UTC)
        digest = Digest(hashlib.sha256(f"{first}-{last}".encode()).hexdigest())
        command = RecordServed(
            reader=Did(reader), purpose=Label("http"), filter_digest=digest, first=first, last=last, count=last - first + 1
        )
        expires = now + timedelta(seconds=ANSWER_SECONDS)
        signed = sign_command(command, f"audit/reads/{now.date()}", self._signer, self._network, expires=expires)
        heard = asyncio.get_running_loop().create_future()
        self._waiting[signed.id] = (signed, heard)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._sender.send([signed])
                refusal = await heard
        except TimeoutError:
            raise NotRecorded(f"no outcome of {signed.id} in {ANSWER_SECONDS:g} s") from None
        finally:
            del self._waiting[signed.id]
        if refusal == "NotEntitled":
            raise NotEntitled(f"{reader} has not the role audit.reader")
        if refusal is not None:
            raise NotRecorded(f"{signed.id} was refused: {refusal}")

    async def run(self) -> None:
        """Hear what becomes of what was asked, for ever; while the broker is away nothing is handed out."""
        while True:
            try:
                async with bare_consumer(self._client, fetch_max_wait_ms=WAIT_MS) as consumer:
                    await self._hear(consumer)
            except KafkaError as error:
                log.warning("the broker is not heard, so no entries are handed out: %s", error)
            finally:
                self._is_hearing = False
            await asyncio.sleep(PAUSE_SECONDS)

    async def _hear(self, consumer: AIOKafkaConsumer) -> None:
        places = [TopicPartition(topic, n) for topic in _TOPICS for n in range(self._partitions)]
        await tell_topics(consumer, set(_TOPICS))
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        self._is_hearing = True
        while True:
            for records in (await consumer.getmany(timeout_ms=WAIT_MS)).values():
                for record in records if self._waiting else ():
                    self._note(record)

    def _note(self, record: ConsumerRecord) -> None:
        if record.topic == "audit.events":
            name = recorded(record, self._signer.did, self._vouch)
            self._settle(name, None)
        elif (answer := answer_in(record, self._vouch)) is not None and answer.refusal is not None:
            asked = self._waiting.get(answer.command_id)
            if asked is not None and answer.is_to(asked[0]):
                self._settle(answer.command_id, str(answer.refusal["name"]))

    def _settle(self, command: str | None, refusal: str | None) -> None:
        if command in self._waiting and not (heard := self._waiting[command][1]).done():
            heard.set_result(refusal)


def recorded(record: ConsumerRecord, asker: str, vouch: Vouch) -> str | None:
    """The id of the asker's command of which this is the LogRead, if a writer signed it; an acceptance is not signed."""
    value = record.value or b""
    try:
        document = parse_strictly(value)
        command = document["causationid"]
        is_one = document["type"] == LogRead.wire.type and document["id"] == event_id(asker, command, 0)
    except (BadDocument, KeyError, TypeError):
        return None
    return command if is_one and vouch(document, value, record.headers) else None


class Tokens:
    """Who may say that he is whom: a line each of a token's SHA-256, a space, the reader's DID. Read whenever it is asked."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    async def __call__(self) -> Mapping[str, str]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, str]:
        # A file of a few lines: reading it costs less than finding out whether it has changed, and is never wrong.
        try:
            lines = self._path.read_text().splitlines() if self._path is not None else []
        except FileNotFoundError:
            return {}
        words = [line.split() for line in lines]
        return {digest: did for digest, did, *_ in (found for found in words if len(found) > 1) if len(digest) == _HEX}


def audit_http(deployment: Deployment, audit: AuditLog, policy: Policy, reads: Reads) -> Application:
    """The log's read API."""
    tokens = Tokens(deployment.settings.audit_readers)
    return audit_app(audit, policy=policy, may_read=bearer(tokens), on_entries=reads.record)
