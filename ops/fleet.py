"""A fleet to show and measure with: machines, prices and countries as they may be, the same for the same seed.

It says what a real fleet would say: the catalogue's models (white paper 5.6), registrations, standings, offers and
heartbeats, each with its stream and, where a device speaks, with the device's key. Prices follow what such models cost at
hosted providers; the machines are those of the earnings table (white paper 5.5). Nothing here is measured.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from adapters.keys import Signer, ed25519_signer
from contracts import Address, Command, Country, Did, Digest, EventId, Label, StreamName, event_id
from contracts.liveness import Heartbeat
from contracts.providers import (
    DeclareOffer,
    DrainProvider,
    Gpu,
    ListModel,
    ModelId,
    ModelKind,
    NoteStanding,
    OfferId,
    RegisterProvider,
    Tier,
)

USD_PER_MILLION = 10**12
"""USD.s units (18 decimals) a token, for one dollar a million tokens."""


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model of the first catalogue. Prices are US cents a million tokens; memory is for 4-bit weights and a context."""

    id: ModelId
    kind: ModelKind
    context_tokens: int
    min_vram_mib: int
    prompt_cents: int
    completion_cents: int
    popularity: int

    def listing(self) -> ListModel:
        return ListModel(
            kind=self.kind, context_tokens=self.context_tokens, min_vram_mib=self.min_vram_mib, bytes_per_token_percent=380
        )


def _model(*row: object) -> CatalogueModel:
    return CatalogueModel(ModelId(row[0]), *row[1:])  # type: ignore[arg-type]


CATALOGUE: tuple[CatalogueModel, ...] = (
    _model("llama-3.1-8b", "chat", 131_072, 8_192, 6, 9, 30),
    _model("llama-3.1-70b", "chat", 131_072, 43_008, 35, 45, 24),
    _model("llama-3.1-405b", "chat", 131_072, 245_760, 180, 200, 4),
    _model("mistral-7b", "chat", 32_768, 6_144, 6, 8, 12),
    _model("mixtral-8x7b", "chat", 32_768, 28_672, 24, 26, 8),
    _model("mixtral-8x22b", "chat", 65_536, 77_824, 65, 70, 4),
    _model("deepseek-v3", "chat", 131_072, 409_600, 40, 110, 8),
    _model("deepseek-coder-v2-16b", "completion", 131_072, 12_288, 12, 20, 8),
    _model("qwen-2.5-72b", "chat", 131_072, 45_056, 35, 45, 14),
    _model("gemma-2-27b", "chat", 8_192, 18_432, 15, 20, 8),
    _model("phi-3-mini-3.8b", "chat", 131_072, 4_096, 5, 8, 6),
    _model("codellama-34b", "completion", 16_384, 22_528, 30, 40, 5),
    _model("llava-1.6-34b", "vision", 4_096, 23_552, 40, 50, 5),
    _model("bge-large", "embedding", 512, 2_048, 1, 0, 9),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    model: str
    vram_mib: int
    cuda_cores: int
    gflops: int
    share: int
    tiers: tuple[int, int, int, int]
    """How many in a hundred are free, basic, pro and enterprise."""


_KINDS = (
    _Kind("RTX 3090", 24_576, 10_496, 35_580, 24, (72, 24, 4, 0)),
    _Kind("RTX 4090", 24_576, 16_384, 82_580, 34, (62, 30, 8, 0)),
    _Kind("RTX A6000", 49_152, 10_752, 38_710, 10, (45, 35, 18, 2)),
    _Kind("L40S", 49_152, 18_176, 91_610, 10, (35, 35, 26, 4)),
    _Kind("A100 80GB", 81_920, 6_912, 19_490, 12, (25, 30, 35, 10)),
    _Kind("H100 80GB", 81_920, 16_896, 66_910, 9, (15, 25, 40, 20)),
    _Kind("H100 80GB x8", 655_360, 135_168, 535_280, 1, (0, 0, 30, 70)),
)
_TIERS: tuple[Tier, ...] = ("free", "basic", "pro", "enterprise")
_COUNTRIES = {
    "US": 30,
    "DE": 14,
    "FR": 8,
    "NL": 7,
    "FI": 5,
    "GB": 7,
    "PL": 4,
    "CA": 6,
    "JP": 5,
    "SG": 4,
    "KR": 4,
    "IN": 4,
    "BR": 2,
}
_SHARED_OWNER = 0.3
"""Machines whose owner has another one already."""
_FLAKY = 14 / 137
"""Machines that miss more than 5 % of their beats: the share of pods in Alibaba's GenTD26 trace that do."""
_GONE, _DRAINING = 0.03, 0.04
"""Machines that registered and were never switched on, and those whose owner wants them back."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A provider: its key, what it is and what it offers."""

    signer: Signer
    wallet: Address
    gpu: Gpu
    country: Country
    tier: Tier
    offers: tuple[tuple[OfferId, DeclareOffer], ...]
    missed_percent: int
    """How many of its heartbeats are not sent."""
    drains: bool

    @property
    def device(self) -> Did:
        return Did(self.signer.did)


@dataclass(frozen=True, slots=True)
class Wish:
    """A command with the stream that it addresses. `signer` is the device's; None where a key of the role has to sign."""

    subject: StreamName
    command: Command
    signer: Signer | None = None


def fleet(count: int, seed: int = 1) -> list[Machine]:
    """So many machines; the first ones of a larger fleet of the same seed are the same."""
    machines: list[Machine] = []
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")  # noqa: S311  a fleet has to repeat, not to be secret
        machines.append(_machine(number, seed, chance, machines))
    return machines


def catalogue() -> Iterator[Wish]:
    """The models, for a key with the role `providers.catalogue`. First: an offer needs its model."""
    for model in CATALOGUE:
        yield Wish(StreamName(f"providers/model/{model.id}"), model.listing())


def registrations(machines: Iterable[Machine]) -> Iterator[Wish]:
    """Each machine joins, by its own key."""
    for machine in machines:
        command = RegisterProvider(wallet=machine.wallet, gpu=machine.gpu, country=machine.country)
        yield Wish(_provider(machine), command, machine.signer)


def standings(machines: Iterable[Machine], epoch: int) -> Iterator[Wish]:
    """The stake of those that have any, for a key with the role `providers.process`. The others are free."""
    for machine in machines:
        if machine.tier != "free":
            command = NoteStanding(
                tier=machine.tier, bonded=True, suspended=False, from_epoch=epoch,
                cause=EventId(event_id(machine.device, "stake", epoch)),
            )  # fmt: skip
            yield Wish(_provider(machine), command)


def declarations(machines: Iterable[Machine]) -> Iterator[Wish]:
    """Each machine's offers, once it is registered and the models are listed."""
    for machine in machines:
        for offer, command in machine.offers:
            yield Wish(StreamName(f"providers/offer/{offer}"), command, machine.signer)


def drainings(machines: Iterable[Machine]) -> Iterator[Wish]:
    """Some finish what they serve and take nothing new, each by its own key."""
    for machine in machines:
        if machine.drains:
            yield Wish(_provider(machine), DrainProvider(), machine.signer)


def heartbeats(machines: Iterable[Machine], slot: int) -> Iterator[Wish]:
    """The slot's beats, for the topic of heartbeats; each machine misses some now and then."""
    for machine in machines:
        roll = hashlib.sha256(f"{machine.device}/{slot}".encode()).digest()
        if roll[0] * 100 >= machine.missed_percent * 256:
            command = Heartbeat(slot=slot, seq=slot, boot=Label("b1"), load_percent=roll[1] * 100 // 255)
            yield Wish(StreamName(f"liveness/device/{machine.device}"), command, machine.signer)


def _provider(machine: Machine) -> StreamName:
    return StreamName(f"providers/provider/{machine.device}")


def _machine(number: int, seed: int, chance: random.Random, earlier: Sequence[Machine]) -> Machine:
    signer = ed25519_signer(hashlib.sha256(f"spaceos/fleet/{seed}/{number}".encode()).digest())
    [kind] = chance.choices(_KINDS, [kind.share for kind in _KINDS])
    [tier] = chance.choices(_TIERS, kind.tiers)
    [country] = chance.choices(list(_COUNTRIES), list(_COUNTRIES.values()))
    wallet = Address("0x" + hashlib.sha256(signer.did.encode()).hexdigest()[:40])
    if earlier and chance.random() < _SHARED_OWNER:
        wallet = chance.choice(earlier).wallet
    gpu = Gpu(
        model=Label(kind.model), vram_mib=kind.vram_mib, cuda_cores=kind.cuda_cores, gflops=kind.gflops,
        serial_hash=Digest(hashlib.sha256(f"serial/{signer.did}".encode()).hexdigest()),
    )  # fmt: skip
    missed = chance.randint(6, 25) if chance.random() < _FLAKY else chance.randint(0, 2)
    offers = tuple(_offers(signer, kind, chance))
    missed = 100 if chance.random() < _GONE else missed
    return Machine(signer, wallet, gpu, Country(country), tier, offers, missed, chance.random() < _DRAINING)


def _offers(signer: Signer, kind: _Kind, chance: random.Random) -> Iterator[tuple[OfferId, DeclareOffer]]:
    """One to three models that fit, rather large ones: a big machine is not bought for a small model."""
    able = [model for model in CATALOGUE if model.min_vram_mib <= kind.vram_mib]
    weights = [model.popularity * (1 + 8 * model.min_vram_mib // kind.vram_mib) for model in able]
    chosen = {model.id: model for model in chance.choices(able, weights, k=chance.choice((1, 1, 2, 3)))}
    for model in chosen.values():
        yield OfferId(f"{signer.did[-12:]}.{model.id}"), _declaration(signer, model, chance)


def _declaration(signer: Signer, model: CatalogueModel, chance: random.Random) -> DeclareOffer:
    # Whole thousandths of the usual price, so that no float comes near money.
    thousandths = min(max(int(chance.gauss(1000, 180)), 600), 1800)
    quantisation = chance.choice(("q4_k_m", "q5_k_m", "q8_0", "fp16"))
    return DeclareOffer(
        device=Did(signer.did), model=model.id,
        model_digest=Digest(hashlib.sha256(f"{model.id}/{quantisation}".encode()).hexdigest()),
        quantisation=Label(quantisation),
        prompt_price=model.prompt_cents * thousandths * (USD_PER_MILLION // 100_000),
        completion_price=model.completion_cents * thousandths * (USD_PER_MILLION // 100_000),
        context_tokens=model.context_tokens >> chance.choice((0, 0, 1, 2)),
        max_concurrency=chance.choice((4, 8, 16, 32)), race=chance.random() < 0.4, transport="relay", confidential="none",
        capabilities=(Label("tools"),) if model.kind == "chat" and chance.random() < 0.6 else (),
    )  # fmt: skip
