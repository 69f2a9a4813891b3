"""A key is in the vault, wrapped, or it is destroyed: in the database, in copies of it, and in its masters."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from adapters.keys import KeyFileUnsafe
from adapters.sql import engine_for
from adapters.vault import Destroyed, Vault
from adapters.vault.tables import sealing_keys
from tests.databases import upgrade


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    found = engine_for(store_url)
    upgrade(found, "vault")
    yield found
    found.dispose()


@pytest.fixture
def vault(engine: Engine, tmp_path: Path) -> Vault:
    return Vault(engine, tmp_path / "keys")


def test_a_person_has_one_key_for_each_class_and_year(vault: Vault) -> None:
    first, is_new = vault.key_for("ada", "none", 2026)
    again, is_new_again = vault.key_for("ada", "none", 2026)
    others = {vault.key_for(*who)[0].key for who in (("ada", "kyc", 2026), ("ada", "none", 2027), ("bob", "none", 2026))}

    assert (is_new, is_new_again) == (True, False)
    assert first == again
    assert len(others | {first.key}) == 4
    assert len(vault.open(first.key)) == 32
    assert len(vault.keys_of("ada")) == 3


def test_a_destroyed_key_is_gone_and_the_others_open_as_before(vault: Vault) -> None:
    ada, bob = vault.key_for("ada", "none", 2026)[0], vault.key_for("bob", "none", 2026)[0]
    secret = vault.open(bob.key)

    vault.destroy([ada.key])
    vault.destroy([ada.key])

    with pytest.raises(Destroyed):
        vault.open(ada.key)
    assert vault.open(bob.key) == secret
    assert vault.keys_of("ada") == []


def test_a_person_who_comes_back_has_a_new_key(vault: Vault) -> None:
    before = vault.key_for("ada", "none", 2026)[0]
    vault.destroy([before.key])

    assert vault.key_for("ada", "none", 2026)[0].key != before.key


def test_the_master_that_could_open_an_older_copy_is_gone(engine: Engine, tmp_path: Path) -> None:
    """A backup of the database still holds the wrapped key: it must be of no use."""
    vault = Vault(engine, tmp_path / "keys")
    key = vault.key_for("ada", "none", 2026)[0].key
    with engine.begin() as connection:
        backup = connection.execute(text("select * from vault_sealing_keys")).all()

    vault.destroy([key])
    with engine.begin() as connection:
        connection.execute(
            text("insert into vault_sealing_keys values (:key, :person, :retention_class, :year, :master, :wrapped)"),
            [row._asdict() for row in backup],
        )

    with pytest.raises(FileNotFoundError):
        vault.open(key)
    assert len(list((tmp_path / "keys").glob("*.master"))) == 1


def test_nothing_of_a_destroyed_key_or_its_person_is_left_in_the_file(tmp_path: Path) -> None:
    """Deleted rows stay in SQLite's free pages and in its write-ahead log, unless somebody sees to it."""
    found = engine_for(f"sqlite:///{tmp_path}/vault.db")
    upgrade(found, "vault")
    vault = Vault(found, tmp_path / "keys")
    key = vault.key_for("ada.lovelace@example", "none", 2026)[0].key
    with sqlite3.connect(tmp_path / "vault.db") as reading:
        [wrapped] = reading.execute("select wrapped from vault_sealing_keys").fetchone()

    vault.destroy([key])

    left = b"".join(path.read_bytes() for path in tmp_path.glob("vault.db*"))
    assert wrapped not in left
    assert b"lovelace" not in left
    found.dispose()


def test_a_rotation_that_was_interrupted_is_finished_by_the_next(engine: Engine, tmp_path: Path) -> None:
    """Made a new master, and died before anything was wrapped under it."""
    vault = Vault(engine, tmp_path / "keys")
    ada, bob = vault.key_for("ada", "none", 2026)[0], vault.key_for("bob", "none", 2026)[0]
    secret = vault.open(bob.key)
    vault._make_master(2)

    again = Vault(engine, tmp_path / "keys")
    again.destroy([ada.key])

    assert again.open(bob.key) == secret
    assert [path.name for path in (tmp_path / "keys").glob("*.master")] == ["vault-3.master"]


def test_vaults_at_once_lose_no_key(engine: Engine, tmp_path: Path) -> None:
    """Two auditors erase, others seal meanwhile: of a master that two make at once, all keys of one are lost."""
    barrier = Barrier(4)

    def use(name: str) -> list[str]:
        mine = engine_for(engine.url)
        barrier.wait()
        vault = Vault(mine, tmp_path / "keys")
        kept = []
        for n in range(6):
            gone, stays = (vault.key_for(f"{name} {n} {what}", "none", 2026)[0].key for what in ("gone", "stays"))
            vault.destroy([gone])
            kept.append(stays)
        mine.dispose()
        return kept

    with ThreadPoolExecutor(4) as pool:
        kept = [key for keys in pool.map(use, "abcd") for key in keys]

    vault = Vault(engine, tmp_path / "keys")
    assert len({vault.open(key) for key in kept}) == 24
    assert len(list((tmp_path / "keys").glob("*.master"))) == 1


def test_a_key_that_a_killed_process_is_still_making_is_wrapped_under_the_new_master(store_url: str, tmp_path: Path) -> None:
    """It let go of the file when it died, and PostgreSQL commits what it had sent."""
    if not store_url.startswith("postgresql"):
        pytest.skip("a file has one writer, and what he did not commit is gone with him")
    engine = engine_for(store_url)
    upgrade(engine, "vault")
    vault = Vault(engine, tmp_path / "keys")
    gone = vault.key_for("ada", "none", 2026)[0].key
    killed = engine_for(store_url)
    with ThreadPoolExecutor(1) as pool, killed.connect() as connection:
        values = {"key": "ab" * 16, "person": "bob", "retention_class": "none", "year": 2026, "master": 1}
        wrapped = vault._wrap(b"\x07" * 32, "ab" * 16, 1)
        connection.execute(insert(sealing_keys).values(**values, wrapped=wrapped))
        erasing = pool.submit(Vault(engine, tmp_path / "keys").destroy, [gone])
        with suppress(TimeoutError):
            erasing.result(timeout=0.5)
        connection.commit()
        erasing.result(timeout=20)

    assert vault.open("ab" * 16) == b"\x07" * 32
    for made in (engine, killed):
        made.dispose()


@pytest.mark.parametrize("place", ["wrapped", "insert", "commit"])
def test_a_key_that_is_made_while_others_are_destroyed_is_not_under_a_destroyed_master(
    store_url: str, tmp_path: Path, place: str
) -> None:
    """Wherever its maker is when the master is to be replaced: the one that destroys waits, or finds the key."""
    making, destroying = engine_for(store_url), engine_for(store_url)
    upgrade(making, "vault")
    gone = Vault(destroying, tmp_path / "keys").key_for("ada", "none", 2026)[0].key
    reached, go_on = Event(), Event()

    def pause(*_: object) -> None:
        reached.set()
        go_on.wait(20)

    class Paused(Vault):
        def _wrap(self, secret: bytes, key: str, version: int) -> bytes:
            wrapped = super()._wrap(secret, key, version)
            if place == "wrapped":
                pause()
            return wrapped

    inserted: list[str] = []

    def before_statement(_c: object, _cursor: object, sql: str, *_: object) -> None:
        if sql.lower().startswith("insert"):
            inserted.append(sql)
            if place == "insert":
                pause()

    def before_commit(_: object) -> None:
        if place == "commit" and inserted:
            pause()

    event.listen(making, "before_cursor_execute", before_statement)
    event.listen(making, "commit", before_commit)
    with ThreadPoolExecutor(2) as pool:
        made = pool.submit(Paused(making, tmp_path / "keys").key_for, "bob", "none", 2026)
        assert reached.wait(20)
        destroyed = pool.submit(Vault(destroying, tmp_path / "keys").destroy, [gone])
        with pytest.raises(TimeoutError):
            destroyed.result(timeout=0.5)
        go_on.set()
        key = made.result(20)[0].key
        destroyed.result(20)

    vault = Vault(destroying, tmp_path / "keys")
    assert len(vault.open(key)) == 32
    with pytest.raises(Destroyed):
        vault.open(gone)
    assert [path.name for path in (tmp_path / "keys").glob("*.master")] == ["vault-2.master"]
    for engine in (making, destroying):
        engine.dispose()


@pytest.mark.parametrize("rotations", [1, 3])
def test_a_key_is_opened_whatever_becomes_of_its_master_meanwhile(engine: Engine, tmp_path: Path, rotations: int) -> None:
    """The file is overwritten before it is unlinked, and whoever read the row may read it in between, or be late again."""
    vault = Vault(engine, tmp_path / "keys")
    key = vault.key_for("ada", "none", 2026)[0].key
    secret = vault.open(key)
    left = [rotations]

    class Late(Vault):
        def _row(self, key: str) -> Any:
            row = super()._row(key)
            if left[0]:
                left[0] -= 1
                vault.destroy([])
                # As it is for a moment.
                (tmp_path / "keys" / f"vault-{row.master}.master").write_bytes(bytes(32))
                (tmp_path / "keys" / f"vault-{row.master}.master").chmod(0o600)
            return row

    assert Late(engine, tmp_path / "keys").open(key) == secret


def test_a_persons_tag_stays_the_same_and_is_nobody_elses(engine: Engine, tmp_path: Path) -> None:
    """Whatever is destroyed meanwhile: a hold names the person by it."""
    vault = Vault(engine, tmp_path / "keys")
    key = vault.key_for("ada", "none", 2026)[0].key
    before = vault.tag_of("ada")
    assert vault.persons_of([key, "00" * 16]) == ["ada"]
    vault.destroy([key])

    assert Vault(engine, tmp_path / "keys").tag_of("ada") == before
    assert Vault(engine, tmp_path / "other").tag_of("ada") != before != vault.tag_of("bob")
    assert vault.persons_of([key]) == []
    assert (tmp_path / "keys" / "vault.tag").stat().st_mode & 0o077 == 0


def test_a_master_that_others_may_read_is_not_used(engine: Engine, tmp_path: Path) -> None:
    vault = Vault(engine, tmp_path / "keys")
    key = vault.key_for("ada", "none", 2026)[0].key
    for path in (tmp_path / "keys").glob("*.master"):
        path.chmod(0o644)

    with pytest.raises(KeyFileUnsafe):
        vault.open(key)
