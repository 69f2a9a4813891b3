"""C2SP checkpoints: a note whose text is a tree's origin, size and root."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from adapters.tlog.notes import Note, NoteInvalid, NoteKey, NoteSigner, open_note, sign_note
from adapters.tlog.tree import HASH_BYTES


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's head. `origin` names the log."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From a note's text; lines after the third are let be. Raises NoteInvalid."""
        lines = text.split("\n")[:-1]
        if len(lines) < 3 or not text.endswith("\n") or not all(lines):
            raise NoteInvalid("a checkpoint has at least three lines, and none of them is empty")
        origin, size, root = lines[:3]
        try:
            raw = base64.b64decode(root, validate=True)
        except binascii.Error:
            raw = b""
        if not (size.isascii() and size.isdecimal() and len(size) < 20 and str(int(size)) == size):
            raise NoteInvalid(f"a checkpoint's second line is its size, not {size[:40]!r}")
        if len(raw) != HASH_BYTES or base64.b64encode(raw).decode() != root:
            raise NoteInvalid("a checkpoint's third line is its root hash, 32 bytes in base64")
        return cls(origin, int(size), raw)


def sign_checkpoint(checkpoint: Checkpoint, *signers: NoteSigner) -> str:
    """The log's own signature: a note."""
    return sign_note(checkpoint.text, *signers)


def cosign(note: str, witness: NoteSigner, posix_seconds: int) -> str:
    """The note with the witness's line at its end. Whether the tree is consistent with the last one is for him to check."""
    text = note[: note.rindex("\n\n") + 1]
    return note + witness.line(text, posix_seconds)


def open_checkpoint(note: bytes, log: NoteKey, witnesses: Iterable[NoteKey] = ()) -> tuple[Checkpoint, Note]:
    """Verify a checkpoint of the log with that key. Raises NoteInvalid, also where only witnesses have signed it."""
    found = open_note(note, [log, *witnesses])
    if not any(signed.key == log for signed in found.signatures):
        raise NoteInvalid(f"{log.name} has not signed it")
    checkpoint = Checkpoint.parse(found.text)
    if checkpoint.origin != log.name:
        raise NoteInvalid(f"it is of the log {checkpoint.origin[:80]!r}, not of {log.name!r}")
    return checkpoint, found
