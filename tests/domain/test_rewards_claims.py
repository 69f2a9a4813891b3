"""Claims: the root that OpenZeppelin's contract would verify against, computed here once more by its own formula."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_abi.packed import encode_packed
from eth_hash.auto import keccak
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from contracts.rewards import ChainHash, Payee
from domain.rewards.claims import NATIVE_TOKEN, Claim, ClaimTree, digest_of, pair, proves, require_grown, table
from domain.rewards.epochs import RootDecreases

ALICE, BOB, TOKEN = Payee("0x" + 40 * "1"), Payee("0x" + 40 * "2"), Payee("0x" + 40 * "e")
PUBLISHED = Path(__file__).parent / "published"
ROWS = [Claim(ALICE, NATIVE_TOKEN, 5), Claim(ALICE, TOKEN, 10**18), Claim(BOB, NATIVE_TOKEN, 7)]

addresses = st.integers(1, 2**160 - 1).map(lambda n: Payee(f"0x{n:040x}"))
rows = st.builds(Claim, addresses, st.sampled_from([NATIVE_TOKEN, TOKEN]), st.integers(1, 2**256 - 1))
tables = st.lists(rows, min_size=1, max_size=40, unique_by=lambda row: (row.account, row.token))


def leaf(row: Claim) -> bytes:
    """As Solidity writes it: `keccak256(bytes.concat(keccak256(abi.encode(account, token, cumulative))))`."""
    return keccak(keccak(encode(["address", "address", "uint256"], [row.account, row.token, row.cumulative])))


def _words(claim: dict[str, Any]) -> list[Any]:
    return [claim["index"], claim["account"], int(claim["amount"], 16)]


def process_proof(proof: Sequence[bytes], node: bytes) -> bytes:
    """OpenZeppelin's `MerkleProof.processProof`: `a < b ? keccak256(a, b) : keccak256(b, a)` at each step."""
    for sibling in proof:
        node = keccak(node + sibling) if node < sibling else keccak(sibling + node)
    return node


def test_the_published_example_of_openzeppelins_tree_has_its_root() -> None:
    """From the README of @openzeppelin/merkle-tree: two rows of (address, uint256)."""
    values = [("0x" + 40 * "1", 5 * 10**18), ("0x" + 40 * "2", 25 * 10**17)]
    leaves = [keccak(keccak(encode(["address", "uint256"], list(value)))) for value in values]

    assert ClaimTree.over(leaves).root == "0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77"


def test_a_published_tree_is_laid_out_node_by_node_as_openzeppelins() -> None:
    """Six leaves, which fill no level: `test/dumps/standard-v1.sorted.1_0_6.json` of @openzeppelin/merkle-tree (MIT)."""
    leaves = [keccak(keccak(encode(["string"], [letter]))) for letter in "abcdef"]

    tree = ClaimTree.over(leaves)

    assert [node.hex()[:16] for node in tree.nodes] == [
        "6deb52b5da8fd108", "52426e0f1f65ff7e", "fd3cf45654e88d1c", "8076923e76cf01a7", "965b92c6cf08303c",
        "eba909cf4bb90c69", "c62a8cfa41edc0ef", "9cf5a63718145ba9", "9c15a6a0eaeed500", "9a4f64e953595df8",
        "19ba6c6333e0e9a1",
    ]  # fmt: skip
    assert [tree.places[leaf] for leaf in leaves] == [8, 10, 7, 5, 9, 6]


def test_real_claims_of_a_distribution_lead_to_the_root_that_paid_them() -> None:
    """Proofs of 17 and 18 nodes in a tree of 252,803 claims, whose pairs are hashed as ours are."""
    published = json.loads((PUBLISHED / "uni-claims.json").read_text())

    for claim in published["claims"]:
        node = keccak(encode_packed(["uint256", "address", "uint256"], _words(claim)))
        for sibling in claim["proof"]:
            node = pair(node, bytes.fromhex(sibling))

        assert "0x" + node.hex() == published["root"]


def test_real_cumulative_claims_of_two_months_lead_to_their_roots_and_never_fall() -> None:
    """As ours: each root replaces the one before, and a stake that earned nothing stands where it stood."""
    months = json.loads((PUBLISHED / "threshold-claims.json").read_text())["distributions"]
    amounts: dict[str, list[int]] = {}

    for month in months:
        for claim in month["claims"]:
            amount = int(claim["amount"])
            node = keccak(encode_packed(["address", "address", "uint256"], [claim["stake"], claim["beneficiary"], amount]))
            for sibling in claim["proof"]:
                node = pair(node, bytes.fromhex(sibling))
            amounts.setdefault(claim["stake"], []).append(amount)

            assert "0x" + node.hex() == month["root"], claim["stake"]

    assert all(before <= after for before, after in amounts.values())
    assert sum(before < after for before, after in amounts.values()) == 2


def test_keccak_is_ethereums_and_not_sha3() -> None:
    """Of the empty string, as the yellow paper has it."""
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@drawn(tables)
@settings(max_examples=100, deadline=None)
def test_every_row_is_proved_by_the_formula_of_the_contract(found: list[Claim]) -> None:
    tree = ClaimTree.of(found)

    for row in found:
        assert row.leaf() == leaf(row)
        assert "0x" + process_proof(tree.proof(row), leaf(row)).hex() == tree.root
        assert proves(row, tree.proof(row), tree.root)


@drawn(tables, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_root_does_not_depend_on_the_order_of_the_rows(found: list[Claim], chance: object) -> None:
    shuffled = found.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]

    assert ClaimTree.of(shuffled).root == ClaimTree.of(found).root
    assert digest_of(shuffled) == digest_of(found)


@pytest.mark.parametrize(
    "forged", [Claim(ALICE, NATIVE_TOKEN, 6), Claim(ALICE, TOKEN, 5), Claim(BOB, NATIVE_TOKEN, 5), Claim(BOB, TOKEN, 7)]
)
def test_another_amount_token_or_account_proves_nothing(forged: Claim) -> None:
    tree = ClaimTree.of(ROWS)

    assert not any(proves(forged, tree.proof(row), tree.root) for row in ROWS)
    with pytest.raises(KeyError):
        tree.proof(forged)


def test_an_inner_node_is_no_leaf() -> None:
    """Leaves are hashed twice: 64 bytes of two nodes are not the encoding of a row."""
    tree = ClaimTree.of(ROWS)
    below = tree.nodes[3:5]

    assert tree.nodes[1] == keccak(min(below) + max(below))
    assert keccak(keccak(min(below) + max(below))) not in tree.nodes
    assert len(ROWS[0].encoded()) == 96


def test_a_table_of_one_row_is_its_own_root() -> None:
    tree = ClaimTree.of(ROWS[:1])

    assert tree.root == "0x" + ROWS[0].leaf().hex()
    assert proves(ROWS[0], [], tree.root)
    assert not proves(ROWS[1], [], ChainHash(tree.root))


def test_an_empty_table_has_no_tree() -> None:
    with pytest.raises(ValueError, match="row"):
        ClaimTree.of([])


def test_a_new_root_with_a_smaller_cumulative_amount_for_anyone_is_refused() -> None:
    """Though the total grows: what one loses, another's gain does not make good."""
    smaller = [Claim(ALICE, NATIVE_TOKEN, 4), ROWS[1], Claim(BOB, NATIVE_TOKEN, 100)]

    with pytest.raises(RootDecreases):
        require_grown(ROWS, smaller)
    with pytest.raises(RootDecreases):
        require_grown(ROWS, ROWS[:2])
    require_grown(ROWS, [*ROWS, Claim(BOB, TOKEN, 1)])


def test_space_is_the_token_zero_and_an_asset_without_a_contract_has_no_row() -> None:
    earned = {(ALICE, "SPACE"): 5, (ALICE, "USD.s"): 10**18, (BOB, "SPACE"): 7, (BOB, "USD.s"): 0}

    assert table(earned, {"USD.s": TOKEN}) == ROWS
    with pytest.raises(KeyError):
        table(earned, {})
