"""Events as the records of one shard."""

from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256

from contracts import ZERO_HASH, Event, Record, event_id, rfc3339
from tests.adapters.shards import KEY, START, _asked


def chain(shard: str, history: Iterable[tuple[str, Event]]) -> list[bytes]:
    """Stream and event in their order, chained, a second apart."""
    values: list[bytes] = []
    versions: dict[str, int] = {}
    prevhash = ZERO_HASH
    for n, (stream, event) in enumerate(history):
        versions[stream] = versions.get(stream, 0) + 1
        value = Record.encode(
            event, id=event_id(KEY, f"{n:032x}", 0), command=_asked(stream, f"{n:032x}"), source=KEY,
            time=rfc3339(START + timedelta(seconds=n)), shard=shard, sequence=n, streamversion=versions[stream],
            prevhash=prevhash,
        )  # fmt: skip
        prevhash = sha256(value).hexdigest()
        values.append(value)
    return values
