"""Audit's wiring: what people decided about the log becomes views. The log itself is kept by a reader of every topic."""

from collections.abc import Iterator

from contracts import Event, EventId, Record
from contracts.audit import NoteKey
from contracts.custody import KeyCreated
from projections.audit import audit_affairs
from streams import Intent, Process, Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield audit_affairs()
    yield Process("note_keys", ("custody",), note_keys)


def note_keys(event: Event, record: Record) -> Iterator[Intent]:
    """For which class and year a sealing key was made is noted where erasures are decided: no officer says it."""
    match event:
        case KeyCreated(kind="sealing", retention_class=retention_class, year=year):
            command = NoteKey(retention_class=retention_class, year=year, cause=EventId(record.id))
            yield Intent(command, f"audit/key/{record.stream_id}")
        case _:
            pass
