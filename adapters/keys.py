"""Keys: who signs a record, and whether they did. Ed25519 (`did:key`) by PyNaCl, EIP-191 wallets (`did:pkh`) by coincurve.

A private key lives in one file of mode 0600 and in the process that signs; nothing here prints or logs it.
"""

import base64
import binascii
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import base58
import coincurve
from eth_hash.auto import keccak
from nacl._sodium import ffi, lib
from nacl.bindings import crypto_sign_seed_keypair

from contracts import pae

_ED25519_MULTICODEC: Final = b"\xed\x01"
_URLSAFE: Final = bytes.maketrans(b"-_+/", b"+/!!")
_KEY_FILE: Final = re.compile(rb"spaceos-key-1 (ed25519|eip191) ([0-9a-f]{64})\s*")
_SECP256K1_N: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class KeyFileUnsafe(RuntimeError):
    """The key file may be read by others, or is none of ours."""


@dataclass(frozen=True)
class Signer:
    """A key that signs. Its `did` is public; the rest never leaves the process."""

    did: str
    sign: Callable[[bytes], str] = field(repr=False)
    """The value's signature as the header carries it: over the value's pre-authentication encoding."""


def ed25519_signer(seed: bytes) -> Signer:
    """A signer from 32 secret bytes."""
    public, secret = crypto_sign_seed_keypair(seed)

    def sign(value: bytes) -> str:
        return "ed25519:" + base64.urlsafe_b64encode(_signature(pae(value), secret)).rstrip(b"=").decode()

    return Signer(did_of(public), sign)


# PyNaCl's own `crypto_sign` and `crypto_sign_open` copy the message twice, which costs a tenth of what libsodium does.


def _signature(message: bytes, secret: bytes) -> bytes:
    signed = ffi.new("unsigned char[]", 64 + len(message))
    if lib.crypto_sign(signed, ffi.NULL, message, len(message), secret) != 0:
        raise RuntimeError("libsodium did not sign")
    return bytes(ffi.buffer(signed, 64))


def _is_signed(signed: bytes, public: bytes) -> bool:
    """Whether the message after the 64 bytes of signature is what the key signed. `public` has 32 bytes."""
    return len(signed) >= 64 and lib.crypto_sign_open(ffi.NULL, ffi.NULL, signed, len(signed), public) == 0


def wallet_signer(secret: bytes, chain_id: int = 800_000) -> Signer:
    """An EIP-191 signer from a secp256k1 secret. Its DID holds the lower-case address, so that one wallet has one DID."""
    key = coincurve.PrivateKey(secret)

    def sign(value: bytes) -> str:
        signature = key.sign_recoverable(_personal_digest(value), hasher=None)
        return "eip191:0x" + (signature[:64] + bytes([signature[64] + 27])).hex()

    return Signer(f"did:pkh:eip155:{chain_id}:{_address(key.public_key)}", sign)


def did_of(public_key: bytes) -> str:
    """The `did:key` of a 32-byte Ed25519 public key (W3C did:key: multicodec 0xed01, base58btc)."""
    return "did:key:z" + base58.b58encode(_ED25519_MULTICODEC + public_key).decode()


def verify(did: str, value: bytes, signature: str) -> bool:
    """Whether the key of that DID signed the value. False, never an exception, for whatever strangers send."""
    if did.startswith("did:key:"):
        return _verify_ed25519(did, value, signature)
    if did.startswith("did:pkh:eip155:"):
        return _verify_eip191(did, value, signature)
    return False


def _verify_ed25519(did: str, value: bytes, signature: str) -> bool:
    public = _public_key(did)
    # 64 bytes are 86 characters of base64url; the last carries four bits that must be zero, or one signature
    # would have sixteen spellings.
    if public is None or len(signature) != 94 or not signature.startswith("ed25519:"):
        return False
    if signature[-1] not in "AQgw":
        return False
    try:
        raw = binascii.a2b_base64(signature[8:].encode().translate(_URLSAFE) + b"==", strict_mode=True)
    except ValueError:
        return False
    return _is_signed(raw + pae(value), public)


@lru_cache(maxsize=100_000)
def _public_key(did: str) -> bytes | None:
    try:
        raw = base58.b58decode(did.removeprefix("did:key:z"))
    except ValueError:
        return None
    return raw[2:] if len(raw) == 34 and raw[:2] == _ED25519_MULTICODEC and did_of(raw[2:]) == did else None


def _personal_digest(value: bytes) -> bytes:
    text = hashlib.sha256(pae(value)).hexdigest().encode()
    return keccak(b"\x19Ethereum Signed Message:\n%d%b" % (len(text), text))


def _address(key: coincurve.PublicKey) -> str:
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


def _verify_eip191(did: str, value: bytes, signature: str) -> bool:
    try:
        raw = bytes.fromhex(signature.removeprefix("eip191:0x"))
    except ValueError:
        return False
    # A signature has a twin (n - s) and several spellings of v; one of each is allowed (EIP-2, EIP-191).
    if len(raw) != 65 or signature != "eip191:0x" + raw.hex() or raw[64] not in (27, 28):
        return False
    if not 1 <= int.from_bytes(raw[:32]) < _SECP256K1_N or not 1 <= int.from_bytes(raw[32:64]) <= _SECP256K1_N // 2:
        return False
    try:
        recovered = coincurve.PublicKey.from_signature_and_message(
            raw[:64] + bytes([raw[64] - 27]), _personal_digest(value), hasher=None
        )
    except ValueError:
        return False
    # In lower case only: a second spelling of one wallet would be a second idempotency space.
    return _address(recovered) == did.rpartition(":")[2]


def write_key(path: Path, kind: str = "ed25519") -> Signer:
    """Make a key in a new file of mode 0600. Raises FileExistsError: a key is never overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = coincurve.PrivateKey().secret if kind == "eip191" else os.urandom(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"spaceos-key-1 {kind} {secret.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    return read_key(path)


def read_key(path: Path) -> Signer:
    """The signer in a key file. Raises KeyFileUnsafe where others may read it, FileNotFoundError where it is missing."""
    kind, secret = _secret(path)
    return wallet_signer(secret) if kind == "eip191" else ed25519_signer(secret)


def read_seed(path: Path) -> bytes:
    """The 32 secret bytes of an Ed25519 key file, for what signs in another form than a record's. Raises as `read_key`."""
    kind, secret = _secret(path)
    if kind != "ed25519":
        raise KeyFileUnsafe(f"{path} is a wallet's key; this wants Ed25519, made with: spaceos key new")
    return secret


def _secret(path: Path) -> tuple[str, bytes]:
    status = path.stat()
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyFileUnsafe(f"{path} may be read by others; run: chmod 600 {path}")
    found = _KEY_FILE.fullmatch(path.read_bytes())
    # Zero, and what is beyond the curve's order, is no secret of a wallet.
    if found is None or (found[1] == b"eip191" and not 0 < int(found[2], 16) < _SECP256K1_N):
        raise KeyFileUnsafe(f"{path} is not a key file of this project; make one with: spaceos key new")
    return found[1].decode(), bytes.fromhex(found[2].decode())
