"""Custody's wiring: its events become the list of sealing keys."""

from collections.abc import Iterator

from projections.custody import sealing_keys
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield sealing_keys()
