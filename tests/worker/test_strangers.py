"""What strangers send fills nothing: of what was refused to them digest, place and reason stay, and the newest bytes."""

from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import Row

import adapters.sql.statements as statements
from adapters.sql import reading, tables
from contracts import Digest, partition_of
from contracts.identity import ApproveKey
from tests.worker.world import World, propose, resigned, signed, someone, stranger, stream_of

KEPT = statements.MAX_STRANGERS_KEPT
MINE = 0
"""The partition that is flooded."""


def junk(n: int) -> bytes:
    """What does not parse, a kilobyte of it."""
    return b"%08d" % n * 128


def flood(world: World, first: int, end: int) -> None:
    for n in range(first, end):
        world.raw(MINE, b"identity/key/x", junk(n))


def registered(n: int) -> Any:
    """A command of a registrar's whose stream is in the flooded partition."""
    found = (someone(n * 1000 + more) for more in range(1, 1000))
    return propose(next(who for who in found if partition_of(stream_of(who), 2) == MINE))


def rows(world: World, partition: int = MINE) -> list[Row[Any]]:
    table, shards = tables.commands, tables.shards
    mine = select(table).join(shards, shards.c.id == table.c.shard).where(shards.c.partition == partition)
    with reading(world.engine) as connection:
        return list(connection.execute(mine.order_by(table.c.number)).all())


def assert_bounded(world: World, sent: int) -> None:
    """Of so many records of strangers the newest are there whole, of the others all but their bytes."""
    strangers = [row for row in rows(world) if row.kept is not None]
    assert len(strangers) == sent
    assert [row.kept for row in strangers] == [False] * max(sent - KEPT, 0) + [True] * min(sent, KEPT)
    for n, row in enumerate(strangers):
        assert bytes(row.command) == (junk(n) if row.kept else b"")
        assert row.hash == sha256(junk(n)).hexdigest()
        assert b'"refusal":{"name":"Malformed"' in bytes(row.outcome)


def test_of_a_flood_of_strangers_the_newest_bytes_are_kept_and_of_who_is_registered_all(world: World) -> None:
    """3,000 records in batches of any size, registered senders' among them; a restart and another owner in the middle."""
    ours = [registered(1), registered(2), registered(3)]
    world.publish(ours[0])
    flood(world, 0, 1_500)
    world.publish(ours[1])
    first = world.worker()
    for limit in (1, 7, 500, 993):
        first.work(limit)
    first.recover()
    first.work_all(300)
    assert_bounded(world, 1_500)

    flood(world, 1_500, 3_000)
    world.publish(ours[2])
    second = world.worker()
    second.work_all(1_000)

    assert_bounded(world, 3_000)
    kept = [row for row in rows(world) if row.kept is None]
    assert [bytes(row.command) for row in kept] == [sent.value for sent in ours]
    assert [world.refusal(sent) for sent in ours] == [None, None, None]
    assert sum(len(row.command) for row in rows(world)) <= KEPT * len(junk(0)) + sum(len(sent.value) for sent in ours)


def test_two_owners_of_a_shard_leave_as_much_as_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that lost it has its batch voided, with what it would have let go."""
    monkeypatch.setattr(statements, "_LET_GO", statements._LET_GO.replace(f"offset {KEPT - 1}", "offset 9"))
    flood(world, 0, 30)
    old, new = world.worker(), world.worker()
    old.work(8)
    new.recover()

    new.work(15)
    with pytest.raises(Exception, match="was believed"):
        old.work(15)
    old.recover()
    old.work_all(4)

    assert [row.kept for row in rows(world)] == [False] * 20 + [True] * 10
    assert [bytes(row.command) for row in rows(world)] == [b""] * 20 + [junk(n) for n in range(20, 30)]


def test_each_shard_keeps_its_own_newest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_LET_GO", statements._LET_GO.replace(f"offset {KEPT - 1}", "offset 4"))
    for partition in (0, 1):
        for n in range(8):
            world.raw(partition, b"identity/key/x", junk(n))

    world.worker().work_all()

    for partition in (0, 1):
        assert [row.kept for row in rows(world, partition)] == [False] * 3 + [True] * 5


@pytest.mark.parametrize(
    ("of", "kept"),
    [
        ("unreadable", True),
        ("badly signed in a registrar's name", True),
        ("for another network", True),
        ("signed by nobody registered", True),
        ("signed by nobody registered, malformed", True),
        ("a conflict of nobody registered", True),
        ("a conflict of a registrar's", None),
        ("refused to a registrar", None),
        ("accepted", None),
    ],
)
def test_whose_bytes_may_go_is_said_by_who_signed(world: World, of: str, kept: bool | None) -> None:
    """Whoever cannot be told is a stranger: anybody can write a registrar's name."""
    good, theirs = registered(1), propose(someone(5), by=stranger)
    approve = signed(ApproveKey(proposal=Digest("0" * 64)), stream_of(someone(6)))
    match of:
        case "unreadable":
            world.raw(MINE, None, b"{")
        case "badly signed in a registrar's name":
            world.publish(resigned(good.value, good.subject, stranger))
        case "for another network":
            world.publish(propose(someone(5), network="other"))
        case "signed by nobody registered":
            world.publish(theirs)
        case "signed by nobody registered, malformed":
            world.publish(resigned(theirs.value.replace(b"held_by", b"held_bx"), theirs.subject, stranger))
        case "a conflict of nobody registered":
            world.publish(theirs, propose(someone(5), by=stranger, role="a.b", id=theirs.id))
        case "a conflict of a registrar's":
            world.publish(good, resigned(good.value.replace(b"someone", b"another"), good.subject))
        case "refused to a registrar":
            world.publish(approve)
        case _:
            world.publish(good)

    world.worker().work_all()

    [*_, last] = rows(world, 0) or rows(world, 1)
    assert last.kept is kept
    assert ("refusal" in bytes(last.outcome).decode()) is (of != "accepted")


def test_a_stranger_who_sends_again_what_was_let_go_is_answered_as_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inbox knows it by its digest; other bytes under its id are still a conflict."""
    monkeypatch.setattr(statements, "_LET_GO", statements._LET_GO.replace(f"offset {KEPT - 1}", "offset 0"))
    theirs = propose(someone(5), by=stranger)
    world.publish(theirs)
    partition = partition_of(theirs.subject, 2)
    worker = world.worker()
    worker.work()
    world.raw(partition, None, b"{")
    worker.work()
    assert [bytes(row.command) for row in rows(world, partition)] == [b"", b"{"]

    world.publish(theirs, propose(someone(5), by=stranger, role="a.b", id=theirs.id))
    worker.work()

    assert world.repeats() == 1
    assert world.refusal(theirs) == "NotInRole"
    assert [o["data"]["refusal"]["name"] for o in world.outcomes(partition)] == ["NotInRole", "Malformed", "Conflict"]


def test_a_batch_without_strangers_asks_nothing_more(world: World) -> None:
    from sqlalchemy import event

    said: list[str] = []
    world.worker()
    event.listen(world.engine, "before_cursor_execute", lambda *asked: said.append(asked[2]))

    world.publish(registered(1), signed(ApproveKey(proposal=Digest("0" * 64)), stream_of(someone(6))))
    world.worker().work_all()
    assert not [sql for sql in said if "kept = false" in sql]

    flood(world, 0, 50)
    world.worker().work_all()
    assert len([sql for sql in said if "kept = false" in sql]) == 1


def test_what_an_earlier_version_kept_of_strangers_is_let_go_by_the_migration(world: World) -> None:
    """Digests, places and reasons stay; registered senders' commands are as they were."""
    from importlib import import_module

    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    migration = import_module("migrations.store.versions.0008_let_strangers_bytes_go")
    good, refused = registered(1), signed(ApproveKey(proposal=Digest("0" * 64)), registered(2).subject)
    conflict = resigned(good.value.replace(b"someone", b"another"), good.subject)
    world.publish(good, refused, conflict)
    flood(world, 0, KEPT + 300)
    world.worker().work_all(400)
    with world.engine.begin() as connection:
        connection.execute(text("drop index commands_of_strangers"))
        connection.execute(text("alter table commands drop column kept"))
        for n in range(300):
            where = tables.commands.c.hash == sha256(junk(n)).hexdigest()
            connection.execute(update(tables.commands).where(where).values(command=junk(n)))

    with world.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        migration.upgrade()
    # psycopg deallocates all that is prepared where a table was altered; a migration has a process of its own.
    world.engine.dispose()

    assert_bounded(world, KEPT + 300)
    kept = [row for row in rows(world) if row.kept is None]
    assert [bytes(row.command) for row in kept] == [good.value, refused.value, conflict.value]
    flood(world, KEPT + 300, KEPT + 310)
    world.worker().work_all()
    assert_bounded(world, KEPT + 310)


@pytest.mark.parametrize("are_counted", [False, True])
def test_the_oldest_are_found_by_their_index(world: World, are_counted: bool) -> None:
    """However many commands of others the shard has, and whether or not the database has counted them."""
    flood(world, 0, 20)
    world.worker().work_all()
    values = "'h', 's', c.command, '', c.outcome from commands c"
    columns = "(shard, number, identity, hash, subject, command, signature, outcome)"
    with world.engine.begin() as connection:
        for doubled in range(10):
            more = f"select shard, number + {20 * 2**doubled}, identity || '+{doubled}', {values}"
            connection.execute(text(f"insert into commands {columns} {more}"))
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if are_counted:
            connection.execute(text("analyze commands"))
        explain = "explain" if world.engine.dialect.name == "postgresql" else "explain query plan"
        sql = statements._LET_GO.replace("?", ":empty", 1).replace("?", "1")
        plan = "\n".join(str(row) for row in connection.execute(text(f"{explain} {sql}"), {"empty": b""}))

    assert len(rows(world)) == 20 * 2**10
    assert plan.count("commands_of_strangers") == 2, plan
