"""The ledger's wiring: it reads every context that has an event with a posting rule."""

from collections.abc import Iterator

from projections.ledger import ledger
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield ledger()
