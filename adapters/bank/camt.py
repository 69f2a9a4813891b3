"""CAMT.052, .053 and .054 (ISO 20022), versions 1 to 8: the intraday report, the statement, the notification.

What the versions write differently is listed once: where the account, a balance's code and an entry's status stand.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  it has no stubs

from adapters.bank.entries import Entry, References, Statement, StatementRefused, adds_up, asset_of, cents_of

_NAMESPACE = re.compile(r"\{(urn:iso:std:iso:20022:tech:xsd:camt\.(05[234])\.001\.0([1-8]))\}Document")

_Kind = Literal["statement", "report", "notification"]
_KINDS: dict[str, tuple[_Kind, str, str]] = {
    "052": ("report", "BkToCstmrAcctRpt", "Rpt"),
    "053": ("statement", "BkToCstmrStmt", "Stmt"),
    "054": ("notification", "BkToCstmrDbtCdtNtfctn", "Ntfctn"),
}

_ACCOUNT = ("Acct/Id/IBAN", "Acct/Id/Othr/Id", "Acct/Id/BBAN", "Acct/Id/PrtryAcct/Id")
_BALANCE_CODE = ("Tp/CdOrPrtry/Cd", "Tp/Cd")
_STATUS = ("Sts/Cd", "Sts")
_SIGNS = {"CRDT": 1, "DBIT": -1}
_OPENINGS = ("OPBD", "PRCD")
"""Opening booked, or what was closed before: some banks write one, some the other, some both."""
_CLOSING = "CLBD"
_NO_MONEY = ("PDNG", "INFO", "FUTR")


@dataclass(frozen=True, slots=True)
class _Node:
    """An element, by its name within the version's namespace."""

    element: Any
    namespace: str

    @property
    def line(self) -> int:
        return int(self.element.sourceline or 1)

    def all(self, path: str) -> list["_Node"]:
        steps = "/".join(f"{{{self.namespace}}}{step}" for step in path.split("/"))
        return [_Node(found, self.namespace) for found in self.element.findall(steps)]

    def text(self, *paths: str) -> str:
        """What stands at the first of the paths that holds text; empty where none does."""
        for path in paths:
            for found in self.all(path):
                if not len(found.element) and (text := (found.element.text or "").strip()):
                    return text
        return ""

    def need(self, *paths: str) -> str:
        if not (text := self.text(*paths)):
            raise StatementRefused.at(self, "structure", f"there is no {paths[0]}")
        return text

    @property
    def path(self) -> str:
        """`Stmt[2]/Ntry[1]`, counted as XPath does."""
        steps = []
        element = self.element
        while (parent := element.getparent()) is not None and parent.getparent() is not None:
            same = [each for each in parent if each.tag == element.tag]
            steps.append(f"{etree.QName(element).localname}[{same.index(element) + 1}]")
            element = parent
        return "/".join(reversed(steps)) or "Document"


@dataclass(frozen=True, slots=True)
class _Balance:
    code: str
    cents: int
    currency: str
    on: date
    amount: _Node


def read(data: bytes) -> Iterator[Statement | StatementRefused]:
    """Each statement, report or notification of the message, or why it is not believed."""
    source = hashlib.sha256(data).hexdigest()
    try:
        kind, found = _message(data)
    except StatementRefused as refused:
        yield refused
        return
    for node in found:
        try:
            yield _statement(node, kind, source)
        except StatementRefused as refused:
            yield refused


def _message(data: bytes) -> tuple[_Kind, list[_Node]]:
    # No entity of a statement is worth a look at the disk or the network, and no statement declares its own.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, huge_tree=False
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise StatementRefused(error.lineno or 1, "form", f"no XML: {error.msg}") from None
    if root.getroottree().docinfo.doctype:
        raise StatementRefused(1, "form", "a statement has no document type of its own")
    known = _NAMESPACE.fullmatch(root.tag)
    if not known:
        text = f"{etree.QName(root).namespace or 'no namespace'} is no CAMT.052, .053 or .054 of version 1 to 8"
        raise StatementRefused(root.sourceline or 1, "form", text)
    kind, message, name = _KINDS[known[2]]
    suffix = "V01" if known[3] == "1" else ""
    return kind, _Node(root, known[1]).all(f"{message}{suffix}/{name}")


def _statement(node: _Node, kind: _Kind, source: str) -> Statement:
    account = node.need(*_ACCOUNT)
    # Available balances are forecasts, and may be in any currency.
    balances = [_balance(each) for each in node.all("Bal") if each.text(*_BALANCE_CODE) in (*_OPENINGS, _CLOSING)]
    opening, closing = _opening(balances), _only(balances, _CLOSING)
    if kind == "statement" and (opening is None or closing is None):
        missing = "opening balance, OPBD or PRCD" if opening is None else "closing balance, CLBD"
        raise StatementRefused.at(node, "structure", f"there is no {missing}")
    # Money that is only announced still has to be in the account's currency.
    asset = _asset(node, (opening, closing))
    references = References(account)
    entries = tuple(_entry(each, references) for each in node.all("Ntry") if _is_booked(each))
    if opening and closing:
        adds_up(opening.cents, entries, closing.cents, closing.amount)
    ends = closing or opening
    return Statement(
        kind=kind, account=account, asset=asset, number=node.need("Id"),
        opening=opening.cents if opening else None, closing=closing.cents if closing else None,
        as_of=ends.on if ends else _date(node, "CreDtTm"), entries=entries, source=source,
    )  # fmt: skip


def _asset(node: _Node, balances: Iterable[_Balance | None]) -> str:
    """The one currency of account, balances and entries. Raises StatementRefused, NotOurCurrency."""
    named = [(currency, node) for currency in [node.text("Acct/Ccy")] if currency]
    named += [(balance.currency, balance.amount) for balance in balances if balance]
    named += [(amount.element.get("Ccy") or "", amount) for amount in node.all("Ntry/Amt")]
    if not named:
        raise StatementRefused.at(node, "currency", "no currency is named")
    first, place = named[0]
    asset = asset_of(first, place)
    for currency, place in named:
        if currency != first:
            text = f"an amount in {currency or 'no currency'}, on an account in {first}"
            raise StatementRefused.at(place, "currency", text)
    return asset


def _opening(balances: list[_Balance]) -> _Balance | None:
    return next((found for code in _OPENINGS if (found := _only(balances, code))), None)


def _only(balances: list[_Balance], code: str) -> _Balance | None:
    found = [balance for balance in balances if balance.code == code]
    if len(found) > 1:
        raise StatementRefused.at(found[1].amount, "structure", f"a second balance {code}")
    return found[0] if found else None


def _balance(node: _Node) -> _Balance:
    amount = _amount(node)
    code, currency = node.text(*_BALANCE_CODE), amount.element.get("Ccy") or ""
    return _Balance(code, _cents(node), currency, _date(node, "Dt/Dt", "Dt/DtTm"), amount)


def _is_booked(node: _Node) -> bool:
    status = node.need(*_STATUS)
    if status != "BOOK" and status not in _NO_MONEY:
        raise StatementRefused.at(node, "form", f"{status[:20]!r} is no status of an entry")
    return status == "BOOK"


def _entry(node: _Node, references: References) -> Entry:
    cents = _cents(node)
    booked_at = _date(node, "BookgDt/Dt", "BookgDt/DtTm")
    value_date = _date(node, "ValDt/Dt", "ValDt/DtTm") if node.all("ValDt") else booked_at
    is_reversal = _is_true(node, "RvslInd")
    # A batch has many payments, and the name of one of them would not be the entry's.
    payments = node.all("NtryDtls/TxDtls")
    payment_reference = payments[0].text("Refs/EndToEndId") if len(payments) == 1 else ""
    return Entry(
        reference=references.name(node.text("AcctSvcrRef"), booked_at, cents, node, is_reversal=is_reversal),
        booked_at=booked_at, value_date=value_date, cents=cents, is_reversal=is_reversal,
        payment_reference="" if payment_reference.upper() == "NOTPROVIDED" else payment_reference,
        text=_told(node), source=hashlib.sha256(etree.tostring(node.element, method="c14n", with_tail=False)).hexdigest(),
    )  # fmt: skip


def _told(node: _Node) -> str:
    found = node.all("NtryDtls/TxDtls/RmtInf/Ustrd") + node.all("AddtlNtryInf")
    return "\n".join(text for each in found if (text := (each.element.text or "").strip()))


def _cents(node: _Node) -> int:
    """The amount with its sign. CdtDbtInd is that of this booking, reversal or not (ISO 20022, RvslInd)."""
    amount = _amount(node)
    sign = _SIGNS.get(node.need("CdtDbtInd"))
    if sign is None:
        raise StatementRefused.at(node, "form", "an amount is either CRDT or DBIT")
    digits = "" if len(amount.element) else (amount.element.text or "").strip()
    return sign * cents_of(digits, amount, ".")


def _amount(node: _Node) -> _Node:
    found = node.all("Amt")
    if len(found) != 1:
        raise StatementRefused.at(node, "structure", f"there is one Amt, not {len(found)}")
    return found[0]


def _is_true(node: _Node, name: str) -> bool:
    said = node.text(name)
    if said not in ("", "true", "false", "1", "0"):
        raise StatementRefused.at(node, "form", f"{name} is true or false, not {said[:20]!r}")
    return said in ("true", "1")


def _date(node: _Node, *paths: str) -> date:
    """The bank's own day: a time or an offset after it is passed over, and some banks write one where a day belongs."""
    text = node.need(*paths)
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T+Z-].*)?", text):
            raise ValueError
        return date.fromisoformat(text[:10])
    except ValueError:
        raise StatementRefused.at(node, "date", f"{text[:40]!r} is no date") from None
