"""Given, when, then: what the domain's tests of providers, liveness and inference share. Values only, no mocks."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import pytest

from contracts import Address, Count, Country, Did, Digest, Event, Label
from contracts.providers import DeclareOffer, Gpu, ListModel, ModelId, RegisterProvider
from domain import Aggregate, Refused

A = TypeVar("A", bound=Aggregate[Any])

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def digest(text: str) -> Digest:
    return Digest(sha256(text.encode()).hexdigest())


def did(name: str) -> Did:
    """A well-formed `did:key`, of nobody."""
    raw = sha256(name.encode()).digest() + sha256(name.encode() + b"!").digest()
    return Did.checked("did:key:z6Mk" + "".join(_ALPHABET[byte % 58] for byte in raw[:44]))


def given(kind: type[A], stream: str, *events: Event) -> A:
    """The aggregate to which this has happened."""
    aggregate = kind(stream)
    for event in events:
        aggregate.replay(event)
    return aggregate


def then(aggregate: Aggregate[Any], ask: Callable[[], None], *expected: Event) -> None:
    """Asking records exactly these events, and asking again records none."""
    ask()
    assert aggregate.pending == list(expected)
    ask()
    assert aggregate.pending == list(expected), "deciding twice records once"


def refused(aggregate: Aggregate[Any], ask: Callable[[], None], refusal: type[Refused], times: int = 2) -> Refused:
    """Asking is refused, as often as it is asked, and leaves no trace. The last refusal."""
    before, found = len(aggregate.pending), None
    for _ in range(times):
        with pytest.raises(refusal) as caught:
            ask()
        assert type(caught.value) is refusal
        found = caught.value
    assert len(aggregate.pending) == before, "history holds what happened, not what was asked"
    assert found is not None
    return found


def events_of(aggregate: Aggregate[Any]) -> Sequence[Event]:
    return aggregate.pending


def a_gpu(vram_mib: Count = 24_576, serial: str = "serial") -> Gpu:
    return Gpu(
        model=Label("RTX 4090"), vram_mib=vram_mib, cuda_cores=16_384, gflops=82_580, serial_hash=digest(serial)
    )  # fmt: skip


def a_registration(name: str = "alice", **changes: Any) -> RegisterProvider:
    fields: dict[str, Any] = {
        "wallet": Address("0x" + sha256(name.encode()).hexdigest()[:40]), "gpu": a_gpu(serial=name), "country": Country("DE"),
    }  # fmt: skip
    return RegisterProvider(**{**fields, **changes})


def a_listing(**changes: Any) -> ListModel:
    fields: dict[str, Any] = {
        "kind": "chat", "context_tokens": 131_072, "min_vram_mib": 8_192, "bytes_per_token_percent": 380,
    }  # fmt: skip
    return ListModel(**{**fields, **changes})


def an_offer(name: str = "alice", **changes: Any) -> DeclareOffer:
    fields: dict[str, Any] = {
        "device": did(name), "model": ModelId("llama-3.1-8b"), "model_digest": digest("weights"), "quantisation": Label("q4"),
        "prompt_price": 2 * 10**11, "completion_price": 3 * 10**11, "context_tokens": 8_192, "max_concurrency": 8,
        "race": True, "transport": "relay", "confidential": "none",
    }  # fmt: skip
    return DeclareOffer(**{**fields, **changes})
