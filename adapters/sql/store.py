"""The event store: what the command worker reads before it decides, and the one transaction in which a batch is durable."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from adapters import clock
from adapters.crash import crashpoint
from adapters.sql import tables
from adapters.sql.driver import Rows, Said, Session, session
from adapters.sql.engine import reading
from adapters.sql.granting import changed, granted
from adapters.sql.rows import (
    AnotherDeployment,
    AuthorityMoved,
    CommandRow,
    Decided,
    EventRow,
    Fenced,
    Granted,
    KeyAuthority,
    Known,
    LoadedStream,
    Sealed,
    Seen,
    Shard,
    ShelfRow,
    SnapshotRow,
    StreamMoved,
)
from adapters.sql.shelves import Shelves
from adapters.sql.statements import Statements
from adapters.sql.suspended import waking
from commands import Grant
from contracts import ZERO_HASH, instant, is_policy_stream

CHANNEL = "spaceos_committed"
"""PostgreSQL notifies it in the transaction of each batch."""

# Workers and readers may meet a new store at the same moment; each would insert what the others do.
_ALONE = "lock table deployment in share row exclusive mode"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Store:
    """One database of the write side. Safe to use from one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._postgresql = engine.dialect.name == "postgresql"
        self._sql = Statements(postgresql=self._postgresql)
        self._shelves = Shelves(postgresql=self._postgresql)

    # What the deployment is

    def establish(self, **facts: str) -> None:
        """State what the store is for; the first statement binds. Raises AnotherDeployment."""
        with self.engine.begin() as connection:
            self._alone(connection)
            known = dict(connection.execute(select(tables.deployment.c.name, tables.deployment.c.value)).all())
            for name, value in facts.items():
                if name not in known:
                    connection.execute(insert(tables.deployment).values(name=name, value=value))
                elif known[name] != value:
                    raise AnotherDeployment(f"this store has {name} {known[name]}, the settings say {value}; they must agree")

    def facts(self) -> dict[str, str]:
        """What was established."""
        with reading(self.engine) as connection:
            return dict(connection.execute(select(tables.deployment.c.name, tables.deployment.c.value)).all())

    def plant(self, grants: Iterable[Grant]) -> None:
        """The genesis: a network's first keys. Planting the same again changes nothing."""
        with session(self.engine) as asking, asking.transaction():
            if self._postgresql:
                asking.ask([Said(_ALONE)])
            [known] = asking.ask([Said("select key from authority_keys")])
            fresh = [(grant, "genesis", n) for n, grant in enumerate(grants) if (grant.key,) not in set(known)]
            if fresh:
                asking.ask([*self._sql.keys_held({grant.key for grant, _, _ in fresh}), *granted(fresh)])

    def _alone(self, connection: Connection) -> None:
        if self._postgresql:
            connection.exec_driver_sql(_ALONE)

    # Reading before a decision

    def look(self, *, identities: Collection[str] = (), keys: Collection[str] = (), streams: Collection[str] = ()) -> Seen:
        """What there is of these commands (`"<id> <source>"`), keys and streams, and what time it was after that."""
        seen = Seen(clock.now())
        questions: list[tuple[Said, Callable[[Rows], None]]] = []
        if identities:
            questions.append((self._sql.known(identities), lambda rows: seen.known.update(_known(rows))))
        if keys:
            questions.append((self._sql.authority(keys), lambda rows: seen.authority.update(_authority(rows))))
        if streams:
            questions.append((self._sql.streams(streams), lambda rows: seen.streams.update(_streams(rows))))
        if questions or self._postgresql:
            with session(self.engine) as asking:
                seen.now = self._ask(asking, questions)
        return seen

    def _ask(self, asking: Session, questions: Sequence[tuple[Said, Callable[[Rows], None]]]) -> datetime:
        """Hand each answer on; what time it was after the last, by the one clock that all workers have on PostgreSQL."""
        said = [question for question, _ in questions]
        found = asking.ask([*said, self._sql.clock] if self._postgresql else said)
        for (_, take), rows in zip(questions, found, strict=False):
            take(rows)
        return _EPOCH + timedelta(microseconds=found[-1][0][0]) + clock.shift() if self._postgresql else clock.now()

    def streams(self, names: Collection[str], *, snapshots: bool = True) -> dict[str, LoadedStream]:
        """Each stream that exists."""
        with session(self.engine) as asking:
            [rows] = asking.ask([self._sql.streams(names, snapshots=snapshots)])
        return _streams(rows)

    def shelved(self, known: Mapping[str, int], asked: Collection[tuple[str, str]]) -> list[ShelfRow]:
        """What is on the shelves, see `Shelves.read`. Raises StreamMoved."""
        with session(self.engine) as asking:
            return self._shelves.read(asking, known, asked)

    # Counter rows

    def shard(self, context: str, partition: int) -> Shard:
        """The counter row, made when it is missing."""
        with self.engine.begin() as connection:
            where = (tables.shards.c.context == context) & (tables.shards.c.partition == partition)
            row = connection.execute(select(tables.shards).where(where)).first()
            if row is None:
                self._make_shard(connection, context, partition)
                row = connection.execute(select(tables.shards).where(where)).one()
            return Shard(**row._mapping)

    def shards_at(self, places: Sequence[tuple[str, int]]) -> list[Shard]:
        """The counter rows of these contexts' partitions, in one look; those that are missing are made."""
        known = {(shard.context, shard.partition): shard for shard in self.shards()}
        return [known.get(place) or self.shard(*place) for place in places]

    def _make_shard(self, connection: Connection, context: str, partition: int) -> None:
        values = {"context": context, "partition": partition, "zero": ZERO_HASH}
        # Two workers may make it at once; the loser finds the winner's.
        connection.execute(
            text(
                "insert into shards (context, partition, next_sequence, last_hash, last_time, next_outcome, position,"
                " position_hash, incarnation) values (:context, :partition, 0, :zero, '', 0, 0, '', 0)"
                " on conflict (context, partition) do nothing"
            ),
            values,
        )

    def start_over(self, shard: Shard, begin: int) -> Shard:
        """The commands topic was made anew: read it from there, its records told apart by the incarnation. Raises Fenced."""
        anew = replace(shard, position=begin, position_hash="", incarnation=shard.incarnation + 1)
        with waking(self.engine), session(self.engine) as asking, asking.transaction():
            self._lock(asking, Decided([shard], clock.now(), seal=lambda _: Sealed([])))
            asking.ask([self._sql.advanced([anew])])
        return anew

    def pass_over(self, shard: Shard, position: int) -> Shard:
        """Nothing is to be decided before that position. Raises Fenced."""
        after = replace(shard, position=position)
        with session(self.engine) as asking, asking.transaction():
            self._lock(asking, Decided([shard], clock.now(), seal=lambda _: Sealed([])))
            asking.ask([self._sql.advanced([after])])
        return after

    def shards(self) -> list[Shard]:
        """All counter rows."""
        with reading(self.engine) as connection:
            return [Shard(**row._mapping) for row in connection.execute(select(tables.shards).order_by(tables.shards.c.id))]

    # The one transaction

    def commit(self, batch: Decided) -> Sealed:
        """Make a batch durable, whole or not at all. Raises Fenced, AuthorityMoved, StreamMoved, IntegrityError.

        Where it changes authority, the time is drawn and the records are signed under the exclusive lock of the changed
        keys: later than every decision that relied on them. Otherwise nothing but SQL happens inside.
        """
        sealed = None if batch.changed_keys else batch.seal(batch.now)
        with waking(self.engine), session(self.engine) as asking, asking.transaction():
            now = self._lock(asking, batch)
            if sealed is None:
                sealed = batch.seal(max(now, batch.now))
            asking.ask(self._written(sealed, batch.repeats))
            crashpoint("command.before_commit")
        crashpoint("command.committed")
        return sealed

    def _lock(self, asking: Session, batch: Decided) -> datetime:
        """What the batch believes, and compare it; what time it was then."""
        return self._ask(asking, [*self._shard_locks(batch), *self._stream_locks(batch), *self._key_locks(batch)])

    def _shard_locks(self, batch: Decided) -> Iterator[tuple[Said, Callable[[Rows], None]]]:
        mine = {shard.id: shard for shard in batch.shards}

        def compare(rows: Rows) -> None:
            [row] = rows
            now = Shard(*row)
            if now.id in mine and now != mine[now.id]:
                raise Fenced(f"{now.events} is at {now.next_sequence}, {mine[now.id].next_sequence} was believed")

        looked_at = {shard for stream, (shard, _) in batch.looked_at.items() if not is_policy_stream(stream)}
        # In one order for everybody, or two workers that look at each other's shards would wait for ever.
        for shard_id in sorted(mine.keys() | looked_at):
            yield self._sql.shard(shard_id, held=shard_id in mine), compare

    def _stream_locks(self, batch: Decided) -> Iterator[tuple[Said, Callable[[Rows], None]]]:
        # Nearly every decision looks at its context's policy. Were the shard in which that lies locked for it, all shards of
        # the context would wait for that one; so a policy has a lock of its own. SQLite has one writer, and needs none.
        if self._postgresql:
            for stream in sorted({stream for stream in batch.looked_at if is_policy_stream(stream)} | set(batch.policies)):
                yield self._sql.policy(stream, held=stream in batch.policies), _nothing

        def compare(rows: Rows) -> None:
            now: dict[str, int] = dict(rows)
            if moved := [stream for stream, (_, version) in batch.looked_at.items() if now.get(stream, 0) != version]:
                raise StreamMoved(moved)

        if batch.looked_at:
            yield self._sql.heads(batch.looked_at), compare

    def _key_locks(self, batch: Decided) -> Iterator[tuple[Said, Callable[[Rows], None]]]:
        if batch.changed_keys:
            yield from ((said, _nothing) for said in self._sql.keys_held(batch.changed_keys))

        def compare(rows: Rows) -> None:
            now = {key: (shard, sequence) for key, shard, sequence in rows if shard}
            moved = [key for key, known in batch.relied.items() if now.get(key) != (known.position if known else None)]
            if moved:
                raise AuthorityMoved(moved)

        if batch.relied:
            yield self._sql.keys_shared(batch.relied), compare

    def _written(self, sealed: Sealed, repeats: Sequence[tuple[int, int]]) -> Iterator[Said]:
        if sealed.events:
            yield self._sql.inserted(sealed.events)
        crashpoint("command.inserted")
        if sealed.commands:
            yield self._sql.inserted(sealed.commands)
        if repeats:
            yield self._sql.repeated(repeats)
        for snapshot in sealed.snapshots:
            yield from self._sql.snapshot(snapshot)
        yield from self._shelves.written(sealed)
        yield from changed(sealed.authority)
        yield self._sql.advanced([after for _, after in sealed.shards])
        if self._postgresql:
            yield Said(f"notify {CHANNEL}")


def _nothing(_rows: Rows) -> None:
    """To wait for the lock was all."""


def _known(rows: Rows) -> dict[str, Known]:
    return {identity: Known(*known) for identity, *known in rows}


def _authority(rows: Rows) -> dict[str, KeyAuthority]:
    found: dict[str, KeyAuthority] = {}
    for key, shard, sequence, revoked, person, role, prefix, not_after, by_shard, by_sequence in rows:
        known = found.get(key) or KeyAuthority(key, shard, sequence, bool(revoked), (), person)
        if role is not None:
            grant = Granted(role, prefix, instant(not_after), by_shard, by_sequence)
            known = replace(known, grants=(*known.grants, grant))
        found[key] = known
    return found


def _streams(rows: Rows) -> dict[str, LoadedStream]:
    found: dict[str, LoadedStream] = {}
    for stream, shard, version, value, form, state in rows:
        if stream not in found:
            found[stream] = (None if form is None else SnapshotRow(stream, version, form, state), shard, [])
        if form is None:
            found[stream][2].append(value)
    return found


__all__ = [
    "CHANNEL", "AnotherDeployment", "AuthorityMoved", "CommandRow", "Decided", "EventRow", "Fenced", "Granted",
    "IntegrityError", "KeyAuthority", "Known", "LoadedStream", "Sealed", "Seen", "Shard", "ShelfRow", "SnapshotRow", "Store",
    "StreamMoved",
]  # fmt: skip
