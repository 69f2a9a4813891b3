"""After the trace: money from a bank's statement becomes coins, coins a payout, requests are paid for, and rewards claimed.

Bank and chain are twins that hold no money; everything else is what a deployment runs.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine

from adapters.bank.entries import Entry, Statement
from adapters.bank.paper import PaperBank, PaperChain
from adapters.bank.paper.rewards import in_token
from adapters.bank.ports import Call, ClaimRewards, NoAnswer, Transaction
from adapters.bank.statements import parse_statement
from adapters.kafka.commands import SignedCommand, sign_command
from adapters.sealing import Place
from adapters.sql import reading
from contracts import Address, Amount, AssetName, Command, Digest, Label, Sealed, Uuid, uuid7
from contracts.inference import EndAttempt, Funds, OpenRequest, SubmitReceipt, purpose_of
from contracts.providers import DeclareOffer, OfferId
from contracts.rewards import SPACE
from contracts.treasury import (
    AccountId,
    AssignDeposit,
    AttestReserves,
    ConfigureMinter,
    Credit,
    Hold,
    HoldId,
    LedgerAccount,
    OpenAccount,
    Reconcile,
    Reference,
    RequestWithdrawal,
    ReviewWithdrawal,
    Slot,
    account_stream,
    bank_of,
    coin_of,
    deposit_stream,
    reconciliation_stream,
    stablecoin_stream,
    withdrawal_stream,
)
from domain.inference.routing import Choice
from ops.compose import Deployment
from ops.demo.client import Client
from ops.demo.past import WALLET as PROVIDER
from ops.demo.past import until
from ops.demo.people import HOLDER, REVIEWERS, People, accepted
from ops.demo.router import Router
from ops.demo.trace import Arrival
from ops.fleet import CATALOGUE, Machine
from ops.sealing import Sealer
from projections.inference import observed_claimed_settled
from projections.ledger import balance_of
from projections.rewards import claim_of, split_of
from projections.rewards.overview import count_of_roots, payees
from projections.rewards.queries import ClaimState, newest_root
from projections.treasury import deposit_of, supply_of, withdrawal
from projections.treasury.due import owed_in
from projections.treasury.outside import books_of
from streams.outside.comparing import Debts, compare

WALLET = Address("0x" + "ad" * 20)
IBAN = "DE02120300000000202051"
"""The bank account of the demo's holder, an example of Germany's central bank. It travels sealed."""
WORLD_SECONDS = 0.4
ALLOWANCE = 10**24
PREPAID = 100 * 10**18
"""USD.s units."""
CENT = 10**16
MOST_DEPOSITS = 25

T = TypeVar("T")
CHAT = [model for model in CATALOGUE if model.kind == "chat"]


@dataclass(frozen=True)
class Offered:
    """An offer, its terms and its machine."""

    id: OfferId
    terms: DeclareOffer
    machine: Machine


@dataclass
class Told:
    """What became of it, for the report."""

    statement: str = ""
    coin: str = ""
    deposits: int = 0
    minted: int = 0
    paid_out: int = 0
    receipts: int = 0
    settled_units: int = 0
    roots: int = 0
    """That the rewards contract has."""
    claimed_units: int = 0
    """SPACE that the contract ever paid to the demo's provider."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Money:
    """The deployment's twins, its people, and somebody who waits for what the lists do."""

    deployment: Deployment
    people: People
    client: Client
    views: Engine
    statement: Path | None
    told: Told = field(default_factory=Told)

    @property
    def _bank(self) -> PaperBank:
        outside = self.deployment.outside
        assert outside is not None
        assert isinstance(outside.bank, PaperBank)
        return outside.bank

    @property
    def _chain(self) -> PaperChain:
        outside = self.deployment.outside
        assert outside is not None
        assert isinstance(outside.chain, PaperChain)
        return outside.chain

    async def turn_the_world(self) -> None:
        """For ever: blocks are mined, the bank books what was ordered."""
        while True:
            await asyncio.to_thread(self._chain.mine)
            await asyncio.to_thread(self._bank.settle)
            await asyncio.sleep(WORLD_SECONDS)

    # From a statement to coins, and back

    async def deposit_and_pay_out(self, advance: Callable[[int], None]) -> None:
        """Five steps."""
        statements = self._read()
        statement = statements[0]
        coin, entries = coin_of(statement.asset), _credits(statements)[:MOST_DEPOSITS]
        self.told.coin, self.told.deposits = coin, len(entries)
        allow = ConfigureMinter(minter=self.people.did("treasury.minter"), allowance=Amount.of(coin, ALLOWANCE))
        await accepted(self.client, [self.people.once("treasury.governor", allow, stablecoin_stream(coin))])
        for entry in entries:
            self._bank.deposit(entry.reference, Amount.of(statement.asset, entry.cents))
        await self._until(lambda c: all(self._state(e, c) in ("settled", "issued") for e in entries), "the deposits")
        advance(1)
        await self._issue(coin, entries)
        advance(1)
        await self._reconcile(coin, statement.source)
        advance(1)
        held = self._chain.balance_of(coin, WALLET) // CENT
        await self._pay_out(coin, min(held // 2, sum(entry.cents for entry in entries) // 2))
        advance(1)
        await self._reconcile(coin, hashlib.sha256(os.urandom(16)).hexdigest())
        advance(1)

    def _read(self) -> list[Statement]:
        """Of the file that was named those in its first currency; else what the twin writes, of money that came in."""
        if self.statement is not None:
            data, self.told.statement = self.statement.read_bytes(), self.statement.name
        else:
            for number, cents in enumerate((25_000, 120_000, 9_950, 48_120), 1):
                self._bank.deposit(f"W{number}", Amount.of("USD.bank", cents))
            data, self.told.statement = self._bank.statement("USD.bank"), "a CAMT.053 of the demo's own bank"
        first, *others = parse_statement(data)
        return [first, *(other for other in others if other.asset == first.asset)]

    async def _issue(self, coin: str, entries: Sequence[Entry]) -> None:
        """One person says whose each credit is; then the lists go on by themselves."""
        known = [self.people.said(REVIEWERS[0], _assignment(), deposit_stream("wire", entry.reference)) for entry in entries]
        await accepted(self.client, known)
        await self._until(lambda c: all(self._state(entry, c) == "issued" for entry in entries), "the coins")
        with reading(self.views) as connection:
            found = supply_of(coin, datetime.now(UTC), connection)
        self.told.minted = 0 if found is None else found.supply.to(bank_of(coin)).units

    async def _pay_out(self, coin: str, cents: int) -> None:
        name = f"{HOLDER}.{int(datetime.now(UTC).timestamp()) % 10**9}"
        stream, amount, command = withdrawal_stream(name), Amount.of(bank_of(coin), cents).to(coin), uuid7()
        place = Place(self.deployment.network, stream, command, "/destination")
        sealed = await Sealer(self.deployment).seal(IBAN, HOLDER, place, "financial")
        digest = Digest(hashlib.sha256(f"{HOLDER} {IBAN}".encode()).hexdigest())
        ask = RequestWithdrawal(amount=amount, destination=sealed, destination_digest=digest)
        await accepted(self.client, [self._signed(HOLDER, ask, stream, id=command)])
        await self._sent(lambda nonce: Call("request_burn", coin, amount.units, "", name, WALLET, nonce), WALLET)
        await self._until(lambda c: self._is(name, "under_review", c), "the review")
        for reviewer in REVIEWERS:
            note = uuid7()
            said = await self._note(stream, note)
            verdict = ReviewWithdrawal(verdict="approve", note=said)
            await accepted(self.client, [self._signed(reviewer, verdict, stream, id=note)])
        await self._until(lambda c: self._is(name, "paid", c), "the payout")
        self.told.paid_out = cents

    async def _note(self, stream: str, command: str) -> Sealed:
        place = Place(self.deployment.network, stream, command, "/note")
        return await Sealer(self.deployment).seal("known customer", HOLDER, place, "financial")

    async def _reconcile(self, coin: str, source: str) -> None:
        """As on every statement: bank, books and chain at one block, then the attestation."""
        outside = self.deployment.outside
        assert outside is not None
        with reading(self.views) as connection:
            books = books_of(coin, connection)
            debts = Debts(owed_in(coin, connection), balance_of("bank:", bank_of(coin), connection))
        assert books is not None
        figures = compare(outside, coin, debts)
        while figures.bank is None or figures.owed is None or figures.evm_supply is None:
            figures = compare(outside, coin, debts)
        native = Amount.of(coin.partition(".")[0], 0)
        found = Reconcile(
            slot=Slot(f"statement:{source[:32]}"), block=figures.block, bank=figures.bank, owed=figures.owed,
            evm_supply=figures.evm_supply, native_supply=native, native_locked=native, in_flight=books.in_flight,
            books_supply=books.supply,
        )  # fmt: skip
        attest = AttestReserves(bank=figures.bank, owed=figures.owed, as_of=books.since, statement=Digest(source))
        await accepted(self.client, [self.people.said("treasury.attestor", found, reconciliation_stream(coin))])
        if books.as_of is None or books.since > books.as_of:
            await accepted(self.client, [self.people.said("treasury.attestor", attest, stablecoin_stream(coin))])

    # Requests that are paid for

    async def serve(
        self, router: Router, arrivals: Sequence[Arrival], machines: Sequence[Machine], advance: Callable[[int], None]
    ) -> None:
        """Each: money is held, a route is decided, the machine answers and signs its receipt; the lists settle and divide."""
        await self._prepay()
        served: list[Uuid] = []
        for number, arrival in enumerate(arrivals):
            model = CHAT[number % len(CHAT)].id
            subject, command, choice = router.decide(model, arrival)
            if choice.refusal is None:
                request = Uuid(subject.rpartition("/")[2])
                funded = command.model_copy(update={"funds": await self._hold(request, choice)})
                opened = router.sign(funded, subject, command.as_of)
                await accepted(self.client, [opened])
                offer = _offers(machines)[choice.chain[0].name]
                await accepted(self.client, self._answered(router, opened, command, offer, arrival))
                served.append(request)
            advance(1)
        await self._until(lambda c: all(_is_settled(request, c) for request in served), "the settlements")
        self.told.receipts = len(served)
        with reading(self.views) as connection:
            found = [observed_claimed_settled(request, connection) for request in served]
        self.told.settled_units = sum(each.settled.price + each.settled.protocol_fee for each in found if each and each.settled)

    async def _prepay(self) -> None:
        account = account_stream(HOLDER, "USD.s")
        opened = OpenAccount(owner=AccountId(HOLDER), asset=AssetName("USD.s"))
        await accepted(self.client, [self.people.once("process", opened, account)])
        name = f"prepaid:{uuid7()}"
        if self._chain.balance_of("USD.s", WALLET) >= PREPAID:
            # What is prepaid lies where providers are paid from; a holder of other coins prepays on trust.
            contract = self._chain.rewards
            await self._sent(lambda nonce: Call("transfer", "USD.s", PREPAID, contract, name, WALLET, nonce), WALLET)
        reference = Reference(name)
        credit = Credit(amount=Amount.of("USD.s", PREPAID), counter=LedgerAccount("deposits:evm"), reference=reference)
        await accepted(self.client, [self.people.said("process", credit, account)])

    async def _hold(self, request: Uuid, choice: Choice) -> Funds:
        cost = max(cost for offer, cost, _ in choice.considered if offer.name in {each.name for each in choice.chain})
        units = cost + -(-cost // 100)
        hold = HoldId(request)
        command = Hold(
            hold=hold, amount=Amount.of("USD.s", units), purpose=purpose_of(request),
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
        await accepted(self.client, [self.people.said("treasury.gateway", command, account_stream(HOLDER, "USD.s"))])
        return Funds(account=AccountId(HOLDER), asset="USD.s", hold=hold, amount=units)

    def _answered(
        self, router: Router, opened: SignedCommand, asked: OpenRequest, offer: Offered, arrival: Arrival
    ) -> Iterator[SignedCommand]:
        """What the router saw, and what the machine signs."""
        now, stream = datetime.now(UTC), opened.subject
        response, stop = Digest(hashlib.sha256(f"answer to {stream}".encode()).hexdigest()), Label("stop")
        saw = EndAttempt(
            number=1, outcome="completed", delivered_bytes=arrival.completion_tokens * 4, prompt_tokens=arrival.prompt_tokens,
            completion_tokens=arrival.completion_tokens, method="bytes", finish_reason=stop, first_token_ms=180,
            response_hash=response,
        )  # fmt: skip
        receipt = SubmitReceipt(
            number=1, offer=offer.id, model_digest=offer.terms.model_digest,
            opened=Digest(hashlib.sha256(opened.value).hexdigest()), request_hash=asked.request_hash, response_hash=response,
            prompt_tokens=arrival.prompt_tokens, completion_tokens=arrival.completion_tokens,
            started_at=now - timedelta(seconds=2), ended_at=now, finish_reason=stop, partial=False,
        )  # fmt: skip
        yield router.sign(saw, stream)
        yield sign_command(receipt, stream, offer.machine.signer, self.deployment.network)

    # Claims

    async def claim(self, advance: Callable[[int], None]) -> None:
        """What the provider's stake earned in days that are over. Two steps."""
        await self._until(_has_newest_root, "the roots on the chain")
        advance(1)
        with reading(self.views) as connection:
            owed = sum(each.claimable for each in payees(connection) if each.asset == SPACE)
            self.told.roots = count_of_roots(connection)
            found = self._claim_in(connection)
        missing = in_token(SPACE, owed).units - self._chain.balance_of("SPACE.evm", self._chain.rewards)
        if missing > 0:
            self._chain.arrive("SPACE.evm", self._chain.rewards, missing)
        if found is not None and found.claimable:
            await self._sent(partial(_claiming, found), PROVIDER)
            await self._until(lambda c: _is_claimed(self._claim_in(c)), "the claim")
        with reading(self.views) as connection:
            found = self._claim_in(connection)
        self.told.claimed_units = 0 if found is None else found.claimed
        advance(1)

    def _claim_in(self, connection: Connection) -> ClaimState | None:
        states = claim_of(PROVIDER.lower(), self._chain.tokens, connection)
        return next((state for state in states if state.asset == SPACE), None)

    # Looking

    async def _sent(self, make: Callable[[int], Transaction], sender: str) -> str:
        """A transaction under the sender's next nonce; its hash."""
        nonce = await patiently(lambda: self._chain.next_nonce(sender))
        return await patiently(lambda: self._chain.send(make(nonce)))

    def _signed(self, name: str, command: Command, subject: str, **more: str) -> SignedCommand:
        return sign_command(command, subject, self.people.keys[name], self.deployment.network, **more)  # type: ignore[arg-type]

    def _state(self, entry: Entry, connection: Connection) -> str:
        found = deposit_of("wire", entry.reference, connection)
        return "" if found is None else found.state

    def _is(self, name: str, state: str, connection: Connection) -> bool:
        found = withdrawal(name, connection)
        return found is not None and found.state == state

    async def _until(self, true: Callable[[Connection], bool], what: str) -> None:
        await until(self.views, true, what)


async def patiently(ask: Callable[[], T]) -> T:
    """What a person does whom the chain does not answer."""
    while True:
        try:
            return ask()
        except NoAnswer:
            await asyncio.sleep(0.1)


def _credits(statements: Sequence[Statement]) -> list[Entry]:
    """What came in, each once."""
    entries = (entry for statement in statements for entry in statement.entries)
    return list({entry.reference: entry for entry in entries if entry.cents > 0 and not entry.is_reversal}.values())


def _assignment() -> AssignDeposit:
    return AssignDeposit(owner=AccountId(HOLDER), to=WALLET)


def _offers(machines: Sequence[Machine]) -> dict[str, Offered]:
    return {str(offer): Offered(offer, terms, machine) for machine in machines for offer, terms in machine.offers}


def _has_newest_root(connection: Connection) -> bool:
    root = newest_root(connection, is_confirmed=False)
    return root is not None and root.block is not None


def _claiming(state: ClaimState, nonce: int) -> ClaimRewards:
    row = state.claim
    assert row is not None
    return ClaimRewards(row.account, row.token, row.cumulative, state.proof, PROVIDER, nonce)


def _is_claimed(state: ClaimState | None) -> bool:
    return state is not None and not state.claimable


def _is_settled(request: Uuid, connection: Connection) -> bool:
    found = observed_claimed_settled(request, connection)
    return found is not None and found.settled is not None and bool(split_of(request, connection))
