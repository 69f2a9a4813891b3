"""Of a topic's records those that an entitled writer signed, wherever in it they are and however often."""

from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from typing import Any

from orjson import JSONDecodeError, loads

from adapters.vouching import Vouch, anybody

TOGETHER = 500
"""Records that are looked at together: one signature vouches for all that lead to it."""


async def authentic(shard: str, records: AsyncIterator[Any], vouch: Vouch) -> AsyncIterator[tuple[int, Any]]:
    """Each with its sequence, in the order in which they come."""
    together: list[Any] = []
    async for record in records:
        together.append(record)
        if len(together) == TOGETHER:
            for found in _vouched(shard, together, vouch):
                yield found
            together = []
    for found in _vouched(shard, together, vouch):
        yield found


def _vouched(shard: str, records: Sequence[Any], vouch: Vouch) -> Iterator[tuple[int, Any]]:
    for run in _runs(records):
        if _is_vouched(shard, run[-1][1], vouch):
            yield from run
            continue
        # Somebody went on from a record of ours, or none of it is.
        yield from (found for found in run[:-1] if _is_vouched(shard, found[1], vouch))


def _runs(records: Sequence[Any]) -> Iterator[list[tuple[int, Any]]]:
    """Records that follow each other, each naming the hash of the one before it."""
    run: list[tuple[int, Any]] = []
    for record in records:
        if (sequence := sequence_in(record.value)) is None:
            continue
        if run and _text(record.value, b'"prevhash":"', 64) != sha256(run[-1][1].value).hexdigest().encode():
            yield run
            run = []
        run.append((sequence, record))
    if run:
        yield run


def _is_vouched(shard: str, record: Any, vouch: Vouch) -> bool:
    if vouch is anybody:
        return True
    try:
        document = loads(record.value)
    except JSONDecodeError:
        return False
    is_record = isinstance(document, dict) and document.get("shard") == shard
    return is_record and vouch(document, record.value, record.headers)


def sequence_in(value: bytes | None) -> int | None:
    """What a record says that it is; None of what is none."""
    found = _text(value, b'"sequence":"', 20)
    return int(found) if found.isdigit() else None


def _text(value: bytes | None, name: bytes, length: int) -> bytes:
    # Between fixed bytes, because every record of a topic is looked at: a string of JSON cannot hold them unescaped, and what
    # our writers sign has its attributes before its data.
    return (value or b"").partition(name)[2][:length]
