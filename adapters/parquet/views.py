"""The views of an export: all events, one view for each type, and what analysts mostly ask for, where its events are there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adapters.parquet.columns import ATTRIBUTES, Kind
from adapters.parquet.duck import name, quoted
from adapters.parquet.manifest import Column, Manifest

_CAST: Final[dict[Kind, str]] = {"amount": "TRY_CAST({} AS BIGNUM)"}


def views_of(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Name and query of the view of each type, and of `events` on all of them."""
    for event, columns in sorted(manifest.columns.items()):
        paths = [quoted(str(folder / file.path)) for file in manifest.files if file.type == event]
        yield view_name(event), _of_type(paths, columns, manifest.values)
    if manifest.columns:
        yield "events", _all(manifest)


def useful_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Views on those views, which need columns that this version of the language has."""
    for view, (needs, query) in _USEFUL.items():
        if needs in manifest.columns:
            yield view, query


def view_name(type: str) -> str:
    """`inference.RouteDecided` is `inference_route_decided`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type.replace(".", "_")).replace("__", "_").lower()


def _beside(values: bool) -> list[str]:
    return ["signature", "value"] if values else ["signature"]


def _of_type(paths: list[str], columns: tuple[Column, ...], values: bool) -> str:
    chosen = [*map(name, ATTRIBUTES), *map(_field, columns), "data::JSON AS data", *_beside(values)]
    files = f"[{', '.join(paths)}]"
    return f"SELECT {', '.join(chosen)} FROM read_parquet({files}, hive_partitioning = false)"  # noqa: S608  all are quoted


def _field(field: Column) -> str:
    if field.kind == "json":
        return f"data::JSON -> {quoted(field.name)} AS {name(field.column)}"
    return f"{_CAST.get(field.kind, '{}').format(name(field.column))} AS {name(field.column)}"


def _all(manifest: Manifest) -> str:
    columns = ", ".join([*map(name, ATTRIBUTES), "data", *_beside(manifest.values)])
    views = [name(view_name(event)) for event in sorted(manifest.columns)]
    return " UNION ALL ".join(f"SELECT {columns} FROM {view}" for view in views)  # noqa: S608  all are quoted


_USEFUL: Final = {
    # Who was looked at for which request: `place` in the chain, or the reason why it was not eligible.
    "considered": (
        "inference.RouteDecided",
        """
        SELECT time, request, model, it.offer AS offer, it.cost::BIGNUM AS cost, it.reason AS reason,
            list_position(from_json(chain, '["VARCHAR"]'), it.offer) AS place
        FROM (
            SELECT *, unnest(from_json(considered, '[{"offer":"VARCHAR","cost":"VARCHAR","reason":"VARCHAR"}]')) AS it
            FROM inference_route_decided
        )
        """,
    ),
    # A decision: whom it chose, what that costs at most, and the least and the greatest cost in its chain.
    "routes": (
        "inference.RouteDecided",
        """
        SELECT shard, sequence, time, request, actor AS router, model, strategy, prompt_tokens, max_tokens, n,
            offers[1] AS offer, len(offers) AS chain_length, offers AS chain, considered_offers,
            costs[list_position(places, 1)] AS cost, list_min(costs) AS least_cost, list_max(costs) AS greatest_cost
        FROM (SELECT *, from_json(chain, '["VARCHAR"]') AS offers FROM inference_route_decided)
        LEFT JOIN (
            SELECT request, list(cost) FILTER (place IS NOT NULL) AS costs, list(place) FILTER (place IS NOT NULL) AS places,
                count(*) AS considered_offers
            FROM considered GROUP BY request
        ) USING (request)
        """,
    ),
    # Each offer as it was declared last.
    "offers": (
        "providers.OfferDeclared",
        """
        SELECT split_part(subject, '/', 3) AS offer, time AS declared, device, model, model_digest, quantisation, prompt_price,
            completion_price, context_tokens, max_concurrency, race, transport, confidential, capabilities
        FROM providers_offer_declared
        QUALIFY row_number() OVER (PARTITION BY subject ORDER BY streamversion DESC) = 1
        """,
    ),
    # A device's day, as it was closed.
    "uptime": (
        "liveness.EpochClosed",
        """
        SELECT split_part(subject, '/', 3) AS device, DATE '1970-01-01' + epoch::INTEGER AS day, expected, excused, missed,
            CASE WHEN expected > excused THEN 100.0 * (expected - excused - missed) / (expected - excused) END AS up_percent,
            is_breach
        FROM liveness_epoch_closed
        """,
    ),
    # What may not be erased, for which matter, and since when no more.
    "holds": (
        "audit.HoldPlaced",
        """
        SELECT placed.hold, placed.matter, placed.scope, placed.placed_by, placed.time AS placed, released.time AS released,
            released.data->>'$.released_by' AS released_by
        FROM audit_hold_placed placed
        LEFT JOIN (SELECT * FROM events WHERE type = 'audit.HoldReleased') released
            ON released.data->>'$.hold' = placed.hold AND released.subject = placed.subject
        """,
    ),
    # Every recorded heartbeat. A slot is five minutes.
    "beats": (
        "liveness.HeartbeatsRecorded",
        """
        SELECT it.device AS device, it.slot AS slot, make_timestamp(it.slot * 300000000) AS slot_begins,
            make_timestamp(it.sent_at_ms * 1000) AS sent, make_timestamp(it.received_at_ms * 1000) AS received,
            it.boot AS boot, it.seq AS seq, it.load_percent AS load_percent
        FROM (
            SELECT unnest(from_json(beats, '[{"device":"VARCHAR","slot":"BIGINT","seq":"BIGINT","boot":"VARCHAR",
                "sent_at_ms":"BIGINT","received_at_ms":"BIGINT","load_percent":"BIGINT"}]')) AS it
            FROM liveness_heartbeats_recorded
        )
        """,
    ),
}
