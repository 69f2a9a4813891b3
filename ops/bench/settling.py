"""Requests that are paid for: what was seen, the receipt, the bill, the capture and the split, each durable, against bare
cryptography."""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

from adapters import keys
from adapters.garbage import collect_rarely
from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer, ed25519_signer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from commands import Grant
from contracts import Address, Amount, AssetName, Command, Did, Digest, Label, StreamName, uuid7
from contracts.inference import (
    FEES,
    Considered,
    Constraints,
    EndAttempt,
    Funds,
    NotePayment,
    OpenRequest,
    SettleReceipt,
    SubmitReceipt,
    purpose_of,
    request_stream,
)
from contracts.liveness import ShardCut, epoch_of, slot_at
from contracts.providers import ModelId, OfferId
from contracts.rewards import Payee, SplitFee, fee_stream
from contracts.rewards import Reference as Receipt
from contracts.treasury import (
    AccountId,
    Capture,
    Credit,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    Reference,
    account_stream,
)
from ops.bench import Measure, judged
from ops.bench._load import NETWORK, Sent, begin, sent
from ops.bench._servers import postgres
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

REQUESTS = 500
ROUNDS = 5
ACCOUNTS = 50
PROMPT, COMPLETION = 1_000, 130
PROMPT_PRICE, COMPLETION_PRICE = 2 * 10**11, 6 * 10**11
"""USD.s units a token."""
PRICE = PROMPT * PROMPT_PRICE + COMPLETION * COMPLETION_PRICE
FEE = -(-PRICE // 100)
OFFER, MODEL = OfferId("WZcjJH41py00.llama-3.1-70b"), ModelId("llama-3.1-70b")
WALLET = Address("0x" + "5e" * 20)
GOAL = 116.0
"""Ten times the million inferences a day of white paper 19."""
COMMANDS = 6
"""What is timed of each request: it ends, its receipt comes, it is settled, captured, noted as paid and divided."""
CONTEXTS = ("inference", "treasury", "rewards")

Stage = Mapping[str, Sequence[Sent]]
"""Context to its signed commands: one transaction."""


def measures() -> Iterator[Measure]:
    collect_rarely()
    with TemporaryDirectory() as folder, postgres() as create:
        for name, url in (("SQLite", f"sqlite:///{folder}/store.db"), ("PostgreSQL", create("settling"))):
            bench = _Bench(url)
            ours, bare = [], []
            for _ in range(ROUNDS):
                load = _load(bench.signers)
                ours.append(bench.settle(load))
                bare.append(bench.verify_and_sign(load))
            yield judged(
                f"requests settled a second, {COMMANDS} signed commands each, one worker, {name} / bare verify + sign",
                ours, bare, unit="settlements/s", goal=f"≥ {GOAL:g}/s", is_met=lambda _, ours: ours >= GOAL,
            )  # fmt: skip


@dataclass(frozen=True)
class _Signers:
    router: Signer
    device: Signer
    process: Signer

    def grants(self) -> list[Grant]:
        until = datetime.now(UTC) + timedelta(days=1)
        roles = [
            (self.router, "inference.router"), (self.device, "inference.gpu"), (self.process, "inference.process"),
            (self.process, "treasury.process"), (self.process, "rewards.settler"),
        ]  # fmt: skip
        return [Grant(signer.did, role, f"{role.partition('.')[0]}/", until) for signer, role in roles]


class _Bench:
    def __init__(self, url: str) -> None:
        self.signers = _Signers(*(ed25519_signer(os.urandom(32)) for _ in range(3)))
        self._store = Store(engine_for(url))
        upgrade(self._store.engine, "store")
        self._writer = ed25519_signer(os.urandom(32))
        begin(self._store, self._writer, self.signers.grants())
        self._decider = Decider(self._store, self._writer, NETWORK, 1)
        self._shards = {context: self._store.shard(context, 0) for context in CONTEXTS}
        self._doors = {context: Door(context, 0, 1, NETWORK) for context in CONTEXTS}
        self._events = 0

    def settle(self, load: "_Load") -> float:
        """Settlements a second, from bytes to the commit of the split."""
        for stage in load.before:
            self._decide(stage)
        self._events = 0
        started = time.perf_counter()
        for stage in load.timed:
            self._decide(stage)
        return REQUESTS / (time.perf_counter() - started)

    def _decide(self, stage: Stage) -> None:
        chunks = [
            Chunk(self._shards[context], [self._doors[context].check(record) for record in records])
            for context, records in stage.items()
        ]
        sealed = self._decider.commit(chunks)
        self._shards.update(zip(stage, (shard for _, shard in sealed.shards), strict=True))
        self._events += len(sealed.events)
        if len(sealed.events) < sum(map(len, stage.values())):
            raise RuntimeError(f"only {len(sealed.events)} events of {', '.join(stage)}: the load is refused")

    def verify_and_sign(self, load: "_Load") -> float:
        """One Ed25519 verification for each command and a signature for each event, over the same bytes."""
        records = [record for stage in load.timed for some in stage.values() for record in some]
        started = time.perf_counter()
        for record in records:
            assert keys.verify(record.source, record.value, record.signature)
        for n in range(self._events):
            self._writer.sign(records[n % len(records)].value)
        return REQUESTS / (time.perf_counter() - started)


@dataclass(frozen=True)
class _Load:
    before: Sequence[Stage]
    timed: Sequence[Stage]


def _load(signers: _Signers) -> _Load:
    """Prepaid accounts with a hold for each request, and all that becomes of them."""
    owners = [AccountId(f"did:example:{os.urandom(8).hex()}") for _ in range(ACCOUNTS)]
    now = datetime.now(UTC)
    accounts, money, holds, opened = [], [], [], []
    ended, receipts, settled, captured, paid, divided = [], [], [], [], [], []
    for owner in owners:
        place = account_stream(owner, "USD.s")
        accounts.append(_sign(OpenAccount(owner=owner, asset=AssetName("USD.s")), place, signers.process))
        amount, reference = Amount.of("USD.s", REQUESTS * 10 * PRICE), Reference(f"bench:{uuid7()}")
        credit = Credit(amount=amount, counter=LedgerAccount("deposits:evm"), reference=reference)
        money.append(_sign(credit, place, signers.process))
    for n in range(REQUESTS):
        owner, request = owners[n % ACCOUNTS], uuid7()
        place, account, hold = request_stream(request), account_stream(owner, "USD.s"), HoldId(request)
        until, amount = now + timedelta(hours=1), Amount.of("USD.s", PRICE + FEE)
        set_aside = Hold(hold=hold, amount=amount, purpose=purpose_of(request), expires_at=until)
        holds.append(_sign(set_aside, account, signers.process))
        asked = _sign(_request(n, owner, hold), place, signers.router)
        opened.append(asked)
        response = _digest("answer", n)
        saw = EndAttempt(
            number=1, outcome="completed", delivered_bytes=COMPLETION * 4, prompt_tokens=PROMPT,
            completion_tokens=COMPLETION, method="bytes", finish_reason=Label("stop"), first_token_ms=180,
            response_hash=response,
        )  # fmt: skip
        ended.append(_sign(saw, place, signers.router))
        claim = SubmitReceipt(
            number=1, offer=OFFER, model_digest=_digest("weights", 0), opened=Digest(hashlib.sha256(asked.value).hexdigest()),
            request_hash=_digest("question", n), response_hash=response, prompt_tokens=PROMPT,
            completion_tokens=COMPLETION, started_at=now - timedelta(seconds=2), ended_at=now, finish_reason=Label("stop"),
            partial=False,
        )  # fmt: skip
        receipts.append(_sign(claim, place, signers.device))
        settled.append(_sign(_settling(signers.device.did, now), place, signers.process))
        captured.append(_sign(Capture(hold=hold, amount=amount, counter=FEES), account, signers.process))
        paid.append(_sign(NotePayment(hold=hold, amount=amount), place, signers.process))
        payee = Payee(f"0x{n % ACCOUNTS:040x}")
        divided.append(_sign(_split(request, payee, signers.device.did, now), _fees(payee), signers.process))
    return _Load(
        before=[{"treasury": _sent(accounts)}, {"treasury": _sent(money)}, {"treasury": _sent(holds)},
                {"inference": _sent(opened)}],
        timed=[{"inference": _sent(ended)}, {"inference": _sent(receipts)}, {"inference": _sent(settled)},
               {"treasury": _sent(captured)}, {"inference": _sent(paid)}, {"rewards": _sent(divided)}],
    )  # fmt: skip


def _request(n: int, owner: AccountId, hold: HoldId) -> OpenRequest:
    return OpenRequest(
        key=Label("key-1"), kind="chat", model=MODEL, stream=True, strategy="auto", n=1, constraints=Constraints(),
        prompt_tokens=PROMPT, max_tokens=COMPLETION, as_of=datetime.now(UTC), policy_version=1, seed=_digest("seed", n),
        request_hash=_digest("question", n), chain=(OFFER,), cut=(ShardCut(shard="providers.events/0", next=5_000),),
        considered=(Considered(offer=OFFER, cost=PRICE, reason=None),),
        funds=Funds(account=owner, asset="USD.s", hold=hold, amount=PRICE + FEE),
    )  # fmt: skip


def _settling(device: str, now: datetime) -> SettleReceipt:
    return SettleReceipt(
        device=Did(device), payee=WALLET, model_owner=WALLET, model_digest=_digest("weights", 0), prompt_price=PROMPT_PRICE,
        completion_price=COMPLETION_PRICE, epoch=epoch_of(slot_at(now.timestamp())),
    )  # fmt: skip


def _split(request: str, payee: Payee, device: str, now: datetime) -> SplitFee:
    return SplitFee(
        kind="inference", receipt=Receipt(request), price=Amount.of("USD.s", PRICE), protocol_fee=FEE, payee=payee,
        provider=Did(device), model=MODEL, model_owner=payee, prepaid=False, epoch=epoch_of(slot_at(now.timestamp())),
    )  # fmt: skip


def _fees(payee: Payee) -> StreamName:
    return fee_stream("inference", payee, "USD.s")


def _digest(what: str, n: int) -> Digest:
    return Digest(hashlib.sha256(f"{what} {n}".encode()).hexdigest())


def _sign(command: Command, subject: str, signer: Signer) -> SignedCommand:
    return sign_command(command, subject, signer, NETWORK)


def _sent(commands: Sequence[SignedCommand]) -> list[Sent]:
    return [sent(n, command) for n, command in enumerate(commands)]
