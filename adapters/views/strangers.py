"""What was passed over on events topics, because nobody entitled had signed it: counted, said, and shown to operators."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from sqlalchemy import Connection, case, select
from sqlalchemy.dialects import postgresql, sqlite

from adapters.seldom import Seldom
from adapters.telemetry import passed_over
from adapters.views.tables import strangers
from contracts import rfc3339

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Met:
    records: int = 0
    offset: int = -1
    said: str = ""


class Strangers:
    """Those that one process has met. What it reads again it does not count again."""

    def __init__(self, name: str) -> None:
        """`name` is that of the reader, for the log and the metrics."""
        self._name = name
        self._lock, self._seldom = Lock(), Seldom()
        self._highest: dict[str, int] = {}
        self._met: dict[str, _Met] = {}

    def meet(self, shard: str, found: Mapping[int, str]) -> None:
        """`found` says of each offset what is there."""
        with self._lock:
            highest = self._highest.get(shard, -1)
            fresh = {offset: what for offset, what in found.items() if offset > highest}
            if not fresh:
                return
            last = max(fresh)
            self._highest[shard] = last
            met = self._met.setdefault(shard, _Met())
            met.records, met.offset, met.said = met.records + len(fresh), last, fresh[last]
        passed_over(self._name, shard, len(fresh))
        if records := self._seldom.count(shard, len(fresh)):
            log.warning(
                "%s passes over %d records of %s, the last at offset %d: %s", self._name, records, shard, last, fresh[last]
            )

    def write(self, connection: Connection) -> None:
        """What was met since; it is forgotten when `written` says that it is durable."""
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        with self._lock:
            now = rfc3339(datetime.now(UTC))
            rows = [
                {"shard": shard, "records": met.records, "offset": met.offset, "said": met.said[:200], "seen": now}
                for shard, met in self._met.items()
            ]
        if not rows:
            return
        insert = dialect.insert(strangers)
        new, known = insert.excluded, strangers.c
        # A process that was started again has met the last ones before.
        more = case((new.offset > known.offset, new.records), else_=0)
        values = {"records": known.records + more, "offset": new.offset, "said": new.said, "seen": new.seen}
        connection.execute(insert.on_conflict_do_update(index_elements=["shard"], set_=values), rows)

    def written(self) -> None:
        with self._lock:
            self._met.clear()


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What a shard's topic holds of strangers: how many records, the last one's offset, what it is, and when it was seen."""

    shard: str
    records: int
    offset: int
    said: str
    seen: str


def passed_over_in(connection: Connection) -> list[PassedOver]:
    """By shard; none where there is nothing."""
    rows = connection.execute(select(strangers).order_by(strangers.c.shard))
    return [PassedOver(row.shard, row.records, row.offset, row.said, row.seen) for row in rows]
