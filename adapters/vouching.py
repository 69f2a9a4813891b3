"""Who vouches for an event: a writer of this network, who was entitled when he signed it."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Entitled:
    """From when until when a key may write events, RFC 3339 in UTC; `until` itself is too late. Empty: no such end."""

    writer: str
    since: str = ""
    until: str = ""

    def holds_at(self, moment: str) -> bool:
        return self.since <= moment and (not self.until or moment < self.until)


class Vouching:
    """Says of a record whether a writer who was entitled then signed it. May be called from several threads."""

    def __init__(self, network: str, writers: Callable[[], Iterable[Entitled]], verify: Verify) -> None:
        """`writers` reads what the genesis and identity's events say, and is asked again when an unknown one comes."""
        self._network, self._read, self._verify = network, writers, verify
        self._known: dict[str, list[Entitled]] = {}
        self._read_at = float("-inf")
        self._lock = Lock()

    def __call__(self, document: Mapping[str, Any], value: bytes, headers: Headers) -> bool:
        source, moment = document.get("source"), document.get("time")
        if document.get("network") != self._network or type(source) is not str or type(moment) is not str:
            return False
        if time.monotonic() - self._read_at > KEPT_SECONDS:
            self._renew()
        if not self._is_entitled(source, moment) and not (self._renew() and self._is_entitled(source, moment)):
            return False
        return self._verify(source, value, signature_of(headers))

    @property
    def writers(self) -> frozenset[str]:
        """All that are known, ended ones too."""
        if not self._known:
            self._renew()
        return frozenset(self._known)

    def _is_entitled(self, source: str, moment: str) -> bool:
        return any(entitled.holds_at(moment) for entitled in self._known.get(source, ()))

    def _renew(self) -> bool:
        """False where they were read a moment ago."""
        with self._lock:
            if time.monotonic() - self._read_at < REFRESH_SECONDS:
                return False
            known: dict[str, list[Entitled]] = {}
            for entitled in self._read():
                known.setdefault(entitled.writer, []).append(entitled)
            self._known, self._read_at = known, time.monotonic()
            return True


def vouched_by(network: str, writers: Collection[str], verify: Verify) -> Vouching:
    """Where the writers are those whom the genesis names, and nothing ends them."""
    return Vouching(network, lambda: [Entitled(writer) for writer in writers], verify)


def signature_of(headers: Headers) -> str:
    """What a record's headers say who signed it; empty where they do not."""
    return (dict(headers).get("signature") or b"").decode("ascii", "replace")
