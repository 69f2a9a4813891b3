"""What a chain of hashes does not show: who signed each record, and that a checkpoint of the audit log covers it."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import orjson
from sqlalchemy import select

from adapters.audit import tables
from adapters.replay.folding import Check
from adapters.replay.logged import LogSource
from adapters.replay.sources import Published
from adapters.sql import reading
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.entries import record_entry
from adapters.tlog.notes import NoteInvalid, NoteKey
from adapters.tlog.tree import Frontier, leaf_hash
from adapters.vouching import Vouch

PAGE = 2_000


class NotGenuine(Exception):
    """A record, or a checkpoint that should cover it, is not what it claims to be. The message names it."""


def signed_by(vouch: Vouch) -> Check:
    """Each record is signed by a writer of the network who was entitled then. The check raises NotGenuine."""

    def check(shard: str, record: Published) -> None:
        document = orjson.loads(record.value)
        if not vouch(document, record.value, record.headers):
            said = f"{str(document.get('source'))[:90]}, for the network {str(document.get('network'))[:40]!r}"
            raise NotGenuine(f"{shard} {record.sequence} says that it is by {said}: no writer who was entitled then signed it")

    return check


def covered_by(log: LogSource, size: int, key: NoteKey) -> Check:
    """Each record is an entry of the tree that the checkpoint of that size signs. Raises NotGenuine, as the check does.

    The root is computed from all entries, so nothing has to be proved one by one.
    """
    frontier, known = Frontier(), dict[tuple[str, int], bytes]()
    for row in _leaves(log, size):
        entry = bytes(row.entry)
        frontier.append(leaf_hash(entry))
        if row.shard:
            known[row.shard, row.sequence] = sha256(entry).digest()
    _same_root(log, size, key, frontier.root())

    def check(shard: str, record: Published) -> None:
        entry = record_entry(record.signature, record.value)
        if known.get((shard, record.sequence)) != sha256(entry).digest():
            raise NotGenuine(f"{shard} {record.sequence} is not in the tree of {size} leaves as it was published here")

    return check


def both(*checks: Check) -> Check:
    """One after the other."""

    def check(shard: str, record: Published) -> None:
        for each in checks:
            each(shard, record)

    return check


def _leaves(log: LogSource, size: int) -> Iterator[Any]:
    leaves = tables.leaves.c
    for start in range(0, size, PAGE):
        where = (leaves.leaf >= start) & (leaves.leaf < min(size, start + PAGE))
        with reading(log.engine) as connection:
            rows = connection.execute(
                select(leaves.leaf, leaves.shard, leaves.sequence, leaves.entry).where(where).order_by(leaves.leaf)
            ).all()
        yield from rows


def _same_root(log: LogSource, size: int, key: NoteKey, root: bytes) -> None:
    statement = select(tables.checkpoints.c.note).where(tables.checkpoints.c.size == size)
    with reading(log.engine) as connection:
        note = connection.execute(statement).scalar()
    if note is None:
        raise NotGenuine(f"no checkpoint of {size} leaves was signed: a position with --verify is the size of one that was")
    try:
        checkpoint, _ = open_checkpoint(note.encode(), key)
    except NoteInvalid as error:
        raise NotGenuine(f"the checkpoint of {size} leaves: {error}") from None
    if (checkpoint.size, checkpoint.root) != (size, root):
        raise NotGenuine(f"the checkpoint of {size} leaves was signed with another root than the entries have")
