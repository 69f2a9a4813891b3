"""Tiles: their paths byte for byte, and a tree read from them against one that is held whole."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.tlog.tiles import (
    MAX_ENTRY_BYTES,
    Tile,
    TiledTree,
    TilesInconsistent,
    new_tiles,
    pack_entries,
    tile_of,
    unpack_entries,
)
from adapters.tlog.tree import Frontier, leaf_hash, root_of, verify_consistency, verify_inclusion

LEAVES = [leaf_hash(b"%d" % n) for n in range(70_000)]


@pytest.fixture(scope="module")
def levels() -> dict[int, list[bytes]]:
    """The hashes of each level of tiles, of the tree over all leaves."""
    found: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    frontier = Frontier()
    for leaf in LEAVES:
        frontier.append(leaf, lambda h, _i, node: found[h // 8].append(node) if h % 8 == 0 else None)
    return found


def tree(levels: dict[int, list[bytes]], size: int) -> TiledTree:
    def fetch(tiles: Sequence[Tile]) -> list[bytes]:
        return [b"".join(levels[tile.level or 0][tile.index * 256 : tile.index * 256 + tile.width]) for tile in tiles]

    return TiledTree(fetch, size)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(1, 999), "tile/1/999"),
        (Tile(1, 1_000, 255), "tile/1/x001/000.p/255"),
        (Tile(63, 5, 1), "tile/63/005.p/1"),
        (Tile(None, 1_000_000), "tile/entries/x001/x000/000"),
    ],
)
def test_a_path_is_that_of_the_specification_and_back(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    ["tile/0/0", "tile/00/000", "tile/64/000", "tile/0/000.p/256", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/x000/001",
     "tile/0/001/000", "tile/0/000/", "/tile/0/000", "tile/data/000", "tile/0/x1/000", "tile/0/../000"],
)  # fmt: skip
def test_any_other_spelling_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"path|spelling"):
        Tile.parse(path)


def test_the_tiles_of_70_000_leaves_are_those_of_the_specification() -> None:
    tiles = list(new_tiles(0, 70_000))

    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    assert [tile for tile in tiles if tile.width < 256] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert sum(tile.level == 1 and tile.width == 256 for tile in tiles) == 1
    assert list(new_tiles(0, 256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]


def test_growing_makes_the_tiles_that_changed_and_no_others() -> None:
    assert list(new_tiles(255, 257)) == [Tile(0, 0, 256), Tile(0, 1, 1), Tile(1, 0, 1)]
    assert list(new_tiles(300, 301)) == [Tile(0, 1, 45)]
    assert list(new_tiles(300, 300)) == []


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 70_000])
def test_a_root_is_read_from_tiles(levels: dict[int, list[bytes]], size: int) -> None:
    assert tree(levels, size).root() == root_of(LEAVES[:size])


@settings(deadline=None)
@given(st.data())
def test_proofs_from_tiles_are_true(levels: dict[int, list[bytes]], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70_000))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    mine = tree(levels, size)

    verify_inclusion(LEAVES[index], index, size, mine.inclusion(index), mine.root())
    older = tree(levels, old).root() if old else root_of([])
    verify_consistency(old, size, mine.consistency(old), older, mine.root())


def test_a_tile_that_is_too_short_is_not_believed(levels: dict[int, list[bytes]]) -> None:
    whole = b"".join(levels[0][:256])

    with pytest.raises(TilesInconsistent):
        TiledTree(lambda tiles: [whole[:-1] for _ in tiles], 256 + 1).root()


def test_a_proof_reads_its_tiles_at_once_and_each_once(levels: dict[int, list[bytes]]) -> None:
    """What is asked of a database in one question is one round trip, and one snapshot."""
    asked: list[list[Tile]] = []
    whole = tree(levels, 70_000)
    mine = TiledTree(lambda tiles: asked.append(list(tiles)) or [whole._fetch([tile])[0] for tile in tiles], 70_000)

    mine.inclusion(3)
    mine.inclusion(4)

    assert [set(tiles) for tiles in asked] == [{Tile(0, 0), Tile(1, 0), Tile(1, 1, 17), Tile(0, 273, 112)}]
    assert len(asked[0]) == 4


def test_a_tile_that_a_tree_does_not_have_cannot_be_named() -> None:
    assert tile_of(0, 1, 300) == Tile(0, 1, 44)
    with pytest.raises(IndexError):
        tile_of(0, 2, 300)
    with pytest.raises(IndexError):
        tile_of(1, 0, 255)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entries_come_out_of_a_bundle_as_they_went_in(entries: list[bytes]) -> None:
    assert unpack_entries(pack_entries(entries)) == entries


def test_the_longest_entry_fits_and_one_byte_more_does_not() -> None:
    assert unpack_entries(pack_entries([bytes(MAX_ENTRY_BYTES)])) == [bytes(MAX_ENTRY_BYTES)]
    with pytest.raises(ValueError, match="at most"):
        pack_entries([bytes(MAX_ENTRY_BYTES + 1)])


@pytest.mark.parametrize("bundle", [b"\x00", b"\x00\x01", b"\x00\x01a\x00"])
def test_a_bundle_that_ends_in_an_entry_is_not_believed(bundle: bytes) -> None:
    with pytest.raises(TilesInconsistent):
        unpack_entries(bundle)
