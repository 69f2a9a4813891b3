"""The body of C2SP tlog-witness' `add-checkpoint`: a head, and the proof that it continues an older one."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from adapters.tlog.tree import HASH_BYTES

MAX_HASHES: Final = 63
PATH: Final = "add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type of a witness's answer that names the size it knows."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class SubmissionInvalid(Exception):
    """The body is not of the form that the protocol prescribes. The message says where."""


@dataclass(frozen=True)
class Submission:
    """That the tree of `old` leaves is a prefix of the checkpoint's."""

    old: int
    proof: Sequence[bytes]
    checkpoint: str
    """The signed note."""

    def encode(self) -> bytes:
        hashes = [base64.b64encode(found).decode() for found in self.proof]
        return ("\n".join([f"old {self.old}", *hashes, ""]) + "\n" + self.checkpoint).encode()

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises SubmissionInvalid. The checkpoint is not looked into."""
        try:
            head, blank, checkpoint = body.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError:
            raise SubmissionInvalid("a submission is UTF-8") from None
        first, *lines = head.split("\n")
        if not blank or not first.startswith("old "):
            raise SubmissionInvalid("a submission begins with an old size and has an empty line before its checkpoint")
        if len(lines) > MAX_HASHES:
            raise SubmissionInvalid(f"a proof has at most {MAX_HASHES} hashes, this one has {len(lines)}")
        return cls(size_of(first[4:]), tuple(map(_hash, lines)), checkpoint)


def size_of(text: str) -> int:
    """A tree's size as it is written in these formats. Raises SubmissionInvalid."""
    if _DECIMAL.fullmatch(text) is None:
        raise SubmissionInvalid(f"{text[:40]!r} is no size: a decimal number without leading zeroes")
    return int(text)


def _hash(line: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != HASH_BYTES or base64.b64encode(raw).decode() != line:
        raise SubmissionInvalid(f"{line[:60]!r} is not a hash: 32 bytes in base64")
    return raw
