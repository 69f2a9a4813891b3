"""Treasury's service: what one stream's decision needs to know of the others, and the books that follow from it all."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.keys import verify
from commands import Asked, AuthorityTable, Grant
from commands.treasury import Treasury
from contracts import Address, Amount, CommandRecord, Digest, Event, Label, parse_command, sums, uuid7
from contracts.treasury import (
    OUTFLOW,
    AccountId,
    Adjust,
    ApproveAdjustment,
    AssignDeposit,
    AttestReserves,
    BankReference,
    Burn,
    CancelWithdrawal,
    Capture,
    CloseDispute,
    ConfigureMinter,
    ConfirmMint,
    ConfirmPayout,
    Credit,
    DisputeDeposit,
    EscrowWithdrawal,
    FailMint,
    Freeze,
    FundWithdrawal,
    Hold,
    HoldId,
    LapseReview,
    LedgerAccount,
    MarkIssued,
    Mint,
    ObserveDeposit,
    OpenAccount,
    PauseMinting,
    Purpose,
    Rail,
    ReceiveBacking,
    Reference,
    RefundDeposit,
    ReissueWithdrawal,
    ReleaseOutflow,
    RequestWithdrawal,
    ReserveOutflow,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    RouteWithdrawal,
    SettleDeposit,
    SubmitPayout,
    Transaction,
    WithdrawalId,
    WriteDownBacking,
    account_stream,
    deposit_stream,
    stablecoin_stream,
    withdrawal_stream,
)
from domain.treasury import (
    AccountFrozen,
    AlreadyIssued,
    NotApproved,
    NotClosed,
    NotIssuable,
    NotObserved,
    NotReserved,
    NotReturned,
    NotUnderReview,
    ReferenceUsed,
    RequesterCannotReview,
    SamePerson,
)
from tests.commands.test_identity import FOUNDING, Paper
from tests.domain.given import did, digest
from tests.domain.test_treasury_accounts import adjust
from tests.domain.test_treasury_withdrawals import SEALED

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
COIN = stablecoin_stream("USD.s")
WALLET = Address("0x" + "1" * 40)
MINTER, ALICE, BOB, CAROL = did("minter"), did("alice"), did("bob"), did("carol")
CENT = 10**16


def usd(cents: int) -> Amount:
    return Amount.of("USD.bank", cents)


def coins(cents: int) -> Amount:
    return Amount.of("USD.s", cents * CENT)


def tx(name: str) -> Transaction:
    return Transaction("0x" + digest(name))


class Desk:
    """The service over streams in memory, with the books that the posting rules make."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.service = Treasury(self.paper, verify)
        self.table = AuthorityTable(FOUNDING)
        self.table.apply(Grant(ALICE, "treasury.holder", "treasury/", START + timedelta(days=300)), "genesis", 0)
        self.now = START
        self.books: Counter[tuple[str, str]] = Counter()
        self.history: list[tuple[str, Event]] = []

    def ask(self, command: Any, subject: str, by: str = MINTER, person: str | None = None) -> list[Event]:
        """The events. Raises Refused."""
        value = CommandRecord.encode(command, subject=subject, source=by, network="dev", id=uuid7(1, bytes(10)), time=self.now)
        record = parse_command(value, subject.encode(), [("signature", b"x")])
        read = type(command).read(record.data)
        assert read == command, "it says the same after the wire"
        aggregate = self.service.decide(read, Asked(record, self.now, person or by, self.table))
        assert aggregate is not None
        events, aggregate.pending = aggregate.pending, []
        for event in events:
            legs = list(event.legs(subject))
            assert not any(sums(legs).values()), "each event's own legs sum to zero"
            self.history.append((subject, event))
            for leg in legs:
                self.books[leg.account, leg.asset] += leg.units
        return events

    def balance(self, account: str, asset: str = "USD.bank") -> int:
        return self.books[account, asset]

    # What a test begins with

    def attest(self, bank: int, owed: int = 0) -> None:
        fields = {"bank": usd(bank), "owed": usd(owed), "as_of": self.now, "statement": Digest(digest(str(self.now)))}
        self.ask(AttestReserves(**fields), COIN)

    def configure(self) -> None:
        self.ask(ConfigureMinter(minter=MINTER, allowance=coins(10**12)), COIN)

    def deposit(self, name: str, cents: int, *, owner: str | None = "alice", settled: bool = True) -> str:
        fields: dict[str, Any] = {
            "rail": Rail("stripe"), "reference": BankReference(name), "amount": usd(cents), "booked_at": self.now,
            "value_date": self.now, "source": digest(name),
        }  # fmt: skip
        owned = {} if owner is None else {"owner": AccountId(owner), "to": WALLET}
        self.ask(ObserveDeposit(**fields, **owned), deposit_stream("stripe", name))
        if settled:
            settle = SettleDeposit(net=usd(cents), fee=usd(0), available_on=self.now)
            self.ask(settle, deposit_stream("stripe", name))
        return f"stripe.{name}"

    def back(self, reference: str, cents: int, origin: Any = "deposit") -> list[Event]:
        return self.ask(ReceiveBacking(amount=usd(cents), reference=Reference(reference), origin=origin), COIN)

    def mint(self, reference: str, cents: int) -> list[Event]:
        return self.ask(Mint(amount=coins(cents), reference=Reference(reference), to=WALLET), COIN)

    def confirm_mint(self, reference: str) -> list[Event]:
        return self.ask(ConfirmMint(reference=Reference(reference), transaction=tx(reference), block=7), COIN)

    def issue(self, name: str, cents: int) -> None:
        """A deposit all the way to its coins."""
        reference = self.deposit(name, cents)
        self.back(reference, cents)
        self.mint(reference, cents)
        self.confirm_mint(reference)
        self.ask(MarkIssued(reference=Reference(reference)), f"treasury/deposit/{reference}")

    def escrowed(self, name: str, cents: int) -> str:
        stream = withdrawal_stream(name)
        request = RequestWithdrawal(amount=coins(cents), destination=SEALED, destination_digest=digest("iban"))
        self.ask(request, stream, by=ALICE)
        escrow = EscrowWithdrawal(amount=coins(cents), wallet=WALLET, transaction=tx("e" + name), block=8)
        self.ask(escrow, stream)
        return stream

    def reserve(self, name: str, cents: int, *, reviewed: bool = False) -> list[Event]:
        command = ReserveOutflow(withdrawal=WithdrawalId(name), usd_cents=cents, reviewed=reviewed)
        return self.ask(command, OUTFLOW)

    def burn(self, name: str, cents: int) -> None:
        command = Burn(amount=coins(cents), withdrawal=WithdrawalId(name), transaction=tx(name), block=9)
        self.ask(command, COIN)

    def paid(self, name: str, cents: int) -> str:
        """A withdrawal all the way to its payout."""
        stream = self.escrowed(name, cents)
        self.reserve(name, cents)
        self.ask(RouteWithdrawal(usd_cents=cents), stream)
        self.burn(name, cents)
        self.ask(FundWithdrawal(transaction=tx(name), payout=usd(cents)), stream)
        self.ask(SubmitPayout(rail=Rail("wise"), attempt=1), stream)
        self.ask(ConfirmPayout(bank_reference=BankReference("w" + name), booked_at=self.now), stream)
        return stream


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.configure()
    made.attest(0)
    return made


def test_a_deposit_becomes_coins_and_coins_become_a_payout(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    assert {key: units for key, units in desk.books.items() if units} == {
        ("bank:stripe", "USD.bank"): 40_000, ("backing:USD.s", "USD.bank"): -40_000,
        ("supply", "USD.s"): -40_000 * CENT, ("holders", "USD.s"): 40_000 * CENT,
    }  # fmt: skip

    desk.paid("alice.1", 40_000)

    assert {key: units for key, units in desk.books.items() if units} == {
        ("bank:stripe", "USD.bank"): 40_000, ("bank:wise", "USD.bank"): -40_000,
    }  # fmt: skip


def test_an_unassigned_bank_credit_backs_no_mint(desk: Desk) -> None:
    reference = desk.deposit("ch_1", 5_000, owner=None)

    with pytest.raises(NotIssuable):
        desk.back(reference, 5_000)
    with pytest.raises(NotIssuable):
        desk.mint(reference, 5_000)

    desk.ask(AssignDeposit(owner=AccountId("alice"), to=WALLET), f"treasury/deposit/{reference}", by=BOB)
    with pytest.raises(NotIssuable):
        desk.mint(reference, 5_000)
    desk.back(reference, 5_000)
    desk.mint(reference, 5_000)


def test_what_went_back_in_part_is_not_issued_in_part(desk: Desk) -> None:
    reference = desk.deposit("ch_1", 5_000)
    desk.back(reference, 5_000)
    desk.ask(RefundDeposit(amount=usd(1_000), reference=Reference("re_1")), f"treasury/deposit/{reference}")

    for cents in (4_000, 5_000):
        with pytest.raises(NotIssuable):
            desk.mint(reference, cents)


def test_backing_is_not_received_for_money_that_nobody_has_seen(desk: Desk) -> None:
    unsettled = desk.deposit("ch_1", 5_000, settled=False)

    for reference, origin in ((unsettled, "deposit"), ("nothing", "returned_payout")):
        with pytest.raises(NotIssuable):
            desk.back(reference, 5_000, origin)
    with pytest.raises(NotReturned):
        desk.back("return:alice.1", 5_000, "returned_payout")


def test_what_is_on_its_way_to_become_coins_is_not_refunded_and_what_failed_is(desk: Desk) -> None:
    reference = desk.deposit("ch_1", 5_000)
    desk.back(reference, 5_000)
    desk.mint(reference, 5_000)
    refund = RefundDeposit(amount=usd(5_000), reference=Reference("re_1"))
    stream = f"treasury/deposit/{reference}"

    with pytest.raises(AlreadyIssued):
        desk.ask(refund, stream)
    desk.ask(FailMint(reference=Reference(reference), transaction=tx("t"), cause=Label("reverted")), COIN)
    desk.ask(refund, stream)
    with pytest.raises(NotIssuable):
        desk.mint(reference, 5_000)
    desk.ask(WriteDownBacking(amount=usd(5_000), reference=Reference(reference), cause="unissued"), COIN)

    assert not any(desk.books.values())


def test_what_backs_coins_that_may_still_come_is_not_written_down_as_unissued(desk: Desk) -> None:
    reference, stream = desk.deposit("ch_1", 5_000), deposit_stream("stripe", "ch_1")
    desk.back(reference, 5_000)

    def write(cents: int, name: str = reference) -> None:
        desk.ask(WriteDownBacking(amount=usd(cents), reference=Reference(name), cause="unissued"), COIN)

    for name, refusal in ((reference, NotClosed), ("stripe.ch_2", NotObserved)):
        with pytest.raises(refusal):
            write(5_000, name)
    desk.mint(reference, 5_000)
    with pytest.raises(AlreadyIssued):
        write(5_000)
    desk.ask(DisputeDeposit(dispute=BankReference("dp_1"), amount=usd(5_000)), stream)
    desk.ask(CloseDispute(dispute=BankReference("dp_1"), outcome="lost"), stream)
    desk.ask(FailMint(reference=Reference(reference), transaction=tx("t"), cause=Label("reverted")), COIN)
    with pytest.raises(AlreadyIssued):
        write(5_000)

    other, refund = desk.deposit("ch_3", 5_000), RefundDeposit(amount=usd(5_000), reference=Reference("re_1"))
    desk.back(other, 5_000)
    desk.ask(refund, deposit_stream("stripe", "ch_3"))
    with pytest.raises(NotIssuable):
        write(4_999, other)
    write(5_000, other)


def test_a_chargeback_after_the_mint_shows_as_a_deficit_and_never_as_a_negative_reserve(desk: Desk) -> None:
    desk.issue("ch_1", 5_000)
    stream, dispute = deposit_stream("stripe", "ch_1"), BankReference("dp_1")
    desk.ask(DisputeDeposit(dispute=dispute, amount=usd(5_000)), stream)
    [lost] = desk.ask(CloseDispute(dispute=dispute, outcome="lost"), stream)
    assert desk.balance("loss:chargeback") == 5_000

    events = desk.ask(WriteDownBacking(amount=usd(5_000), reference=Reference("dp_1")), COIN)

    assert getattr(lost, "issued", None) is True
    assert [type(event).__name__ for event in events] == ["BackingWrittenDown", "DeficitFound", "MintingPaused"]
    assert {key: units for key, units in desk.books.items() if units} == {
        ("supply", "USD.s"): -5_000 * CENT, ("holders", "USD.s"): 5_000 * CENT,
    }  # fmt: skip


def test_the_automatic_path_takes_a_payout_that_is_counted(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    stream = desk.escrowed("alice.1", 40_000)

    with pytest.raises(NotReserved):
        desk.ask(RouteWithdrawal(usd_cents=40_000), stream)
    desk.reserve("alice.1", 40_000)
    desk.ask(RouteWithdrawal(usd_cents=40_000), stream)


def test_a_large_payout_takes_two_persons_and_is_counted_after_that(desk: Desk) -> None:
    desk.issue("ch_1", 60_000)
    stream = desk.escrowed("alice.1", 60_000)
    desk.ask(RouteWithdrawal(usd_cents=60_000), stream)
    approve = ReviewWithdrawal(verdict="approve")

    with pytest.raises(RequesterCannotReview):
        desk.ask(approve, stream, by=did("alice's second key"), person=ALICE)
    with pytest.raises(NotApproved):
        desk.reserve("alice.1", 60_000, reviewed=True)
    desk.ask(approve, stream, by=BOB)
    with pytest.raises(SamePerson):
        desk.ask(approve, stream, by=did("bob's second key"), person=BOB)
    desk.ask(approve, stream, by=CAROL)
    desk.burn("alice.1", 60_000)
    fund = FundWithdrawal(transaction=tx("alice.1"), payout=usd(60_000))
    with pytest.raises(NotReserved):
        desk.ask(fund, stream)
    desk.reserve("alice.1", 60_000, reviewed=True)

    assert [type(event).__name__ for event in desk.ask(fund, stream)] == ["WithdrawalFunded"]


def test_a_payout_returned_after_it_was_reported_paid_reissues_exactly_what_was_burned(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    stream = desk.paid("alice.1", 40_000)
    desk.ask(ReturnPayout(bank_reference=BankReference("r1"), reason=Label("AC04"), booked_at=desk.now), stream)

    with pytest.raises(ReferenceUsed):
        desk.mint("stripe.ch_1", 39_999)
    desk.back("return:alice.1", 40_000, "returned_payout")
    with pytest.raises(NotUnderReview):
        desk.ask(ReviewWithdrawal(verdict="approve"), stream, by=BOB)
    desk.mint("return:alice.1", 40_000)
    desk.confirm_mint("return:alice.1")
    desk.ask(ReissueWithdrawal(reference=Reference("return:alice.1")), stream)

    assert {key: units for key, units in desk.books.items() if units} == {
        ("bank:stripe", "USD.bank"): 40_000, ("backing:USD.s", "USD.bank"): -40_000,
        ("supply", "USD.s"): -40_000 * CENT, ("holders", "USD.s"): 40_000 * CENT,
    }  # fmt: skip


def test_a_payout_that_a_reviewer_sends_again_is_not_reissued(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    stream = desk.paid("alice.1", 40_000)
    desk.ask(ReturnPayout(bank_reference=BankReference("r1"), reason=Label("AC04"), booked_at=desk.now), stream)
    desk.ask(ReviewWithdrawal(verdict="approve"), stream, by=BOB)

    with pytest.raises(NotReturned):
        desk.back("return:alice.1", 40_000, "returned_payout")
    with pytest.raises(NotReturned):
        desk.mint("return:alice.1", 40_000)
    desk.ask(SubmitPayout(rail=Rail("wire"), attempt=2), stream)
    desk.ask(ConfirmPayout(bank_reference=BankReference("w2"), booked_at=desk.now), stream)

    assert desk.balance("bank:wise") == 0
    assert desk.balance("bank:wire") == -40_000


def test_a_frozen_account_asks_for_nothing_and_what_it_asked_for_before_is_reviewed(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    stream, account = desk.escrowed("alice.1", 20_000), account_stream("alice", "USD.s")
    desk.reserve("alice.1", 20_000)
    desk.ask(OpenAccount(owner=AccountId("alice"), asset=coins(1).asset), account)
    desk.ask(Freeze(amount=coins(5), cause=Reference("dp_1")), account)

    with pytest.raises(AccountFrozen):
        desk.escrowed("alice.2", 20_000)
    [event] = desk.ask(RouteWithdrawal(usd_cents=20_000), stream)

    assert getattr(event, "reasons", None) == ("account_frozen",)
    desk.ask(ReleaseOutflow(withdrawal=WithdrawalId("alice.1")), OUTFLOW)
    desk.now += timedelta(hours=72)
    desk.ask(LapseReview(), stream)


def test_minting_is_resumed_by_two_persons_and_a_rotated_key_is_none(desk: Desk) -> None:
    desk.ask(PauseMinting(reason=Label("volume")), COIN)
    desk.ask(ResumeMinting(), COIN, by=BOB)

    with pytest.raises(SamePerson):
        desk.ask(ResumeMinting(), COIN, by=did("bob's second key"), person=BOB)
    [event] = desk.ask(ResumeMinting(), COIN, by=CAROL)

    assert type(event).__name__ == "MintingResumed"


def test_an_unexplained_credit_is_booked_as_capital_by_two_and_then_backs_coins(desk: Desk) -> None:
    stream = "treasury/adjustment/2026-7"
    command: Adjust = adjust()
    desk.ask(command, stream, by=BOB)
    with pytest.raises(SamePerson):
        desk.ask(ApproveAdjustment(), stream, by=did("bob's second key"), person=BOB)
    desk.ask(ApproveAdjustment(), stream, by=CAROL)
    desk.back("capital-1", 5_000, "capital")
    desk.mint("capital-1", 5_000)

    assert desk.balance("capital") == 0
    assert desk.balance("backing:USD.s") == -5_000


def test_a_hold_pays_what_it_was_for(desk: Desk) -> None:
    account = account_stream("alice", "USD.s")
    desk.ask(OpenAccount(owner=AccountId("alice"), asset=coins(1).asset), account)
    desk.ask(Credit(amount=coins(100), counter=LedgerAccount("collector"), reference=Reference("log.1")), account)
    expires = desk.now + timedelta(hours=1)
    hold = Hold(hold=HoldId("h1"), amount=coins(60), purpose=Purpose("stake:staking/stake/x"), expires_at=expires)
    desk.ask(hold, account, by=ALICE)
    desk.ask(Capture(hold=HoldId("h1"), amount=coins(45), counter=LedgerAccount("stake:x")), account)

    assert desk.balance("account:alice", "USD.s") == 55 * CENT
    assert desk.balance("stake:x", "USD.s") == 45 * CENT


def test_a_withdrawal_that_is_cancelled_ends(desk: Desk) -> None:
    desk.issue("ch_1", 40_000)
    stream = desk.escrowed("alice.1", 20_000)

    [event] = desk.ask(CancelWithdrawal(), stream, by=ALICE)

    assert type(event).__name__ == "WithdrawalCancelled"
