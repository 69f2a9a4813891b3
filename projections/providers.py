"""The routing table for people and gateways: who offers what, and which offers may serve now (white paper 5.2, 5.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Case,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    Text,
    case,
    func,
    or_,
    select,
)

from contracts import Record, rfc3339
from contracts.liveness import STALE_SECONDS, EpochClosed, HeartbeatsRecorded, LivenessEvent, SlotsExcused
from contracts.providers import (
    TIERS,
    GpuBound,
    GpuContested,
    ModelDelisted,
    ModelId,
    ModelListed,
    OfferDeclared,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    ProvidersEvent,
    StandingNoted,
    Tier,
)
from projections import METADATA, MoneyColumn, Projection, Row, Session, WholeColumn

providers = Table(
    "providers_providers",
    METADATA,
    Column("device", String(90), primary_key=True),
    # registered, draining or left; noted: only its standing is known.
    Column("state", String(12), nullable=False),
    Column("wallet", String(42), nullable=False),
    Column("gpu", String(100), nullable=False),
    Column("serial_hash", String(64), comment="of its machine"),
    Column("vram_mib", BigInteger, nullable=False),
    Column("attested_vram_mib", BigInteger),
    Column("country", String(2), nullable=False),
    Column("attested_country", String(2)),
    Column("tier", WholeColumn, nullable=False, comment="0 free, 1 basic, 2 pro, 3 enterprise"),
    Column("bonded", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("allowed", Text, comment="JSON list of the manifest's models; null allows all"),
    Column("since", String(30), nullable=False),
)

offers = Table(
    "providers_offers",
    METADATA,
    Column("offer", String(80), primary_key=True),
    Column("device", String(90), nullable=False, index=True),
    Column("model", String(60), nullable=False, index=True),
    Column("quantisation", String(100), nullable=False),
    Column("prompt_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
    Column("completion_price", MoneyColumn(), nullable=False, comment="USD.s units (18 decimals) a token"),
    Column("context_tokens", BigInteger, nullable=False),
    Column("max_concurrency", WholeColumn, nullable=False),
    Column("race", Boolean, nullable=False),
    Column("confidential", String(8), nullable=False),
    Column("capabilities", Text, nullable=False, comment="JSON list"),
    Column("state", String(12), nullable=False, comment="open, suspended or withdrawn"),
    Column("since", String(30), nullable=False),
)

models = Table(
    "providers_models",
    METADATA,
    Column("model", String(60), primary_key=True),
    Column("kind", String(12), nullable=False),
    Column("context_tokens", BigInteger, nullable=False),
    Column("min_vram_mib", BigInteger, nullable=False),
    Column("early_until", String(30)),
    Column("listed", Boolean, nullable=False),
    Column("since", String(30), nullable=False),
)

heard = Table(
    "providers_heard",
    METADATA,
    # Written from the device's fleet: all beats of a device are in one stream.
    Column("device", String(90), primary_key=True),
    Column("received_at_ms", BigInteger, nullable=False),
    Column("slot", BigInteger, nullable=False),
)

_TIER = {tier: rank for rank, tier in enumerate(TIERS)}


def routing_table() -> Projection:
    return Projection("routing_table", ("providers", "liveness"), (providers, offers, models, heard), project)


def project(event: ProvidersEvent | LivenessEvent, record: Record, session: Session) -> None:
    """A row a provider, offer and model, and when each device was last heard."""
    match event:
        case HeartbeatsRecorded():
            _hear(event, session)
        case SlotsExcused() | EpochClosed() | GpuBound() | GpuContested():
            pass
        case OfferDeclared():
            session.put(offers, _offer(event, record))
        case OfferWithdrawn():
            session.change(offers, record.stream_id, state="withdrawn", since=record.time)
        case OfferSuspended():
            session.change(offers, record.stream_id, state="suspended", since=record.time)
        case OfferReinstated():
            session.change(offers, record.stream_id, state="open", since=record.time)
        case ModelListed():
            session.put(models, _model(event, record))
        case ModelDelisted():
            session.change(models, record.stream_id, listed=False, since=record.time)
        case ProviderRegistered() | ProviderDraining() | ProviderResumed() | ProviderLeft() | StandingNoted():
            session.put(providers, {**_known(record, session), **_of_provider(event), "since": record.time})
        case _:
            assert_never(event)


def _hear(event: HeartbeatsRecorded, session: Session) -> None:
    for beat in event.beats:
        row = session.get(heard, beat.device)
        if row is None or row["received_at_ms"] < beat.received_at_ms:
            session.put(heard, {"device": beat.device, "received_at_ms": beat.received_at_ms, "slot": beat.slot})


def _known(record: Record, session: Session) -> Row:
    # A standing may come before the registration.
    return session.get(providers, record.stream_id) or {
        "device": record.stream_id, "state": "noted", "wallet": "", "gpu": "", "serial_hash": None, "vram_mib": 0,
        "attested_vram_mib": None,
        "country": "", "attested_country": None, "tier": _TIER["free"], "bonded": True, "suspended": False, "allowed": None,
    }  # fmt: skip


def _of_provider(
    event: ProviderRegistered | ProviderDraining | ProviderResumed | ProviderLeft | StandingNoted,
) -> dict[str, Any]:
    match event:
        case ProviderRegistered(wallet=wallet, gpu=gpu, country=country):
            return {
                "state": "registered", "wallet": wallet, "gpu": gpu.model, "serial_hash": gpu.serial_hash,
                "vram_mib": gpu.vram_mib, "country": country,
            }  # fmt: skip
        case ProviderDraining():
            return {"state": "draining"}
        case ProviderResumed():
            return {"state": "registered"}
        case ProviderLeft():
            return {"state": "left"}
        case StandingNoted(tier=tier, bonded=bonded, suspended=suspended, allowed=allowed, attested=attested):
            return {
                "tier": _TIER[tier], "bonded": bonded, "suspended": suspended,
                "allowed": None if allowed is None else _json(allowed),
                "attested_vram_mib": attested.vram_mib if attested else None,
                "attested_country": attested.country if attested else None,
            }  # fmt: skip
        case _:
            assert_never(event)


def _offer(event: OfferDeclared, record: Record) -> Row:
    return {
        "offer": record.stream_id, "device": event.device, "model": event.model, "quantisation": event.quantisation,
        "prompt_price": event.prompt_price, "completion_price": event.completion_price,
        "context_tokens": event.context_tokens, "max_concurrency": event.max_concurrency, "race": event.race,
        "confidential": event.confidential, "capabilities": _json(event.capabilities), "state": "open", "since": record.time,
    }  # fmt: skip


def _model(event: ModelListed, record: Record) -> Row:
    return {
        "model": record.stream_id, "kind": event.kind, "context_tokens": event.context_tokens,
        "min_vram_mib": event.min_vram_mib, "early_until": rfc3339(event.early_until) if event.early_until else None,
        "listed": True, "since": record.time,
    }  # fmt: skip


def _json(texts: Sequence[str]) -> str:
    return orjson.dumps([str(text) for text in texts]).decode()


@dataclass(frozen=True, slots=True)
class OfferStanding:
    """An offer and why it may not serve, whatever the request; `reason` is None when it may."""

    offer: str
    device: str
    gpu: str
    country: str
    tier: str
    prompt_price: int
    completion_price: int
    heard_ms: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class RouterModel:
    """A model of the catalogue with what may serve it now. Prices are USD.s units (18 decimals) a token."""

    model: str
    kind: str
    context_tokens: int
    offers: int
    cheapest_prompt_price: int | None
    cheapest_completion_price: int | None


@dataclass(frozen=True, slots=True)
class ProviderStanding:
    """What is noted of a provider that serves, and with which machine it does."""

    serial_hash: str | None
    tier: Tier
    bonded: bool
    suspended: bool
    allowed: tuple[ModelId, ...] | None
    attested_vram_mib: int | None
    attested_country: str | None


def standings(connection: Connection) -> dict[str, ProviderStanding]:
    """Of every device that is registered and has not left."""
    rows = connection.execute(select(providers).where(providers.c.state.in_(("registered", "draining"))))
    return {row.device: _noted(row) for row in rows}


def _noted(row: Any) -> ProviderStanding:
    allowed = None if row.allowed is None else tuple(ModelId(model) for model in orjson.loads(row.allowed))
    tier = TIERS[row.tier]
    return ProviderStanding(
        row.serial_hash, tier, row.bonded, row.suspended, allowed, row.attested_vram_mib, row.attested_country
    )


def offers_of(model: ModelId, at_ms: int, connection: Connection) -> list[OfferStanding]:
    """Every offer of the model, the cheapest completion first, each with its reason; `at_ms` is Unix time."""
    statement = _standing(at_ms).where(offers.c.model == model)
    found = connection.execute(statement.order_by(offers.c.completion_price, offers.c.prompt_price, offers.c.offer))
    return [_as_standing(row) for row in found]


def eligible(model: ModelId, at_ms: int, connection: Connection) -> list[OfferStanding]:
    """The offers of the model that may serve a request without constraints at that Unix time."""
    return [offer for offer in offers_of(model, at_ms, connection) if offer.reason is None]


def router_models(at_ms: int, connection: Connection) -> list[RouterModel]:
    """`GET /api/router/models` (white paper 5.6): the listed models, with how many offers may serve each now."""
    standing = _standing(at_ms).subquery()
    able = select(standing).where(standing.c.reason.is_(None)).subquery()
    statement = (
        select(
            models.c.model, models.c.kind, models.c.context_tokens, func.count(able.c.offer).label("able"),
            func.min(able.c.prompt_price, type_=MoneyColumn()).label("prompt"),
            func.min(able.c.completion_price, type_=MoneyColumn()).label("completion"),
        )
        .select_from(models.outerjoin(able, able.c.model == models.c.model))
        .where(models.c.listed)
        .group_by(models.c.model, models.c.kind, models.c.context_tokens)
        .order_by(models.c.model)
    )  # fmt: skip
    found = connection.execute(statement)
    return [RouterModel(r.model, r.kind, r.context_tokens, r.able, r.prompt, r.completion) for r in found]


def _as_standing(row: Any) -> OfferStanding:
    return OfferStanding(
        row.offer, row.device, row.gpu or "", row.country or "", TIERS[row.tier or 0], row.prompt_price,
        row.completion_price, row.received_at_ms, row.reason,
    )  # fmt: skip


def _standing(at_ms: int) -> Select[Any]:
    joined = (
        offers.outerjoin(providers, providers.c.device == offers.c.device)
        .outerjoin(models, models.c.model == offers.c.model)
        .outerjoin(heard, heard.c.device == offers.c.device)
    )
    return select(
        offers, providers.c.gpu, providers.c.tier, heard.c.received_at_ms,
        func.coalesce(providers.c.attested_country, providers.c.country).label("country"), _reason(at_ms).label("reason"),
    ).select_from(joined)  # fmt: skip


def _reason(at_ms: int) -> Case[Any]:
    """The filters that need no request, in their order; null when all are passed."""
    return case(
        (or_(models.c.listed.is_(None), ~models.c.listed), "unlisted"),
        (
            models.c.early_until.is_not(None) & (models.c.early_until > _rfc3339(at_ms)) & (_tier() < len(TIERS) - 1),
            "early_access",
        ),
        (or_(offers.c.state == "withdrawn", _state().in_(("noted", "left"))), "withdrawn"),
        (or_(offers.c.state == "suspended", providers.c.suspended), "suspended"),
        (~providers.c.bonded, "not_bonded"),
        (_state() == "draining", "draining"),
        (func.coalesce(heard.c.received_at_ms, 0) < at_ms - STALE_SECONDS * 1000, "stale"),
        (providers.c.allowed.is_not(None) & ~_is_allowed(), "outside_manifest"),
        (_vram() < models.c.min_vram_mib, "vram"),
        else_=None,
    )


def _state() -> ColumnElement[str]:
    return func.coalesce(providers.c.state, "noted")


def _tier() -> ColumnElement[int]:
    return func.coalesce(providers.c.tier, 0)


def _vram() -> ColumnElement[int]:
    attested = providers.c.attested_vram_mib
    return case((attested < providers.c.vram_mib, attested), else_=providers.c.vram_mib)


def _is_allowed() -> ColumnElement[bool]:
    # The list is JSON of ids without quotes, so a quoted id is found in it exactly where it stands.
    quoted = '"' + offers.c.model + '"'
    return func.replace(providers.c.allowed, quoted, "") != providers.c.allowed


def _rfc3339(at_ms: int) -> str:
    return rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC))
