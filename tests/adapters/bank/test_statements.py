from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.bank.entries import Entry
from adapters.bank.statements import MAX_BYTES, NotOurCurrency, Statement, StatementRefused, parse_statement, verdicts
from tests.adapters.bank.written import Line, Page, camt, days, mt940, ntry, pages

BANKS = Path(__file__).resolve().parents[4] / "shared" / "data" / "mt940"
DAY = date(2026, 11, 24)
RENT = Line(DAY, DAY, 25_000)
PAGE = Page(100_000, (RENT, Line(DAY, date(2026, 11, 26), -4_150, own="FEE-7")))


def real(name: str) -> bytes:
    """wolph/mt940 `mt940_tests`, BSD-3-Clause."""
    if not BANKS.is_dir():
        pytest.skip(f"no {BANKS.name} statements beside the project")
    return (BANKS / name).read_bytes()


def refused(data: bytes) -> StatementRefused:
    with pytest.raises(StatementRefused) as found:
        parse_statement(data)
    return found.value


# Real statements


def test_thirty_one_days_of_a_dutch_bank_add_up() -> None:
    found = parse_statement(real("ASNB-mt940.txt"))

    assert len(found) == 31
    assert all(before.closing == after.opening for before, after in pairwise(found))
    assert (found[0].account, found[0].asset, found[0].opening) == ("NL81ASNB9999999999", "EUR.bank", 44_429)
    assert len({entry.reference for each in found for entry in each.entries}) == sum(len(each.entries) for each in found)


def test_an_american_bank_names_no_entry_and_writes_no_booking_date() -> None:
    [statement] = parse_statement(real("citi-mt940.txt"))

    assert (statement.opening, statement.closing, statement.asset) == (1_737_667, 1_623_392, "USD.bank")
    assert [entry.cents for entry in statement.entries] == [-21_239, -36_928, 0, 0, -56_108]
    assert {entry.booked_at for entry in statement.entries} == {date(2024, 3, 12)}
    assert len({entry.reference for entry in statement.entries}) == 5


def test_a_value_date_of_30_february_is_the_last_day_of_the_month() -> None:
    [statement] = parse_statement(real("self-provided-february_30.sta"))

    assert [(e.value_date, e.booked_at) for e in statement.entries] == [(date(2016, 2, 29), date(2016, 3, 1))]


def test_what_follows_a_statement_without_a_beginning_does_not_spoil_it() -> None:
    statement, stray = verdicts(real("self-provided-multiline.sta"))

    assert isinstance(statement, Statement)
    assert (statement.closing, statement.entries[0].reference) == (1_140, "MUL0408041114005")
    assert isinstance(stray, StatementRefused)
    assert (stray.line, stray.rule) == (38, "structure")


def test_a_polish_account_is_read_and_not_ours() -> None:
    found = refused(real("mBank-mt940.sta"))

    assert isinstance(found, NotOurCurrency)
    assert (found.currency, found.line, found.rule) == ("PLN", 5, "currency")


@pytest.mark.parametrize(
    ("name", "line", "rule"),
    [
        ("self-provided-invalid_statement.sta", 1, "structure"),
        ("self-provided-sparkassen.sta", 1, "structure"),
        ("self-provided-raphaelm.sta", 27, "currency"),
    ],
)
def test_a_malformed_file_is_refused_by_line_and_rule(name: str, line: int, rule: str) -> None:
    found = refused(real(name))

    assert (found.line, found.rule) == (line, rule)


def test_a_closing_balance_without_currency_is_refused_in_our_currency_too() -> None:
    found = refused(real("self-provided-raphaelm.sta").replace(b"DEM", b"EUR"))

    assert (found.line, found.rule) == (27, "currency")


def test_a_german_mark_that_adds_up_is_not_our_currency() -> None:
    found = refused(mt940(replace(PAGE, currency="DEM")))

    assert isinstance(found, NotOurCurrency)


# Any statement


def as_written(entry: Entry) -> tuple[object, ...]:
    return entry.booked_at, entry.value_date, entry.cents, entry.is_reversal, entry.text


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pages, min_size=1, max_size=3), st.sampled_from([mt940, camt]))
def test_any_statement_is_read_as_it_was_written(written: list[Page], write: object) -> None:
    found = parse_statement(write(*written))  # type: ignore[operator]

    for page, statement in zip(written, found, strict=True):
        assert (statement.opening, statement.closing, statement.as_of) == (page.opening, page.closing, page.closing_on)
        assert (statement.account, statement.asset) == (page.account, f"{page.currency}.bank")
        assert [as_written(entry) for entry in statement.entries] == [
            (line.booked_at, line.value_date, line.cents, line.is_reversal, line.text) for line in page.lines
        ]


@given(pages.filter(lambda page: page.lines), st.data(), st.sampled_from([mt940, camt]))
def test_any_changed_amount_is_refused(page: Page, data: st.DataObject, write: object) -> None:
    """One digit of one entry, the balances as they were."""
    changed = data.draw(st.sampled_from(range(len(page.lines))))
    by = data.draw(st.integers(-1_000_000, 1_000_000).filter(lambda by: by and page.lines[changed].cents + by))
    lines = list(page.lines)
    lines[changed] = replace(lines[changed], cents=lines[changed].cents + by)
    other = replace(page, lines=tuple(lines), opening=page.opening - by)
    honest, forged = (write(each).decode() for each in (page, other))  # type: ignore[operator]

    opening = ":60F:" if write is mt940 else "OPBD"
    [true], [false] = ([line for line in text.splitlines() if opening in line] for text in (honest, forged))

    assert refused(forged.replace(false, true).encode()).rule == "sum"


@given(pages)
def test_both_formats_name_an_entry_alike(page: Page) -> None:
    """So a report in one format and a statement in the other show one entry."""
    [swift], [xml] = parse_statement(mt940(page)), parse_statement(camt(page))

    assert [entry.reference for entry in swift.entries] == [entry.reference for entry in xml.entries]


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    found = list(verdicts(data))

    assert found


@given(pages, st.data())
def test_a_damaged_statement_is_read_or_refused(page: Page, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([mt940(page), camt(page)])))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    assert list(verdicts(bytes(whole)))


# Names of entries


def test_an_entry_keeps_its_name_from_the_report_to_the_statement() -> None:
    [report] = parse_statement(camt(PAGE, message="052", with_balances=False))
    [note] = parse_statement(camt(PAGE, message="054", version=8, with_balances=False))
    [statement] = parse_statement(camt(PAGE))

    names = [entry.reference for entry in statement.entries]
    assert [entry.reference for entry in report.entries] == [entry.reference for entry in note.entries] == names
    assert (report.kind, note.kind, statement.kind) == ("report", "notification", "statement")
    assert (report.opening, report.closing, report.as_of) == (None, None, date(2026, 11, 25))


def test_equal_entries_of_a_day_without_a_reference_are_told_apart_by_their_order() -> None:
    [statement] = parse_statement(mt940(replace(PAGE, lines=(RENT, RENT, RENT))))
    [earlier] = parse_statement(mt940(replace(PAGE, lines=(RENT, RENT))))

    names = [entry.reference for entry in statement.entries]
    assert len(set(names)) == 3
    assert [entry.reference for entry in earlier.entries] == names[:2]


@pytest.mark.parametrize("own", ["NONREF", "nonref", "NOTPROVIDED"])
def test_a_bank_that_writes_that_it_has_no_name_gives_none(own: str) -> None:
    [statement] = parse_statement(camt(replace(PAGE, lines=(replace(RENT, own=own),))))
    [without] = parse_statement(camt(replace(PAGE, lines=(RENT,))))

    assert statement.entries[0].reference == without.entries[0].reference


def test_two_entries_of_one_name_are_refused() -> None:
    """One of them would never be issued, or the other one twice."""
    twice = replace(PAGE, lines=(replace(RENT, own="X1"), replace(RENT, own="X1", cents=1)))

    assert refused(mt940(twice)).rule == "reference"
    assert refused(camt(twice).replace(b"\n", b"")).rule == "reference"


def test_a_reversal_may_bear_the_name_of_what_it_takes_back() -> None:
    taken_back = replace(RENT, own="X1", cents=-RENT.cents, is_reversal=True)
    [statement] = parse_statement(mt940(replace(PAGE, lines=(replace(RENT, own="X1"), taken_back))))

    assert [entry.reference for entry in statement.entries] == ["X1", "X1.reversal"]
    assert statement.closing == statement.opening


def test_a_reference_that_fits_no_stream_is_digested_with_its_account() -> None:
    odd = replace(PAGE, lines=(replace(RENT, own="341/2 B"),))
    [one], [other] = parse_statement(mt940(odd)), parse_statement(mt940(replace(odd, account="NL91ABNA0417164300")))

    assert len(one.entries[0].reference) == 64
    assert one.entries[0].reference != other.entries[0].reference


def test_a_long_reference_is_whole_in_either_format() -> None:
    """The library cuts it after 23 characters; the one of the statement would then be another than the report's."""
    long = replace(PAGE, lines=(replace(RENT, own="2022070616391534000-000000000001"),))
    [swift], [xml] = parse_statement(mt940(long)), parse_statement(camt(long))

    assert swift.entries[0].reference == xml.entries[0].reference == "2022070616391534000-000000000001"


def test_the_next_page_of_a_day_goes_on_counting() -> None:
    first = mt940(replace(PAGE, lines=(RENT,))).replace(b":62F:", b":62M:")
    second = mt940(replace(PAGE, opening=125_000, lines=(RENT,))).replace(b":60F:", b":60M:")

    one, two = parse_statement(first + second)

    assert one.entries[0].reference != two.entries[0].reference


def test_a_statement_that_a_file_holds_twice_names_its_entries_once() -> None:
    one, two = parse_statement(mt940(PAGE, PAGE))

    assert one == two


# MT940


def test_a_reversal_has_the_sign_of_its_own_booking() -> None:
    text = mt940(replace(PAGE, lines=(replace(RENT, cents=-500, is_reversal=True),))).decode()
    assert "RC5,00" in text

    [statement] = parse_statement(text.encode())

    assert (statement.closing, statement.entries[0].cents) == (99_500, -500)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("1124C250,00N", "1124C250,000N", "decimals"),
        ("1124C250,00N", "1124C250N", "form"),
        ("1124C250,00N", "1124C2,50,0N", "form"),
        ("1124C250,00N", "1124EC250,00N", "form"),
        ("1124C250,00N", "0231C250,00N", "date"),
        ("261124112", "260231112", "date"),
        (":62F:C261125EUR", ":62F:C261125USD", "currency"),
        (":62F:C261125EUR", ":62F:C261125", "currency"),
        (":62F:C261125EUR", ":62F:C260230EUR", "date"),
        (":62F:C261125EUR1208,50", ":62F:C261125EUR1208,50X", "form"),
        (":62F:C261125EUR1208,50", ":62F:C261125EUR1208,51", "sum"),
        (":62F:C", ":62F:D", "sum"),
        (":60F:", ":60X:", "structure"),
        (":25:", ":26:", "structure"),
        (":62F:", ":60F:C261125EUR1000,00\r\n:62F:", "structure"),
        ("-\r\n", ":61:2611241124C0,00NTRFNONREF\r\n-\r\n", "structure"),
        ("EUR1000", "EU\u06601000", "currency"),
    ],
)
def test_an_mt940_that_is_not_as_it_should_be_is_refused(old: str, new: str, rule: str) -> None:
    text = mt940(PAGE).decode()
    assert old in text

    assert refused(text.replace(old, new, 1).encode()).rule == rule


def test_a_refusal_names_the_line() -> None:
    """Lines of the file, not of the statement: the second one begins in the eleventh."""
    text = mt940(PAGE, PAGE).decode().splitlines()
    assert text[14].startswith(":61:")
    text[14] = text[14].replace("C250,00", "C250,001")

    found = refused("\n".join(text).encode())

    assert (found.line, found.rule) == (15, "decimals")
    assert str(found) == "line 15: 250,001 has 3 decimals, money at a bank has two (decimals)"


@pytest.mark.parametrize(("year", "day"), [("25", 28), ("28", 29)])
def test_29_and_30_february_are_value_dates_in_any_year(year: str, day: int) -> None:
    line = replace(RENT, booked_at=date(2000 + int(year), 3, 1), value_date=date(2000 + int(year), 3, 1))
    text = mt940(replace(PAGE, lines=(line,))).decode()

    for written in ("0229", "0230"):
        [statement] = parse_statement(text.replace(f":61:{year}0301", f":61:{year}{written}").encode())
        assert statement.entries[0].value_date == date(2000 + int(year), 2, day)


def test_a_booking_across_the_turn_of_the_year_has_the_nearer_year() -> None:
    line = replace(RENT, value_date=date(2026, 1, 2), booked_at=date(2025, 12, 31))

    [statement] = parse_statement(mt940(replace(PAGE, lines=(line,))))

    assert statement.entries[0].booked_at == date(2025, 12, 31)


def test_a_path_that_is_also_a_file_is_not_opened(tmp_path: Path) -> None:
    """The library's own parse would."""
    path = tmp_path / "statement.sta"
    path.write_bytes(mt940(PAGE))

    assert refused(str(path).encode()).rule == "structure"


def test_who_paid_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The library logs each field that it cannot read."""
    with caplog.at_level("DEBUG"):
        refused(mt940(PAGE).replace(b"1124C250,00", b"1124Q250,00"))

    assert not caplog.records


# CAMT


@pytest.mark.parametrize("version", range(1, 9))
@pytest.mark.parametrize("message", ["052", "053", "054"])
def test_every_version_of_a_message_says_the_same(message: str, version: int) -> None:
    [statement] = parse_statement(camt(PAGE, message=message, version=version))

    assert [entry.cents for entry in statement.entries] == [25_000, -4_150]
    assert statement.entries[1].value_date == date(2026, 11, 26) > statement.entries[1].booked_at
    assert statement.closing == 120_850


def test_a_message_of_several_statements_is_several() -> None:
    after = Page(PAGE.closing, (replace(RENT, cents=-700),), number="2")

    one, two = parse_statement(camt(PAGE, after))

    assert (one.closing, two.opening, two.closing) == (120_850, 120_850, 120_150)


@pytest.mark.parametrize("status", ["PDNG", "INFO", "FUTR"])
def test_what_is_pending_or_announced_is_no_money(status: str) -> None:
    waiting = ntry(replace(RENT, cents=9_999_900), "EUR", status=status).encode()

    [statement] = parse_statement(camt(PAGE).replace(b"<Ntry>", waiting + b"<Ntry>", 1))

    assert [entry.cents for entry in statement.entries] == [25_000, -4_150]


def test_an_account_without_an_iban_has_another_number() -> None:
    text = camt(PAGE).replace(b"<IBAN>", b"<Othr><Id>").replace(b"</IBAN>", b"</Id></Othr>")

    [statement] = parse_statement(text)

    assert statement.account == PAGE.account


def test_balances_that_forecast_are_passed_over() -> None:
    """Real ones have an available balance in yen, of an account in euro."""
    forecast = b'<Bal><Tp><CdOrPrtry><Cd>CLAV</Cd></CdOrPrtry></Tp><Amt Ccy="KWD">27.001</Amt></Bal>'

    [statement] = parse_statement(camt(PAGE).replace(b"<Bal>", forecast * 2 + b"<Bal>", 1))

    assert (statement.opening, statement.closing) == (100_000, 120_850)


def test_what_was_closed_before_is_an_opening_balance() -> None:
    [statement] = parse_statement(camt(PAGE).replace(b"OPBD", b"PRCD"))

    assert statement.opening == 100_000


def test_a_day_with_a_time_is_that_day() -> None:
    """As some banks write it, whatever the schema says."""
    text = camt(PAGE).replace(b"<ValDt><Dt>2026-11-26<", b"<ValDt><Dt>2026-11-26T23:30:00+02:00<")

    [statement] = parse_statement(text)

    assert statement.entries[1].value_date == date(2026, 11, 26)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (">250.00<", ">250.00000<", "decimals"),
        (">250.00<", ">2e2<", "form"),
        (">250.00<", ">-250.00<", "form"),
        (">250.00<", "><", "form"),
        (">250.00<", ">250.<x/>00<", "form"),
        (">250.00<", ">250.01<", "sum"),
        ('"EUR">250.00', '"USD">250.00', "currency"),
        ('"EUR">1208.50', '"USD">1208.50', "currency"),
        ('Ccy="EUR">250.00', ">250.00", "currency"),
        ("<Ccy>EUR", "<Ccy>PLN", "currency"),
        ("CRDT", "CRED", "form"),
        ("<RvslInd>false", "<RvslInd>no", "form"),
        (">BOOK<", ">BOOKED<", "form"),
        ("<Sts>BOOK</Sts>", "", "structure"),
        (">CLBD<", ">ITBD<", "structure"),
        (">CLBD<", ">OPBD<", "structure"),
        ("<IBAN>", "<NAME>", "form"),
        ("-24T10:15", "-31T10:15", "date"),
        ("camt.053.001.02", "camt.053.001.09", "form"),
        ("camt.053.001.02", "pain.001.001.02", "form"),
        ("<Document", '<!DOCTYPE Document [<!ENTITY a "1">]>\n<Document', "form"),
    ],
)
def test_a_camt_that_is_not_as_it_should_be_is_refused(old: str, new: str, rule: str) -> None:
    text = camt(PAGE).decode()
    assert old in text

    assert refused(text.replace(old, new, 1).encode()).rule == rule


def test_a_refusal_names_the_way_through_the_xml() -> None:
    """A message is often one line."""
    text = camt(PAGE, PAGE).replace(b"\n", b"")
    cut = text.rindex(b">250.00<")

    found = refused(text[:cut] + b">250.000<" + text[cut + 8 :])

    assert (found.line, found.path, found.rule) == (1, "Stmt[2]/Ntry[1]/Amt[1]", "decimals")


def test_an_entity_reads_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("250.00")
    kind = f'<!DOCTYPE Document [<!ENTITY a SYSTEM "{secret.as_uri()}">]>\n<Document'

    assert refused(camt(PAGE).replace(b"<Document", kind.encode(), 1).replace(b">250.00<", b">&a;<")).rule == "form"


def test_a_report_without_a_currency_is_refused() -> None:
    empty = camt(replace(PAGE, lines=()), message="052", with_balances=False).replace(b"<Ccy>EUR</Ccy>", b"")

    assert refused(empty).rule == "currency"


def test_a_comment_within_an_amount_hides_no_digit() -> None:
    [statement] = parse_statement(camt(PAGE).replace(b">250.00<", b">25<!-- -->0.00<"))

    assert statement.entries[0].cents == 25_000


@given(days)
def test_the_source_of_an_entry_is_the_digest_of_its_own_words(day: date) -> None:
    other = replace(RENT, booked_at=day, value_date=day)
    for write in (mt940, camt):
        [alone], [beside] = (parse_statement(write(replace(PAGE, lines=ls))) for ls in ((RENT,), (other, RENT)))

        assert alone.entries[0].source == beside.entries[1].source
        assert alone.source != beside.source


def test_a_file_beyond_all_measure_is_not_looked_at() -> None:
    assert refused(b"\0" * (MAX_BYTES + 1)).rule == "size"


def test_an_empty_file_holds_no_statement() -> None:
    assert refused(b"").rule == "structure"
    assert refused(camt()).rule == "structure"
