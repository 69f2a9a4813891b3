"""The version before is kept as long as one wants to be able to go back, and going back loses nothing."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, inspect, select, text

from adapters.sql import reading
from adapters.views import Projector, parked_streams, positions_of
from adapters.views.back import KeptIsOlder, NothingKept, go_back, retire
from adapters.views.beside import Changed
from adapters.views.exclusive import Exclusive, ViewTaken
from adapters.views.folding import MakeParts
from tests.adapters.logs import Log, Process, eventually, folded_digest, open_views, view_digest
from tests.adapters.shards import broken, tallies, tally_projection
from tests.adapters.tally_reader import parts, rebuild
from tests.adapters.test_rebuild import log_has_begun, project, tables, tamper, url_of

LIVE = {"tallies", "entries"}
BOTH = LIVE | {"tallies__old", "entries__old"}


@pytest.fixture
def log(kafka: str) -> Log:
    return Log(kafka, f"b{uuid4().hex[:12]}")


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    broken.clear()


def made(log: Log, views: Engine) -> MakeParts:
    return partial(parts, log.kafka, url_of(views), log.context)


def swap(log: Log, views: Engine, *, meaning_changed: bool = False) -> None:
    asyncio.run(rebuild(log.kafka, url_of(views), log.context, keep=True, meaning_changed=meaning_changed).swap())


def positions(views: Engine, reader: str = "tally") -> dict[str, int]:
    with reading(views) as connection:
        return {shard: position.next for shard, position in positions_of(connection, reader).items()}


def test_going_back_brings_what_has_come_since(log: Log, views: Engine, tmp_path: Path) -> None:
    """As if the old version had been fed all the time."""
    log.publish(log.fill(400))
    project(log, views)
    swap(log, views)
    assert tables(views) == BOTH
    log.publish(log.fill(300))
    project(log, views)

    found = asyncio.run(go_back(made(log, views)))

    assert (found.events, found.swapped, found.equal) == (300, True, True)
    assert view_digest(views) == folded_digest(log.shards, tmp_path)
    assert positions(views) == positions(views, "tally__old") == {shard.name: 350 for shard in log.shards}
    assert tables(views) == BOTH


def test_going_back_behind_a_change_of_meaning_brings_the_old_rows(log: Log, views: Engine) -> None:
    """And going back once more brings the new ones again."""
    log.publish(log.fill(200))
    project(log, views)
    tamper(views)
    old = view_digest(views)
    swap(log, views, meaning_changed=True)
    new = view_digest(views)

    back = asyncio.run(go_back(made(log, views)))
    assert (view_digest(views), back.live.sha256, back.rebuilt.sha256) == (old, new, old)

    asyncio.run(go_back(made(log, views)))
    assert view_digest(views) == new != old


def test_the_live_reader_goes_on_while_versions_change_places(log: Log, views: Engine, tmp_path: Path) -> None:
    log.publish(log.fill(1000))
    publishing = threading.Thread(target=log.publish, args=(log.fill(4000), 0.05))
    with Process(log, url_of(views), tmp_path):
        eventually(lambda: bool(view_digest(views)) and log_has_begun(log, views))
        publishing.start()
        swap(log, views)
        for _ in range(2):
            asyncio.run(go_back(made(log, views)))
        swap(log, views)
        publishing.join()

        eventually(lambda: log.is_applied(views))
        assert view_digest(views) == folded_digest(log.shards, tmp_path)
    assert tables(views) == BOTH


def test_a_version_from_before_a_migration_does_not_come_back(log: Log, views: Engine) -> None:
    """The code of today writes a column that its tables lack: every stream would be parked."""
    log.publish(log.fill(60))
    project(log, views)
    swap(log, views)
    with views.begin() as connection:
        connection.execute(text("alter table tallies add column note varchar(60)"))
    live = view_digest(views)

    with pytest.raises(KeptIsOlder, match="note"):
        asyncio.run(go_back(made(log, views)))
    with pytest.raises(Changed, match="note"):
        swap(log, views)

    assert view_digest(views) == live
    with views.begin() as connection:
        connection.execute(text("alter table tallies drop column note"))
    assert asyncio.run(go_back(made(log, views))).swapped


def test_while_one_changes_the_versions_no_other_does(log: Log, views: Engine) -> None:
    """Two rebuilds of one view dropped each other's tables."""
    log.publish(log.fill(60))
    project(log, views)
    swap(log, views)

    with Exclusive(views, "tally", "a rebuild"):
        for change in (
            lambda: asyncio.run(rebuild(log.kafka, url_of(views), log.context).verify()),
            lambda: swap(log, views),
            lambda: asyncio.run(go_back(made(log, views))),
            lambda: retire(made(log, views)),
        ):
            with pytest.raises(ViewTaken, match="a rebuild of tally, pid"):
                change()

    assert tables(views) == BOTH
    assert asyncio.run(go_back(made(log, views))).swapped


def test_every_swap_finds_free_names_for_its_indexes(log: Log, views: Engine) -> None:
    log.publish(log.fill(60))
    project(log, views)

    for _ in range(4):
        swap(log, views)
        asyncio.run(go_back(made(log, views)))

    for table in ("tallies", "tallies__old"):
        assert len(inspect(views).get_indexes(table)) == 1


def test_what_is_parked_goes_with_its_version(log: Log, views: Engine) -> None:
    for shard in log.shards:
        for n in range(20):
            shard.append(f"p{shard.partition}-{n % 4}", "poison" if n == 13 else "retired")
    log.publish((shard.partition, value) for shard in log.shards for value in shard.values)
    broken.add("poison")
    project(log, views)
    swap(log, views)
    with reading(views) as connection:
        streams = {s.stream for s in parked_streams(connection, "tally")}
        assert {s.stream for s in parked_streams(connection, "tally__old")} == streams
    broken.clear()
    Projector(views, tally_projection(log.context)).redrive(min(streams))

    asyncio.run(go_back(made(log, views)))

    with reading(views) as connection:
        assert {s.stream for s in parked_streams(connection, "tally")} == streams
        assert {s.stream for s in parked_streams(connection, "tally__old")} == streams - {min(streams)}


def test_a_version_that_was_retired_does_not_come_back(log: Log, views: Engine) -> None:
    log.publish(log.fill(60))
    project(log, views)
    with pytest.raises(NothingKept):
        asyncio.run(go_back(made(log, views)))
    swap(log, views)

    retire(made(log, views))

    assert tables(views) == LIVE
    assert positions(views, "tally__old") == {}
    for work in (lambda: asyncio.run(go_back(made(log, views))), lambda: retire(made(log, views))):
        with pytest.raises(NothingKept):
            work()


def test_a_swap_that_keeps_nothing_leaves_nothing(log: Log, views: Engine) -> None:
    log.publish(log.fill(60))
    project(log, views)
    swap(log, views)

    asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap())

    assert tables(views) == LIVE
    assert positions(views, "tally__old") == {}


def test_comparing_only_leaves_the_kept_version(log: Log, views: Engine) -> None:
    log.publish(log.fill(60))
    project(log, views)
    swap(log, views)

    assert asyncio.run(rebuild(log.kafka, url_of(views), log.context).verify()).equal

    assert tables(views) == BOTH
    with views.connect() as connection:
        assert connection.execute(select(tallies.c.stream)).all()
