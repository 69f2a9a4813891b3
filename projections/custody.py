"""Sealing keys as a view: which there are, of what class, and which are gone and why."""

from typing import Any, assert_never

from sqlalchemy import BigInteger, Column, Connection, String, Table, select

from contracts import Record
from contracts.custody import CustodyEvent, KeyCreated, KeyShredded
from projections import METADATA, Projection, Session

keys = Table(
    "custody_keys",
    METADATA,
    Column("key", String(120), primary_key=True),
    Column("retention_class", String(20), nullable=False),
    Column("year", BigInteger, nullable=False),
    Column("created", String(30), nullable=False),
    Column("shredded", String(30)),
    Column("cause", String(36), comment="the event that ordered it"),
    Column("shredding", String(36), index=True, comment="the id of the KeyShredded"),
)


def project(event: CustodyEvent, record: Record, session: Session) -> None:
    """One row a key."""
    match event:
        case KeyCreated(retention_class=retention_class, year=year):
            session.put(
                keys,
                {
                    "key": record.stream_id, "retention_class": retention_class, "year": year, "created": record.time,
                    "shredded": None, "cause": None, "shredding": None,
                },
            )  # fmt: skip
        case KeyShredded(cause=cause):
            session.change(keys, record.stream_id, shredded=record.time, cause=cause, shredding=record.id)
        case _:
            assert_never(event)


def sealing_keys() -> Projection:
    return Projection("sealing_keys", ("custody",), (keys,), project)


def key_of(key: str, connection: Connection) -> Any | None:
    """The key's row; None where it was never made."""
    return connection.execute(select(keys).where(keys.c.key == key)).first()
