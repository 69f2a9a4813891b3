"""Providers: who may serve, on which machine, and what they offer (white paper 3.1, 5.2, 5.4, 6.2).

A provider is a device; its stream is named by the device's own key, which signs for it. What other contexts know of it
(stake, bond, manifest) reaches it as standing.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Command, Event, Value
from contracts._values import Address, AtomicText, Count, Country, Did, Digest, EventId, Flag, Label, Money, Timestamp


class OfferId(AtomicText):
    """What a device offers: `<device's last characters>.<name>`, or any name of its own."""

    pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    max_length = 80


class ModelId(AtomicText):
    """A model of the catalogue, `llama-3.1-8b`."""

    pattern = r"^[a-z0-9][a-z0-9._-]*$"
    max_length = 60


Tier = Literal["free", "basic", "pro", "enterprise"]
"""By stake: 0, 1,000, 10,000, 100,000 SPACE (white paper 5.4). Free is overflow."""
TIERS: tuple[Tier, ...] = ("free", "basic", "pro", "enterprise")
ModelKind = Literal["chat", "completion", "embedding", "vision"]
Transport = Literal["relay", "litellm"]

GIVEN_BY_ONE = frozenset({"providers.gpu"})
"""One registrar gives it on any prefix: a device acts on its own streams and offers, whatever its prefix covers."""
EARLY_ACCESS_DAYS = 14
"""A model's first days belong to Enterprise offers (white paper App. A)."""
MAX_PRICE_UNITS = 10**15
"""USD.s units (18 decimals) a token: a thousand dollars a million tokens. A higher price is a slip of the pen."""


class Gpu(Value):
    """The machine, as its owner declares it (white paper 6.2)."""

    model: Label
    vram_mib: Count
    cuda_cores: Count
    gflops: Count
    serial_hash: Digest
    """Binds the machine: an open case follows the serial, not the key."""


class Attested(Value):
    """What was measured, where it was."""

    vram_mib: Count | None = None
    country: Country | None = None


STREAM_IDS: Mapping[str, type[AtomicText]] = {"gpu": Digest, "model": ModelId, "offer": OfferId, "provider": Did}
"""What the streams of each kind are named by."""


class RegisterProvider(Command, role="providers.gpu", stream="providers/provider", halted_by="providers"):
    """Join as a provider, by the device's own key."""

    wallet: Address
    gpu: Gpu
    country: Country


class DrainProvider(Command, role="providers.gpu", stream="providers/provider"):
    """Take no new requests."""


class ResumeProvider(Command, role="providers.gpu", stream="providers/provider"):
    """Take requests again."""


class Leave(Command, role="providers.gpu", stream="providers/provider"):
    """Leave for good; the bond is returned elsewhere."""


class NoteStanding(Command, role="providers.process", stream="providers/provider"):
    """What staking, mesh and oracles know of the provider, as of an epoch."""

    tier: Tier
    bonded: Flag
    suspended: Flag
    allowed: Annotated[tuple[ModelId, ...], Field(max_length=256)] | None = None
    """The models of its manifest; absent, the manifest allows all."""
    attested: Attested | None = None
    from_epoch: Count
    """Days since 1970-01-01 UTC."""
    cause: EventId


class BindGpu(Command, role="providers.process", stream="providers/gpu"):
    """Bind a machine, by the hash of its serial number, to the device that registered with it."""

    device: Did


class DeclareOffer(Command, role="providers.gpu", stream="providers/offer", halted_by="providers"):
    """Serve a model at a price."""

    device: Did
    model: ModelId
    model_digest: Digest
    quantisation: Label
    prompt_price: Money
    """USD.s units (18 decimals) a token."""
    completion_price: Money
    context_tokens: Count
    max_concurrency: Annotated[Count, Field(ge=1, le=1024)]
    race: Flag
    transport: Transport
    confidential: Literal["none", "tee"]
    capabilities: Annotated[tuple[Label, ...], Field(max_length=16)] = ()


class WithdrawOffer(Command, role="providers.gpu", stream="providers/offer"):
    """Serve it no longer."""


class SuspendOffer(Command, role="providers.process", stream="providers/offer"):
    """It failed probes."""

    cause: EventId


class ReinstateOffer(Command, role="providers.process", stream="providers/offer"):
    """The probes' verdict was retracted."""

    cause: EventId


class ListModel(Command, role="providers.catalogue", stream="providers/model", halted_by="providers"):
    """Put a model into the catalogue (white paper 5.6)."""

    kind: ModelKind
    context_tokens: Annotated[Count, Field(ge=1)]
    min_vram_mib: Count
    owner: Address | None = None
    tokenizer: Digest | None = None
    bytes_per_token_percent: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    """Where no tokenizer is named: bytes per token, times 100."""
    early_until: Timestamp | None = None
    """Until then only Enterprise offers serve it; at most 14 days from its listing."""
    digests: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=64)] | None = None
    """The weights that go by this name; absent, an offer's own word is taken and probed."""


class DelistModel(Command, role="providers.catalogue", stream="providers/model"):
    """Take it out."""


class ProviderRegistered(Event):
    device: Did
    wallet: Address
    gpu: Gpu
    country: Country


class ProviderDraining(Event):
    pass


class ProviderResumed(Event):
    pass


class ProviderLeft(Event):
    pass


class StandingNoted(Event):
    tier: Tier
    bonded: Flag
    suspended: Flag
    allowed: tuple[ModelId, ...] | None = None
    attested: Attested | None = None
    from_epoch: Count
    cause: EventId


class GpuBound(Event):
    device: Did


class GpuContested(Event):
    """Another device registered with a machine that is bound already."""

    device: Did
    bound_to: Did


class OfferDeclared(Event):
    device: Did
    model: ModelId
    model_digest: Digest
    quantisation: Label
    prompt_price: Money
    completion_price: Money
    context_tokens: Count
    max_concurrency: Count
    race: Flag
    transport: Transport
    confidential: Literal["none", "tee"]
    capabilities: tuple[Label, ...] = ()


class OfferWithdrawn(Event):
    pass


class OfferSuspended(Event):
    cause: EventId


class OfferReinstated(Event):
    cause: EventId


class ModelListed(Event):
    kind: ModelKind
    context_tokens: Count
    min_vram_mib: Count
    owner: Address | None = None
    tokenizer: Digest | None = None
    bytes_per_token_percent: Count | None = None
    early_until: Timestamp | None = None
    digests: tuple[Digest, ...] | None = None


class ModelDelisted(Event):
    pass


ProvidersCommand = (
    RegisterProvider
    | DrainProvider
    | ResumeProvider
    | Leave
    | NoteStanding
    | BindGpu
    | DeclareOffer
    | WithdrawOffer
    | SuspendOffer
    | ReinstateOffer
    | ListModel
    | DelistModel
)
ProvidersEvent = (
    ProviderRegistered
    | ProviderDraining
    | ProviderResumed
    | ProviderLeft
    | StandingNoted
    | GpuBound
    | GpuContested
    | OfferDeclared
    | OfferWithdrawn
    | OfferSuspended
    | OfferReinstated
    | ModelListed
    | ModelDelisted
)
