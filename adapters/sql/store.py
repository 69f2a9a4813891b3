"""The event store: what the command worker reads before it decides, and the one transaction in which a batch is durable."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import orjson
from sqlalchemy import Connection, Engine, insert, select, text, tuple_
from sqlalchemy.exc import IntegrityError

from adapters import clock
from adapters.crash import crashpoint
from adapters.sql import tables
from adapters.sql.driver import Rows, Said, Session, session
from adapters.sql.engine import reading
from adapters.sql.granting import changed
from adapters.sql.rows import (
    AnotherDeployment,
    AuthorityMoved,
    CommandRow,
    Decided,
    EventRow,
    Fenced,
    GenesisDiffers,
    Granted,
    KeyAuthority,
    Known,
    LoadedStream,
    Question,
    Sealed,
    Seen,
    Shard,
    ShelfRow,
    SnapshotRow,
    StreamMoved,
)
from adapters.sql.shelves import Shelves
from adapters.sql.statements import AUTHORITY_LOCK, Statements
from adapters.sql.suspended import waking
from commands import Grant
from contracts import ZERO_HASH, instant, is_policy_stream, rfc3339
from domain.identity.authority import WRITER, Consent, Founding, WriterInterval

CHANNEL = "spaceos_committed"
"""PostgreSQL notifies it in the transaction of each batch."""

# Workers and readers may meet a new store at the same moment; each would insert what the others do.
_ALONE = "lock table deployment in share row exclusive mode"
_KNOWN_GENESIS = "select value from deployment where name = 'genesis'"
_PLANTED = "select key, role, prefix, not_after from authority_grants where shard = 'genesis'"
_DIFFERS = (
    "this store was begun with the genesis {there}…, the file is {here}…; a genesis is never edited: restore the file,"
    " and register keys with identity.ProposeKey"
)
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

    def begin(self, founding: Founding, grants: Iterable[Grant]) -> None:
        """The genesis: what the network is founded on, and its first keys. It is taken once.

        A store that has keys and no digest, of before there was one, takes it if its keys are the genesis's.
        Raises GenesisDiffers.
        """
        first = list(grants)
        with session(self.engine) as asking, asking.transaction():
            if self._postgresql:
                asking.ask([Said(_ALONE)])
            [known, keys, planted] = asking.ask([Said(_KNOWN_GENESIS), Said("select key from authority_keys"), Said(_PLANTED)])
            if known:
                if known[0][0] != founding.genesis:
                    raise GenesisDiffers(_DIFFERS.format(there=known[0][0][:12], here=founding.genesis[:12]))
                return
            if keys:
                _require_same({key for (key,) in keys}, planted, first)
            else:
                self._plant(asking, first)
            said = {"genesis": founding.genesis, "founding": _written(founding)}
            asking.ask([Said("insert into deployment (name, value) values (?, ?)", list(said.items()), many=True)])

    def plant(self, grants: Iterable[Grant]) -> None:
        """First keys of a network without a genesis. Those that are known already are left as they are."""
        with session(self.engine) as asking, asking.transaction():
            if self._postgresql:
                asking.ask([Said(_ALONE)])
            [known] = asking.ask([Said("select key from authority_keys")])
            there = set(known)
            self._plant(asking, [grant for grant in grants if (grant.key,) not in there])

    def _plant(self, asking: Session, grants: Sequence[Grant]) -> None:
        if grants:
            fresh = [(grant, "genesis", n) for n, grant in enumerate(grants)]
            asking.ask([*self._sql.keys_held({grant.key for grant in grants}), *changed(fresh)])

    def founding(self) -> Founding | None:
        """What the genesis says; None in a store that was begun without one."""
        found = self.facts().get("founding")
        return None if found is None else _founding(found)

    # Who might act, then

    def is_entitled(self, key: str, role: str, stream: str, time: datetime) -> bool:
        """Whether the key had the role for that stream at that time."""
        return any(interval.covers(stream, time) for interval in self._intervals(role, key))

    def writers(self) -> list[WriterInterval]:
        """Every key that ever might sign events, of which streams, from when until when."""
        return self._intervals(WRITER)

    def _intervals(self, role: str, key: str | None = None) -> list[WriterInterval]:
        table = tables.authority_grants
        statement = select(table).where(table.c.role == role).order_by(table.c.since, table.c.key, table.c.prefix)
        if key is not None:
            statement = statement.where(table.c.key == key)
        with reading(self.engine) as connection:
            rows = connection.execute(statement).all()
        return [
            WriterInterval(row.key, row.prefix, instant(row.since), instant(min(row.not_after, row.ended or row.not_after)))
            for row in rows
        ]

    def _alone(self, connection: Connection) -> None:
        if self._postgresql:
            connection.exec_driver_sql(_ALONE)

    def values(self, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """What was recorded at each shard and sequence, `("treasury.events/3", 17)`; missing where nothing was."""
        names = {shard.events: shard.id for shard in self.shards()}
        wanted = {(names[shard], sequence): (shard, sequence) for shard, sequence in places if shard in names}
        if not wanted:
            return {}
        table = tables.events
        statement = select(table.c.shard, table.c.sequence, table.c.value)
        with reading(self.engine) as connection:
            rows = connection.execute(statement.where(tuple_(table.c.shard, table.c.sequence).in_(list(wanted)))).all()
        return {wanted[row.shard, row.sequence]: bytes(row.value) for row in rows}

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

    def named(self, question: Question) -> frozenset[str]:
        """The keys that are the answer; compared in the transaction of what was decided by it."""
        with session(self.engine) as asking:
            [rows] = asking.ask([self._sql.named(question)])
        return frozenset(key for (key,) in rows)

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
        # Two that end each another registrar would both find the other one still there.
        if batch.answers and self._postgresql:
            yield self._sql.policy(AUTHORITY_LOCK, held=True), _nothing
        if batch.changed_keys:
            yield from ((said, _nothing) for said in self._sql.keys_held(batch.changed_keys))

        def compare(rows: Rows) -> None:
            now = {key: (shard, sequence) for key, shard, sequence in rows if shard}
            moved = [key for key, known in batch.relied.items() if now.get(key) != (known.position if known else None)]
            if moved:
                raise AuthorityMoved(moved)

        if batch.relied:
            yield self._sql.keys_shared(batch.relied), compare
        # Under the locks of the keys that gave: what they consent to meanwhile waits, and is found as it is afterwards.
        for question, answer in batch.answers.items():
            yield self._sql.named(question), partial(_compare_answer, question, answer)

    def _written(self, sealed: Sealed, repeats: Sequence[tuple[int, int]]) -> Iterator[Said]:
        if sealed.events:
            yield self._sql.inserted(sealed.events)
        crashpoint("command.inserted")
        if sealed.commands:
            yield self._sql.inserted(sealed.commands)
        # In the transaction that holds the counter row, from what the table says: whoever decides there next goes on with it.
        if strangers := {command.shard for command in sealed.commands if command.kept}:
            yield self._sql.let_go(strangers)
        if repeats:
            yield self._sql.repeated(repeats)
        for snapshot in sealed.snapshots:
            yield from self._sql.snapshot(snapshot)
        yield from self._shelves.written(sealed)
        yield from changed(sealed.authority)
        yield self._sql.advanced([after for _, after in sealed.shards])
        if self._postgresql:
            yield Said(f"notify {CHANNEL}")


def _compare_answer(question: Question, answer: frozenset[str], rows: Rows) -> None:
    if frozenset(key for (key,) in rows) != answer:
        raise AuthorityMoved([question.of])


def _require_same(known: Collection[str], planted: Rows, grants: Collection[Grant]) -> None:
    """Raises GenesisDiffers where the store was begun with other keys than the genesis has."""
    first = {(grant.key, grant.role, grant.prefix, rfc3339(grant.not_after)) for grant in grants}
    # What was given anew since, or withdrawn before rows were kept, is no row of the genesis any more.
    differ = {key for key, *_ in set(planted) - first} | ({grant.key for grant in grants} - set(known))
    if differ:
        raise GenesisDiffers(
            f"this store was begun with other keys than the genesis has: {', '.join(sorted(differ))[:300]};"
            " restore the genesis.json with which it was begun"
        )


def _written(founding: Founding) -> str:
    return orjson.dumps(asdict(founding)).decode()


def _founding(value: str) -> Founding:
    found = orjson.loads(value)
    return Founding(**{**found, "roots": tuple(found["roots"])})


def _nothing(_rows: Rows) -> None:
    """To wait for the lock was all."""


def _known(rows: Rows) -> dict[str, Known]:
    return {identity: Known(*known) for identity, *known in rows}


def _authority(rows: Rows) -> dict[str, KeyAuthority]:
    found: dict[str, KeyAuthority] = {}
    for key, shard, sequence, revoked, person, follows, followed_at, role, *granted in rows:
        known = found.get(key)
        if known is None:
            at = None if followed_at is None else instant(followed_at)
            known = KeyAuthority(key, shard, sequence, bool(revoked), (), person, follows, at)
        if role is not None:
            known = replace(known, grants=(*known.grants, _granted(role, *granted)))
        found[key] = known
    # Of a key that only waits to be told of nothing is known.
    return {key: known for key, known in found.items() if known.shard}


def _granted(role: str, prefix: str, not_after: str, shard: str, sequence: int, since: str, consents: str | None) -> Granted:
    return Granted(role, prefix, instant(not_after), shard, sequence, instant(since), consents_of(consents))


def consents_of(column: str | None) -> tuple[Consent, ...]:
    """As the table keeps them: a JSON array of `[key, person]`."""
    return () if column is None else tuple(Consent(key, person) for key, person in orjson.loads(column))


def _streams(rows: Rows) -> dict[str, LoadedStream]:
    found: dict[str, LoadedStream] = {}
    for stream, shard, version, value, form, state in rows:
        if stream not in found:
            found[stream] = (None if form is None else SnapshotRow(stream, version, form, state), shard, [])
        if form is None:
            found[stream][2].append(value)
    return found


__all__ = [
    "CHANNEL", "AnotherDeployment", "AuthorityMoved", "CommandRow", "Decided", "EventRow", "Fenced", "GenesisDiffers",
    "Granted", "IntegrityError", "KeyAuthority", "Known", "LoadedStream", "Question", "Sealed", "Seen", "Shard", "ShelfRow",
    "SnapshotRow", "Store", "StreamMoved", "consents_of",
]  # fmt: skip
