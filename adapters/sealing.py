"""Sealing personal data: XChaCha20-Poly1305 under a person's key, bound to the place it stands at, with a commitment.

The salt is inside the ciphertext only. So when the key is destroyed not even a yes or no can be guessed from the
commitment, while whoever kept salt and text can still show that they are the true ones.
"""

import base64
import hashlib
import os
from dataclasses import dataclass

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    sodium_pad,
    sodium_unpad,
)
from nacl.exceptions import CryptoError

from contracts import Digest, Sealed, SealingKeyId

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 24
BLOCK_BYTES = 64
"""Texts are padded to a multiple, so that their length says little."""


class NotOpened(Exception):
    """The key, the place or the bytes are not those that it was sealed with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed field stands. A ciphertext that is copied elsewhere does not open there."""

    network: str
    stream: str
    command: str
    """The id of the command that brought it."""
    path: str
    """The field's JSON pointer in `data` (RFC 6901), `/held_by`."""

    def bound_to(self, key: str) -> bytes:
        return "\0".join((self.network, self.stream, self.command, self.path, key)).encode()


@dataclass(frozen=True, slots=True)
class Opened:
    """A field that was opened. With the salt, anybody can check the text against the commitment."""

    salt: bytes
    text: str


def seal(text: str, key_id: str, key: bytes, place: Place, *, salt: bytes | None = None, nonce: bytes | None = None) -> Sealed:
    """The text as it travels. Salt and nonce are arguments where an answer must repeat."""
    salt, nonce = salt or os.urandom(SALT_BYTES), nonce or os.urandom(NONCE_BYTES)
    plain = sodium_pad(salt + text.encode(), BLOCK_BYTES)
    body = crypto_aead_xchacha20poly1305_ietf_encrypt(plain, place.bound_to(key_id), nonce, key)
    return Sealed.model_validate(
        {"key": SealingKeyId(key_id), "nonce": _text(nonce), "body": _text(body), "commitment": Digest(commitment(salt, text))}
    )


def unseal(sealed: Sealed, key: bytes, place: Place) -> Opened:
    """Raises NotOpened."""
    try:
        plain = crypto_aead_xchacha20poly1305_ietf_decrypt(
            _bytes(sealed.body), place.bound_to(sealed.key), _bytes(sealed.nonce), key
        )
        raw = sodium_unpad(plain, BLOCK_BYTES)
        opened = Opened(raw[:SALT_BYTES], raw[SALT_BYTES:].decode())
    except (CryptoError, ValueError) as error:
        raise NotOpened(f"{place.path} of {place.stream} does not open under {sealed.key}") from error
    if commitment(opened.salt, opened.text) != sealed.commitment:
        raise NotOpened(f"{place.path} of {place.stream} holds another text than it commits to")
    return opened


def commitment(salt: bytes, text: str) -> str:
    """SHA-256 over a tag, the salt and the text, hexadecimal."""
    return hashlib.sha256(b"spaceos/commitment/1\0" + salt + text.encode()).hexdigest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
