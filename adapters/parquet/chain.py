"""One shard's records on their way into files: nothing but our own log, whole and in order."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson

from adapters.parquet.columns import ATTRIBUTES
from adapters.views.chain import ChainBroken
from contracts import ZERO_HASH

_TYPES = tuple(int if name == "streamversion" else str for name in ATTRIBUTES)


class Chain:
    """Follows a shard from the record `start` on. Before that it takes at most one more, from which the chain hangs."""

    def __init__(self, shard: str, network: str, start: int) -> None:
        self.shard, self.start, self.next = shard, start, max(start - 1, 0)
        self._network = network
        self.before: str | None = None
        """Hash of the record before `start`; of zeros if there is none."""
        self.head: str | None = ZERO_HASH if start == 0 else None
        """Hash of the record that was taken last."""

    def take(self, value: bytes) -> Mapping[str, Any] | None:
        """What the next record says; None of the one before `start`. Raises ChainBroken."""
        where = f"{self.shard} {self.next}"
        try:
            document: dict[str, Any] = orjson.loads(value)
            sequence, prevhash = int(document["sequence"]), document["prevhash"]
            said = (document["shard"], sequence, document["network"])
        except (ValueError, KeyError, TypeError) as error:
            raise ChainBroken(f"{where} is no record of ours: {error!r}") from None
        if said != (self.shard, self.next, self._network):
            raise ChainBroken(f"{where} of {self._network} was expected, and there is {said[0]} {said[1]} of {said[2]}")
        if self.head is not None and prevhash != self.head:
            raise ChainBroken(f"{where} names {prevhash} as the hash before it, which is {self.head}: one of both was altered")
        if sequence == self.start:
            self.before = prevhash
        self.head, self.next = sha256(value).hexdigest(), sequence + 1
        if sequence < self.start:
            return None
        if tuple(map(type, map(document.get, ATTRIBUTES))) != _TYPES or "data" not in document:
            raise ChainBroken(f"{where} is no event: an attribute is missing, or is no text")
        return document
