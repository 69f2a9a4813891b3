"""What the libraries behind `swift` and `camt` really do; why we read signs, dates, references and files ourselves."""

from decimal import Decimal
from pathlib import Path

import mt940
import pytest
from lxml import etree
from mt940.models import Transactions
from mt940.tags import TAG_BY_ID, StatementGLS

pytestmark = pytest.mark.dependency

HEAD = ":20:X\n:25:1\n:28C:1\n:60F:C261125EUR10,00\n"


def test_a_reversal_of_a_credit_is_a_credit_to_mt_940() -> None:
    """Unless it is asked otherwise; 5.1.1."""
    found = mt940.parse(HEAD + ":61:261125RC5,00NTRFNONREF\n:62F:C261125EUR5,00\n")

    assert found[0].data["amount"].amount == Decimal(5)


def test_any_day_of_february_after_its_last_is_its_last_to_mt_940() -> None:
    found = mt940.parse(HEAD + ":61:260299C5,00NTRFNONREF\n")

    assert str(found[0].data["date"]) == "2026-02-28"


def test_mt_940_cuts_a_bank_s_reference_after_23_characters() -> None:
    parts = StatementGLS().parse(Transactions(), "261125C5,00NTRFNONREF//" + "0123456789" * 3)

    assert parts["bank_reference"] == "01234567890123456789012"


def test_a_currency_may_be_digits_to_mt_940() -> None:
    parts = TAG_BY_ID["62F"].parse(Transactions(), "C261125105000,00")

    assert (parts["currency"], parts["amount"]) == ("105", "000,00")


def test_mt_940_adds_nothing_up() -> None:
    found = mt940.parse(HEAD + ":61:261125C5,00NTRFNONREF\n:62F:C261125EUR99,00\n")

    assert found.data["final_closing_balance"].amount.amount == Decimal(99)


def test_bytes_that_name_a_file_are_that_file_to_mt_940(tmp_path: Path) -> None:
    path = tmp_path / "other.sta"
    path.write_text(HEAD)

    assert mt940.parse(str(path).encode()).data["account_identification"] == "1"


def test_lxml_gives_an_amount_without_what_follows_a_comment() -> None:
    """As it is by default; comments are removed while it is read."""
    kept, removed = (etree.fromstring(b"<a>1<!-- -->00</a>", etree.XMLParser(remove_comments=no)) for no in (False, True))

    assert (kept.text, removed.text) == ("1", "100")
