"""Wise: the signature of its notifications, and what they say of money.

They come in any order; what happened first is said by `occurred_at`. A transfer that bounced back is not money yet: Wise may
send it once more, and only `funds_refunded` puts it back on the balance.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BeforeValidator, Field

from adapters.bank.entries import NAMELESS
from adapters.bank.notices import NoticeRefused, Told, asset_of, document, told
from adapters.bank.observations import DepositAvailable, DepositSeen, Observation, PayoutDone, PayoutReturned
from contracts import Amount

RAIL = "wise"
MIN_KEY_BITS = 2048
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])


def _instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("a time is text")
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a time has an offset")
    return found


Instant = Annotated[datetime, BeforeValidator(_instant)]
Number = Annotated[int, Field(gt=0, lt=10**15)]


class _Transfer(Told):
    id: Number
    profile_id: Number


class StateChange(Told):
    resource: _Transfer
    current_state: str
    previous_state: str | None = None
    occurred_at: Instant


class PayoutFailure(Told):
    transfer_id: Number
    failure_reason_code: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,60}$")]
    occurred_at: Instant


class BalanceUpdate(Told):
    amount: int | Decimal
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    transaction_type: Literal["credit", "debit"]
    transfer_reference: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:+@-]{0,90}$")] | None = None
    step_id: Number | None = None
    occurred_at: Instant


class _Envelope(Told):
    event_type: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification that Wise signed; what it says is None where its type has nothing to do with money."""

    type: str
    says: StateChange | PayoutFailure | BalanceUpdate | None
    source: str
    """SHA-256 of its bytes, in hexadecimal. One that is delivered again has the same."""


def notice(body: bytes, headers: Mapping[str, str], public_key: str) -> Notice:
    """A notification with its headers, and Wise's key in PEM. Raises NoticeRefused."""
    found = {name.lower(): value for name, value in headers.items()}
    _verify(body, found.get("x-signature-sha256", ""), public_key)
    if found.get("x-test-notification", "false").strip().lower() != "false":
        raise NoticeRefused("test", "a notification that only tries the address")
    envelope = told(_Envelope, document(body))
    kinds: dict[str, type[StateChange | PayoutFailure | BalanceUpdate]] = {
        "transfers#state-change": StateChange, "transfers#payout-failure": PayoutFailure, "balances#update": BalanceUpdate,
    }  # fmt: skip
    kind = kinds.get(envelope.event_type)
    says = told(kind, envelope.data) if kind else None
    return Notice(envelope.event_type, says, hashlib.sha256(body).hexdigest())


def observe(notices: Iterable[Notice]) -> Iterator[Observation]:
    """What they say of money, all that are known of a transfer together, in whatever order and however often they came."""
    once = {found.source: found for found in notices}
    transfers: dict[int, list[StateChange | PayoutFailure]] = {}
    for found in once.values():
        match found.says:
            case BalanceUpdate() as update:
                yield from _credit(update, found.source)
            case StateChange() as change:
                transfers.setdefault(change.resource.id, []).append(change)
            case PayoutFailure() as failure:
                transfers.setdefault(failure.transfer_id, []).append(failure)
            case None:
                continue
    for transfer, changes in transfers.items():
        yield from _transfer(str(transfer), sorted(changes, key=lambda change: change.occurred_at))


def _transfer(reference: str, changes: list[StateChange | PayoutFailure]) -> Iterator[Observation]:
    is_sent, reason = False, "returned"
    for change in changes:
        if isinstance(change, PayoutFailure):
            reason = change.failure_reason_code
        elif change.current_state == "outgoing_payment_sent" and not is_sent:
            is_sent = True
            yield PayoutDone(RAIL, "", reference, change.occurred_at)
        elif change.current_state == "funds_refunded":
            yield PayoutReturned(RAIL, "", reference, reason, change.occurred_at)
            return


def _credit(update: BalanceUpdate, source: str) -> Iterator[Observation]:
    """A debit is a payout's or a fee's, and is told by its transfer or by the statement."""
    amount = Amount.of(asset_of(update.currency), _cents(update.amount))
    if update.transaction_type != "credit" or not amount.units:
        return
    reference = update.transfer_reference or ""
    if reference.upper() in NAMELESS:
        if update.step_id is None:
            raise NoticeRefused("form", "a credit without transfer_reference and step_id has no name")
        reference = f"step.{update.step_id}"
    yield DepositSeen(RAIL, reference, amount, update.occurred_at, update.occurred_at, source)
    yield DepositAvailable(RAIL, reference, amount, Amount.of(amount.asset, 0), update.occurred_at)


def _cents(amount: int | Decimal) -> int:
    if amount < 0:
        raise NoticeRefused("form", "an amount is not negative")
    try:
        # Whatever would be rounded, and the context would do so in silence, is no amount.
        return int(_EXACT.quantize(_EXACT.create_decimal(amount), Decimal("0.01")).scaleb(2, _EXACT))
    except ArithmeticError:
        raise NoticeRefused("form", "an amount has two decimals") from None


def _verify(body: bytes, signature: str, public_key: str) -> None:
    try:
        key = load_pem_public_key(public_key.encode())
    except ValueError:
        raise NoticeRefused("signature", "the key is no public key in PEM") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise NoticeRefused("signature", f"the key is none of RSA with {MIN_KEY_BITS} bits or more")
    try:
        key.verify(base64.b64decode(signature, validate=True), body, PKCS1v15(), SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        raise NoticeRefused("signature", "the notification is not signed by Wise") from None
