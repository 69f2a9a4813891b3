"""The standalone verifier over a live log: what `spaceos audit verify` says of consequences is what a stranger would say.

Whether events follow from their commands, and whoever signed was entitled then, is judged in one place, the file that strangers
run. Here it is handed the whole log and the store's commands as if they were a pack.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import Engine

from adapters.audit.checking import Finding
from adapters.audit.log import AuditLog, NotInLog
from adapters.audit.packs import KeptCommands, bundle, command_document
from ops import auditverify

UNCLEAR = "unclear"
"""The check of a finding that accuses nobody: something that is needed to judge is missing or unknown."""


def judge_log(engine: Engine, policy: bytes, genesis: bytes, commands: KeptCommands | None = None) -> Iterator[Finding]:
    """What does not follow, up to the newest signed head. Without commands only who signed is judged."""
    try:
        size, note = AuditLog(engine).checkpoint()
    except NotInLog:
        return
    pack, judge = _Whole(engine, size, note, commands), auditverify.Judge(policy, genesis)
    if (head := judge.guard("checkpoint", "checkpoint", None, judge.checkpoint, pack)) is not None:
        judge.guard("manifest", "manifest.json", None, judge.judge, pack, head, commands is None)
    for found in sorted(judge.bad, key=lambda finding: (auditverify.CHECKS.index(finding["check"]), finding["index"] or 0)):
        yield Finding(found["check"], found["file"] if found["index"] is None else f"entry {found['index']}", found["text"])
    yield from (Finding(UNCLEAR, "log", text) for text in sorted(judge.doubts))


class _Whole(auditverify.Live):
    """A log's database as a pack of all its entries. Commands are fetched for a tile at a time, and never all kept."""

    def __init__(self, engine: Engine, size: int, note: str, commands: KeptCommands | None) -> None:
        self.names, self.is_newest, self.has_commands = {"range.json"}, True, commands is not None
        self._engine, self._size, self._signed, self._commands = engine, size, note.encode(), commands
        self._identities: dict[int, tuple[str, str]] = {}
        self._there: tuple[int, Mapping[str, bytes]] = (-1, {})

    def manifest(self) -> Any:
        origin = self._signed.partition(b"\n")[0].decode()
        return {"asked": {"first": 0, "end": self._size}, "origin": origin, "size": self._size, "withheld": None}

    def read(self, name: str) -> bytes:
        folder, _, which = name.partition("/")
        if folder == "entries":
            start, end = map(int, which.split("-"))
            return self._entries(start, end)
        if folder == "commands":
            return self._kept(int(which.partition(".")[0]) // auditverify.WIDTH)[name]
        return self._signed if name == "checkpoint" else b'{"left":[],"right":[]}'

    def _entries(self, start: int, end: int) -> bytes:
        found, raw = bundle(self._engine, start, end)
        for index, value in found.items():
            document = orjson.loads(value)
            self._identities[index] = (document["actor"], document["causationid"])
        # In place: the judge looks here for what has a command.
        self.names.update(self._kept(start // auditverify.WIDTH))
        return raw

    def _kept(self, tile: int) -> Mapping[str, bytes]:
        if self._commands is None:
            return {}
        if self._there[0] != tile:
            indices = range(tile * auditverify.WIDTH, (tile + 1) * auditverify.WIDTH)
            wanted = {index: self._identities[index] for index in indices if index in self._identities}
            kept = self._commands(sorted(set(wanted.values())))
            made = {f"commands/{n}.json": command_document(kept[who]) for n, who in wanted.items() if who in kept}
            self._there = (tile, made)
        return self._there[1]
