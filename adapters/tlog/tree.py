"""Merkle trees of RFC 6962 (the verifications are those of RFC 9162, 2.1.3.2 and 2.1.4.2). Hashes are 32 bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

HASH_BYTES = 32
NODE_BYTES = 2 * HASH_BYTES
EMPTY_ROOT = sha256(b"").digest()

Span = tuple[int, int]
"""The leaves `start <= leaf < end`."""
Subtree = Callable[[int, int], bytes]
"""`(start, end)` to the hash of the tree over those leaves."""


class ProofInvalid(Exception):
    """The proof does not show what it claims. The message says which step fails."""


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962, 2.1: the 0x00 keeps a leaf from passing for a node."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def parents(row: bytes) -> bytes:
    """The hashes above a row of them, pair by pair; one that is left over has none yet."""
    # Written out: the children stand side by side, so nothing is joined, and a proof or a batch is hundreds of these.
    whole = range(0, len(row) - HASH_BYTES, NODE_BYTES)
    return b"".join([sha256(b"\x01" + row[at : at + NODE_BYTES]).digest() for at in whole])


@dataclass(slots=True)
class Frontier:
    """The right edge of a growing tree: the roots of its perfect subtrees, the largest first. O(log n) to keep."""

    size: int = 0
    roots: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes, on_node: Callable[[int, int, bytes], None] = lambda _height, _index, _hash: None) -> None:
        """One more leaf hash. `on_node(height, index, hash)` hears of each subtree that it completes, the leaf first."""
        height, index, found = 0, self.size, leaf
        on_node(0, index, found)
        while index & 1:
            height, index = height + 1, index >> 1
            found = node_hash(self.roots.pop(), found)
            on_node(height, index, found)
        self.roots.append(found)
        self.size += 1

    def extend(self, leaves: bytes) -> list[bytes]:
        """Leaf hashes, one behind the other. By height, the hashes of the subtrees that they complete, the leaves first."""
        levels: list[bytes] = []
        roots: list[bytes] = []
        new, size = leaves, self.size
        while new or self.roots:
            levels.append(new)
            row = self.roots.pop() + new if size & 1 else new
            if len(row) % NODE_BYTES:
                roots.append(row[-HASH_BYTES:])
            new, size = parents(row), size >> 1
        self.roots = roots[::-1]
        self.size += len(leaves) // HASH_BYTES
        return [level for level in levels if level]

    def root(self) -> bytes:
        """The hash of the whole tree."""
        if not self.roots:
            return EMPTY_ROOT
        found = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            found = node_hash(left, found)
        return found


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962, 2.1.1: from the leaf's sibling up. Raises IndexError where there is no such leaf."""
    return [subtree(*span) for span in inclusion_spans(index, size)]


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Whose hashes the proof is, in its order. Raises IndexError."""
    if not 0 <= index < size:
        raise IndexError(f"a tree of {size} leaves has no leaf {index}")
    path: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _largest_power_below(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962, 2.1.2: that the tree of `old` leaves is a prefix of that of `new`. Raises IndexError."""
    return [subtree(*span) for span in consistency_spans(old, new)]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Whose hashes the proof is, in its order. Raises IndexError."""
    if not 0 <= old <= new:
        raise IndexError(f"a tree of {new} leaves has no prefix of {old}")
    if old in (0, new):
        return []
    path: list[Span] = []
    start, end, is_whole = 0, new, True
    while old != end:
        middle = start + _largest_power_below(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, is_whole = middle, False
    if not is_whole:
        path.append((start, end))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofInvalid unless the leaf hash stands at the index of the tree with that root."""
    _all_hashes([leaf, root, *proof])
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} leaves has no leaf {index}")
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the proof has too many hashes")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the proof has too few hashes")
    if found != root:
        raise ProofInvalid("the leaf and the proof give another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises ProofInvalid unless the older tree is a prefix of the newer one."""
    _all_hashes([old_root, new_root, *proof])
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of {new} leaves has no prefix of {old}")
    if old in (0, new):
        _verify_trivially(old, new, proof, old_root, new_root)
        return
    path = list(proof)
    if not path:
        raise ProofInvalid("the proof has too few hashes")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    # A prefix that is a perfect subtree is its own first hash.
    first = path.pop(0) if place else old_root
    older = newer = first
    for sibling in path:
        if last == 0:
            raise ProofInvalid("the proof has too many hashes")
        if place & 1 or place == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the proof has too few hashes")
    if older != old_root:
        raise ProofInvalid("the proof gives another root for the older tree")
    if newer != new_root:
        raise ProofInvalid("the proof gives another root for the newer tree")


def _verify_trivially(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    if proof:
        raise ProofInvalid("the proof has too many hashes")
    if old == new and old_root != new_root:
        raise ProofInvalid("two roots for one size: the log was forked")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ProofInvalid("the empty tree has another root")


def _all_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(found) != HASH_BYTES for found in hashes):
        raise ProofInvalid("a hash has 32 bytes")


def _largest_power_below(count: int) -> int:
    """Of two, smaller than the count."""
    return 1 << (count - 1).bit_length() - 1
