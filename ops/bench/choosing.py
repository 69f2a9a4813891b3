"""Choosing among 10,000 providers, by index and by scan, against LiteLLM's Router choosing among 1,000 deployments."""

import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from adapters.garbage import collect_rarely
from contracts import Event, Label
from contracts.liveness import Beat, HeartbeatsRecorded
from contracts.providers import ModelListed, OfferDeclared, ProviderRegistered, StandingNoted
from domain.inference.routing import Ask, Choice, RoutingTable, choose, scan
from ops.bench import Measure, judged
from ops.fleet import CATALOGUE, Machine, Wish, catalogue, declarations, fleet, registrations, standings

PROVIDERS = 10_000
DEPLOYMENTS = 1_000
REQUESTS = 2_000
SCANNED = 200
ROUNDS = 7
NOW_MS = 1_795_521_600_000


def measures() -> Iterator[Measure]:
    """Requests for the catalogue's models by their popularity; what a choice takes in the mean."""
    table = _table(fleet(PROVIDERS))
    asks = list(_asks(REQUESTS))
    if any(choose(table, ask).chain != scan(table, ask).chain for ask in asks[:SCANNED]):
        raise RuntimeError("index and scan choose differently")
    router = _router()
    collect_rarely()
    indexed, scanned, theirs = [], [], []
    for _ in range(ROUNDS):
        indexed.append(_microseconds(choose, table, asks))
        scanned.append(_microseconds(scan, table, asks[:SCANNED]))
        theirs.append(router.microseconds())
    yield judged(
        "decide over 10,000 providers by index / LiteLLM's Router over 1,000",
        indexed, theirs, unit="µs", goal="≤ 50 µs", is_met=lambda _, ours: ours <= 50,
    )  # fmt: skip
    yield judged(
        "decide over 10,000 providers by scan / LiteLLM's Router over 1,000",
        scanned, theirs, unit="µs", goal="≤ 1/8", is_met=lambda ratio, _: ratio <= 1 / 8,
    )  # fmt: skip


def _microseconds(decide: Callable[[RoutingTable, Ask], Choice], table: RoutingTable, asks: Iterable[Ask]) -> float:
    taken = []
    for ask in asks:
        began = time.perf_counter_ns()
        decide(table, ask)
        taken.append(time.perf_counter_ns() - began)
    return statistics.fmean(taken) / 1000


def _asks(count: int) -> Iterator[Ask]:
    chance = random.Random(7)  # noqa: S311  a benchmark has to repeat, not to be secret
    for model in chance.choices(CATALOGUE, [model.popularity for model in CATALOGUE], k=count):
        prompt, answer = chance.randint(10, 2000), chance.randint(10, 500)
        room = model.context_tokens // 4
        yield Ask(model.id, min(prompt, room * 2), min(answer, room), NOW_MS, chance.getrandbits(32))


# The table


def _table(machines: list[Machine]) -> RoutingTable:
    table = RoutingTable()
    for wishes in (catalogue(), registrations(machines), standings(machines, 1), declarations(machines)):
        for wish in wishes:
            table.fold(_recorded(wish), wish.subject.split("/", 2)[2])  # type: ignore[arg-type]
    for machine in machines:
        table.fold(_beat(machine), f"beats of {machine.device}")
    return table


def _recorded(wish: Wish) -> Event:
    """The event of an accepted command: these record what was asked."""
    kinds: dict[str, type[Event]] = {
        "ListModel": ModelListed, "RegisterProvider": ProviderRegistered, "NoteStanding": StandingNoted,
        "DeclareOffer": OfferDeclared,
    }  # fmt: skip
    fields = dict(wish.command)
    kind = kinds[type(wish.command).__name__]
    if kind is ProviderRegistered:
        fields["device"] = wish.subject.split("/", 2)[2]
    return kind(**fields)


def _beat(machine: Machine) -> HeartbeatsRecorded:
    beat = Beat(
        device=machine.device, slot=NOW_MS // 300_000, seq=1, boot=Label("b1"), sent_at_ms=NOW_MS, received_at_ms=NOW_MS,
        load_percent=1, hash=machine.gpu.serial_hash,
    )  # fmt: skip
    return HeartbeatsRecorded(beats=(beat,), repeated=0)


# The peer


@dataclass
class _LiteLlm:
    router: Any
    messages: list[dict[str, str]]

    def microseconds(self) -> float:
        taken = []
        for _ in range(50):
            began = time.perf_counter_ns()
            self.router.get_available_deployment(model="llama", messages=self.messages)
            taken.append(time.perf_counter_ns() - began)
        return statistics.fmean(taken) / 1000


def _router() -> _LiteLlm:
    """Its default strategy. Its price map and tokenizers come from the wheel: nothing is asked of the network."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.router import Router

    litellm.disable_hf_tokenizer_download = True
    deployments = [
        {
            "model_name": "llama",
            "litellm_params": {"model": "openai/llama", "api_base": f"http://10.0.{n // 250}.{n % 250}:8000", "api_key": "-"},
        }
        for n in range(DEPLOYMENTS)
    ]
    return _LiteLlm(Router(model_list=deployments), [{"role": "user", "content": "hello"}])
