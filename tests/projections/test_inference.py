"""Receipts as rows: what was observed, claimed and settled, who earned what; the same at every batch size."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from adapters.replay.folding import ScratchFold
from adapters.replay.scratch import scratch_tables
from adapters.replay.sources import Published
from adapters.sql import engine_for, reading
from adapters.views import Projector, digest
from contracts import Address, Event, Uuid
from contracts.inference import CloseRequest, RefuteReceipt, StartAttempt, request_stream
from contracts.providers import ModelDelisted, OfferDeclared, OfferWithdrawn, ProviderLeft
from domain.inference import Request
from projections import Projection
from projections.inference import (
    Claimed,
    Earned,
    Observed,
    billing_terms,
    decision_log,
    earned_on,
    earnings_of,
    observed_claimed_settled,
    open_requests,
    provider_earnings,
    receipt_book,
)
from tests.databases import upgrade
from tests.domain.fleets import registration
from tests.domain.given import an_offer, did
from tests.domain.given import digest as hashed
from tests.domain.test_inference import BOB, NOW, opening
from tests.domain.test_receipts import (
    COMPLETION_PRICE,
    CONSIDERED,
    FUNDS,
    OPENED,
    PAYEE,
    PROMPT_PRICE,
    a_receipt,
    after,
    an_end,
    nothing,
    resolve,
    submit,
    terms,
)
from tests.projections.records import chain

PRICE = 100 * PROMPT_PRICE + 40 * COMPLETION_PRICE


def name(number: int) -> Uuid:
    return Uuid(f"01935e2f-0000-7000-8000-{number:012d}")


def begun(number: int, **changes: Any) -> Request:
    ours = Request(request_stream(name(number)))
    ours.open(opening(**{"considered": CONSIDERED, "funds": FUNDS, **changes}), NOW, OPENED)
    return ours


def paid(number: int, payee: Address = PAYEE, **changes: Any) -> Request:
    ours = begun(number, **changes)
    ours.end(an_end(), after(10))
    submit(ours)
    ours.settle(terms(payee=payee))
    return ours


def after_a_failure() -> Request:
    """Two attempts, a claim of a million tokens that is resolved after the request was closed, a receipt that is refuted."""
    ours = begun(2)
    ours.end(nothing(failure="connect"), after(2))
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(number=2), after(10))
    submit(ours, a_receipt(number=2, offer=BOB, completion_tokens=1_000_000), "alice")
    submit(ours, a_receipt(number=2, offer=BOB), "mallory")
    ours.refute(RefuteReceipt(device=did("mallory"), evidence=hashed("probe")), did("oracle"), after(50))
    ours.close(CloseRequest(cause="no_receipt"), after(700))
    resolve(ours)
    return ours


def raced() -> Request:
    ours = begun(3, strategy="parallel", funds=None)
    ours.start(StartAttempt(number=2, offer=BOB))
    ours.end(an_end(number=2), after(3))
    ours.end(nothing("cancelled", cause="race"), after(4))
    return ours


def of(*requests: Request) -> list[tuple[str, Event]]:
    """Their events, in turns."""
    left = [[(ours.stream, event) for event in ours.pending] for ours in requests]
    return [turn[n] for n in range(max(map(len, left))) for turn in left if n < len(turn)]


def free() -> Request:
    """Opened without funds, as requests were before there were any."""
    ours = Request(request_stream(name(9)))
    ours.open(opening(), NOW)
    return ours


HISTORY = of(paid(1), after_a_failure(), raced(), begun(4), paid(5, Address("0x" + "AB" * 20), funds=None), free())
CATALOGUE: Sequence[tuple[str, Event]] = [
    (f"providers/provider/{did('alice')}", registration("alice")),
    ("providers/offer/alice", OfferDeclared(**dict(an_offer()))), ("providers/offer/alice", OfferWithdrawn()),
    ("providers/model/llama-3.1-8b", ModelDelisted()), (f"providers/provider/{did('alice')}", ProviderLeft()),
]  # fmt: skip


def published(values: Sequence[bytes], start: int = 0) -> list[Published]:
    return [Published(n, n, value, "") for n, value in enumerate(values, start)]


class Source:
    def __init__(self, values: Sequence[bytes]) -> None:
        self.values = values

    async def read(self, shard: str, start: int, end: int) -> Any:
        yield published(self.values[start:end], start)


@contextmanager
def folded(tmp_path: Path, projection: Projection, size: int = 100) -> Iterator[Connection]:
    """Every piece is delivered twice."""
    engine = engine_for(f"sqlite:///{tmp_path}/{projection.name}.db")
    upgrade(engine, "views")
    [context] = projection.contexts
    shard, history = f"{context}.events/0", CATALOGUE if context == "providers" else HISTORY
    projector, values = Projector(engine, projection), chain(f"{context}.events/0", history)
    projector.claim([shard])
    for start in range(0, len(values), size):
        for _ in range(2):
            projector.apply({shard: published(values[start : start + size], start)})
    with reading(engine) as connection:
        yield connection
    engine.dispose()


def test_the_book_says_what_was_observed_claimed_and_settled(tmp_path: Path) -> None:
    with folded(tmp_path, receipt_book()) as connection:
        page = observed_claimed_settled(name(1), connection)

    assert page is not None
    assert (page.state, page.hold, page.held) == ("settled", "h1", FUNDS.amount)
    assert page.observed == (Observed(1, "alice", "completed", None, 160, 100, 40, "tokenizer"),)
    assert page.claimed == (Claimed(1, did("alice"), "matched", None, 100, 40),)
    assert page.settled is not None
    assert (page.settled.device, page.settled.payee) == (did("alice"), PAYEE)
    assert (page.settled.price, page.settled.protocol_fee, page.settled.hold) == (PRICE, PRICE // 100, "h1")


def test_a_failed_attempt_a_dispute_and_a_refuted_receipt_are_on_the_same_page(tmp_path: Path) -> None:
    with folded(tmp_path, receipt_book()) as connection:
        page = observed_claimed_settled(name(2), connection)

    assert page is not None
    assert (page.state, page.cause, page.settled) == ("late", "no_receipt", None)
    assert [(a.number, a.offer, a.state, a.cause) for a in page.observed] == [
        (1, "alice", "failed", "connect"), (2, "bob", "completed", None),
    ]  # fmt: skip
    found = {(claim.device, claim.state, claim.cause, claim.completion_tokens) for claim in page.claimed}
    assert found == {
        (did("alice"), "resolved", "completion_tokens", 1_000_000), (did("mallory"), "refuted", None, 40),
    }  # fmt: skip


def test_what_is_not_there_has_no_page(tmp_path: Path) -> None:
    with folded(tmp_path, receipt_book()) as connection:
        assert observed_claimed_settled(name(77), connection) is None


def test_open_requests_are_those_for_which_something_is_still_to_be_said(tmp_path: Path) -> None:
    """Not those that hold no money and delivered nothing: nobody waits for them."""
    with folded(tmp_path, receipt_book()) as connection:
        assert set(open_requests(connection)) == {name(3), name(4)}


def test_a_payee_s_day_is_the_sum_of_its_receipts(tmp_path: Path) -> None:
    """However its address is written."""
    expected = Earned(PAYEE, NOW.date().isoformat(), "USD.s", 2, 200, 80, 2 * PRICE)

    with folded(tmp_path, provider_earnings()) as connection:
        assert earnings_of(PAYEE, connection) == [expected]
        assert earned_on(NOW.date(), connection) == [expected]
        assert earned_on(date(1970, 1, 1) + timedelta(days=1), connection) == []


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(
    "projection", [receipt_book(), provider_earnings(), billing_terms(), decision_log()], ids=lambda found: found.name
)
def test_every_batch_size_gives_one_digest(tmp_path: Path, projection: Projection, size: int) -> None:
    [context] = projection.contexts
    shard = f"{context}.events/0"
    values = chain(shard, CATALOGUE if context == "providers" else HISTORY)

    with folded(tmp_path, projection, size) as connection, scratch_tables(projection, "replay_test") as scratch:
        fold = ScratchFold(scratch, batch_records=1)
        asyncio.run(fold.fold(Source(values), {shard: len(values)}))  # type: ignore[arg-type]
        assert fold.digest() == digest(connection, projection)
        assert not fold.parked()
