"""Chunks become rows exactly once, on both databases."""

import json
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from adapters.sql import engine_for, reading
from adapters.views import ChainBroken, Fenced, Projector, digest, parked_streams, positions, positions_of
from contracts import parse_event, read_event
from projections import Key, Row
from tests.adapters.logs import open_views
from tests.adapters.shards import VIEW, Delivery, Shard, broken, entries, project, tallies, tally_projection
from tests.databases import upgrade

TALLY = tally_projection()


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    upgrade(engine, "views")
    VIEW.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    yield
    broken.clear()


def view_digest(engine: Engine) -> str:
    with reading(engine) as connection:
        return digest(connection, TALLY).sha256


def reader(engine: Engine, *shards: Shard) -> Projector:
    projector = Projector(engine, TALLY)
    projector.claim([shard.name for shard in shards])
    return projector


def feed(projector: Projector, shard: Shard, size: int, start: int = 0) -> None:
    deliveries = shard.deliveries(start)
    for at in range(0, len(deliveries), size):
        projector.apply({shard.name: deliveries[at : at + size]})


class Plain(dict[Table, dict[Key, Row]]):
    """projections.Session without any cleverness."""

    def get(self, table: Table, *key: Any) -> Row | None:  # type: ignore[override]
        return self.setdefault(table, {}).get(key)

    def put(self, table: Table, row: Row) -> None:
        self.setdefault(table, {})[tuple(row[column.name] for column in table.primary_key.columns)] = row

    def change(self, table: Table, *key: Any, **values: Any) -> None:
        self[table][key] = {**self[table][key], **values}

    def delete(self, table: Table, *key: Any) -> None:
        self[table].pop(key, None)


def plain_digest(shard: Shard) -> str:
    session, hashed = Plain(), sha256()
    for value in shard.values:
        record = parse_event(value)
        project(read_event(record.document), record, session)
    for table in (entries, tallies):
        hashed.update(b'"%s"\n' % table.name.encode())
        for key in sorted(session[table]):
            row = {**session[table][key]}
            if table is tallies:
                row |= {"total": str(row["total"]), "hash": row["hash"].hex()}
            hashed.update(json.dumps([row[column.name] for column in table.columns], separators=(",", ":")).encode() + b"\n")
    return hashed.hexdigest()


@pytest.mark.parametrize("size", [1, 3, 50, 400])
def test_every_batch_size_gives_one_digest(views: Engine, size: int) -> None:
    """It is that of a fold in plain dictionaries, so it is also the same on both databases."""
    shard = Shard().fill(400)

    feed(reader(views, shard), shard, size)

    assert view_digest(views) == plain_digest(shard)


def test_events_that_come_twice_are_applied_once(views: Engine) -> None:
    shard = Shard().fill(100)
    projector = reader(views, shard)
    feed(projector, shard, 30)
    once = view_digest(views)

    feed(projector, shard, 17)
    feed(reader(views, shard), shard, 23)

    assert view_digest(views) == once


def test_a_gap_is_reported_and_what_came_before_it_is_applied(views: Engine) -> None:
    shard = Shard().fill(20)
    projector = reader(views, shard)

    applied = projector.apply({shard.name: shard.deliveries(0, 5) + shard.deliveries(7, 9)})[shard.name]

    assert (applied.events, applied.gap, applied.position.next) == (5, 7, 5)
    assert projector.apply({shard.name: shard.deliveries(5)})[shard.name].position.next == 20


def test_an_altered_byte_stops_the_reader_and_changes_nothing(views: Engine) -> None:
    shard = Shard().fill(20)
    projector = reader(views, shard)
    deliveries = shard.deliveries()
    altered = deliveries[10].value.replace(b"retired", b"retireD").replace(b"close", b"closE").replace(b"amend", b"amenD")
    deliveries[10] = Delivery(10, altered)

    with pytest.raises(ChainBroken, match=r"tally.events/0 sequence 11 .*was altered"):
        projector.apply({shard.name: deliveries})

    with reading(views) as connection:
        assert connection.scalar(select(func.count()).select_from(tallies)) == 0
        assert positions_of(connection, "tally")[shard.name].next == 0


def test_another_history_is_a_fork(views: Engine) -> None:
    shard, other = Shard().fill(10), Shard()
    other.append("else")
    other.fill(19)
    projector = reader(views, shard)
    projector.apply({shard.name: shard.deliveries()})

    with pytest.raises(ChainBroken, match="sequence 10"):
        projector.apply({shard.name: other.deliveries(10)})
    with pytest.raises(ChainBroken, match="other bytes"):
        projector.apply({shard.name: other.deliveries(9)})


def test_bytes_that_are_no_record_are_passed_over(views: Engine) -> None:
    shard = Shard().fill(4)
    projector = reader(views, shard)

    for value in (None, b"", b"{", b"[]", b"{}", b"7", b'{"sequence":"x"}', b'{"sequence":"0"}', b"\xff", b"[" * 100_000):
        applied = projector.apply({shard.name: [*shard.deliveries()[:3], Delivery(3, value)]})[shard.name]  # type: ignore[arg-type]
        assert (applied.position.next, applied.gap) == (3, None)
    projector.apply({shard.name: shard.deliveries()})

    assert projector.position(shard.name).next == 4


def test_a_poison_event_parks_its_stream_in_order_and_others_flow(views: Engine) -> None:
    shard = Shard()
    for n in range(12):
        shard.append(f"s{n % 3}", "poison" if n == 4 else "retired")
    broken.add("poison")
    projector = reader(views, shard)

    feed(projector, shard, 5)

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
        counts = dict(connection.execute(select(tallies.c.stream, tallies.c.events)).all())
    assert (stream.stream, stream.sequence, stream.waiting, stream.reason) == ("tally/key/s1", 4, 3, "Poison: poison")
    assert counts == {"tally/key/s0": 4, "tally/key/s1": 1, "tally/key/s2": 4}


def test_redrive_applies_in_order_and_the_projector_notices(views: Engine) -> None:
    """Redriven equals never broken; what comes during and after it is applied on top."""
    shard = Shard()
    for n in range(12):
        shard.append(f"s{n % 3}", "poison" if n in (4, 7) else "amend")
    broken.add("poison")
    projector = reader(views, shard)
    feed(projector, shard, 12)
    assert projector.redrive("tally/key/s1").failure == "Poison: poison"
    broken.clear()

    redriven = Projector(views, TALLY).redrive("tally/key/s1")
    shard.append("s1", "amend")
    feed(projector, shard, 1, start=12)

    assert (redriven.applied, redriven.failure) == (3, None)
    with reading(views) as connection:
        assert parked_streams(connection) == []
    fresh = Projector(views, TALLY, reader="fresh", names={tallies: "t2", entries: "e2"})
    for table, name in ((tallies, "t2"), (entries, "e2")):
        copy = table.to_metadata(VIEW.__class__(), name=name)
        copy.indexes.clear()
        copy.create(views)
    fresh.claim([shard.name])
    feed(fresh, shard, 13)
    with reading(views) as connection:
        assert digest(connection, TALLY) == digest(connection, TALLY, {tallies: "t2", entries: "e2"})


def test_two_redrives_of_one_stream_apply_it_once(store_url: str) -> None:
    """What waits is read under the lock: an operator and a script that redrive at once each apply what is left."""
    views = open_views(store_url)
    shard = Shard()
    for reason in ("bad", "retired", "retired"):
        shard.append("s", reason)
    broken.add("bad")
    feed(reader(views, shard), shard, 3)
    broken.clear()
    go, applied = threading.Barrier(3), list[int]()

    def redrive() -> None:
        projector = Projector(engine_for(store_url), TALLY)
        go.wait(20)
        applied.append(projector.redrive("tally/key/s").applied)

    threads = [threading.Thread(target=redrive) for _ in range(2)]
    for thread in threads:
        thread.start()
    with views.begin() as connection:
        # The reader holds the row for a moment, so that both come to wait for it.
        positions.lock(connection, "tally", shard.name)
        go.wait(20)
        time.sleep(0.5)
    for thread in threads:
        thread.join()

    assert sorted(applied) == [0, 3]
    with reading(views) as connection:
        assert connection.scalar(select(tallies.c.events)) == 3
    views.dispose()


def test_a_record_that_is_parked_twice_waits_once(views: Engine) -> None:
    shard = Shard()
    shard.append("s", "bad")
    broken.add("bad")
    projector = reader(views, shard)
    feed(projector, shard, 1)
    with views.begin() as connection:
        connection.exec_driver_sql('update positions set "next" = 0, last_hash = \'' + "0" * 64 + "'")

    feed(reader(views, shard), shard, 1)

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
    assert (stream.waiting, stream.attempts) == (1, 1)


def test_redrive_stops_at_the_next_poison_event(views: Engine) -> None:
    shard = Shard()
    for reason in ("bad", "retired", "worse", "retired"):
        shard.append("s", reason)
    broken.update(("bad", "worse"))
    projector = reader(views, shard)
    feed(projector, shard, 4)
    broken.remove("bad")

    redriven = projector.redrive("tally/key/s")

    assert (redriven.applied, redriven.waiting, redriven.failure) == (2, 2, "Poison: worse")
    with reading(views) as connection:
        (stream,) = parked_streams(connection)
    assert (stream.sequence, stream.attempts) == (2, 1)


def test_a_row_that_the_database_refuses_parks_only_its_own_stream(views: Engine) -> None:
    """The flush of the whole chunk fails, so the events are tried one by one."""
    shard = Shard()
    for n in range(40):
        shard.append(f"s{n % 4}", "x\x00y" if n == 9 else "retired")

    feed(reader(views, shard), shard, 40)

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
        counts = dict(connection.execute(select(tallies.c.stream, tallies.c.events)).all())
    assert (stream.stream, stream.sequence, stream.waiting) == ("tally/key/s1", 9, 8)
    assert counts == {"tally/key/s0": 10, "tally/key/s1": 2, "tally/key/s2": 10, "tally/key/s3": 10}


def test_a_reader_whose_shard_was_claimed_by_another_changes_nothing(views: Engine) -> None:
    shard = Shard().fill(20)
    old = reader(views, shard)
    feed(old, shard, 5)
    shard.fill(5)
    new = reader(views, shard)
    after = view_digest(views)

    with pytest.raises(Fenced):
        old.apply({shard.name: shard.deliveries(20)})
    with pytest.raises(Fenced):
        old.apply({shard.name: shard.deliveries(20)})

    assert view_digest(views) == after
    feed(new, shard, 5)
    with reading(views) as connection:
        assert positions_of(connection, "tally")[shard.name].next == 25


def test_rows_that_left_the_cache_are_read_from_the_database(views: Engine) -> None:
    shard = Shard().fill(300, streams=60)
    small = Projector(views, TALLY, cached_rows=5)
    small.claim([shard.name])
    feed(small, shard, 7)
    tight = view_digest(views)

    with views.begin() as connection:
        for table in (tallies, entries):
            connection.execute(table.delete())
    wide = Projector(views, TALLY, reader="wide")
    wide.claim([shard.name])
    feed(wide, shard, 7)

    assert view_digest(views) == tight


def test_several_shards_share_a_transaction(views: Engine) -> None:
    shards = [Shard(partition=n) for n in range(3)]
    for n, shard in enumerate(shards):
        for m in range(20):
            shard.append(f"p{n}-{m % 4}")
    projector = reader(views, *shards)

    applied = projector.apply({shard.name: shard.deliveries() for shard in shards})

    assert {name: a.position.next for name, a in applied.items()} == {shard.name: 20 for shard in shards}
    with reading(views) as connection:
        positions = positions_of(connection, "tally")
    assert {p.last_hash for p in positions.values()} == {sha256(shard.values[-1]).hexdigest() for shard in shards}


def test_a_shard_that_is_not_ours_is_left_out(views: Engine) -> None:
    mine, other = Shard().fill(3), Shard(partition=1).fill(3)

    applied = reader(views, mine).apply({mine.name: mine.deliveries(), other.name: other.deliveries()})

    assert list(applied) == [mine.name]
