"""A bank without the money: it keeps accounts, pays by key, and tells of what happened as badly as it is asked to."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pydantic import TypeAdapter

from adapters.bank.entries import Entry
from adapters.bank.observations import (
    DepositAvailable,
    DepositDisputed,
    DepositRefunded,
    DepositSeen,
    Observation,
    PayoutDone,
    PayoutReturned,
)
from adapters.bank.paper.faults import Fault, Faults, nothing
from adapters.bank.paper.kept import Kept, State
from adapters.bank.ports import Balance, Delivery, Entries, KeyReused, OrderRefused, Payment
from contracts import Amount

_TOLD: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (DepositSeen, DepositAvailable, DepositRefunded, DepositDisputed, PayoutDone, PayoutReturned)
}
_PAYMENT: TypeAdapter[Payment] = TypeAdapter(Payment)
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
_LATE = 3
"""How many times somebody asks before a delayed notification arrives, at the most."""


def _empty() -> State:
    return nothing() | {"entries": {}, "payments": {}, "deposits": {}, "waiting": [], "delivered": 0, "asked": 0}


class PaperBank:
    """One account for each asset, on one rail. What customers and other banks do, tests and demonstrations do by hand."""

    def __init__(
        self,
        path: Path | None = None,
        faults: Faults | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rail: str = "sepa",
    ) -> None:
        self._kept = Kept(path, _empty)
        self._faults = faults or Faults()
        self._now = now
        self._rail = rail

    # What it is asked

    def pay(self, key: str, destination: str, amount: Amount) -> Payment:
        return self._faults.asked(self._kept, lambda state: self._pay(state, key, destination, amount))

    def find(self, key: str) -> Payment | None:
        return self._faults.asked(self._kept, lambda state: _payment(state, key))

    def balance(self, asset: str) -> Balance:
        return self._faults.asked(self._kept, lambda state: self._balance(state, asset))

    def entries(self, asset: str, after: str = "") -> Entries:
        def answer(state: State) -> Entries:
            found = state["entries"].get(asset, [])
            return Entries(tuple(map(_ENTRY.validate_python, found[int(after or 0) :])), str(len(found)))

        return self._faults.asked(self._kept, answer)

    def deliveries(self) -> list[Delivery]:
        def answer(state: State) -> list[Delivery]:
            # Counted while something waits: an idle bank's file is not written at every look.
            state["asked"] += bool(state["waiting"])
            return [_delivery(each) for each in state["waiting"] if each["from"] <= state["asked"]]

        return self._faults.asked(self._kept, answer)

    def acknowledge(self, delivery: str) -> None:
        def act(state: State) -> None:
            state["waiting"] = [each for each in state["waiting"] if each["id"] != delivery]

        self._faults.asked(self._kept, act)

    # What happens outside

    def demand(self, fault: Fault, times: int = 1) -> None:
        """The next questions, or notifications, have this fault."""
        with self._kept.opened() as state:
            state["demanded"] += [fault.value] * times

    @property
    def demanded(self) -> int:
        """How many of them have not happened yet."""
        with self._kept.opened() as state:
            return len(state["demanded"])

    def deposit(self, reference: str, amount: Amount, *, owner: str = "", is_pending: bool = False) -> None:
        """Somebody pays. Pending, it is told and not booked. The same reference is the same payment."""
        with self._kept.opened() as state:
            if reference in state["deposits"]:
                return
            state["deposits"][reference] = {"asset": amount.asset, "cents": amount.units, "is_pending": is_pending}
            now = self._now()
            self._tell(state, DepositSeen(self._rail, reference, amount, now, now, _digest(reference), owner))
            if not is_pending:
                self._book(state, reference, amount.asset, amount.units)
                self._tell(state, DepositAvailable(self._rail, reference, amount, Amount.of(amount.asset, 0), now))

    def clear(self, reference: str, fee: int = 0) -> None:
        """A pending payment becomes available, less a fee in cents. Raises LookupError where none is pending."""
        with self._kept.opened() as state:
            found = state["deposits"].get(reference)
            if found is None or not found["is_pending"]:
                raise LookupError(f"no deposit {reference} is pending")
            found["is_pending"] = False
            net, cost = (Amount.of(found["asset"], cents) for cents in (found["cents"] - fee, fee))
            self._book(state, reference, net.asset, net.units)
            self._tell(state, DepositAvailable(self._rail, reference, net, cost, self._now()))

    def dispute(self, reference: str, dispute: str, *, is_lost: bool) -> None:
        """The payer's bank wants a deposit back, or has taken it. Raises LookupError where there is none."""
        with self._kept.opened() as state:
            found = state["deposits"][reference]
            amount = Amount.of(found["asset"], found["cents"])
            if is_lost:
                self._book(state, f"{reference}.reversal", amount.asset, -amount.units, is_reversal=True)
            self._tell(state, DepositDisputed(self._rail, reference, dispute, amount, "lost" if is_lost else "open"))

    def settle(self) -> int:
        """Whatever was ordered is paid and booked; how many that were."""
        with self._kept.opened() as state:
            waiting = [found for found in state["payments"].values() if found["state"] == "accepted"]
            for found in waiting:
                payment = _PAYMENT.validate_python(found)
                found["state"] = "paid"
                self._book(state, payment.reference, payment.amount.asset, -payment.amount.units, key=payment.key)
                self._tell(state, PayoutDone(self._rail, payment.key, payment.reference, self._now()))
            return len(waiting)

    def send_back(self, key: str, reason: str) -> None:
        """A payment that was paid comes back. Raises LookupError where none was."""
        with self._kept.opened() as state:
            payment = _payment(state, key)
            if payment is None or payment.state != "paid":
                raise LookupError(f"no payment {key} is paid")
            state["payments"][key]["state"] = "returned"
            reference, asset = f"{payment.reference}.reversal", payment.amount.asset
            self._book(state, reference, asset, payment.amount.units, key=key, is_reversal=True)
            self._tell(state, PayoutReturned(self._rail, key, payment.reference, reason, self._now()))

    def statement(self, asset: str) -> bytes:
        """All that was booked, as CAMT.053 version 8: what `parse_statement` reads."""
        with self._kept.opened() as state:
            entries = [_ENTRY.validate_python(entry) for entry in state["entries"].get(asset, [])]
        return _camt(self._rail, asset.partition(".")[0], entries, self._now())

    # Inside

    def _pay(self, state: State, key: str, destination: str, amount: Amount) -> Payment:
        if known := _payment(state, key):
            if (known.destination, known.amount) != (destination, amount):
                raise KeyReused(f"the key {key} orders {known.amount} to another destination or of another amount")
            return known
        if not amount.units:
            raise OrderRefused("a payment is of more than nothing")
        balance = self._balance(state, amount.asset)
        if balance.held.units - balance.owed.units < amount.units:
            raise OrderRefused(f"the account holds {balance.held}, of which {balance.owed} are to go")
        found = Payment(key, f"PAY-{_digest(key)[:16]}", destination, amount, "accepted")
        state["payments"][key] = _PAYMENT.dump_python(found, mode="json")
        return found

    def _balance(self, state: State, asset: str) -> Balance:
        held = sum(entry["cents"] for entry in state["entries"].get(asset, []))
        waiting = (found["amount"] for found in state["payments"].values() if found["state"] == "accepted")
        owed = sum(int(amount["units"]) for amount in waiting if amount["asset"] == asset)
        # A bank lends, where a lost dispute asks for more than there is; it then holds nothing.
        return Balance(Amount.of(asset, max(0, held)), Amount.of(asset, owed), self._now())

    def _book(self, state: State, reference: str, asset: str, cents: int, *, key: str = "", is_reversal: bool = False) -> None:
        day = self._now().date()
        entry = Entry(reference, day, day, cents, is_reversal, key, "", _digest(reference))
        state["entries"].setdefault(asset, []).append(_ENTRY.dump_python(entry, mode="json"))

    def _tell(self, state: State, observation: Observation) -> None:
        for _ in range(2 if self._faults.happens(state, Fault.DUPLICATE) else 1):
            state["delivered"] += 1
            late = 1 + self._faults.draw(state, "late") % _LATE if self._faults.happens(state, Fault.DELAY) else 0
            kind = type(observation).__name__
            told = {
                "id": f"{self._rail}-{state['delivered']}", "from": state["asked"] + late, "kind": kind,
                "fields": _TOLD[kind].dump_python(observation, mode="json"),
            }  # fmt: skip
            waiting: list[State] = state["waiting"]
            is_moved = self._faults.happens(state, Fault.REORDER)
            waiting.insert(self._faults.draw(state, "place") % (len(waiting) + 1) if is_moved else len(waiting), told)


def _payment(state: State, key: str) -> Payment | None:
    found = state["payments"].get(key)
    return None if found is None else _PAYMENT.validate_python(found)


def _delivery(told: State) -> Delivery:
    return Delivery(told["id"], _TOLD[told["kind"]].validate_python(told["fields"]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _camt(account: str, currency: str, entries: list[Entry], now: datetime) -> bytes:
    closing = sum(entry.cents for entry in entries)
    balances = "".join(
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{_amt(cents, currency)}<Dt><Dt>{now:%Y-%m-%d}</Dt></Dt></Bal>"
        for code, cents in (("OPBD", 0), ("CLBD", closing))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<GrpHdr><MsgId>{now:%Y%m%d%H%M%S}</MsgId><CreDtTm>{now.isoformat()}</CreDtTm></GrpHdr>"
        f"<Stmt><Id>{now:%Y%m%d%H%M%S}</Id><CreDtTm>{now.isoformat()}</CreDtTm>"
        f"<Acct><Id><Othr><Id>PAPER-{escape(account)}</Id></Othr></Id><Ccy>{currency}</Ccy></Acct>{balances}\n"
        + "".join(_ntry(entry, currency) for entry in entries)
        + "</Stmt></BkToCstmrStmt></Document>\n"
    ).encode()


def _ntry(entry: Entry, currency: str) -> str:
    reference = entry.reference.removesuffix(".reversal") if entry.is_reversal else entry.reference
    return (
        f"<Ntry>{_amt(entry.cents, currency)}<RvslInd>{str(entry.is_reversal).lower()}</RvslInd><Sts><Cd>BOOK</Cd></Sts>"
        f"<BookgDt><Dt>{entry.booked_at}</Dt></BookgDt><ValDt><Dt>{entry.value_date}</Dt></ValDt>"
        f"<AcctSvcrRef>{escape(reference)}</AcctSvcrRef>"
        f"<NtryDtls><TxDtls><Refs><EndToEndId>{escape(entry.payment_reference) or 'NOTPROVIDED'}</EndToEndId></Refs></TxDtls>"
        "</NtryDtls></Ntry>\n"
    )


def _amt(cents: int, currency: str) -> str:
    sign = "DBIT" if cents < 0 else "CRDT"
    return f'<Amt Ccy="{currency}">{abs(cents) // 100}.{abs(cents) % 100:02}</Amt><CdtDbtInd>{sign}</CdtDbtInd>'
