"""What was committed and is not sent yet, kept in memory within a bound."""

from collections import deque
from collections.abc import Hashable

from adapters.sql.outbox import Outgoing


class Backlog:
    """Records of many lanes, of each without a gap. What finds no room is left to be read from the store."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: dict[Hashable, deque[Outgoing]] = {}
        self.bytes = 0

    def add(self, lane: Hashable, record: Outgoing) -> None:
        """What was committed last of a lane. After a gap that which is before it is let go."""
        held = self._held.get(lane)
        if held and record.number != held[-1].number + 1:
            self.drop(lane)
        if self.bytes + len(record.value) <= self._most_bytes:
            self._held.setdefault(lane, deque()).append(record)
            self.bytes += len(record.value)

    def take(self, lane: Hashable, number: int, most: int) -> list[Outgoing]:
        """The records from that number on, if they are here; what is before them is let go."""
        held = self._held.get(lane, deque())
        while held and held[0].number < number:
            self.bytes -= len(held.popleft().value)
        taken = [held.popleft() for _ in range(min(len(held), most))] if held and held[0].number == number else []
        self.bytes -= sum(len(record.value) for record in taken)
        return taken

    def begins(self, lane: Hashable) -> int | None:
        """The first number that is here."""
        held = self._held.get(lane)
        return held[0].number if held else None

    def drop(self, lane: Hashable) -> None:
        self.bytes -= sum(len(record.value) for record in self._held.pop(lane, ()))
