"""C2SP tlog-proof: one file that shows, offline, that an entry is in a log whose head somebody has signed."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from adapters.tlog.checkpoints import Checkpoint, open_checkpoint
from adapters.tlog.notes import Note, NoteKey
from adapters.tlog.tree import HASH_BYTES, ProofInvalid, leaf_hash, verify_inclusion

HEADER: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class TlogProof:
    """An entry's place, the path from it to the root, and the signed checkpoint with that root."""

    index: int
    path: Sequence[bytes]
    checkpoint: str
    """The signed note, as it was published."""
    extra: bytes | None = None
    """Whatever belongs to it; nobody has signed it."""

    def __str__(self) -> str:
        lines = [HEADER, *([f"extra {_encoded(self.extra)}"] if self.extra is not None else [])]
        lines += [f"index {self.index}", *map(_encoded, self.path), ""]
        return "\n".join(lines) + "\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ProofInvalid."""
        head, blank, checkpoint = text.partition("\n\n")
        first, *lines = head.split("\n")
        if first != HEADER or not blank:
            raise ProofInvalid(f"a proof begins with {HEADER} and has an empty line before its checkpoint")
        extra = _decoded(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
        label, _, number = (lines.pop(0) if lines else "").partition(" ")
        if label != "index" or not (
            number.isascii() and number.isdecimal() and len(number) < 20 and str(int(number)) == number
        ):
            raise ProofInvalid("a proof names the entry's index, a decimal number without leading zeroes")
        path = [_decoded(line) for line in lines]
        if any(len(found) != HASH_BYTES for found in path):
            raise ProofInvalid("a proof's path is one hash of 32 bytes in base64 a line")
        return cls(int(number), path, checkpoint, extra)

    def verify(self, entry: bytes, log: NoteKey, witnesses: Iterable[NoteKey] = ()) -> tuple[Checkpoint, Note]:
        """That the entry is in the log. What was signed, and by whom. Raises ProofInvalid, NoteInvalid."""
        checkpoint, note = open_checkpoint(self.checkpoint.encode(), log, witnesses)
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint, note


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofInvalid(f"{text[:60]!r} is not base64") from None
    if _encoded(raw) != text:
        raise ProofInvalid(f"{text[:60]!r} is another spelling of its bytes")
    return raw
