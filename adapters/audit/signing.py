"""Signing the head: never two roots for one size, never a tree that is not a later one of what was signed last.

What was signed last is also in a file outside the database, so that a database that was restored from an older backup is
recognised before it signs a fork. The file is written before the signature is given away. That anything was signed is noted
elsewhere, too, so that a log that has lost both does not begin once more.
"""

import logging
import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from adapters.audit import tables
from adapters.audit.log import AuditLog
from adapters.audit.tables import or_keep
from adapters.crash import crashpoint
from adapters.locks import AlreadyRuns, held
from adapters.sql import reading
from adapters.tlog.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from adapters.tlog.notes import NoteKey, NoteSigner

log = logging.getLogger(__name__)


class Elsewhere(Protocol):
    """Where neither the database nor the file is: it remembers that a log has signed, and not what."""

    def has_signed(self) -> bool:
        """Raises SQLAlchemy's errors."""
        ...

    def note(self) -> None:
        """From now on it has. Raises SQLAlchemy's errors."""
        ...


class RolledBack(RuntimeError):
    """The database has fewer leaves than were signed: it was restored from an older backup, and must not sign."""


class Unremembered(RuntimeError):
    """Heads were signed, and the file that holds the last is gone: nothing tells whether this database is an older copy."""


class Forked(RuntimeError):
    """The tree at a size that was signed has another root now: history was rewritten."""


def sign_head(engine: Engine, signer: NoteSigner, last_signed: Path, elsewhere: Elsewhere | None = None) -> str | None:
    """The note of a newly signed head; None where nothing was appended since, or another signs.

    One at a time with that file: a sleeper would put an older head into it, and an older copy of the database follow on.
    Raises RolledBack, Forked, Unremembered, and SQLAlchemy's errors.
    """
    try:
        with held(last_signed.with_suffix(".lock"), "the signing of heads", within_seconds=0):
            return _sign_head(engine, signer, last_signed, elsewhere)
    except AlreadyRuns:
        return None


def check_signed(engine: Engine, key: NoteKey, last_signed: Path, elsewhere: Elsewhere | None = None) -> None:
    """Whether the tree may be signed, as far as is known what was. Raises RolledBack, Forked, Unremembered."""
    head = AuditLog(engine).head()
    _check(engine, key, last_signed, elsewhere, 0 if head is None else head.size)


def _sign_head(engine: Engine, signer: NoteSigner, last_signed: Path, elsewhere: Elsewhere | None) -> str | None:
    head = AuditLog(engine).head()
    size = 0 if head is None else head.size
    _, stored = _check(engine, signer.key, last_signed, elsewhere, size)
    if head is None or not size or (stored is not None and stored.size == size):
        return None
    checkpoint = Checkpoint(signer.key.name, size, head.root)
    note = sign_checkpoint(checkpoint, signer)
    _write(last_signed, note)
    crashpoint("audit.noted")
    # After the file: whoever dies in between is no log that has forgotten what it signed.
    _note(elsewhere, is_first=stored is None)
    crashpoint("audit.remembered")
    _store(engine, size, head.root, note)
    crashpoint("audit.signed")
    return note


def _check(
    engine: Engine, key: NoteKey, last_signed: Path, elsewhere: Elsewhere | None, size: int
) -> tuple[Checkpoint | None, Checkpoint | None]:
    """What was signed last by the file, and by the database."""
    noted, stored = _in_file(last_signed, key), _in_database(engine, key)
    if noted is None and stored is not None:
        raise Unremembered(f"a tree of {stored.size} leaves was signed, and {last_signed} is gone. {_REMEDY}")
    if noted is None and elsewhere is not None and elsewhere.has_signed():
        raise Unremembered(f"heads of this log were signed, the database has none, and {last_signed} is gone. {_REMEDY}")
    for known in (noted, stored):
        if known is not None:
            _follows(AuditLog(engine), size, known)
    return noted, stored


_REMEDY = (
    "Bring the audit log's database back as it was, and with the newest head that you, a witness or an auditor has kept, run:"
    " spaceos audit adopt HEAD"
)


def _note(elsewhere: Elsewhere | None, *, is_first: bool) -> None:
    if elsewhere is None:
        return
    try:
        elsewhere.note()
    except SQLAlchemyError as error:
        if is_first:
            raise
        # The file is there, and with the next head it is noted.
        log.warning("that heads are signed could not be noted: %s", str(error).partition("\n")[0])


def adopt_head(engine: Engine, signer: NoteSigner, last_signed: Path, note: str) -> Checkpoint:
    """Take a head that was kept elsewhere for the one that was signed last, where the file that holds that is gone.

    It is the operator's word, as far as the database has a tree that continues it. Raises NoteInvalid, RolledBack, Forked,
    AlreadyRuns, FileExistsError.
    """
    with held(last_signed.with_suffix(".lock"), "the signing of heads", within_seconds=0):
        if last_signed.exists():
            raise FileExistsError(f"{last_signed} is there: nothing has to be adopted")
        found, _ = open_checkpoint(note.encode(), signer.key)
        audit = AuditLog(engine)
        head = audit.head()
        for known in filter(None, (found, _in_database(engine, signer.key))):
            _follows(audit, 0 if head is None else head.size, known)
        _write(last_signed, note)
    return found


def _store(engine: Engine, size: int, root: bytes, note: str) -> None:
    where = tables.checkpoints.c.size == size
    with engine.begin() as connection:
        connection.execute(or_keep(connection, tables.checkpoints), {"size": size, "root": root, "note": note})
        kept = connection.execute(select(tables.checkpoints.c.root).where(where)).scalar_one()
    if bytes(kept) != root:
        raise Forked(f"the tree of {size} leaves was signed with another root a moment ago, elsewhere")


def _follows(log: AuditLog, size: int, known: Checkpoint) -> None:
    if known.size > size:
        raise RolledBack(f"a tree of {known.size} leaves was signed, the database has {size}: it is an older copy")
    if log.root(known.size) != known.root:
        raise Forked(f"the tree of {known.size} leaves was signed with another root: history was rewritten")


def _in_file(path: Path, key: NoteKey) -> Checkpoint | None:
    return open_checkpoint(path.read_bytes(), key)[0] if path.exists() else None


def _in_database(engine: Engine, key: NoteKey) -> Checkpoint | None:
    newest = select(tables.checkpoints.c.note).order_by(tables.checkpoints.c.size.desc()).limit(1)
    with reading(engine) as connection:
        note = connection.execute(newest).scalar()
    return open_checkpoint(note.encode(), key)[0] if note is not None else None


def _write(path: Path, note: str) -> None:
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
