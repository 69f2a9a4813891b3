"""The audit log in SQL: one tree over every record of every events topic, and the heads that were signed."""

from adapters.audit.checking import Finding, check_log
from adapters.audit.log import AuditLog, Head
from adapters.audit.sequencer import Sequencer
from adapters.audit.signing import Forked, RolledBack, sign_head

__all__ = ["AuditLog", "Finding", "Forked", "Head", "RolledBack", "Sequencer", "check_log", "sign_head"]
