"""The vault's tables: wrapped keys, and under which version of the master they are wrapped."""

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()

sealing_keys = Table(
    "vault_sealing_keys",
    METADATA,
    Column("key", String(32), primary_key=True),
    # Who it is stands here and nowhere else; the row goes with the key.
    Column("person", String(200), nullable=False),
    Column("retention_class", String(20), nullable=False),
    Column("year", Integer, nullable=False),
    Column("master", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Index("vault_keys_person", "person", "retention_class", "year", unique=True),
    comment="A key is here, wrapped, or it is destroyed.",
)
