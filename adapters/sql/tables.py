"""The store's tables. A shard is one partition of one context: its commands, its events and its outcomes are numbered there."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

shards = Table(
    "shards",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("context", String(60), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_sequence", BigInteger, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("last_time", String(30), nullable=False),
    Column("next_outcome", BigInteger, nullable=False),
    # Where the worker reads next in the commands topic; the hash of the record before it tells whether the topic is
    # still the one that was read, and the incarnation counts how often it was not.
    Column("position", BigInteger, nullable=False),
    Column("position_hash", String(64), nullable=False),
    Column("incarnation", Integer, nullable=False),
    UniqueConstraint("context", "partition"),
    comment="One counter row a shard: locked by whoever appends, compared whole, so that it fences everything.",
)

events = Table(
    "events",
    METADATA,
    # No foreign key to the shard: the row was locked by whoever inserts, and PostgreSQL would look it up for each event.
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", String(250), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("type", String(120), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("signature", String(200), nullable=False),
    Column("traceparent", String(55)),
    UniqueConstraint("stream", "version"),
    comment="The signed records, byte for byte as they are published.",
)

commands = Table(
    "commands",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # "<id> <source>": the id first, because UUIDv7 makes the index grow at its end.
    Column("identity", String(200), nullable=False, unique=True),
    Column("hash", String(64), nullable=False),
    Column("subject", String(250), nullable=False),
    Column("command", LargeBinary, nullable=False),
    Column("signature", String(200), nullable=False),
    Column("outcome", LargeBinary, nullable=False),
    Column("outcome_signature", String(200)),
    Column("traceparent", String(55)),
    # Whether the command's bytes are: null where for good. What nobody registered sent and was refused has true while it is
    # among its shard's newest, false once its bytes were let go.
    Column("kept", Boolean),
    Index("commands_of_strangers", "shard", "number", sqlite_where=text("kept"), postgresql_where=text("kept")),
    comment="The inbox and the outcomes in one: what was asked, by whom, and what became of it, in dense order.",
)

repeats = Table(
    "repeats",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("shard", Integer, ForeignKey("shards.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Index("repeats_shard", "shard"),
    comment="Outcomes to publish once more, because their command came again.",
)

snapshots = Table(
    "snapshots",
    METADATA,
    Column("stream", String(250), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("form", String(80), nullable=False),
    Column("state", LargeBinary, nullable=False),
    comment="Aggregates as JSON, a cache: one whose form is not the code's is passed over.",
)

shelf_entries = Table(
    "shelf_entries",
    METADATA,
    # The key before the shelf: what a command names is looked up on all shelves at once.
    Column("stream", String(250), primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("shelf", String(60), primary_key=True),
    Column("state", LargeBinary, nullable=False),
    comment="What a snapshot leaves out: each value on an aggregate's shelves as JSON, as of the stream's snapshot.",
    sqlite_with_rowid=False,
)

authority_keys = Table(
    "authority_keys",
    METADATA,
    Column("key", String(90), primary_key=True),
    Column("shard", String(80), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False),
    # The first key of its chain of rotations; null where it is that key itself. Set with the row, never overwritten.
    Column("person", String(90)),
    # The key whose place it took, and when.
    Column("follows", String(90)),
    Column("followed_at", String(30)),
    comment="Each key with the position of the event that changed it last. Share-locked by decisions that rely on it.",
)

authority_grants = Table(
    "authority_grants",
    METADATA,
    Column("key", String(90), ForeignKey("authority_keys.key"), primary_key=True),
    Column("role", String(60), primary_key=True),
    Column("prefix", String(200), primary_key=True),
    # The event that gave it; of the genesis "genesis" and a number.
    Column("shard", String(80), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("since", String(30), nullable=False),
    Column("not_after", String(30), nullable=False),
    # When it was withdrawn, replaced or ended with its key, which is after `since` and may be before `not_after`.
    Column("ended", String(30)),
    # Who agreed, a JSON array of [key, person]; null where no registrar did.
    Column("consents", Text),
    Index("authority_grants_role", "role"),
    comment="Intervals: a row is ended, never deleted, so that whether a key was entitled at a time has an answer.",
)

authority_given = Table(
    "authority_given",
    METADATA,
    Column("by_key", String(90), primary_key=True),
    Column("key", String(90), primary_key=True),
    Column("since", String(30), nullable=False),
    comment="To whose roles a key consented, or who took its place, and when last.",
)

relays = Table(
    "relays",
    METADATA,
    Column("shard", Integer, ForeignKey("shards.id"), primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("next_event", BigInteger, nullable=False),
    Column("next_outcome", BigInteger, nullable=False),
    Column("event_offset", BigInteger, nullable=False, server_default="-1"),
    Column("event_at", BigInteger, nullable=False, server_default="-1"),
    Column("outcome_offset", BigInteger, nullable=False, server_default="-1"),
    Column("outcome_at", BigInteger, nullable=False, server_default="-1"),
    Column("closed", Text),
    comment="What is published. Only the owner of a shard who holds the epoch moves it.",
)

deployment = Table(
    "deployment",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
    comment="What a store is for and may never change: its network, its partitions, the digest of its genesis.",
)
