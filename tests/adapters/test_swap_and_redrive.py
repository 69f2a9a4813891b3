"""A redrive and a swap of one view beside each other apply each event once."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select

from adapters.sql import reading
from adapters.views import Projector, parked_streams, positions, positions_of
from adapters.views import beside as beside_module
from adapters.views.beside import Beside, Changed
from tests.adapters.logs import open_views
from tests.adapters.shards import Shard, broken, tallies, tally_projection

TALLY = tally_projection()
STREAM = "tally/key/s1"


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_views(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def shard() -> Iterator[Shard]:
    """A poison event and two that wait behind it."""
    made = Shard()
    for reason in ("poison", "retired", "retired"):
        made.append("s1", reason)
    yield made
    broken.clear()


def parked(views: Engine, shard: Shard) -> None:
    broken.add("poison")
    live = Projector(views, TALLY)
    live.claim([shard.name])
    live.apply({shard.name: shard.deliveries()})
    broken.clear()


def rebuilt(views: Engine, shard: Shard) -> tuple[Beside, dict[str, int]]:
    """By code that can apply it. With the live generations of then."""
    with reading(views) as connection:
        generations = {name: position.generation for name, position in positions_of(connection, "tally").items()}
    beside = Beside(views, TALLY)
    beside.make()
    folder = Projector(views, TALLY, reader=beside.reader, names=beside.names)
    folder.claim([shard.name])
    folder.apply({shard.name: shard.deliveries()})
    beside.index()
    return beside, generations


def found(views: Engine) -> tuple[int, int]:
    """The events that the view counted, and the streams that are parked."""
    with reading(views) as connection:
        return connection.execute(select(tallies.c.events)).scalar_one(), len(parked_streams(connection, "tally"))


def test_a_redrive_after_the_swap_finds_nothing_to_do(views: Engine, shard: Shard) -> None:
    parked(views, shard)
    beside, generations = rebuilt(views, shard)

    assert beside.swap(generations, keep=True)

    assert Projector(views, TALLY).redrive(STREAM).applied == 0
    assert found(views) == (3, 0)


def test_a_swap_after_a_redrive_is_refused(views: Engine, shard: Shard) -> None:
    """What was compared is not what is live any more."""
    parked(views, shard)
    beside, generations = rebuilt(views, shard)

    assert Projector(views, TALLY).redrive(STREAM).applied == 3

    with pytest.raises(Changed):
        beside.swap(generations, keep=True)
    assert found(views) == (3, 0)


def test_a_redrive_that_waits_for_a_swap_looks_again(postgres_url: str, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has read of the parked events before its turn came is the kept version's by then."""
    views = open_views(postgres_url)
    parked(views, shard)
    beside, generations = rebuilt(views, shard)
    waits, goes = threading.Event(), threading.Event()
    lock, applied = positions.lock, list[int]()

    def late(*arguments: Any) -> Any:
        waits.set()
        assert goes.wait(10)
        return lock(*arguments)

    monkeypatch.setattr(positions, "lock", late)
    redriving = threading.Thread(target=lambda: applied.append(Projector(views, TALLY).redrive(STREAM).applied))
    redriving.start()
    assert waits.wait(10)

    assert beside.swap(generations, keep=True)
    goes.set()
    redriving.join(30)

    assert applied == [0]
    assert found(views) == (3, 0)
    views.dispose()


def test_a_swap_that_waits_for_a_redrive_looks_again(postgres_url: str, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_module, "LOCK_TIMEOUT_MS", 30_000)
    views = open_views(postgres_url)
    parked(views, shard)
    beside, generations = rebuilt(views, shard)
    results = list[Any]()

    def swap() -> None:
        try:
            results.append(beside.swap(generations, keep=True))
        except Changed as error:
            results.append(error)

    with views.begin() as connection:
        # As a redrive begins.
        positions.lock(connection, "tally", shard.name)
        positions.disturb(connection, "tally", shard.name)
        swapping = threading.Thread(target=swap)
        swapping.start()
        swapping.join(0.2)
        assert not results
    swapping.join(30)

    assert isinstance(results[0], Changed)
    views.dispose()
