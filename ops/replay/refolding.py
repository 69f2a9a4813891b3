"""Refold: the same events through a projection with other parameters, in tables that are thrown away."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import MetaData, select

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import Scratch, scratch_tables
from adapters.replay.watching import Cause, Touch
from adapters.sql import reading
from contracts import Event, Record
from ops.replay.evidence import Evidence
from ops.replay.verdict import Decision, Verdict, compared, exact
from projections import Projection, Row, Session

Variant = Callable[[Event, Record], Event]
"""What the projection is told instead of the event."""

Where = tuple[str, tuple[Any, ...]]
"""A table's name and a primary key."""


@dataclass(frozen=True)
class _World:
    rows: Mapping[Where, Row]
    causes: Mapping[Where, Cause]
    """Of the rows that were touched in the window: the last event that did."""

    def decisions(self, touched: Collection[Where], causes: Mapping[Where, Cause]) -> Iterator[Decision]:
        for where in touched:
            if (row := self.rows.get(where)) is not None:
                yield _decision(where, row, causes[where])


async def refold(evidence: Evidence, projection: Projection, variant: Variant) -> Verdict:
    """Rows as they are at the end of the window, and as they would be if the variant had been told in it.

    Numbers of a row are the effects on the account that the row's first key part names.
    """
    recorded = await _fold(evidence, projection, "a")
    tried = await _fold(evidence, replace(projection, project=_varied(projection, variant, evidence)), "b")
    causes = {**tried.causes, **recorded.causes}
    return compared(recorded.decisions(causes.keys(), causes), tried.decisions(causes.keys(), causes))


def _varied(projection: Projection, variant: Variant, evidence: Evidence) -> Any:
    def project(event: Event, record: Record, session: Session) -> None:
        projection.fold(variant(event, record) if evidence.is_in_question(record) else event, record, session)

    return project


async def _fold(evidence: Evidence, projection: Projection, world: str) -> _World:
    causes: dict[Where, Cause] = {}

    def saw(record: Record, touches: Sequence[Touch]) -> None:
        if evidence.is_in_question(record):
            causes.update({(touch.table.name, touch.key): Cause.of(record) for touch in touches})

    with scratch_tables(projection, f"{evidence.name}_{world}") as scratch:
        fold = ScratchFold(scratch, watch=True)
        cut = {shard: evidence.end[shard] for shard in evidence.shards(projection.contexts)}
        await fold.fold(evidence.source, cut, check=evidence.check, saw=saw)
        for shard, head in fold.folded(cut).heads.items():
            evidence.saw(shard, head)
        return _World(dict(_rows(scratch)), causes)


def _rows(scratch: Scratch) -> Iterator[tuple[Where, Row]]:
    with reading(scratch.engine) as connection:
        for table, name in scratch.names.items():
            copy, keys = table.to_metadata(MetaData(), name=name), [column.name for column in table.primary_key.columns]
            for row in connection.execute(select(copy)).mappings():
                yield (table.name, tuple(row[part] for part in keys)), dict(row)


def _decision(where: Where, row: Row, cause: Cause) -> Decision:
    table, key = where
    numbers = {str(name): int(value) for name, value in row.items() if isinstance(value, int) and value not in key}
    said = orjson.dumps(
        {str(name): exact(value) for name, value in row.items()}, default=str, option=orjson.OPT_SORT_KEYS
    ).decode()
    return Decision(f"{table} {' '.join(map(str, key))}", said, cause, effects={str(key[0]): numbers})
