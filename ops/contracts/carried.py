"""Test vectors of carried records: what a decision takes from another context, and what it refuses to believe.

`recorded` is what the store has at the record's shard and sequence, by its SHA-256; `writer` is who might sign events then.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from adapters.keys import Signer
from contracts import ZERO_HASH, Amount, CommandRecord, Event, Record, event_id, instant, parse_command
from contracts.treasury import Captured, Held, HeldRecord, HoldId, LedgerAccount, Purpose

NETWORK, TIME = "vectors", "2026-11-24T03:12:35.200000Z"
SINCE, UNTIL = "2026-01-01T00:00:00.000000Z", "2026-12-31T00:00:00.000000Z"
_STREAM = "treasury/account/alice.SPACE"
_COMMAND = "019f8f1c-0000-7000-8000-000000000000"
Vector = dict[str, Any]


def carried_vectors(writer: Signer, other: Signer) -> Iterator[Vector]:
    """`writer` might sign the treasury's events in 2026, `other` never."""
    said = _record(_held(), writer)

    def case(
        name: str, given: bytes, field: str = "", *, by: Signer = writer, recorded: bytes | None = said, **otherwise: str
    ) -> Vector:
        carried = {"value": _base64url(given), "signature": by.sign(given)}
        return {
            "name": name, "network": NETWORK, "carries": list(HeldRecord.carries),
            "writer": {"key": writer.did, "prefix": "treasury/", "since": SINCE, "until": UNTIL},
            "carried": {**carried, **otherwise}, "recorded": hashlib.sha256(recorded).hexdigest() if recorded else None,
            "refused": field or None,
        }  # fmt: skip

    yield case("a record of the treasury", said)
    yield case("signed by another key than its source's", said, "signature", by=other)
    yield case("a byte changed after signing", said.replace(b"h-1", b"h-2"), "signature", signature=writer.sign(said))
    yield case("never appended", said, "value", recorded=None)
    yield case("another record has its place", said, "value", recorded=_record(_held("h-2"), writer))
    mine = _record(_held(), other)
    yield case("recorded, and signed by nobody who might", mine, "value", by=other, recorded=mine)
    early = _record(_held(), writer, time="2025-12-31T23:59:59.999999Z")
    yield case("dated before its writer might sign", early, "value", recorded=early)
    late = _record(_held(), writer, time="2026-12-31T00:00:00.000001Z")
    yield case("dated after its writer's end", late, "value", recorded=late)
    elsewhere = _record(_held(), writer, stream="staking/account/alice.SPACE")
    yield case("of a stream that its writer's prefix does not cover", elsewhere, "value", recorded=elsewhere)
    foreign = _record(_held(), writer, network="elsewhere")
    yield case("of another network", foreign, "network", recorded=foreign)
    captured = Captured(
        hold=HoldId("h-1"), amount=_AMOUNT, counter=LedgerAccount("due:x"), returned=Amount.of("SPACE", 0), purpose=_PURPOSE
    )
    another = _record(captured, writer)
    yield case("an event of a type that is not carried there", another, "type", recorded=another)
    asked = _command(_held())
    yield case("a command", asked, "shard", recorded=asked)
    yield case("base64url with its padding", said, "value", value=_base64url(said) + "=" * (-len(_base64url(said)) % 4 or 4))
    yield case("no JSON", said[:-1], "value", recorded=said[:-1])
    twice = said.replace(b'{"specversion"', b'{"id":"x","specversion"')
    yield case("a duplicate key", twice, "value", recorded=twice)
    document = json.loads(said)
    number = json.dumps({**document, "sequence": 0}, separators=(",", ":")).encode()
    yield case("a sequence that is a number", number, "sequence", recorded=number)
    beyond = json.dumps({**document, "sequence": "9" * 20}, separators=(",", ":")).encode()
    yield case("a sequence above 2^63", beyond, "sequence", recorded=beyond)
    nobody = json.dumps({**document, "source": "did:web:example.com"}, separators=(",", ":")).encode()
    yield case("a source that is no key", nobody, "source", recorded=nobody)


_AMOUNT, _PURPOSE = Amount.of("SPACE", 1_000_000), Purpose("stake:staking/collateral/bond/rack-7")


def _held(hold: str = "h-1") -> Held:
    return Held(hold=HoldId(hold), amount=_AMOUNT, purpose=_PURPOSE, expires_at=instant("2026-11-24T04:00:00Z"))


def _command(event: Event, stream: str = _STREAM, network: str = NETWORK) -> bytes:
    # The event's own fields serve: nothing of the command but its id and hash is in the record.
    return CommandRecord.encode(
        event, subject=stream, source=_ASKER, network=network, id=_COMMAND, time=instant(TIME)  # type: ignore[arg-type]
    )  # fmt: skip


_ASKER = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def _record(event: Event, by: Signer, *, time: str = TIME, stream: str = _STREAM, network: str = NETWORK) -> bytes:
    command = parse_command(_command(event, stream, network), stream.encode(), [("signature", b"x")])
    return Record.encode(
        event, id=event_id(_ASKER, _COMMAND, 0), command=command, source=by.did, time=time, shard="treasury.events/3",
        sequence=17, streamversion=4, prevhash=ZERO_HASH,
    )  # fmt: skip


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
