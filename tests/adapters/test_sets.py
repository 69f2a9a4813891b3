"""Readers of a set share a consumer and a transaction, and none of them another one's misfortune."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError
from sqlalchemy import Connection, Engine, MetaData, Table, event, text

from adapters.sql import reading
from adapters.views import Projector, digest, parked_streams, positions_of, sets, states
from adapters.views.processes import ProcessReader
from adapters.views.rebuild import Beside
from adapters.views.sets import ReaderSet
from adapters.views.states import CATCHING_UP, LEFT, LIVE, PARKED, UNREAD, reader_states_in
from adapters.views.wishes import Wish
from projections import Projection
from tests.adapters.logs import open_views
from tests.adapters.shards import Delivery, Shard, broken, entries, project, tallies
from tests.adapters.test_processes import CLOSE, Outbox

NAMES = ("a", "b", "c")


def named(name: str) -> Mapping[Table, str]:
    return {tallies: f"tallies_{name}", entries: f"entries_{name}"}


def open_with_copies(url: str) -> Engine:
    """The view's tables once for each name, besides its own."""
    engine = open_views(url)
    for name in NAMES:
        for table, copy in named(name).items():
            bare = table.to_metadata(MetaData(), name=copy)
            bare.indexes.clear()
            bare.create(engine)
    return engine


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = open_with_copies(store_url)
    yield engine
    engine.dispose()
    broken.clear()


def projector(views: Engine, name: str, contexts: Sequence[str] = ("tally",)) -> Projector:
    return Projector(views, Projection(name, tuple(contexts), (tallies, entries), project), names=named(name))


def make(views: Engine, names: Collection[str] = NAMES, outbox: Outbox | None = None) -> ReaderSet:
    processes = [ProcessReader(views, CLOSE, outbox.send)] if outbox is not None else []
    return ReaderSet(views, "readers", [*(projector(views, name) for name in names), *processes])


async def turn(readers: ReaderSet, *chunks: tuple[Shard, Sequence[Delivery]]) -> None:
    await readers.apply({shard.name: records for shard, records in chunks})
    await send(readers)


async def send(readers: ReaderSet) -> None:
    for process in readers.processes:
        if readers.wants_to_send(process):
            await readers.send_for(process)


async def begin(readers: ReaderSet, *shards: Shard) -> ReaderSet:
    await readers.claim([shard.name for shard in shards])
    return readers


def places(views: Engine, *shards: Shard, names: Collection[str] = NAMES) -> set[int]:
    with reading(views) as connection:
        return {positions_of(connection, name)[shard.name].next for name in names for shard in shards}


def digests(views: Engine, names: Collection[str] = NAMES) -> set[str]:
    with reading(views) as connection:
        return {digest(connection, projector(views, name)._projection, named(name)).sha256 for name in names}


def folded(views: Engine, *shards: Shard) -> str:
    """What one projection alone makes of the shards, in the tables of no reader of the set."""
    alone = Projector(views, Projection("alone", ("tally",), (tallies, entries), project))
    alone.claim([shard.name for shard in shards])
    alone.apply({shard.name: shard.deliveries() for shard in shards})
    with reading(views) as connection:
        return digest(connection, Projection("tally", ("tally",), (tallies, entries), project)).sha256


def shards_of(count: int, events: int) -> list[Shard]:
    found = [Shard(partition=n) for n in range(count)]
    for shard in found:
        for n in range(events):
            shard.append(f"p{shard.partition}-{n % 5}", ("retired", "amend", "retired", "close")[n % 4])
    return found


def test_a_turn_is_one_transaction_for_all_readers_and_shards(views: Engine) -> None:
    """Each alone would cost a commit, and SQLite has one writer a file."""
    shards = shards_of(3, 20)
    commits: list[str] = []

    async def run() -> None:
        readers = await begin(make(views), *shards)
        event.listen(views, "commit", lambda _: commits.append("commit"))
        await turn(readers, *((shard, shard.deliveries()) for shard in shards))
        assert len(commits) == 1

    asyncio.run(run())

    assert places(views, *shards) == {20}
    assert digests(views) == {folded(views, *shards)}


def test_all_readers_of_a_shard_move_with_one_statement(views: Engine) -> None:
    (shard,) = shards_of(1, 20)
    seen: list[str] = []

    async def run() -> None:
        readers = await begin(make(views), shard)
        event.listen(views, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
        await turn(readers, (shard, shard.deliveries()))

    asyncio.run(run())

    assert sum(statement.startswith("update positions") for statement in seen) == 1


def test_one_that_somebody_else_claimed_is_left_alone_and_the_others_go_on(views: Engine) -> None:
    (shard,) = shards_of(1, 30)

    async def run() -> None:
        readers = await begin(make(views), shard)
        await turn(readers, (shard, shard.deliveries(0, 10)))
        projector(views, "b").claim([shard.name])
        await turn(readers, (shard, shard.deliveries(10, 20)))
        await turn(readers, (shard, shard.deliveries(20)))

    asyncio.run(run())

    assert places(views, shard, names=("a", "c")) == {30}
    assert places(views, shard, names=("b",)) == {10}


def test_what_was_left_to_a_process_that_is_gone_is_taken_back(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a view that an operator once read by hand would stand still for ever."""
    (shard,) = shards_of(1, 30)
    monkeypatch.setattr(states, "GONE_SECONDS", 0.05)

    async def run() -> None:
        readers = await begin(make(views), shard)
        # It has told that it has the shard, and goes on telling that it lives.
        await readers.look_after()
        projector(views, "b").claim([shard.name])
        await turn(readers, (shard, shard.deliveries(0, 10)))
        assert places(views, shard, names=("b",)) == {0}
        while not readers.behind:
            await readers.look_after()
            await asyncio.sleep(0.02)
        await readers.catch_up({shard.name: shard.deliveries()})
        await turn(readers, (shard, shard.deliveries(10)))

    asyncio.run(run())

    assert places(views, shard) == {30}
    assert digests(views) == {folded(views, shard)}


def test_one_that_is_read_elsewhere_is_not_taken_back(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    (shard,) = shards_of(1, 30)
    monkeypatch.setattr(states, "GONE_SECONDS", 0.2)

    async def run() -> None:
        readers, other = await begin(make(views), shard), make(views, ("b",))
        await other.claim([shard.name])
        await turn(readers, (shard, shard.deliveries(0, 10)))
        for n in range(20):
            await turn(other, (shard, shard.deliveries(n, n + 1)))
            await readers.look_after()
            await asyncio.sleep(0.02)
        assert not readers.behind

    asyncio.run(run())


def test_a_parked_stream_is_parked_for_that_reader_only(views: Engine) -> None:
    shard = Shard()
    for n in range(12):
        shard.append(f"s{n % 3}", "bad" if n == 4 else "retired")

    def hurt(record: object, document: object, session: object) -> None:
        broken.add("bad")
        try:
            project(record, document, session)  # type: ignore[arg-type]
        finally:
            broken.clear()

    hurting = Projector(views, Projection("b", ("tally",), (tallies, entries), hurt), names=named("b"))
    readers = ReaderSet(views, "readers", [projector(views, "a"), hurting, projector(views, "c")])

    async def run() -> None:
        await begin(readers, shard)
        await turn(readers, (shard, shard.deliveries(0, 7)))
        await turn(readers, (shard, shard.deliveries(7)))

    asyncio.run(run())

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
    assert (stream.reader, stream.stream, stream.waiting) == ("b", "tally/key/s1", 3)
    assert places(views, shard) == {12}
    assert digests(views, ("a", "c")) == {folded(views, shard)}
    Projector(views, Projection("b", ("tally",), (tallies, entries), project), names=named("b")).redrive("tally/key/s1")
    assert len(digests(views)) == 1


def test_one_whose_stream_was_redriven_reads_again_and_nobody_else_does(views: Engine) -> None:
    shard = Shard()
    for n in range(12):
        shard.append(f"s{n % 3}", "bad" if n == 4 else "amend")
    outbox = Outbox()

    async def run() -> None:
        broken.add("bad")
        readers = await begin(make(views, outbox=outbox), shard)
        await turn(readers, (shard, shard.deliveries(0, 9)))
        broken.clear()
        assert projector(views, "b").redrive("tally/key/s1").failure is None
        await turn(readers, (shard, shard.deliveries(9)))

    asyncio.run(run())

    for name in ("a", "c"):
        assert projector(views, name).redrive("tally/key/s1").applied == 3
    assert digests(views) == {folded(views, shard)}


def test_a_row_that_the_database_refuses_is_one_readers_alone(views: Engine) -> None:
    shard = Shard()
    for n in range(40):
        shard.append(f"s{n % 4}", "x" if n == 9 else "retired")
    with views.begin() as connection:
        if views.dialect.name == "sqlite":
            when = "create trigger no before insert on entries_b when instr(new.reason, 'x')"
            connection.exec_driver_sql(f"{when} begin select raise(abort, 'no'); end")
        else:
            connection.exec_driver_sql("alter table entries_b add check (reason <> 'x')")

    async def run() -> None:
        await turn(await begin(make(views), shard), (shard, shard.deliveries()))

    asyncio.run(run())

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
    assert (stream.reader, stream.sequence, stream.waiting) == ("b", 9, 8)
    assert places(views, shard) == {40}
    assert digests(views, ("a", "c")) == {folded(views, shard)}


def test_one_that_is_far_behind_catches_up_beside_and_joins(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new reader of an old deployment: the others need not read the log again."""
    monkeypatch.setattr(sets, "NEAR_RECORDS", 50)
    (shard,) = shards_of(1, 300)

    async def run() -> None:
        await turn(await begin(make(views, ("a", "b")), shard), (shard, shard.deliveries(0, 200)))
        readers = await begin(make(views), shard)
        assert [member.name for member in readers.behind[shard.name]] == ["c"]
        assert readers._lowest(shard.name).next == 200  # type: ignore[union-attr]
        for start in range(0, 200, 40):
            await readers.catch_up({shard.name: shard.deliveries(start, start + 40)})
            await turn(readers, (shard, shard.deliveries(200 + start // 4, 210 + start // 4)))
        assert readers.behind
        while readers.behind:
            position = await readers.behind_at(shard.name)
            assert position is not None
            at = position.next
            await readers.catch_up({shard.name: shard.deliveries(at, at + 40)})
        await turn(readers, (shard, shard.deliveries(250)))

    asyncio.run(run())

    assert places(views, shard) == {300}
    assert digests(views) == {folded(views, shard)}


def test_a_gap_before_the_slowest_is_reported_for_all(views: Engine) -> None:
    (shard,) = shards_of(1, 30)

    async def run() -> None:
        readers = await begin(make(views), shard)
        await turn(readers, (shard, shard.deliveries(0, 10)))
        applied = (await readers.apply({shard.name: shard.deliveries(12)}))[shard.name]
        assert (applied.position.next, applied.gap) == (10, 12)
        assert (await readers.apply({shard.name: shard.deliveries(9)}))[shard.name].position.next == 30

    asyncio.run(run())

    assert digests(views) == {folded(views, shard)}


def test_a_view_that_is_swapped_under_its_reader_is_read_on(views: Engine) -> None:
    (shard,) = shards_of(1, 40)
    projection = Projection("a", ("tally",), (tallies, entries), project)

    async def run() -> None:
        readers = await begin(ReaderSet(views, "readers", [Projector(views, projection), projector(views, "b")]), shard)
        await turn(readers, (shard, shard.deliveries(0, 20)))
        beside = Beside(views, projection)
        beside.make()
        rebuilt = Projector(views, projection, reader=beside.reader, names=beside.names)
        rebuilt.claim([shard.name])
        rebuilt.apply({shard.name: shard.deliveries(0, 25)})
        with reading(views) as connection:
            generations = {name: at.generation for name, at in positions_of(connection, "a").items()}
        assert beside.swap(generations)
        await turn(readers, (shard, shard.deliveries(20, 30)))
        await turn(readers, (shard, shard.deliveries(30)))

    asyncio.run(run())

    with reading(views) as connection:
        assert digest(connection, projection).sha256 in digests(views, ("b",))
    assert places(views, shard, names=("a", "b")) == {40}


def test_a_commit_whose_answer_was_lost_is_neither_repeated_nor_missed(views: Engine) -> None:
    (shard,) = shards_of(1, 40)
    if views.dialect.name == "sqlite":
        pytest.skip("SQLite answers or has not committed")
    lose = [True]

    def lost(connection: Connection) -> None:
        if lose and not connection.get_execution_options().get("postgresql_readonly"):
            lose.clear()
            connection.exec_driver_sql("commit")
            connection.exec_driver_sql("select pg_terminate_backend(pg_backend_pid())")

    async def run() -> None:
        outbox = Outbox()
        readers = await begin(make(views, outbox=outbox), shard)
        event.listen(views, "commit", lost)
        with pytest.raises(Exception, match=r"terminat|closed|connection"):
            await turn(readers, (shard, shard.deliveries(0, 20)))
        await turn(readers, (shard, shard.deliveries(0, 20)))
        await turn(readers, (shard, shard.deliveries(20)))
        assert len({wish.id for wish in outbox.wishes}) == 2 * 10

    asyncio.run(run())

    assert places(views, shard) == {40}
    assert digests(views) == {folded(views, shard)}


def test_turns_go_on_while_commands_are_sent(views: Engine) -> None:
    """A broker that takes its time holds up no view."""
    (shard,) = shards_of(1, 40)
    wishes: list[Wish] = []
    go_on = asyncio.Event()

    async def send(wanted: Sequence[Wish]) -> None:
        await go_on.wait()
        wishes.extend(wanted)

    async def run() -> None:
        readers = ReaderSet(views, "readers", [projector(views, "a"), ProcessReader(views, CLOSE, send)])
        await begin(readers, shard)
        await readers.apply({shard.name: shard.deliveries(0, 10)})
        sending = asyncio.create_task(readers.send_for(readers.processes[0]))
        for start in range(10, 40, 10):
            await readers.apply({shard.name: shard.deliveries(start, start + 10)})
        assert places(views, shard, names=("a",)) == {40}
        # None of the first ten events of a shard that end before its first command.
        assert places(views, shard, names=("close_again",)) == {0}
        go_on.set()
        await sending

    asyncio.run(run())

    assert places(views, shard, names=("close_again",)) == {40}
    assert len(wishes) == len({wish.id for wish in wishes}) == 20


def test_a_command_that_no_broker_takes_parks_its_stream(views: Engine) -> None:
    shard = Shard()
    for n in range(12):
        shard.append(f"s{n % 3}", "close")
    sent: list[Wish] = []
    poison = "tally/key/s1"

    async def send(wanted: Sequence[Wish]) -> None:
        if any(wish.subject == poison for wish in wanted):
            raise ValueError("too large")
        sent.extend(wanted)

    async def run() -> None:
        readers = ReaderSet(views, "readers", [projector(views, "a"), ProcessReader(views, CLOSE, send)])
        await begin(readers, shard)
        await turn(readers, (shard, shard.deliveries(0, 7)))
        await turn(readers, (shard, shard.deliveries(7)))

    asyncio.run(run())

    with reading(views) as connection:
        (stream,) = parked_streams(connection)
    assert (stream.reader, stream.stream, stream.waiting) == ("close_again", poison, 4)
    assert len({wish.id for wish in sent}) == 2 * 8
    assert places(views, shard, names=("a", "close_again")) == {12}


def test_a_redrive_after_a_turn_that_failed_is_not_lost(views: Engine) -> None:
    """Believed is read before any row is: else a row of before the redrive is written under its generation."""
    first, second = shards_of(2, 0)
    for n in range(9):
        first.append(f"s{n}")
        second.append("s", "bad" if n == 4 else "retired")

    def reads(event: object, record: object, session: object) -> None:
        session.get(tallies, "nobody")  # type: ignore[attr-defined]
        project(event, record, session)  # type: ignore[arg-type]

    member = Projector(views, Projection("a", ("tally",), (tallies, entries), reads), names=named("a"))

    async def run() -> None:
        broken.add("bad")
        readers = await begin(ReaderSet(views, "readers", [member]), first, second)
        await turn(readers, (first, first.deliveries(0, 5)), (second, second.deliveries(0, 6)))
        broken.clear()
        for shard in (first, second):
            member._doubt([shard.name])
        assert projector(views, "a").redrive("tally/key/s").applied == 2
        await turn(readers, (first, first.deliveries(5)), (second, second.deliveries(6)))

    asyncio.run(run())

    with reading(views) as connection:
        assert parked_streams(connection) == []
    assert digests(views, ("a",)) == {folded(views, first, second)}


def test_a_process_that_cannot_send_holds_up_nobody(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the views, nor another process; it falls behind, and catches up when its broker is back."""
    monkeypatch.setattr(sets, "MOST_UNSENT", 10)
    (shard,) = shards_of(1, 60)
    lame, well = Outbox(down=True), Outbox()
    other = replace(CLOSE, name="another")

    async def run() -> None:
        processes = [ProcessReader(views, CLOSE, lame.send), ProcessReader(views, other, well.send)]
        members = [projector(views, "a"), *processes]
        readers = ReaderSet(views, "readers", members)
        await begin(readers, shard)
        for start in range(0, 60, 6):
            await readers.apply({shard.name: shard.deliveries(start, start + 6)})
            for process in readers.processes:
                if readers.wants_to_send(process):
                    with suppress(KafkaConnectionError):
                        await readers.send_for(process)
        assert places(views, shard, names=("a", "another")) == {60}
        assert places(views, shard, names=("close_again",)) == {0}
        assert [member.name for member in readers.behind[shard.name]] == ["close_again"]
        lame.down = False
        while (position := await readers.behind_at(shard.name)) is not None:
            await send(readers)
            await readers.catch_up({shard.name: shard.deliveries(position.next)})
        await send(readers)

    asyncio.run(run())

    assert places(views, shard, names=("a", "another", "close_again")) == {60}
    assert len({wish.id for wish in lame.wishes}) == len({wish.id for wish in well.wishes}) == 30


def test_what_one_reader_misses_it_looks_for_beside(views: Engine) -> None:
    """A topic whose head is gone holds up a new reader, and none of those that have read it."""
    (shard,) = shards_of(1, 40)

    async def run() -> None:
        await turn(await begin(make(views, ("a", "b")), shard), (shard, shard.deliveries(0, 20)))
        readers = await begin(make(views), shard)
        applied = await readers.apply({shard.name: shard.deliveries(10)})
        assert applied[shard.name].gap is None
        assert [member.name for member in readers.behind[shard.name]] == ["c"]

    asyncio.run(run())

    assert places(views, shard, names=("a", "b")) == {40}
    assert places(views, shard, names=("c",)) == {0}


def test_people_are_told_who_reads_what(views: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "NEAR_RECORDS", 5)
    shard = Shard()
    for n in range(20):
        shard.append(f"s{n % 3}", "bad" if n == 4 else "retired")

    def said() -> dict[str, str]:
        with reading(views) as connection:
            return {state.reader: state.state for state in reader_states_in(connection)}

    async def run() -> None:
        broken.add("bad")
        await turn(await begin(make(views, ("a",)), shard), (shard, shard.deliveries(0, 10)))
        readers = await begin(make(views), shard)
        await turn(readers, (shard, shard.deliveries(10)))
        await readers.look_after()
        assert said() == {"a": PARKED, "b": CATCHING_UP, "c": CATCHING_UP}
        broken.clear()
        await readers.catch_up({shard.name: shard.deliveries()})
        projector(views, "c").claim([shard.name])
        await readers.look_after()
        assert said() == {"a": PARKED, "b": LIVE, "c": LEFT}
        await readers.end()
        assert set(said().values()) == {UNREAD}

    asyncio.run(run())


def test_readers_of_a_deployment_keep_their_positions_when_it_is_upgraded(store_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    from adapters.sql import engine_for, schema

    engine = engine_for(store_url)
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS / "views"))
    config.set_main_option("path_separator", "os")

    def to(revision: str) -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    to("0004")
    row = ("routing", "a.events/1", 7, "f" * 64, "2026-01-01T00:00:00Z", 9, 3, 2)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"insert into positions values {row}")
        connection.execute(
            text(
                "insert into parked (reader, shard, sequence, stream, \"offset\", value, reason, attempts, since)"
                " values ('routing', 'a.events/1', 5, 'a/x/1', 5, :value, 'why', 1, '2026')"
            ),
            {"value": b"{}"},
        )  # fmt: skip

    to("heads")

    with reading(engine) as connection:
        (position,) = positions_of(connection, "routing").values()
        (stream,) = parked_streams(connection, "routing")
    assert (position.next, position.offset, position.epoch, position.generation) == (7, 9, 3, 2)
    assert stream.sequence == 5
    engine.dispose()
