"""A bank's file to statements, or to the line and rule for which it is not believed."""

from collections.abc import Iterator

from adapters.bank import camt, swift
from adapters.bank.entries import Entry, NotOurCurrency, Rule, Statement, StatementRefused

__all__ = ["Entry", "NotOurCurrency", "Rule", "Statement", "StatementRefused", "parse_statement", "verdicts"]

MAX_BYTES = 64 * 1024 * 1024
"""A day of half a million entries. What is larger is no statement."""


def parse_statement(data: bytes) -> tuple[Statement, ...]:
    """All statements of a file, MT940 or CAMT.052, .053 or .054. Raises StatementRefused for the first that is not believed."""
    found = []
    for verdict in verdicts(data):
        if isinstance(verdict, StatementRefused):
            raise verdict
        found.append(verdict)
    return tuple(found)


def verdicts(data: bytes) -> Iterator[Statement | StatementRefused]:
    """Each statement of a file for itself: a bad one spoils none of its neighbours. At least one verdict."""
    if len(data) > MAX_BYTES:
        yield StatementRefused(1, "size", f"{len(data)} bytes are more than a statement has")
        return
    is_xml = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"
    count = 0
    for verdict in (camt if is_xml else swift).read(data):
        count += 1
        yield verdict
    if not count:
        yield StatementRefused(1, "structure", "the file holds no statement")
