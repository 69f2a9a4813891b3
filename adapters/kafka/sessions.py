"""Incremental fetches (KIP-227): a fetch names partitions whose place has changed, its answer those to which something came.

aiokafka names every partition in each fetch, and its broker every one in the answer: with 160 partitions that costs client
and broker two milliseconds each, however little comes. Private methods are used, so tests/adapters/test_sessions.py pins
what was read.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import NoError
from aiokafka.protocol.fetch import FetchRequest

FIRST_VERSION = 7
"""Of the fetch request that knows sessions."""
LAST_EPOCH = 2**31 - 1

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True)
class _Session:
    """What one broker remembers of us: where each partition is to be read on."""

    id: int = 0
    epoch: int = 0
    known: dict[Place, int] = field(default_factory=dict)

    def next(self, request: FetchRequest) -> "_InSession":
        """The same fetch, in this session."""
        return _InSession(request, self)

    def heard(self, request: "_InSession", response: Any) -> None:
        if response.API_VERSION < FIRST_VERSION:
            return
        if response.error_code != NoError.errno:
            # The broker has forgotten the session, or counts otherwise: the next fetch begins another one.
            self.forget()
            return
        if self.epoch == 0:
            # Without an id the broker has no room for a session: each fetch names all, as if there were none.
            self.id = response.session_id
        self.epoch = 0 if self.id == 0 else 1 if self.epoch == LAST_EPOCH else self.epoch + 1
        self.known = request.wanted if self.id else {}

    def forget(self) -> None:
        """Whether the last fetch was heard is not known. What the broker keeps under the old id is closed by the next one."""
        self.epoch, self.known = 0, {}


class _InSession(FetchRequest):  # type: ignore[misc]
    """A fetch of `topics`, as its sender believes; on the wire only what its session does not know."""

    def __init__(self, full: FetchRequest, session: _Session) -> None:
        super().__init__(full._max_wait_ms, full._min_bytes, full._max_bytes, full._isolation_level, full.topics, full._rack_id)
        self._session = session
        self.wanted: dict[Place, int] = {(topic, n): at for topic, parts in full.topics for n, at, _ in parts}
        self.named = 0
        """Partitions that it names on the wire."""

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class.API_VERSION < FIRST_VERSION:
            return super().build(request_struct_class)
        session, full = self._session, self.topics
        changed = []
        for topic, partitions in full:
            if fresh := [part for part in partitions if session.known.get((topic, part[0])) != part[1]]:
                changed.append((topic, fresh))
        forgotten: dict[str, list[int]] = defaultdict(list)
        for topic, partition in session.known.keys() - self.wanted.keys():
            forgotten[topic].append(partition)
        self._topics = changed
        try:
            built: Any = super().build(request_struct_class)
        finally:
            self._topics = full
        built.session_id, built.session_epoch = session.id, session.epoch
        built.forgotten_topics_data = list(forgotten.items())
        self.named = sum(len(partitions) for _, partitions in changed) + sum(map(len, forgotten.values()))
        return built


class Sessions:
    """The fetcher's client, which hears what becomes of its fetches."""

    def __init__(self, client: Any) -> None:
        self._real = client
        self._sessions: dict[int, _Session] = {}

    def incremental(self, requests: Sequence[tuple[int, FetchRequest]]) -> list[tuple[int, FetchRequest]]:
        """Fetches of all that is to be read of each broker, as its session says them."""
        return [(node, self._of(node).next(request)) for node, request in requests]

    def _of(self, node: int) -> _Session:
        return self._sessions.setdefault(node, _Session())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, _InSession):
            return await self._real.send(node, request, **options)
        try:
            response = await self._real.send(node, request, **options)
        except BaseException:
            self._of(node).forget()
            raise
        self._of(node).heard(request, response)
        return response
