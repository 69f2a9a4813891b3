"""Heads that are signed, what keeps them from being signed, and everything that somebody may do to the database."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from adapters.audit import AuditLog, Forked, RolledBack, Sequencer, check_log, sign_head
from adapters.audit.log import NotInLog
from adapters.audit.signing import Unremembered, adopt_head, check_signed
from adapters.keys import verify
from adapters.locks import held
from adapters.sql import engine_for
from adapters.tlog.checkpoints import open_checkpoint, sign_checkpoint
from adapters.tlog.notes import NoteInvalid, NoteSigner
from adapters.tlog.tiles import Tile, unpack_entries
from adapters.tlog.tree import leaf_hash, verify_consistency
from adapters.vouching import vouched_by
from tests.adapters.audit.log import NETWORK, WRITER, SignedShard, three
from tests.databases import upgrade

SIGNER = NoteSigner.of("audit.example/test/1", bytes(32))


class Log:
    """A log on SQLite with three shards, some of which is signed."""

    def __init__(self, folder: Path) -> None:
        self.file, self.last = folder / "audit.db", folder / "last-signed"
        self.engine = engine_for(f"sqlite:///{self.file}")
        upgrade(self.engine, "audit")
        self.shards = three(100)
        self.sequencer = Sequencer(self.engine, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
        self.sequencer.claim([shard.name for shard in self.shards])

    def grow(self, start: int, end: int) -> None:
        self.sequencer.apply({shard.name: shard.records[start:end] for shard in self.shards})

    def sign(self) -> str | None:
        return sign_head(self.engine, SIGNER, self.last)

    def checks(self) -> set[str]:
        return {finding.check for finding in check_log(self.engine, SIGNER.key, verify)}

    def tamper(self, *statements: str) -> None:
        """As somebody who may do anything to the database."""
        with self.engine.begin() as connection:
            _without_triggers(connection)
            for statement in statements:
                connection.execute(text(statement))


def _without_triggers(connection: Connection) -> None:
    for name in list(connection.scalars(text("select name from sqlite_master where type = 'trigger'"))):
        connection.execute(text(f"drop trigger {name}"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    made.grow(0, 40)
    made.sign()
    made.grow(40, 103)
    made.sign()
    yield made
    made.engine.dispose()


def test_a_head_is_signed_once_and_again_when_the_log_has_grown(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.sign() is None

    log.grow(0, 10)
    first, nothing = log.sign(), log.sign()
    log.grow(10, 30)
    second = log.sign()

    assert nothing is None
    assert first is not None
    assert second is not None
    (old, _), (new, _) = (open_checkpoint(note.encode(), SIGNER.key) for note in (first, second))
    proof = AuditLog(log.engine).tree(new.size).consistency(old.size)
    verify_consistency(old.size, new.size, proof, old.root, new.root)
    assert log.checks() == set()


def test_a_signature_that_was_not_stored_is_made_again_the_same(log: Log) -> None:
    """The process died between the file and the database."""
    note = log.last.read_text()
    log.tamper("delete from audit_checkpoints where size = (select max(size) from audit_checkpoints)")

    assert log.sign() == note


def test_an_older_copy_of_the_database_signs_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.grow(0, 10)
    log.sign()
    log.engine.dispose()
    shutil.copy(log.file, tmp_path / "older.db")
    log.grow(10, 20)
    log.sign()
    older = engine_for(f"sqlite:///{tmp_path}/older.db")

    with pytest.raises(RolledBack):
        sign_head(older, SIGNER, log.last)


def test_an_older_copy_signs_nothing_either_where_the_file_was_deleted(tmp_path: Path) -> None:
    """The file is all that could have told that it is older; with a head that somebody has kept the log goes on."""
    log = Log(tmp_path)
    log.grow(0, 10)
    first = log.sign()
    log.engine.dispose()
    shutil.copy(log.file, tmp_path / "older.db")
    log.grow(10, 20)
    newest = log.sign()
    log.last.unlink()
    older = engine_for(f"sqlite:///{tmp_path}/older.db")

    with pytest.raises(Unremembered, match="spaceos audit adopt"):
        sign_head(older, SIGNER, log.last)
    with pytest.raises(Unremembered):
        log.sign()
    with pytest.raises(RolledBack):
        adopt_head(older, SIGNER, log.last, str(newest))
    adopt_head(log.engine, SIGNER, log.last, str(newest))

    assert log.last.read_text() == newest
    log.grow(20, 30)
    assert log.sign() is not None
    with pytest.raises(FileExistsError):
        adopt_head(log.engine, SIGNER, log.last, str(first))
    older.dispose()


class Noted:
    """A note that something was signed, where neither database nor file is."""

    def __init__(self) -> None:
        self.is_noted = False

    def has_signed(self) -> bool:
        return self.is_noted

    def note(self) -> None:
        self.is_noted = True


def test_a_log_that_has_lost_database_and_file_does_not_begin_once_more(tmp_path: Path) -> None:
    """An empty database, or one of before the first head, is that of a new network but for what was noted elsewhere."""
    noted, log = Noted(), Log(tmp_path)
    log.grow(0, 10)
    log.engine.dispose()
    shutil.copy(log.file, tmp_path / "older.db")
    assert sign_head(log.engine, SIGNER, log.last, noted) is not None
    log.last.unlink()
    older, empty = engine_for(f"sqlite:///{tmp_path}/older.db"), engine_for(f"sqlite:///{tmp_path}/empty.db")
    upgrade(empty, "audit")

    for lost in (older, empty):
        with pytest.raises(Unremembered, match="spaceos audit adopt"):
            sign_head(lost, SIGNER, log.last, noted)
        with pytest.raises(Unremembered):
            check_signed(lost, SIGNER.key, log.last, noted)
        assert not log.last.exists()
        lost.dispose()


def test_a_log_whose_heads_are_lost_goes_on_from_the_one_that_was_kept(tmp_path: Path) -> None:
    """The leaves are there, so it is seen that they are those of the head."""
    noted, log = Noted(), Log(tmp_path)
    log.grow(0, 10)
    note = sign_head(log.engine, SIGNER, log.last, noted)
    log.last.unlink()
    log.tamper("delete from audit_checkpoints")
    with pytest.raises(Unremembered):
        sign_head(log.engine, SIGNER, log.last, noted)

    adopt_head(log.engine, SIGNER, log.last, str(note))

    assert sign_head(log.engine, SIGNER, log.last, noted) == note
    log.grow(10, 20)
    assert sign_head(log.engine, SIGNER, log.last, noted) is not None


def test_a_signer_that_dies_before_anything_was_given_away_signs_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the file and the note, and between the note and the database: what it leaves is no log that has forgotten."""
    noted, log = Noted(), Log(tmp_path)
    log.grow(0, 10)

    for place in ("audit.noted", "audit.remembered"):
        monkeypatch.setattr("adapters.audit.signing.crashpoint", partial(_die, place))
        with pytest.raises(KeyboardInterrupt):
            sign_head(log.engine, SIGNER, log.last, noted)
        assert noted.is_noted == (place == "audit.remembered")
    monkeypatch.undo()
    note = log.last.read_text()

    assert sign_head(log.engine, SIGNER, log.last, noted) == note


def _die(wanted: str, place: str) -> None:
    if place == wanted:
        raise KeyboardInterrupt


def test_what_cannot_be_noted_keeps_the_first_head_from_being_signed_and_no_later_one(tmp_path: Path) -> None:
    class Away(Noted):
        def note(self) -> None:
            raise OperationalError("insert", {}, Exception("away"))

    log = Log(tmp_path)
    log.grow(0, 10)
    for _ in range(2):
        with pytest.raises(OperationalError):
            sign_head(log.engine, SIGNER, log.last, Away())
    assert AuditLog(log.engine).checkpoint_size() == 0

    assert sign_head(log.engine, SIGNER, log.last, Noted()) is not None
    log.grow(10, 20)
    assert sign_head(log.engine, SIGNER, log.last, Away()) is not None


def test_a_head_that_another_key_has_signed_is_not_adopted(log: Log) -> None:
    other = NoteSigner.of(SIGNER.key.name, bytes([1]) * 32)
    found = open_checkpoint(log.last.read_bytes(), SIGNER.key)[0]
    log.last.unlink()

    with pytest.raises(NoteInvalid):
        adopt_head(log.engine, SIGNER, log.last, sign_checkpoint(found, other))
    assert not log.last.exists()


def test_a_log_that_was_written_anew_signs_nothing(log: Log, tmp_path: Path) -> None:
    """The same records in other batches: another history."""
    other = engine_for(f"sqlite:///{tmp_path}/other.db")
    upgrade(other, "audit")
    anew = Sequencer(other, NETWORK, vouched_by(NETWORK, [WRITER.did], verify))
    anew.claim([shard.name for shard in log.shards])
    for start in range(0, 103, 10):
        anew.apply({shard.name: shard.records[start : start + 10] for shard in log.shards})

    with pytest.raises(Forked):
        sign_head(other, SIGNER, log.last)


def test_every_event_is_proved_against_the_newest_signed_head(log: Log) -> None:
    audit = AuditLog(log.engine)
    for shard in log.shards:
        for record in shard.records[::17]:
            index = audit.index_of(record.value.decode().partition('"id":"')[2][:36])

            checkpoint, _ = audit.prove(index).verify(audit.entry(index), SIGNER.key)

            assert checkpoint.size == audit.checkpoint()[0]


def test_what_no_signed_head_covers_is_not_proved_yet(log: Log) -> None:
    shard = SignedShard(9).fill(1)
    log.sequencer.claim([shard.name])
    log.sequencer.apply({shard.name: shard.records})
    head = AuditLog(log.engine).head()
    assert head is not None

    with pytest.raises(NotInLog):
        AuditLog(log.engine).prove(head.size - 1)


def test_bundles_hold_the_entries_of_the_leaves(log: Log) -> None:
    audit = AuditLog(log.engine)

    entries = unpack_entries(audit.tile(Tile(None, 0)))

    assert [leaf_hash(entry) for entry in entries] == [audit.tile(Tile(0, 0))[at : at + 32] for at in range(0, 256 * 32, 32)]
    with pytest.raises(NotInLog):
        audit.tile(Tile(None, 7))


def _replaced(old: str, new: str, where: str) -> str:
    return f"update audit_leaves set entry = cast(replace(entry, '{old}', '{new}') as blob) where {where}"


TAMPERING: dict[str, tuple[str, tuple[str, ...]]] = {
    "an entry edited": ("signature", (_replaced("retired", "mistake", "leaf = 5"),)),
    "an entry deleted": ("entries", ("delete from audit_leaves where leaf = 5",)),
    "an entry deleted and the rest moved up": (
        "sequence",
        ("delete from audit_leaves where leaf = 5", "update audit_leaves set leaf = -leaf where leaf > 5",
         "update audit_leaves set leaf = -leaf - 1 where leaf < 0"),
    ),
    "two entries swapped": (
        "tile",
        ("update audit_leaves set leaf = -1 where leaf = 5", "update audit_leaves set leaf = 5 where leaf = 6",
         "update audit_leaves set leaf = 6 where leaf = -1"),
    ),
    "the newest entries cut off": (
        "checkpoint",
        ("delete from audit_leaves where leaf > 300", ),
    ),
    "an entry listed under another name": ("index", ("update audit_leaves set actor = 'did:key:z6MkNobody' where leaf = 5",)),
    "a tile edited": ("tile", ("update audit_tiles set hashes = zeroblob(length(hashes)) where level = 0 and number = 0",)),
    "a tile deleted": ("tile", ("delete from audit_tiles where level = 0 and number = 0",)),
    "a tile too many": ("tile", ("insert into audit_tiles values (3, 0, zeroblob(32))",)),
    "the head moved": ("head", ("update audit_head set size = size - 1",)),
    "the roots edited": ("head", ("update audit_head set roots = zeroblob(length(roots))",)),
    "a position moved": ("position", ("update audit_shards set next = next - 1 where shard like '%/0'",)),
    "a checkpoint's root edited": ("checkpoint", ("update audit_checkpoints set root = zeroblob(32)",)),
    "a checkpoint's note edited": ("checkpoint", ("update audit_checkpoints set note = replace(note, 'test/1', 'test/2')",)),
    "a seal edited": ("entries", (_replaced("kmerge/1", "kmerge/2", "shard = ''"),)),
    "a seal deleted": ("seal", ("delete from audit_leaves where shard = '' and sequence = 0",)),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_done_to_the_database_is_named(log: Log, name: str) -> None:
    check, statements = TAMPERING[name]
    assert log.checks() == set()

    log.tamper(*statements)

    assert check in log.checks()


def test_history_that_was_rewritten_whole_is_found_by_what_was_signed(log: Log, tmp_path: Path) -> None:
    """Whoever has the writer's key and the database can make a log that fits together, but not one that was signed."""
    rewritten = [SignedShard(n).fill(50) for n in range(3)]
    (tmp_path / "other").mkdir()
    other = Log(tmp_path / "other")
    other.sequencer.apply({shard.name: shard.records for shard in rewritten})
    with log.engine.connect() as connection:
        notes = connection.execute(text("select size, root, note from audit_checkpoints order by size")).all()
    rows: list[dict[str, Any]] = [dict(row._mapping) for row in notes[:1]]
    with other.engine.begin() as connection:
        connection.execute(text("insert into audit_checkpoints values (:size, :root, :note)"), rows)

    assert other.checks() == {"checkpoint"}


def test_checking_reads_only(log: Log) -> None:
    def contents() -> list[Any]:
        with log.engine.connect() as connection:
            return [connection.execute(text(f"select * from {t}")).all() for t in ("audit_head", "audit_shards", "audit_tiles")]

    before = contents()
    log.checks()

    assert contents() == before


def test_one_at_a_time_signs_with_a_file(log: Log) -> None:
    """One that slept before it wrote would put an older head into the file, and an older database would sign on."""
    log.sequencer.seal_idle()
    log.sequencer.seal_idle()
    with held(log.last.with_suffix(".lock"), "another auditor"):
        nothing = log.sign()

    assert nothing is None
    assert log.sign() is not None
