"""Views: what projections say, kept in SQL, with the position of each shard in the transaction that changes the rows."""

from adapters.views.chain import ChainBroken
from adapters.views.digest import Digest, digest
from adapters.views.parked import ParkedStream, parked_streams
from adapters.views.places import Applied
from adapters.views.positions import Fenced, Position, positions_of
from adapters.views.projector import Projector, Redriven

__all__ = [
    "Applied",
    "ChainBroken",
    "Digest",
    "Fenced",
    "ParkedStream",
    "Position",
    "Projector",
    "Redriven",
    "digest",
    "parked_streams",
    "positions_of",
]
