"""The routing table: the fold of providers' and liveness's events from which every decision is taken.

It is the same for every interleaving of the shards, so its cut (how much of each shard it has seen) says all of it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import assert_never

from contracts import Halted, Lifted, ParameterAdopted, PolicyEvent, Record
from contracts.liveness import STALE_SECONDS, EpochClosed, HeartbeatsRecorded, LivenessEvent, SlotsExcused
from contracts.providers import (
    TIERS,
    GpuBound,
    GpuContested,
    ModelDelisted,
    ModelListed,
    OfferDeclared,
    OfferId,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    ProvidersEvent,
    StandingNoted,
)
from domain.inference.index import ModelIndex

STALE_MS = STALE_SECONDS * 1000
GRACE_MS = 120_000
"""How far behind the newest beat a request may be decided by index; what was silent before that is not in the index."""

TIER_RANK = {tier: rank for rank, tier in enumerate(TIERS)}
FREE, ENTERPRISE = TIER_RANK["free"], TIER_RANK["enterprise"]


@dataclass(slots=True, eq=False)
class ModelEntry:
    """A model of the catalogue, and who offers it."""

    name: str
    is_listed: bool = False
    context_tokens: int = 0
    min_vram_mib: int = 0
    early_until_ms: int = 0
    offers: dict[str, "OfferEntry"] = field(default_factory=dict)
    index: ModelIndex = field(default_factory=ModelIndex)
    resting: dict[str, "OfferEntry"] = field(default_factory=dict)
    """The offers that are not in the index."""


@dataclass(slots=True, eq=False)
class ProviderEntry:
    """A device as the log knows it."""

    device: str
    is_registered: bool = False
    has_left: bool = False
    is_draining: bool = False
    is_bonded: bool = True
    is_suspended: bool = False
    tier: int = FREE
    wallet: str = ""
    declared_country: str = ""
    attested_country: str | None = None
    declared_vram_mib: int = 0
    attested_vram_mib: int | None = None
    allowed: frozenset[str] | None = None
    heard_ms: int = 0
    """When its last beat was received; 0 when it was never heard."""
    is_silent: bool = True
    """Stale for every request that is decided by index."""
    offers: dict[str, "OfferEntry"] = field(default_factory=dict)

    @property
    def country(self) -> str:
        return self.attested_country or self.declared_country

    @property
    def vram_mib(self) -> int:
        return self.declared_vram_mib if self.attested_vram_mib is None else min(self.declared_vram_mib, self.attested_vram_mib)


@dataclass(slots=True, eq=False)
class OfferEntry:
    """One model on one device at one price."""

    name: str
    salt: int
    """32 bits of its own, which a seed turns into its place in a spread."""
    provider: ProviderEntry
    model: ModelEntry
    prompt_price: int = 0
    completion_price: int = 0
    context_tokens: int = 0
    can_race: bool = False
    is_confidential: bool = False
    capabilities: frozenset[str] = frozenset()
    is_withdrawn: bool = False
    is_suspended: bool = False
    is_indexed: bool = False

    def standing_reason(self) -> str | None:
        """What forbids it whatever is asked and whenever, in the order of the filters."""
        provider, model = self.provider, self.model
        if not model.is_listed:
            return "unlisted"
        if self.is_withdrawn or provider.has_left or not provider.is_registered:
            return "withdrawn"
        if self.is_suspended or provider.is_suspended:
            return "suspended"
        if not provider.is_bonded:
            return "not_bonded"
        if provider.is_draining:
            return "draining"
        if provider.allowed is not None and model.name not in provider.allowed:
            return "outside_manifest"
        if provider.vram_mib < model.min_vram_mib:
            return "vram"
        return None


class RoutingTable:
    """Offers, providers, models and who was heard when."""

    def __init__(self) -> None:
        self.models: dict[str, ModelEntry] = {}
        self.providers: dict[str, ProviderEntry] = {}
        self.offers: dict[str, OfferEntry] = {}
        self.cut: dict[str, int] = {}
        """Shard to the next sequence: all below it is in the table."""
        self._newest_ms = 0
        self._beats: list[tuple[int, str]] = []
        """A heap of who was heard when, as far back as it may matter."""

    def is_current(self, now_ms: int) -> bool:
        """Whether the index may be asked about that moment: whoever is not in it is then stale."""
        return now_ms >= self._newest_ms - GRACE_MS

    def apply(self, event: ProvidersEvent | LivenessEvent | PolicyEvent, record: Record) -> None:
        """The next event of its shard."""
        self.fold(event, record.stream_id)
        self.cut[record.shard] = record.sequence + 1

    def fold(self, event: ProvidersEvent | LivenessEvent | PolicyEvent, stream_id: str) -> None:
        """One event of the stream with that id."""
        match event:
            case HeartbeatsRecorded():
                self._hear(event)
            case SlotsExcused() | EpochClosed() | GpuBound() | GpuContested():
                pass
            case ParameterAdopted() | Halted() | Lifted():
                pass
            case OfferDeclared() | OfferWithdrawn() | OfferSuspended() | OfferReinstated():
                self._fold_offer(event, stream_id)
            case ModelListed() | ModelDelisted():
                self._fold_model(event, self._model(stream_id))
            case ProviderRegistered() | ProviderDraining() | ProviderResumed() | ProviderLeft() | StandingNoted():
                self._fold_provider(event, self._provider(stream_id))
            case _:
                assert_never(event)

    def _hear(self, event: HeartbeatsRecorded) -> None:
        for beat in event.beats:
            provider = self._provider(beat.device)
            if beat.received_at_ms > provider.heard_ms:
                provider.heard_ms = beat.received_at_ms
                heappush(self._beats, (beat.received_at_ms, beat.device))
                if provider.is_silent:
                    with _changing(provider.offers.values()):
                        provider.is_silent = False
        if self._beats:
            self._newest_ms = max(self._newest_ms, *(beat.received_at_ms for beat in event.beats), 0)
            self._silence()

    def _silence(self) -> None:
        while self._beats[0][0] < self._newest_ms - GRACE_MS - STALE_MS:
            heard_ms, device = heappop(self._beats)
            provider = self.providers[device]
            if provider.heard_ms == heard_ms:
                with _changing(provider.offers.values()):
                    provider.is_silent = True

    def _fold_offer(self, event: OfferDeclared | OfferWithdrawn | OfferSuspended | OfferReinstated, name: str) -> None:
        # Recorded before the door asked for it. A request that named such an offer would be refused, with all the others.
        if not OfferId.fits(name):
            return
        if isinstance(event, OfferDeclared):
            self._declare(event, name)
            return
        offer = self.offers[name]
        with _changing([offer]):
            match event:
                case OfferWithdrawn():
                    offer.is_withdrawn = True
                case OfferSuspended():
                    offer.is_suspended = True
                case OfferReinstated():
                    offer.is_suspended = False
                case _:
                    assert_never(event)

    def _declare(self, event: OfferDeclared, name: str) -> None:
        provider, model = self._provider(event.device), self._model(event.model)
        offer = OfferEntry(
            name, _salt(name), provider, model, event.prompt_price, event.completion_price, event.context_tokens,
            event.race, event.confidential == "tee", frozenset(event.capabilities),
        )  # fmt: skip
        with _changing([offer]):
            self.offers[name] = provider.offers[name] = model.offers[name] = offer

    def _fold_model(self, event: ModelListed | ModelDelisted, model: ModelEntry) -> None:
        with _changing(model.offers.values()):
            match event:
                case ModelListed():
                    model.is_listed, model.context_tokens, model.min_vram_mib = True, event.context_tokens, event.min_vram_mib
                    model.early_until_ms = int(event.early_until.timestamp() * 1000) if event.early_until else 0
                case ModelDelisted():
                    model.is_listed = False
                case _:
                    assert_never(event)

    def _fold_provider(
        self,
        event: ProviderRegistered | ProviderDraining | ProviderResumed | ProviderLeft | StandingNoted,
        provider: ProviderEntry,
    ) -> None:
        with _changing(provider.offers.values()):
            match event:
                case ProviderRegistered():
                    provider.is_registered, provider.has_left, provider.is_draining = True, False, False
                    provider.wallet, provider.declared_country = event.wallet.lower(), event.country
                    provider.declared_vram_mib = event.gpu.vram_mib
                case ProviderDraining():
                    provider.is_draining = True
                case ProviderResumed():
                    provider.is_draining = False
                case ProviderLeft():
                    provider.has_left = True
                case StandingNoted():
                    _note(event, provider)
                case _:
                    assert_never(event)

    def _provider(self, device: str) -> ProviderEntry:
        found = self.providers.get(device)
        if found is None:
            found = self.providers[device] = ProviderEntry(device)
        return found

    def _model(self, name: str) -> ModelEntry:
        found = self.models.get(name)
        if found is None:
            found = self.models[name] = ModelEntry(name)
        return found

    def offers_of(self, model: str) -> Iterator[OfferEntry]:
        """Every offer of the model that was ever declared."""
        if found := self.models.get(model):
            yield from found.offers.values()


def _note(event: StandingNoted, provider: ProviderEntry) -> None:
    provider.tier, provider.is_bonded = TIER_RANK[event.tier], event.bonded
    provider.is_suspended = event.suspended
    provider.allowed = None if event.allowed is None else frozenset(event.allowed)
    provider.attested_vram_mib = event.attested.vram_mib if event.attested else None
    provider.attested_country = event.attested.country if event.attested else None


@contextmanager
def _changing(offers: Iterable[OfferEntry]) -> Iterator[None]:
    """Out of the index before something about them changes, and in again afterwards if they belong there."""
    for offer in offers:
        if offer.is_indexed:
            offer.model.index.remove(offer)
            offer.is_indexed = False
    yield
    for offer in offers:
        if not offer.provider.is_silent and offer.standing_reason() is None:
            offer.model.index.add(offer)
            offer.model.resting.pop(offer.name, None)
            offer.is_indexed = True
        else:
            offer.model.resting[offer.name] = offer


def _salt(name: str) -> int:
    # FNV-1a: the same in every process and language, unlike hash().
    salt = 0x811C9DC5
    for byte in name.encode():
        salt = (salt ^ byte) * 0x01000193 & 0xFFFFFFFF
    return salt
