"""C2SP tiles: a tree as files of up to 256 hashes, from which any hash of it and any proof follows."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from adapters.tlog.tree import HASH_BYTES, consistency_proof, inclusion_proof, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
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


Fetch = Callable[[Tile], bytes]
"""The bytes of a tile."""


class TiledTree:
    """A tree of some size, read from its tiles: hashes and proofs. Nothing is believed that has the wrong length."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self.size = size
        self._tile = lru_cache(maxsize=CACHED_TILES)(lambda tile: _checked(tile, fetch(tile)))

    def root(self) -> bytes:
        """Its root. Raises TilesInconsistent."""
        return self.subtree(0, self.size)

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that the leaf is in it. Raises IndexError."""
        return inclusion_proof(index, self.size, self.subtree)

    def consistency(self, old: int) -> list[bytes]:
        """The proof that a smaller tree is its prefix. Raises IndexError."""
        return consistency_proof(old, self.size, self.subtree)

    def subtree(self, start: int, end: int) -> bytes:
        """The hash over the leaves from `start`, which is where a subtree of that size begins."""
        roots = [self._node(height, index) for height, index in _perfect(start, end)]
        found = roots.pop()
        while roots:
            found = node_hash(roots.pop(), found)
        return found

    def _node(self, height: int, index: int) -> bytes:
        level, rest = divmod(height, HEIGHT)
        first = index << rest
        raw = self._tile(tile_of(level, first // WIDTH, self.size))
        offset = first % WIDTH * HASH_BYTES
        hashes = [raw[at : at + HASH_BYTES] for at in range(offset, offset + (HASH_BYTES << rest), HASH_BYTES)]
        while len(hashes) > 1:
            hashes = [node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
        return hashes[0]


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
