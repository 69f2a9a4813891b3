"""A window of raw records through a function, in a twin world: one in which nothing that is live can be found."""

import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka.admin import AIOKafkaAdminClient

from adapters.replay.cuts import AtTime, BadPosition, parse_position
from adapters.replay.kafka import kafka_source
from adapters.replay.raw import RawRecord, RawTopic, raw_topic
from adapters.replay.resolving import resolve
from adapters.replay.window import Seen, offsets_of, records_by_sequence, records_in
from contracts import Digest, instant, uuid7
from contracts.operations import ReplayWindow, TopicName, Words, window_group
from ops.compose import DEFAULT_SET, READERS, Deployment
from ops.settings import PREFIX

Function = Callable[[RawRecord], Iterable[Any] | None]
"""What it returns is counted and digested, and goes nowhere."""


class GroupIsLive(ValueError):
    """The name is that of a group which reads, or has read: a window is nobody's consumer."""


class NoSuchFunction(ValueError):
    """There is no function of that name to import."""


@dataclass(frozen=True, slots=True)
class Windowed:
    """What went through, and what came out."""

    run: str
    topic: str
    start: str
    end: str
    function: str
    seen: Seen
    results: int
    results_digest: str

    def command(self) -> ReplayWindow:
        return ReplayWindow(
            topic=TopicName(self.topic), start=Words(self.start), end=Words(self.end), function=Words(self.function),
            group=window_group(self.run), records=self.seen.records, digest=Digest(self.seen.digest),
        )  # fmt: skip


async def replay_window(found: Deployment, topic: str, start: str, end: str, into: str, group: str | None = None) -> Windowed:
    """Read the window and call the function with each record, in the order of its partition.

    Raises GroupIsLive, NoSuchFunction, BadPosition, RangeMissing, and what the function raises.
    """
    client, run = found.settings.kafka_client_options(), uuid7()
    if group is not None:
        await refuse_live(found, group)
    seen, hashed, results = Seen(), hashlib.sha256(), 0
    async with raw_topic(client, topic) as opened:
        with twin_world():
            function = imported(into)
            async for record in _window(found, opened, start, end):
                seen.note(record)
                for result in function(record) or ():
                    results += 1
                    hashed.update(orjson.dumps(result, default=str, option=orjson.OPT_SORT_KEYS) + b"\n")
    return Windowed(run, topic, start, end, into, seen, results, hashed.hexdigest())


async def refuse_live(found: Deployment, group: str) -> None:
    """Raises GroupIsLive where the broker knows a group of that name, or the deployment runs a reader under it."""
    names = [stream.name for stream in found.streams] + [f"{READERS}.{name}" for name in (DEFAULT_SET, *found.settings.sets)]
    mine = {*names, *(f"{found.network}.{name}" for name in names)}
    admin = AIOKafkaAdminClient(**found.settings.kafka_client_options())
    await admin.start()
    try:
        known = {entry[0] for entry in await admin.list_consumer_groups()}
    finally:
        await admin.close()
    if group in known | mine | {"spaceos.worker"}:
        raise GroupIsLive(f"{group} is the name of a live group; a window is read under a name of its own")


@contextmanager
def twin_world() -> Iterator[None]:
    """An environment that names no broker, no database and no key: what a function composes there is empty and thrown away."""
    before = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    with tempfile.TemporaryDirectory(prefix="spaceos-twin-") as home:
        for name in before:
            del os.environ[name]
        os.environ[f"{PREFIX}HOME"] = home
        try:
            yield
        finally:
            del os.environ[f"{PREFIX}HOME"]
            os.environ.update(before)


def imported(name: str) -> Function:
    """The function `package.module:function`, also of the folder one is in. Raises NoSuchFunction."""
    module, colon, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function, None) if colon else None
    except ImportError as error:
        raise NoSuchFunction(f"{module} cannot be imported: {error}") from None
    if not callable(found):
        raise NoSuchFunction(f"{name!r} names no function; it is like package.module:function")
    return found  # type: ignore[no-any-return]


async def _window(found: Deployment, opened: RawTopic, start: str, end: str) -> AsyncIterator[RawRecord]:
    topics = [opened.topic]
    if not opened.topic.endswith(".events") or _is_of_offsets(start) or _is_of_offsets(end):
        async for record in records_in(
            opened, await offsets_of(opened, start, _milliseconds), await offsets_of(opened, end, _milliseconds)
        ):
            yield record
        return
    async with kafka_source(found.settings.kafka_client_options(), found.vouch) as source:
        first = await resolve(parse_position(start), source, topics)
        last = await resolve(parse_position(end), source, topics)
    async for record in records_by_sequence(opened, first, last, found.vouch):
        yield record


def _is_of_offsets(text: str) -> bool:
    return text == "held" or text.startswith("offset:") or ("=" in text and "/" not in text)


def _milliseconds(text: str) -> int | None:
    try:
        position = parse_position(text)
    except BadPosition:
        return None
    # The broker's clock has milliseconds.
    return int(instant(position.time).timestamp() * 1000) if isinstance(position, AtTime) else None
