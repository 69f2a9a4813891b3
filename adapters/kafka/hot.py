"""Fetches of a busy consumer ask for the partitions to which something comes, and for all others every ALL_SECONDS.

A fetch that waits at the broker for 160 partitions costs it a millisecond, whatever is named on the wire (`sessions`): it reads
and watches each. Private methods are used, so tests/adapters/test_hot.py pins what was read.
"""

import time
from collections import deque
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.sessions import Sessions

WINDOW_SECONDS = 1.0
BUSY_FETCHES = 20
"""Only a consumer that sends as many in that time saves anything: at a lower rate nothing waits for it. Hardly more: with three
hundred partitions a fetch takes so long that on a busy machine there are thirty.
"""
ALL_SECONDS = 0.05
"""A record in a partition to which nothing came lately waits so long at most, and as long as one answer takes."""
HOT_SECONDS = 5.0
"""After so long without a record a partition is one among all."""


def keep_hot(consumer: AIOKafkaConsumer) -> None:
    """From now on, for a consumer that was started: across rebalances, seeks and pauses, and beside a Pace.

    Fetches of all are incremental; those of what is hot are none of the session's, and leave it as it is.
    """
    fetcher: Any = consumer._fetcher
    fetcher._client = sessions = Sessions(fetcher._client)
    fetcher._get_actions_per_node = _HotFetch(fetcher, sessions).actions


class _Some(NamedTuple):
    """An assignment, as far as the fetcher looks at it when it decides what to ask for."""

    tps: Collection[TopicPartition]
    state_value: Any


class _HotFetch:
    """In the place of Fetcher._get_actions_per_node, which it asks about fewer partitions."""

    def __init__(self, fetcher: Any, sessions: Sessions) -> None:
        self._fetcher, self._actions, self._sessions = fetcher, fetcher._get_actions_per_node, sessions
        self._sent: deque[float] = deque(maxlen=BUSY_FETCHES)
        self._assignment: Any = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._hot: dict[TopicPartition, float] = {}
        self._all_at: dict[int, float] = {}
        """When each broker was last asked for all of its partitions."""

    def actions(self, assignment: Any) -> Any:
        now = time.monotonic()
        if assignment is not self._assignment:
            self._assignment, self._positions, self._hot, self._all_at = assignment, {}, {}, {}
        # What came and is not consumed yet. Of what was consumed at once the next look at all tells.
        self._hot.update((tp, now) for tp in self._fetcher._records if tp in assignment.tps)
        free = [at for node, at in self._all_at.items() if node not in self._fetcher._in_flight]
        due = (min(free, default=now) if self._all_at else 0.0) + ALL_SECONDS - now
        is_busy = len(self._sent) == BUSY_FETCHES and now - self._sent[0] < WINDOW_SECONDS
        found = self._of_hot(assignment, now, due) if is_busy and due > 0 else self._of_all(assignment, now)
        if found[0]:
            self._sent.append(now)
        return found

    def _of_all(self, assignment: Any, now: float) -> Any:
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            position = state.position if state.has_valid_position else None
            if self._positions.get(tp, position) != position:
                self._hot[tp] = now
            self._positions[tp] = position
        requests, *more = self._actions(assignment)
        # One that still answers is asked for all as soon as it has; one that leads nothing any more is forgotten.
        known = {node: at for node, at in self._all_at.items() if node in self._fetcher._in_flight or now - at < WINDOW_SECONDS}
        self._all_at = known | dict.fromkeys((node for node, _ in requests), now)
        return self._sessions.incremental(requests), *more

    def _of_hot(self, assignment: Any, now: float, due: float) -> Any:
        self._hot = {tp: at for tp, at in self._hot.items() if now - at < HOT_SECONDS}
        wait, self._fetcher._fetch_max_wait_ms = self._fetcher._fetch_max_wait_ms, max(1, int(due * 1000))
        try:
            requests, resets, timeout, *more = self._actions(_Some(list(self._hot), assignment.state_value))
        finally:
            self._fetcher._fetch_max_wait_ms = wait
        return requests, resets, min(timeout, due), *more
