"""A view is the fold of its log: folded again beside it, it is the same, or it is not put in its place."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, inspect, select, text, update

from adapters.kafka.locate import Lost
from adapters.sql import reading
from adapters.views import ChainBroken, Projector, parked_streams, positions_of
from adapters.views.folding import LogShort
from adapters.views.rebuild import DigestsDiffer
from tests.adapters.logs import Log, Process, eventually, folded_digest, open_views, view_digest
from tests.adapters.shards import broken, tallies, tally_projection
from tests.adapters.tally_reader import rebuild


@pytest.fixture
def log(kafka: str) -> Log:
    return Log(kafka, f"r{uuid4().hex[:12]}")


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    broken.clear()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def project(log: Log, views: Engine) -> None:
    """The live view, by hand."""
    projector = Projector(views, tally_projection(log.context))
    projector.claim([shard.name for shard in log.shards])
    for shard in log.shards:
        projector.apply({shard.name: shard.deliveries(projector.position(shard.name).next)})


def tables(engine: Engine) -> set[str]:
    return {name for name in inspect(engine).get_table_names() if name.startswith(("tallies", "entries"))}


def tamper(views: Engine) -> None:
    with views.begin() as connection:
        stream = connection.scalars(select(tallies.c.stream).order_by(tallies.c.stream)).first()
        connection.execute(update(tallies).where(tallies.c.stream == stream).values(events=tallies.c.events + 1))


def test_a_rebuilt_view_equals_the_live_one_at_any_batch_size(log: Log, views: Engine) -> None:
    log.publish(log.fill(900))
    project(log, views)
    told: list[tuple[int, int]] = []

    for size in (1, 97, 5000):
        again = rebuild(log.kafka, url_of(views), log.context, batch_records=size, progress=lambda *done: told.append(done))
        found = asyncio.run(again.verify())
        assert found.equal
        assert (found.events, found.swapped, found.live.sha256) == (900, False, view_digest(views))

    assert told[-1] == (900, 900)
    assert tables(views) == {"tallies", "entries"}


def test_a_rebuild_in_several_processes_is_the_same(log: Log, views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    log.publish(log.fill(900))
    project(log, views)
    monkeypatch.setattr("adapters.views.rebuild.STARTING_EVENTS", 0)

    assert asyncio.run(rebuild(log.kafka, url_of(views), log.context, processes=2).verify()).equal


def test_a_rebuild_is_swapped_in_while_events_keep_coming(log: Log, views: Engine, tmp_path: Path) -> None:
    """The live reader goes on in the new tables, with the same position, and a second rebuild works like the first."""
    log.publish(log.fill(2000))
    publishing = threading.Thread(target=log.publish, args=(log.fill(6000), 0.05))
    with Process(log, url_of(views), tmp_path):
        eventually(lambda: bool(view_digest(views)) and log_has_begun(log, views))
        publishing.start()
        for _ in range(2):
            found = asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap())
            assert found.swapped
        publishing.join()

        eventually(lambda: log.is_applied(views))
        assert view_digest(views) == folded_digest(log.shards, tmp_path)
    with reading(views) as connection:
        assert {position.generation for position in positions_of(connection, "tally").values()} == {2}
        assert not positions_of(connection, "tally__next")
    assert tables(views) == {"tallies", "entries"}
    assert len(inspect(views).get_indexes("tallies")) == 1


def log_has_begun(log: Log, views: Engine) -> bool:
    with reading(views) as connection:
        return any(position.next for position in positions_of(connection, "tally").values())


def test_a_view_that_is_not_the_fold_of_its_log_is_not_replaced_in_silence(log: Log, views: Engine) -> None:
    log.publish(log.fill(300))
    project(log, views)
    tamper(views)
    before = view_digest(views)

    with pytest.raises(DigestsDiffer, match=before):
        asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap())
    assert view_digest(views) == before
    assert tables(views) == {"tallies", "entries"}

    assert not asyncio.run(rebuild(log.kafka, url_of(views), log.context).verify()).equal
    found = asyncio.run(rebuild(log.kafka, url_of(views), log.context, meaning_changed=True).swap())
    assert found.rebuilt.sha256 == view_digest(views) != before


def test_a_rebuild_that_is_killed_leaves_the_live_view_and_the_next_begins_clean(
    log: Log, views: Engine, tmp_path: Path
) -> None:
    log.publish(log.fill(600))
    project(log, views)
    before = view_digest(views)
    script = "import asyncio, sys\nfrom tests.adapters.tally_reader import rebuild\n"
    script += "asyncio.run(rebuild(*sys.argv[1:4], batch_records=50).swap())"

    for place in ("project.half:3", "project.committed:5"):
        command = [sys.executable, "-c", script, log.kafka, url_of(views), log.context]
        done = subprocess.run(command, env={**os.environ, "SPACEOS_CRASH": place}, check=False)
        assert done.returncode == -signal.SIGKILL
        assert view_digest(views) == before
        assert len(tables(views)) == 4

    assert asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap()).equal
    assert tables(views) == {"tallies", "entries"}


def test_what_is_parked_in_the_live_view_is_parked_in_the_rebuilt_one(log: Log, views: Engine) -> None:
    for shard in log.shards:
        for n in range(40):
            shard.append(f"p{shard.partition}-{n % 4}", "poison" if n == 13 else "retired")
    log.publish((shard.partition, value) for shard in log.shards for value in shard.values)
    broken.add("poison")
    project(log, views)
    with reading(views) as connection:
        before = [(s.stream, s.sequence, s.waiting, s.reason) for s in parked_streams(connection)]
    assert len(before) == 2

    asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap())

    with reading(views) as connection:
        assert sorted((s.stream, s.sequence, s.waiting, s.reason) for s in parked_streams(connection)) == sorted(before)
    broken.clear()
    redriven = Projector(views, tally_projection(log.context)).redrive(before[0][0])
    assert (redriven.applied, redriven.failure) == (before[0][2], None)


def test_a_log_that_is_short_altered_or_not_whole_is_refused(
    log: Log, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.views.folding.SILENT_SECONDS", 1.0)
    views = open_views(sqlite_url)
    records = log.fill(60)
    project(log, views)
    before = view_digest(views)

    log.publish(records[:20])
    with pytest.raises(LogShort, match="/0 from 20 to 30"):
        asyncio.run(rebuild(log.kafka, sqlite_url, log.context).swap())
    log.publish(records[25:])
    with pytest.raises(Lost, match="not 20, which is to be applied next"):
        asyncio.run(rebuild(log.kafka, sqlite_url, log.context).swap())
    log.publish(records[20:25])
    assert asyncio.run(rebuild(log.kafka, sqlite_url, log.context).verify()).equal
    log.wipe()
    partition, value = records[7]
    log.publish([*records[:7], (partition, value.replace(b'"reason":"', b'"reason":"x')), *records[8:]])
    with pytest.raises(ChainBroken, match="sequence 8"):
        asyncio.run(rebuild(log.kafka, sqlite_url, log.context).swap())

    assert view_digest(views) == before
    assert tables(views) == {"tallies", "entries"}


def test_readers_of_the_view_are_kept_waiting_only_for_the_renaming(log: Log, views: Engine) -> None:
    """A query that takes long does not let the swap queue everybody else behind it: the swap gives up and tries again."""
    if views.dialect.name == "sqlite":
        return
    log.publish(log.fill(200))
    project(log, views)
    done = threading.Event()
    with views.connect() as query:
        query.execute(text("set idle_in_transaction_session_timeout = 0"))
        query.execute(select(tallies)).all()

        def swap() -> None:
            asyncio.run(rebuild(log.kafka, url_of(views), log.context).swap())
            done.set()

        swapping = threading.Thread(target=swap)
        swapping.start()
        time.sleep(3)
        assert not done.is_set()
        # A reader is not made to queue behind a swap that waits: it would wait for the query above, and so for ever.
        view_digest(views)
        assert not done.is_set()
    swapping.join(30)
    assert done.is_set()
