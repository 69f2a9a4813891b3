"""What the benchmarks with a deployment of their own are made of; that they run is shown end to end."""

import asyncio
import os
import socket
import time
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, String, Table, insert, inspect
from typer.testing import CliRunner

from adapters.keys import read_key, verify, write_key
from adapters.sql import engine_for
from contracts import contexts, parse_command
from ops.bench import within
from ops.bench._crowd import LISTENERS, MEASURED, Crowd, Crowded
from ops.bench._observing import Look, Seen, asking, observe
from ops.bench._signing import Order, signed
from ops.bench._usage import cpu_seconds, memory
from ops.bench.sustained import FIRST_RATE, MOST_RATE, closing_in
from ops.cli import app
from ops.cli.output import Exit, Failure
from ops.genesis import make_genesis
from ops.settings import Settings
from streams import Projection, TodoList
from tests.databases import upgrade


@pytest.fixture
def crowded(tmp_path: Path) -> Crowded:
    make_genesis(tmp_path / "genesis.json", tmp_path / "keys", "bench")
    return Crowded(Settings(home=tmp_path), Crowd(contexts=40, readers=100))


def readers_of(deployment: Crowded) -> list[object]:
    return [stream for stream in deployment.streams if not isinstance(stream, TodoList)]


def test_a_crowd_has_so_many_contexts_and_readers_in_all(crowded: Crowded) -> None:
    assert len(crowded.contexts()) == len(set(crowded.contexts())) == 40
    assert set(contexts()) < set(crowded.contexts())
    assert len(readers_of(crowded)) == 100
    assert len({stream.name for stream in crowded.streams}) == len(crowded.streams)


def test_ten_dummies_listen_to_what_is_measured_and_five_of_them_write(crowded: Crowded) -> None:
    """The same each time, or two runs are no comparison."""
    dummies = [stream for stream in crowded.streams if isinstance(stream, Projection) and stream.name.startswith("dummy")]
    listening = [dummy for dummy in dummies if MEASURED in dummy.contexts]

    assert len(listening) == LISTENERS == 10
    assert sum(bool(dummy.tables) for dummy in dummies) == 5
    assert all(context.startswith("dummy") for dummy in dummies if dummy not in listening for context in dummy.contexts)


@pytest.mark.parametrize("readers", [1, 4, 10])
def test_where_only_some_readers_run_those_of_what_is_measured_do(crowded: Crowded, readers: int) -> None:
    few = Crowded(crowded.settings, Crowd(readers=readers))
    listening = [reader for reader in readers_of(few) if MEASURED in getattr(reader, "contexts", ())]

    assert len(readers_of(few)) == readers
    assert len(listening) >= min(readers, 4)


@given(st.one_of(st.none(), st.integers(0, 500)), st.one_of(st.none(), st.integers(0, 500)), st.sampled_from([None, "x"]))
def test_a_process_is_told_of_the_same_crowd(many: int | None, readers: int | None, only: str | None) -> None:
    crowd = Crowd(many, readers, only)

    assert Crowd.of(*crowd.arguments()) == crowd


def test_a_dummy_that_writes_has_its_table(crowded: Crowded, tmp_path: Path) -> None:
    """And the deployment's own are left to Alembic."""
    engine = engine_for(f"sqlite:///{tmp_path}/views.db")
    crowded.make_tables(engine)

    assert len(inspect(engine).get_table_names()) == 5


@given(st.floats(20, 15_000))
def test_the_search_closes_in_on_what_is_sustained(bears: float) -> None:
    tried: list[float] = []

    async def is_sustained(rate: float) -> bool:
        tried.append(rate)
        return rate <= bears

    asyncio.run(closing_in(is_sustained))

    if bears >= FIRST_RATE:
        best = max(rate for rate in tried if rate <= bears)
        assert bears / best <= 1.06
    assert len(tried) <= 16
    assert max(tried) < MOST_RATE


def test_the_search_tells_nothing_where_nothing_is_sustained() -> None:
    tried: list[float] = []

    async def is_sustained(rate: float) -> bool:
        tried.append(rate)
        return False

    asyncio.run(closing_in(is_sustained))

    assert tried == sorted(tried, reverse=True)


def test_a_row_is_seen_when_it_is_there_and_not_before(store_url: str, tmp_path: Path) -> None:
    """On both databases; and one that never comes is told as not seen."""
    engine = engine_for(store_url)
    upgrade(engine, "views")
    rows = Table("bench_seen", MetaData(), Column("name", String(20), primary_key=True))
    rows.create(engine)
    look = Look(url=store_url, table="bench_seen", column="name", inbox=tmp_path / "in", patience=1.0, results=tmp_path / "out")
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(look.inbox))
    inbox.setblocking(False)
    reading, writing = os.pipe()
    found: list[Seen] = []
    thread = Thread(target=lambda: found.append(observe(look, inbox, asking(look)[0], until=reading)))
    thread.start()
    teller = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    teller.connect(str(look.inbox))

    for name in ("here", "never"):
        teller.send(f"{time.time()!r} {name}".encode())
    time.sleep(0.2)
    before = time.time()
    with engine.begin() as connection:
        connection.execute(insert(rows), {"name": "here"})
    os.close(writing)
    thread.join(30)

    [seen] = found
    assert seen.sent.keys() == {"here", "never"}
    assert seen.seen.keys() == {"here"}
    assert seen.seen["here"] >= before


def test_the_load_is_signed_beforehand_in_its_order_and_another_seed_is_another_load(tmp_path: Path) -> None:
    write_key(tmp_path / "process.key")
    order = Order(
        client={}, partitions=4, network="bench", keys=tmp_path, kind="standings", rate=10, warming=1, seconds=2, seed=1,
        observer=tmp_path / "inbox", results=tmp_path / "out",
    )  # fmt: skip

    load, other = signed(order), signed(order.model_copy(update={"seed": 2}))

    assert len(load) == 30
    assert len({command.subject for command in (*load, *other)}) == 60
    for command in load:
        record = parse_command(command.value, command.subject.encode(), command.headers)
        assert verify(read_key(tmp_path / "process.key").did, record.value, record.signature)


def test_cpu_and_memory_of_a_process_are_read() -> None:
    before = cpu_seconds(os.getpid())
    while cpu_seconds(os.getpid()) < before + 0.05:
        pass

    assert memory(os.getpid()).rss >= memory(os.getpid()).pss > 1
    assert cpu_seconds(2**22 - 1) == 0.0


def test_what_was_disturbed_may_be_met_and_is_never_missed() -> None:
    assert within("x", [1.0], 2.0, "ms").met is True
    assert within("x", [3.0], 2.0, "ms").met is False
    assert within("x", [1.0], 2.0, "ms", is_conclusive=False).met is True
    assert within("x", [3.0], 2.0, "ms", is_conclusive=False).met is None


@pytest.mark.parametrize("rates", ["", "10,", "10;100", "0", "-5", "many", "nan", "inf"])
def test_rates_that_are_none_are_refused_before_anything_starts(rates: str) -> None:
    found = CliRunner().invoke(app, ["bench", "path", "--rates", rates])

    assert isinstance(found.exception, Failure)
    assert found.exception.exit_code == Exit.USAGE
