"""Whatever becomes of readers, broker, topic and database: every event once, in order, or a loud end."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from adapters.sql import reading
from adapters.views import parked_streams
from tests.adapters.logs import Log, Process, eventually, folded_digest, open_views, view_digest
from tests.chance import seed


@pytest.fixture
def log(kafka: str) -> Log:
    return Log(kafka, f"t{uuid4().hex[:12]}")


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def assert_whole(log: Log, views: Engine, folder: Path, seconds: float = 40.0) -> None:
    eventually(lambda: log.is_applied(views), seconds)
    assert view_digest(views) == folded_digest(log.shards, folder)
    with reading(views) as connection:
        assert parked_streams(connection) == []


def test_a_topic_is_applied_whole_and_the_reader_ends_when_it_is_asked_to(log: Log, views: Engine, tmp_path: Path) -> None:
    log.publish(log.fill(3000))

    with Process(log, url_of(views), tmp_path) as reader:
        eventually(lambda: log.is_applied(views))
        log.publish(log.fill(1000))
        assert_whole(log, views, tmp_path)
        reader.signal(signal.SIGTERM)

        assert reader.code() == 0


def test_a_reader_leaves_no_files_where_it_was_started(log: Log, views: Engine, tmp_path: Path) -> None:
    """Faust makes a folder for tables, which are not used here."""
    log.publish(log.fill(10))
    before = set(Path.cwd().iterdir())

    with Process(log, url_of(views), tmp_path):
        assert_whole(log, views, tmp_path)

    assert set(Path.cwd().iterdir()) == before


def test_readers_that_are_killed_and_stopped_under_load_lose_and_double_nothing(
    log: Log, views: Engine, tmp_path: Path
) -> None:
    choice = random.Random(seed())
    publishing = threading.Thread(target=log.publish, args=(log.fill(12_000), 0.06))
    readers = [Process(log, url_of(views), tmp_path) for _ in range(2)]
    publishing.start()
    while publishing.is_alive():
        time.sleep(1.3)
        victim = choice.randrange(2)
        readers[victim].signal(choice.choice([signal.SIGKILL, signal.SIGTERM]))
        readers[victim].code()
        readers[victim] = Process(log, url_of(views), tmp_path)
    publishing.join()

    with readers[0], readers[1]:
        assert_whole(log, views, tmp_path)


def test_a_reader_that_was_suspended_in_mid_transaction_comes_back_and_changes_nothing(
    log: Log, views: Engine, tmp_path: Path
) -> None:
    """PostgreSQL ends its transaction after two seconds; on SQLite it holds everybody up until it goes on."""
    log.publish(log.fill(2000))
    with Process(log, url_of(views), tmp_path, SPACEOS_SUSPEND="project.half:2") as zombie:
        eventually(lambda: zombie.is_suspended)
        with Process(log, url_of(views), tmp_path) as successor:
            if views.dialect.name == "postgresql":
                eventually(lambda: log.is_applied(views))
            else:
                successor.says("database is locked")
            zombie.signal(signal.SIGCONT)
            log.publish(log.fill(1000))

            assert_whole(log, views, tmp_path)


def test_a_wiped_topic_that_is_published_again_out_of_order_is_read_on(log: Log, views: Engine, tmp_path: Path) -> None:
    """The shard's owner fills it again; what comes first may be a record that it was just about to publish."""
    log.publish(log.fill(2000))
    with Process(log, url_of(views), tmp_path) as reader:
        eventually(lambda: log.is_applied(views))
        reader.signal(signal.SIGTERM)
        reader.code()
    log.wipe()
    early = log.fill(20)
    log.publish(early[9:10])

    with Process(log, url_of(views), tmp_path) as reader:
        reader.says("holds 1009, but not 1000, which is to be applied next")
        log.publish((shard.partition, value) for shard in log.shards for value in shard.values)

        assert_whole(log, views, tmp_path)


def test_a_reader_whose_topic_is_made_anew_under_it_reads_on_by_itself_or_after_a_restart(
    log: Log, sqlite_url: str, tmp_path: Path
) -> None:
    """The client notices some of the ways in which that can happen, the watchdog ends the process in the others."""
    views = open_views(sqlite_url)
    log.publish(log.fill(500))
    with Process(log, sqlite_url, tmp_path, "stalled=2", "look=0.5") as reader:
        eventually(lambda: log.is_applied(views))
        log.wipe()
        log.fill(100)
        log.publish((shard.partition, value) for shard in log.shards for value in shard.values)
        eventually(lambda: log.is_applied(views) or reader.has_ended)
        if reader.has_ended:
            assert reader.code() == 70

    with Process(log, sqlite_url, tmp_path):
        assert_whole(log, views, tmp_path)


def test_a_reader_waits_for_what_is_missing_below_a_higher_sequence(log: Log, sqlite_url: str, tmp_path: Path) -> None:
    views = open_views(sqlite_url)
    records = log.fill(60)
    first = [value for partition, value in records if partition == 0]
    log.publish((0, value) for value in [*first[:10], *first[12:]])
    log.publish(record for record in records if record[0] == 1)

    with Process(log, sqlite_url, tmp_path) as reader:
        reader.says("holds 12, but not 10, which is to be applied next")
        with reading(views) as connection:
            applied = connection.execute(text('select shard, next from positions order by "shard"')).all()
        log.publish((0, value) for value in first[10:12])

        assert_whole(log, views, tmp_path)
    assert [tuple(row) for row in applied] == [(log.shards[0].name, 10), (log.shards[1].name, 30)]


def test_a_topic_that_is_missing_keeps_no_other_reader_of_the_set_from_starting(
    log: Log, sqlite_url: str, tmp_path: Path
) -> None:
    """One context whose topics nobody had made stopped all views. When it is made, the set begins anew with it."""
    views, missing = open_views(sqlite_url), f"t{uuid4().hex[:12]}"
    log.publish(log.fill(500))

    with Process(log, url_of(views), tmp_path, f"also={missing}", "missing=1") as reader:
        eventually(lambda: log.is_applied(views))
        log.publish(log.fill(100))
        eventually(lambda: log.is_applied(views))
        assert f"starting without {missing}.events" in reader.text()
        Log(log.kafka, missing)

        assert reader.code() == 70
        assert f"{missing}.events is there: the group begins anew" in reader.text()
    views.dispose()


def test_an_altered_byte_ends_the_process_and_names_its_place(log: Log, sqlite_url: str, tmp_path: Path) -> None:
    views = open_views(sqlite_url)
    records = log.fill(200)
    partition, value = records[57]
    records[57] = (partition, value.replace(b'"reason":"', b'"reason":"x'))
    log.publish(records)

    with Process(log, sqlite_url, tmp_path) as reader:
        assert reader.code(20) == 70
        assert f"{log.shards[0].name} sequence 58" in reader.text()
    assert not log.is_applied(views)


def test_lost_connections_are_tried_again(log: Log, postgres_url: str, tmp_path: Path) -> None:
    views = open_views(postgres_url)
    publishing = threading.Thread(target=log.publish, args=(log.fill(4000), 0.05))
    with Process(log, postgres_url, tmp_path):
        publishing.start()
        while publishing.is_alive():
            time.sleep(0.3)
            others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            with views.begin() as connection:
                connection.execute(text(others + " and pid <> pg_backend_pid()"))
        publishing.join()

        assert_whole(log, views, tmp_path)


def test_faust_is_never_set_up_to_lose(kafka: str) -> None:
    """Its settings can be changed by its environment, so they are looked at."""
    script = (
        "import asyncio\n"
        "from adapters.faust.chunks import make_app, assert_safe\n"
        "async def main():\n"
        "    app = make_app('x', {'bootstrap_servers': 'localhost:1'}, None)\n"
        "    app.conf.%s\n"
        "    assert_safe(app)\n"
        "asyncio.run(main())\n"
    )
    for change in ("processing_guarantee = 'exactly_once'", "stream_wait_empty = True", "topic_allow_declare = True"):
        done = subprocess.run([sys.executable, "-c", script % change], capture_output=True, text=True, check=False)
        assert f"WrongSettings: Faust runs with {change.split()[0]}" in done.stderr
