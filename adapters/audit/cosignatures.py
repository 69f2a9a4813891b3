"""What witnesses answered: their signature lines under signed heads, the newest head with enough of them, and refusals."""

import logging
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, insert, select, tuple_

from adapters.audit import tables
from adapters.audit.log import NotInLog, read_head
from adapters.audit.policy import Policy
from adapters.audit.tables import or_keep
from adapters.sql import reading
from adapters.tlog.notes import NoteInvalid, NoteKey, open_note

log = logging.getLogger(__name__)

PAGE = 1_000
ANSWER_CHARACTERS = 2_000
RESOLVED = 0


class Cosignature(NamedTuple):
    """A witness's line under the head of that size, and when it was made."""

    size: int
    key: NoteKey
    posix_seconds: int
    line: str


class Refusal(NamedTuple):
    """A witness answered that the head of `size` does not continue what it has seen: a fork, or a bug of ours or its."""

    posix_seconds: int
    size: int
    witness: str
    """Its verifier key."""
    status: int
    answer: str


def store_cosignature(engine: Engine, found: Cosignature) -> None:
    """Once a size and witness; the first one stays."""
    row = {"size": found.size, "witness": str(found.key), "posix_seconds": found.posix_seconds, "line": found.line}
    with engine.begin() as connection:
        connection.execute(or_keep(connection, tables.cosignatures), row)


def last_cosigned(engine: Engine, key: NoteKey) -> int:
    """The greatest size that this witness cosigned, as far as we know; 0 if none."""
    rows = tables.cosignatures.c
    with reading(engine) as connection:
        return connection.execute(select(func.max(rows.size)).where(rows.witness == str(key))).scalar() or 0


def cosignatures_of(engine: Engine, policy: Policy, size: int) -> list[Cosignature]:
    """Those of the policy's witnesses under the head of that size, in the policy's order, each verified."""
    checkpoints = tables.checkpoints.c
    with reading(engine) as connection:
        note = connection.execute(select(checkpoints.note).where(checkpoints.size == size)).scalar()
        rows = connection.execute(select(tables.cosignatures).where(tables.cosignatures.c.size == size)).all()
    by_key = {row.witness: row for row in rows}
    if note is None:
        return []
    known = [(witness.key, by_key[str(witness.key)]) for witness in policy.witnesses if str(witness.key) in by_key]
    found = [Cosignature(row.size, key, row.posix_seconds, row.line) for key, row in known]
    return [cosignature for cosignature in found if _holds(note, cosignature)]


def newest_witnessed(engine: Engine, policy: Policy, above: int = -1) -> tuple[int, str] | None:
    """The newest head of more than `above` leaves that meets the policy: its size, and its note with the lines that do."""
    for size in _candidates(engine, policy, above):
        found = cosignatures_of(engine, policy, size)
        if policy.is_met_by(cosignature.key for cosignature in found):
            return size, note_of(engine, size) + "".join(cosignature.line for cosignature in found)
    return None


def note_of(engine: Engine, size: int) -> str:
    """The signed head of exactly that size. Raises NotInLog."""
    with reading(engine) as connection:
        statement = select(tables.checkpoints.c.note).where(tables.checkpoints.c.size == size)
        found: str | None = connection.execute(statement).scalar()
    if found is None:
        raise NotInLog(f"no head of {size} leaves was signed")
    return found


def standing_refusal(engine: Engine) -> Refusal | None:
    """The newest, unless an operator has resolved it."""
    with reading(engine) as connection:
        row = connection.execute(_NEWEST).first()
    if row is None or row.status == RESOLVED:
        return None
    return Refusal(row.posix_seconds, row.size, row.witness, row.status, row.answer)


def record_refusal(engine: Engine, refusal: Refusal) -> None:
    """From now on it stands."""
    row = {**refusal._asdict(), "answer": refusal.answer[:ANSWER_CHARACTERS]}
    with engine.begin() as connection:
        connection.execute(insert(tables.refusals), row)


def last_refusal(engine: Engine) -> int:
    """The number of what was said last, by whoever refused or resolved; 0 before anything was."""
    with reading(engine) as connection:
        row = connection.execute(_NEWEST).first()
    return 0 if row is None else int(row.id)


def record_refusal_after(engine: Engine, refusal: Refusal, last: int) -> None:
    """Unless one stands, or something was said since that number: then it may be about what was looked into meanwhile."""
    row = {**refusal._asdict(), "answer": refusal.answer[:ANSWER_CHARACTERS]}
    with engine.begin() as connection:
        # One at a time.
        read_head(connection, lock=True)
        newest = connection.execute(_NEWEST).first()
        if ((0, RESOLVED) if newest is None else (newest.id, newest.status)) == (last, RESOLVED):
            connection.execute(insert(tables.refusals), row)


def resolve_refusal(engine: Engine, posix_seconds: int, why: str) -> Refusal | None:
    """An operator has looked into it: publishing may go on. What stood until now; None if nothing did."""
    standing = standing_refusal(engine)
    if standing is not None:
        record_refusal(engine, standing._replace(posix_seconds=posix_seconds, status=RESOLVED, answer=why))
    return standing


_NEWEST = select(tables.refusals).order_by(tables.refusals.c.id.desc()).limit(1)


def _holds(note: str, found: Cosignature) -> bool:
    """One bad line of a known key would make readers reject the whole note, so it is left out."""
    try:
        open_note((note + found.line).encode(), [found.key])
    except NoteInvalid as error:
        log.error("the stored cosignature of %s under %d is left out: %s", found.key.name, found.size, error)
        return False
    return True


def _candidates(engine: Engine, policy: Policy, above: int) -> Iterator[int]:
    """Sizes of heads that meet the policy if what is stored under them holds, from the newest down."""
    if policy.quorum is None:
        newest = select(func.max(tables.checkpoints.c.size))
        with reading(engine) as connection:
            size = connection.execute(newest).scalar()
        yield from [] if size is None or size <= above else [size]
        return
    keys = {str(witness.key): witness.key for witness in policy.witnesses}
    for size, rows in groupby(_rows(engine, list(keys), above), key=lambda row: int(row.size)):
        if policy.is_met_by(keys[row.witness] for row in rows):
            yield size


def _rows(engine: Engine, witnesses: list[str], above: int) -> Iterator[Any]:
    """Size and witness of their cosignatures, the greatest sizes first."""
    rows = tables.cosignatures.c
    place = tuple_(rows.size, rows.witness)
    wanted = select(rows.size, rows.witness).where(rows.size > above, rows.witness.in_(witnesses))
    wanted = wanted.order_by(rows.size.desc(), rows.witness.desc()).limit(PAGE)
    last: Any = None
    while True:
        with reading(engine) as connection:
            page = connection.execute(wanted if last is None else wanted.where(place < (last.size, last.witness))).all()
        if not page:
            return
        yield from page
        last = page[-1]
