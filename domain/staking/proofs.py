"""Evidence that proves itself: two findings of one key that differ, and an answer that does not reach its root."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts import Digest

ATTEST = "staking.Attest"
ANSWER = "storage.AnswerChallenge"
_FOUND = ("missed", "verdict", "root")


@dataclass(frozen=True, slots=True)
class Said:
    """A command whose signature was verified: who said what about what."""

    source: str
    type: str
    subject: str
    network: str
    data: Mapping[str, Any]


def are_equivocal(first: Said, second: Said) -> bool:
    """Whether one key signed two findings about one case that differ."""
    same = all(getattr(first, name) == getattr(second, name) for name in ("source", "type", "subject", "network"))
    about_a_case = first.type == ATTEST and first.subject.startswith("staking/case/")
    return same and about_a_case and _finding(first) != _finding(second)


def evidence_of(said: Said) -> Digest:
    """One for each key and question: a third finding is no second offence."""
    return Digest(hashlib.sha256(f"{said.type}\n{said.subject}\n{said.source}".encode()).hexdigest())


def is_refuted(answer: Said, manifest: str) -> bool:
    """Whether a chunk hash in the answer does not reach the manifest's root (RFC 9162, 2.1.3.2)."""
    if answer.type != ANSWER:
        return False
    try:
        said = json.loads(manifest)
        size, root = int(said["chunks"]), bytes.fromhex(said["root"])
        return not all(_reaches(entry, size, root) for entry in answer.data["answers"])
    except (KeyError, TypeError, ValueError):
        return False


def _finding(said: Said) -> Sequence[Any]:
    return [said.data.get(name) for name in _FOUND]


def _reaches(entry: Mapping[str, Any], size: int, root: bytes) -> bool:
    node, last = int(entry["index"]), size - 1
    found = bytes.fromhex(entry["chunk_hash"])
    if not 0 <= node <= last:
        return False
    for sibling in map(bytes.fromhex, entry["path"]):
        if last == 0:
            return False
        if node % 2 or node == last:
            found = _parent(sibling, found)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            found = _parent(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
