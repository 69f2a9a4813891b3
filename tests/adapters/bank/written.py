"""Statements as a bank would write them, from a plain description; written without a look at the reader."""

from dataclasses import dataclass
from datetime import date

from hypothesis import strategies as st


@dataclass(frozen=True)
class Line:
    booked_at: date
    value_date: date
    cents: int
    is_reversal: bool = False
    own: str = ""
    """The bank's reference."""
    text: str = "rent"


@dataclass(frozen=True)
class Page:
    opening: int
    lines: tuple[Line, ...]
    account: str = "NL26VAYB8060476890"
    currency: str = "EUR"
    closing_on: date = date(2026, 11, 25)
    number: str = "1"

    @property
    def closing(self) -> int:
        return self.opening + sum(line.cents for line in self.lines)


def mt940(*pages: Page) -> bytes:
    return "".join(map(_mt940, pages)).encode()


def _mt940(page: Page) -> str:
    lines = [":20:STATEMENT", f":25:{page.account}", f":28C:{page.number}", f":60F:{_balance(page, page.opening)}"]
    for line in page.lines:
        mark = ("D" if line.is_reversal else "C") if line.cents >= 0 else ("C" if line.is_reversal else "D")
        mark = f"R{mark}" if line.is_reversal else mark
        own = f"//{line.own}" if line.own else ""
        lines.append(f":61:{line.value_date:%y%m%d}{line.booked_at:%m%d}{mark}{_comma(line.cents)}NTRFNONREF{own}")
        lines.append(f":86:{line.text}")
    return "\r\n".join([*lines, f":62F:{_balance(page, page.closing)}", "-", ""])


def _balance(page: Page, cents: int) -> str:
    return f"{'D' if cents < 0 else 'C'}{page.closing_on:%y%m%d}{page.currency}{_comma(cents)}"


def _comma(cents: int) -> str:
    return f"{abs(cents) // 100},{abs(cents) % 100:02}"


KINDS = {"052": ("BkToCstmrAcctRpt", "Rpt"), "053": ("BkToCstmrStmt", "Stmt"), "054": ("BkToCstmrDbtCdtNtfctn", "Ntfctn")}


def camt(*pages: Page, message: str = "053", version: int = 2, status: str = "BOOK", with_balances: bool = True) -> bytes:
    name, each = KINDS[message]
    name += "V01" if version == 1 else ""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.{message}.001.0{version}"><{name}>',
        "<GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-11-25T18:43:50+00:00</CreDtTm></GrpHdr>",
    ]
    for page in pages:
        parts.append(f"<{each}><Id>{page.number}</Id><CreDtTm>2026-11-25T18:43:50+00:00</CreDtTm>")
        parts.append(f"<Acct><Id><IBAN>{page.account}</IBAN></Id><Ccy>{page.currency}</Ccy></Acct>")
        if with_balances:
            parts += [_bal(page, "OPBD", page.opening, version), _bal(page, "CLBD", page.closing, version)]
        parts += [ntry(line, page.currency, version, status) for line in page.lines]
        parts.append(f"</{each}>")
    return "\n".join([*parts, f"</{name}></Document>"]).encode()


def _bal(page: Page, code: str, cents: int, version: int) -> str:
    kind = f"<Cd>{code}</Cd>" if version == 1 else f"<CdOrPrtry><Cd>{code}</Cd></CdOrPrtry>"
    return f"<Bal><Tp>{kind}</Tp>{_amt(cents, page.currency)}<Dt><Dt>{page.closing_on}</Dt></Dt></Bal>"


def ntry(line: Line, currency: str, version: int = 2, status: str = "BOOK") -> str:
    own = f"<AcctSvcrRef>{line.own}</AcctSvcrRef>" if line.own else ""
    said = f"<Cd>{status}</Cd>" if version >= 7 else status
    return (
        f"<Ntry>{_amt(line.cents, currency)}<RvslInd>{str(line.is_reversal).lower()}</RvslInd><Sts>{said}</Sts>"
        f"<BookgDt><DtTm>{line.booked_at}T10:15:00+01:00</DtTm></BookgDt><ValDt><Dt>{line.value_date}</Dt></ValDt>{own}"
        f"<NtryDtls><TxDtls><RmtInf><Ustrd>{line.text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )


def _amt(cents: int, currency: str) -> str:
    sign = "DBIT" if cents < 0 else "CRDT"
    return f'<Amt Ccy="{currency}">{abs(cents) // 100}.{abs(cents) % 100:02}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'


days = st.dates(date(2020, 1, 1), date(2030, 12, 31))
amounts = st.integers(-(10**9), 10**9).filter(bool)
texts = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 /?.,+-]{0,60}[A-Za-z0-9]", fullmatch=True)


@st.composite
def lines(draw: st.DrawFn) -> tuple[Line, ...]:
    """Some without a reference, and of those some alike. A booking is within half a year of its value date."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        value_date = draw(days)
        booked_at = date.fromordinal(value_date.toordinal() + draw(st.integers(-170, 170)))
        own = draw(st.sampled_from(["", f"REF{number}", f"A/{number} B"]))
        found.append(Line(booked_at, value_date, draw(amounts), draw(st.booleans()), own, draw(texts)))
    again = draw(st.integers(0, 2)) if found and not found[0].own else 0
    return (*found, *found[:1] * again)


pages = st.builds(
    Page, opening=st.integers(-(10**9), 10**10), lines=lines(), currency=st.sampled_from(["EUR", "USD", "GBP"]), closing_on=days
)
