"""Personal data as it travels: sealed under a key of its person, so that destroying the key erases it from every copy."""

from typing import Annotated, Literal

from pydantic import Field

from contracts._language import Value
from contracts._values import AtomicText, Digest


class SealingKeyId(AtomicText):
    """A sealing key: 32 random hexadecimal digits, which say nothing of the person."""

    pattern = r"^[0-9a-f]{32}$"
    max_length = 32


class _Base64(AtomicText):
    """Unpadded base64url (RFC 4648, 5)."""

    pattern = r"^[A-Za-z0-9_-]+$"
    max_length = 64_000


class Sealed(Value):
    """A text that only the key's holder can read: XChaCha20-Poly1305 over a 32-byte salt and the padded text.

    `commitment` is SHA-256 over `spaceos/commitment/1`, a zero byte, the salt and the text: whoever kept salt and text can
    show that they are the true ones, and nobody can guess a text without the salt, which is in the ciphertext only.
    """

    sealed: Literal[1] = 1
    suite: Literal[1] = 1
    key: SealingKeyId
    nonce: Annotated[_Base64, Field(min_length=32, max_length=32)]
    body: _Base64
    commitment: Digest
