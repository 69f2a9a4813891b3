import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bank import stripe
from adapters.bank.notices import NoticeRefused
from adapters.bank.observations import (
    DepositAvailable,
    DepositDisputed,
    DepositRefunded,
    DepositSeen,
    PayoutDone,
    PayoutReturned,
)
from contracts import Amount

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
SECRET = "whsec_one"
# The fields of Stripe's published fixtures that say something of money, with what a test changes.
CREATED = 1234567890
CHARGE: dict[str, Any] = {
    "object": "charge", "id": "ch_1MoS30LgUG5tbmjcjfsQqpHI", "livemode": False, "currency": "usd", "amount": 25_000,
    "amount_captured": 25_000, "captured": True, "paid": True, "status": "succeeded", "created": CREATED,
    "metadata": {"account": "z6Mk-alice"}, "outcome": None, "refunds": {"object": "list", "data": []},
}  # fmt: skip
BALANCE: dict[str, Any] = {
    "object": "balance_transaction", "id": "txn_1Moqx7LgUG5tbmjcEekVfAbn", "amount": 25_000, "fee": 755, "net": 24_245,
    "currency": "usd", "available_on": CREATED + 86_400, "created": CREATED, "exchange_rate": None, "status": "available",
    "type": "charge", "source": CHARGE["id"], "fee_details": [],
}  # fmt: skip
REFUND: dict[str, Any] = {
    "object": "refund", "id": "re_1MoSyHLgUG5tbmjcdoxvUTDE", "charge": CHARGE["id"], "amount": 5_000, "currency": "usd",
    "status": "succeeded", "created": CREATED, "metadata": {},
}  # fmt: skip
DISPUTE: dict[str, Any] = {
    "object": "dispute", "id": "dp_1MoSFILgUG5tbmjcdH6gVPuU", "livemode": False, "charge": CHARGE["id"], "amount": 25_000,
    "currency": "usd", "status": "needs_response", "created": CREATED, "reason": "general",
}  # fmt: skip
PAYOUT: dict[str, Any] = {
    "object": "payout", "id": "po_1MoqzrLgUG5tbmjc5dzGdQQC", "livemode": False, "amount": 1_100, "currency": "usd",
    "arrival_date": CREATED, "status": "paid", "failure_code": None, "metadata": {"key": "alice.1:1"},
}  # fmt: skip


def usd(cents: int) -> Amount:
    return Amount.of("USD.bank", cents)


def webhook(fields: dict[str, Any], livemode: bool = False) -> bytes:
    event = {
        "object": "event", "id": "evt_1Moqz1LgUG5tbmjcmDWTuHYo", "livemode": livemode, "type": "charge.succeeded",
        "created": CREATED, "data": {"object": fields}, "pending_webhooks": 0, "request": {"id": None},
    }  # fmt: skip
    return json.dumps(event).encode()


def signed(body: bytes, secret: str = SECRET, at: datetime = NOW) -> str:
    seconds = int(at.timestamp())
    return f"t={seconds},v1={hmac.new(secret.encode(), str(seconds).encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def refused(body: bytes, signature: str, network: str = "testnet") -> str:
    with pytest.raises(NoticeRefused) as found:
        stripe.notice(body, signature, [SECRET], NOW, network)
    return found.value.fault


# The door


def test_a_signed_webhook_names_what_to_fetch() -> None:
    body = webhook(CHARGE)

    found = stripe.notice(body, signed(body), [SECRET], NOW, "testnet")

    assert (found.id, found.type) == ("evt_1Moqz1LgUG5tbmjcmDWTuHYo", "charge.succeeded")
    assert found.named == ("charge", CHARGE["id"])
    assert found == stripe.notice(body, signed(body), [SECRET], NOW, "testnet")


def test_while_a_secret_is_replaced_either_signs() -> None:
    body = webhook(CHARGE)
    both = signed(body, "whsec_old") + "," + signed(body, "whsec_new").partition(",")[2] + ",v0=00"

    assert stripe.notice(body, both, ["whsec_new"], NOW, "testnet")
    assert stripe.notice(body, signed(body, "whsec_old"), ["whsec_new", "whsec_old"], NOW, "testnet")


def test_the_signature_is_over_time_point_and_body() -> None:
    """As OpenSSL computes it: `printf '1795600000.{}' | openssl dgst -sha256 -hmac whsec_one`. An empty object is no event."""
    mac = "0e926dbeb567aab6328d10cb7cce82a9a052ed5bceddc419ae0dd004b18fab04"

    with pytest.raises(NoticeRefused, match="form"):
        stripe.notice(b"{}", f"t=1795600000,v1={mac}", [SECRET], datetime.fromtimestamp(1_795_600_000, UTC), "testnet")


@pytest.mark.parametrize(("seconds", "is_taken"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_a_signature_lives_for_300_seconds(seconds: int, is_taken: bool) -> None:
    body = webhook(CHARGE)
    signature = signed(body, at=NOW - timedelta(seconds=seconds))

    if is_taken:
        assert stripe.notice(body, signature, [SECRET], NOW, "testnet")
    else:
        assert refused(body, signature) == "age"


@pytest.mark.parametrize("signature", ["", "t=1", "v1=00", "t=x,v1=00", "t=1,t=2,v1=00", "t=1,v1=é", "t=-1,v1=00"])
def test_a_header_that_is_no_signature_is_refused(signature: str) -> None:
    assert refused(webhook(CHARGE), signature) == "signature"


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_other_byte_breaks_the_signature(place: int, by: int) -> None:
    body = bytearray(webhook(CHARGE))
    signature = signed(bytes(body))
    body[place % len(body)] ^= by

    assert refused(bytes(body), signature) == "signature"


def test_another_secret_signs_nothing() -> None:
    body = webhook(CHARGE)

    assert refused(body, signed(body, "whsec_two")) == "signature"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff", b'{"object": "event", "object": "event"}', b'{"a": NaN}', b'{"a": 1e99999999999999999999}'],
)
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert refused(body, signed(body)) == "form"


def test_a_body_that_says_a_thing_twice_is_refused() -> None:
    """Of two amounts, one reader takes the first and another the last."""
    body = webhook(CHARGE).replace(b'"livemode": false', b'"livemode": true, "livemode": false', 1)

    assert refused(body, signed(body)) == "form"


def test_real_money_is_mainnet_s_and_test_money_is_not() -> None:
    live, test = webhook(CHARGE, livemode=True), webhook(CHARGE)

    assert refused(live, signed(live), "testnet") == "network"
    assert refused(test, signed(test), "mainnet") == "network"
    assert stripe.notice(live, signed(live), [SECRET], NOW, "mainnet")


@pytest.mark.parametrize("fields", [CHARGE, DISPUTE, PAYOUT])
def test_a_fetched_object_is_of_its_network_too(fields: dict[str, Any]) -> None:
    with pytest.raises(NoticeRefused, match="network"):
        list(stripe.observe(fields | {"livemode": True}, "testnet"))
    with pytest.raises(NoticeRefused, match="network"):
        list(stripe.observe(fields, "mainnet"))


# What objects say


def test_a_captured_charge_is_a_deposit_that_backs_nothing_yet() -> None:
    [found] = stripe.observe(CHARGE, "testnet")

    assert isinstance(found, DepositSeen)
    assert (found.rail, found.reference, found.amount, found.owner) == ("stripe", CHARGE["id"], usd(25_000), "z6Mk-alice")


@pytest.mark.parametrize("change", [{"captured": False}, {"paid": False}, {"status": "pending"}, {"status": "failed"}])
def test_a_charge_that_is_only_promised_says_nothing(change: dict[str, Any]) -> None:
    assert list(stripe.observe(CHARGE | change, "testnet")) == []


def test_a_part_that_was_captured_is_the_deposit() -> None:
    [found] = stripe.observe(CHARGE | {"amount_captured": 10_000}, "testnet")

    assert isinstance(found, DepositSeen)
    assert found.amount == usd(10_000)


def test_the_net_amount_is_available_when_stripe_says_so() -> None:
    assert list(stripe.observe(BALANCE | {"status": "pending"}, "testnet")) == []

    [found] = stripe.observe(BALANCE, "testnet")

    available_on = datetime.fromtimestamp(CREATED + 86_400, UTC)
    assert found == DepositAvailable("stripe", CHARGE["id"], usd(24_245), usd(755), available_on)


def test_a_net_amount_that_is_not_amount_less_fee_is_refused() -> None:
    with pytest.raises(NoticeRefused, match="form"):
        list(stripe.observe(BALANCE | {"net": 24_246}, "testnet"))


@pytest.mark.parametrize("kind", ["payout", "refund", "adjustment", "stripe_fee"])
def test_other_lines_of_the_balance_are_no_deposit(kind: str) -> None:
    assert list(stripe.observe(BALANCE | {"type": kind}, "testnet")) == []


def test_a_refund_names_its_charge_whichever_is_told_first() -> None:
    assert list(stripe.observe(REFUND, "testnet")) == [DepositRefunded("stripe", CHARGE["id"], REFUND["id"], usd(5_000))]
    assert list(stripe.observe(REFUND | {"status": "pending"}, "testnet")) == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("needs_response", "open"), ("under_review", "open"), ("won", "won"), ("lost", "lost")],
)
def test_a_dispute_is_open_won_or_lost(status: str, outcome: Any) -> None:
    found = list(stripe.observe(DISPUTE | {"status": status}, "testnet"))

    assert found == [DepositDisputed("stripe", CHARGE["id"], DISPUTE["id"], usd(25_000), outcome)]


def test_an_inquiry_takes_no_money() -> None:
    assert list(stripe.observe(DISPUTE | {"status": "warning_needs_response"}, "testnet")) == []


def test_a_payout_is_done_or_comes_back() -> None:
    at = datetime.fromtimestamp(CREATED, UTC)
    failed = PAYOUT | {"status": "failed", "failure_code": "account_closed"}

    assert list(stripe.observe(PAYOUT, "testnet")) == [PayoutDone("stripe", "alice.1:1", PAYOUT["id"], at)]
    assert list(stripe.observe(failed, "testnet")) == [
        PayoutReturned("stripe", "alice.1:1", PAYOUT["id"], "account_closed", at)
    ]
    assert list(stripe.observe(PAYOUT | {"status": "in_transit"}, "testnet")) == []


def test_what_is_no_money_says_nothing() -> None:
    assert list(stripe.observe({"object": "customer", "id": "cus_1"}, "testnet")) == []


@pytest.mark.parametrize(("currency", "says"), [("jpy", "500 JPY"), ("krw", "500 KRW"), ("kwd", "0.500 KWD"), ("chf", "CHF")])
def test_a_currency_with_other_decimals_never_passes_for_cents(currency: str, says: str) -> None:
    with pytest.raises(NoticeRefused, match=says) as found:
        list(stripe.observe(CHARGE | {"currency": currency, "amount_captured": 500}, "testnet"))

    assert found.value.fault == "currency"


@pytest.mark.parametrize(
    "change",
    [
        {"amount_captured": "25000"}, {"amount_captured": 25_000.0}, {"amount_captured": True}, {"amount_captured": -1},
        {"captured": 1}, {"id": "ch/../1"}, {"currency": "USD"}, {"created": None},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(NoticeRefused, match="form"):
        list(stripe.observe(CHARGE | change, "testnet"))


@given(st.dictionaries(st.sampled_from([*CHARGE, *BALANCE, *PAYOUT]), st.none() | st.integers() | st.text() | st.booleans()))
def test_any_object_says_something_nothing_or_is_refused(change: dict[str, Any]) -> None:
    for fields in (CHARGE, BALANCE, REFUND, DISPUTE, PAYOUT):
        try:
            found = list(stripe.observe(fields | change, "testnet"))
        except NoticeRefused:
            continue
        assert len(found) <= 1
