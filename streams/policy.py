"""The policies' wiring: what every context says of its parameters and its halts is read into one view."""

from collections.abc import Iterator

from projections._policy import policies
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield policies()
