"""Epochs, positions, earners and models: nothing is paid twice, beyond the pool, or to whom it is not owed."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts import Amount, sums
from contracts.providers import ModelId
from contracts.rewards import (
    EPOCH_SECONDS,
    YEAR_SECONDS,
    Accrue,
    ChainHash,
    CloseEpoch,
    ConfirmRoot,
    DivideOracleShare,
    Earn,
    Earned,
    EpochClosed,
    EpochOpened,
    EscrowLapsed,
    LapseEscrow,
    OpenEpoch,
    OracleReports,
    OwnerAttested,
    OwnerRegistered,
    Pay,
    Payee,
    PublishRoot,
    RecordClaim,
    RegisterOwner,
    RootConfirmed,
    RootPublished,
    earner_stream,
    epoch_stream,
    model_stream,
    position_stream,
)
from domain.rewards import Earner, Epoch, Model, Position
from domain.rewards.earners import AlreadyClaimed, AlreadyEarned, ExceedsEarned, NotTheOwner, NotThisEarner
from domain.rewards.emission import EpochOutOfOrder
from domain.rewards.epochs import (
    AlreadyClosed,
    AlreadyConfirmed,
    AlreadyDivided,
    AlreadyPublished,
    NotClosed,
    NotOpen,
    NotPublished,
    RootDecreases,
    StillOpen,
    begin_of,
)
from domain.rewards.grants import SamePerson
from domain.rewards.models import AlreadyLapsed, NotDue, escrow_ends
from domain.rewards.positions import AlreadyAccrued, AlreadyPaid, NotAccrued, OfAnotherEpoch, terms
from tests.domain.given import did, digest, given, refused, then

N = 20_800
ONE = 10_000
END = begin_of(N + 1)
ALICE, BOB = did("alice"), did("bob")
PAYEE, ORACLE, OTHER = Payee("0x" + 40 * "a"), Payee("0x" + 40 * "c"), Payee("0x" + 40 * "d")
MODEL = ModelId("llama-3.1-8b")
ROOT = ChainHash("0x" + 64 * "1")


def opened(n: int = N) -> Epoch:
    return given(Epoch, epoch_stream(n), EpochOpened(start=begin_of(n), until=begin_of(n + 1)))


def closed(n: int = N, pool: int = 0, owed: int = 0) -> Epoch:
    epoch = opened(n)
    epoch.replay(EpochClosed(pool=pool, owed=owed, positions=1, paid_in_full=owed <= pool))
    return epoch


def published(n: int = N, total: int = 100, claims: int = 1) -> Epoch:
    epoch = closed(n)
    epoch.replay(RootPublished(**dict(a_root(total, claims))))
    return epoch


def a_root(total: int = 100, claims: int = 1, root: ChainHash = ROOT) -> PublishRoot:
    return PublishRoot(root=root, totals=(Amount.of("SPACE", total),), claims=claims, table_digest=digest("table"))


def accrual(**changes: Any) -> Accrue:
    fields: dict[str, Any] = {
        "epoch": N, "stake": 1_000 * ONE, "base_bp": 500, "multiplier": 125, "seconds": EPOCH_SECONDS, "inferences": 0,
    }  # fmt: skip
    return Accrue(**{**fields, **changes})


def year_of(**changes: Any) -> int:
    """What 365 days of it are owed."""
    position = Position(position_stream(PAYEE))
    for n in range(N, N + 365):
        inferences = changes.get("inferences", 0) if n == N else 0
        position.accrue(accrual(**{**changes, "epoch": n, "inferences": inferences}), opened(n))
    return sum(event.owed for event in position.pending if hasattr(event, "owed"))


# Epochs


def test_a_day_is_opened_when_it_has_begun_and_after_what_was_minted() -> None:
    epoch = Epoch(epoch_stream(N))
    command = OpenEpoch(start=begin_of(N), until=begin_of(N + 1))

    refused(epoch, lambda: epoch.open(command, begin_of(N) - timedelta(seconds=1), None), EpochOutOfOrder)
    refused(epoch, lambda: epoch.open(command, END, N), EpochOutOfOrder)
    longer = OpenEpoch(start=begin_of(N), until=begin_of(N + 2))
    refused(epoch, lambda: epoch.open(longer, END, None), EpochOutOfOrder)
    then(epoch, lambda: epoch.open(command, begin_of(N), N - 3), EpochOpened(**dict(command)))


def test_a_day_is_closed_ten_minutes_after_its_end() -> None:
    epoch, command = opened(), CloseEpoch(pool=10, owed=11, positions=2)

    refused(Epoch(epoch_stream(N)), lambda: Epoch(epoch_stream(N)).close(command, END + timedelta(days=1)), NotOpen)
    refused(epoch, lambda: epoch.close(command, END + timedelta(seconds=599)), StillOpen)
    then(
        epoch, lambda: epoch.close(command, END + timedelta(seconds=600)),
        EpochClosed(pool=10, owed=11, positions=2, paid_in_full=False),
    )  # fmt: skip
    refused(epoch, lambda: epoch.close(CloseEpoch(pool=11, owed=11, positions=2), END), AlreadyClosed)


def test_oracles_are_paid_by_their_accepted_reports_and_the_rest_is_carried() -> None:
    epoch = closed()
    reports = (OracleReports(oracle=ORACLE, accepted=2), OracleReports(oracle=OTHER, accepted=1))
    command = DivideOracleShare(pots=(Amount.of("SPACE", 100), Amount.of("USD.s", 1)), reports=reports)

    epoch.divide(command)
    epoch.divide(command)

    [event] = epoch.pending
    assert epoch.divided == event
    assert [(share.oracle, share.amount) for share in epoch.divided.shares] == [
        (ORACLE, Amount.of("SPACE", 66)), (OTHER, Amount.of("SPACE", 33)),
    ]  # fmt: skip
    assert epoch.divided.carried == (Amount.of("SPACE", 1), Amount.of("USD.s", 1))
    refused(epoch, lambda: epoch.divide(DivideOracleShare(pots=(), reports=reports)), AlreadyDivided)


@pytest.mark.parametrize("reports", [(), (OracleReports(oracle=ORACLE, accepted=0),)])
def test_an_epoch_without_reports_carries_the_oracles_share(reports: Any) -> None:
    epoch = closed()

    epoch.divide(DivideOracleShare(pots=(Amount.of("SPACE", 100),), reports=reports))

    assert epoch.divided is not None
    assert (epoch.divided.shares, epoch.divided.carried) == ((), (Amount.of("SPACE", 100),))


def test_what_is_not_closed_is_neither_divided_nor_published() -> None:
    epoch = opened()

    refused(epoch, lambda: epoch.divide(DivideOracleShare(pots=(), reports=())), NotClosed)
    refused(epoch, lambda: epoch.publish(a_root(), None), NotClosed)
    refused(epoch, lambda: epoch.confirm(ConfirmRoot(transaction=ROOT, block=1)), NotPublished)


def test_a_root_is_published_once_and_confirmed_once() -> None:
    epoch = closed()

    then(epoch, lambda: epoch.publish(a_root(), None), RootPublished(**dict(a_root())))
    refused(epoch, lambda: epoch.publish(a_root(101), None), AlreadyPublished)
    epoch.pending = []
    then(epoch, lambda: epoch.confirm(ConfirmRoot(transaction=ROOT, block=1)), RootConfirmed(transaction=ROOT, block=1))
    refused(epoch, lambda: epoch.confirm(ConfirmRoot(transaction=ROOT, block=2)), AlreadyConfirmed)


def test_a_root_whose_totals_or_rows_fall_is_refused() -> None:
    epoch = closed(N + 1)

    refused(epoch, lambda: epoch.publish(a_root(99), published()), RootDecreases)
    refused(epoch, lambda: epoch.publish(a_root(100, 1), published(claims=2)), RootDecreases)
    other = PublishRoot(root=ROOT, totals=(Amount.of("USD.s", 100),), claims=1, table_digest=digest("t"))
    refused(epoch, lambda: epoch.publish(other, published()), RootDecreases)
    epoch.publish(a_root(100), published())


# Positions


def test_a_year_of_basic_pro_and_enterprise_is_owed_what_the_white_paper_says() -> None:
    assert year_of() == 625_000
    assert year_of(stake=10_000 * ONE, multiplier=150, inferences=1_000_000) == 2_250 * ONE
    assert year_of(stake=100_000 * ONE, multiplier=200) == 10_000 * ONE


def test_a_stake_of_zero_with_inferences_earns_the_usage_part_and_divides_by_nothing() -> None:
    position = Position(position_stream(PAYEE))

    position.accrue(accrual(stake=0, multiplier=100, inferences=7), opened())

    assert [event.owed for event in position.pending if hasattr(event, "owed")] == [70]


def test_terms_follow_the_tier_and_the_uptime() -> None:
    """99 % is the reward's threshold, 95 % the slash's; exactly 5 % missed is no breach."""
    assert terms("pro", 1000, 10) == (500, 150)
    assert terms("pro", 1000, 11) == (500, 100)
    assert terms("pro", 1000, 50) == (500, 100)
    assert terms("pro", 1000, 51) == (0, 100)
    assert terms("enterprise", 0, 0) == (500, 200)
    assert terms("free", 288, 0) == (0, 100)


def test_a_tier_crossed_inside_an_epoch_pays_the_tier_held_at_its_start() -> None:
    """What is accrued for a day is fixed by its stake at the start; a second accrual with the new tier is refused."""
    position, epoch = Position(position_stream(PAYEE)), opened()
    base, multiplier = terms("basic", 288, 0)
    position.accrue(accrual(base_bp=base, multiplier=multiplier), epoch)

    crossed = accrual(stake=10_000 * ONE, multiplier=terms("pro", 288, 0)[1])
    refused(position, lambda: position.accrue(crossed, epoch), AlreadyAccrued)

    assert [event.owed for event in position.pending if hasattr(event, "owed")] == [625_000 // 365]


def test_a_leap_day_pays_one_day_of_a_31_536_000_second_year() -> None:
    """366 days owe 366 days of the rate, not a year of 366."""
    assert EPOCH_SECONDS * 365 == YEAR_SECONDS
    position = Position(position_stream(PAYEE))
    for n in range(N, N + 366):
        position.accrue(accrual(epoch=n), opened(n))

    assert sum(event.owed for event in position.pending if hasattr(event, "owed")) == 625_000 * 366 // 365


def test_what_is_accrued_after_the_close_is_refused() -> None:
    """It is not in what the epoch owes."""
    position = Position(position_stream(PAYEE))

    refused(position, lambda: position.accrue(accrual(), closed()), AlreadyClosed)
    refused(position, lambda: position.accrue(accrual(), Epoch(epoch_stream(N))), NotOpen)
    refused(position, lambda: position.accrue(accrual(), opened(N + 1)), OfAnotherEpoch)


def _owing(units: int) -> Position:
    """A position that is owed so many units by usage; a multiple of ten."""
    position = Position(position_stream(PAYEE))
    position.accrue(accrual(stake=0, multiplier=100, inferences=units // 10), opened())
    position.pending = []
    return position


def test_a_pool_one_unit_short_pays_everybody_pro_rata_and_never_one_unit_too_many() -> None:
    epoch, pay = closed(pool=1_999, owed=2_000), Pay(epoch=N, pool=1_999, owed_total=2_000)
    positions = [_owing(1_000), _owing(1_000)]

    for position in positions:
        position.pay(pay, epoch)

    amounts = [(position.paid[N].amount, position.paid[N].lapsed) for position in positions]
    assert amounts == [(999, 1), (999, 1)], "one unit stays in the pool"


def test_a_pool_that_suffices_pays_what_is_owed_once() -> None:
    position, epoch = _owing(1_000), closed(pool=5_000, owed=1_000)
    pay = Pay(epoch=N, pool=5_000, owed_total=1_000)

    position.pay(pay, epoch)
    position.pay(pay, epoch)

    [event] = position.pending
    assert {leg.account: leg.units for leg in event.legs(position.stream)} == {
        "pool:rewards": -1_000, f"payable:payee:{PAYEE}": 1_000,
    }  # fmt: skip
    refused(position, lambda: position.pay(Pay(epoch=N, pool=5_000, owed_total=999), epoch), AlreadyPaid)


def test_an_oracles_stake_is_paid_to_its_wallet() -> None:
    position = given(Position, position_stream(f"oracle.{PAYEE}"), *_accrued())

    position.pay(Pay(epoch=N, pool=10, owed_total=10), closed(pool=10, owed=10))

    assert f"payable:payee:{PAYEE}" in {leg.account for leg in position.pending[0].legs(position.stream)}


def _accrued() -> list[Any]:
    position = Position(position_stream(PAYEE))
    position.accrue(accrual(stake=0, multiplier=100, inferences=1), opened())
    return list(position.pending)


def test_what_was_not_accrued_or_not_closed_with_these_numbers_is_not_paid() -> None:
    position, pay = _owing(1_000), Pay(epoch=N, pool=10, owed_total=1_000)

    refused(position, lambda: position.pay(pay, opened()), NotClosed)
    refused(position, lambda: position.pay(pay, closed(pool=11, owed=1_000)), NotClosed)
    refused(position, lambda: position.pay(Pay(epoch=N + 1, pool=10, owed_total=10), closed(N + 1)), NotAccrued)
    refused(position, lambda: position.pay(pay, closed(N + 1, 10, 1_000)), OfAnotherEpoch)


# Earners


def earning(units: int = 100, **changes: Any) -> Earn:
    fields: dict[str, Any] = {"amount": Amount.of("SPACE", units), "source": "fee", "epoch": N}
    return Earn(**{**fields, **changes})


def claim(units: int = 60, log: int = 0) -> RecordClaim:
    return RecordClaim(amount=Amount.of("SPACE", units), transaction=ROOT, log=log)


EARNER = earner_stream(PAYEE, "SPACE")


def test_an_epochs_earnings_of_a_kind_are_recorded_once() -> None:
    earner, command = Earner(EARNER), earning()

    then(earner, lambda: earner.earn(command, closed()), Earned(**dict(command), cumulative=100))
    refused(earner, lambda: earner.earn(earning(101), closed()), AlreadyEarned)
    earner.earn(earning(source="oracle"), closed())

    assert earner.cumulative == 200


def test_what_comes_after_the_root_belongs_to_the_next_epoch() -> None:
    """The table of a root would otherwise not be what was published."""
    earner = Earner(EARNER)

    refused(earner, lambda: earner.earn(earning(), published()), AlreadyPublished)
    refused(earner, lambda: earner.earn(earning(), opened()), NotClosed)
    refused(earner, lambda: earner.earn(earning(amount=Amount.of("USD.s", 1)), closed()), NotThisEarner)


@pytest.mark.parametrize(
    ("source", "account"), [("fee", "payable:provider"), ("model", "payable:model"), ("oracle", "payable:oracles")]
)
def test_earnings_leave_the_class_in_which_they_waited(source: Any, account: str) -> None:
    event = Earned(**dict(earning(source=source)), cumulative=100)

    assert {leg.account: leg.units for leg in event.legs(EARNER)} == {account: -100, f"payable:payee:{PAYEE}": 100}


def test_what_a_stake_earned_has_left_the_pool_already() -> None:
    assert list(Earned(**dict(earning(source="stake")), cumulative=100).legs(EARNER)) == []


def test_a_claim_replayed_from_the_log_changes_nothing() -> None:
    earner = Earner(EARNER)
    earner.earn(earning(100), closed())

    for _ in range(3):
        earner.claim(claim(60))

    assert (earner.claimed, len(earner.pending)) == (60, 2)
    refused(earner, lambda: earner.claim(claim(61)), AlreadyClaimed)
    refused(earner, lambda: earner.claim(claim(41, log=1)), ExceedsEarned)
    earner.claim(claim(40, log=1))
    assert sums(earner.pending[-1].legs(EARNER)) == {"SPACE": 0}


# Models


def registered(at: datetime, owner: Payee = PAYEE) -> Model:
    return given(Model, model_stream(MODEL), OwnerRegistered(owner=owner, evidence=digest("e"), registered_at=at))


def lapse(units: int = 20) -> LapseEscrow:
    return LapseEscrow(epoch=N, amount=Amount.of("SPACE", units))


def escrowed() -> Earn:
    return earning(20, source="model", epoch=N + 90, escrow_of=MODEL, escrow_epoch=N)


def test_an_owner_is_registered_by_two_persons() -> None:
    model = Model(model_stream(MODEL))
    command = RegisterOwner(owner=PAYEE, evidence=digest("card"))

    model.register(command, ALICE, END)
    refused(model, lambda: model.register(command, ALICE, END), SamePerson)
    model.register(command, BOB, END)
    model.register(command, BOB, END)

    assert model.pending == [
        OwnerAttested(**dict(command), person=ALICE), OwnerRegistered(**dict(command), registered_at=END),
    ]  # fmt: skip


def test_two_persons_who_name_different_owners_register_none() -> None:
    model = Model(model_stream(MODEL))

    model.register(RegisterOwner(owner=PAYEE, evidence=digest("card")), ALICE, END)
    model.register(RegisterOwner(owner=OTHER, evidence=digest("card")), BOB, END)

    assert model.owner is None


def test_a_model_owner_registered_on_day_89_receives_the_escrow_and_on_day_91_does_not() -> None:
    in_time, late = registered(END + timedelta(days=89)), registered(END + timedelta(days=91))
    earner, now = Earner(EARNER), END + timedelta(days=92)

    refused(in_time, lambda: in_time.lapse(lapse(), now), NotDue)
    earner.earn(escrowed(), closed(N + 90), in_time)
    assert {leg.account: leg.units for leg in earner.pending[0].legs(EARNER)} == {
        "escrow:model:llama-3.1-8b": -20, f"payable:payee:{PAYEE}": 20,
    }  # fmt: skip

    too_late = Earner(EARNER)
    refused(too_late, lambda: too_late.earn(escrowed(), closed(N + 90), late), NotTheOwner)
    then(late, lambda: late.lapse(lapse(), now), EscrowLapsed(**dict(lapse())))
    refused(late, lambda: late.lapse(lapse(21), now), AlreadyLapsed)


def test_an_escrow_lapses_90_days_after_its_epoch_and_no_second_earlier() -> None:
    model = Model(model_stream(MODEL))

    refused(model, lambda: model.lapse(lapse(), END + timedelta(days=90, seconds=-1)), NotDue)
    model.lapse(lapse(), END + timedelta(days=90))

    assert escrow_ends(N) == END + timedelta(days=90)
    assert sums(model.pending[0].legs(model.stream)) == {"SPACE": 0}


def test_the_escrow_is_its_owners_alone() -> None:
    earner = Earner(EARNER)

    for model in (registered(END, OTHER), Model(model_stream(MODEL)), None):
        refused(earner, lambda model=model: earner.earn(escrowed(), closed(N + 90), model), NotTheOwner)  # type: ignore[misc]
