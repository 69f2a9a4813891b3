"""Inference's wiring: decisions become the decision log, and anybody can decide again."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from contracts import Record
from contracts.inference import RouteDecided
from contracts.liveness import LivenessEvent
from contracts.providers import ProvidersEvent
from domain.inference.routing import Ask, decide
from domain.inference.table import RoutingTable
from projections.inference import decision_log
from streams import Stream, World


def streams(world: World) -> Iterator[Stream]:
    del world
    yield decision_log()


@dataclass(frozen=True)
class Difference:
    """A recorded decision that its own table does not give."""

    request: str
    router: str
    recorded: tuple[str, ...]
    derived: tuple[str, ...]


Shards = Mapping[str, list[tuple[ProvidersEvent | LivenessEvent, Record]]]
"""Shard to its events of `providers` and `liveness`, in their order from the first."""


def decide_again(decisions: Iterable[tuple[RouteDecided, Record]], shards: Shards) -> Iterator[Difference]:
    """Derive each decision from the log at its cut; what differs is an alarm that names the router (white paper 5.2).

    The cuts of one router only grow, so the table is folded once; a cut that lies before another one is folded anew.
    """
    table = RoutingTable()
    for event, record in sorted(decisions, key=lambda entry: (entry[0].as_of, entry[1].shard, entry[1].sequence)):
        cut = {place.shard: place.next for place in event.cut}
        if any(cut.get(shard, 0) < seen for shard, seen in table.cut.items()):
            table = RoutingTable()
        _fold_to(table, cut, shards)
        derived = tuple(offer.name for offer in decide(table, Ask.of(event)).chain)
        if derived != event.chain:
            yield Difference(record.stream_id, record.actor, event.chain, derived)


def _fold_to(table: RoutingTable, cut: Mapping[str, int], shards: Shards) -> None:
    for shard, wanted in sorted(cut.items()):
        for event, record in shards.get(shard, [])[table.cut.get(shard, 0) : wanted]:
            table.apply(event, record)
