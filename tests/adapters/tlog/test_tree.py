"""RFC 6962 trees: published proofs, and every size to 600 against a tree that is computed as the RFC defines it."""

import base64
import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tlog.tree import (
    EMPTY_ROOT,
    Frontier,
    ProofInvalid,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
DUMMY_ROOTS = "additional/sizes-are-equal-one-and-proof-is-empty"
"""Its roots have twelve bytes: a verifier may refuse them for their length, and ours does."""
LEAVES = [leaf_hash(b"entry %d" % n) for n in range(600)]


def published(kind: str) -> list[Any]:
    path = DATA / f"rfc6962-{kind}-proofs.json"
    if not path.is_file():
        return [pytest.param({}, id="absent", marks=pytest.mark.skip(reason=f"{path.name} lies beside the checkout"))]
    return [pytest.param(case, id=name) for name, case in json.loads(path.read_text()).items() if DUMMY_ROOTS not in name]


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def proof_of(case: dict[str, Any]) -> list[bytes]:
    return [raw(text) for text in case["proof"] or ()]


@pytest.mark.parametrize("case", published("inclusion"))
def test_published_inclusion_proofs(case: dict[str, Any]) -> None:
    """transparency-dev/merkle, Apache-2.0."""

    def verify() -> None:
        verify_inclusion(raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof_of(case), raw(case["root"]))

    judge(verify, case["wantErr"])


@pytest.mark.parametrize("case", published("consistency"))
def test_published_consistency_proofs(case: dict[str, Any]) -> None:
    """transparency-dev/merkle, Apache-2.0."""

    def verify() -> None:
        verify_consistency(case["size1"], case["size2"], proof_of(case), raw(case["root1"]), raw(case["root2"]))

    judge(verify, case["wantErr"])


def judge(verify: Any, is_wrong: bool) -> None:
    if is_wrong:
        with pytest.raises(ProofInvalid):
            verify()
    else:
        verify()


@cache
def slow_root(start: int, end: int) -> bytes:
    """MTH of RFC 6962, 2.1, word by word."""
    if start == end:
        return sha256().digest()
    if end - start == 1:
        return LEAVES[start]
    k = 1
    while k * 2 < end - start:
        k *= 2
    return sha256(b"\x01" + slow_root(start, start + k) + slow_root(start + k, end)).digest()


def test_every_size_to_600_has_the_root_of_the_definition() -> None:
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT
    for size, leaf in enumerate(LEAVES, 1):
        frontier.append(leaf)
        assert frontier.root() == slow_root(0, size)


@given(st.integers(0, 300), st.integers(0, 300))
def test_many_leaves_at_once_are_the_same_leaves_one_by_one(before: int, more: int) -> None:
    """The same tree, and the same subtrees are completed on each height, in their order."""
    one_by_one, at_once = Frontier(), Frontier()
    told: dict[int, list[bytes]] = {}
    for n in range(before):
        one_by_one.append(LEAVES[n])
    at_once.extend(b"".join(LEAVES[:before]))

    for n in range(before, before + more):
        one_by_one.append(LEAVES[n], lambda height, _, node: told.setdefault(height, []).append(node))
    levels = at_once.extend(b"".join(LEAVES[before : before + more]))

    assert at_once == one_by_one
    assert levels == [b"".join(told[height]) for height in range(len(told))]


def test_each_completed_subtree_is_told_once() -> None:
    told: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()

    for leaf in LEAVES:
        frontier.append(leaf, lambda height, index, found: told.update({(height, index): found}))

    assert told == {(h, i): slow_root(i << h, (i + 1) << h) for h in range(10) for i in range(len(LEAVES) >> h)}


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 599, 600])
def test_every_leaf_is_proved(size: int) -> None:
    for index in range(size):
        proof = inclusion_proof(index, size, slow_root)
        verify_inclusion(LEAVES[index], index, size, proof, slow_root(0, size))


def test_every_size_is_a_proved_prefix_of_every_later_one() -> None:
    for new in [*range(1, 70), 255, 256, 257, 599, 600]:
        for old in range(new + 1):
            proof = consistency_proof(old, new, slow_root)
            verify_consistency(old, new, proof, slow_root(0, old), slow_root(0, new))


@given(st.data())
def test_a_proof_that_was_touched_proves_nothing(data: st.DataObject) -> None:
    """One bit, one hash less, one more, two swapped, another leaf, another size: at every size to 600."""
    size = data.draw(st.integers(2, 600))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, slow_root)

    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[index], index, size, touched(proof, data), slow_root(0, size))
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[(index + 1) % size], index, size, proof, slow_root(0, size))


@given(st.data())
def test_a_consistency_proof_that_was_touched_proves_nothing(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 600))
    old = data.draw(st.integers(1, new - 1))
    proof = consistency_proof(old, new, slow_root)

    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, touched(proof, data), slow_root(0, old), slow_root(0, new))
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, proof, slow_root(0, old - 1), slow_root(0, new))


def touched(proof: list[bytes], data: st.DataObject) -> list[bytes]:
    how = data.draw(st.sampled_from(["flip", "drop", "add", "swap"]))
    at = data.draw(st.integers(0, len(proof) - 1))
    if how == "flip":
        bit = data.draw(st.integers(0, 255))
        changed = (int.from_bytes(proof[at]) ^ 1 << bit).to_bytes(32)
        return [*proof[:at], changed, *proof[at + 1 :]]
    if how == "drop":
        return [*proof[:at], *proof[at + 1 :]]
    if how == "swap" and len(set(proof)) > 1:
        other = data.draw(st.integers(0, len(proof) - 1).filter(lambda n: proof[n] != proof[at]))
        swapped = list(proof)
        swapped[at], swapped[other] = proof[other], proof[at]
        return swapped
    return [*proof[:at], sha256(b"more").digest(), *proof[at:]]


def test_the_root_of_the_eight_leaf_tree_is_the_published_one() -> None:
    """The reference tree of Certificate Transparency's implementations."""
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]

    root = root_of(leaf_hash(bytes.fromhex(entry)) for entry in entries)

    assert root.hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_leaf_that_is_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(IndexError):
        inclusion_proof(3, 3, slow_root)
    with pytest.raises(IndexError):
        consistency_proof(4, 3, slow_root)
