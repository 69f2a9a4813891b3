"""Audit's wiring: what people decided about the log becomes views. The log itself is kept by a reader of every topic."""

from collections.abc import Iterator

from projections.audit import audit_affairs
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield audit_affairs()
