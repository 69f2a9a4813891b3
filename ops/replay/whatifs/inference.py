"""What if routing had another policy: recorded decisions taken again at their own cuts."""

from collections.abc import Iterator

from adapters.replay.watching import Cause
from contracts import Record
from contracts.inference import TABLE_AGE_SECONDS, RouteDecided
from contracts.liveness import STALE_SECONDS
from domain.inference.policy import BAND_PERCENT
from domain.inference.routing import Ask, decide
from domain.inference.table import OfferEntry, RoutingTable
from ops.replay.constants import constants
from ops.replay.evidence import Evidence, Shards
from ops.replay.recommanding import recommand
from ops.replay.registry import Parameter, Values, WhatIf
from ops.replay.verdict import Decision, Verdict, compared

TABLE = ("providers", "liveness")


def whatifs() -> Iterator[WhatIf]:
    yield WhatIf(
        "redecide", "routes", "which offer would have served each request", (*TABLE, "inference"),
        (
            Parameter("band_percent", BAND_PERCENT, "width of a cost band, in per cent of the cheapest offer"),
            Parameter("stale_seconds", STALE_SECONDS, "how long after its last heartbeat a device is routable"),
        ),
        _routes,
    )  # fmt: skip
    yield WhatIf(
        "recommand", "requests", "which requests would have been accepted", ("inference",),
        (Parameter("table_age_seconds", TABLE_AGE_SECONDS, "the greatest age of the table that a decision may use"),),
        _requests,
    )  # fmt: skip


async def _requests(evidence: Evidence, values: Values) -> Verdict:
    with_ = {"TABLE_AGE_SECONDS": values["table_age_seconds"]}
    return await recommand(evidence, "inference", lambda: constants(("domain.inference",), with_))


async def _routes(evidence: Evidence, values: Values) -> Verdict:
    shards = await evidence.collected(TABLE)
    taken = [
        (event, record)
        for event, record in (await evidence.collected(["inference"])).all_events()
        if isinstance(event, RouteDecided) and evidence.is_in_question(record)
    ]
    taken.sort(key=lambda entry: (entry[0].as_of, entry[1].shard, entry[1].sequence))
    recorded = {"band_percent": BAND_PERCENT, "stale_seconds": STALE_SECONDS}
    again = list(_world(taken, shards, recorded))
    was = [_as_recorded(decision, event) for decision, (event, _) in zip(again, taken, strict=True)]
    return compared(was, _world(taken, shards, values) if values != recorded else again, again)


def _world(taken: list[tuple[RouteDecided, Record]], shards: Shards, values: Values) -> Iterator[Decision]:
    """Each decision from the log at its cut, under a policy. The cuts of a router only grow, so the table is folded once."""
    policy = {"BAND_PERCENT": values["band_percent"], "STALE_MS": values["stale_seconds"] * 1000}
    with constants(("domain.inference",), policy):
        table = RoutingTable()
        for event, record in taken:
            cut = {place.shard: place.next for place in event.cut}
            if any(cut.get(shard, 0) < seen for shard, seen in table.cut.items()):
                table = RoutingTable()
            _fold_to(table, cut, shards)
            choice = decide(table, Ask.of(event))
            yield _decision(event, record, [offer.name for offer in choice.chain], table)


def _fold_to(table: RoutingTable, cut: dict[str, int], shards: Shards) -> None:
    for shard, wanted in sorted(cut.items()):
        for event, record in shards.events(shard, table.cut.get(shard, 0), wanted):
            table.apply(event, record)  # type: ignore[arg-type]


def _decision(event: RouteDecided, record: Record, chain: list[str], table: RoutingTable) -> Decision:
    first = table.offers.get(chain[0]) if chain else None
    return Decision(record.subject, " ".join(chain), Cause.of(record), bool(chain), _effects(event, first))


def _as_recorded(again: Decision, event: RouteDecided) -> Decision:
    """What the record says; its effects are those of the same chain, derived."""
    chain = " ".join(event.chain)
    effects = again.effects if again.said == chain else {}
    return Decision(again.subject, chain, again.cause, True, effects)


def _effects(event: RouteDecided, offer: OfferEntry | None) -> dict[str, dict[str, int]]:
    """For the provider who is tried first: a request, and what it costs at most in USD.s units."""
    if offer is None:
        return {}
    cost = event.prompt_tokens * offer.prompt_price + event.max_tokens * event.n * offer.completion_price
    return {offer.provider.device: {"requests": 1, "usd_units": cost}}
