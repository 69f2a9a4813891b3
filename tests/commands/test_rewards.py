"""Every command of rewards reaches its stream, and decides by what the other streams of rewards say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.keys import verify
from commands import Asked
from commands.rewards import Rewards
from contracts import Amount, Command, CommandRecord, Did, Event, StreamName, parse_command, uuid7
from contracts.providers import ModelId
from contracts.rewards import (
    EMISSION,
    Accrue,
    AllotGrant,
    ChainHash,
    CloseEpoch,
    ConfirmRoot,
    CreateGrant,
    DeclareGenesis,
    DivideOracleShare,
    Earn,
    FeeSplit,
    GrantId,
    Issue,
    LapseEscrow,
    MintEpoch,
    OpenEpoch,
    OpenYear,
    OracleReports,
    Pay,
    Payee,
    PublishRoot,
    ReachMilestone,
    Recipient,
    RecordBurn,
    RecordClaim,
    Reference,
    RegisterOwner,
    Release,
    ReturnGrant,
    RevokeGrant,
    SplitFee,
    TakeFee,
    Words,
    earner_stream,
    epoch_stream,
    fee_stream,
    grant_stream,
    model_stream,
    position_stream,
)
from domain.rewards import Earner
from domain.rewards.claims import ClaimTree, digest_of, table
from domain.rewards.earners import NotTheOwner
from domain.rewards.emission import EpochOutOfOrder, NotReleased
from domain.rewards.epochs import AlreadyClosed, AlreadyPublished, NotClosed, RootDecreases, begin_of
from domain.rewards.grants import NotAllotted, SamePerson
from tests.commands.test_identity import Paper
from tests.domain.given import did, digest

N = 20_800
GENESIS = begin_of(N)
DAY = timedelta(days=1)
ALICE, BOB = did("alice"), did("bob")
PAYEE, OWNER, ORACLE = (Payee(f"0x{n:040x}") for n in (10, 11, 12))
MODEL, FREE_MODEL = ModelId("llama-3.1-8b"), ModelId("orphan-7b")
VEST = Recipient("spaceos.vest")
FEES = fee_stream("inference", PAYEE, "SPACE")
STAKE = position_stream(PAYEE)
GRANT = grant_stream("audits")


class Desk:
    """The service over streams in memory, and what it has recorded, in order."""

    def __init__(self) -> None:
        self.service = Rewards(Paper(), verify)
        self.now = GENESIS
        self.history: list[tuple[str, Event]] = []

    def ask(self, command: Command, subject: str, by: Did = ALICE, person: Did | None = None) -> list[Any]:
        """The events. Raises Refused."""
        value = CommandRecord.encode(
            command, subject=StreamName(subject), source=by, network="dev", id=uuid7(1, bytes(10)), time=self.now
        )
        record = parse_command(value, subject.encode(), [("signature", b"x")])
        aggregate = self.service.decide(command, Asked(record, self.now, person or by))
        assert aggregate is not None
        events, aggregate.pending = list(aggregate.pending), []
        self.history += [(subject, event) for event in events]
        return events


def fee(n: int = 1, price: int = 1_000_000, model: ModelId = MODEL, owner: Payee | None = OWNER, epoch: int = N) -> SplitFee:
    return SplitFee(
        kind="inference", receipt=Reference(f"r{n}"), price=Amount.of("SPACE", price), protocol_fee=-(-price // 100),
        payee=PAYEE, provider=ALICE, model=model, model_owner=owner, prepaid=False, epoch=epoch,
    )  # fmt: skip


def accrual(epoch: int = N) -> Accrue:
    return Accrue(epoch=epoch, stake=10**7, base_bp=500, multiplier=125, seconds=86_400, inferences=2)


def earn(units: int, source: Any, epoch: int = N, **more: Any) -> Earn:
    return Earn(amount=Amount.of("SPACE", units), source=source, epoch=epoch, **more)


def begun() -> Desk:
    """A network in its first year and day."""
    desk = Desk()
    desk.ask(DeclareGenesis(at=GENESIS), EMISSION)
    desk.ask(OpenYear(year=1), EMISSION)
    desk.ask(OpenEpoch(start=begin_of(N), until=begin_of(N + 1)), epoch_stream(N))
    return desk


def earned() -> Desk:
    """The day is over: fees were split, the pool is funded, what is owed is paid, and what is earned is recorded."""
    desk = begun()
    desk.ask(fee(1), FEES)
    desk.ask(fee(2, model=FREE_MODEL, owner=None), FEES)
    desk.ask(
        TakeFee(amount=Amount.of("USD.s", 10**18), source="bundle", reference=Reference("b1"), epoch=N),
        fee_stream("bundle", "alice", "USD.s"),
    )
    desk.now = GENESIS + DAY + timedelta(minutes=10)
    desk.ask(MintEpoch(epoch=N, until=begin_of(N + 1)), EMISSION)
    [accrued] = desk.ask(accrual(), STAKE)
    desk.ask(CloseEpoch(pool=54_794_520, owed=accrued.owed, positions=1), epoch_stream(N))
    [paid] = desk.ask(Pay(epoch=N, pool=54_794_520, owed_total=accrued.owed), STAKE)
    reports = (OracleReports(oracle=ORACLE, accepted=3),)
    desk.ask(DivideOracleShare(pots=(Amount.of("SPACE", 200_000),), reports=reports), epoch_stream(N))
    desk.ask(earn(1_200_000, "fee"), earner_stream(PAYEE, "SPACE"))
    desk.ask(earn(paid.amount, "stake"), earner_stream(PAYEE, "SPACE"))
    desk.ask(earn(200_000, "model"), earner_stream(OWNER, "SPACE"))
    desk.ask(earn(200_000, "oracle"), earner_stream(ORACLE, "SPACE"))
    return desk


def root_of(desk: Desk) -> PublishRoot:
    earned = {
        payee: desk.service.read(Earner, earner_stream(payee, "SPACE")).cumulative for payee in (PAYEE, OWNER, ORACLE)
    }  # fmt: skip
    rows = table({(payee, "SPACE"): units for payee, units in earned.items()}, {})
    return PublishRoot(
        root=ClaimTree.of(rows).root, totals=(Amount.of("SPACE", sum(earned.values())),), claims=3,
        table_digest=digest_of(rows),
    )  # fmt: skip


def a_whole_day() -> Desk:
    """Everything that rewards can be asked, once."""
    desk = earned()
    desk.ask(root_of(desk), epoch_stream(N))
    desk.ask(ConfirmRoot(transaction=ChainHash("0x" + 64 * "a"), block=7), epoch_stream(N))
    claim = RecordClaim(amount=Amount.of("SPACE", 1_000_000), transaction=ChainHash("0x" + 64 * "b"), log=0)
    desk.ask(claim, earner_stream(PAYEE, "SPACE"))
    desk.ask(RecordBurn(amount=4_400, source="fees", reference=Reference(f"fees:{N}")), EMISSION)
    desk.ask(AllotGrant(grant=GrantId("audits"), bucket="treasury", amount=300), EMISSION)
    terms = CreateGrant(
        bucket="treasury", beneficiary=VEST, total=300, kind="milestone", start=GENESIS, milestones=(100, 200)
    )  # fmt: skip
    desk.ask(terms, GRANT)
    desk.ask(ReachMilestone(number=1, evidence=digest("report")), GRANT, ALICE)
    desk.ask(ReachMilestone(number=1, evidence=digest("report")), GRANT, BOB)
    desk.ask(Release(), GRANT)
    desk.ask(
        Issue(grant=GrantId("audits"), bucket="treasury", amount=100, to=VEST, reference=Reference("audits:100")), EMISSION
    )
    desk.ask(RevokeGrant(reason=Words("done")), GRANT)
    desk.ask(ReturnGrant(grant=GrantId("audits"), amount=200), EMISSION)
    desk.now += 90 * DAY
    desk.ask(LapseEscrow(epoch=N, amount=Amount.of("SPACE", 200_000)), model_stream(FREE_MODEL))
    desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(FREE_MODEL), ALICE)
    desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(FREE_MODEL), BOB)
    return desk


def test_a_whole_day_records_what_was_asked() -> None:
    names = [type(event).__name__ for _, event in a_whole_day().history]

    assert names == [
        "GenesisDeclared", "Issued", "EmissionYearOpened", "EpochOpened", "FeeSplit", "FeeSplit", "FeeTaken", "EpochMinted",
        "Accrued", "EpochClosed", "Paid", "OracleShareDivided", "Earned", "Earned", "Earned", "Earned", "RootPublished",
        "RootConfirmed", "Claimed", "SupplyBurned", "GrantAllotted", "GrantCreated", "MilestoneAttested", "MilestoneReached",
        "Released", "Issued", "GrantRevoked", "GrantReturned", "EscrowLapsed", "OwnerAttested", "OwnerRegistered",
    ]  # fmt: skip


def test_after_a_whole_day_every_account_holds_what_is_still_owed() -> None:
    """And each asset sums to zero. The oracles' 100,000 of either fee, the model's, and what was burned are out."""
    balances: dict[tuple[str, str], int] = {}
    for stream, event in a_whole_day().history:
        for leg in event.legs(stream):
            balances[leg.account, leg.asset] = balances.get((leg.account, leg.asset), 0) + leg.units

    for asset in ("SPACE", "USD.s"):
        assert sum(units for (_, of), units in balances.items() if of == asset) == 0
    still = {account: units for (account, asset), units in balances.items() if asset == "SPACE" and units}
    assert not {account for account in still if account.startswith(("payable:pro", "payable:mo", "payable:or", "escrow:"))}
    assert still["burned"] == 4_400
    assert balances["treasury:burn", "SPACE"] == 44_000 - 4_400
    assert balances["treasury:buyback", "USD.s"] == 2 * 10**17
    assert still["issued"] == -(10**12 + 54_794_520 + 100)


def test_a_fee_without_an_owner_goes_to_who_is_registered() -> None:
    desk = begun()
    for person in (ALICE, BOB):
        desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(FREE_MODEL), person)

    [event] = desk.ask(fee(model=FREE_MODEL, owner=None), FEES)

    assert isinstance(event, FeeSplit)
    assert event.model_owner == OWNER


def test_the_rotated_key_of_the_first_person_is_no_second_person() -> None:
    desk = begun()
    command = RegisterOwner(owner=OWNER, evidence=digest("card"))
    desk.ask(command, model_stream(MODEL), ALICE)

    with pytest.raises(SamePerson):
        desk.ask(command, model_stream(MODEL), did("alice's new key"), person=ALICE)


def test_a_grant_is_created_of_what_the_emission_has_allotted() -> None:
    desk = begun()
    terms = CreateGrant(bucket="treasury", beneficiary=VEST, total=300, kind="immediate", start=GENESIS)

    with pytest.raises(NotAllotted):
        desk.ask(terms, GRANT)
    desk.ask(AllotGrant(grant=GrantId("audits"), bucket="treasury", amount=300), EMISSION)
    desk.ask(terms, GRANT)
    issue = Issue(grant=GrantId("audits"), bucket="treasury", amount=300, to=VEST, reference=Reference("audits:300"))
    with pytest.raises(NotReleased):
        desk.ask(issue, EMISSION)
    desk.ask(Release(), GRANT)

    assert desk.ask(issue, EMISSION)


def test_nothing_is_accrued_after_the_close_or_paid_before_it() -> None:
    desk = begun()
    [accrued] = desk.ask(accrual(), STAKE)

    with pytest.raises(NotClosed):
        desk.ask(Pay(epoch=N, pool=0, owed_total=accrued.owed), STAKE)
    desk.now = GENESIS + DAY + timedelta(minutes=10)
    desk.ask(CloseEpoch(pool=0, owed=accrued.owed, positions=1), epoch_stream(N))
    with pytest.raises(AlreadyClosed):
        desk.ask(accrual(), position_stream(OWNER))


def test_an_epoch_that_was_minted_past_is_not_opened() -> None:
    desk = begun()
    desk.now = GENESIS + 3 * DAY
    desk.ask(MintEpoch(epoch=N + 2, until=begin_of(N + 3)), EMISSION)

    with pytest.raises(EpochOutOfOrder):
        desk.ask(OpenEpoch(start=begin_of(N + 1), until=begin_of(N + 2)), epoch_stream(N + 1))


def test_what_comes_after_the_root_is_earned_in_the_next_epoch() -> None:
    desk = earned()
    desk.ask(root_of(desk), epoch_stream(N))

    with pytest.raises(AlreadyPublished):
        desk.ask(earn(1, "fee"), earner_stream(BOB_WALLET, "SPACE"))


BOB_WALLET = Payee(f"0x{99:040x}")


def test_a_root_is_held_against_the_last_one_though_days_were_skipped() -> None:
    desk = earned()
    last = root_of(desk)
    desk.ask(last, epoch_stream(N))
    desk.now = GENESIS + 6 * DAY
    desk.ask(OpenEpoch(start=begin_of(N + 4), until=begin_of(N + 5)), epoch_stream(N + 4))
    desk.ask(CloseEpoch(pool=0, owed=0, positions=0), epoch_stream(N + 4))
    smaller = last.model_copy(update={"totals": (Amount.of("SPACE", last.totals[0].units - 1),)})

    with pytest.raises(RootDecreases):
        desk.ask(smaller, epoch_stream(N + 4))
    assert desk.ask(last, epoch_stream(N + 4))


def test_an_escrow_is_paid_to_the_owner_that_the_model_names() -> None:
    desk = earned()
    command = earn(200_000, "model", escrow_of=FREE_MODEL, escrow_epoch=N)

    with pytest.raises(NotTheOwner):
        desk.ask(command, earner_stream(OWNER, "SPACE"))
    for person in (ALICE, BOB):
        desk.ask(RegisterOwner(owner=OWNER, evidence=digest("card")), model_stream(FREE_MODEL), person)
    [event] = desk.ask(command, earner_stream(OWNER, "SPACE"))

    assert event.cumulative == 400_000


def test_every_command_twice_records_once() -> None:
    """But for what takes two persons, and a release, which finds nothing more."""
    desk = begun()
    for command, stream in [
        (DeclareGenesis(at=GENESIS), EMISSION), (OpenYear(year=1), EMISSION), (fee(), FEES), (accrual(), STAKE),
        (AllotGrant(grant=GrantId("audits"), bucket="treasury", amount=300), EMISSION),
        (RecordBurn(amount=1, source="slash", reference=Reference("s1")), EMISSION),
    ]:  # fmt: skip
        desk.ask(command, stream)
        assert desk.ask(command, stream) == []


NOW = datetime(2026, 12, 13, tzinfo=UTC)


def test_epochs_are_days_since_1970() -> None:
    assert begin_of(N) == NOW
