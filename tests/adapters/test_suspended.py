"""A writer that sleeps in the middle of a message is ended by whoever waits for what it holds."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from adapters.sql import driver, engine_for, is_transient, suspended
from adapters.sql.driver import Said, session
from adapters.sql.faults import as_sqlalchemys
from adapters.sql.store import CommandRow, Decided, Sealed, Shard, Store
from adapters.sql.suspended import end_sleepers
from tests.databases import upgrade


@pytest.fixture
def engines(postgres_url: str) -> Iterator[tuple[Engine, Engine]]:
    engines = engine_for(postgres_url), engine_for(postgres_url)
    upgrade(engines[0], "store")
    yield engines
    for engine in engines:
        engine.dispose()


def batch(shard: Shard) -> Decided:
    after = replace(shard, next_outcome=shard.next_outcome + 1)
    row = CommandRow(shard.id, shard.next_outcome, f"{shard.next_outcome} x", "h", "a", b"", "", b"o", None, None)
    return Decided([shard], now=datetime.now(UTC), seal=lambda _: Sealed(shards=[(shard, after)], commands=[row]))


def half_sent(asking: Any, shard: Shard) -> None:
    """As libpq leaves it whose process is stopped: what was larger than its buffer is on its way, without its end."""
    asking.ask([Said("select id from shards where id = ? for update", (shard.id,))])
    asking._libpq.enter_pipeline_mode()
    many = [([str(n).encode(), b"x" * 1_000_000], [0, 0]) for n in range(4)]
    asking._send("insert into deployment (name, value) values (?, ?)", many)


def go_on(asking: Any) -> None:
    asking._libpq.pipeline_sync()
    asking._flush()
    asking._receive(1, 4)


def test_half_a_message_holds_a_shard_no_longer_than_two_attempts(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time-out of the server's runs while it waits for the rest: the shard was nobody's until its owner woke."""
    monkeypatch.setattr(driver, "LOCK_SECONDS", 3)
    zombie, successor = engines[0], Store(engines[1])
    shard = successor.shard("a", 0)
    ended: list[BaseException] = []

    def sleep() -> None:
        with session(zombie) as asking, asking.transaction():
            half_sent(asking, shard)
            with pytest.raises(Exception) as caught:  # noqa: PT011  whether it passes is the question
                successor.commit(batch(shard))
            ended.append(caught.value)
            successor.commit(batch(shard))
            with as_sqlalchemys(zombie.dialect, asking._held):
                go_on(asking)

    with pytest.raises(Exception) as woken:  # noqa: PT011
        sleep()

    assert is_transient(ended[0])
    assert is_transient(woken.value), repr(woken.value)
    assert successor.shard("a", 0).next_outcome == 1
    with session(zombie) as asking:
        assert asking.ask([Said("select 1")]) == [[(1,)]]


@pytest.mark.parametrize("what", ["copies", "computes", "waits"])
def test_who_works_and_who_only_reads_is_left_alone(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A COPY waits for its client as half a message does, for hours if it has to."""
    monkeypatch.setattr(suspended, "IDLE_IN_TRANSACTION_SECONDS", 0)
    store = Store(engines[0])
    shard = store.shard("a", 0)
    with engines[0].connect() as connection:
        connection.execute(text("set idle_in_transaction_session_timeout = 0"))
        connection.execute(text("create temp table copied (n integer)"))
        raw: Any = connection.connection
        if what == "copies":
            with raw.cursor() as cursor, cursor.copy("copy copied from stdin") as copying:
                copying.write("1\n")
                assert end_sleepers(engines[1]) == 0
        else:
            if what == "waits":
                connection.execute(text("select * from shards for update"))
            assert end_sleepers(engines[1]) == 0
        connection.execute(text("select 1"))
    store.commit(batch(shard))


def test_what_cannot_be_made_asks_nothing(engines: tuple[Engine, Engine]) -> None:
    """Half of it was on its way, with the shard's row locked, when a value was asked for that took its time."""
    asked: list[Any] = []

    def values() -> Iterator[Said]:
        yield Said("insert into deployment (name, value) values (?, ?)", ("big", "x" * 1_000_000))
        with engines[1].connect() as other:
            theirs = "select state from pg_stat_activity where query like '%into deployment%' and pid <> pg_backend_pid()"
            asked.extend(other.execute(text(theirs)))
        raise KeyError

    def write() -> None:
        with session(engines[0]) as asking, asking.transaction():
            asking.ask([Said("select * from shards for update")])
            asking.ask(values())

    with pytest.raises(KeyError):
        write()

    assert [state for state, *_ in asked if state == "active"] == []
    assert Store(engines[0]).facts() == {}
