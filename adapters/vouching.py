"""Who vouches for an event: a writer of this network, who was entitled when he signed it."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from contracts import instant
from domain.identity.authority import WriterInterval

Headers = Sequence[tuple[str, bytes | None]]

Vouch = Callable[[Mapping[str, Any], bytes, Headers], bool]
"""`(document, value, headers)`: whether a writer who was entitled then signed the record. Through `prevhash` it vouches for
all records before it in its shard."""

Verify = Callable[[str, bytes, str], bool]
"""`(did, value, signature) -> bool`: whether the key of that DID signed the value."""

REFRESH_SECONDS, KEPT_SECONDS = 1.0, 5.0
"""Whoever is not known is looked up again so often at most: strangers cost no more. The end of one who is known is learnt so
late."""


def anybody(document: Mapping[str, Any], value: bytes, headers: Headers) -> bool:
    """For records that no stranger can have published, or that were verified before: their chain alone is looked at."""
    del document, value, headers
    return True


class Vouching:
    """Says of a record whether a writer who was entitled then signed it. May be called from several threads."""

    def __init__(self, network: str, writers: Callable[[], Iterable[WriterInterval]], verify: Verify) -> None:
        """`writers` reads what genesis and identity's events say (`projections.identity.writers`); it is asked again when an
        unknown one comes, and from time to time."""
        self._network, self._read, self._verify = network, writers, verify
        self._known: dict[str, list[WriterInterval]] = {}
        self._read_at = float("-inf")
        self._lock = Lock()

    def __call__(self, document: Mapping[str, Any], value: bytes, headers: Headers) -> bool:
        source, stream = document.get("source"), document.get("subject")
        if document.get("network") != self._network or type(source) is not str or type(stream) is not str:
            return False
        try:
            moment = instant(str(document.get("time")))
        except ValueError:
            return False
        if time.monotonic() - self._read_at > KEPT_SECONDS:
            self._renew()
        is_entitled = self._is_entitled(source, stream, moment) or (self._renew() and self._is_entitled(source, stream, moment))
        if not is_entitled:
            return False
        return self._verify(source, value, signature_of(headers))

    def _is_entitled(self, source: str, stream: str, moment: datetime) -> bool:
        return any(interval.covers(stream, moment) for interval in self._known.get(source, ()))

    def _renew(self) -> bool:
        """False where they were read a moment ago."""
        with self._lock:
            if time.monotonic() - self._read_at < REFRESH_SECONDS:
                return False
            known: dict[str, list[WriterInterval]] = {}
            for interval in self._read():
                known.setdefault(interval.key, []).append(interval)
            self._known, self._read_at = known, time.monotonic()
            return True


def vouched_by(network: str, writers: Collection[str], verify: Verify) -> Vouching:
    """Where the writers are those whom the genesis names, and nothing ends them."""
    ever = [
        WriterInterval(writer, "", datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) for writer in writers
    ]
    return Vouching(network, lambda: ever, verify)


def signature_of(headers: Headers) -> str:
    """What a record's headers say who signed it; empty where they do not."""
    return (dict(headers).get("signature") or b"").decode("ascii", "replace")
