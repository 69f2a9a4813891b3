"""A night for 10,000 providers: fees a second against a bare loop that only divides, and an epoch from accruals to its root."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from adapters.garbage import collect_rarely
from contracts import Amount, Did
from contracts.providers import ModelId
from contracts.rewards import (
    EPOCH_SECONDS,
    Accrue,
    CloseEpoch,
    Earn,
    OpenEpoch,
    Pay,
    Payee,
    Reference,
    SplitFee,
    earner_stream,
    epoch_stream,
    fee_stream,
    position_stream,
)
from domain.rewards import Earner, Epoch, FeeStream, Position
from domain.rewards.claims import ClaimTree, digest_of, table
from domain.rewards.epochs import begin_of
from ops.bench import Measure, compare, judged, rate

PROVIDERS = 10_000
SPLITS = 10_000
PAYEES = 100
"""Over which the splits are spread."""
ROUNDS = 5
EPOCH = 20_800
NOW = begin_of(EPOCH)
POOL = 54_794_520
EPOCH_SECONDS_GOAL = 60
DEVICE = Did("did:key:z6Mk" + 44 * "1")


def measures() -> Iterator[Measure]:
    """Deciding only: what a store and a topic cost, `deciding_commands` measures."""
    collect_rarely()
    fees = list(_fees())
    yield compare(
        "fees divided a second by aggregates / by a bare loop with five remainders",
        lambda: rate(SPLITS, lambda: _divide(fees)), lambda: rate(SPLITS, lambda: _bare(fees)), unit="/s",
        goal="≥ 10,000/s", is_met=lambda _, ours: ours >= 10_000, rounds=ROUNDS,
    )  # fmt: skip
    nights = [_night() for _ in range(ROUNDS)]
    loops = [_timed(_bare_night) for _ in range(ROUNDS)]
    yield judged(
        "an epoch of 10,000 providers: accrue, close, pay, earn / a bare loop over integers",
        [night.deciding for night in nights], loops, unit="s", goal=f"≤ {EPOCH_SECONDS_GOAL} s",
        is_met=lambda _, ours: ours <= EPOCH_SECONDS_GOAL,
    )  # fmt: skip
    yield judged(
        "the root and digest of 10,000 claims / as many bare keccaks",
        [night.publishing for night in nights], [_timed(_bare_root) for _ in range(ROUNDS)], unit="s", goal="≤ 5 s",
        is_met=lambda _, ours: ours <= 5,
    )  # fmt: skip


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# Fees


def _fees() -> Iterator[tuple[str, SplitFee]]:
    for n in range(SPLITS):
        payee, price = _wallet(n % PAYEES), 1_000_003 + 97 * n
        command = SplitFee(
            kind="inference", receipt=Reference(f"r{n}"), price=Amount.of("SPACE", price), protocol_fee=-(-price // 100),
            payee=payee, provider=DEVICE, model=ModelId("llama-3.1-8b"), model_owner=payee, prepaid=False, epoch=EPOCH,
        )  # fmt: skip
        yield fee_stream("inference", payee, "SPACE"), command


def _divide(fees: Sequence[tuple[str, SplitFee]]) -> None:
    streams: dict[str, FeeStream] = {}
    for name, command in fees:
        if name not in streams:
            streams[name] = FeeStream(name)
        streams[name].split(command, NOW)


def _bare(fees: Sequence[tuple[str, SplitFee]]) -> None:
    left: dict[str, list[int]] = {}
    for name, command in fees:
        carried, price = left.setdefault(name, [0] * 5), command.price.units
        treasury = 0
        for place, weight in enumerate((60, 20, 10, 10)):
            treasury, carried[place] = divmod(carried[place] + price * weight, 100)
        _, carried[4] = divmod(carried[4] + (treasury + command.protocol_fee) * 20, 100)


# The night


@dataclass(frozen=True)
class _Taken:
    """Seconds."""

    deciding: float
    publishing: float


def _night() -> _Taken:
    began = time.perf_counter()
    earners = _paid()
    decided = time.perf_counter()
    rows = table({(Payee(earner.payee), "SPACE"): earner.cumulative for earner in earners}, {})
    ClaimTree.of(rows)
    digest_of(rows)
    return _Taken(decided - began, time.perf_counter() - decided)


def _paid() -> list[Earner]:
    epoch = Epoch(epoch_stream(EPOCH))
    epoch.open(OpenEpoch(start=begin_of(EPOCH), until=begin_of(EPOCH + 1)), begin_of(EPOCH), None)
    positions = [Position(position_stream(_wallet(n))) for n in range(PROVIDERS)]
    for n, position in enumerate(positions):
        position.accrue(
            Accrue(epoch=EPOCH, stake=_stake(n), base_bp=500, multiplier=150, seconds=EPOCH_SECONDS, inferences=n % 100), epoch
        )
    owed = sum(position.accrued[EPOCH].owed for position in positions)
    epoch.close(CloseEpoch(pool=POOL, owed=owed, positions=PROVIDERS), begin_of(EPOCH + 1) + timedelta(minutes=10))
    return [_earner(position, owed, epoch) for position in positions]


def _earner(position: Position, owed: int, epoch: Epoch) -> Earner:
    position.pay(Pay(epoch=EPOCH, pool=POOL, owed_total=owed), epoch)
    earner = Earner(earner_stream(position.id, "SPACE"))
    paid = position.paid[EPOCH].amount
    earner.earn(Earn(amount=Amount.of("SPACE", paid), source="stake", epoch=EPOCH), epoch)
    earner.earn(Earn(amount=Amount.of("SPACE", 1_000_000), source="fee", epoch=EPOCH), epoch)
    return earner


def _bare_night() -> list[int]:
    scale = 10_000 * 31_536_000 * 100
    owed = [150 * (_stake(n) * 500 * EPOCH_SECONDS + n % 100 * 10 * 10_000 * 31_536_000) // scale for n in range(PROVIDERS)]
    total = sum(owed)
    return [(units if total <= POOL else units * POOL // total) + 1_000_000 for units in owed]


def _bare_root() -> None:
    from eth_hash.auto import keccak

    word = bytes(96)
    for _ in range(3 * PROVIDERS):
        word = keccak(word) * 2


def _stake(n: int) -> int:
    return 10_000_000 + 9_973 * n


def _wallet(n: int) -> Payee:
    return Payee(f"0x{n + 1:040x}")
