"""State, difference and reasons: one function for each question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, MetaData, select

from adapters.replay.changes import Difference, Reason, difference, reasons
from adapters.replay.cuts import Cut
from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import Scratch, scratch_tables
from adapters.replay.streams import aggregate_at
from adapters.sql import reading
from adapters.views import Digest, ParkedStream, digest, positions_of
from ops.replay.opening import Reading, new_run, topics_of
from projections import Projection


@dataclass(frozen=True, slots=True)
class TableRows:
    """The first rows of a table by primary key, and how many there are."""

    name: str
    columns: list[str]
    rows: list[dict[str, Any]]
    total: int


@dataclass(frozen=True, slots=True)
class State:
    """A projection as of a cut."""

    cut: Cut
    events: int
    digest: Digest
    tables: list[TableRows]
    parked: list[ParkedStream]


async def state_at(opened: Reading, projection: Projection, at: str, limit: int, beside: Engine | None = None) -> State:
    """Fold to the position in tables that are thrown away. Raises BadPosition, RangeMissing, NotGenuine, ChainBroken."""
    cut = await opened.cut(at, topics_of(projection.contexts))
    with scratch_tables(projection, f"replay_{new_run()[1]}", beside) as scratch:
        fold = ScratchFold(scratch)
        await fold.fold(opened.source, cut, check=opened.check())
        return State(cut, fold.events, fold.digest(), rows_of(scratch, limit), fold.parked())


async def stream_at(opened: Reading, stream: str, at: str) -> tuple[Cut, dict[str, dict[str, Any]]]:
    """One stream's aggregate. Raises NoSuchStream besides."""
    cut = await opened.cut(at, topics_of([stream.partition("/")[0]]))
    partitions = opened.deployment.settings.partitions
    return cut, await aggregate_at(opened.source, stream, cut, partitions, opened.check())


async def difference_between(opened: Reading, projection: Projection, first: str, second: str) -> Difference:
    """What the projection shows at the second position and did not at the first. Raises as `state_at`."""
    topics = topics_of(projection.contexts)
    cuts = await opened.cut(first, topics), await opened.cut(second, topics)
    with scratch_tables(projection, f"replay_{new_run()[1]}") as scratch:
        return await difference(scratch, opened.source, *cuts, opened.check())


async def reasons_of(opened: Reading, projection: Projection, key: Sequence[str], at: str, table: str | None) -> list[Reason]:
    """The events that made the rows whose keys begin so. Raises as `state_at`."""
    cut = await opened.cut(at, topics_of(projection.contexts))
    with scratch_tables(projection, f"replay_{new_run()[1]}") as scratch:
        return await reasons(scratch, opened.source, cut, key, table, opened.check())


def live_digest(engine: Engine, projection: Projection) -> tuple[dict[str, int], Digest]:
    """The live view's digest and cut, in one snapshot."""
    with reading(engine) as connection:
        found = positions_of(connection, projection.name)
        return {shard: position.next for shard, position in sorted(found.items())}, digest(connection, projection)


def live_cut(engine: Engine, projection: Projection) -> dict[str, int]:
    """How far the live view is."""
    with reading(engine) as connection:
        return {shard: position.next for shard, position in sorted(positions_of(connection, projection.name).items())}


def rows_of(scratch: Scratch, limit: int) -> list[TableRows]:
    """What is in the scratch tables."""
    found = []
    with reading(scratch.engine) as connection:
        for table, name in scratch.names.items():
            copy = table.to_metadata(MetaData(), name=name)
            statement = select(copy).order_by(*copy.primary_key.columns).limit(limit)
            rows = [dict(row._mapping) for row in connection.execute(statement)]
            total = connection.exec_driver_sql(f'select count(*) from "{name}"').scalar_one()  # noqa: S608
            found.append(TableRows(table.name, [column.name for column in table.columns], rows, int(total)))
    return found
