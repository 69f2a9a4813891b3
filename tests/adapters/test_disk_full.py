"""SQLite on a disk that is full for a while: in the middle of batches of the store, and of chunks of a view."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine

from adapters.sql import engine_for, is_transient, reading
from adapters.sql.schema import upgrade
from adapters.views import Projector, digest, parked_streams
from contracts import ZERO_HASH
from tests.adapters.shards import VIEW, Shard, tally_projection
from tests.worker.world import PARTITIONS, World, propose, someone

TALLY = tally_projection()


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: what a full disk says, too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def size_of(file: Path) -> int:
    """Of a database, or of its log where that is longer."""
    return max(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))


def fails(act: Callable[[], object], size: int) -> bool:
    """Whether there was too little room. Nothing else may be said."""
    try:
        with room(size):
            act()
    except Exception as error:
        if not is_transient(error):
            raise
        return True
    return False


def test_the_store_decides_what_came_on_a_full_disk_when_there_is_room(tmp_path: Path) -> None:
    """Nothing is lost, nothing doubled, nothing poisoned, and the chain is dense."""
    file = tmp_path / "store.db"
    world = World(engine_for(f"sqlite:///{file}"))
    worker, sent, failed = world.worker(), [], 0
    base = size_of(file)
    for n in range(15):
        batch = [propose(someone(1_000 + 20 * n + k)) for k in range(20)]
        world.publish(*batch)
        sent += batch
        if fails(worker.work, base + 15_000 * n):
            failed += 1
            worker.recover()

    worker.recover()
    worker.work_all()

    assert failed
    assert {world.refusal(command) for command in sent} == {None}
    for partition in range(PARTITIONS):
        before = ZERO_HASH
        for n, event in enumerate(e for e in world.events() if e["shard"] == f"identity.events/{partition}"):
            assert (int(event["sequence"]), event["prevhash"]) == (n, before)
            before = sha256(event["_value"]).hexdigest()
    world.engine.dispose()


def views(file: Path) -> Engine:
    engine = engine_for(f"sqlite:///{file}")
    upgrade(engine, "views")
    VIEW.create_all(engine)
    return engine


def test_a_view_on_a_full_disk_is_the_same_when_there_is_room(tmp_path: Path) -> None:
    """No stream is parked because of it."""
    shard, file, failed = Shard().fill(1_500, streams=400), tmp_path / "views.db", 0
    full, roomy = views(file), views(tmp_path / "others.db")
    projector, other = Projector(full, TALLY), Projector(roomy, TALLY)
    for each in (projector, other):
        each.claim([shard.name])
    base = size_of(file)
    for at in range(0, 1_500, 100):
        chunk = {shard.name: shard.deliveries(at, at + 100)}
        while fails(lambda chunk=chunk: projector.apply(chunk), base):  # type: ignore[misc]
            failed, base = failed + 1, base + 30_000

    other.apply({shard.name: shard.deliveries()})

    assert failed
    with reading(full) as connection, reading(roomy) as another:
        assert parked_streams(connection) == []
        assert digest(connection, TALLY) == digest(another, TALLY)
    for engine in (full, roomy):
        engine.dispose()
