"""Who may serve: a provider decides for its own device, an offer needs its provider and a listed model."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from contracts import Did
from contracts.providers import (
    EARLY_ACCESS_DAYS,
    MAX_PRICE_UNITS,
    Attested,
    DeclareOffer,
    Gpu,
    GpuBound,
    GpuContested,
    ListModel,
    ModelDelisted,
    ModelListed,
    NoteStanding,
    OfferDeclared,
    OfferReinstated,
    OfferSuspended,
    OfferWithdrawn,
    ProviderDraining,
    ProviderLeft,
    ProviderRegistered,
    ProviderResumed,
    ProvidersEvent,
    RegisterProvider,
    ReinstateOffer,
    StandingNoted,
    SuspendOffer,
)
from domain import Aggregate, Refused


class NotYourDevice(Refused):
    """A device's own key speaks for it, and for no other."""


class AlreadyRegistered(Refused):
    """The device is registered with another machine or wallet."""


class GpuBoundElsewhere(Refused):
    """The machine's serial number is bound to another device that serves: a new key does not shed an open case."""


class NotBonded(Refused):
    """The provider's bond was noted as missing (white paper 5.4)."""


class NotServing(Refused):
    """The provider never registered, or has left."""


class OlderStanding(Refused):
    """A standing of a later epoch was noted already."""


class ModelUnlisted(Refused):
    """The catalogue does not have the model (white paper 5.6)."""


class VramTooSmall(Refused):
    """The machine has less memory than the model needs; what was attested counts before what was declared."""


class OutsideManifest(Refused):
    """The provider's manifest does not allow the model (white paper 3.2): it is the contract."""


class PriceOutOfBounds(Refused):
    """A token costs at most 10^15 units, a thousand dollars a million."""


class ContextTooLong(Refused):
    """The offer promises a longer context than the model has."""


class AlreadyDeclared(Refused):
    """The offer exists with other terms: declare another one."""


class AlreadyWithdrawn(Refused):
    """The offer is withdrawn, or was never declared."""


class AlreadyListed(Refused):
    """The model is listed with other properties."""


class CountedTwice(Refused):
    """A model's tokens are counted by its tokenizer or by bytes, and by one of them."""


class EarlyAccessTooLong(Refused):
    """A new model belongs to Enterprise offers for at most 14 days (white paper App. A)."""


class NotListed(Refused):
    """The model is not in the catalogue."""


@dataclass
class Provider(Aggregate[ProvidersEvent]):
    """One device that serves."""

    registered: ProviderRegistered | None = None
    standing: StandingNoted | None = None
    is_draining: bool = False
    has_left: bool = False

    def register(self, command: RegisterProvider, actor: str, *, bound_to: "Provider | None" = None) -> None:
        """Join (white paper 5.2, 6.2). `bound_to` is the device that has the machine already, if one has.

        Raises NotYourDevice, AlreadyRegistered, GpuBoundElsewhere, NotBonded.
        """
        if actor != self.id:
            raise NotYourDevice(f"{self.id} is registered by its own key", "subject")
        event = ProviderRegistered(device=Did(self.id), wallet=command.wallet, gpu=command.gpu, country=command.country)
        if self.registered is not None and not self.has_left:
            if self.registered != event:
                raise AlreadyRegistered
            return
        if bound_to is not None and bound_to.id != self.id and bound_to.serves_with(command.gpu.serial_hash):
            raise GpuBoundElsewhere(f"the machine is bound to {bound_to.id}", "gpu")
        if self.standing is not None and not self.standing.bonded:
            raise NotBonded
        self.record(event)

    def drain(self, actor: str) -> None:
        """Take no new requests."""
        self._require_own(actor)
        if not self.is_draining:
            self.record(ProviderDraining())

    def resume(self, actor: str) -> None:
        """Take requests again."""
        self._require_own(actor)
        if self.is_draining:
            self.record(ProviderResumed())

    def leave(self, actor: str) -> None:
        """Leave for good."""
        if self.has_left and actor == self.id:
            return
        self._require_own(actor)
        self.record(ProviderLeft())

    def note_standing(self, command: NoteStanding) -> None:
        """What others know of it. Raises OlderStanding."""
        event = StandingNoted(**dict(command))
        if self.standing is not None:
            if self.standing == event:
                return
            if event.from_epoch < self.standing.from_epoch:
                raise OlderStanding(f"the standing of epoch {self.standing.from_epoch} is noted", "from_epoch")
        self.record(event)

    @property
    def is_serving(self) -> bool:
        return self.registered is not None and not self.has_left

    def serves_with(self, serial_hash: str) -> bool:
        """Whether it serves with that machine; it may have left and come again with another."""
        return self.is_serving and self.gpu is not None and self.gpu.serial_hash == serial_hash

    @property
    def gpu(self) -> Gpu | None:
        return self.registered.gpu if self.registered else None

    @property
    def attested(self) -> Attested | None:
        return self.standing.attested if self.standing else None

    def apply(self, event: ProvidersEvent) -> None:
        match event:
            case ProviderRegistered():
                self.registered, self.is_draining, self.has_left = event, False, False
            case ProviderDraining():
                self.is_draining = True
            case ProviderResumed():
                self.is_draining = False
            case ProviderLeft():
                self.has_left = True
            case StandingNoted():
                self.standing = event
            case OfferDeclared() | OfferWithdrawn() | OfferSuspended() | OfferReinstated():
                pass
            case ModelListed() | ModelDelisted() | GpuBound() | GpuContested():
                pass
            case _:
                assert_never(event)

    def _require_own(self, actor: str) -> None:
        if actor != self.id:
            raise NotYourDevice(f"{self.id} speaks for itself", "subject")
        if not self.is_serving:
            raise NotServing


@dataclass
class Machine(Aggregate[ProvidersEvent]):
    """One GPU, named by the hash of its serial number: it serves under one device's key at a time."""

    device: Did | None = None
    contested_by: list[Did] = field(default_factory=list)

    def bind(self, device: Did, current: Provider | None) -> None:
        """To the device that registered with it; `current` is the one that has it. Who comes second contests it.

        Two devices may register at once, since neither sees the other's stream change; here they are put in order.
        """
        if current is None or not current.serves_with(self.id):
            if device != self.device:
                self.record(GpuBound(device=device))
        elif device != self.device and device not in self.contested_by:
            self.record(GpuContested(device=device, bound_to=Did(current.id)))

    def apply(self, event: ProvidersEvent) -> None:
        match event:
            case GpuBound(device=device):
                self.device, self.contested_by = device, []
            case GpuContested(device=device):
                self.contested_by.append(device)
            case ProviderRegistered() | ProviderDraining() | ProviderResumed() | ProviderLeft() | StandingNoted():
                pass
            case OfferDeclared() | OfferWithdrawn() | OfferSuspended() | OfferReinstated() | ModelListed() | ModelDelisted():
                pass
            case _:
                assert_never(event)


@dataclass
class Model(Aggregate[ProvidersEvent]):
    """One entry of the catalogue."""

    listed: ModelListed | None = None

    def list_it(self, command: ListModel, now: datetime) -> None:
        """Raises AlreadyListed, CountedTwice, EarlyAccessTooLong."""
        event = ModelListed(**dict(command))
        if self.listed is not None:
            if self.listed != event:
                raise AlreadyListed
            return
        if (command.tokenizer is None) == (command.bytes_per_token_percent is None):
            raise CountedTwice(field="tokenizer")
        if command.early_until is not None and command.early_until > now + timedelta(days=EARLY_ACCESS_DAYS):
            raise EarlyAccessTooLong(field="early_until")
        self.record(event)

    def delist(self) -> None:
        """Raises NotListed."""
        if self.listed is None:
            raise NotListed
        self.record(ModelDelisted())

    def apply(self, event: ProvidersEvent) -> None:
        match event:
            case ModelListed():
                self.listed = event
            case ModelDelisted():
                self.listed = None
            case (
                ProviderRegistered()
                | ProviderDraining()
                | ProviderResumed()
                | ProviderLeft()
                | StandingNoted()
                | GpuBound()
                | GpuContested()
                | OfferDeclared()
                | OfferWithdrawn()
                | OfferSuspended()
                | OfferReinstated()
            ):
                pass
            case _:
                assert_never(event)


@dataclass
class Offer(Aggregate[ProvidersEvent]):
    """One model on one device at one price."""

    declared: OfferDeclared | None = None
    is_withdrawn: bool = False
    is_suspended: bool = False

    def declare(self, command: DeclareOffer, *, actor: str, provider: Provider, model: Model) -> None:
        """Serve a model (white paper 5.2). Raises NotYourDevice, NotServing, ModelUnlisted, VramTooSmall, and others."""
        event = OfferDeclared(**dict(command))
        if self.declared is not None:
            if self.declared != event or self.is_withdrawn:
                raise AlreadyDeclared
            return
        if actor != command.device:
            raise NotYourDevice(f"{command.device} declares its own offers", "device")
        self._require_able(command, provider, model)
        if max(command.prompt_price, command.completion_price) > MAX_PRICE_UNITS:
            raise PriceOutOfBounds(field="prompt_price" if command.prompt_price > MAX_PRICE_UNITS else "completion_price")
        self.record(event)

    def _require_able(self, command: DeclareOffer, provider: Provider, model: Model) -> None:
        if not provider.is_serving or provider.gpu is None:
            raise NotServing(f"{command.device} is not a registered provider", "device")
        if model.listed is None:
            raise ModelUnlisted(f"{command.model} is not in the catalogue", "model")
        if model.listed.digests is not None and command.model_digest not in model.listed.digests:
            raise ModelUnlisted(f"the catalogue has other weights for {command.model}", "model_digest")
        if command.context_tokens > model.listed.context_tokens:
            raise ContextTooLong(f"{command.model} has {model.listed.context_tokens} tokens of context", "context_tokens")
        attested = provider.attested.vram_mib if provider.attested else None
        vram = provider.gpu.vram_mib if attested is None else min(attested, provider.gpu.vram_mib)
        if vram < model.listed.min_vram_mib:
            raise VramTooSmall(f"{command.model} needs {model.listed.min_vram_mib} MiB, the device has {vram}", "model")
        allowed = provider.standing.allowed if provider.standing else None
        if allowed is not None and command.model not in allowed:
            raise OutsideManifest(f"the manifest does not allow {command.model}", "model")

    def withdraw(self, actor: str) -> None:
        """Raises AlreadyWithdrawn, NotYourDevice."""
        declared = self._require_open()
        if actor != declared.device:
            raise NotYourDevice(f"{declared.device} withdraws its own offers", "subject")
        self.record(OfferWithdrawn())

    def suspend(self, command: SuspendOffer) -> None:
        """Raises AlreadyWithdrawn."""
        self._require_open()
        if not self.is_suspended:
            self.record(OfferSuspended(cause=command.cause))

    def reinstate(self, command: ReinstateOffer) -> None:
        """Raises AlreadyWithdrawn."""
        self._require_open()
        if self.is_suspended:
            self.record(OfferReinstated(cause=command.cause))

    def apply(self, event: ProvidersEvent) -> None:
        match event:
            case OfferDeclared():
                self.declared = event
            case OfferWithdrawn():
                self.is_withdrawn = True
            case OfferSuspended():
                self.is_suspended = True
            case OfferReinstated():
                self.is_suspended = False
            case (
                ProviderRegistered()
                | ProviderDraining()
                | ProviderResumed()
                | ProviderLeft()
                | StandingNoted()
                | GpuBound()
                | GpuContested()
                | ModelListed()
                | ModelDelisted()
            ):
                pass
            case _:
                assert_never(event)

    def _require_open(self) -> OfferDeclared:
        if self.declared is None or self.is_withdrawn:
            raise AlreadyWithdrawn
        return self.declared
