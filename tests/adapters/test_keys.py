"""Keys: whoever signed is recognised, in one spelling, and whatever else comes is simply not a signature."""

import json
import stat
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from adapters.keys import KeyFileUnsafe, did_of, ed25519_signer, read_key, verify, wallet_signer, write_key
from contracts import pae

signers = st.one_of(
    st.binary(min_size=32, max_size=32).map(ed25519_signer),
    st.integers(1, 2**128).map(lambda n: wallet_signer(n.to_bytes(32))),
)
ALICE, WALLET = ed25519_signer(bytes(32)), wallet_signer(b"\1" * 32)


@given(signers, st.binary(max_size=300))
def test_what_a_key_signed_it_signed(signer: object, value: bytes) -> None:
    assert verify(signer.did, value, signer.sign(value))  # type: ignore[attr-defined]


@given(signers, signers, st.binary(max_size=60), st.binary(max_size=60))
def test_a_signature_is_of_one_key_over_one_value(one: object, other: object, value: bytes, another: bytes) -> None:
    signature = one.sign(value)  # type: ignore[attr-defined]

    assert verify(other.did, value, signature) is (one.did == other.did)  # type: ignore[attr-defined]
    assert verify(one.did, another, signature) is (value == another)  # type: ignore[attr-defined]


@pytest.mark.parametrize("signer", [ALICE, WALLET], ids=["Ed25519", "wallet"])
@given(st.data())
def test_a_signature_has_one_spelling(signer: object, data: st.DataObject) -> None:
    """Any other character anywhere, one more or one less: no signature."""
    signature = signer.sign(b"value")  # type: ignore[attr-defined]
    at = data.draw(st.integers(0, len(signature) - 1))
    there = data.draw(st.text(st.characters(codec=None), max_size=2).filter(lambda text: text != signature[at]))

    assert not verify(signer.did, b"value", signature[:at] + there + signature[at + 1 :])  # type: ignore[attr-defined]


wild = st.text(st.characters(codec=None), max_size=150)
schemes = st.sampled_from(
    ["did:key:z", "did:key:z6Mk", "did:pkh:eip155:1:0x", "did:pkh:eip155:800000:", ALICE.did, WALLET.did, ""]
)
beginnings = st.sampled_from(["ed25519:", "eip191:0x", "eip191:", ""])


@given(st.tuples(schemes, wild).map("".join), st.binary(max_size=20), st.tuples(beginnings, wild).map("".join))
@example(WALLET.did, b"", "eip191:0x" + "00" * 32 + "00" * 31 + "01" + "1b")
@example(WALLET.did, b"", "eip191:0x" + f"{5:064x}" + f"{7:064x}" + "1b")
@example(ALICE.did, b"", "ed25519:" + "\ud800" * 86)
@example("did:key:z" + "é" * 40, b"", "ed25519:" + "A" * 86)
def test_verifying_never_fails_whatever_strangers_send(did: str, value: bytes, signature: str) -> None:
    """An exception would end the worker at a record that comes again."""
    assert verify(did, value, signature) is False


@given(st.binary(min_size=65, max_size=65))
def test_no_65_bytes_are_a_reason_to_fail(body: bytes) -> None:
    """Half of all r are no point of the curve: recovering must say no, not raise."""
    for v in (27, 28):
        assert verify(WALLET.did, b"", "eip191:0x" + body[:32].hex() + (body[32:64][:15].hex().zfill(64)) + f"{v:02x}") is False


@pytest.mark.parametrize("public", [bytes(32), b"\1" + bytes(31), b"\xff" * 32])
def test_a_weak_public_key_signs_nothing(public: bytes) -> None:
    """Points of small order verify anything in careless libraries."""
    for body in (bytes(64), b"\1" + bytes(63), public + bytes(32)):
        assert not verify(did_of(public), b"value", "ed25519:" + urlsafe_b64encode(body).rstrip(b"=").decode())


@pytest.mark.parametrize("kind", ["ed25519", "eip191"])
def test_a_key_in_a_file_is_for_its_owner_only(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys" / "a.key"
    written = write_key(path, kind)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_key(path).did == written.did
    assert verify(written.did, b"x", read_key(path).sign(b"x"))
    assert path.read_text().split()[2] not in repr(written)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    before = write_key(tmp_path / "a.key").did

    with pytest.raises(FileExistsError):
        write_key(tmp_path / "a.key")

    assert read_key(tmp_path / "a.key").did == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    write_key(tmp_path / "a.key")
    (tmp_path / "a.key").chmod(mode)

    with pytest.raises(KeyFileUnsafe, match="chmod 600"):
        read_key(tmp_path / "a.key")


@pytest.mark.parametrize(
    "content",
    ["", "x", "spaceos-key-1 ed25519", "spaceos-key-1 ed25519 " + "0" * 63, "spaceos-key-1 ed25519 " + "g" * 64,
     "spaceos-key-1 rsa " + "0" * 64, "spaceos-key-1 eip191 " + "0" * 64, "spaceos-key-2 ed25519 " + "0" * 64],
)  # fmt: skip
def test_a_file_that_is_no_key_of_ours_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.key"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileUnsafe, match="spaceos key new") as refusal:
        read_key(path)

    assert "0" * 60 not in str(refusal.value)


# C2SP/CCTV and Wycheproof are not in this repository; these are the W3C's example (did:key v1.0) and RFC 8032, test 2.
def test_the_did_of_a_published_key_is_the_published_one() -> None:
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")

    assert ed25519_signer(secret).did == did_of(public)
    assert json.dumps(did_of(public)).startswith('"did:key:z6Mk')


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 63), st.integers(0, 255))
def test_libsodium_is_asked_as_pynacl_asks_it(seed: bytes, value: bytes, at: int, other: int) -> None:
    """We pass over its wrappers, which copy the message twice: they sign the same and take the same."""
    public, secret = crypto_sign_seed_keypair(seed)
    body = crypto_sign(pae(value), secret)[:64]
    assert ed25519_signer(seed).sign(value) == "ed25519:" + urlsafe_b64encode(body).rstrip(b"=").decode()

    changed = body[:at] + bytes([other]) + body[at + 1 :]
    try:
        crypto_sign_open(changed + pae(value), public)
        expected = True
    except BadSignatureError:
        expected = False

    assert verify(did_of(public), value, "ed25519:" + urlsafe_b64encode(changed).rstrip(b"=").decode()) is expected
