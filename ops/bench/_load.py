"""The load of the benchmarks: what the demo's router sends, signed once and kept in memory."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer, ed25519_signer
from adapters.sql.store import Store
from commands import Grant
from contracts import Command, Digest, EventId, Label, event_id, uuid7
from contracts.inference import Considered, Constraints, OpenRequest
from contracts.liveness import ShardCut
from contracts.providers import ModelId, NoteStanding, OfferId
from domain.identity.authority import WRITER, Founding

NETWORK = "bench"
SIGNERS = 20


@dataclass(frozen=True)
class Sent:
    """A command as the broker would hand it over."""

    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    source: str
    signature: str


@dataclass(frozen=True)
class Load:
    """Signed commands of one context, and the roles that make them acceptable."""

    context: str
    network: str
    records: Sequence[Sent]
    grants: Sequence[Grant]


def begin(store: Store, writer: Signer, grants: Sequence[Grant]) -> None:
    """A network with these keys, whose events the writer signs."""
    signs = Grant(writer.did, WRITER, "", datetime.now(UTC) + timedelta(days=1))
    store.begin(Founding("0" * 64, (writer.did,), 2, 800_000, "consumer"), [*grants, signs])


def standings(count: int) -> Load:
    """One event each, half a kilobyte: what staking tells of so many providers."""
    signers, until = _signers(), datetime.now(UTC) + timedelta(days=1)
    grants = [Grant(signer.did, "providers.process", "providers/", until) for signer in signers]
    return Load("providers", NETWORK, [sent(n, _standing(signers[n % SIGNERS])) for n in range(count)], grants)


def requests(count: int) -> Load:
    """Two events each, two kilobytes: the demo's requests, with a decision of eight offers."""
    signers, until = _signers(), datetime.now(UTC) + timedelta(days=1)
    grants = [Grant(signer.did, "inference.router", "inference/", until) for signer in signers]
    return Load("inference", NETWORK, [sent(n, _request(signers[n % SIGNERS])) for n in range(count)], grants)


def _signers() -> list[Signer]:
    return [ed25519_signer(os.urandom(32)) for _ in range(SIGNERS)]


def _standing(signer: Signer) -> SignedCommand:
    device = ed25519_signer(os.urandom(32)).did
    cause = EventId(event_id(device, "bench", 0))
    command = NoteStanding(tier="pro", bonded=True, suspended=False, from_epoch=1, cause=cause)
    return sign_command(command, f"providers/provider/{device}", signer, NETWORK)


def _request(signer: Signer) -> SignedCommand:
    return sign_command(open_request(), f"inference/request/{uuid7()}", signer, NETWORK)


def open_request() -> Command:
    """A decision as `decide` gives it: eight offers in the chain, two that were cheaper and stale."""
    offers = [OfferId(f"WZcjJH41py{n:02d}.llama-3.1-70b") for n in range(10)]
    digest = Digest(hashlib.sha256(os.urandom(8)).hexdigest())
    return OpenRequest(
        key=Label("key-1"), kind="chat", model=ModelId("llama-3.1-70b"), stream=True, strategy="auto", n=1,
        constraints=Constraints(), prompt_tokens=1020, max_tokens=129, as_of=datetime.now(UTC), policy_version=1,
        seed=digest, request_hash=digest, chain=tuple(offers[:8]),
        cut=tuple(ShardCut(shard=f"{c}.events/{n}", next=5_000) for c in ("liveness", "providers") for n in range(4)),
        considered=tuple(
            Considered(offer=offer, cost=1_000_000_000_000_000 + n, reason=None if n < 8 else "stale")
            for n, offer in enumerate(offers)
        ),
    )  # fmt: skip


def sent(offset: int, command: SignedCommand) -> Sent:
    return Sent(
        offset, command.subject.encode(), command.value, command.headers, _source(command), command.signature
    )  # fmt: skip


def _source(command: SignedCommand) -> str:
    text = command.value.decode()
    start = text.index('"source":"') + len('"source":"')
    return text[start : text.index('"', start)]
