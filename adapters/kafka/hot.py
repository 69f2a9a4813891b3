"""Fetches of a busy consumer: not more than its reader can use, and for the partitions to which something comes; every
ALL_SECONDS for all others.

A fetch that waits at the broker for 160 partitions costs it a millisecond, whatever is named on the wire (`sessions`): it reads
and watches each. One for a single partition costs broker and client half a millisecond each, and at a hundred records a second
each record was fetched by itself: 500 fetches a second, half of all CPU.

Private methods are used, so tests/adapters/test_hot.py pins what was read.
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
FLOWING = 4
"""Fetches in a row that came at more than half the pace at which a broker is asked at most: then records flow."""
HOT_SECONDS = 5.0
"""After so long without a record a partition is one among all."""


def keep_hot(consumer: AIOKafkaConsumer, gather: float = 0.0) -> None:
    """From now on, for a consumer that was started: across rebalances, seeks and pauses, and beside a Pace.

    While records flow, a broker is asked once in `gather` seconds at most; what comes after a silence is not kept waiting.
    Fetches of all are incremental; those of what is hot are none of the session's, and leave it as it is.
    """
    fetcher: Any = consumer._fetcher
    fetcher._client = sessions = Sessions(fetcher._client)
    fetcher._get_actions_per_node = _HotFetch(fetcher, sessions, gather).actions


class _Some(NamedTuple):
    """An assignment, as far as the fetcher looks at it when it decides what to ask for."""

    tps: Collection[TopicPartition]
    state_value: Any


class _HotFetch:
    """In the place of Fetcher._get_actions_per_node, which it asks about fewer partitions."""

    def __init__(self, fetcher: Any, sessions: Sessions, gather: float = 0.0) -> None:
        self._fetcher, self._actions, self._sessions = fetcher, fetcher._get_actions_per_node, sessions
        self._gather = gather
        self._sent: deque[float] = deque(maxlen=BUSY_FETCHES)
        self._assignment: Any = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._hot: dict[TopicPartition, float] = {}
        self._all_at: dict[int, float] = {}
        """When each broker was last asked for all of its partitions."""
        self._asked_at: dict[int, float] = {}

    def actions(self, assignment: Any) -> Any:
        now = time.monotonic()
        if assignment is not self._assignment:
            self._assignment, self._positions, self._hot, self._all_at, self._asked_at = assignment, {}, {}, {}, {}
        resting = self._resting(now)
        if self._all_at and self._all_at.keys() <= self._fetcher._in_flight | resting.keys():
            # Nobody is to be asked: the fetcher would walk over all partitions to find that out, at every record.
            return [], {}, min([self._fetcher._fetcher_timeout, *resting.values()]), False, []
        # What came and is not consumed yet. Of what was consumed at once the next look at all tells.
        self._hot.update((tp, now) for tp in self._fetcher._records if tp in assignment.tps)
        free = [at for node, at in self._all_at.items() if node not in self._fetcher._in_flight and node not in resting]
        due = (min(free, default=now) if self._all_at else 0.0) + ALL_SECONDS - now
        is_busy = len(self._sent) == BUSY_FETCHES and now - self._sent[0] < WINDOW_SECONDS
        found = self._of_hot(assignment, now, due) if is_busy and due > 0 else self._of_all(assignment, now)
        requests, resets, timeout, *more = found
        asked = [(node, request) for node, request in requests if node not in resting]
        self._asked_at.update((node, now) for node, _ in asked)
        if asked:
            self._sent.append(now)
        return asked, resets, min([timeout, *resting.values()]), *more

    def _resting(self, now: float) -> dict[int, float]:
        """Brokers that were asked just now, and for how long they are not to be asked."""
        if not self._gather or len(self._sent) < FLOWING or now - self._sent[-FLOWING] > 2 * FLOWING * self._gather:
            return {}
        return {node: left for node, at in self._asked_at.items() if (left := at + self._gather - now) > 0}

    def _of_all(self, assignment: Any, now: float) -> Any:
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            position = state.position if state.has_valid_position else None
            if self._positions.get(tp, position) != position:
                self._hot[tp] = now
            self._positions[tp] = position
        requests, *more = self._actions(assignment)
        resting = self._resting(now)
        # One that still answers is asked for all as soon as it has; one that leads nothing any more is forgotten.
        known = {
            node: at
            for node, at in self._all_at.items()
            if node in self._fetcher._in_flight or node in resting or now - at < WINDOW_SECONDS
        }
        self._all_at = known | dict.fromkeys((node for node, _ in requests if node not in resting), now)
        return self._sessions.incremental(requests), *more

    def _of_hot(self, assignment: Any, now: float, due: float) -> Any:
        self._hot = {tp: at for tp, at in self._hot.items() if now - at < HOT_SECONDS}
        wait, self._fetcher._fetch_max_wait_ms = self._fetcher._fetch_max_wait_ms, max(1, int(due * 1000))
        try:
            requests, resets, timeout, *more = self._actions(_Some(list(self._hot), assignment.state_value))
        finally:
            self._fetcher._fetch_max_wait_ms = wait
        return requests, resets, min(timeout, due), *more
