"""The vault: the keys under which personal data is sealed. Destroying one is what erasing a person means.

A key is 32 random bytes, stored wrapped (XChaCha20-Poly1305) under a master that is in a file of its own. Destroying
deletes the row and replaces the master: the file that could unwrap an older copy of the row, in a backup or in the
database's own free pages, is gone as well.
"""

import hmac
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as unwrap
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as wrap
from nacl.exceptions import CryptoError
from sqlalchemy import Engine, delete, insert, select, text, update

from adapters.keys import KeyFileUnsafe
from adapters.locks import held
from adapters.sql import reading
from adapters.vault.tables import sealing_keys

OTHERS_SECONDS = 60.0
"""How long another's change of the vault is waited for."""
_NONCE_BYTES = 24
_TAG_KEY = "vault.tag"


class Destroyed(LookupError):
    """The vault has no such key: it was destroyed, or never made here."""


@dataclass(frozen=True, slots=True)
class KeyOf:
    """A sealing key's public side: whose, and for which records."""

    key: str
    person: str
    retention_class: str
    year: int


class Vault:
    """Sealing keys in a database, wrapped under the newest master in `folder`.

    Raises KeyFileUnsafe where others read it, AlreadyRuns where another's change of the vault does not come to an end.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        if not self._masters():
            with self._alone():
                if not self._masters():
                    self._make_master(1)

    def key_for(self, person: str, retention_class: str, year: int) -> tuple[KeyOf, bool]:
        """The person's key for records of that class and year, and whether it was made just now."""
        wanted = (sealing_keys.c.person == person) & (sealing_keys.c.retention_class == retention_class)
        known = select(sealing_keys).where(wanted & (sealing_keys.c.year == year))
        with reading(self._engine) as connection:
            if (row := connection.execute(known).first()) is not None:
                return KeyOf(row.key, person, retention_class, year), False
        with self._alone(), self._engine.begin() as connection:
            if (row := connection.execute(known).first()) is not None:
                return KeyOf(row.key, person, retention_class, year), False
            made = KeyOf(os.urandom(16).hex(), person, retention_class, year)
            version = max(self._masters())
            connection.execute(
                insert(sealing_keys).values(
                    key=made.key, person=person, retention_class=retention_class, year=year, master=version,
                    wrapped=self._wrap(os.urandom(32), made.key, version),
                )
            )  # fmt: skip
        return made, True

    def open(self, key: str) -> bytes:
        """The key itself. Raises Destroyed, and FileNotFoundError or CryptoError where its master is lost."""
        row = self._row(key)
        while True:
            try:
                return self._unwrap(bytes(row.wrapped), key, row.master)
            except (FileNotFoundError, CryptoError):
                # Its master may have been replaced since the row was read, and is overwritten before it is gone.
                tried, row = row.master, self._row(key)
                if row.master == tried:
                    raise

    def keys_of(self, person: str) -> Sequence[KeyOf]:
        """All that are left of a person."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(sealing_keys).where(sealing_keys.c.person == person)).all()
        return [KeyOf(row.key, row.person, row.retention_class, row.year) for row in rows]

    def persons_of(self, keys: Sequence[str]) -> Sequence[str]:
        """Whose the keys are, each once; those that are destroyed are nobody's."""
        statement = select(sealing_keys.c.person).where(sealing_keys.c.key.in_(keys)).distinct()
        with reading(self._engine) as connection:
            return sorted(connection.execute(statement).scalars())

    def tag_of(self, person: str) -> str:
        """What a hold names the person by: the same for ever, and without the vault it says nothing."""
        path = self._folder / _TAG_KEY
        if not path.exists():
            with self._alone():
                if not path.exists():
                    self._make_secret(path)
        return hmac.digest(_read_secret(path), person.encode(), "sha256").hex()

    def destroy(self, keys: Sequence[str]) -> None:
        """Delete the keys, and make every older copy of them unreadable. Doing it twice is harmless."""
        with self._alone():
            with self._engine.begin() as connection:
                connection.execute(delete(sealing_keys).where(sealing_keys.c.key.in_(keys)))
            self._rotate_master()
            self._scrub()

    def _row(self, key: str) -> Any:
        with reading(self._engine) as connection:
            row = connection.execute(select(sealing_keys).where(sealing_keys.c.key == key)).first()
        if row is None:
            raise Destroyed(f"the sealing key {key} is destroyed, or was never here")
        return row

    def _alone(self) -> AbstractContextManager[None]:
        """One at a time changes masters or wraps under them: a master that two make is one of which all keys are lost."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return held(self._folder / "vault.lock", "a change of the vault", within_seconds=OTHERS_SECONDS)

    def _rotate_master(self) -> None:
        """Wrap what is left under a new master, then destroy the old ones. A crash in between leaves both, and is repeated."""
        newest = max(self._masters()) + 1
        self._make_master(newest)
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # Whoever made a key and was killed has let go of the file, while the server still commits: this lock waits.
                connection.execute(text(f"lock table {sealing_keys.name} in share row exclusive mode"))
            for row in connection.execute(select(sealing_keys).where(sealing_keys.c.master < newest)).all():
                wrapped = self._wrap(self._unwrap(bytes(row.wrapped), row.key, row.master), row.key, newest)
                changed = update(sealing_keys).where(sealing_keys.c.key == row.key)
                connection.execute(changed.values(wrapped=wrapped, master=newest))
        for version, path in self._masters().items():
            if version < newest:
                _overwrite(path)

    def _scrub(self) -> None:
        # Deleted rows would else stay in free pages and in the write-ahead log. Neither may run in a transaction.
        if self._engine.dialect.name == "sqlite":
            with closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("vacuum")
                connection.cursor().execute("pragma wal_checkpoint(truncate)")

    def _masters(self) -> dict[int, Path]:
        return {int(path.stem.removeprefix("vault-")): path for path in self._folder.glob("vault-*.master")}

    def _make_master(self, version: int) -> None:
        self._make_secret(self._folder / f"vault-{version}.master")

    def _make_secret(self, path: Path) -> None:
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        # Not a rename: never over a master that is there.
        os.link(path.with_suffix(".new"), path)
        path.with_suffix(".new").unlink()
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _master(self, version: int) -> bytes:
        return _read_secret(self._folder / f"vault-{version}.master")

    def _wrap(self, secret: bytes, key: str, version: int) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + wrap(secret, key.encode(), nonce, self._master(version))

    def _unwrap(self, wrapped: bytes, key: str, version: int) -> bytes:
        return unwrap(wrapped[_NONCE_BYTES:], key.encode(), wrapped[:_NONCE_BYTES], self._master(version))


def _read_secret(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeyFileUnsafe(f"{path} may be read by others; run: chmod 600 {path}")
    return path.read_bytes()


def _overwrite(path: Path) -> None:
    # Overwritten before it is unlinked, which a journalling disk may not honour: the disk itself is encrypted in production.
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
