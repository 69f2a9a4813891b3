"""The key registry as views: what each key may do, since when, until when, and who said so."""

from collections.abc import Sequence
from typing import Any, assert_never

from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, select

from contracts import Record, Role, rfc3339
from contracts.identity import (
    Founded,
    IdentityEvent,
    KeyApproved,
    KeyProposed,
    KeyRegistered,
    KeyRevoked,
    KeyRotated,
    RoleGrant,
    RoleWithdrawn,
)
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
    Column("role", String(60), primary_key=True),
    Column("prefix", String(200), primary_key=True),
    Column("not_after", String(30), nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    Column("since", String(30), nullable=False),
    Column("shard", String(80), nullable=False),
    Column("sequence", BigInteger, nullable=False),
)


SEALED = "(sealed)"
"""Stands where a person's name is sealed: a view holds no ciphertext, so that there is nothing in it to erase."""


def project(event: IdentityEvent, record: Record, session: Session) -> None:
    """One row a key, one row a role of it."""
    match event:
        case Founded(roots=roots):
            for root in roots:
                grant = RoleGrant(role=Role("identity.registrar"), prefix="identity/")
                _give(session, record, root, grant, "")
        case KeyProposed(key=key, held_by=held_by):
            known = session.get(keys, key)
            if known is None or known["state"] == "proposed":
                _put(session, record, key, "proposed", held_by=held_by if isinstance(held_by, str) else SEALED)
        case KeyApproved():
            pass
        case KeyRegistered(key=key, roles=granted, not_after=not_after):
            session.change(keys, key, state="registered")
            for grant in granted:
                _give(session, record, key, grant, rfc3339(not_after))
        case KeyRotated(key=key, successor=successor, roles=granted, not_after=not_after, until=until):
            session.change(keys, key, state="rotated", successor=successor)
            for grant in granted:
                _give(session, record, successor, grant, rfc3339(not_after))
                _give(session, record, key, grant, rfc3339(until))
        case RoleWithdrawn(key=key, role=role, prefix=prefix):
            _give(session, record, key, RoleGrant.model_construct(role=role, prefix=prefix), record.time, withdrawn=True)
        case KeyRevoked(key=key, reason=reason, suspected_since=suspected):
            _put(session, record, key, "revoked", reason=reason, suspected_since=rfc3339(suspected) if suspected else None)
        case _:
            assert_never(event)


def _put(session: Session, record: Record, key: str, state: str, **values: Any) -> None:
    row = session.get(keys, key) or {
        "key": key, "held_by": "", "since": record.time, "reason": None, "suspected_since": None, "successor": None,
    }  # fmt: skip
    session.put(keys, {**row, "state": state, **values})


def _give(session: Session, record: Record, key: str, grant: RoleGrant, not_after: str, *, withdrawn: bool = False) -> None:
    session.put(
        roles,
        {
            "given_in": record.stream_id, "key": key, "role": grant.role, "prefix": grant.prefix, "not_after": not_after,
            "withdrawn": withdrawn, "since": record.time, "shard": record.shard, "sequence": record.sequence,
        },
    )  # fmt: skip


def key_registry() -> Projection:
    return Projection("key_registry", ("identity",), (keys, roles), project)


def roles_of(key: str, connection: Connection) -> Sequence[Any]:
    """The roles of a key, each with the event that gave or ended it."""
    return connection.execute(select(roles).where(roles.c.key == key).order_by(roles.c.role, roles.c.prefix)).all()


def keys_with_role(role: str, connection: Connection) -> list[str]:
    """Registered keys that have the role and have not lost it."""
    revoked = select(keys.c.key).where(keys.c.state == "revoked")
    statement = select(roles.c.key).where(roles.c.role == role, ~roles.c.withdrawn, roles.c.key.not_in(revoked)).distinct()
    return sorted(connection.scalars(statement))


def is_revoked(key: str, connection: Connection) -> bool:
    """Whether the key was ended; also one of the genesis, which has no other row here."""
    return connection.execute(select(keys.c.key).where(keys.c.key == key, keys.c.state == "revoked")).first() is not None
