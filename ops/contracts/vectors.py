"""Test vectors of the signed record, version 1: what a client in another language can check itself against.

Everything is deterministic: the keys are made of one byte repeated and are for tests only.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from adapters.keys import Signer, ed25519_signer, wallet_signer
from contracts import (
    CONTENT_TYPE,
    MAX_RECORD_BYTES,
    ZERO_HASH,
    CommandRecord,
    Record,
    authority_positions,
    encode_outcome,
    event_id,
    instant,
    outcome_id,
    pae,
    partition_of,
    uuid7,
)
from contracts.identity import KeyRegistered, ProposeKey, RevokeKey, RoleGrant, key_proof
from ops.contracts.carried import carried_vectors

NETWORK = "vectors"
PARTITIONS = 4
TIME = "2026-11-24T03:12:35.123456Z"
DECIDED = "2026-11-24T03:12:35.200000Z"

Vector = dict[str, Any]


def vectors() -> dict[str, Any]:
    """File name to content."""
    return {
        "keys": _keys(),
        "pae": [{"value": text, "pae": pae(text.encode()).decode()} for text in ("", "{}", '{"é":"ß"}')],
        "records": list(_records()),
        "signatures": list(_signatures()),
        "proofs": list(_proofs()),
        "ids": list(_ids()),
        "partitions": list(_partitions()),
        "accepted": list(_accepted()),
        "refused": list(_refused()),
        "carried": list(carried_vectors(writer, bob)),
    }


# Keys

_ALICE, _BOB, _WRITER = (bytes([n]) * 32 for n in (1, 2, 3))
_WALLET = bytes([4]) * 32
alice, bob, writer, wallet = ed25519_signer(_ALICE), ed25519_signer(_BOB), ed25519_signer(_WRITER), wallet_signer(_WALLET)


def _keys() -> list[Vector]:
    warning = "A test key: its secret is public."
    named = (("alice", _ALICE, alice), ("bob", _BOB, bob), ("writer", _WRITER, writer))
    found = [{"name": n, "kind": "ed25519", "secret": s.hex(), "did": k.did, "warning": warning} for n, s, k in named]
    return [*found, {"name": "wallet", "kind": "eip191", "secret": _WALLET.hex(), "did": wallet.did, "warning": warning}]


# Whole records

_SUBJECT = f"identity/key/{bob.did}"
_COMMAND_ID = uuid7(1_795_489_955_123, bytes(10))


def _proposal() -> ProposeKey:
    return ProposeKey.read(
        {
            "key": bob.did,
            "roles": [{"role": "providers.gpu", "prefix": f"providers/provider/{bob.did}"}],
            "held_by": "Bob rack 7",
            "not_after": "2027-11-01T00:00:00.000000Z",
            "proof": bob.sign(_proof_text(alice.did, bob.did)),
        }
    )


def _command(signer: Signer, **more: Any) -> bytes:
    return CommandRecord.encode(
        _proposal(), subject=_SUBJECT, source=signer.did, network=NETWORK, id=_COMMAND_ID, time=instant(TIME), **more
    )


def _records() -> Iterator[Vector]:
    value = _command(alice)
    yield _record("a command signed with Ed25519", "command", value, alice.sign(value))
    by_wallet = _command(wallet, expires=instant("2026-11-24T03:13:35Z"), correlationid=_COMMAND_ID, streamversion=0)
    yield _record("a command signed by a wallet, with all that is optional", "command", by_wallet, wallet.sign(by_wallet))
    first = _event(value, 0, ZERO_HASH)
    yield _record("an event, the first of its shard", "event", first, writer.sign(first))
    second = _event(value, 1, hashlib.sha256(first).hexdigest())
    yield _record("the event after it, linked by prevhash", "event", second, writer.sign(second))
    names = [{"shard": "identity.events/3", "sequence": 0, "id": event_id(alice.did, _COMMAND_ID, 0), "streamversion": 1}]
    accepted = _outcome(value, "Accepted", 0, {"events": names})
    yield _record("an acceptance; it has no signature, since the events that it names have theirs", "outcome", accepted, None)
    reason = {"name": "NotInRole", "text": "identity.ProposeKey needs identity.registrar", "field": "source"}
    refused = _outcome(value, "Refused", 1, {"refusal": reason})
    yield _record("a refusal, signed by the writer", "outcome", refused, writer.sign(refused))


def _record(name: str, kind: str, value: bytes, signature: str | None) -> Vector:
    document = json.loads(value)
    headers = {"content-type": CONTENT_TYPE, **({"signature": signature} if signature else {})}
    digest = hashlib.sha256(value).hexdigest()
    return {
        "name": name,
        "kind": kind,
        "key": document["subject"],
        "value": value.decode(),
        "headers": headers,
        "sha256": digest,
    }


def _event(command: bytes, sequence: int, prevhash: str) -> bytes:
    given = RoleGrant.model_validate({"role": "providers.gpu", "prefix": f"providers/provider/{bob.did}"})
    return Record.encode(
        KeyRegistered(key=_proposal().key, roles=(given,), not_after=_proposal().not_after),
        id=event_id(alice.did, _COMMAND_ID, sequence), command=_read(command, alice), source=writer.did, time=DECIDED,
        shard="identity.events/3", sequence=sequence, streamversion=sequence + 1, prevhash=prevhash,
    )  # fmt: skip


def _read(value: bytes, signer: Signer) -> CommandRecord:
    from contracts import parse_command

    return parse_command(value, _SUBJECT.encode(), [("signature", signer.sign(value).encode())])


def _outcome(command: bytes, name: Any, sequence: int, says: dict[str, Any]) -> bytes:
    authority = authority_positions([("identity.events/3", 0)] if name == "Accepted" else [])
    data = {"commandhash": hashlib.sha256(command).hexdigest(), **says, "time": DECIDED, "authority": authority}
    return encode_outcome(
        name, data, id=outcome_id(alice.did, _COMMAND_ID), source=writer.did, context="identity", subject=_SUBJECT,
        time=DECIDED, network=NETWORK, correlationid=_COMMAND_ID, causationid=_COMMAND_ID, partition=3, sequence=sequence,
        actor=alice.did,
    )  # fmt: skip


# Signatures, proofs, ids, partitions

_N = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _signatures() -> Iterator[Vector]:
    value = "the value"
    data = value.encode()

    def case(name: str, did: str, signature: str, *, valid: bool = False, text: str = value) -> Vector:
        return {"name": name, "did": did, "value": text, "signature": signature, "valid": valid}

    by_alice, by_wallet = alice.sign(data), wallet.sign(data)
    body = bytes.fromhex(by_wallet.removeprefix("eip191:0x"))
    r, s, v = body[:32], int.from_bytes(body[32:64]), body[64]
    yield case("Ed25519", alice.did, by_alice, valid=True)
    yield case("EIP-191", wallet.did, by_wallet, valid=True)
    yield case("one byte of the value changed", alice.did, by_alice, text="the valuf")
    yield case("one byte of the value changed, wallet", wallet.did, by_wallet, text="the valuf")
    yield case("another key", bob.did, by_alice)
    yield case("another wallet", "did:pkh:eip155:800000:0x" + "ab" * 20, by_wallet)
    yield case("the value itself signed, without its pre-authentication encoding", alice.did, _bare(data))
    following = by_alice[:-1] + _BASE64URL[_BASE64URL.index(by_alice[-1]) + 1]
    yield case("base64 whose unused last bits are not zero", alice.did, following)
    yield case("base64 with its padding", alice.did, by_alice + "==")
    yield case("base64 of the other alphabet", alice.did, _other_alphabet())
    yield case("Ed25519 with s + L, the malleable twin", alice.did, _ed25519_twin(by_alice))
    yield case("no scheme", alice.did, by_alice.removeprefix("ed25519:"))
    yield case("the other scheme's name", alice.did, by_alice.replace("ed25519:", "eip191:"))
    yield case("the malleable twin, high s", wallet.did, _eip191(r + (_N - s).to_bytes(32) + bytes([27 + 28 - v])))
    for wrong in (0, 1, 35, 36, 29):
        yield case(f"v of {wrong}", wallet.did, _eip191(body[:64] + bytes([wrong])))
    yield case("64 bytes, EIP-2098", wallet.did, _eip191(r + (s | (v - 27) << 255).to_bytes(32)))
    yield case("66 bytes", wallet.did, _eip191(body + b"\0"))
    yield case("r of zero", wallet.did, _eip191(bytes(32) + body[32:]))
    yield case("r of the group's order", wallet.did, _eip191(_N.to_bytes(32) + body[32:]))
    yield case("s of zero", wallet.did, _eip191(r + bytes(32) + body[64:]))
    yield case("hexadecimal in capitals", wallet.did, "eip191:0x" + body.hex().upper())
    yield case("no 0x", wallet.did, "eip191:" + body.hex())
    yield case("an address in mixed case, a second spelling of one wallet", _mixed(wallet.did), by_wallet)
    yield case("a did:key with one character more", alice.did + "1", by_alice)
    yield case("a did of another method", "did:web:example.com", by_alice)


def _bare(data: bytes) -> str:
    from nacl.signing import SigningKey

    return "ed25519:" + base64.urlsafe_b64encode(SigningKey(_ALICE).sign(data).signature).rstrip(b"=").decode()


def _other_alphabet() -> str:
    # With a `+` where base64url has a `-`; whether the signature had one there does not matter, the character is refused.
    text = alice.sign(b"the value")
    return f"{text[:-2]}+{text[-1]}"


def _ed25519_twin(signature: str) -> str:
    order = 2**252 + 27742317777372353535851937790883648493
    raw = base64.urlsafe_b64decode(signature.removeprefix("ed25519:") + "==")
    twin = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    return "ed25519:" + base64.urlsafe_b64encode(twin).rstrip(b"=").decode()


def _eip191(body: bytes) -> str:
    return "eip191:0x" + body.hex()


def _mixed(did: str) -> str:
    head, _, address = did.rpartition("0x")
    return f"{head}0x{address[:20]}{address[20:].upper()}"


def _proofs() -> Iterator[Vector]:
    for name, signer in (("bob", bob), ("wallet", wallet)):
        text = _proof_text(alice.did, signer.did)
        yield {
            "key": name, "did": signer.did, "network": NETWORK, "type": ProposeKey.wire.type, "source": alice.did,
            "id": _COMMAND_ID, "subject": f"identity/key/{signer.did}", "text": text.decode(), "proof": signer.sign(text),
        }  # fmt: skip


def _proof_text(source: str, key: str) -> bytes:
    return key_proof(NETWORK, ProposeKey.wire.type, source, _COMMAND_ID, f"identity/key/{key}", key)


def _ids() -> Iterator[Vector]:
    for signer in (alice, wallet):
        for ordinal in (0, 1, 99):
            made = event_id(signer.did, _COMMAND_ID, ordinal)
            yield {"of": "event", "source": signer.did, "command": _COMMAND_ID, "ordinal": ordinal, "id": made}
        yield {"of": "outcome", "source": signer.did, "command": _COMMAND_ID, "id": outcome_id(signer.did, _COMMAND_ID)}


def _partitions() -> Iterator[Vector]:
    for key in ("", "a", "ab", "abc", "abcd", "21", "foobar", "a-little-bit-long-string", _SUBJECT, "treasury/USD.s"):
        for partitions in (1, 4, 12, 1000):
            yield {"key": key, "partitions": partitions, "partition": partition_of(key, partitions)}


# What is accepted and what is refused at the door

DOOR = {"context": "identity", "partition": partition_of(_SUBJECT, PARTITIONS), "partitions": PARTITIONS, "network": NETWORK}


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_command(alice))
    return document


def _signed(
    name: str,
    value: bytes,
    *,
    signer: Signer = alice,
    key: str | None = _SUBJECT,
    content_type: str | None = CONTENT_TYPE,
    **headers: str | None,
) -> Vector:
    """A vector whose signature is right, so that nothing but its own fault is refused."""
    text: dict[str, Any]
    try:
        text = {"value": value.decode()} if len(value) <= MAX_RECORD_BYTES else {"value_parts": _parts(value.decode())}
    except UnicodeDecodeError:
        text = {"value_base64": base64.b64encode(value).decode()}
    found = {"content-type": content_type, "signature": signer.sign(value), **headers}
    return {"name": name, "door": DOOR, "key": key, **text, "headers": {k: v for k, v in found.items() if v is not None}}


def _parts(text: str) -> list[list[Any]]:
    """A long run of one letter as the letter and its count: the vector is to be read by people too."""
    start = text.index("xxxx")
    end = len(text) - len(text[start:].lstrip("x"))
    return [[text[:start], 1], ["x", end - start], [text[end:], 1]]


def _compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _accepted() -> Iterator[Vector]:
    value = _command(alice)
    document = _document()
    backwards = dict(reversed(document.items()))
    yield _signed("as our own clients write it", value)
    yield _signed("signed by a wallet", _command(wallet), signer=wallet)
    yield _signed("attributes in another order", _compact(backwards))
    yield _signed("white space between the tokens", json.dumps(document, indent=2).encode())
    escaped = value.replace(b"Bob", b"\\u0042ob")
    yield _signed("an ASCII letter written as an escape", escaped)
    yield _signed("a time without fraction", _compact({**document, "time": "2026-11-24T03:12:35Z"}))
    yield _signed("datacontenttype said", _compact({**document, "datacontenttype": "application/json"}))
    yield _signed("a trace that is none is passed over", value, traceparent="00-zz")
    yield _signed("no content-type header", value, content_type=None)


def _refused() -> Iterator[Vector]:
    for name, field, vector in (*_bad_json(), *_bad_attributes(), *_bad_data(), *_bad_places()):
        refusal, _, field = field.rpartition(" ")
        yield {**vector, "name": name, "refusal": {"name": refusal or "Malformed", "field": field}}


_Case = tuple[str, str, Vector]


def _bad_json() -> Iterator[_Case]:
    document = _document()
    data = json.dumps(document["data"], separators=(",", ":"))

    def case(name: str, value: bytes, field: str = "value") -> _Case:
        return name, field, _signed(name, value)

    def with_data(name: str, extra: str, field: str = "value") -> _Case:
        text = json.dumps({**document, "data": "@"}, separators=(",", ":")).replace('"@"', data[:-1] + f',"x":{extra}}}')
        return case(name, text.encode(), field)

    yield with_data("a float", "1.5")
    yield with_data("a float that is whole", "1.0")
    yield with_data("an exponent", "1e2")
    yield with_data("NaN", "NaN")
    yield with_data("Infinity", "-Infinity")
    yield with_data("2^53 + 1", str(2**53 + 1))
    yield with_data("-(2^53) - 1", str(-(2**53) - 1))
    yield with_data("2^64", str(2**64))
    yield with_data("5,000 digits", "9" * 5_000)
    yield with_data("a duplicate key", '{"a":1,"a":1}')
    yield with_data("a duplicate key, one of them escaped", '{"a":1,"\\u0061":2}')
    yield with_data("a key beyond ASCII", '{"é":1}')
    yield with_data("a lone surrogate", '"\\ud800"')
    yield with_data("a lone surrogate in a key", '{"\\udc00":1}')
    yield with_data("a NUL", '"a\\u0000b"')
    # The document and `data` are two of the levels.
    yield with_data("17 levels", "[" * 15 + "]" * 15)
    yield with_data("300 levels", "[" * 300 + "]" * 300)
    yield with_data("20,000 levels", "[" * 20_000 + "]" * 20_000)
    value = _compact(document)
    yield case("a byte order mark", b"\xef\xbb\xbf" + value)
    yield case("bytes that are not UTF-8", value.replace(b"Bob", b"B\xffb"))
    yield case("a surrogate encoded as UTF-8 (CESU)", value.replace(b"Bob", b"B\xed\xa0\x80b"))
    yield case("a document cut off", value[:-1])
    yield case("a second document behind", value + b"{}")
    yield case("a list", b"[" + value + b"]")
    yield case("a single quote", value.replace(b'"', b"'"))
    yield case("a comma at the end", value[:-1] + b",}")
    yield case("a control character in a string", value.replace(b"Bob", b"B\nb"))
    yield "60,001 bytes", "TooLarge value", _signed("", _with_held_by("x" * (60_001 - len(_with_held_by("")))))
    yield "60,000 bytes, a name too long", "data.held_by", _signed("", _with_held_by("x" * (60_000 - len(_with_held_by("")))))
    yield "no value", "value", {"door": DOOR, "key": _SUBJECT, "value": None, "headers": {"signature": alice.sign(b"")}}


def _with_held_by(text: str) -> bytes:
    document = _document()
    document["data"]["held_by"] = text
    return _compact(document)


def _bad_attributes() -> Iterator[_Case]:
    document = _document()

    def case(name: str, field: str, *, key: str | None = _SUBJECT, **changes: Any) -> _Case:
        return name, field, _signed(name, _compact({**document, **changes}), key=key)

    for name in ("specversion", "id", "source", "type", "subject", "time", "dataschema", "network", "data"):
        yield f"no {name}", name, _signed("", _compact({k: v for k, v in document.items() if k != name}))
    yield case("an attribute that no command has", "actor", actor=alice.did)
    yield case("specversion 1.1", "specversion", specversion="1.1")
    yield case("specversion as a number", "specversion", specversion=1)
    yield case("an id in capitals", "id", id=_COMMAND_ID.upper())
    yield case("an id that is no UUID", "id", id="1")
    yield case("a source that is no key", "source", source="did:web:example.com")
    yield case("a type without context", "type", type="ProposeKey")
    yield case("a type that nobody says", "UnknownType type", type="identity.Abdicate")
    yield case("an event sent as a command", "UnknownType type", type="identity.KeyRegistered")
    yield case("a later version", "UnknownType dataschema", dataschema="urn:spaceos:identity.ProposeKey:2")
    yield case("a subject that is not the key", "subject", key="identity/key/other")
    yield case("no key", "subject", key=None)
    yield case("a subject with a space", "subject", subject="identity/key/a b", key="identity/key/a b")
    yield case("a time without Z", "time", time="2026-11-24T03:12:35.123456")
    yield case("a time with an offset", "time", time="2026-11-24T03:12:35.123456+00:00")
    yield case("a time with nanoseconds", "time", time="2026-11-24T03:12:35.123456789Z")
    yield case("a date that does not exist", "time", time="2026-02-30T00:00:00Z")
    yield case("a leap second", "time", time="2026-12-31T23:59:60Z")
    yield case("a time as a number", "time", time=1_795_489_955)
    yield case("expires is null", "expires", expires=None)
    yield case("a correlation that is no UUID", "correlationid", correlationid="x")
    yield case("a stream version below zero", "streamversion", streamversion=-1)
    yield case("a stream version that is true", "streamversion", streamversion=True)
    yield case("a stream version that is null", "streamversion", streamversion=None)
    yield case("another content type of the data", "datacontenttype", datacontenttype="text/xml")
    yield case("data that is a list", "data", data=[])
    yield case("a network in capitals", "network", network="Vectors")
    value = _compact(document)
    yield "no signature", "BadSignature signature", _signed("", value, signature=None)
    yield "a signature of 201 characters", "BadSignature signature", _signed("", value, signature="e" * 201)
    yield "a signature with a line break", "BadSignature signature", _signed("", value, signature=alice.sign(value) + "\n")
    yield "another key's signature", "BadSignature signature", _signed("", value, signer=bob)
    yield (
        "a byte changed after signing",
        "BadSignature signature",
        _signed("", value.replace(b"rack 7", b"rack 8"), signature=alice.sign(value)),
    )


def _bad_data() -> Iterator[_Case]:
    document = _document()

    def case(name: str, field: str, **changes: Any) -> _Case:
        return name, field, _signed(name, _compact({**document, "data": {**document["data"], **changes}}))

    yield case("a field that the command does not have", "data.colour", colour="red")
    yield case("a name with a character that is not allowed", "data.held_by", held_by="Bob\t")
    yield case("a list that may not be empty", "data.roles", roles=[])
    yield case("a role in capitals", "data.roles.0.role", roles=[{"role": "Providers.gpu", "prefix": "providers/"}])
    yield case("a time as a number", "data.not_after", not_after=1)
    without = {key: item for key, item in document["data"].items() if key != "key"}
    yield "a field is missing", "data.key", _signed("", _compact({**document, "data": without}))


def _bad_places() -> Iterator[_Case]:
    document = _document()

    def at(name: str, field: str, **door: Any) -> _Case:
        return name, field, {**_signed(name, _compact(document)), "door": {**DOOR, **door}}

    yield at("for another network", "OnAnotherNetwork network", network="elsewhere")
    yield at("on another context's topic", "Misrouted type", context="providers")
    other = (DOOR["partition"] + 1) % PARTITIONS  # type: ignore[operator]
    yield at("replayed on another partition", "Misrouted subject", partition=other)
    network = {**document, "subject": "identity/network/vectors"}
    yield "a stream of another kind", "subject", _signed("", _compact(network), key="identity/network/vectors")
    when: datetime = instant(TIME)
    revoke = CommandRecord.encode(
        RevokeKey(reason="retired"), subject=_SUBJECT, source=alice.did, network=NETWORK, id=_COMMAND_ID, time=when
    )
    wrong = revoke.replace(b'"retired"', b'"bored"')
    yield "a word that is none of those allowed", "data.reason", _signed("", wrong)
