"""Rewards against naive models that know fractions and lists, and nothing of remainders or aggregates."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import TypeAdapter

from contracts import Amount, Event, sums
from contracts.providers import ModelId
from contracts.rewards import (
    CAP_UNITS,
    EMISSION,
    Accrue,
    AllotGrant,
    ChainHash,
    CloseEpoch,
    CreateGrant,
    DeclareGenesis,
    Earn,
    FeeSplit,
    FeeTaken,
    GrantId,
    Issue,
    MintEpoch,
    OpenEpoch,
    OpenYear,
    Pay,
    Payee,
    PublishRoot,
    Recipient,
    RecordBurn,
    RecordClaim,
    Reference,
    ReturnGrant,
    RevokeGrant,
    SplitFee,
    TakeFee,
    Words,
    earner_stream,
    epoch_stream,
    fee_stream,
    grant_stream,
    position_stream,
)
from domain import Aggregate, Refused
from domain.rewards import Earner, Emission, Epoch, FeeStream, Grant, Position
from domain.rewards.claims import NATIVE_TOKEN, Claim, ClaimTree, digest_of, proves, require_grown, table
from domain.rewards.epochs import begin_of
from tests.domain.given import did

A = TypeVar("A", bound=Aggregate[Any])

WALLETS = [Payee(f"0x{n:040x}") for n in range(1, 6)]
NOW = begin_of(20_000)
PRICES = st.one_of(st.integers(0, 300), st.integers(0, 10**24))


def assert_rebuilt(aggregate: A, history: Sequence[Event]) -> None:
    """Folded again, and read back from its snapshot, it is the same."""
    again = type(aggregate)(aggregate.stream)
    for event in history:
        again.replay(event)
    form: TypeAdapter[A] = TypeAdapter(type(aggregate))
    assert again == aggregate
    assert form.validate_json(form.dump_json(aggregate)) == aggregate


# Fees


class Fees(RuleBasedStateMachine):
    """One fee stream. The model keeps what was paid in, and takes whole units of fractions of its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.prices: list[int] = []
        self.receipts: list[int] = []
        self.said: list[SplitFee | TakeFee] = []

    @initialize(kind=st.sampled_from(["inference", "storage", "vault"]), asset=st.sampled_from(["SPACE", "USD.s"]))
    def begin(self, kind: Any, asset: str) -> None:
        self.kind, self.asset = kind, asset
        self.stream = fee_stream(kind, WALLETS[0] if kind != "vault" else "dao", asset)
        self.fees = FeeStream(self.stream)

    @precondition(lambda self: self.kind != "vault")
    @rule(price=PRICES, prepaid=st.booleans(), has_owner=st.booleans())
    def split(self, price: int, prepaid: bool, has_owner: bool) -> None:
        fee = 0 if prepaid else (price + 99) // 100
        command = SplitFee(
            kind=self.kind, receipt=Reference(f"r{len(self.said)}"), price=Amount.of(self.asset, price), protocol_fee=fee,
            payee=WALLETS[0], provider=did("alice"), model=ModelId("m") if self.kind == "inference" else None,
            model_owner=WALLETS[1] if has_owner else None, prepaid=prepaid, epoch=1,
        )  # fmt: skip
        before = floor(Fraction(sum(self.prices) * 10, 100))
        self.fees.split(command, NOW)
        self.said.append(command)
        self.prices.append(price)
        self.receipts.append(floor(Fraction(sum(self.prices) * 10, 100)) - before + fee)

    @precondition(lambda self: self.kind == "vault")
    @rule(amount=PRICES)
    def take(self, amount: int) -> None:
        command = TakeFee(
            amount=Amount.of(self.asset, amount), source="vault", reference=Reference(f"v{len(self.said)}"), epoch=1
        )  # fmt: skip
        self.fees.take(command, NOW)
        self.said.append(command)
        self.receipts.append(amount)

    @precondition(lambda self: self.said)
    @rule(chosen=st.data())
    def repeat(self, chosen: Any) -> None:
        command = chosen.draw(st.sampled_from(self.said))
        ask: Any = self.fees.split if isinstance(command, SplitFee) else self.fees.take
        before = len(self.fees.pending)

        ask(command, NOW)

        assert len(self.fees.pending) == before

    @invariant()
    def every_class_has_its_share_of_everything(self) -> None:
        splits = [event for event in self.fees.pending if isinstance(event, FeeSplit)]
        events = [event for event in self.fees.pending if isinstance(event, (FeeSplit, FeeTaken))]
        paid = sum(self.prices)
        weights = (60, 20, 10, 10) if self.kind == "inference" else (80, 0, 10, 10)
        shares = ("provider_share", "model_share", "oracle_share", "treasury_share")

        for weight, share in zip(weights, shares, strict=True):
            assert sum(getattr(event, share) for event in splits) == floor(Fraction(paid * weight, 100))
        burned = floor(Fraction(sum(self.receipts), 5))
        assert sum(event.burn + event.buyback for event in events) == burned
        assert sum(event.kept for event in events) == sum(self.receipts) - burned

    @invariant()
    def every_posting_is_balanced_and_rounding_is_what_nobody_has_got_yet(self) -> None:
        balances: dict[str, int] = {}
        for event in self.fees.pending:
            assert set(sums(event.legs(self.stream)).values()) <= {0}
            for leg in event.legs(self.stream):
                balances[leg.account] = balances.get(leg.account, 0) + leg.units
        held = balances.get("fees:rounding", 0)

        assert 0 <= held <= 3
        assert all(units >= 0 for account, units in balances.items() if account != "fees:clearing")
        splits = [event for event in self.fees.pending if isinstance(event, FeeSplit)]
        assert held == (splits[-1].rounding if splits else 0)

    def teardown(self) -> None:
        if hasattr(self, "fees"):
            assert_rebuilt(self.fees, self.fees.pending)


TestFees = Fees.TestCase
TestFees.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@drawn(prices=st.lists(PRICES, min_size=1, max_size=60), chance=st.randoms(use_true_random=False), size=st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_splitting_a_days_fees_in_any_order_and_batch_gives_each_class_the_same_total(
    prices: list[int], chance: Any, size: int
) -> None:
    """A batch is one receipt of the sum: prepaid, since the protocol fee rounds up for each."""
    shuffled = prices.copy()
    chance.shuffle(shuffled)
    batches = [sum(shuffled[start : start + size]) for start in range(0, len(shuffled), size)]

    assert totals(prices) == totals(shuffled) == totals(batches)


def totals(prices: Sequence[int]) -> tuple[int, ...]:
    """What each class has got of these, and the burn."""
    fees = FeeStream(fee_stream("inference", WALLETS[0], "SPACE"))
    for n, price in enumerate(prices):
        command = SplitFee(
            kind="inference", receipt=Reference(f"r{n}"), price=Amount.of("SPACE", price), protocol_fee=0,
            payee=WALLETS[0], provider=did("alice"), model=ModelId("m"), prepaid=True, epoch=1,
        )  # fmt: skip
        fees.split(command, NOW)
    splits = [event for event in fees.pending if isinstance(event, FeeSplit)]
    fields = ("provider_share", "model_share", "oracle_share", "treasury_share", "burn", "kept")
    return tuple(sum(getattr(event, name) for event in splits) for name in fields)


# Emission

GENESIS = datetime(2027, 1, 1, 12, 34, 56, tzinfo=UTC)
YEAR = 365 * 24 * 3600
SHARES = {"providers": 40, "developers": 20, "treasury": 20, "team": 10, "liquidity": 10}
BILLION = 10**9 * 10**4


class Minting(RuleBasedStateMachine):
    """The model keeps seconds, issues and burns in lists, and computes each amount from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.emission = Emission(EMISSION)
        self.emission.declare_genesis(DeclareGenesis(at=GENESIS))
        self.clock, self.epoch, self.minted_to, self.year, self.base = 0, 0, 0, 0, 0
        self.issues: list[tuple[str, int]] = [("liquidity", BILLION // 10)]
        self.mints: dict[int, int] = {}
        self.burns: list[int] = []
        self.grants: dict[str, tuple[str, int, Grant]] = {}
        self.issued_of: dict[str, int] = {}
        self.returned: set[str] = set()
        self.greatest = 0

    def out(self, bucket: str) -> int:
        return sum(amount for name, amount in self.issues if name == bucket)

    def promised(self, bucket: str) -> int:
        return sum(
            amount - self.issued_of[name] - (grant.returned if name in self.returned else 0)
            for name, (of, amount, grant) in self.grants.items() if of == bucket
        )  # fmt: skip

    def line(self, seconds: int) -> int:
        return floor(Fraction(BILLION * 40, 100) * min(seconds, 3 * YEAR) / (3 * YEAR))

    @property
    def now(self) -> datetime:
        return GENESIS + timedelta(seconds=self.clock)

    @rule(seconds=st.one_of(st.integers(1, 90_000), st.integers(1, YEAR // 2)))
    def wait(self, seconds: int) -> None:
        self.clock += seconds

    @rule()
    def open_year(self) -> None:
        due = self.clock >= self.year * YEAR and (self.year == 0 or self.minted_to >= self.year * YEAR)
        opened = self._asked(lambda: self.emission.open_year(OpenYear(year=self.year + 1), self.now))

        assert opened is due
        if opened:
            self.year, self.base = self.year + 1, sum(a for _, a in self.issues) - sum(self.burns)
            self.mints[self.year] = 0

    @rule(skipped=st.integers(1, 3), back=st.integers(0, 4_000))
    def mint(self, skipped: int, back: int) -> None:
        epoch, until = self.epoch + skipped, max(0, self.clock - back)
        before = sum(amount for _, amount in self.issues)
        command = MintEpoch(epoch=epoch, until=GENESIS + timedelta(seconds=until))
        left = BILLION * 40 // 100 - self.out("providers") - self.promised("providers")
        possible = left > 0 and self.year > 0 and self.minted_to < self.year * YEAR
        possible = possible and (until > self.minted_to or not self.epoch)

        minted = self._asked(lambda: self.emission.mint(command, self.now))

        assert minted is possible
        if minted:
            elapsed = max(0, min(until - (self.year - 1) * YEAR, YEAR))
            due = floor(Fraction(self.base * 2, 100) * elapsed / YEAR) - self.mints[self.year]
            amount = max(0, min(due, left, self.line(until) - self.out("providers")))
            assert self.emission.issued_total == before + amount
            self.mints[self.year] += amount
            self.issues.append(("providers", amount))
            self.epoch, self.minted_to = epoch, until
            self.emission.mint(command, self.now)
            assert self.emission.issued_total == before + amount

    @rule(bucket=st.sampled_from(sorted(SHARES)), percent=st.integers(0, 60))
    def allot(self, bucket: Any, percent: int) -> None:
        name, amount = f"g{len(self.grants)}", BILLION * SHARES[bucket] // 100 * percent // 100
        fits = amount <= BILLION * SHARES[bucket] // 100 - self.out(bucket) - self.promised(bucket)

        assert self._asked(lambda: self.emission.allot(AllotGrant(grant=GrantId(name), bucket=bucket, amount=amount))) is fits
        if fits:
            grant = Grant(grant_stream(name))
            grant.create(
                CreateGrant(
                    bucket=bucket, beneficiary=Recipient("vest"), total=amount, kind="linear", start=GENESIS,
                    duration_seconds=6 * 2_628_000,
                ),
                (bucket, amount),
            )  # fmt: skip
            self.grants[name], self.issued_of[name] = (bucket, amount, grant), 0

    @precondition(lambda self: self.grants)
    @rule(chosen=st.data(), percent=st.integers(1, 110))
    def issue(self, chosen: Any, percent: int) -> None:
        name = chosen.draw(st.sampled_from(sorted(self.grants)))
        bucket, _, grant = self.grants[name]
        self._asked(lambda: grant.release(self.now))
        amount = (grant.released - self.issued_of[name]) * percent // 100
        command = Issue(
            grant=GrantId(name), bucket=bucket, amount=amount, to=Recipient("vest"), reference=Reference(f"i{len(self.issues)}")
        )  # fmt: skip
        fits = amount <= grant.released - self.issued_of[name]
        if bucket == "providers":
            fits = fits and self.out(bucket) + amount <= self.line(self.clock)

        assert self._asked(lambda: self.emission.issue(command, grant, self.now)) is fits
        if fits:
            self.issues.append((bucket, amount))
            self.issued_of[name] += amount

    @precondition(lambda self: self.grants)
    @rule(chosen=st.data())
    def revoke(self, chosen: Any) -> None:
        name = chosen.draw(st.sampled_from(sorted(self.grants)))
        grant = self.grants[name][2]
        self._asked(lambda: grant.revoke(RevokeGrant(reason=Words("voted"))))
        self.emission.give_back(ReturnGrant(grant=GrantId(name), amount=grant.returned), grant)
        self.returned.add(name)

    @rule(percent=st.integers(0, 120))
    def burn(self, percent: int) -> None:
        left = sum(a for _, a in self.issues) - sum(self.burns)
        amount = left * percent // 100
        command = RecordBurn(amount=amount, source="fees", reference=Reference(f"b{len(self.burns)}"))

        burned = self._asked(lambda: self.emission.burn(command))

        assert burned is (amount <= left)
        if burned:
            self.burns.append(amount)

    @invariant()
    def the_counter_never_falls_and_never_passes_the_cap(self) -> None:
        total = self.emission.issued_total
        assert self.greatest <= total <= CAP_UNITS == BILLION
        assert total == sum(self.emission.issued.values()) == sum(amount for _, amount in self.issues)
        assert 0 <= self.emission.burned_total == sum(self.burns) <= total
        self.greatest = total

    @invariant()
    def no_bucket_gives_more_than_its_share_or_its_line(self) -> None:
        for bucket, share in SHARES.items():
            assert self.emission.issued[bucket] == self.out(bucket) <= BILLION * share // 100  # type: ignore[index]
        assert self.out("providers") <= self.line(self.clock)

    @invariant()
    def postings_say_what_the_counter_says(self) -> None:
        legs = [leg for event in self.emission.pending for leg in event.legs(EMISSION)]
        assert -sum(leg.units for leg in legs if leg.account == "issued") == self.emission.issued_total
        assert sum(leg.units for leg in legs if leg.account == "burned") == self.emission.burned_total

    def teardown(self) -> None:
        assert_rebuilt(self.emission, self.emission.pending)

    def _asked(self, ask: Any) -> bool:
        before = len(self.emission.pending)
        try:
            ask()
        except Refused:
            assert len(self.emission.pending) == before
            return False
        return True


TestMinting = Minting.TestCase
TestMinting.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@drawn(cuts=st.lists(st.integers(1, YEAR + 90_000), max_size=30), base=st.integers(10**11, 10**12))
@settings(max_examples=150, deadline=None)
def test_a_full_year_mints_exactly_two_per_cent_however_it_is_cut_into_epochs(cuts: list[int], base: int) -> None:
    """Late and missing epochs included: each mints the difference."""
    emission = Emission(EMISSION)
    emission.declare_genesis(DeclareGenesis(at=GENESIS))
    emission.burn(RecordBurn(amount=10**12 - base, source="fees", reference=Reference("b")))
    emission.open_year(OpenYear(year=1), GENESIS)
    late = GENESIS + timedelta(seconds=2 * YEAR)

    for n, cut in enumerate([*sorted({cut for cut in cuts if cut < YEAR}), YEAR]):
        emission.mint(MintEpoch(epoch=n, until=GENESIS + timedelta(seconds=cut)), late)

    assert emission.minted_in_year == base * 2 // 100


# Epochs and claims


class Paying(RuleBasedStateMachine):
    """Days of stakes, fees and claims. The model keeps exact fractions; the contract is a root and what it has paid."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 20_000
        self.pool = 0
        self.positions = {wallet: Position(position_stream(wallet)) for wallet in WALLETS}
        self.earners = {wallet: Earner(earner_stream(wallet, "SPACE")) for wallet in WALLETS}
        self.exact: dict[Payee, Fraction] = dict.fromkeys(WALLETS, Fraction(0))
        self.owed_before: dict[Payee, int] = dict.fromkeys(WALLETS, 0)
        self.earned: dict[Payee, int] = dict.fromkeys(WALLETS, 0)
        self.last: Epoch | None = None
        self.rows: list[Claim] = []
        self.paid_out: dict[Payee, int] = dict.fromkeys(WALLETS, 0)
        self.logs: list[tuple[Payee, RecordClaim]] = []

    @rule(units=st.integers(0, 10**9))
    def fund(self, units: int) -> None:
        self.pool += units

    @rule(
        stakes=st.lists(st.integers(0, 10**10), min_size=5, max_size=5),
        inferences=st.lists(st.integers(0, 10**5), min_size=5, max_size=5),
        bps=st.lists(st.sampled_from([0, 500]), min_size=5, max_size=5),
        multipliers=st.lists(st.sampled_from([100, 125, 150, 200]), min_size=5, max_size=5),
        fees=st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
        skipped=st.integers(0, 2),
    )
    def pass_a_day(
        self, stakes: list[int], inferences: list[int], bps: list[int], multipliers: list[int], fees: list[int], skipped: int
    ) -> None:
        self.n += 1 + skipped
        epoch = Epoch(epoch_stream(self.n))
        epoch.open(OpenEpoch(start=begin_of(self.n), until=begin_of(self.n + 1)), begin_of(self.n), None)
        owed: dict[Payee, int] = {}
        for wallet, stake, served, bp, multiplier in zip(WALLETS, stakes, inferences, bps, multipliers, strict=True):
            command = Accrue(
                epoch=self.n, stake=stake, base_bp=bp, multiplier=multiplier, seconds=86_400, inferences=served
            )  # fmt: skip
            self.positions[wallet].accrue(command, epoch)
            day = Fraction(stake * bp * 86_400, 10_000 * YEAR) + served * Fraction(1, 1000) * 10_000
            self.exact[wallet] += day * Fraction(multiplier, 100)
            owed[wallet] = floor(self.exact[wallet]) - self.owed_before[wallet]
            self.owed_before[wallet] += owed[wallet]
            assert self.positions[wallet].accrued[self.n].owed == owed[wallet]
        self._pay(epoch, owed)
        self._earn_and_publish(epoch, fees)

    def _pay(self, epoch: Epoch, owed: dict[Payee, int]) -> None:
        total, paid = sum(owed.values()), 0
        close = CloseEpoch(pool=self.pool, owed=total, positions=len(owed))
        epoch.close(close, begin_of(self.n + 1) + timedelta(seconds=600))
        for wallet, units in owed.items():
            self.positions[wallet].pay(Pay(epoch=self.n, pool=self.pool, owed_total=total), epoch)
            amount = self.positions[wallet].paid[self.n].amount
            whole = Fraction(units) if total <= self.pool else Fraction(units * self.pool, total)
            assert amount == floor(whole)
            paid += amount
            self.earners[wallet].earn(Earn(amount=Amount.of("SPACE", amount), source="stake", epoch=self.n), epoch)
            self.earned[wallet] += amount
        assert paid <= self.pool
        assert epoch.closed is not None
        assert epoch.closed.paid_in_full is (total <= self.pool)
        self.pool -= paid

    def _earn_and_publish(self, epoch: Epoch, fees: list[int]) -> None:
        for wallet, units in zip(WALLETS, fees, strict=True):
            self.earners[wallet].earn(Earn(amount=Amount.of("SPACE", units), source="fee", epoch=self.n), epoch)
            self.earned[wallet] += units
            assert self.earners[wallet].cumulative == self.earned[wallet]
        rows = table({(wallet, "SPACE"): earner.cumulative for wallet, earner in self.earners.items()}, {})
        if not rows:
            return
        require_grown(self.rows, rows)
        command = PublishRoot(
            root=ClaimTree.of(rows).root, totals=(Amount.of("SPACE", sum(self.earned.values())),), claims=len(rows),
            table_digest=digest_of(rows),
        )  # fmt: skip
        epoch.publish(command, self.last)
        self.last, self.rows = epoch, rows

    @precondition(lambda self: self.rows)
    @rule(chosen=st.data())
    def claim(self, chosen: Any) -> None:
        """The contract: it knows the root, verifies, and pays what is not paid yet."""
        row = chosen.draw(st.sampled_from(self.rows))
        assert self.last is not None
        assert self.last.published is not None
        assert proves(row, ClaimTree.of(self.rows).proof(row), self.last.published.root)
        amount = row.cumulative - self.paid_out[row.account]
        self.paid_out[row.account] += amount
        log = RecordClaim(
            amount=Amount.of("SPACE", amount), transaction=ChainHash(f"0x{len(self.logs):064x}"), log=0
        )  # fmt: skip
        self.earners[row.account].claim(log)
        self.logs.append((row.account, log))

    @precondition(lambda self: self.logs)
    @rule(chosen=st.data())
    def read_a_log_again(self, chosen: Any) -> None:
        account, log = chosen.draw(st.sampled_from(self.logs))
        before = self.earners[account].claimed

        self.earners[account].claim(log)

        assert self.earners[account].claimed == before

    @precondition(lambda self: self.rows)
    @rule(chosen=st.data(), more=st.integers(1, 10**6))
    def forge(self, chosen: Any, more: int) -> None:
        row = chosen.draw(st.sampled_from(self.rows))
        tree = ClaimTree.of(self.rows)

        assert not proves(Claim(row.account, NATIVE_TOKEN, row.cumulative + more), tree.proof(row), tree.root)

    @invariant()
    def nobody_has_got_more_than_was_published_nor_was_promised_more_than_was_earned(self) -> None:
        published = {row.account: row.cumulative for row in self.rows}
        for wallet, earner in self.earners.items():
            assert earner.claimed == self.paid_out[wallet] <= published.get(wallet, 0) <= earner.cumulative

    def teardown(self) -> None:
        for position in self.positions.values():
            assert_rebuilt(position, position.pending)
        for earner in self.earners.values():
            assert_rebuilt(earner, earner.pending)


TestPaying = Paying.TestCase
TestPaying.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
