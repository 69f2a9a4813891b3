"""What the readers remember beside the views: how far each has come, and which streams wait for better code."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

positions = Table(
    "positions",
    METADATA,
    # The shard first: a turn moves all readers of a shard, and they lie side by side.
    Column("shard", String(120), primary_key=True),
    Column("reader", String(120), primary_key=True),
    Column("next", BigInteger, nullable=False),
    # SHA-256 of the value applied last: the next record must name it, and a topic made anew is recognised by it.
    Column("last_hash", String(64), nullable=False),
    Column("last_time", String(30), nullable=False),
    # Where the next record was expected in the topic when this was written. Only a hint.
    Column("offset", BigInteger, nullable=False),
    # Who may advance: whoever claimed last.
    Column("epoch", BigInteger, nullable=False),
    # Counts what others did to the rows (redrive, swap), so that a reader forgets what it kept in memory.
    Column("generation", BigInteger, nullable=False),
    # Counts the turns that changed a row: most events mean nothing to most readers, and who waits for a view need not look.
    Column("wrote", BigInteger, nullable=False, server_default="0"),
    comment="The sequence that each reader applies next in every shard. Advanced in the transaction that changes the view.",
    sqlite_with_rowid=False,
)

reader_states = Table(
    "reader_states",
    METADATA,
    Column("shard", String(120), primary_key=True),
    Column("reader", String(120), primary_key=True),
    Column("set", String(60), nullable=False),
    Column("holder", String(120), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("state", String(20), nullable=False),
    Column("fold_microseconds", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    comment="What the process that claimed a shard for a reader last said of it. For people: nothing is decided by it.",
    sqlite_with_rowid=False,
)

reader_sets = Table(
    "reader_sets",
    METADATA,
    Column("holder", String(120), primary_key=True),
    Column("set", String(60), nullable=False),
    Column("seen", String(30), nullable=False),
    comment="The processes that read, and when each last showed a sign of life.",
)

strangers = Table(
    "strangers",
    METADATA,
    Column("shard", String(120), primary_key=True),
    Column("records", BigInteger, nullable=False),
    # Of the last one that is counted: what is read again is not counted twice.
    Column("offset", BigInteger, nullable=False),
    Column("said", String(200), nullable=False),
    Column("seen", String(30), nullable=False),
    comment="Records of events topics that nobody entitled signed, and that were passed over. For people.",
)

parked = Table(
    "parked",
    METADATA,
    Column("reader", String(120), primary_key=True),
    Column("shard", String(120), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", String(250), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("since", String(30), nullable=False),
    # What else came with the record, as JSON; null where it was parked before this was kept.
    Column("headers", LargeBinary),
    Column("timestamp_ms", BigInteger),
    Index("parked_stream", "reader", "stream"),
    comment="Events that a reader could not apply, and those of the same stream that came after them.",
)

refused_tasks = Table(
    "refused_tasks",
    METADATA,
    Column("list", String(120), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("name", String(60), nullable=False),
    Column("text", Text, nullable=False),
    Column("at", String(30), nullable=False),
    comment="Tasks of to-do lists that the rules said no to. An outcome that is heard again writes the same row.",
)

leases = Table(
    "leases",
    METADATA,
    Column("name", String(120), primary_key=True),
    Column("holder", String(80), nullable=False),
    Column("until", String(30), nullable=False),
    comment="Who works off each to-do list. Only to spare work: two at once send the same commands.",
)

calls = Table(
    "calls",
    METADATA,
    Column("kind", String(20), primary_key=True),
    Column("reference", String(200), primary_key=True),
    Column("sender", String(42), nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Index("calls_nonce", "sender", "nonce", unique=True),
    comment="The nonce of each contract call, kept before it is sent. Where it is lost, the chain's logs tell as much.",
)
