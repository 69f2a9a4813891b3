"""What the commands of a batch carry of other contexts, looked up at once: does the store have it, by who might sign it?"""

from collections.abc import Sequence

from adapters.sql.store import Store
from contracts import BadRecord, Command, Record, carried_by, instant
from domain.identity.authority import WriterInterval


class Recorded:
    """Asks the store when the first rule asks, for all of the batch. What is recorded, and who might sign it, never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: set[tuple[str, int]] = set()
        self._found: tuple[dict[tuple[str, int], bytes], Sequence[WriterInterval]] | None = None

    def foresee(self, command: Command) -> None:
        """It may be asked of what the command carries."""
        for carried in carried_by(command):
            try:
                record = carried.record()
            except BadRecord:
                continue
            self._places.add((record.shard, record.sequence))

    def stands(self, record: Record) -> bool:
        """Whether the store's row at its place is these bytes, and its source might sign for that stream then."""
        values, writers = self._look()
        moment, place = instant(record.time), (record.shard, record.sequence)
        is_entitled = any(w.key == record.source and w.covers(record.subject, moment) for w in writers)
        return is_entitled and values.get(place) == record.value

    def _look(self) -> tuple[dict[tuple[str, int], bytes], Sequence[WriterInterval]]:
        if self._found is None:
            self._found = self._store.values(self._places), self._store.writers()
        return self._found
