"""What is in a pack: entries with their proofs, and the seals, keys, commands and erasures that belong to them."""

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import Engine

from adapters.audit.log import AuditLog
from adapters.audit.packs import rows
from adapters.audit.packs.enclosed import PAGE, Enclosed, Identity, Kept
from adapters.audit.packs.readme import README
from adapters.audit.packs.zips import Spool, document
from adapters.tlog.checkpoints import Checkpoint
from adapters.tlog.entries import RecordEntry, read_entry
from adapters.tlog.proofs import TlogProof
from adapters.tlog.tiles import WIDTH, TiledTree, pack_entries
from contracts import consents

SHREDDED: Final = "custody.KeyShredded"
EXPIRED: Final = "audit.RetentionExpired"
ROTATED: Final = "identity.KeyRotated"


@dataclass
class _Supporting:
    """What is in a pack only for the sake of what was asked for."""

    keys: list[int] = field(default_factory=list)
    seals: list[int] = field(default_factory=list)
    erasures: list[int] = field(default_factory=list)
    persons: list[int] = field(default_factory=list)


class Contents:
    """One pack in the making. What is asked for is added first; finishing adds the rest."""

    def __init__(self, spool: Spool, log: AuditLog, enclosed: Enclosed) -> None:
        self._spool = spool
        self._note = log.checkpoint()[1] if enclosed.note is None else enclosed.note
        self._head = Checkpoint.parse(self._note[: self._note.index("\n\n") + 1])
        self._log, self._tree, self._enclosed = log, log.tree(self._head.size), enclosed
        self._there: set[int] = set()
        self._range = range(0)
        self._signers: dict[str, bool] = {}
        """Whose key streams are needed, and whether they are here."""
        self._supporting = _Supporting()
        self._fields: dict[int, list[tuple[str, str]]] = {}
        self._opened: dict[str, dict[str, dict[str, str]]] = {}
        self._gone: set[str] = set()
        self._consented: set[tuple[str, str]] = set()
        """Streams in which something stands that others had to consent to, and the events by which they did."""

    @property
    def size(self) -> int:
        """Of the signed head."""
        return self._head.size

    # Entries

    def add_alone(self, folder: str, indices: Iterable[int]) -> list[int]:
        """Each entry with a proof of its own; those that are here already are passed over."""
        added = []
        for leaf in rows.at(self._log.engine, {index for index in indices if not self._has(index)}):
            proof = TlogProof(leaf.index, self._tree.inclusion(leaf.index), self._note)
            self._spool.add(f"{folder}/{leaf.index}", leaf.entry)
            self._spool.add(f"proofs/{leaf.index}.tlog-proof", str(proof).encode())
            self._there.add(leaf.index)
            added.append(leaf)
        self._look_at(added, added if folder == "entries" else ())
        return [leaf.index for leaf in added]

    def add_range(self, first: int, end: int, asked: Collection[int] | None = None) -> None:
        """Bundles as a log serves them, cut where its tiles are, and the subtrees on both sides. All is asked for, or some."""
        self._range = range(first, end)
        waiting: list[rows.Leaf] = []
        for leaf in rows.between(self._log.engine, first, end):
            waiting.append(leaf)
            if (leaf.index + 1) % WIDTH == 0 or leaf.index + 1 == end:
                self._spool.add(
                    f"entries/{waiting[0].index}-{leaf.index + 1}", pack_entries(waited.entry for waited in waiting)
                )
                self._look_at(waiting, waiting if asked is None else [leaf for leaf in waiting if leaf.index in asked])
                waiting = []
        sides = {"left": subtrees(self._tree, 0, first), "right": subtrees(self._tree, end, self.size)}
        self._spool.add("range.json", document(sides))

    def _has(self, index: int) -> bool:
        return index in self._there or index in self._range

    def _look_at(self, leaves: Collection[rows.Leaf], asked: Collection[rows.Leaf]) -> None:
        records, indices = dict(_documents(leaves)), {leaf.index for leaf in asked}
        for index, found in records.items():
            self._signers.setdefault(found["source"], False)
            self._signers.setdefault(found["actor"], False)
            if (consent := consents().get(found["type"])) is not None:
                self._consented |= {(found["subject"], consent), (found["subject"], found["type"])}
            if index in indices and (fields := list(_sealed(found["data"]))):
                self._fields[index] = fields
                self._open(index, found)
        self._add_commands(records)

    def _add_commands(self, records: Mapping[int, Mapping[str, Any]]) -> None:
        if self._enclosed.commands is None:
            return
        wanted = {index: (found["actor"], found["causationid"]) for index, found in records.items()}
        names = sorted(set(wanted.values()))
        kept: dict[Identity, Kept] = {}
        for start in range(0, len(names), PAGE):
            kept |= self._enclosed.commands(names[start : start + PAGE])
        for index, identity in wanted.items():
            if found := kept.get(identity):
                self._spool.add(f"commands/{index}.json", command_document(found))

    def _open(self, index: int, found: Mapping[str, Any]) -> None:
        for pointer, key, opened in self._enclosed.openings(found) if self._enclosed.openings else ():
            if opened is None:
                self._gone.add(key)
            else:
                fields = self._opened.setdefault(str(index), {})
                fields[pointer] = {"salt": opened.salt.hex(), "text": opened.text}

    # What a verifier needs besides

    def finish(self, kind: str, asked: Mapping[str, Any], indices: list[int] | None) -> str:
        """Seals, keys, erasures, and the manifest last; its SHA-256. Without indices the whole range was asked for."""
        self._add_seals(self._range if indices is None else indices)
        erasures = self._add_erasures()
        self._add_persons()
        self._add_keys()
        withheld = sorted({key for _, key in self._unopened()} - erasures.keys() - self._gone)
        if erasures:
            self._spool.add("erasures.json", document(erasures))
        if self._opened:
            self._spool.add("opened.json", document(self._opened))
        if (since := self._enclosed.since) is not None:
            self._spool.add("consistency", document([*subtrees(self._tree, 0, since), *subtrees(self._tree, since, self.size)]))
        self._spool.add("README", README.encode())
        self._spool.add("auditverify.py", self._enclosed.verifier)
        self._spool.add("checkpoint", self._note.encode())
        is_whole = indices is None or "first" in asked
        manifest: dict[str, Any] = {
            "kind": kind, "network": self._network(), "origin": self._head.origin, "size": self.size, "asked": asked,
            "supporting": vars(self._supporting), "withheld": withheld, "reader": self._enclosed.reader,
            "complete": "proven: the whole range is in it" if is_whole else "not proven: others that fit may be in the log",
        }  # fmt: skip
        if indices is not None:
            manifest["indices"] = indices
        return self._spool.finish(manifest)

    def _network(self) -> str:
        head = self._log.head()
        assert head is not None
        return head.network

    def _add_seals(self, indices: Collection[int]) -> None:
        """The seal of every batch that holds one of them. In a range only the last one can be missing."""
        last = -1
        for index in indices[-1:] if isinstance(indices, range) else indices:
            if index <= last:
                continue
            found = rows.seal_after(self._log.engine, index)
            if found is not None and found < self.size:
                self._supporting.seals += self.add_alone("seals", [found])
                last = found

    def _add_keys(self) -> None:
        """The key streams of everybody who signed anything that is here, and of whoever registered them, and so on."""
        predecessors: dict[str, str] = {}
        for _, found in _documents(rows.below(self._log.engine, "identity/key/", self.size, ROTATED)):
            predecessors[found["data"]["successor"]] = found["data"]["key"]
        streams = {f"identity/network/{self._network()}"}
        while True:
            fresh = {did for did, is_here in self._signers.items() if not is_here}
            streams |= {f"identity/key/{did}" for did in fresh}
            streams |= {f"identity/key/{predecessors[did]}" for did in fresh if did in predecessors}
            if not streams:
                return
            self._signers |= dict.fromkeys(fresh, True)
            found_at = [leaf.index for leaf in rows.of_streams(self._log.engine, streams, self.size)]
            self._supporting.keys += self.add_alone("keys", found_at)
            streams = set()

    def _add_persons(self) -> None:
        """Who else had to consent to what is here. Of keys all events are here anyway."""
        for stream, consent in sorted(self._consented):
            if not stream.startswith("identity/key/"):
                found_at = [leaf.index for leaf in rows.of_streams(self._log.engine, [stream], self.size, consent)]
                self._supporting.persons += self.add_alone("persons", found_at)

    def _add_erasures(self) -> dict[str, dict[str, int]]:
        """Of each key that was destroyed and not opened: the entry that says so, and the one that ordered it."""
        keys = {key for _, key in self._unopened()}
        found: dict[str, dict[str, int]] = {}
        causes: dict[str, str] = {}
        for index, shredded in self._of_keys(keys, SHREDDED):
            key = shredded["subject"].rpartition("/")[2]
            found.setdefault(key, {"shredded": index})
            causes.setdefault(key, shredded["data"]["cause"])
        ordered = rows.indices_of(self._log.engine, set(causes.values()), self.size)
        for key, cause in causes.items():
            if cause in ordered:
                found[key]["ordered"] = ordered[cause]
        if keys & causes.keys():
            self._note_expiries(found)
        for places in found.values():
            self._supporting.erasures += self.add_alone("erasures", places.values())
        return found

    def _note_expiries(self, found: dict[str, dict[str, int]]) -> None:
        for index, expired in _documents(rows.below(self._log.engine, "audit/class/", self.size, EXPIRED)):
            for key in expired["data"]["keys"]:
                if key in found:
                    found[key]["ordered"] = index

    def _of_keys(self, keys: Collection[str], kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
        streams = [f"custody/key/{key}" for key in keys]
        return _documents(rows.of_streams(self._log.engine, streams, self.size, kind))

    def _unopened(self) -> Iterator[tuple[str, str]]:
        for index, fields in self._fields.items():
            yield from (field for field in fields if field[0] not in self._opened.get(str(index), {}))


def subtrees(tree: TiledTree, start: int, end: int) -> list[tuple[int, str]]:
    """The fewest perfect subtrees that make up a range of leaves, from the left: height, and hash in base64."""
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        found.append((height, base64.b64encode(tree.subtree(start, start + (1 << height))).decode()))
        start += 1 << height
    return found


def _documents(leaves: Iterable[rows.Leaf]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records among the entries, with their indices."""
    for leaf in leaves:
        found = read_entry(leaf.entry)
        if isinstance(found, RecordEntry):
            yield leaf.index, orjson.loads(found.value)


def _sealed(node: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every sealed field: its JSON pointer and its key."""
    if isinstance(node, dict) and "sealed" in node and "commitment" in node:
        yield pointer, node["key"]
    elif isinstance(node, (dict, list)):
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _sealed(item, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


def bundle(engine: Engine, first: int, end: int) -> tuple[dict[int, bytes], bytes]:
    """The records' values by index, and all entries of the range as a log serves them."""
    leaves = list(rows.between(engine, first, end))
    values = {leaf.index: found.value for leaf in leaves if isinstance(found := read_entry(leaf.entry), RecordEntry)}
    return values, pack_entries(leaf.entry for leaf in leaves)


def command_document(kept: Kept) -> bytes:
    """A command as a pack holds it."""
    return document(
        {
            "command": base64.b64encode(kept.value).decode(), "signature": kept.signature,
            "outcome": base64.b64encode(kept.outcome).decode(), "outcome_signature": kept.outcome_signature,
        }
    )  # fmt: skip
