"""HTTP: the audit log's read side, and what every server of ours does alike."""

from aiohttp.web import Application

from adapters.http.audit import audit_app
from adapters.http.readers import MayRead, NotEntitled, OnEntries, Tokens, bearer
from adapters.http.serving import new_app, serving

__all__ = ["Application", "MayRead", "NotEntitled", "OnEntries", "Tokens", "audit_app", "bearer", "new_app", "serving"]
