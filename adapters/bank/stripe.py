"""Stripe: its webhooks' signature, and what its objects say of money.

A webhook comes late, twice and in any order. So it only says what to look at: `Notice.named` is fetched, and what was fetched
is observed. Amounts are in the smallest unit that Stripe counts for a currency.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from adapters.bank.notices import NoticeRefused, Told, asset_of, document, told
from adapters.bank.observations import (
    DepositAvailable,
    DepositDisputed,
    DepositRefunded,
    DepositSeen,
    Observation,
    PayoutDone,
    PayoutReturned,
)
from contracts import Amount

RAIL = "stripe"
TOLERANCE_SECONDS = 300
"""Stripe's own; a signed body that is older may be somebody's recording."""
MAINNET = "mainnet"

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF".split())  # noqa: SIM905
"""Stripe counts these whole: 500 of JPY is 500 yen. None of them is ours, and none may pass for 5.00 of something."""
THREE_DECIMAL = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{3,80}$")]
Seconds = Annotated[int, Field(ge=0, le=10**11)]
Units = Annotated[int, Field(ge=0, le=10**15)]
Currency = Annotated[str, Field(pattern="^[a-z]{3}$")]


class Charge(Told):
    object: Literal["charge"]
    id: Id
    livemode: bool
    currency: Currency
    amount_captured: Units
    captured: bool
    paid: bool
    status: str
    created: Seconds
    metadata: dict[str, str] | None = None


class BalanceTransaction(Told):
    """Has no livemode of its own: whoever fetched it knows with which key."""

    object: Literal["balance_transaction"]
    id: Id
    currency: Currency
    amount: int
    fee: int
    net: int
    available_on: Seconds
    status: Literal["available", "pending"]
    type: str
    source: Id | None


class Refund(Told):
    object: Literal["refund"]
    id: Id
    charge: Id | None
    currency: Currency
    amount: Units
    status: str | None


class Dispute(Told):
    object: Literal["dispute"]
    id: Id
    livemode: bool
    charge: Id
    currency: Currency
    amount: Units
    status: str


class Payout(Told):
    object: Literal["payout"]
    id: Id
    livemode: bool
    currency: Currency
    amount: int
    arrival_date: Seconds
    status: str
    failure_code: str | None = None
    metadata: dict[str, str] | None = None


class _Holder(Told):
    object: dict[str, Any]


class _Event(Told):
    object: Literal["event"]
    id: Id
    livemode: bool
    type: str
    created: Seconds
    data: _Holder


@dataclass(frozen=True, slots=True)
class Notice:
    """A webhook that Stripe signed. A second one of the same id tells nothing new."""

    id: str
    type: str
    created_at: datetime
    fields: dict[str, Any]
    """The object as it was when the webhook was made, which may be long ago."""

    @property
    def named(self) -> tuple[str, str]:
        """Kind and id of the object to fetch: `charge`, `ch_…`."""
        return str(self.fields.get("object", "")), str(self.fields.get("id", ""))


def notice(body: bytes, signature: str, secrets: Iterable[str], now: datetime, network: str) -> Notice:
    """A webhook's body with its header `Stripe-Signature`. Raises NoticeRefused."""
    _verify(body, signature, secrets, now)
    event = told(_Event, document(body))
    _is_of(network, event.livemode)
    return Notice(event.id, event.type, _at(event.created), event.data.object)


def observe(fields: dict[str, Any], network: str) -> Iterator[Observation]:
    """What an object says of money, as it is now; nothing where it is of a kind or in a state without any.

    Raises NoticeRefused.
    """
    source = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()
    match fields.get("object"):
        case "charge":
            yield from _charge(told(Charge, fields), network, source)
        case "balance_transaction":
            yield from _available(told(BalanceTransaction, fields))
        case "refund":
            yield from _refund(told(Refund, fields))
        case "dispute":
            yield from _dispute(told(Dispute, fields), network)
        case "payout":
            yield from _payout(told(Payout, fields), network)
        case _:
            return


def _charge(charge: Charge, network: str, source: str) -> Iterator[Observation]:
    _is_of(network, charge.livemode)
    # Authorised and not captured is a promise of the card's bank.
    if charge.paid and charge.captured and charge.status == "succeeded":
        created, amount = _at(charge.created), _amount(charge.amount_captured, charge.currency)
        yield DepositSeen(RAIL, charge.id, amount, created, created, source, (charge.metadata or {}).get("account", ""))


def _available(entry: BalanceTransaction) -> Iterator[Observation]:
    if entry.type not in ("charge", "payment") or entry.status != "available" or entry.source is None:
        return
    if entry.net != entry.amount - entry.fee or entry.fee < 0 or entry.net < 0:
        raise NoticeRefused("form", f"{entry.id}: {entry.amount} less a fee of {entry.fee} is not {entry.net}")
    net, fee = (_amount(units, entry.currency) for units in (entry.net, entry.fee))
    yield DepositAvailable(RAIL, entry.source, net, fee, _at(entry.available_on))


def _refund(refund: Refund) -> Iterator[Observation]:
    if refund.status == "succeeded" and refund.charge:
        yield DepositRefunded(RAIL, refund.charge, refund.id, _amount(refund.amount, refund.currency))


def _dispute(dispute: Dispute, network: str) -> Iterator[Observation]:
    _is_of(network, dispute.livemode)
    # A warning, as Stripe calls an inquiry, takes no money.
    outcomes: dict[str, Literal["open", "won", "lost"]] = {
        "needs_response": "open", "under_review": "open", "won": "won", "lost": "lost",
    }  # fmt: skip
    if outcome := outcomes.get(dispute.status):
        yield DepositDisputed(RAIL, dispute.charge, dispute.id, _amount(dispute.amount, dispute.currency), outcome)


def _payout(payout: Payout, network: str) -> Iterator[Observation]:
    _is_of(network, payout.livemode)
    _amount(abs(payout.amount), payout.currency)
    key, arrival = (payout.metadata or {}).get("key", ""), _at(payout.arrival_date)
    if payout.status == "paid":
        yield PayoutDone(RAIL, key, payout.id, arrival)
    elif payout.status in ("failed", "canceled"):
        yield PayoutReturned(RAIL, key, payout.id, payout.failure_code or payout.status, arrival)


def _verify(body: bytes, signature: str, secrets: Iterable[str], now: datetime) -> None:
    parts = [part.partition("=")[::2] for part in signature.split(",")]
    times = [value for name, value in parts if name.strip() == "t"]
    given = [value for name, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not re.fullmatch("[0-9]{1,12}", times[0]) or not given:
        raise NoticeRefused("signature", "a signature is t=<seconds>,v1=<HMAC>")
    signed = times[0].encode() + b"." + body
    # While a secret is being replaced there are two of them, on either side.
    wanted = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    if not any(hmac.compare_digest(a.encode(), b.encode()) for a in wanted for b in given):
        raise NoticeRefused("signature", "the signature is by none of the secrets")
    if abs(now.timestamp() - int(times[0])) > TOLERANCE_SECONDS:
        raise NoticeRefused("age", f"it was signed more than {TOLERANCE_SECONDS} s from now")


def _is_of(network: str, livemode: bool) -> None:
    if livemode and network != MAINNET:
        raise NoticeRefused("network", f"an object of livemode on the network {network}")
    if not livemode and network == MAINNET:
        raise NoticeRefused("network", "an object of test mode on mainnet")


def _amount(units: int, currency: str) -> Amount:
    """Raises NoticeRefused for a currency that is not ours, which has other decimals too."""
    code = currency.upper()
    if code in ZERO_DECIMAL | THREE_DECIMAL:
        whole = str(units) if code in ZERO_DECIMAL else f"{units // 1000}.{units % 1000:03}"
        raise NoticeRefused("currency", f"{whole} {code} is in no currency of this network")
    return Amount.of(asset_of(currency), units)


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
