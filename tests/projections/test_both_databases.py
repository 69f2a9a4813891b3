"""One log, one digest: on SQLite and PostgreSQL, at the limits of every field, whatever the chunks."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine, delete

from adapters.sql import engine_for, reading
from adapters.sql.schema import upgrade
from adapters.views import Projector, digest, parked_streams
from adapters.views.tables import parked, positions
from contracts import Event, languages, shard_name
from projections import Projection
from tests.adapters.shards import Delivery
from tests.conftest import fresh_postgres
from tests.house.test_shape import projections
from tests.projections.largest import event_of, subjects
from tests.projections.records import chain

EVENTS = [kind for kind in languages() if issubclass(kind, Event)]


@pytest.fixture(scope="module")
def databases(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    with fresh_postgres(postgres_server) as url:
        engines = [engine_for(url), engine_for(f"sqlite:///{tmp_path_factory.mktemp('both')}/views.db")]
        for engine in engines:
            upgrade(engine, "views")
        yield engines
        for engine in engines:
            engine.dispose()


@st.composite
def logs(draw: st.DrawFn, contexts: tuple[str, ...]) -> dict[str, list[bytes]]:
    """Of each context a shard: events of any type, in a few streams, so that they meet each other's rows."""

    def pick(_: str, found: Any) -> Any:
        return draw(st.sampled_from(found))

    names = {context: [*subjects(context, pick), *subjects(context, pick)] for context in contexts}
    histories: dict[str, list[tuple[str, Event]]] = {context: [] for context in contexts}
    for kind in draw(
        st.lists(st.sampled_from([kind for kind in EVENTS if kind.wire.context in contexts]), min_size=1, max_size=8)
    ):
        try:
            event = event_of(kind, pick)
        except ValidationError:
            continue
        histories[kind.wire.context].append((draw(st.sampled_from(names[kind.wire.context])), event))
    return {shard_name(f"{c}.events", 0): chain(shard_name(f"{c}.events", 0), history) for c, history in histories.items()}


def folded(engine: Engine, projection: Projection, log: dict[str, list[bytes]], size: int, *, restarted: bool) -> Any:
    """The digest, and what is parked."""
    with engine.begin() as connection:
        for table in (*projection.tables, positions, parked):
            connection.execute(delete(table))
    projector = Projector(engine, projection)
    projector.claim(list(log))
    for start in range(0, max(map(len, log.values())), size):
        chunk = {shard: list(enumerate(values))[start : start + size] for shard, values in log.items()}
        projector.apply({shard: [Delivery(n, value) for n, value in found] for shard, found in chunk.items() if found})
        if restarted:
            projector = Projector(engine, projection)
            projector.claim(list(log))
    with reading(engine) as connection:
        waiting = sorted((p.shard, p.stream, p.sequence, p.waiting) for p in parked_streams(connection))
        return digest(connection, projection), waiting


@pytest.mark.parametrize("projection", projections, ids=lambda projection: projection.name)
@hypothesis_given(data=st.data(), sizes=st.tuples(st.integers(1, 8), st.integers(1, 8)))
@settings(max_examples=15)
def test_both_databases_show_and_park_the_same(
    databases: list[Engine], projection: Projection, data: st.DataObject, sizes: tuple[int, int]
) -> None:
    """Lengths, integers, times with and without fractions, any text: whoever compares two views must find them equal."""
    log = data.draw(logs(projection.contexts))

    one, other = (
        folded(engine, projection, log, size, restarted=restarted)
        for engine, size, restarted in zip(databases, sizes, (True, False), strict=True)
    )

    assert one == other
