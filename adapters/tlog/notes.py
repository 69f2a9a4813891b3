"""C2SP signed notes: a text and who signed it. Ed25519 (type 0x01) and witnesses' cosignatures (type 0x04)."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

MAX_SIGNATURES = 100
ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
"""c2sp.org/tlog-cosignature: the signature begins with the time at which it was made."""
LAST_SECOND: Final = 253_402_300_799
"""The last second of the year 9999. What is later, as of a witness who counts milliseconds, is no time."""
_DASH: Final = "— "


class NoteInvalid(Exception):
    """The note is no note, or a key that we know did not sign it, or nobody did whom we know."""


@dataclass(frozen=True)
class NoteKey:
    """Who may sign: a name, a kind and a public key. As text: `<name>+<id, hexadecimal>+<base64 of kind and key>`."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, kind and key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Raises ValueError that names what is wrong."""
        name, _, rest = text.partition("+")
        claimed, _, material = rest.partition("+")
        raw = _decoded(material)
        if not _is_name(name) or len(raw) != 33 or raw[0] not in (ED25519, COSIGNATURE):
            raise ValueError(f"{text[:80]!r} is no verifier key <name>+<id>+<base64> of a kind that is known here")
        key = cls(name, raw[0], raw[1:])
        if key.id.hex() != claimed:
            raise ValueError(f"the id of {name} is {key.id.hex()}, the key says {claimed[:8]!r}")
        return key


@dataclass(frozen=True)
class NoteSigner:
    """A key with its secret half, which is never printed."""

    key: NoteKey
    _secret: SigningKey = field(repr=False)

    @classmethod
    def of(cls, name: str, seed: bytes, kind: int = ED25519) -> "NoteSigner":
        """From 32 secret bytes."""
        secret = SigningKey(seed)
        return cls(NoteKey(name, kind, bytes(secret.verify_key)), secret)

    def line(self, text: str, posix_seconds: int = 0) -> str:
        """The signature line over the note's text; a cosignature says when it was made."""
        stamp = posix_seconds.to_bytes(8) if self.key.kind == COSIGNATURE else b""
        signature = self._secret.sign(_message(self.key.kind, text, posix_seconds)).signature
        return f"{_DASH}{self.key.name} {base64.b64encode(self.key.id + stamp + signature).decode()}\n"


@dataclass(frozen=True)
class Signed:
    """One signature that was verified. `posix_seconds` is when a witness made it; 0 for a log's own."""

    key: NoteKey
    posix_seconds: int


@dataclass(frozen=True)
class Note:
    """A text that somebody signed, and whose signatures were verified."""

    text: str
    signatures: tuple[Signed, ...]


def sign_note(text: str, *signers: NoteSigner, posix_seconds: int = 0) -> str:
    """The note. Raises ValueError where the text cannot be one."""
    if not text.endswith("\n") or _has_controls(text):
        raise ValueError("a note's text ends in a newline and has no other control characters")
    return text + "\n" + "".join(signer.line(text, posix_seconds) for signer in signers)


def open_note(note: bytes, keys: Iterable[NoteKey]) -> Note:
    """Verify. Unknown keys are ignored; a known key whose signature is bad rejects the note. Raises NoteInvalid.

    A cosignature of a time after the year 9999 counts as little as that of an unknown key: it is odd, and no forgery.
    """
    known = {(key.name, key.id): key for key in keys}
    text, lines = _split(note)
    verified: dict[NoteKey, Signed] = {}
    for line in lines:
        name, raw = _parse_line(line)
        key = known.get((name, raw[:4]))
        if key is None:
            continue
        if key in verified:
            raise NoteInvalid(f"{name} signed twice")
        verified[key] = _verified(key, text, raw[4:])
    found = tuple(signed for signed in verified.values() if signed.posix_seconds <= LAST_SECOND)
    if not found:
        late = "".join(f" before the year 10000 (it says {signed.posix_seconds} s)" for signed in list(verified.values())[:1])
        raise NoteInvalid(f"nobody whose key is known signed it{late}")
    return Note(text, found)


def _split(note: bytes) -> tuple[str, list[str]]:
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteInvalid("a note is UTF-8") from None
    if _has_controls(whole):
        raise NoteInvalid("a note has no control characters but newlines")
    text, blank, signatures = whole.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise NoteInvalid("a note is a text, an empty line and at least one signature line")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteInvalid(f"at most {MAX_SIGNATURES} signatures, this note has {len(lines)}")
    return text + "\n", lines


def _parse_line(line: str) -> tuple[str, bytes]:
    name, _, material = line.removeprefix(_DASH).partition(" ")
    raw = _decoded(material)
    if not line.startswith(_DASH) or not _is_name(name) or len(raw) < 5:
        raise NoteInvalid(f"{line[:60]!r} is no signature line")
    return name, raw


def _verified(key: NoteKey, text: str, signature: bytes) -> Signed:
    stamp = b""
    if key.kind == COSIGNATURE:
        stamp, signature = signature[:8], signature[8:]
    seconds = int.from_bytes(stamp)
    if seconds >= 2**63:
        raise NoteInvalid(f"the time of {key.name}'s cosignature is above 2^63 - 1")
    try:
        VerifyKey(key.public).verify(_message(key.kind, text, seconds), signature)
    except (BadSignatureError, ValueError):
        raise NoteInvalid(f"the signature of {key.name} is bad") from None
    return Signed(key, seconds)


def _message(kind: int, text: str, posix_seconds: int) -> bytes:
    return (f"cosignature/v1\ntime {posix_seconds}\n{text}" if kind == COSIGNATURE else text).encode()


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)


def _has_controls(text: str) -> bool:
    return any(character < " " and character != "\n" for character in text)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
