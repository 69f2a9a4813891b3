"""The event store: what the command worker reads before it decides, and the one transaction in which a batch is durable."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, delete, func, insert, literal_column, select, text, update
from sqlalchemy.exc import IntegrityError

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
    SnapshotRow,
    StreamMoved,
)
from commands import AuthorityChange, Grant
from contracts import ZERO_HASH, instant, rfc3339

CHANNEL = "spaceos_committed"
"""PostgreSQL notifies it in the transaction of each batch."""


class Store:
    """One database of the write side. Safe to use from one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._postgresql = engine.dialect.name == "postgresql"

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
            return datetime.now(UTC)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return self._clock(connection)

    def _clock(self, connection: Connection) -> datetime:
        if not self._postgresql:
            return datetime.now(UTC)
        now: datetime = connection.execute(text("select clock_timestamp()")).scalar_one()
        return now.astimezone(UTC)

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
        table = tables.commands
        columns = (table.c.identity, table.c.hash, table.c.shard, table.c.number)
        return {row[0]: Known(row[1], row[2], row[3]) for row in self._those(columns, table.c.identity, identities)}

    def authority(self, keys: Collection[str]) -> dict[str, KeyAuthority]:
        """What each registered key may do. Keys and grants are read in one snapshot."""
        keys_table, grants_table = tables.authority_keys, tables.authority_grants
        with reading(self.engine) as connection:
            rows = connection.execute(select(keys_table).where(self._among(keys_table.c.key)), self._values(keys)).all()
            granted = connection.execute(select(grants_table).where(self._among(grants_table.c.key)), self._values(keys)).all()
        grants: dict[str, list[Granted]] = {}
        for row in granted:
            grant = Granted(row.role, row.prefix, instant(row.not_after), row.shard, row.sequence)
            grants.setdefault(row.key, []).append(grant)
        return {
            row.key: KeyAuthority(row.key, row.shard, row.sequence, row.revoked, tuple(grants.get(row.key, ()))) for row in rows
        }

    def streams(
        self, names: Collection[str], *, snapshots: bool = True
    ) -> dict[str, tuple[SnapshotRow | None, int, list[bytes]]]:
        """Each stream that exists: its newest snapshot, its shard's id, and the values of the events after that."""
        newest = self.snapshots(names) if snapshots else {}
        table = tables.events
        columns = (table.c.stream, table.c.shard, table.c.version, table.c.value)
        found: dict[str, tuple[SnapshotRow | None, int, list[bytes]]] = {}
        for stream, shard, version, value in self._after_snapshots(columns, names, newest):
            if stream not in found:
                found[stream] = (newest.get(stream), shard, [])
            snapshot = found[stream][0]
            if snapshot is None or version > snapshot.version:
                found[stream][2].append(bytes(value))
        return found

    def _after_snapshots(self, columns: Any, names: Collection[str], snapshots: Mapping[str, SnapshotRow]) -> Iterable[Any]:
        plain = [name for name in names if name not in snapshots]
        table = tables.events
        if plain:
            yield from self._those(columns, table.c.stream, plain, order_by=(table.c.stream, table.c.version))
        for name, snapshot in snapshots.items():
            # From the snapshot's own version on, so that the stream's shard is known even when nothing followed.
            where = (table.c.stream == name) & (table.c.version >= snapshot.version)
            with reading(self.engine) as connection:
                yield from connection.execute(select(*columns).where(where).order_by(table.c.version)).all()

    def snapshots(self, names: Collection[str]) -> dict[str, SnapshotRow]:
        """The newest snapshot of each stream that has one."""
        table = tables.snapshots
        rows = self._those((table.c.stream, table.c.version, table.c.form, table.c.state), table.c.stream, names)
        newest: dict[str, SnapshotRow] = {}
        for row in sorted(rows, key=lambda row: row[1]):
            newest[row[0]] = SnapshotRow(*row)
        return newest

    def _those(
        self, columns: Any, column: ColumnElement[str], values: Collection[str], order_by: Sequence[Any] = ()
    ) -> Sequence[Any]:
        if not values:
            return []
        with reading(self.engine) as connection:
            statement = select(*columns).where(self._among(column)).order_by(*order_by)
            return connection.execute(statement, self._values(values)).all()

    def _among(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        # One parameter however many values, so that one statement is compiled and prepared once.
        if self._postgresql:
            return column == func.any(bindparam("among"))
        return column.in_(select(literal_column("value")).select_from(func.json_each(bindparam("among"))))

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
        others = {shard for shard, _ in batch.looked_at.values()} - mine.keys()
        # In one order for everybody, or two workers that look at each other's shards would wait for ever.
        for shard_id in sorted(mine.keys() | others):
            statement = select(tables.shards).where(tables.shards.c.id == shard_id)
            row = connection.execute(statement.with_for_update(read=shard_id in others)).one()
            if shard_id in mine and Shard(**row._mapping) != mine[shard_id]:
                raise Fenced(f"{mine[shard_id].events} is at {row.next_sequence}, {mine[shard_id].next_sequence} was believed")
        if batch.looked_at:
            self._compare_streams(connection, batch.looked_at)

    def _compare_streams(self, connection: Connection, looked_at: Mapping[str, tuple[int, int]]) -> None:
        table = tables.events
        heads = select(table.c.stream, func.max(table.c.version)).where(self._among(table.c.stream)).group_by(table.c.stream)
        now = dict(connection.execute(heads, self._values(looked_at)).all())
        if moved := [stream for stream, (_, version) in looked_at.items() if now.get(stream, 0) != version]:
            raise StreamMoved(moved)

    def _lock_authority(self, connection: Connection, batch: Decided) -> None:
        table = tables.authority_keys
        if batch.changed_keys:
            fresh = [{"key": key, "shard": "", "sequence": 0, "revoked": False} for key in sorted(batch.changed_keys)]
            connection.execute(
                text(
                    "insert into authority_keys (key, shard, sequence, revoked) values (:key, :shard, :sequence, :revoked)"
                    " on conflict (key) do nothing"
                ),
                fresh,
            )
            mine = select(table.c.key).where(self._among(table.c.key)).order_by(table.c.key).with_for_update()
            connection.execute(mine, self._values(batch.changed_keys)).all()
        if batch.relied:
            statement = (
                select(table.c.key, table.c.shard, table.c.sequence).where(self._among(table.c.key)).order_by(table.c.key)
            )
            rows = connection.execute(statement.with_for_update(read=True), self._values(batch.relied)).all()
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
            connection.execute(insert(tables.repeats), [{"shard": shard, "number": number} for shard, number in repeats])
        for snapshot in sealed.snapshots:
            connection.execute(delete(tables.snapshots).where(tables.snapshots.c.stream == snapshot.stream))
            connection.execute(insert(tables.snapshots).values(snapshot._asdict()))
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
        for before, after in sealed.shards:
            values = {
                name: getattr(after, name)
                for name in (
                    "next_sequence",
                    "last_hash",
                    "last_time",
                    "next_outcome",
                    "position",
                    "position_hash",
                    "incarnation",
                )
            }
            connection.execute(update(tables.shards).where(tables.shards.c.id == before.id).values(values))

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


__all__ = [
    "CHANNEL", "AnotherDeployment", "AuthorityMoved", "CommandRow", "Decided", "EventRow", "Fenced", "Granted",
    "IntegrityError", "KeyAuthority", "Known", "Sealed", "Shard", "SnapshotRow", "Store", "StreamMoved",
]  # fmt: skip
