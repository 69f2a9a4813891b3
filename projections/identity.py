"""The key registry as views: what each key may do, since when, until when, and who said so."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import BigInteger, Column, Connection, Row, String, Table, select

from contracts import Record, instant, rfc3339
from contracts.identity import (
    SERVICE_KEY_DAYS,
    EndApproved,
    EndProposed,
    Founded,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    RoleWithdrawn,
)
from domain.identity.authority import REGISTRAR, WRITER, WriterInterval
from projections import METADATA, Projection, Session

keys = Table(
    "identity_keys",
    METADATA,
    Column("key", String(90), primary_key=True),
    Column("held_by", String(100), nullable=False),
    Column("state", String(20), nullable=False),
    Column("since", String(30), nullable=False),
    Column("reason", String(20)),
    Column("suspected_since", String(30)),
    Column("successor", String(90)),
)

roles = Table(
    "identity_roles",
    METADATA,
    # The stream that gave the role; a rotation gives roles to a key whose own stream says nothing of it.
    Column("given_in", String(90), primary_key=True),
    Column("key", String(90), primary_key=True, index=True),
    Column("role", String(60), primary_key=True, index=True),
    Column("prefix", String(200), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", String(80), nullable=False),
    Column("since", String(30), nullable=False),
    Column("not_after", String(30), nullable=False),
    comment="What was given, each time; identity_ends says what of it was taken back.",
)

ends = Table(
    "identity_ends",
    METADATA,
    # The stream that ended it: a revocation also ends what the key handed over, which other streams gave.
    Column("ended_in", String(90), primary_key=True),
    Column("key", String(90), primary_key=True, index=True),
    # Both empty: all roles of the key. A role's prefix may be empty, its name never is.
    Column("role", String(60), primary_key=True),
    Column("prefix", String(200), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", String(80), nullable=False),
    Column("said", String(30), nullable=False, comment="what was given later is not ended"),
    Column("at", String(30), nullable=False, comment="later than said where a rotated key still acts"),
)


SEALED = "(sealed)"
"""Stands where a person's name is sealed: a view holds no ciphertext, so that there is nothing in it to erase."""


def project(event: IdentityEvent, record: Record, session: Session) -> None:
    """One row a key, one row each time that a role is given to it or ended."""
    match event:
        case Founded(roots=roots):
            end = rfc3339(record.moment + timedelta(days=SERVICE_KEY_DAYS))
            for root in roots:
                _give(session, record, root, REGISTRAR, "identity/", end)
        case KeyProposed(key=key, held_by=held_by):
            known = session.get(keys, key)
            if known is None or known["state"] == "proposed":
                _put(session, record, key, "proposed", held_by=held_by if isinstance(held_by, str) else SEALED)
        case KeyApproved() | EndProposed() | EndApproved():
            pass
        case KeyRegistered(key=key, roles=granted, not_after=not_after):
            _put(session, record, key, "registered")
            for grant in granted:
                _give(session, record, key, grant.role, grant.prefix, rfc3339(not_after))
        case KeyRotated(key=key, successor=successor, roles=handed, until=until):
            _put(session, record, key, "rotated", successor=successor)
            for role in handed:
                _give(session, record, successor, role.role, role.prefix, rfc3339(role.not_after))
                _end(session, record, key, role.role, role.prefix, rfc3339(until))
        case RoleWithdrawn(key=key, role=role, prefix=prefix):
            _end(session, record, key, role, prefix)
        case KeyRevoked(key=key, reason=reason, suspected_since=suspected, ends=follows):
            _put(session, record, key, "revoked", reason=reason, suspected_since=rfc3339(suspected) if suspected else None)
            _end(session, record, key)
            for ended in follows or ():
                _end(session, record, ended.key, ended.role or "", ended.prefix or "")
        case _:
            assert_never(event)


def _put(session: Session, record: Record, key: str, state: str, **values: Any) -> None:
    row = session.get(keys, key) or {
        "key": key, "held_by": "", "since": record.time, "reason": None, "suspected_since": None, "successor": None,
    }  # fmt: skip
    session.put(keys, {**row, "state": state, **values})


def _give(session: Session, record: Record, key: str, role: str, prefix: str, not_after: str) -> None:
    session.put(
        roles,
        {
            "given_in": record.stream_id, "key": key, "role": role, "prefix": prefix, "not_after": not_after,
            "since": record.time, "shard": record.shard, "sequence": record.sequence,
        },
    )  # fmt: skip


def _end(session: Session, record: Record, key: str, role: str = "", prefix: str = "", at: str | None = None) -> None:
    session.put(
        ends,
        {
            "ended_in": record.stream_id, "key": key, "role": role, "prefix": prefix, "at": at or record.time,
            "said": record.time, "shard": record.shard, "sequence": record.sequence,
        },
    )  # fmt: skip


def key_registry() -> Projection:
    return Projection("key_registry", ("identity",), (keys, roles, ends), project)


def writers(connection: Connection, first: Iterable[WriterInterval] = ()) -> list[WriterInterval]:
    """Every key that ever might sign events, of which streams, from when until when; `first` are the genesis's.

    Two look-ups by index, however many keys there are.
    """
    return intervals_of(WRITER, connection, first)


def writers_at(time: datetime, connection: Connection, first: Iterable[WriterInterval] = ()) -> list[WriterInterval]:
    """Those that might sign events at that time."""
    return [interval for interval in writers(connection, first) if interval.since <= time <= interval.until]


def intervals_of(
    role: str, connection: Connection, first: Iterable[WriterInterval] = (), key: str | None = None
) -> list[WriterInterval]:
    """Who had the role on which prefix, from when until when, both included; `first` is what the genesis gave of it."""
    given = select(roles).where(roles.c.role == role)
    ended = select(ends).where(ends.c.role.in_([role, ""]))
    if key is None:
        ended = ended.where(ends.c.key.in_(select(roles.c.key).where(roles.c.role == role)) | ends.c.key.in_(_keys(first)))
    else:
        given, ended = given.where(roles.c.key == key), ended.where(ends.c.key == key)
    found = [interval for interval in first if key in (None, interval.key)]
    found += [
        WriterInterval(row.key, row.prefix, instant(row.since), instant(row.not_after)) for row in connection.execute(given)
    ]
    places: dict[tuple[str, str], list[WriterInterval]] = {}
    for interval in found:
        places.setdefault((interval.key, interval.prefix), []).append(interval)
    cuts: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(ended):
        cuts.setdefault(row.key, []).append(row)
    cut = [_cut(interval, cuts.get(interval.key, ()), places[interval.key, interval.prefix]) for interval in found]
    return sorted(cut, key=lambda interval: (interval.since, interval.key, interval.prefix))


def _keys(first: Iterable[WriterInterval]) -> list[str]:
    return sorted({interval.key for interval in first})


def _cut(interval: WriterInterval, ended: Iterable[Row[Any]], others: Iterable[WriterInterval]) -> WriterInterval:
    """Until it was ended, or given anew."""
    until = [interval.until, *(other.since for other in others if other.since > interval.since)]
    mine = (row for row in ended if not row.role or row.prefix == interval.prefix)
    until += [instant(row.at) for row in mine if instant(row.said) >= interval.since]
    return WriterInterval(interval.key, interval.prefix, interval.since, min(until))


def is_entitled(
    key: str, role: str, stream: str, time: datetime, connection: Connection, first: Iterable[WriterInterval] = ()
) -> bool:
    """Whether the key had the role for that stream at that time; `first` is what the genesis gave of the role."""
    return any(interval.covers(stream, time) for interval in intervals_of(role, connection, first, key))


def roles_of(key: str, connection: Connection) -> Sequence[Any]:
    """What a key was given, with the event that gave it."""
    return connection.execute(
        select(roles).where(roles.c.key == key).order_by(roles.c.role, roles.c.prefix, roles.c.since)
    ).all()


def keys_with_role(role: str, time: datetime, connection: Connection, first: Iterable[WriterInterval] = ()) -> list[str]:
    """The keys that have the role then."""
    return sorted({i.key for i in intervals_of(role, connection, first) if i.since <= time <= i.until})


def is_revoked(key: str, connection: Connection) -> bool:
    """Whether the key was ended; also one of the genesis, or one that only followed, which have no other row here."""
    statement = select(ends.c.key).where(ends.c.key == key, ends.c.role == "")
    return connection.execute(statement).first() is not None
