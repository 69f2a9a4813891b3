"""The log's tables. They have a database of their own: views can be made again from Kafka, sealed cuts cannot."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import postgresql, sqlite

METADATA = MetaData()

head = Table(
    "audit_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("network", String(40), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("batch", BigInteger, nullable=False),
    # The roots of the perfect subtrees at the right edge, 32 bytes each: all that appending needs.
    Column("roots", LargeBinary, nullable=False),
    comment="One row: the tree as it is. Locked by whoever appends.",
)

leaves = Table(
    "audit_leaves",
    METADATA,
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
    # Of a record; a seal has an empty shard and its batch's number.
    Column("shard", String(120), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("event", String(36), nullable=False),
    Column("type", String(120), nullable=False),
    Column("stream", String(250), nullable=False),
    Column("actor", String(90), nullable=False),
    Column("time", String(30), nullable=False),
    Column("entry", LargeBinary, nullable=False),
    UniqueConstraint("shard", "sequence", name="audit_leaf_once"),
    Index("audit_leaves_event", "event"),
    Index("audit_leaves_stream", "stream", "leaf"),
    comment="Every entry, byte for byte, with what it is looked for by.",
)

tiles = Table(
    "audit_tiles",
    METADATA,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    comment="Up to 256 hashes each. One at the right edge of its level grows; a partial tile is its beginning.",
)

shards = Table(
    "audit_shards",
    METADATA,
    Column("shard", String(120), primary_key=True),
    Column("next", BigInteger, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("last_time", String(30), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("halted", Text, nullable=True),
    comment="How far each shard is in the log. Advanced with the leaves, by whoever claimed it last.",
)

checkpoints = Table(
    "audit_checkpoints",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    comment="The heads that were signed: at most one root for a size.",
)

cosignatures = Table(
    "audit_cosignatures",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    # The witness's verifier key, which holds its name.
    Column("witness", String(400), primary_key=True),
    Column("posix_seconds", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
    Index("audit_cosignatures_witness", "witness", "size"),
    comment="Witnesses' signature lines under signed heads, verified before they were stored.",
)

refusals = Table(
    "audit_refusals",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("posix_seconds", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("witness", String(400), nullable=False),
    # As the witness answered; 0 where an operator has looked into it, and says so.
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    comment="Heads that a witness found to contradict what it had seen. While the newest one stands, nothing is published.",
)


def or_keep(connection: Connection, table: Table) -> Any:
    """An insert that leaves a row alone that is there already."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()
