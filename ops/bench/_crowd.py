"""A deployment with more contexts and readers than there are: the dummies show what each of them costs the others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import BigInteger, Column, Engine, MetaData, String, Table

from contracts import Event, Record
from ops.compose import Deployment
from projections import METADATA, Projection, Session
from streams import Stream, TodoList, all_streams

MEASURED = "providers"
"""The context whose commands are timed."""
LISTENERS = 10
"""So many of the dummy readers listen to it, and every other one of them writes a row an event; the rest listen elsewhere."""


@dataclass(frozen=True)
class Crowd:
    """How many contexts and readers there are in all; None: those of the deployment. Fewer readers: only so many run."""

    contexts: int | None = None
    readers: int | None = None
    only: str | None = None
    """Of the real readers, run this one alone; the dummies then all listen to the measured context. No list runs."""

    def arguments(self) -> tuple[str, ...]:
        """As `of` reads them."""
        return tuple("-" if value is None else str(value) for value in (self.contexts, self.readers, self.only))

    @classmethod
    def of(cls, contexts: str, readers: str, only: str) -> "Crowd":
        many, of_readers = (None if value == "-" else int(value) for value in (contexts, readers))
        return cls(many, of_readers, None if only == "-" else only)


@dataclass
class Crowded(Deployment):
    """The deployment that its settings describe, in company."""

    crowd: Crowd = field(default_factory=Crowd)

    def contexts(self) -> list[str]:
        real = super().contexts()
        return real + [f"dummy{n:02d}" for n in range(1, (self.crowd.contexts or 0) - len(real) + 1)]

    @cached_property
    def streams(self) -> list[Stream]:
        found = list(all_streams(self))
        lists = [stream for stream in found if isinstance(stream, TodoList)]
        readers = [stream for stream in found if not isinstance(stream, TodoList)]
        if self.crowd.only is not None:
            readers, lists = [stream for stream in readers if stream.name == self.crowd.only], []
        # Where only some run, those that have something to do for the commands that are timed are among them.
        readers.sort(key=lambda stream: MEASURED not in getattr(stream, "contexts", ()))
        wanted = len(readers) if self.crowd.readers is None else self.crowd.readers
        return [*readers[:wanted], *self._dummies(wanted - len(readers)), *lists]

    def _dummies(self, count: int) -> Iterator[Projection]:
        listeners = count if self.crowd.only is not None else LISTENERS
        elsewhere = [context for context in self.contexts() if context.startswith("dummy")] or ["custody"]
        for n in range(count):
            name = f"dummy_reader_{n + 1:03d}"
            context = MEASURED if n < listeners else elsewhere[n % len(elsewhere)]
            if n < listeners and n % 2 == 0:
                yield _writing(name)
            else:
                yield Projection(name, (context,), (), _listen)

    def make_tables(self, views: Engine) -> None:
        """Those of the dummies; the others are Alembic's."""
        for stream in self.streams:
            for table in stream.tables if isinstance(stream, Projection) else ():
                if table.metadata is not METADATA:
                    table.metadata.create_all(views)

    def claims(self) -> int:
        """How many it takes until each reader has each of its shards."""
        readers = [stream for stream in self.streams if not isinstance(stream, TodoList)]
        return sum(len(getattr(reader, "contexts", ("its topic",))) for reader in readers) * self.settings.partitions


def _listen(_event: Event, _record: Record, _session: Session) -> None:
    """Nothing of it is of interest."""


def _writing(name: str) -> Projection:
    """A row an event."""
    table = Table(
        name, MetaData(), Column("stream", String(250), primary_key=True),
        Column("version", BigInteger, primary_key=True, autoincrement=False), Column("time", String(30), nullable=False),
    )  # fmt: skip

    def project(_event: Event, record: Record, session: Session) -> None:
        session.put(table, {"stream": record.subject, "version": record.streamversion, "time": record.time})

    return Projection(name, (MEASURED,), (table,), project)
