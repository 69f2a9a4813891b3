"""Identity's wiring: its events become the key registry."""

from collections.abc import Iterator

from projections.identity import key_registry
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield key_registry()
