"""Looks at random places of a log: nothing is found in one that is as it was written, and every change in one that is not."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from adapters.audit.cosignatures import RESOLVED, resolve_refusal, standing_refusal
from adapters.audit.patrol import NO_SHARD, PATROL, Patrol, Tampering
from adapters.keys import verify
from tests.adapters.audit.log import WRITER
from tests.adapters.audit.test_signing import SIGNER, Log

TURNS = 400


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    made.grow(0, 103)
    made.sign()
    yield made
    made.engine.dispose()


def patrol(log: Log) -> Patrol:
    return Patrol(log.engine, SIGNER.key, by_the_writer, chance=Random(7))


def by_the_writer(did: str, value: bytes, signature: str) -> bool:
    return did == WRITER.did and verify(did, value, signature)


def first_found(log: Log) -> list[Tampering]:
    mine = patrol(log)
    return next((found for _ in range(TURNS) if (found := mine.turn())), [])


def test_nothing_is_found_in_a_log_that_is_as_it_was_written(log: Log) -> None:
    """Also while it grows, and before anything is signed."""
    mine = patrol(log)

    for start in range(103, 163, 10):
        assert [found for _ in range(20) for found in mine.turn()] == []
        log.grow(start, start + 10)
        assert [found for _ in range(20) for found in mine.turn()] == []
        log.sign()


def test_a_log_without_a_head_is_let_be(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert patrol(log).turn() == []

    log.grow(0, 5)

    assert patrol(log).turn() == []


def _hex(column: str, at: int) -> str:
    """The column with another byte at the place (from 1)."""
    before, after = f"substr({column}, 1, {at - 1})", f"substr({column}, {at + 1})"
    return f"cast({before} || x'FF' || {after} as blob)"


LAST = "(select max(leaf) from audit_leaves where shard != '')"
CHANGES: dict[str, tuple[set[str], str]] = {
    "a byte of an entry": ({"proof", "tile"}, f"update audit_leaves set entry = {_hex('entry', 300)} where leaf = 77"),
    "a byte of the last entry": (
        {"proof", "tile"},
        f"update audit_leaves set entry = {_hex('entry', 300)} where leaf = {LAST}",
    ),
    "a byte of a seal": ({"entries", "proof", "tile"}, f"update audit_leaves set entry = {_hex('entry', 20)} where shard = ''"),
    "an entry is gone": ({"entries", "tile"}, "delete from audit_leaves where leaf = 77"),
    "an entry's name": ({"index"}, "update audit_leaves set actor = 'did:key:z6MkNobody' where leaf < 200"),
    "a tile's hash": (
        {"proof", "tile"},
        f"update audit_tiles set hashes = {_hex('hashes', 40)} where level = 0 and number = 1",
    ),
    "a higher tile's hash": ({"proof", "tile"}, f"update audit_tiles set hashes = {_hex('hashes', 7)} where level = 1"),
    "a tile is gone": ({"proof", "tile"}, "delete from audit_tiles where level = 0 and number = 0"),
    "the head's note": ({"checkpoint"}, "update audit_checkpoints set note = replace(note, 'test/1', 'test/2')"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_found(log: Log, name: str) -> None:
    checks, statement = CHANGES[name]
    log.tamper(statement)

    found = first_found(log)

    assert found
    assert {tampering.finding.check for tampering in found} <= checks


def test_it_says_which_shard_and_which_bytes(log: Log) -> None:
    """What is reported is a command to the shard's stream, so it must have a name that a stream may have."""
    log.tamper(f"update audit_leaves set entry = {_hex('entry', 300)}, shard = 'Ünknown/../x' where leaf = 77")

    looks = (Patrol(log.engine, SIGNER.key, by_the_writer, chance=Random(seed)).turn() for seed in count())
    found = next(of_it for look in looks if (of_it := [tampering for tampering in look if tampering.entry == 77]))

    assert {tampering.shard for tampering in found} == {NO_SHARD}
    assert all(len(tampering.evidence) == 64 for tampering in found)


def test_the_signing_stops_until_an_operator_has_looked_into_it(log: Log) -> None:
    """What is found again meanwhile adds nothing."""
    log.tamper("update audit_leaves set actor = 'did:key:z6MkNobody'")
    mine = patrol(log)
    for moment in (1_000, 1_001):
        mine.distrust(mine.turn()[0], moment)

    refusal = standing_refusal(log.engine)
    resolved = resolve_refusal(log.engine, 2_000, "a test")

    assert refusal is not None
    assert (refusal.posix_seconds, refusal.witness) == (1_000, PATROL)
    assert refusal.answer.startswith("index: entry ")
    assert resolved == refusal
    assert standing_refusal(log.engine) is None
    with log.engine.connect() as connection:
        rows = connection.execute(text("select status from audit_refusals order by id")).scalars().all()
    assert rows == [422, RESOLVED]


def test_what_was_found_before_an_operator_looked_into_it_stops_nothing_after(log: Log) -> None:
    """A patrol that was suspended between its look and its word: its next look says what is still so."""
    log.tamper("update audit_leaves set actor = 'did:key:z6MkNobody'")
    sleeper, other = patrol(log), patrol(log)
    found = sleeper.turn()[0]
    other.distrust(other.turn()[0], 1_000)
    resolve_refusal(log.engine, 2_000, "a test")

    sleeper.distrust(found, 2_001)
    before = standing_refusal(log.engine)
    sleeper.distrust(sleeper.turn()[0], 2_002)

    assert before is None
    assert standing_refusal(log.engine) is not None
