"""Coins and deposits: no coin before its money, one reference one mint, and a deficit that shows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import Address, Amount, Label
from contracts.treasury import (
    AccountId,
    AssignDeposit,
    AttestReserves,
    BackingReceived,
    BackingWrittenDown,
    BankReference,
    Burn,
    Burned,
    CloseDispute,
    ConfigureMinter,
    ConfirmMint,
    DeficitFound,
    DepositAssigned,
    DepositDefended,
    DepositDisputed,
    DepositIssued,
    DepositLost,
    DepositObserved,
    DepositRefunded,
    DepositSettled,
    DisputeDeposit,
    FailMint,
    MarkIssued,
    Mint,
    MintConfirmed,
    Minted,
    MinterConfigured,
    MinterRemoved,
    MintFailed,
    MintingPaused,
    MintingResumed,
    ObserveDeposit,
    Rail,
    ReceiveBacking,
    Reference,
    RefundDeposit,
    RemoveMinter,
    ReservesAttested,
    ResumeApproved,
    SettleDeposit,
    Transaction,
    WithdrawalId,
    WriteDownBacking,
)
from domain import DustNotAllowed
from domain.treasury import (
    AddressedWrongly,
    AlreadyAssigned,
    AlreadyConfirmed,
    AlreadyIssued,
    AttestationOutOfOrder,
    DeficitOpen,
    DepositClosed,
    ExceedsAllowance,
    ExceedsDeposit,
    ExceedsReserves,
    ExceedsSupply,
    MintingHalted,
    NoDispute,
    NotIssuable,
    NotMinted,
    NotMinter,
    NotObserved,
    NotOurCurrency,
    NotPaused,
    NotSettled,
    OtherAsset,
    ReferenceUsed,
    SamePerson,
    StaleReserves,
)
from domain.treasury.deposits import Deposit
from domain.treasury.stablecoin import Stablecoin
from tests.domain.given import did, digest, given, refused, then

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ALICE, BOB = did("alice"), did("bob")
WALLET = Address("0x" + "1" * 40)
CENT = 10**16
MINTER = did("minter")


def usd(cents: int) -> Amount:
    return Amount.of("USD.bank", cents)


def coins(units: int) -> Amount:
    return Amount.of("USD.s", units)


def tx(name: str) -> Transaction:
    return Transaction("0x" + digest(name))


def attest(bank: int, owed: int = 0, as_of: datetime = NOW) -> AttestReserves:
    return AttestReserves(bank=usd(bank), owed=usd(owed), as_of=as_of, statement=digest(f"{bank}{as_of}"))


def mint(units: int, reference: str = "stripe.ch_1") -> Mint:
    return Mint(amount=coins(units), reference=Reference(reference), to=WALLET)


def confirm(reference: str = "stripe.ch_1", transaction: str = "mint") -> ConfirmMint:
    return ConfirmMint(reference=Reference(reference), transaction=tx(transaction), block=7)


def fail(reference: str = "stripe.ch_1", transaction: str = "mint") -> FailMint:
    return FailMint(reference=Reference(reference), transaction=tx(transaction), cause=Label("reverted"))


def burn(units: int, withdrawal: str = "alice.1") -> Burn:
    return Burn(amount=coins(units), withdrawal=WithdrawalId(withdrawal), transaction=tx("burn"), block=9)


def a_coin(bank: int = 0, *, issued: int = 0, allowance: int = 10**9, confirmed: bool = True) -> Stablecoin:
    """Attested with so many cents, of which so many are issued."""
    coin = Stablecoin("treasury/stablecoin/USD.s")
    coin.configure(ConfigureMinter(minter=MINTER, allowance=coins(allowance * CENT)))
    coin.attest(attest(max(bank, issued), as_of=NOW - timedelta(hours=1)), NOW)
    if issued:
        coin.mint(mint(issued * CENT, "stripe.first"), minter=MINTER, now=NOW)
        if confirmed:
            coin.confirm_mint(confirm("stripe.first", "first"))
    if bank < issued:
        coin.attest(attest(bank, as_of=NOW - timedelta(minutes=1)), NOW)
    coin.pending.clear()
    return coin


def after(supply: int, reserves: int) -> dict[str, Amount]:
    return {"supply": coins(supply), "reserves": usd(reserves)}


# Minting


def test_coins_are_issued_against_money_that_has_arrived() -> None:
    coin = a_coin(25_000)

    expected = Minted(**dict(mint(25_000 * CENT)), minter=MINTER, **after(25_000 * CENT, 25_000))
    then(coin, lambda: coin.mint(mint(25_000 * CENT), minter=MINTER, now=NOW), expected)


def test_a_mint_that_uses_the_reserves_exactly_is_accepted_and_one_unit_more_is_refused() -> None:
    coin, other = a_coin(25_000), a_coin(25_000)

    coin.mint(mint(25_000 * CENT), minter=MINTER, now=NOW)

    assert coin.supply == 25_000 * CENT
    refused(other, lambda: other.mint(mint(25_001 * CENT), minter=MINTER, now=NOW), ExceedsReserves)
    refused(other, lambda: other.mint(mint(25_000 * CENT + 1), minter=MINTER, now=NOW), DustNotAllowed)


def test_two_mints_decided_at_once_cannot_together_exceed_the_reserves() -> None:
    """The second is decided on what the first has left, confirmed or not."""
    coin = a_coin(100)

    coin.mint(mint(60 * CENT, "stripe.a"), minter=MINTER, now=NOW)

    refused(coin, lambda: coin.mint(mint(60 * CENT, "stripe.b"), minter=MINTER, now=NOW), ExceedsReserves)
    coin.mint(mint(40 * CENT, "stripe.b"), minter=MINTER, now=NOW)


def test_an_unassigned_bank_credit_backs_no_mint() -> None:
    """It is in the bank, and it is owed to whoever will claim it."""
    coin = a_coin(0)
    coin.attest(attest(1_000, owed=30), NOW)

    assert coin.reserves == 970
    refused(coin, lambda: coin.mint(mint(971 * CENT), minter=MINTER, now=NOW), ExceedsReserves)

    coin.mint(mint(970 * CENT), minter=MINTER, now=NOW)


def test_reserves_are_what_was_attested_and_what_has_moved_since() -> None:
    """1,000.00 − 30.00 + 20.00 − 0 = 990.00."""
    coin = a_coin(0)
    coin.receive_backing(ReceiveBacking(amount=usd(500), reference=Reference("before"), origin="deposit"), NOW)
    coin.attest(attest(100_000, owed=3_000, as_of=NOW), NOW)
    assert coin.pending[-1] == ReservesAttested(**dict(attest(100_000, owed=3_000, as_of=NOW)), **after(0, 97_000))

    later = NOW + timedelta(minutes=1)
    received = ReceiveBacking(amount=usd(2_000), reference=Reference("after"), origin="deposit")
    coin.pending.clear()

    event = BackingReceived(**dict(received), at=later, **after(0, 99_000))
    then(coin, lambda: coin.receive_backing(received, later), event)
    assert coin.reserves == 99_000


def test_an_attestation_that_comes_late_leaves_what_has_moved_after_its_time() -> None:
    coin = a_coin(0)
    early, late = NOW - timedelta(minutes=5), NOW - timedelta(minutes=5) + timedelta(microseconds=1)
    coin.receive_backing(ReceiveBacking(amount=usd(100), reference=Reference("early"), origin="deposit"), early)
    coin.receive_backing(ReceiveBacking(amount=usd(20), reference=Reference("late"), origin="deposit"), late)
    coin.pending.clear()
    command = attest(100, as_of=NOW - timedelta(minutes=5))

    then(coin, lambda: coin.attest(command, NOW), ReservesAttested(**dict(command), **after(0, 120)))


def test_reserves_are_attested_in_the_order_of_their_times_and_not_ahead() -> None:
    coin = a_coin(100)

    refused(coin, lambda: coin.attest(attest(90, as_of=NOW - timedelta(hours=2)), NOW), AttestationOutOfOrder)
    refused(coin, lambda: coin.attest(attest(90, as_of=NOW - timedelta(hours=1)), NOW), AttestationOutOfOrder)
    refused(coin, lambda: coin.attest(attest(90, as_of=NOW + timedelta(seconds=1)), NOW), AttestationOutOfOrder)


def test_reserves_older_than_twelve_hours_back_no_mint() -> None:
    coin = a_coin(100)

    refused(coin, lambda: coin.mint(mint(CENT), minter=MINTER, now=NOW + timedelta(hours=11, seconds=1)), StaleReserves)
    coin.mint(mint(CENT), minter=MINTER, now=NOW + timedelta(hours=11))


def test_reserves_that_nobody_attested_back_no_mint() -> None:
    coin = Stablecoin("treasury/stablecoin/USD.s")
    coin.configure(ConfigureMinter(minter=MINTER, allowance=coins(CENT)))
    coin.receive_backing(ReceiveBacking(amount=usd(100), reference=Reference("r"), origin="deposit"), NOW)

    refused(coin, lambda: coin.mint(mint(CENT), minter=MINTER, now=NOW), StaleReserves)


def test_the_same_idempotency_key_twice_in_one_batch_records_once_and_with_another_body_is_refused() -> None:
    coin = a_coin(100)

    coin.mint(mint(10 * CENT), minter=MINTER, now=NOW)
    coin.mint(mint(10 * CENT), minter=MINTER, now=NOW)

    assert len(coin.pending) == 1
    refused(coin, lambda: coin.mint(mint(11 * CENT), minter=MINTER, now=NOW), ReferenceUsed)
    other = mint(10 * CENT).model_copy(update={"to": Address("0x" + "2" * 40)})
    refused(coin, lambda: coin.mint(other, minter=MINTER, now=NOW), ReferenceUsed)


def test_a_coin_is_counted_in_its_own_asset() -> None:
    coin, nobody = a_coin(100), Stablecoin("treasury/stablecoin/CHF.s")
    euro = mint(CENT).model_copy(update={"amount": Amount.of("EUR.s", CENT)})

    refused(coin, lambda: coin.mint(euro, minter=MINTER, now=NOW), OtherAsset)
    refused(nobody, lambda: nobody.mint(mint(CENT), minter=MINTER, now=NOW), AddressedWrongly)


# Minters


def test_a_minter_may_mint_what_it_is_allowed_and_a_burn_gives_nothing_back() -> None:
    """A stolen minter key is bounded by what two persons let it mint, not by what is burned meanwhile."""
    coin = a_coin(1_000, allowance=100)
    coin.mint(mint(100 * CENT), minter=MINTER, now=NOW)
    coin.confirm_mint(confirm())
    coin.burn(burn(100 * CENT), NOW)

    refused(coin, lambda: coin.mint(mint(CENT, "stripe.b"), minter=MINTER, now=NOW), ExceedsAllowance)


def test_a_mint_that_failed_gives_no_allowance_back() -> None:
    coin = a_coin(1_000, allowance=100)
    coin.mint(mint(100 * CENT), minter=MINTER, now=NOW)
    coin.fail_mint(fail())

    refused(coin, lambda: coin.mint(mint(100 * CENT), minter=MINTER, now=NOW), ExceedsAllowance)


def test_an_allowance_raised_while_a_mint_is_in_flight_applies_to_the_next_mint() -> None:
    coin = a_coin(1_000, allowance=100)
    coin.mint(mint(100 * CENT), minter=MINTER, now=NOW)
    coin.pending.clear()
    raised = ConfigureMinter(minter=MINTER, allowance=coins(50 * CENT))

    then(coin, lambda: coin.configure(raised), MinterConfigured(**dict(raised)))
    coin.confirm_mint(confirm())
    coin.mint(mint(50 * CENT, "stripe.b"), minter=MINTER, now=NOW)

    assert coin.allowances[MINTER] == 0


def test_only_a_minter_mints() -> None:
    coin = a_coin(100)

    refused(coin, lambda: coin.mint(mint(CENT), minter=ALICE, now=NOW), NotMinter)
    refused(coin, lambda: coin.remove(RemoveMinter(minter=ALICE)), NotMinter)
    then(coin, lambda: coin.remove(RemoveMinter(minter=MINTER)), MinterRemoved(minter=MINTER))
    refused(coin, lambda: coin.mint(mint(CENT), minter=MINTER, now=NOW), NotMinter)


# The chain's answer


def test_a_failed_mint_frees_its_reference_and_a_confirmed_one_never_does() -> None:
    coin = a_coin(100)
    coin.mint(mint(60 * CENT), minter=MINTER, now=NOW)
    coin.pending.clear()

    failed = MintFailed(**dict(fail()), amount=coins(60 * CENT), **after(0, 100))
    then(coin, lambda: coin.fail_mint(fail()), failed)
    assert coin.in_flight == 0
    coin.mint(mint(100 * CENT), minter=MINTER, now=NOW)
    coin.confirm_mint(confirm(transaction="again"))

    refused(coin, lambda: coin.fail_mint(fail(transaction="again")), AlreadyConfirmed)
    refused(coin, lambda: coin.mint(mint(60 * CENT), minter=MINTER, now=NOW), ReferenceUsed)


def test_a_mint_transaction_replaced_under_its_nonce_is_confirmed_under_the_new_hash_only() -> None:
    coin = a_coin(100)
    coin.mint(mint(60 * CENT), minter=MINTER, now=NOW)
    coin.fail_mint(fail(transaction="old"))
    coin.mint(mint(60 * CENT), minter=MINTER, now=NOW)
    coin.pending.clear()

    refused(coin, lambda: coin.confirm_mint(confirm(transaction="old")), NotMinted)
    new = confirm(transaction="new")
    then(coin, lambda: coin.confirm_mint(new), MintConfirmed(**dict(new), amount=coins(60 * CENT)))
    assert coin.in_flight == 0
    refused(coin, lambda: coin.confirm_mint(confirm(transaction="other")), AlreadyConfirmed)


def test_what_was_never_minted_is_neither_confirmed_nor_failed() -> None:
    coin = a_coin(100)

    refused(coin, lambda: coin.confirm_mint(confirm()), NotMinted)
    refused(coin, lambda: coin.fail_mint(fail()), NotMinted)


# Burning


def test_a_burn_owes_exactly_its_money() -> None:
    coin = a_coin(100, issued=100)
    expected = Burned(**dict(burn(40 * CENT)), payout=usd(40), at=NOW, **after(60 * CENT, 60))

    then(coin, lambda: coin.burn(burn(40 * CENT), NOW), expected)
    refused(coin, lambda: coin.burn(burn(41 * CENT), NOW), ReferenceUsed)


def test_no_more_is_burned_than_holders_have() -> None:
    coin, in_flight = a_coin(100, issued=100), a_coin(100, issued=100, confirmed=False)

    refused(coin, lambda: coin.burn(burn(101 * CENT), NOW), ExceedsSupply)
    refused(in_flight, lambda: in_flight.burn(burn(CENT), NOW), ExceedsSupply)


def test_the_fraction_of_a_cent_that_is_left_in_a_wallet_is_refused_before_the_burn() -> None:
    """250.00 = 250·10^18 units; one unit more is refused."""
    coin = a_coin(25_000, issued=25_000)

    refused(coin, lambda: coin.burn(burn(25_000 * CENT - 1), NOW), DustNotAllowed)
    coin.burn(burn(250 * 10**18), NOW)

    assert coin.supply == 0


# Deficits and pauses


def deficit(cents: int) -> DeficitFound:
    return DeficitFound(deficit=coins(cents * CENT))


def test_a_deficit_of_exactly_one_percent_pauses_nothing_and_one_cent_more_pauses() -> None:
    """Supply 1,000,000: 990,000.00 held does not pause, 989,999.99 does."""
    coin, other = a_coin(issued=100_000_000, bank=100_000_000), a_coin(issued=100_000_000, bank=100_000_000)
    exact, more = attest(99_000_000), attest(98_999_999)
    supply = 100_000_000 * CENT

    then(
        coin, lambda: coin.attest(exact, NOW), ReservesAttested(**dict(exact), **after(supply, 99_000_000)), deficit(1_000_000)
    )
    then(
        other, lambda: other.attest(more, NOW), ReservesAttested(**dict(more), **after(supply, 98_999_999)),
        deficit(1_000_001), MintingPaused(cause=Label("deficit")),
    )  # fmt: skip
    refused(other, lambda: other.mint(mint(CENT), minter=MINTER, now=NOW), MintingHalted)


def test_a_mint_that_would_widen_a_deficit_is_refused_long_before_the_pause() -> None:
    coin = a_coin(9_999, issued=10_000)

    assert not coin.is_paused
    refused(coin, lambda: coin.mint(mint(CENT), minter=MINTER, now=NOW), ExceedsReserves)


def test_a_chargeback_after_the_mint_shows_as_a_deficit_and_never_as_a_negative_reserve() -> None:
    coin = a_coin(100, issued=100)
    command = WriteDownBacking(amount=usd(150), reference=Reference("stripe.first"))

    then(
        coin, lambda: coin.write_down(command, NOW), BackingWrittenDown(**dict(command), at=NOW, **after(100 * CENT, 0)),
        deficit(100), MintingPaused(cause=Label("deficit")),
    )  # fmt: skip
    assert coin.reserves == 0
    assert coin.deficit == 100 * CENT


def test_a_pause_stops_mints_and_nothing_else() -> None:
    """A pause must not trap the holders."""
    coin = a_coin(100, issued=50)
    coin.mint(mint(10 * CENT, "stripe.b"), minter=MINTER, now=NOW)
    coin.pause(Label("volume"))

    refused(coin, lambda: coin.mint(mint(CENT, "stripe.c"), minter=MINTER, now=NOW), MintingHalted)
    coin.confirm_mint(confirm("stripe.b", "b"))
    coin.burn(burn(50 * CENT), NOW)
    coin.receive_backing(ReceiveBacking(amount=usd(5), reference=Reference("r"), origin="deposit"), NOW)
    coin.configure(ConfigureMinter(minter=ALICE, allowance=coins(CENT)))


def test_minting_is_resumed_by_two_persons() -> None:
    coin = a_coin(100)
    refused(coin, lambda: coin.resume(actor=ALICE, person=ALICE), NotPaused)
    then(coin, lambda: coin.pause(Label("volume")), MintingPaused(cause=Label("volume")))
    coin.pending.clear()

    coin.resume(actor=ALICE, person=ALICE)
    refused(coin, lambda: coin.resume(actor=did("alice's next key"), person=ALICE), SamePerson)
    coin.resume(actor=BOB, person=BOB)

    assert coin.pending == [ResumeApproved(approved_by=ALICE, person=ALICE), MintingResumed(resumed_by=BOB, person=BOB)]
    coin.mint(mint(CENT), minter=MINTER, now=NOW)


def test_minting_is_not_resumed_while_a_deficit_is_open_and_a_new_one_voids_the_first_approval() -> None:
    coin = a_coin(100, issued=100)
    coin.pause(Label("volume"))
    coin.resume(actor=ALICE, person=ALICE)
    coin.attest(attest(99), NOW)

    refused(coin, lambda: coin.resume(actor=BOB, person=BOB), DeficitOpen)
    coin.attest(attest(100, as_of=NOW + timedelta(hours=1)), NOW + timedelta(hours=1))
    coin.resume(actor=BOB, person=BOB)

    assert coin.is_paused


def test_backing_is_received_and_written_down_once() -> None:
    coin = a_coin(100)
    received = ReceiveBacking(amount=usd(5), reference=Reference("stripe.a"), origin="deposit")
    written = WriteDownBacking(amount=usd(4), reference=Reference("stripe.a"), cause="unissued")
    coin.receive_backing(received, NOW)

    refused(coin, lambda: coin.receive_backing(received.model_copy(update={"amount": usd(6)}), NOW), ReferenceUsed)
    coin.write_down(written, NOW)
    refused(coin, lambda: coin.write_down(written.model_copy(update={"amount": usd(6)}), NOW), ReferenceUsed)

    assert coin.reserves == 101


# Deposits


def observe(cents: int = 25_000, source: str = "webhook", **changes: Any) -> ObserveDeposit:
    fields: dict[str, Any] = {
        "rail": Rail("stripe"), "reference": BankReference("ch_1"), "amount": usd(cents), "owner": "alice", "to": WALLET,
        "booked_at": NOW, "value_date": NOW, "source": digest(source),
    }  # fmt: skip
    return ObserveDeposit(**{**fields, **changes})


def settle(net: int = 24_200, fee: int = 800) -> SettleDeposit:
    return SettleDeposit(net=usd(net), fee=usd(fee), available_on=NOW)


def a_deposit(*commands: Any, **changes: Any) -> Deposit:
    found = Deposit("treasury/deposit/stripe.ch_1")
    found.observe(observe(**changes))
    for command in commands:
        found.settle(command)
    found.pending.clear()
    return found


def refund(cents: int, reference: str = "re_1") -> RefundDeposit:
    return RefundDeposit(amount=usd(cents), reference=Reference(reference))


def dispute(cents: int = 25_000) -> DisputeDeposit:
    return DisputeDeposit(dispute=BankReference("dp_1"), amount=usd(cents))


def test_a_deposit_seen_by_webhook_by_poll_in_an_intraday_report_and_on_the_statement_is_issued_once() -> None:
    deposit = given(Deposit, "treasury/deposit/stripe.ch_1")

    for source in ("webhook", "poll", "camt.052", "camt.053"):
        deposit.observe(observe(source=source, owner=None if source.startswith("camt") else "alice"))

    assert deposit.pending == [DepositObserved(**dict(observe()))]
    refused(deposit, lambda: deposit.observe(observe(25_001)), ReferenceUsed)


def test_money_that_is_none_of_ours_is_not_observed() -> None:
    deposit = given(Deposit, "treasury/deposit/stripe.ch_1")

    refused(deposit, lambda: deposit.observe(observe(amount=Amount.of("SPACE", 5))), NotOurCurrency)
    refused(deposit, lambda: deposit.observe(observe(amount=Amount.of("USD", 5))), NotOurCurrency)
    refused(deposit, lambda: deposit.observe(observe(rail=Rail("wise"))), AddressedWrongly)


def test_a_refund_reported_before_its_charge_waits_for_the_charge() -> None:
    deposit = given(Deposit, "treasury/deposit/stripe.ch_1")

    refused(deposit, lambda: deposit.refund(refund(100), is_minted=False), NotObserved)
    deposit.observe(observe())
    deposit.pending.clear()

    event = DepositRefunded(**dict(refund(100)), settled=False)
    then(deposit, lambda: deposit.refund(refund(100), is_minted=False), event)


def test_the_net_amount_may_be_issued_once_it_is_settled_and_somebodys() -> None:
    deposit = a_deposit(owner=None, to=None)
    assert deposit.issuable == 0

    then(deposit, lambda: deposit.settle(settle()), DepositSettled(**dict(settle())))
    assert deposit.issuable == 0
    refused(deposit, lambda: deposit.require_issuable(usd(24_200)), NotIssuable)

    deposit.pending.clear()
    assign = AssignDeposit(owner="alice", to=WALLET)  # type: ignore[arg-type]
    then(deposit, lambda: deposit.assign(assign), DepositAssigned(**dict(assign)))
    assert deposit.issuable == 24_200
    refused(deposit, lambda: deposit.require_issuable(usd(24_201)), NotIssuable)


def test_no_more_is_settled_than_came() -> None:
    deposit = a_deposit()

    refused(deposit, lambda: deposit.settle(settle(24_201)), ExceedsDeposit)
    refused(
        deposit, lambda: deposit.settle(SettleDeposit(net=usd(1), fee=Amount.of("EUR.bank", 1), available_on=NOW)), OtherAsset
    )
    deposit.settle(settle())
    refused(deposit, lambda: deposit.settle(settle(24_199)), ReferenceUsed)


def test_a_deposit_belongs_to_one() -> None:
    deposit = a_deposit()

    refused(deposit, lambda: deposit.assign(AssignDeposit(owner="bob", to=WALLET)), AlreadyAssigned)  # type: ignore[arg-type]


def test_a_deposit_is_issued_once_its_coins_are_in_the_chain() -> None:
    deposit, mark = a_deposit(settle()), MarkIssued(reference=Reference("stripe.ch_1"))

    refused(deposit, lambda: deposit.mark_issued(mark, is_confirmed=False), NotMinted)
    refused(a := a_deposit(), lambda: a.mark_issued(mark, is_confirmed=True), NotSettled)
    then(deposit, lambda: deposit.mark_issued(mark, is_confirmed=True), DepositIssued(**dict(mark)))
    other = MarkIssued(reference=Reference("other"))
    refused(deposit, lambda: deposit.mark_issued(other, is_confirmed=True), AlreadyIssued)
    assert deposit.issuable == 0


def test_what_is_issued_is_not_given_back() -> None:
    deposit = a_deposit(settle())

    refused(deposit, lambda: deposit.refund(refund(100), is_minted=True), AlreadyIssued)
    refused(deposit, lambda: deposit.refund(refund(24_201), is_minted=False), ExceedsDeposit)
    then(
        deposit, lambda: deposit.refund(refund(24_200), is_minted=False), DepositRefunded(**dict(refund(24_200)), settled=True)
    )
    refused(deposit, lambda: deposit.refund(refund(1), is_minted=False), ReferenceUsed)
    refused(deposit, lambda: deposit.refund(refund(1, "re_2"), is_minted=False), DepositClosed)
    assert deposit.issuable == 0


def test_a_disputed_deposit_backs_nothing_until_it_is_defended() -> None:
    deposit = a_deposit(settle())

    then(deposit, lambda: deposit.dispute(dispute()), DepositDisputed(**dict(dispute())))
    assert deposit.issuable == 0
    refused(deposit, lambda: deposit.dispute(dispute(5)), ReferenceUsed)
    deposit.pending.clear()

    won = CloseDispute(dispute=BankReference("dp_1"), outcome="won")
    then(deposit, lambda: deposit.close_dispute(won, is_minted=False), DepositDefended(dispute=won.dispute))
    assert deposit.issuable == 24_200
    lost = won.model_copy(update={"outcome": "lost"})
    refused(deposit, lambda: deposit.close_dispute(lost, is_minted=False), NoDispute)


@pytest.mark.parametrize("is_minted", [True, False])
def test_a_dispute_that_is_lost_says_whether_coins_had_been_issued(is_minted: bool) -> None:
    """The payer gets all that he paid, also what the rail kept."""
    deposit, lost = a_deposit(settle()), CloseDispute(dispute=BankReference("dp_1"), outcome="lost")
    refused(deposit, lambda: deposit.close_dispute(lost, is_minted=is_minted), NoDispute)
    refused(deposit, lambda: deposit.dispute(dispute(25_001)), ExceedsDeposit)
    deposit.dispute(dispute())
    deposit.pending.clear()

    event = DepositLost(dispute=lost.dispute, amount=usd(25_000), settled=True, issued=is_minted)
    then(deposit, lambda: deposit.close_dispute(lost, is_minted=is_minted), event)
    assert deposit.issuable == 0
    refused(deposit, lambda: deposit.refund(refund(1), is_minted=False), DepositClosed)


def test_a_deposit_of_somebody_without_a_wallet_gets_one_and_no_other_owner() -> None:
    deposit = a_deposit(settle(), to=None)
    mine, other = (AssignDeposit(owner=AccountId(name), to=WALLET) for name in ("alice", "bob"))
    assert deposit.issuable == 0

    refused(deposit, lambda: deposit.assign(other), AlreadyAssigned)
    then(deposit, lambda: deposit.assign(mine), DepositAssigned(**dict(mine)))
    assert deposit.issuable == 24_200


def test_no_more_is_disputed_than_was_paid_and_not_given_back() -> None:
    deposit = a_deposit(settle())
    deposit.refund(refund(200), is_minted=False)
    deposit.pending.clear()

    refused(deposit, lambda: deposit.dispute(dispute(24_801)), ExceedsDeposit)
    then(deposit, lambda: deposit.dispute(dispute(24_800)), DepositDisputed(**dict(dispute(24_800))))


def test_what_was_lost_once_is_not_disputed_again() -> None:
    deposit = a_deposit(settle())
    deposit.dispute(dispute(5_000))
    deposit.close_dispute(CloseDispute(dispute=BankReference("dp_1"), outcome="lost"), is_minted=False)
    deposit.pending.clear()
    second = dispute(20_001).model_copy(update={"dispute": BankReference("dp_2")})

    refused(deposit, lambda: deposit.dispute(second), ExceedsDeposit)
    assert deposit.issuable == 19_200
