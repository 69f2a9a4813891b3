"""Claims: everybody's cumulative earnings as one Merkle tree, in the form that OpenZeppelin's MerkleProof verifies.

A leaf is `keccak256(keccak256(abi.encode(account, token, cumulative)))`: hashed twice, so that no inner node is a leaf, and
a pair is hashed in ascending order, so that a proof needs no sides. The tree is laid out as @openzeppelin/merkle-tree's
StandardMerkleTree lays it out: leaves ascending, at the end of an array in which the children of n are 2n + 1 and 2n + 2.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eth_hash.auto import keccak

from contracts import Digest
from contracts.rewards import SPACE, ChainHash, Payee
from domain.rewards.epochs import RootDecreases

NATIVE_TOKEN = Payee("0x" + 40 * "0")
"""Stands for SPACE."""


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A row of the table: what an account has earned of a token, ever.

    In the ledger's units. Of a coin they are the token's; SPACE has 4 decimals there, and the contract pays each unit as
    10^14 wei: from fewer to more is exact, so no row has dust.
    """

    account: Payee
    token: Payee
    cumulative: int

    def encoded(self) -> bytes:
        """`abi.encode(address, address, uint256)`: three words of 32 bytes."""
        return b"".join((_word(self.account), _word(self.token), self.cumulative.to_bytes(32)))

    def leaf(self) -> bytes:
        return keccak(keccak(self.encoded()))


def table(earned: Mapping[tuple[Payee, str], int], tokens: Mapping[str, Payee]) -> list[Claim]:
    """The rows in their order, of payee and asset to units. `tokens` are the assets' contracts; SPACE needs none."""
    known = {SPACE: NATIVE_TOKEN, **tokens}
    return sorted(Claim(payee, known[asset], units) for (payee, asset), units in earned.items() if units)


def digest_of(rows: Iterable[Claim]) -> Digest:
    """SHA-256 of the encoded rows in ascending order."""
    found = hashlib.sha256()
    for row in sorted(rows):
        found.update(row.encoded())
    return Digest(found.hexdigest())


def require_grown(before: Iterable[Claim], now: Iterable[Claim]) -> None:
    """Nobody's cumulative amount falls, and nobody is left out. Raises RootDecreases."""
    amounts = {(row.account, row.token): row.cumulative for row in now}
    for row in before:
        if amounts.get((row.account, row.token), 0) < row.cumulative:
            raise RootDecreases(f"{row.account} had {row.cumulative} units of {row.token}")


@dataclass(frozen=True)
class ClaimTree:
    """A table's tree. 2n - 1 hashes for n rows; the root is the first."""

    nodes: Sequence[bytes]
    places: Mapping[bytes, int] = field(repr=False)
    """Of each leaf its place among the nodes."""

    @classmethod
    def of(cls, rows: Iterable[Claim]) -> "ClaimTree":
        """Raises ValueError of no rows: there is nothing to prove."""
        return cls.over(row.leaf() for row in rows)

    @classmethod
    def over(cls, hashes: Iterable[bytes]) -> "ClaimTree":
        """The tree over leaves that are hashed already."""
        leaves = sorted(hashes)
        if not leaves:
            raise ValueError("a tree has a row")
        nodes = [b""] * (len(leaves) - 1) + leaves[::-1]
        for n in range(len(leaves) - 2, -1, -1):
            nodes[n] = pair(nodes[2 * n + 1], nodes[2 * n + 2])
        return cls(nodes, {node: n for n, node in enumerate(nodes) if n >= len(leaves) - 1})

    @property
    def root(self) -> ChainHash:
        return ChainHash("0x" + self.nodes[0].hex())

    def proof(self, claim: Claim) -> list[bytes]:
        """The siblings from leaf to root. Raises KeyError where the claim is no row."""
        n, siblings = self.places[claim.leaf()], []
        while n > 0:
            siblings.append(self.nodes[n + 1 if n % 2 else n - 1])
            n = (n - 1) // 2
        return siblings


def pair(one: bytes, other: bytes) -> bytes:
    """The parent of two nodes, in whichever order they come."""
    return keccak(min(one, other) + max(one, other))


def proves(claim: Claim, proof: Iterable[bytes], root: ChainHash) -> bool:
    """What the contract checks."""
    node = claim.leaf()
    for sibling in proof:
        node = pair(node, sibling)
    return "0x" + node.hex() == root


def _word(address: Payee) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
