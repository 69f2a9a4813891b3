"""MT940, SWIFT's customer statement, in the dialects that banks write.

The library's patterns know the dialects. What stands where, in which order and on which line is read here, and so is what a
field is worth: the library takes `RC` for a credit and the 40th of February for its last day.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

from mt940.models import Transactions
from mt940.tags import TAG_BY_ID, StatementGLS, Tag

from adapters.bank.entries import Entry, References, Statement, StatementRefused, adds_up, asset_of, cents_of

# It logs each field that it cannot read, with the names of who paid.
logging.getLogger("mt940").setLevel(logging.CRITICAL + 1)

_TAGS = frozenset(
    "13 13D 20 21 25 25P 28 28C 34F 60F 60M 61 62F 62M 64 65 86 90C 90D NS".split()  # noqa: SIM905
)
_TAG = re.compile(r":([0-9]{2}[A-Z]?|NS):(.*)")
_END = re.compile(r"-(\}.*|\x03)?|\{1:.*")
_NOTHING = re.compile(r"[\x01\x03]?|\{.*|-?\}.*")
"""What may stand between two statements: control characters and SWIFT's own envelope."""

_LINE = StatementGLS()
"""The field 61 of any dialect: it takes references of any length, and a line of supplement."""
_ALONE = Transactions()

_SIGNS = {"C": 1, "D": -1, "RC": -1, "RD": 1}
"""Credit, debit, and the reversals of a credit and of a debit. `EC` and `ED` announce: they are no money."""


@dataclass(slots=True)
class _Field:
    tag: str
    line: int
    lines: list[str]
    path: str = ""

    @property
    def value(self) -> str:
        return "\n".join(text for line in self.lines if (text := line.rstrip())).strip()


@dataclass(slots=True)
class _Block:
    """From `:20:` to the end of a statement, or whatever stands where a statement should."""

    line: int
    fields: list[_Field] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Balance:
    cents: int
    currency: str
    on: date


def read(data: bytes) -> Iterator[Statement | StatementRefused]:
    """Each statement of the file, or why it is not believed."""
    source = hashlib.sha256(data).hexdigest()
    references: References | None = None
    for block in _blocks(_text(data)):
        try:
            statement, references = _statement(block, source, references)
            yield statement
        except StatementRefused as refused:
            references = None
            yield refused


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _blocks(text: str) -> Iterator[_Block]:
    block: _Block | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        found = _TAG.fullmatch(line) if line.startswith(":") else None
        tag = found[1] if found and found[1] in _TAGS else None
        if tag == "20" or (block is None and not _NOTHING.fullmatch(line.strip())):
            if block:
                yield block
            block = _Block(number)
        if block is None:
            continue
        if _END.fullmatch(line):
            yield block
            block = None
        elif found and tag:
            block.fields.append(_Field(tag, number, [found[2]]))
        elif block.fields:
            block.fields[-1].lines.append(line)
    if block:
        yield block


def _statement(block: _Block, source: str, page_before: References | None) -> tuple[Statement, References]:
    """The statement, and the names that its next page goes on with."""
    if not block.fields or block.fields[0].tag != "20":
        raise StatementRefused(block.line, "structure", "a statement begins with its reference, :20:")
    account = _one(block, "25", "25P", name="account, :25:").value
    first = _one(block, "60F", "60M", name="opening balance, :60F:")
    last = _one(block, "62F", "62M", name="closing balance, :62F:")
    opening, closing = _balance(first, "opening"), _balance(last, "closing")
    asset = asset_of(opening.currency, first)
    if closing.currency != opening.currency:
        text = f"the closing balance is in {closing.currency}, the opening one in {opening.currency}"
        raise StatementRefused(last.line, "currency", text)
    is_next_page = first.tag == "60M" and page_before is not None and page_before.account == account
    references = page_before if is_next_page and page_before else References(account)
    entries = tuple(_entry(line, rest, references) for line, rest in _lines(block, first.line, last.line))
    adds_up(opening.cents, entries, closing.cents, last)
    number = next((found.value for found in block.fields if found.tag in ("28", "28C")), "")
    balances = opening.cents, closing.cents, closing.on
    return Statement("statement", account, asset, number, *balances, entries, source), references


def _one(block: _Block, *tags: str, name: str) -> _Field:
    found = [each for each in block.fields if each.tag in tags]
    if not found:
        raise StatementRefused(block.line, "structure", f"the statement has no {name}")
    if len(found) > 1:
        raise StatementRefused(found[1].line, "structure", f"the statement has a second {name}")
    return found[0]


def _lines(block: _Block, first: int, last: int) -> Iterator[tuple[_Field, list[_Field]]]:
    """Each field 61 with the fields that say more of it."""
    line: _Field | None = None
    rest: list[_Field] = []
    for found in block.fields:
        if found.tag == "61":
            if not first < found.line < last:
                raise StatementRefused(found.line, "structure", "an entry stands between opening and closing balance")
            if line:
                yield line, rest
            line, rest = found, []
        elif line and found.line > last:
            break
        elif line and found.tag in ("86", "NS"):
            rest.append(found)
    if line:
        yield line, rest


def _balance(found: _Field, name: str) -> _Balance:
    parts = _parts(TAG_BY_ID["60F"], found)
    if not re.fullmatch("[A-Z]{3}", parts["currency"]):
        raise StatementRefused(found.line, "currency", f"the {name} balance names no currency")
    if "".join(parts.values()) != found.value:
        raise StatementRefused(found.line, "form", f"the {name} balance goes on after its amount")
    cents = _cents(parts["amount"], found) * _SIGNS[parts["status"].upper()]
    return _Balance(cents, parts["currency"], _date(found.line, parts["year"], parts["month"], parts["day"]))


def _entry(found: _Field, rest: list[_Field], references: References) -> Entry:
    parts = _parts(_LINE, found)
    mark = parts["status"].upper()
    cents = _cents(parts["amount"], found) * _SIGNS[mark]
    value_date = _date(found.line, parts["year"], parts["month"], _day_of(parts))
    booked_at = _booked_at(found.line, value_date, parts["entry_month"].strip(), parts["entry_day"].strip())
    is_reversal = mark.startswith("R")
    reference = references.name(_own(found, parts), booked_at, cents, found, is_reversal=is_reversal)
    theirs = parts["customer_reference"].strip()
    texts = [parts["extra_details"].strip(), *(each.value for each in rest)]
    raw = "\n".join(f":{each.tag}:" + "\n".join(each.lines) for each in (found, *rest))
    return Entry(
        reference=reference, booked_at=booked_at, value_date=value_date, cents=cents, is_reversal=is_reversal,
        payment_reference="" if theirs.upper() == "NONREF" else theirs, text="\n".join(text for text in texts if text),
        source=hashlib.sha256(raw.encode()).hexdigest(),
    )  # fmt: skip


def _own(found: _Field, parts: dict[str, str]) -> str:
    """The bank's reference to the end of its line: the library cuts it after 23 characters, and two could become one."""
    return found.value.partition("//")[2].partition("\n")[0] if parts["bank_reference"] else ""


def _parts(tag: Tag, found: _Field) -> dict[str, str]:
    try:
        return {name: part or "" for name, part in tag.parse(_ALONE, found.value).items()}
    except RuntimeError:
        raise StatementRefused(found.line, "form", f"the field {found.tag} is not written as MT940 has it") from None


def _cents(digits: str, found: _Field) -> int:
    if "," not in digits:
        raise StatementRefused.at(found, "form", f"{digits[:40]!r} is no amount: one has a decimal comma")
    return cents_of(digits, found, ",")


def _day_of(parts: dict[str, str]) -> str:
    """Where a month has thirty days for interest, 30 February is a value date: the month's last day."""
    if parts["month"] == "02" and parts["day"] in ("29", "30"):
        return "29" if int(parts["year"]) % 4 == 0 else "28"
    return parts["day"]


def _date(line: int, year: str, month: str, day: str) -> date:
    try:
        return date.fromisoformat(f"20{year}-{month}-{day}")
    except ValueError:
        raise StatementRefused(line, "date", f"{year}{month}{day} is no date") from None


def _booked_at(line: int, value_date: date, month: str, day: str) -> date:
    """The entry date has no year: it is the one that is nearest to the value date. Without it, the value date."""
    if not month and not day:
        return value_date
    near = []
    for year in (value_date.year - 1, value_date.year, value_date.year + 1):
        try:
            near.append(date.fromisoformat(f"{year:04}-{month}-{day}"))
        except ValueError:
            continue
    if not near:
        raise StatementRefused(line, "date", f"{month}{day} is no day of a year")
    return min(near, key=lambda day: abs(day - value_date))
