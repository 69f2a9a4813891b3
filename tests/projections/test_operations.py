"""What operators did, as rows: rebuilt at any batch size the same, and every event twice changes nothing."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from contracts import Event, Label
from contracts.operations import (
    DeclareProfile,
    ExportRecords,
    ProfileDeclared,
    RebuildAbandoned,
    RecordsExported,
    StreamDrained,
    StreamRedriven,
    VersionRetired,
    WhatIfRun,
    parked_stream,
    run_stream,
    view_stream,
)
from projections.operations import exports, live_version, operations, parked, runs, settings_in_force, versions_of
from tests.databases import upgrade
from tests.domain.given import did
from tests.domain.given import digest as hashed
from tests.domain.test_operations import DEVICE, PARKED, RUN, cut, started, swapped, what_if
from tests.projections.records import chain

ALICE = did("alice")
VIEW = view_stream("uptime")
EXPORT = ExportRecords(filter_digest=hashed("f"), cut=cut(9), files=3, log_size=12)
DECLARE = DeclareProfile(profile="private", settings_digest=hashed("s"), code_digest=hashed("c"))
HISTORY: Sequence[tuple[str, Event]] = [
    (VIEW, started()), (VIEW, swapped()), (VIEW, started(2)), (VIEW, RebuildAbandoned(version=2, cause=Label("killed"))),
    (VIEW, started(2)), (VIEW, swapped(2, replaces=1)), (VIEW, started(3)), (VIEW, swapped(3, replaces=2)),
    (VIEW, VersionRetired(version=1)), (VIEW, started(4)),
    (parked_stream("uptime", DEVICE), PARKED),
    (parked_stream("uptime", DEVICE), StreamRedriven(sequence=9, code_digest=hashed("code"))),
    (run_stream(RUN), WhatIfRun(run_by=ALICE, **dict(what_if()))),
    (run_stream(RUN), RecordsExported(run_by=ALICE, **dict(EXPORT))),
    ("operations/settings/dev", ProfileDeclared(**dict(DECLARE))),
]  # fmt: skip


class Shard:
    """The history as a source."""

    def __init__(self, history: Sequence[tuple[str, Event]]) -> None:
        self.values = chain("operations.events/0", history)

    async def read(self, shard: str, start: int, end: int) -> Any:
        for n, value in enumerate(self.values[start:end], start):
            yield [Published(n, n, value, "")]


def test_every_version_run_and_export_is_shown(tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    projector = Projector(engine, operations())
    projector.claim(["operations.events/0"])
    projector.apply({"operations.events/0": [Published(n, n, v, "") for n, v in enumerate(Shard(HISTORY).values)]})

    with reading(engine) as connection:
        assert [(v.version, v.state) for v in versions_of("uptime", connection)] == [
            (4, "folding"), (3, "live"), (2, "kept"), (1, "retired"),
        ]  # fmt: skip
        assert live_version("uptime", connection) == 3
        assert live_version("routing_table", connection) == 0
        assert connection.execute(select(parked.c.reader, parked.c.state)).all() == [("uptime", "redriven")]
        assert connection.execute(select(runs.c.kind, runs.c.run_by)).all() == [("redecide routes", ALICE)]
        assert connection.execute(select(exports.c.files, exports.c.cut)).all() == [(3, '{"liveness.events/0":9}')]
        assert connection.execute(select(settings_in_force.c.profile)).scalar() == "private"
    engine.dispose()


@pytest.mark.parametrize("size", [1, 4, 100])
def test_every_batch_size_gives_one_digest(tmp_path: Path, size: int) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    upgrade(engine, "views")
    projector, values = Projector(engine, operations()), Shard(HISTORY).values
    projector.claim(["operations.events/0"])
    for start in range(0, len(values), size):
        piece = [Published(start + n, start + n, v, "") for n, v in enumerate(values[start : start + size])]
        projector.apply({"operations.events/0": piece})
        projector.apply({"operations.events/0": piece})

    with scratch_tables(operations(), "replay_test") as scratch, reading(engine) as connection:
        fold = ScratchFold(scratch, batch_records=1)
        asyncio.run(fold.fold(Shard(HISTORY), {"operations.events/0": len(values)}))  # type: ignore[arg-type]
        assert fold.digest() == digest(connection, operations())
    engine.dispose()


def test_a_stream_that_has_drained_waits_no_more(tmp_path: Path) -> None:
    history = [*HISTORY, (parked_stream("uptime", DEVICE), StreamDrained(sequence=9))]

    with scratch_tables(operations(), "replay_test") as scratch:
        asyncio.run(ScratchFold(scratch).fold(Shard(history), {"operations.events/0": len(history)}))  # type: ignore[arg-type]
        with reading(scratch.engine) as connection:
            name = scratch.names[parked]
            assert connection.exec_driver_sql(f'select state from "{name}"').scalar() == "drained"
