"""From a deployment and what was asked to a source, a cut and a check."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine

from adapters.replay.cuts import AtCheckpoint, BadPosition, Cut, parse_position
from adapters.replay.folding import Check, unchecked
from adapters.replay.kafka import kafka_source
from adapters.replay.logged import LogSource
from adapters.replay.resolving import resolve
from adapters.replay.sources import Source
from adapters.replay.verifying import both, covered_by, signed_by
from adapters.sql import engine_for
from adapters.tlog.notes import NoteKey
from contracts import uuid7
from ops.auditor import log_key
from ops.compose import Deployment


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to read, and how closely to look."""

    source: Literal["kafka", "log"] = "kafka"
    log: str | None = None
    """The URL of the audit log's database, where the settings do not say it."""
    verify: bool = False
    log_key: str | None = None
    """The verifier key of the audit log, `<name>+<id>+<base64>`, if not that of the genesis: for --verify at a checkpoint."""


@dataclass(slots=True)
class Reading:
    """An open source, and the audit log beside it where there is one."""

    deployment: Deployment
    asked: Asked
    source: Source
    log: LogSource | None
    _checkpoints: set[int] = field(default_factory=set)

    async def cut(self, text: str, topics: Collection[str]) -> Cut:
        """What the text means over these topics. Raises BadPosition, RangeMissing."""
        position = parse_position(text)
        if isinstance(position, AtCheckpoint):
            self._checkpoints.add(position.size)
        return await resolve(position, self.source, topics, self.log)

    def check(self) -> Check:
        """With --verify every signature, and at a checkpoint its root and that it covers each record. Raises NotGenuine."""
        if not self.asked.verify:
            return unchecked
        found = self.deployment
        signed = signed_by(found.vouch)
        if not self._checkpoints:
            return signed
        assert self.log is not None
        key = NoteKey.parse(self.asked.log_key) if self.asked.log_key else log_key(found)
        return both(signed, *(covered_by(self.log, size, key) for size in sorted(self._checkpoints)))


@asynccontextmanager
async def reading_from(found: Deployment, asked: Asked) -> AsyncIterator[Reading]:
    """Open what was asked for. Raises BadPosition where no audit log is known and one is needed."""
    engine = _engine_of(asked.log or found.settings.audit)
    log = LogSource(engine) if engine is not None else None
    try:
        if asked.source == "log":
            if log is None:
                raise BadPosition("there is no audit log where the settings say: --log URL tells where its database is")
            yield Reading(found, asked, log, log)
            return
        async with kafka_source(found.settings.kafka_client_options(), found.vouch) as source:
            yield Reading(found, asked, source, log)
    finally:
        if engine is not None:
            engine.dispose()


def _engine_of(url: str) -> Engine | None:
    # Opening a SQLite file that is not there would make one.
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return None
    return engine_for(url)


def topics_of(contexts: Collection[str]) -> list[str]:
    return [f"{context}.events" for context in contexts]


def new_run() -> tuple[str, str]:
    """A run's id, a UUIDv7, and the twelve hexadecimal digits of it by which its tables are named."""
    run = uuid7()
    return run, run.replace("-", "")[-12:]
