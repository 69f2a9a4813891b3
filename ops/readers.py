"""How far behind readers are: their positions beside the store's counters."""

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from sqlalchemy import Engine, select

from adapters.sql import engine_for, reading, tables
from adapters.views.states import UNREAD, ReaderState, reader_states_in
from contracts import instant
from ops.compose import Deployment, open_engine

__all__ = ["UNREAD", "Lagging", "lagging_readers"]


@dataclass(frozen=True, slots=True)
class Lagging:
    """A reader in a shard: events that it has not applied, and the age of the oldest of them in seconds.

    None where the position is no sequence of events: a collector's.
    """

    reader: ReaderState
    behind: int | None
    seconds: float | None


def lagging_readers(deployment: Deployment) -> list[Lagging]:
    """Every reader that is wired in every shard, by name. What is committed counts, whether it is published yet or not."""
    store = engine_for(deployment.settings.store)
    with reading(open_engine(deployment.settings.views, "views")) as connection:
        readers = reader_states_in(connection)
    with reading(store) as connection:
        rows = connection.execute(
            select(tables.shards.c.context, tables.shards.c.partition, tables.shards.c.next_sequence)
        ).all()
    ends = {f"{row.context}.events/{row.partition}": row.next_sequence for row in rows}
    wired = {stream.name for stream in deployment.streams}
    return [_lagging(store, reader, ends) for reader in readers if reader.reader in wired]


def _lagging(store: Engine, reader: ReaderState, ends: dict[str, int]) -> Lagging:
    if ".events/" not in reader.shard:
        return Lagging(reader, None, None)
    behind = max(0, ends.get(reader.shard, 0) - reader.next)
    return Lagging(reader, behind, _age(store, reader.shard, reader.next) if behind else 0.0)


def _age(store: Engine, shard: str, sequence: int) -> float | None:
    topic, _, partition = shard.rpartition("/")
    where = (tables.shards.c.context == topic.removesuffix(".events")) & (tables.shards.c.partition == int(partition))
    mine = select(tables.shards.c.id).where(where).scalar_subquery()
    events = tables.events
    with reading(store) as connection:
        value = connection.scalar(select(events.c.value).where(events.c.shard == mine, events.c.sequence == sequence))
    if value is None:
        return None
    return round(max(0.0, (datetime.now(UTC) - instant(orjson.loads(value)["time"])).total_seconds()), 3)
