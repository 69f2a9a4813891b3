"""The topics: their partitions and settings, made by one command and compared ever after."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerNotAvailableError,
    KafkaError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from adapters.kafka.settings import AlterSettings

log = logging.getLogger(__name__)

WEEK_MS = 7 * 24 * 3600 * 1000
WRITERS_BATCH_BYTES = 4 * 1024 * 1024
"""Of a produce batch of the worker, as the broker stores it."""
STRANGERS_BATCH_BYTES = 1024 * 1024 + 12
"""Of anybody else's, on the topics that are open to whoever is let in. The largest record with its key and headers takes 60,584
bytes as a batch, but the broker bounds the batch and not the record: honest producers fill one while they wait, ours up to 256
KiB, others up to a million bytes (librdkafka, Sarama, franz-go), and those that do not split lose what is refused. This is
Kafka's own default, which all of them are made for. What a batch inflates to is bounded where it is read, see decoding.py."""
MAKING_SECONDS = 60.0
REQUEST_MS = 20_000
PAUSE_SECONDS = 0.1
MAY_PASS = (BrokerNotAvailableError, NotControllerError, RequestTimedOutError)
"""Answers of a broker that has just started, or is slow: it may have begun all the same."""


class TopicWrong(RuntimeError):
    """A topic exists with settings under which the log could be lost. The message says which, and what it must be."""


class PartitionsChanged(RuntimeError):
    """A topic has another number of partitions than the deployment was made with: a stream would go on in another one."""

    def __init__(self, topic: str, found: int, wanted: int) -> None:
        super().__init__(
            f"{topic} has {found} partitions, the deployment was made with {wanted}: a stream lives in one partition, so "
            "nothing is decided or read before that is mended. Make the topic anew with as many, and publish it again"
        )


class Unavailable(RuntimeError):
    """The broker did not make the topics in time. Try again: what it made is kept."""


@dataclass(frozen=True)
class Topic:
    """A topic as it must be. Events and outcomes are kept for ever and never compacted: a key is a stream, not a state."""

    name: str
    partitions: int
    retention_ms: int = -1
    batch_bytes: int = WRITERS_BATCH_BYTES
    """The largest produce batch, as the broker stores it."""

    def settings(self, min_insync_replicas: int) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.batch_bytes),
            "min.insync.replicas": str(min_insync_replicas),
            "message.timestamp.type": "LogAppendTime",
            "unclean.leader.election.enable": "false",
        }


def topics_of(contexts: Iterable[str], raw: Iterable[str], partitions: int) -> list[Topic]:
    """Three topics a context, and those of signed facts that no rule decides on one by one."""
    found = []
    for context in contexts:
        found += [Topic(f"{context}.{kind}", partitions) for kind in ("events", "outcomes")]
        found.append(Topic(f"{context}.commands", partitions, WEEK_MS, STRANGERS_BATCH_BYTES))
    return found + [Topic(name, partitions, WEEK_MS, STRANGERS_BATCH_BYTES) for name in raw]


async def create_topics(
    topics: Iterable[Topic], client: Mapping[str, Any], *, replicas: int = 1, min_insync_replicas: int = 1
) -> list[str]:
    """Make those that are missing, with one request; the names that were made. Those that let in too large batches let in less.

    All are there, led and compared when it returns: a broker may time out, make a half, or, just started, not know yet what
    it has. Raises TopicWrong where one exists otherwise or is refused, Unavailable.
    """
    wanted = {topic.name: topic for topic in topics}
    fresh = {
        t.name: NewTopic(t.name, t.partitions, replicas, topic_configs=t.settings(min_insync_replicas)) for t in wanted.values()
    }
    made: set[str] = set()
    compared: set[str] = set()
    why: object = "the broker is not ready"
    deadline = time.monotonic() + MAKING_SECONDS
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        while time.monotonic() < deadline:
            try:
                seen = await _seen(admin)
                # Before anything is made beside what is wrong.
                await _compare(admin, [wanted[name] for name in sorted(wanted.keys() & seen.keys() - made - compared)])
                compared |= seen.keys()
                if all(seen.get(name) for name in wanted):
                    return sorted(made)
                missing = [topic for name, topic in fresh.items() if name not in seen]
                if missing and (await admin.describe_cluster())["controller_id"] >= 0:
                    why = await _make(admin, missing, made)
            except KafkaError as error:
                if not error.retriable:
                    raise
                why = error
            await asyncio.sleep(PAUSE_SECONDS)
        raise Unavailable(f"not all of {len(wanted)} topics were made in {MAKING_SECONDS:.0f} s: {why}")
    finally:
        await admin.close()


async def describe_topics(names: Iterable[str], client: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the topics that exist: partitions and the settings that matter."""
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        existing = [name for name in names if name in there]
        found = await admin.describe_topics(existing) if existing else []
        settings = await _settings(admin, existing)
        return {t["topic"]: {"partitions": len(t["partitions"]), **settings[t["topic"]]} for t in found}
    finally:
        await admin.close()


async def _compare(admin: AIOKafkaAdminClient, topics: list[Topic]) -> None:
    if not topics:
        return
    found = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics([t.name for t in topics])}
    settings = await _settings(admin, [t.name for t in topics])
    for topic in topics:
        if found[topic.name] != topic.partitions:
            raise TopicWrong(
                f"{topic.name} has {found[topic.name]} partitions, the settings say {topic.partitions}; "
                "a stream lives in one partition, so changing their number is a migration"
            )
        if "compact" in settings[topic.name]["cleanup.policy"]:
            raise TopicWrong(f"{topic.name} is compacted, which loses facts; set cleanup.policy=delete")
        if topic.retention_ms == -1 and settings[topic.name]["retention.ms"] != "-1":
            raise TopicWrong(f"{topic.name} has retention.ms={settings[topic.name]['retention.ms']}; it must be -1")
    # What an operator bounded closer stays so.
    loose = [topic for topic in topics if int(settings[topic.name]["max.message.bytes"]) > topic.batch_bytes]
    if loose:
        await _bound(admin, loose)


async def _bound(admin: AIOKafkaAdminClient, topics: list[Topic]) -> None:
    """Have the broker take batches of their size at most from now on; larger ones that are there can be read."""
    wanted = {topic.name: {"max.message.bytes": str(topic.batch_bytes)} for topic in topics}
    answer: Any = await admin._send_request(AlterSettings(wanted))
    for code, said, _, name in answer.resources:
        error = for_code(code)
        if error is TopicAuthorizationFailedError:
            # It guards against strangers. What worked without goes on, and whoever may alter topics can set it.
            log.warning("%s may not be altered by this user: set max.message.bytes=%s", name, wanted[name]["max.message.bytes"])
        elif issubclass(error, MAY_PASS):
            raise error(said)
        elif code:
            raise TopicWrong(f"{name}: {said or error.__name__}; max.message.bytes could not be set")


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    wanted = dict.fromkeys(("cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas"), "")
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in names]
    found: dict[str, dict[str, str]] = {}
    answers: list[Any] = await admin.describe_configs(resources) if resources else []
    for answer in answers:
        for resource in answer.resources:
            name, entries = resource[3], resource[4]
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _seen(admin: AIOKafkaAdminClient) -> dict[str, bool]:
    """The topics that the broker tells of, and whether each partition can be written to."""
    found = await admin.describe_topics()
    return {t["topic"]: all(p["leader"] >= 0 for p in t["partitions"]) for t in found if t["partitions"]}


async def _make(admin: AIOKafkaAdminClient, missing: list[NewTopic], made: set[str]) -> str:
    """Ask for them; what keeps some from being there. Raises TopicWrong for one that will never be made."""
    answer: Any = await admin.create_topics(missing, timeout_ms=REQUEST_MS)
    why = "their partitions have no leader yet"
    for name, code, *said in answer.topic_errors:
        error = for_code(code)
        message = f"{name}: {said[0] if said and said[0] else error.__name__}"
        if code == 0:
            made.add(name)
        elif issubclass(error, MAY_PASS):
            why = message
        elif error is not TopicAlreadyExistsError:
            raise TopicWrong(f"{message}; it could not be made")
    return why
