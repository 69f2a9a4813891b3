"""The topics: their partitions and settings, made by one command and compared ever after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError

WEEK_MS = 7 * 24 * 3600 * 1000


class TopicWrong(RuntimeError):
    """A topic exists with settings under which the log could be lost. The message says which, and what it must be."""


@dataclass(frozen=True)
class Topic:
    """A topic as it must be. Events and outcomes are kept for ever and never compacted: a key is a stream, not a state."""

    name: str
    partitions: int
    retention_ms: int = -1

    def settings(self, min_insync_replicas: int) -> dict[str, str]:
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(4 * 1024 * 1024),
            "min.insync.replicas": str(min_insync_replicas),
            "message.timestamp.type": "LogAppendTime",
            "unclean.leader.election.enable": "false",
        }


def topics_of(contexts: Iterable[str], raw: Iterable[str], partitions: int) -> list[Topic]:
    """Three topics a context, and those of signed facts that no rule decides on one by one."""
    found = []
    for context in contexts:
        found += [Topic(f"{context}.{kind}", partitions) for kind in ("events", "outcomes")]
        found.append(Topic(f"{context}.commands", partitions, WEEK_MS))
    return found + [Topic(name, partitions, WEEK_MS) for name in raw]


async def create_topics(
    topics: Iterable[Topic], client: Mapping[str, Any], *, replicas: int = 1, min_insync_replicas: int = 1
) -> list[str]:
    """Make those that are missing; the names that were made. Raises TopicWrong where one exists otherwise."""
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        wanted = {topic.name: topic for topic in topics}
        existing = set(await admin.list_topics())
        await _compare(admin, [wanted[name] for name in wanted.keys() & existing])
        fresh = [
            NewTopic(t.name, t.partitions, replicas, topic_configs=t.settings(min_insync_replicas))
            for t in wanted.values()
            if t.name not in existing
        ]
        if fresh:
            answer = await admin.create_topics(fresh)
            _refuse_errors(answer)
        return sorted(topic.name for topic in fresh)
    finally:
        await admin.close()


async def describe_topics(names: Iterable[str], client: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the topics that exist: partitions and the settings that matter."""
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        existing = [name for name in names if name in set(await admin.list_topics())]
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


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    answers: list[Any] = await admin.describe_configs(resources) if resources else []
    for answer in answers:
        for resource in answer.resources:
            name, entries = resource[3], resource[4]
            wanted = ("cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas")
            found[name] = {entry[0]: entry[1] for entry in entries if entry[0] in wanted}
    return found


def _refuse_errors(answer: Any) -> None:
    for error in answer.topic_errors:
        name, code = error[0], error[1]
        message = error[2] if len(error) > 2 else ""
        if code not in (0, TopicAlreadyExistsError.errno):
            raise TopicWrong(f"{name} could not be made: {message or f'error {code}'}")
