"""C2SP tiles: a tree as files of up to 256 hashes, from which any hash of it and any proof follows."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from adapters.tlog.tree import HASH_BYTES, Span, consistency_spans, inclusion_spans, node_hash, parents

HEIGHT = 8
WIDTH = 1 << HEIGHT
TILE_BYTES = WIDTH * HASH_BYTES
MAX_ENTRY_BYTES = 65_535
CACHED_TILES = 1_000

_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class TilesInconsistent(Exception):
    """A tile is not as long as its name says, or an entry bundle does not end where an entry does."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The n-th tile of a level with its first `width` hashes. A level of None is a bundle of entries."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, N in groups of three digits."""
        digits = f"{self.index % 1000:03d}"
        rest = self.index // 1000
        while rest:
            digits = f"x{rest % 1000:03d}/{digits}"
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        return f"tile/{level}/{digits}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Raises ValueError for whatever is not exactly the path of a tile."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise ValueError(f"{path[:80]!r} is no tile's path")
        level, groups, last, width = found.groups()
        index = int(groups.replace("x", "").replace("/", "") + last)
        tile = cls(None if level == "entries" else int(level), index, int(width) if width else WIDTH)
        if tile.path != path:
            raise ValueError(f"{path[:80]!r} is another spelling of {tile.path}")
        return tile


def tile_of(level: int | None, index: int, size: int) -> Tile:
    """That tile as it is in a tree of that size. Raises IndexError where the tree has no such tile."""
    hashes = size >> HEIGHT * (level or 0)
    width = min(WIDTH, hashes - index * WIDTH)
    if index < 0 or width < 1:
        raise IndexError(f"a tree of {size} leaves has no tile {index} of level {level}")
    return Tile(level, index, width)


def new_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles of hashes, whole and partial, that a tree of `new` leaves has and the one of `old` had not."""
    level = 0
    while new >> HEIGHT * level:
        before, now = old >> HEIGHT * level, new >> HEIGHT * level
        if now > before:
            for index in range(before // WIDTH, (now - 1) // WIDTH + 1):
                yield Tile(level, index, min(WIDTH, now - index * WIDTH))
        level += 1


Fetch = Callable[[Sequence[Tile]], Sequence[bytes]]
"""The bytes of some tiles, each once, in their order."""


class TiledTree:
    """A tree of some size, read from its tiles: hashes and proofs. Nothing is believed that has the wrong length."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self.size = size
        self._fetch = fetch
        self._known: dict[Tile, bytes] = {}

    def root(self) -> bytes:
        """Its root. Raises TilesInconsistent."""
        return self.subtree(0, self.size)

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that the leaf is in it. Raises IndexError."""
        return self._hashes(inclusion_spans(index, self.size))

    def consistency(self, old: int) -> list[bytes]:
        """The proof that a smaller tree is its prefix. Raises IndexError."""
        return self._hashes(consistency_spans(old, self.size))

    def subtree(self, start: int, end: int) -> bytes:
        """The hash over the leaves from `start`, which is where a subtree of that size begins."""
        return self._hashes([(start, end)])[0]

    def _hashes(self, spans: Iterable[Span]) -> list[bytes]:
        """Of each span. What tiles that takes is known before the first is read, so they are fetched at once."""
        perfect = [[_Node.of(height, index, self.size) for height, index in _perfect(*span)] for span in spans]
        tiles = self._read({node.tile for nodes in perfect for node in nodes})
        return [_joined([_folded(tiles[node.tile][node.start : node.end]) for node in nodes]) for nodes in perfect]

    def _read(self, wanted: Collection[Tile]) -> dict[Tile, bytes]:
        missing = [tile for tile in wanted if tile not in self._known]
        if len(self._known) + len(missing) > CACHED_TILES:
            self._known, missing = {}, list(wanted)
        if missing:
            self._known.update((tile, _checked(tile, raw)) for tile, raw in zip(missing, self._fetch(missing), strict=True))
        return self._known


class _Node(NamedTuple):
    """The root of a perfect subtree, as the bytes of a tile from which it follows."""

    tile: Tile
    start: int
    end: int

    @classmethod
    def of(cls, height: int, index: int, size: int) -> Self:
        level, rest = divmod(height, HEIGHT)
        number, place = divmod(index << rest, WIDTH)
        start = place * HASH_BYTES
        return cls(tile_of(level, number, size), start, start + (HASH_BYTES << rest))


def _folded(hashes: bytes) -> bytes:
    """The root over a power of two of them."""
    while len(hashes) > HASH_BYTES:
        hashes = parents(hashes)
    return hashes


def _joined(roots: list[bytes]) -> bytes:
    """The root over perfect subtrees that become smaller from the left."""
    found = roots.pop()
    while roots:
        found = node_hash(roots.pop(), found)
    return found


def _perfect(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees that make up a range, from the left: `(height, index)`."""
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        yield height, start >> height
        start += 1 << height


def _checked(tile: Tile, raw: bytes) -> bytes:
    if len(raw) != tile.width * HASH_BYTES:
        raise TilesInconsistent(f"{tile.path} has {len(raw)} bytes, not {tile.width * HASH_BYTES}")
    return raw


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """A bundle: each entry behind its length in two bytes. Raises ValueError for one that is too long."""
    packed = bytearray()
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, this one has {len(entry)}")
        packed += len(entry).to_bytes(2) + entry
    return bytes(packed)


def unpack_entries(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises TilesInconsistent."""
    entries, at = [], 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2])
        if at + 2 > len(bundle) or end > len(bundle):
            raise TilesInconsistent("an entry bundle ends in the middle of an entry")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries
