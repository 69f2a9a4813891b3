from dataclasses import replace
from datetime import UTC, date, datetime

from adapters.bank.observations import DepositAvailable, DepositDisputed, DepositSeen, PayoutDone, PayoutReturned, observed
from adapters.bank.statements import Statement, parse_statement
from contracts import Amount
from contracts.treasury import BankReference
from tests.adapters.bank.written import Line, Page, camt, mt940

DAY = date(2026, 11, 24)
AT = datetime(2026, 11, 24, tzinfo=UTC)
IN = Line(DAY, date(2026, 11, 26), 25_000, own="X1")


def statement(*lines: Line) -> Statement:
    [found] = parse_statement(mt940(Page(0, lines)))
    return found


def eur(cents: int) -> Amount:
    return Amount.of("EUR.bank", cents)


def test_a_booked_credit_is_seen_and_available_at_once() -> None:
    read = statement(IN)

    assert list(observed(read, "sepa")) == [
        DepositSeen("sepa", "X1", eur(25_000), AT, datetime(2026, 11, 26, tzinfo=UTC), read.entries[0].source),
        DepositAvailable("sepa", "X1", eur(25_000), eur(0), AT),
    ]


def test_a_debit_is_a_payout_with_the_key_that_we_gave_it() -> None:
    text = camt(Page(0, (replace(IN, cents=-500),))).replace(
        b"<TxDtls>", b"<TxDtls><Refs><EndToEndId>alice.1:1</EndToEndId></Refs>"
    )
    [read] = parse_statement(text)

    assert list(observed(read, "sepa")) == [PayoutDone("sepa", "alice.1:1", "X1", AT)]


def test_a_batch_of_payments_has_no_key_of_one_of_them() -> None:
    one = b"<TxDtls><Refs><EndToEndId>alice.1:1</EndToEndId></Refs></TxDtls>"
    text = camt(Page(0, (replace(IN, cents=-500),))).replace(b"<NtryDtls>", b"<NtryDtls>" + one)
    [read] = parse_statement(text)

    assert list(observed(read, "sepa")) == [PayoutDone("sepa", "", "X1", AT)]


def test_what_the_bank_takes_back_is_a_lost_deposit_or_a_returned_payout() -> None:
    taken, returned = (replace(IN, cents=cents, is_reversal=True) for cents in (-25_000, 25_000))

    assert list(observed(statement(taken), "sepa")) == [DepositDisputed("sepa", "X1", "X1.reversal", eur(25_000), "lost")]
    assert list(observed(statement(returned), "sepa")) == [PayoutReturned("sepa", "", "X1", "reversed", AT)]


def test_a_remark_of_nothing_tells_nothing() -> None:
    assert list(observed(statement(replace(IN, cents=0)), "sepa")) == []


def test_the_report_and_the_statement_tell_of_one_deposit() -> None:
    """However they word it, the treasury is asked to record the same reference."""
    report = parse_statement(camt(Page(0, (replace(IN, own=""),)), message="052", with_balances=False))
    day = parse_statement(mt940(Page(0, (replace(IN, own=""),))))

    told = {seen.reference for [each] in (report, day) for seen in observed(each, "sepa")}

    assert len(told) == 1


def test_the_treasury_takes_every_reference_as_it_is() -> None:
    for own in ("", "X1", "341/2 B", "a" * 200):
        for is_reversal in (False, True):
            [entry] = parse_statement(camt(Page(0, (replace(IN, own=own, is_reversal=is_reversal),))))[0].entries

            assert BankReference(entry.reference) == entry.reference
