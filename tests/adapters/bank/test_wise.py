import base64
import json
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from adapters.bank import wise
from adapters.bank.notices import NoticeRefused
from adapters.bank.observations import DepositAvailable, DepositSeen, PayoutDone, PayoutReturned
from contracts import Amount

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


PUBLIC = pem(KEY)


def body(event_type: str, raw: str = "", **fields: Any) -> bytes:
    """An event; `raw` replaces the amount as JSON writes it."""
    text = json.dumps({"event_type": event_type, "schema_version": "4.0.0", "subscription_id": "1", "data": fields})
    return text.replace('"RAW"', raw).encode()


def headers(body: bytes, key: rsa.RSAPrivateKey = KEY, hashed: Any = None, **more: str) -> dict[str, str]:
    signature = base64.b64encode(key.sign(body, PKCS1v15(), hashed or SHA256())).decode()
    return {"x-signature-sha256": signature, "X-Delivery-Id": "1"} | {name.replace("_", "-"): v for name, v in more.items()}


def told(body: bytes) -> wise.Notice:
    return wise.notice(body, headers(body), PUBLIC)


def state(current: str, minute: int, transfer: int = 111) -> wise.Notice:
    resource = {"type": "transfer", "id": transfer, "profile_id": 222, "account_id": 333}
    at = f"2026-11-25T10:{minute:02}:00.000Z"
    return told(body("transfers#state-change", resource=resource, current_state=current, previous_state=None, occurred_at=at))


def failure(minute: int) -> wise.Notice:
    at = f"2026-11-25T10:{minute:02}:00Z"
    return told(body("transfers#payout-failure", transfer_id=111, failure_reason_code="WRONG_ID_NUMBER", occurred_at=at))


def credit(amount: str, **change: Any) -> bytes:
    fields = {
        "resource": {"id": 2, "profile_id": 222, "type": "balance-account"}, "amount": "RAW", "balance_id": 2,
        "currency": "EUR", "transaction_type": "credit", "occurred_at": "2026-11-25T10:00:00Z", "step_id": 123_456,
        "transfer_reference": "BNK-1234567", "channel_name": "TRANSFER",
    }  # fmt: skip
    return body("balances#update", amount, **(fields | change))


def fault(raw: bytes, given: dict[str, str], key: str = PUBLIC) -> str:
    with pytest.raises(NoticeRefused) as found:
        wise.notice(raw, given, key)
    return found.value.fault


def at(minute: int) -> datetime:
    return datetime(2026, 11, 25, 10, minute, tzinfo=UTC)


# The door


def test_a_header_s_name_has_no_case() -> None:
    raw = credit("70")

    assert wise.notice(raw, {"X-SIGNATURE-SHA256": headers(raw)["x-signature-sha256"]}, PUBLIC).type == "balances#update"


def test_what_is_unsigned_or_signed_by_another_is_refused() -> None:
    raw = credit("70")
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    assert fault(raw, {}) == "signature"
    assert fault(raw, {"X-Signature-SHA256": "no base64!"}) == "signature"
    assert fault(raw, headers(raw, other)) == "signature"
    assert fault(raw, headers(raw, hashed=SHA1())) == "signature"
    assert fault(raw + b" ", headers(raw)) == "signature"


def test_a_key_that_is_too_weak_or_of_another_kind_vouches_for_nothing() -> None:
    raw = credit("70")
    weak = rsa.generate_private_key(public_exponent=65_537, key_size=1024)

    assert fault(raw, headers(raw, weak), pem(weak)) == "signature"
    assert fault(raw, headers(raw), pem(ec.generate_private_key(ec.SECP256R1()))) == "signature"
    assert fault(raw, headers(raw), "no key") == "signature"


@pytest.mark.parametrize("said", ["true", "True", "1", "yes"])
def test_a_test_notification_is_no_money(said: str) -> None:
    raw = credit("70")

    assert fault(raw, headers(raw, X_Test_Notification=said)) == "test"


def test_an_event_of_another_kind_says_nothing() -> None:
    found = told(body("cards#transaction-state-change", amount=7))

    assert found.says is None
    assert list(wise.observe([found])) == []


# Deposits


@pytest.mark.parametrize(
    ("written", "cents"), [("70", 7_000), ("70.5", 7_050), ("0.01", 1), ("1e3", 100_000), ("70.10", 7_010)]
)
def test_a_credit_is_a_deposit_that_is_available(written: str, cents: int) -> None:
    seen, available = wise.observe([told(credit(written))])

    amount = Amount.of("EUR.bank", cents)
    assert isinstance(seen, DepositSeen)
    assert (seen.rail, seen.reference, seen.amount, seen.booked_at) == ("wise", "BNK-1234567", amount, at(0))
    assert available == DepositAvailable("wise", "BNK-1234567", amount, Amount.of("EUR.bank", 0), at(0))


@pytest.mark.parametrize(
    "written", ["70.001", "1.0000000000000000000000000000000001", "1e999999", "-70", "1e-9", '"70"', "true"]
)
def test_an_amount_that_is_not_of_cents_is_refused(written: str) -> None:
    """The last of the decimals would be rounded away in silence by Python's own context."""
    with pytest.raises(NoticeRefused, match="form"):
        list(wise.observe([told(credit(written))]))


def test_a_currency_that_is_not_ours_is_refused() -> None:
    with pytest.raises(NoticeRefused, match="currency"):
        list(wise.observe([told(credit("70", currency="PLN"))]))


def test_a_credit_without_a_reference_is_named_by_its_step() -> None:
    seen, _ = wise.observe([told(credit("70", transfer_reference=None))])

    assert isinstance(seen, DepositSeen)
    assert seen.reference == "step.123456"
    with pytest.raises(NoticeRefused, match="form"):
        list(wise.observe([told(credit("70", transfer_reference=None, step_id=None))]))


def test_a_debit_is_told_by_its_transfer() -> None:
    assert list(wise.observe([told(credit("70", transaction_type="debit"))])) == []


def test_a_notification_that_is_delivered_twice_is_one() -> None:
    raw = credit("70")

    assert len(list(wise.observe([told(raw), told(raw)]))) == 2


# Payouts


SENT, BOUNCED, AGAIN, REFUNDED = (
    state("outgoing_payment_sent", 1), state("bounced_back", 5), state("outgoing_payment_sent", 7), state("funds_refunded", 9),
)  # fmt: skip


def test_a_payout_is_done_when_it_is_sent() -> None:
    assert list(wise.observe([state("processing", 0), SENT])) == [PayoutDone("wise", "", "111", at(1))]


def test_what_bounced_back_is_not_back_yet() -> None:
    """Wise may send it once more; reissuing then would pay twice."""
    assert list(wise.observe([SENT, BOUNCED])) == [PayoutDone("wise", "", "111", at(1))]
    assert list(wise.observe([SENT, BOUNCED, AGAIN])) == [PayoutDone("wise", "", "111", at(1))]


def test_a_refund_brings_it_back_with_the_reason_of_the_failure() -> None:
    found = list(wise.observe([SENT, failure(4), BOUNCED, REFUNDED]))

    assert found == [PayoutDone("wise", "", "111", at(1)), PayoutReturned("wise", "", "111", "WRONG_ID_NUMBER", at(9))]


def test_what_was_never_sent_comes_back_too() -> None:
    assert list(wise.observe([REFUNDED])) == [PayoutReturned("wise", "", "111", "returned", at(9))]


def test_notifications_tell_the_same_in_any_order_and_number() -> None:
    notices = [SENT, failure(4), BOUNCED, REFUNDED]
    wanted = list(wise.observe(notices))

    for order in permutations(notices):
        assert list(wise.observe([*order, *order])) == wanted


def test_transfers_do_not_mix() -> None:
    found = list(wise.observe([state("funds_refunded", 3, transfer=5), SENT]))

    assert found == [PayoutReturned("wise", "", "5", "returned", at(3)), PayoutDone("wise", "", "111", at(1))]


@pytest.mark.parametrize(
    "change", [{"occurred_at": "2026-11-25T10:00:00"}, {"occurred_at": 7}, {"occurred_at": "soon"}, {"transfer_id": "111"}]
)
def test_a_field_of_another_type_is_refused(change: dict[str, Any]) -> None:
    fields = {"transfer_id": 111, "failure_reason_code": "X", "occurred_at": "2026-11-25T10:00:00Z"} | change
    raw = body("transfers#payout-failure", **fields)

    assert fault(raw, headers(raw)) == "form"


@given(st.binary(max_size=200))
def test_signed_bytes_that_are_no_event_are_refused(raw: bytes) -> None:
    with pytest.raises(NoticeRefused, match="form"):
        told(raw)
