"""The event store: what the command worker reads before it decides, and the one transaction in which a batch is durable."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from adapters import clock
from adapters.crash import crashpoint
from adapters.sql import tables
from adapters.sql.engine import reading
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
    Sealed,
    Shard,
    ShelfRow,
    SnapshotRow,
    StreamMoved,
)
from adapters.sql.shelves import Shelves
from adapters.sql.statements import ADVANCED, Statements
from commands import AuthorityChange, Grant
from contracts import ZERO_HASH, instant, is_policy_stream, rfc3339

CHANNEL = "spaceos_committed"
"""PostgreSQL notifies it in the transaction of each batch."""


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
        table = tables.authority_keys
        with self.engine.begin() as connection:
            self._alone(connection)
            known = set(connection.scalars(select(table.c.key)))
            fresh = [(grant, "genesis", n) for n, grant in enumerate(grants) if grant.key not in known]
            if fresh:
                rows = {g.key: {"key": g.key, "shard": "genesis", "sequence": n, "revoked": False} for g, _, n in fresh}
                connection.execute(insert(table), list(rows.values()))
                self._grant(connection, fresh)

    def _alone(self, connection: Connection) -> None:
        # Worker, relay and readers may meet a new store at the same moment; each would insert what the others do.
        if self._postgresql:
            connection.execute(text("lock table deployment in share row exclusive mode"))

    # Reading before a decision

    def clock(self) -> datetime:
        """The store's clock: the server's on PostgreSQL, so that all workers have one; the machine's on SQLite."""
        if not self._postgresql:
            return clock.now()
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return self._clock(connection)

    def _clock(self, connection: Connection) -> datetime:
        if not self._postgresql:
            return clock.now()
        now: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
        return now.astimezone(UTC) + clock.shift()

    def shard(self, context: str, partition: int) -> Shard:
        """The counter row, made when it is missing."""
        with self.engine.begin() as connection:
            where = (tables.shards.c.context == context) & (tables.shards.c.partition == partition)
            row = connection.execute(select(tables.shards).where(where)).first()
            if row is None:
                self._make_shard(connection, context, partition)
                row = connection.execute(select(tables.shards).where(where)).one()
            return Shard(**row._mapping)

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
        with self.engine.begin() as connection:
            self._fence(connection, Decided([shard], seal=lambda _: Sealed([])))
            self._advance(connection, Sealed([(shard, anew)]))
        return anew

    def shards(self) -> list[Shard]:
        """All counter rows."""
        with reading(self.engine) as connection:
            return [Shard(**row._mapping) for row in connection.execute(select(tables.shards).order_by(tables.shards.c.id))]

    def known(self, identities: Collection[str]) -> dict[str, Known]:
        """Those of the commands (`"<id> <source>"`) that have an outcome."""
        return {row[0]: Known(row[1], row[2], row[3]) for row in self._those(self._sql.known, identities)}

    def authority(self, keys: Collection[str]) -> dict[str, KeyAuthority]:
        """What each registered key may do. Keys and grants are read in one snapshot."""
        if not keys:
            return {}
        with reading(self.engine) as connection:
            rows = connection.execute(self._sql.keys, self._values(keys)).all()
            granted = connection.execute(self._sql.grants, self._values(keys)).all()
        grants: dict[str, list[Granted]] = {}
        for row in granted:
            grant = Granted(row.role, row.prefix, instant(row.not_after), row.shard, row.sequence)
            grants.setdefault(row.key, []).append(grant)
        return {
            row.key: KeyAuthority(row.key, row.shard, row.sequence, row.revoked, tuple(grants.get(row.key, ())), row.person)
            for row in rows
        }

    def streams(
        self, names: Collection[str], *, snapshots: bool = True
    ) -> dict[str, tuple[SnapshotRow | None, int, list[bytes]]]:
        """Each stream that exists: its newest snapshot, its shard's id, and the values of the events after that."""
        newest = self.snapshots(names) if snapshots else {}
        found: dict[str, tuple[SnapshotRow | None, int, list[bytes]]] = {}
        for stream, shard, version, value in self._after_snapshots(names, newest):
            if stream not in found:
                found[stream] = (newest.get(stream), shard, [])
            snapshot = found[stream][0]
            if snapshot is None or version > snapshot.version:
                found[stream][2].append(bytes(value))
        return found

    def _after_snapshots(self, names: Collection[str], snapshots: Mapping[str, SnapshotRow]) -> Iterable[Any]:
        yield from self._those(self._sql.events, [name for name in names if name not in snapshots])
        for name, snapshot in snapshots.items():
            # From the snapshot's own version on, so that the stream's shard is known even when nothing followed.
            with reading(self.engine) as connection:
                yield from connection.execute(self._sql.events_after, {"stream": name, "version": snapshot.version}).all()

    def snapshots(self, names: Collection[str]) -> dict[str, SnapshotRow]:
        """The newest snapshot of each stream that has one."""
        newest: dict[str, SnapshotRow] = {}
        for row in sorted(self._those(self._sql.snapshots, names), key=lambda row: row[1]):
            newest[row[0]] = SnapshotRow(*row)
        return newest

    def shelved(self, known: Mapping[str, int], asked: Collection[tuple[str, str]]) -> list[ShelfRow]:
        """What is on the shelves, see `Shelves.read`. Raises StreamMoved."""
        with reading(self.engine) as connection:
            return self._shelves.read(connection, known, asked)

    def _those(self, statement: Any, values: Collection[str]) -> Sequence[Any]:
        if not values:
            return []
        with reading(self.engine) as connection:
            return connection.execute(statement, self._values(values)).all()

    def _values(self, values: Collection[str]) -> dict[str, Any]:
        return {"among": list(values) if self._postgresql else json.dumps(list(values))}

    # The one transaction

    def commit(self, batch: Decided) -> Sealed:
        """Make a batch durable, whole or not at all. Raises Fenced, AuthorityMoved, StreamMoved, IntegrityError.

        Where it changes authority, the time is drawn and the records are signed under the exclusive lock of the changed
        keys: later than every decision that relied on them. Otherwise nothing but SQL happens inside.
        """
        sealed = None if batch.changed_keys else batch.seal(self.clock())
        with self.engine.begin() as connection:
            self._fence(connection, batch)
            self._lock_authority(connection, batch)
            if sealed is None:
                sealed = batch.seal(self._clock(connection))
            self._insert(connection, sealed, batch.repeats)
            self._advance(connection, sealed)
            if self._postgresql:
                connection.execute(text(f"notify {CHANNEL}"))
            crashpoint("command.before_commit")
        crashpoint("command.committed")
        return sealed

    def _fence(self, connection: Connection, batch: Decided) -> None:
        mine = {shard.id: shard for shard in batch.shards}
        looked_at = {shard for stream, (shard, _) in batch.looked_at.items() if not is_policy_stream(stream)}
        others = looked_at - mine.keys()
        # In one order for everybody, or two workers that look at each other's shards would wait for ever.
        for shard_id in sorted(mine.keys() | others):
            statement = self._sql.shard_shared if shard_id in others else self._sql.shard_held
            row = connection.execute(statement, {"id": shard_id}).one()
            if shard_id in mine and Shard(**row._mapping) != mine[shard_id]:
                raise Fenced(f"{mine[shard_id].events} is at {row.next_sequence}, {mine[shard_id].next_sequence} was believed")
        if self._postgresql:
            self._lock_policies(connection, batch)
        if batch.looked_at:
            self._compare_streams(connection, batch.looked_at)

    def _lock_policies(self, connection: Connection, batch: Decided) -> None:
        # Nearly every decision looks at its context's policy. Were the shard in which that lies locked for it, all shards of
        # the context would wait for that one; so a policy has a lock of its own. SQLite has one writer, and needs none.
        for stream in sorted({stream for stream in batch.looked_at if is_policy_stream(stream)} | set(batch.policies)):
            statement = self._sql.policy_held if stream in batch.policies else self._sql.policy_shared
            connection.execute(statement, {"stream": stream})

    def _compare_streams(self, connection: Connection, looked_at: Mapping[str, tuple[int, int]]) -> None:
        heads: Sequence[Any] = connection.execute(self._sql.heads, self._values(looked_at)).all()
        now: dict[str, int] = dict(heads)
        if moved := [stream for stream, (_, version) in looked_at.items() if now.get(stream, 0) != version]:
            raise StreamMoved(moved)

    def _lock_authority(self, connection: Connection, batch: Decided) -> None:
        if batch.changed_keys:
            fresh = [{"key": key, "shard": "", "sequence": 0, "revoked": False} for key in sorted(batch.changed_keys)]
            connection.execute(self._sql.make_key, fresh)
            connection.execute(self._sql.keys_held, self._values(batch.changed_keys)).all()
        if batch.relied:
            rows: Sequence[Any] = connection.execute(self._sql.keys_shared, self._values(batch.relied)).all()
            now = {key: (shard, sequence) for key, shard, sequence in rows if shard}
            moved = [key for key, known in batch.relied.items() if now.get(key) != (known.position if known else None)]
            if moved:
                raise AuthorityMoved(moved)

    def _insert(self, connection: Connection, sealed: Sealed, repeats: Sequence[tuple[int, int]]) -> None:
        if sealed.events:
            connection.exec_driver_sql(self._statement(tables.events.name, EventRow), sealed.events)
        crashpoint("command.inserted")
        if sealed.commands:
            connection.exec_driver_sql(self._statement(tables.commands.name, CommandRow), sealed.commands)
        if repeats:
            connection.execute(self._sql.repeat, [{"shard": shard, "number": number} for shard, number in repeats])
        for snapshot in sealed.snapshots:
            connection.execute(delete(tables.snapshots).where(tables.snapshots.c.stream == snapshot.stream))
            connection.execute(insert(tables.snapshots).values(snapshot._asdict()))
        self._shelves.write(connection, sealed)
        # In their order, but a run of grants at once: a fleet registers by the thousand.
        for is_grant, run in groupby(sealed.authority, lambda entry: isinstance(entry[0], Grant)):
            if is_grant:
                self._grant(connection, [(c, shard, n) for c, shard, n in run if isinstance(c, Grant)])
            else:
                for change, shard, sequence in run:
                    self._withdraw(connection, change, shard, sequence)

    def _statement(self, table: str, row: Any) -> str:
        # The driver's own executemany: SQLAlchemy's costs 4 µs a row more, a tenth of a command. Names are ours.
        mark = "%s" if self._postgresql else "?"
        return f"insert into {table} ({', '.join(row._fields)}) values ({', '.join([mark] * len(row._fields))})"  # noqa: S608

    def _advance(self, connection: Connection, sealed: Sealed) -> None:
        rows = [
            {"of": before.id, **{f"to_{name}": getattr(after, name) for name in ADVANCED}} for before, after in sealed.shards
        ]
        connection.execute(self._sql.advance, rows)

    def _withdraw(self, connection: Connection, change: AuthorityChange, shard: str, sequence: int) -> None:
        keys, grants = tables.authority_keys, tables.authority_grants
        values: dict[str, Any] = {"shard": shard, "sequence": sequence}
        if change.role is None:
            values["revoked"] = True
        else:
            mine = (grants.c.key == change.key) & (grants.c.role == change.role)
            connection.execute(delete(grants).where(mine, grants.c.prefix == change.prefix))
        connection.execute(update(keys).where(keys.c.key == change.key).values(values))

    def _grant(self, connection: Connection, granted: Sequence[tuple[Grant, str, int]]) -> None:
        keys, grants = tables.authority_keys, tables.authority_grants
        newest = {(grant.key, grant.role, grant.prefix): (grant, shard, sequence) for grant, shard, sequence in granted}
        moved = update(keys).where(keys.c.key == bindparam("of"))
        positions = [{"of": grant.key, "at": shard, "n": sequence} for grant, shard, sequence in granted]
        connection.execute(moved.values(shard=bindparam("at"), sequence=bindparam("n")), positions)
        mine = (grants.c.key == bindparam("of")) & (grants.c.role == bindparam("as")) & (grants.c.prefix == bindparam("on"))
        connection.execute(delete(grants).where(mine), [{"of": key, "as": role, "on": prefix} for key, role, prefix in newest])
        rows = [
            {"key": g.key, "role": g.role, "prefix": g.prefix, "not_after": rfc3339(g.not_after), "shard": shard, "sequence": n}
            for g, shard, n in newest.values()
        ]
        connection.execute(insert(grants), rows)
        for successor, before in {g.key: g.follows for g, _, _ in granted if g.follows}.items():
            person = connection.scalar(select(keys.c.person).where(keys.c.key == before)) or before
            connection.execute(update(keys).where(keys.c.key == successor).values(person=person))


__all__ = [
    "CHANNEL", "AnotherDeployment", "AuthorityMoved", "CommandRow", "Decided", "EventRow", "Fenced", "Granted",
    "IntegrityError", "KeyAuthority", "Known", "Sealed", "Shard", "ShelfRow", "SnapshotRow", "Store", "StreamMoved",
]  # fmt: skip
