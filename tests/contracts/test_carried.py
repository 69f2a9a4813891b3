"""Whatever a command says that it carries is opened, or refused as what it is: a batch must not end by it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import BadRecord, Base64Url, Command, Record, Signature, carried_by
from contracts.treasury import HeldRecord

SIGNATURE = Signature("ed25519:" + "A" * 86)
GENUINE: dict[str, Any] = {
    "specversion": "1.0", "id": "b531c659-0a06-504a-b19d-00f231c24b67", "source": "did:key:z6Mk" + "1" * 44,
    "type": "treasury.Held", "subject": "treasury/account/alice.SPACE", "time": "2026-11-24T03:12:35.200000Z",
    "dataschema": "urn:spaceos:treasury.Held:1", "network": "dev", "shard": "treasury.events/3", "sequence": f"{17:020d}",
    "data": {},
}  # fmt: skip
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=30), st.lists(st.integers(), max_size=3), st.floats(),
    st.sampled_from(["9" * 20, "0" * 19, "\u0661" * 20, "2026-02-30T00:00:00Z", "did:key:z6Mk", ""]),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def carrying(value: bytes) -> HeldRecord:
    text = base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    return HeldRecord(value=Base64Url(text), signature=SIGNATURE)


def opened(carried: HeldRecord) -> Record | None:
    try:
        return carried.record()
    except BadRecord:
        return None


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_a_record_or_refused(value: bytes) -> None:
    assert opened(carrying(value)) is None


@given(st.text("ABCDwxyz0189-_", min_size=1, max_size=40))
def test_any_spelling_of_base64url_is_read_or_refused(text: str) -> None:
    opened(HeldRecord(value=Base64Url(text), signature=SIGNATURE))


@given(st.dictionaries(st.sampled_from(sorted(GENUINE)), ANYTHING, max_size=3), st.sets(st.sampled_from(sorted(GENUINE))))
def test_a_record_of_which_anything_is_changed_is_read_or_refused(changes: dict[str, Any], left_out: set[str]) -> None:
    document = {name: value for name, value in {**GENUINE, **changes}.items() if name not in left_out}

    found = opened(carrying(json.dumps(document).encode()))

    if found is not None:
        assert (found.type, 0 <= found.sequence < 2**63) == ("treasury.Held", True)


def test_what_is_not_changed_is_a_record() -> None:
    assert opened(carrying(json.dumps(GENUINE).encode())) is not None


class OfThree(Command, role="staking.process", stream="staking/collateral"):
    """As a context may say it."""

    one: HeldRecord
    perhaps: HeldRecord | None = None
    many: tuple[HeldRecord, ...] = ()
    of: str = ""


@pytest.mark.parametrize(("perhaps", "many"), [(False, 0), (True, 0), (False, 2), (True, 3)])
def test_all_that_a_command_carries_is_found(perhaps: bool, many: int) -> None:
    records = [carrying(bytes([n + 1])) for n in range(2 + many)]
    command = OfThree(one=records[0], perhaps=records[1] if perhaps else None, many=tuple(records[2:]))

    assert list(carried_by(command)) == [records[0], *records[1:2] * perhaps, *records[2:]]
