"""Operations' wiring: what operators and analysts did becomes views."""

from collections.abc import Iterator

from projections.operations import operations
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield operations()
