"""Events of the log to Parquet: from Kafka or the audit log, between two cuts, checked on the way."""

from ops.export.run import Asked, NoSuchType, event_types, export

__all__ = ["Asked", "NoSuchType", "event_types", "export"]
