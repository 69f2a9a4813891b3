"""A real day of requests (Azure LLM inference trace 2023, conversation), priced by the token and divided in many ways."""

import random
from collections.abc import Sequence

import pytest

from contracts import Amount
from contracts.providers import ModelId
from contracts.rewards import FeeSplit, Payee, Reference, SplitFee, fee_stream
from domain.rewards import FeeStream
from domain.rewards.epochs import begin_of
from ops.demo.trace import AZURE_TRACE, arrivals
from tests.domain.given import did

PAYEE, OWNER = Payee("0x" + 40 * "a"), Payee("0x" + 40 * "b")
NOW = begin_of(1)
CLASSES = ("provider_share", "model_share", "oracle_share", "treasury_share", "burn", "buyback", "kept")
USD_PER_TOKEN = (199_999_999_999, 300_000_000_001)
"""Units of USD.s, 18 decimals: twenty and thirty cents a million, as far from round as a price can be."""
SPACE_PER_TOKEN = (1, 3)


@pytest.fixture(scope="module")
def requests() -> Sequence[tuple[int, int]]:
    """Prompt and completion tokens; drawn from the trace's statistics where it is not at hand."""
    _, found = arrivals(None, None)
    return [(request.prompt_tokens, request.completion_tokens) for request in found]


def prices(requests: Sequence[tuple[int, int]], per_token: tuple[int, int]) -> list[int]:
    return [prompt * per_token[0] + completion * per_token[1] for prompt, completion in requests]


def totals(found: Sequence[int], asset: str, prepaid: bool) -> dict[str, int]:
    """What every class has got of these, a receipt each."""
    fees = FeeStream(fee_stream("inference", PAYEE, asset))
    for n, price in enumerate(found):
        command = SplitFee(
            kind="inference", receipt=Reference(f"r{n}"), price=Amount.of(asset, price),
            protocol_fee=0 if prepaid else -(-price // 100), payee=PAYEE, provider=did("alice"), model=ModelId("m"),
            model_owner=OWNER, prepaid=prepaid, epoch=1,
        )  # fmt: skip
        fees.split(command, NOW)
    splits = [event for event in fees.pending if isinstance(event, FeeSplit)]
    sums = {name: sum(getattr(event, name) for event in splits) for name in CLASSES}
    return {**sums, "rounding": splits[-1].rounding}


def shuffled(found: Sequence[int], seed: int) -> list[int]:
    mixed = list(found)
    random.Random(seed).shuffle(mixed)
    return mixed


def batched(found: Sequence[int], size: int) -> list[int]:
    return [sum(found[start : start + size]) for start in range(0, len(found), size)]


def test_the_whole_trace_is_read(requests: Sequence[tuple[int, int]]) -> None:
    """Its sums were counted from the file's columns by awk."""
    assert len(requests) == 19_366
    if AZURE_TRACE.is_file():
        assert tuple(map(sum, zip(*requests, strict=True))) == (22_361_870, 4_088_665)


@pytest.mark.parametrize(("asset", "per_token"), [("USD.s", USD_PER_TOKEN), ("SPACE", SPACE_PER_TOKEN)])
def test_singly_shuffled_and_in_batches_everybody_gets_the_same_to_the_unit(
    requests: Sequence[tuple[int, int]], asset: str, per_token: tuple[int, int]
) -> None:
    found = prices(requests, per_token)
    singly = totals(found, asset, prepaid=True)

    assert totals(shuffled(found, 1), asset, prepaid=True) == singly
    for size in (1, 7, 1_000):
        assert totals(batched(shuffled(found, size), size), asset, prepaid=True) == singly

    paid = sum(found)
    shares = [singly[name] for name in CLASSES[:4]]
    assert shares == [paid * weight // 100 for weight in (60, 20, 10, 10)]
    assert sum(shares) + singly["rounding"] == paid


def test_with_the_protocol_fee_on_each_receipt_the_order_does_not_matter_either(requests: Sequence[tuple[int, int]]) -> None:
    """It rounds up for each, so a batch would pay less of it; the receipts are the same in any order."""
    found = prices(requests, SPACE_PER_TOKEN)
    fees = sum(-(-price // 100) for price in found)
    singly = totals(found, "SPACE", prepaid=False)

    assert totals(shuffled(found, 2), "SPACE", prepaid=False) == singly
    receipts = sum(found) * 10 // 100 + fees
    assert (singly["burn"], singly["kept"]) == (receipts // 5, receipts - receipts // 5)
