"""Events of the log to Parquet: from Kafka or the audit log, between two positions, checked on the way."""

from ops.export.run import Asked, NotSigned, export

__all__ = ["Asked", "NotSigned", "export"]
