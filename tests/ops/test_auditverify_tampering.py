"""Whatever somebody does to a pack, also one who sets the manifest's hashes right again, and whoever has the log's keys."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from adapters.audit.packs import Enclosed, Kept, write_bundle, write_pack
from adapters.audit.search import Filter
from adapters.keys import ed25519_signer
from adapters.tlog.checkpoints import Checkpoint, cosign, sign_checkpoint
from adapters.tlog.entries import Cut, RecordEntry, Seal, read_entry
from adapters.tlog.notes import NoteSigner
from adapters.tlog.tree import leaf_hash, root_of
from contracts import rfc3339
from tests.independent.history import (
    GPU,
    LOG,
    OFFICER,
    OLD,
    ROOTS,
    SEALING,
    START,
    STRANGER,
    WITNESSES,
    Deployed,
    History,
    hand_out,
    lively,
    openings,
)  # fmt: skip
from tests.independent.verifier import (
    Files,
    Stranger,
    changed,
    flipped,
    packed,
    read_pack,
    repaired,
    unpacked,
    without,
    write_zip,
)  # fmt: skip

SEALED, STREAM = "providers/provider/p2", "providers/provider/s1"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(tmp_path_factory.mktemp("log"), lively())
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger.in_folder(tmp_path_factory.mktemp("stranger"), "coincurve", "Crypto")


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    policy, genesis = hand_out(tmp_path / "handed-out")
    return ["--policy", policy, "--genesis", genesis]


def enclosed(deployed: Deployed, **more: Any) -> Enclosed:
    told = {"commands": deployed.commands, "openings": openings("opened"), "note": deployed.witnessed()}
    return Enclosed(**{**told, **more})


@pytest.fixture(scope="module")
def packs(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """One of each kind, as files."""
    folder, own = tmp_path_factory.mktemp("packs"), enclosed(deployed)
    event = next(found.id for found in deployed.history.events if found.document["subject"] == SEALED)
    written = {
        "event": write_pack(deployed.log, folder / "event", event=event, enclosed=own),
        "stream": write_pack(deployed.log, folder / "stream", stream=STREAM, enclosed=own),
        "range": write_bundle(deployed.log, folder / "range", Filter(first=100, end=330), own),
        "whole": write_bundle(deployed.log, folder / "whole", Filter(first=0), own),
        "filter": write_bundle(deployed.log, folder / "filter", Filter(type="identity."), own),
    }
    return {kind: read_pack(made.path) for kind, made in written.items()}


# Pieces of packs


def manifest_of(files: Files) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files["manifest.json"])
    return found


def claim(files: Files, **changes: Any) -> Files:
    return changed(files, "manifest.json", lambda manifest: {**manifest, **changes})


def nth(files: Files, n: int = 0) -> int:
    return int(manifest_of(files)["indices"][n])


def of_key(files: Files, ending: str) -> int:
    """The index of a supporting key event of that type."""
    indices = manifest_of(files)["supporting"]["keys"]
    return next(int(n) for n in indices if f'"type":"{ending}"'.encode() in files[f"keys/{n}"])


def seal_of(files: Files, n: int = 0) -> int:
    """The index of a supporting seal."""
    return int(manifest_of(files)["supporting"]["seals"][n])


def shortened(files: Files, name: str, end: int) -> Files:
    return {**files, name: files[name][:end]}


def swapped(files: Files, one: str, other: str) -> Files:
    return {**files, one: files[other], other: files[one]}


def edited(files: Files, name: str, old: bytes, new: bytes) -> Files:
    assert old in files[name]
    return {**files, name: files[name].replace(old, new, 1)}


def dropped(files: Files, index: int, folder: str = "entries") -> Files:
    """An entry with all that belongs to it, and without a trace in the manifest."""
    names = (f"{folder}/{index}", f"proofs/{index}.tlog-proof", f"commands/{index}.json")
    manifest = manifest_of(files)
    kept = {kind: [n for n in found if n != index] for kind, found in manifest["supporting"].items()}
    return claim(without(files, *names), indices=[n for n in manifest["indices"] if n != index], supporting=kept)


def rebundled(files: Files, change: Callable[[list[bytes]], object], name: str = "entries/100-256") -> Files:
    entries = unpacked(files[name])
    change(entries)
    return {**files, name: packed(entries)}


def proof(files: Files, change: Callable[[list[str]], object], n: int = 0) -> Files:
    """The lines of a proof before its checkpoint: header, index, hashes."""
    name = f"proofs/{nth(files, n)}.tlog-proof"
    head, _, checkpoint = files[name].decode().partition("\n\n")
    lines = head.split("\n")
    change(lines)
    return {**files, name: ("\n".join(lines) + "\n\n" + checkpoint).encode()}


def noted(files: Files, note: str) -> Files:
    """Another checkpoint, wherever there is one."""
    old = files["checkpoint"]
    return {name: content.replace(old, note.encode()) for name, content in files.items()}


def note_of(files: Files, **changes: Any) -> str:
    """The head with something else in it, signed again by another key of the log's name."""
    signer = changes.pop("signer", NoteSigner.of(LOG.key.name, bytes([99]) * 32))
    found = Checkpoint.parse(files["checkpoint"].decode().partition("\n\n")[0] + "\n")
    return sign_checkpoint(replace(found, **changes), signer)


def kept(files: Files, change: Callable[[dict[str, Any]], object], n: int = 0) -> Files:
    return changed(files, f"commands/{nth(files, n)}.json", lambda command: change(command) and None)


def within(command: dict[str, Any], part: str, old: bytes, new: bytes) -> object:
    raw = base64.b64decode(command[part])
    assert old in raw
    command[part] = base64.b64encode(raw.replace(old, new, 1)).decode()
    return None


def opened(files: Files, change: Callable[[dict[str, Any]], object]) -> Files:
    """The fields of the one entry that has some."""
    return changed(files, "opened.json", lambda found: change(found[str(nth(files))]) and None)


REGISTERED = "identity.KeyRegistered"
FIELD, ERASED = "/opened~1of", "/erased~1of"
FALSE = {"salt": "00" * 32, "text": "a lie"}

CASES: dict[str, tuple[str, str, Callable[[Files], Files]]] = {
    # entries
    "an entry edited": ("event", "inclusion", lambda f: edited(f, f"entries/{nth(f)}", b"withheld", b"withhelb")),
    "an entry cut short": ("event", "inclusion", lambda f: {**f, f"entries/{nth(f)}": f[f"entries/{nth(f)}"][:-1]}),
    "an entry's signature replaced": (
        "stream", "inclusion",
        lambda f: {**f, f"entries/{nth(f)}": f[f"entries/{nth(f, 1)}"][:104] + f[f"entries/{nth(f)}"][104:]},
    ),
    "two entries swapped": ("stream", "inclusion", lambda f: swapped(f, f"entries/{nth(f, 3)}", f"entries/{nth(f, 4)}")),
    "an entry deleted": ("stream", "asked", lambda f: without(f, f"entries/{nth(f, 3)}")),
    "an entry deleted without a trace": ("stream", "stream", lambda f: dropped(f, nth(f, 3))),
    "the first version deleted without a trace": ("stream", "stream", lambda f: dropped(f, nth(f))),
    "an entry said to be of another place": (
        "event", "inclusion",
        lambda f: claim({**without(f, f"entries/{nth(f)}"), "entries/3": f[f"entries/{nth(f)}"]}, indices=[3]),
    ),
    "a seal in place of an entry": ("event", "asked", lambda f: claim(f, indices=manifest_of(f)["supporting"]["seals"])),
    "an entry of a range edited": ("range", "inclusion", lambda f: edited(f, "entries/100-256", b"Draining", b"Drowning")),
    "an entry of a range deleted": ("range", "entry", lambda f: rebundled(f, lambda e: e.pop(7))),
    "an entry of a range deleted, the range shortened": (
        "range", "inclusion",
        lambda f: claim(
            {**without(f, "entries/256-330"), "entries/256-329": packed(unpacked(f["entries/256-330"])[:-1])},
            asked={"first": 100, "end": 329},
        ),
    ),
    "an entry of a range doubled": ("range", "entry", lambda f: rebundled(f, lambda e: e.insert(7, e[7]))),
    "two entries of a range swapped": ("range", "inclusion", lambda f: rebundled(f, lambda e: e.insert(7, e.pop(8)))),
    "an entry of a range for another": ("range", "inclusion", lambda f: rebundled(f, lambda e: e.__setitem__(7, e[9]))),
    "a bundle cut within an entry": ("range", "entry", lambda f: {**f, "entries/256-330": f["entries/256-330"][:-1]}),
    "a bundle of nothing": ("range", "entry", lambda f: {**f, "entries/256-330": b""}),
    "two bundles swapped": ("range", "entry", lambda f: swapped(f, "entries/100-256", "entries/256-330")),
    "a bundle deleted": ("range", "inclusion", lambda f: without(f, "entries/256-330")),
    "the range said to begin elsewhere": ("range", "inclusion", lambda f: claim(f, asked={"first": 101, "end": 330})),
    "a subtree on the left edited": (
        "range", "inclusion", lambda f: changed(f, "range.json", lambda r: r["left"][0].append(flipped(r["left"][0].pop())))
    ),
    "a subtree on the right dropped": (
        "range", "inclusion", lambda f: changed(f, "range.json", lambda r: r["right"].pop() and None)
    ),
    "subtrees of other heights": (
        "range", "inclusion", lambda f: changed(f, "range.json", lambda r: r["left"].reverse())
    ),
    # proofs
    "a hash of a proof changed": ("event", "inclusion", lambda f: proof(f, lambda p: p.append(flipped(p.pop())))),
    "a hash of a proof dropped": ("event", "inclusion", lambda f: proof(f, lambda p: p.pop())),
    "a hash of a proof added": ("event", "inclusion", lambda f: proof(f, lambda p: p.append(p[-1]))),
    "two hashes of a proof swapped": ("event", "inclusion", lambda f: proof(f, lambda p: p.insert(2, p.pop(3)))),
    "a proof of another index": ("event", "inclusion", lambda f: proof(f, lambda p: p.__setitem__(1, "index 3"))),
    "a proof deleted": ("event", "inclusion", lambda f: without(f, f"proofs/{nth(f)}.tlog-proof")),
    "two proofs swapped": (
        "stream", "inclusion", lambda f: swapped(f, f"proofs/{nth(f)}.tlog-proof", f"proofs/{nth(f, 1)}.tlog-proof")
    ),
    "a proof cut short": ("event", "inclusion", lambda f: shortened(f, f"proofs/{nth(f)}.tlog-proof", 99)),
    "a proof with another head": (
        "event", "inclusion", lambda f: edited(f, f"proofs/{nth(f)}.tlog-proof", b"witness0", b"witness9")
    ),
    # the checkpoint
    "the head's size changed": ("event", "checkpoint", lambda f: noted(f, f["checkpoint"].decode().replace("\n3", "\n4", 1))),
    "the head's root changed": ("event", "checkpoint", lambda f: noted(f, note_of(f, root=bytes(32)))),
    "the head signed by somebody else": ("event", "checkpoint", lambda f: noted(f, note_of(f))),
    "the head signed by witnesses only": (
        "event", "checkpoint",
        lambda f: noted(f, "".join(n for n in f["checkpoint"].decode().splitlines(True) if not n.startswith("— audit"))),
    ),
    "a cosignature edited": ("event", "checkpoint", lambda f: noted(f, f["checkpoint"].decode()[:-6] + "AAAA=\n")),
    "the checkpoint deleted": ("event", "checkpoint", lambda f: without(f, "checkpoint")),
    "the checkpoint cut short": ("event", "checkpoint", lambda f: {**f, "checkpoint": f["checkpoint"][:50]}),
    # seals
    "a seal edited": ("event", "inclusion", lambda f: edited(f, f"seals/{seal_of(f)}", b'"batch":', b'"batch":1')),
    "a seal deleted without a trace": ("event", "seal", lambda f: dropped(f, seal_of(f), "seals")),
    "all seals but one deleted": (
        "stream", "seal",
        lambda f: dropped(dropped(f, seal_of(f), "seals"), seal_of(f, 1), "seals"),
    ),
    # keys
    "a registration deleted without a trace": ("event", "authority", lambda f: dropped(f, of_key(f, REGISTERED), "keys")),
    "a proposal deleted without a trace": ("event", "stream", lambda f: dropped(f, of_key(f, "identity.KeyProposed"), "keys")),
    "the founding deleted without a trace": ("event", "authority", lambda f: dropped(f, of_key(f, "identity.Founded"), "keys")),
    "a registration edited": (
        "event", "inclusion", lambda f: edited(f, f"keys/{of_key(f, REGISTERED)}", b"2026-01", b"2025-01")
    ),
    "a key's event deleted": ("event", "stream", lambda f: dropped_only(f, of_key(f, "identity.KeyProposed"))),
    # commands
    "a command edited": ("event", "command", lambda f: kept(f, lambda c: within(c, "command", b"Drain", b"Drown"))),
    "a command's signature stripped": ("event", "command", lambda f: kept(f, lambda c: c.update(signature=""))),
    "a command's signature of another": (
        "stream", "command",
        lambda f: kept(f, lambda c: c.update(signature=json.loads(f[f"commands/{nth(f, 1)}.json"])["signature"])),
    ),
    "two commands swapped": (
        "stream", "command", lambda f: swapped(f, f"commands/{nth(f)}.json", f"commands/{nth(f, 1)}.json")
    ),
    "a command cut short": ("event", "command", lambda f: shortened(f, f"commands/{nth(f)}.json", -9)),
    "an outcome that names other events": (
        "event", "command", lambda f: kept(f, lambda c: within(c, "outcome", b'"streamversion":1', b'"streamversion":2'))
    ),
    "an outcome that relies on nothing": (
        "event", "authority", lambda f: kept(f, lambda c: within(c, "outcome", b'"identity.events/0"', b'"identity.events/9"'))
    ),
    "a refusal in place of an outcome": (
        "event", "command", lambda f: kept(f, lambda c: within(c, "outcome", b".Accepted", b".Refused"))
    ),
    "an outcome of another": (
        "stream", "command",
        lambda f: kept(f, lambda c: c.update(outcome=json.loads(f[f"commands/{nth(f, 1)}.json"])["outcome"])),
    ),
    "a command inserted": ("event", "asked", lambda f: {**f, "commands/3.json": f[f"commands/{nth(f)}.json"]}),
    # opened fields
    "an opened text changed": ("event", "sealed", lambda f: opened(f, lambda o: o[FIELD].update(text="a lie"))),
    "an opened text's salt changed": ("event", "sealed", lambda f: opened(f, lambda o: o[FIELD].update(salt="00" * 32))),
    "a salt that took a letter of the text": (
        "event", "sealed",
        lambda f: opened(f, lambda o: o[FIELD].update(salt=o[FIELD]["salt"] + "74", text=o[FIELD]["text"][1:])),
    ),
    "an opened text for another field": ("event", "sealed", lambda f: opened(f, lambda o: o.update({ERASED: o.pop(FIELD)}))),
    "an erased text invented": ("event", "sealed", lambda f: opened(f, lambda o: o.update({ERASED: FALSE}))),
    "a text where none is sealed": ("event", "sealed", lambda f: opened(f, lambda o: o.update({"/n": FALSE}))),
    "the opened fields deleted": ("event", "sealed", lambda f: without(f, "opened.json")),
    # erasures
    "an erasure deleted": ("event", "sealed", lambda f: changed(without_marks(f), "erasures.json", lambda e: e.clear())),
    "an erasure that names another order": (
        "event", "sealed", lambda f: changed(f, "erasures.json", lambda e: e[SEALING["erased"]].update(ordered=nth(f)))
    ),
    "an erasure without its order": (
        "event", "sealed", lambda f: changed(f, "erasures.json", lambda e: e[SEALING["erased"]].pop("ordered") and None)
    ),
    "two erasures swapped": (
        "event", "sealed",
        lambda f: changed(f, "erasures.json", lambda e: dict(zip(e, reversed(e.values()), strict=True))),
    ),
    # the manifest
    "another network": ("event", "manifest", lambda f: claim(f, network="other")),
    "another origin": ("event", "manifest", lambda f: claim(f, origin="audit.example/test/2")),
    "another size": ("event", "manifest", lambda f: claim(f, size=3)),
    "another question": ("event", "asked", lambda f: claim(f, asked={"event": "00000000-0000-5000-8000-000000000000"})),
    "another stream asked for": ("stream", "asked", lambda f: claim(f, asked={"versions": "providers/provider/s2"})),
    "fewer entries listed": ("stream", "stream", lambda f: claim(f, indices=manifest_of(f)["indices"][1:])),
    "a key said to be opened by nobody": ("event", "sealed", lambda f: claim(f, withheld=[])),
    "a filter that leaves something out": ("filter", "asked", lambda f: claim(f, asked={"type": "identity.KeyR"})),
}  # fmt: skip


def dropped_only(files: Files, index: int) -> Files:
    """Out of the folder; proof and command stay behind."""
    return without(files, f"keys/{index}")


def without_marks(files: Files) -> Files:
    """Without the events that end keys, too."""
    for index in manifest_of(files)["supporting"]["erasures"]:
        files = dropped(files, index, "erasures")
    return files


@pytest.mark.parametrize("name", CASES)
def test_a_pack_that_somebody_changed_is_tampering(
    packs: Mapping[str, Files], stranger: Stranger, given: list[object], tmp_path: Path, name: str
) -> None:
    """Whether or not he sets the manifest's hashes right. The check, the file, and where there is one the entry are named."""
    kind, check, tamper = CASES[name]
    files = tamper(packs[kind])
    assert files != packs[kind]

    clumsy = stranger.verify(write_zip(tmp_path / "clumsy.zip", files), *given)
    careful = stranger.verify(write_zip(tmp_path / "careful.zip", repaired(files)), *given)

    assert (clumsy.code, careful.code) == (1, 1)
    assert careful.first["check"] == check, careful.answer["found"]
    assert careful.first["file"] in packs[kind] or careful.first["file"] in files


@pytest.mark.parametrize("kind", ["event", "stream", "range", "whole", "filter"])
def test_any_byte_of_any_file_that_is_changed_is_noticed(
    packs: Mapping[str, Files], stranger: Stranger, given: list[object], tmp_path: Path, kind: str
) -> None:
    """One in each of many files, by whoever repairs the hashes: never verified. What is for people only is not claimed."""
    names = [n for n in sorted(packs[kind]) if n not in {"README", "auditverify.py", "manifest.json"} and packs[kind][n]]
    step = max(1, len(names) // 12)
    for name in names[::step]:
        content = bytearray(packs[kind][name])
        content[len(content) // 2] ^= 1

        found = stranger.verify(write_zip(tmp_path / "t.zip", repaired({**packs[kind], name: bytes(content)})), *given)

        assert found.code == 1, name


def test_whoever_removes_what_cannot_be_missed_gets_no_verdict_either(
    packs: Mapping[str, Files], stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """Cosignatures and commands can be missing for honest reasons: that is inconclusive, and never verified."""
    files = packs["event"]
    uncosigned = noted(files, "".join(line for line in files["checkpoint"].decode().splitlines(True) if "witness" not in line))
    unasked = without(files, f"commands/{nth(files)}.json")

    codes = [stranger.verify(write_zip(tmp_path / "t.zip", repaired(found)), *given).code for found in (uncosigned, unasked)]

    assert codes == [3, 3]


# What the log's own keys can do


def forged(folder: Path, entries: Sequence[bytes], files: Files) -> Path:
    """A pack of a whole log with these entries, signed by its key and cosigned: all that hashes can show is right."""
    note = sign_checkpoint(Checkpoint(LOG.key.name, len(entries), root_of(map(leaf_hash, entries))), LOG)
    for witness in WITNESSES:
        note = cosign(note, witness, 1_767_300_000)
    bundles = {
        f"entries/{start}-{min(start + 256, len(entries))}": packed(list(entries[start : start + 256]))
        for start in range(0, len(entries), 256)
    }
    rest = without(files, *(name for name in files if name.startswith(("entries/", "commands/"))))
    made = {**rest, **bundles, "checkpoint": note.encode(), "range.json": b'{"left": [], "right": []}'}
    made = claim(made, size=len(entries), asked={"first": 0, "end": len(entries)})
    return write_zip(folder / "forged.zip", repaired(made))


def seals_in(entries: Sequence[bytes]) -> list[int]:
    return [n for n, entry in enumerate(entries) if isinstance(read_entry(entry), Seal)]


def renumbered(entries: list[bytes]) -> list[bytes]:
    """Seals that say again where their batches begin, and how much of each shard is in them: as a forger would write them."""
    made: list[bytes] = []
    begin = number = 0
    cuts: dict[str, Cut] = {}
    for entry in entries:
        found = read_entry(entry)
        if isinstance(found, RecordEntry):
            document = json.loads(found.value)
            shard, sequence = document["shard"], int(document["sequence"])
            head = sha256(found.value).hexdigest()
            cuts[shard] = Cut(shard, min(sequence, cuts.get(shard, Cut(shard, sequence, 0, "")).start), sequence + 1, head)
            made.append(entry)
        else:
            made.append(Seal(number, begin, tuple(cuts.values())).encode())
            begin, number, cuts = len(made), number + 1, {}
    return made


def leave_out(entries: list[bytes]) -> list[bytes]:
    del entries[200]
    return renumbered(entries)


def leave_out_the_last_of_a_batch(entries: list[bytes]) -> list[bytes]:
    del entries[seals_in(entries)[1] - 1]
    return renumbered(entries)


def take_twice(entries: list[bytes]) -> list[bytes]:
    entries.insert(200, entries[200])
    return renumbered(entries)


def reorder_within_a_shard(entries: list[bytes]) -> list[bytes]:
    entries[200], entries[201] = entries[201], entries[200]
    return renumbered(entries)


def reorder_between_shards(entries: list[bytes]) -> list[bytes]:
    """The rule gives one order; another one is not that of anybody's clock."""
    place = next(n for n in range(len(entries) - 1) if are_of_two_shards(entries[n : n + 2]))
    entries[place], entries[place + 1] = entries[place + 1], entries[place]
    return renumbered(entries)


def are_of_two_shards(pair: Sequence[bytes]) -> bool:
    found = [read_entry(entry) for entry in pair]
    return len({json.loads(f.value)["shard"] for f in found if isinstance(f, RecordEntry)}) == 2


def unseal(entries: list[bytes]) -> list[bytes]:
    """Two batches become one, and its cut is that of the second."""
    del entries[seals_in(entries)[0]]
    begin = 0
    for number, place in enumerate(seals_in(entries)):
        seal = read_entry(entries[place])
        assert isinstance(seal, Seal)
        entries[place] = replace(seal, batch=number, first=begin).encode()
        begin = place + 1
    return entries


def end_without_a_seal(entries: list[bytes]) -> list[bytes]:
    return entries[: seals_in(entries)[-2]]


def lie_in_a_seal(entries: list[bytes]) -> list[bytes]:
    place = seals_in(entries)[0]
    seal = read_entry(entries[place])
    assert isinstance(seal, Seal)
    cuts = (seal.cuts[0]._replace(head="0" * 64), *seal.cuts[1:])
    entries[place] = replace(seal, cuts=cuts).encode()
    return entries


def seal_too_much(entries: list[bytes]) -> list[bytes]:
    place = seals_in(entries)[0]
    seal = read_entry(entries[place])
    assert isinstance(seal, Seal)
    entries[place] = replace(seal, cuts=(*seal.cuts, Cut("zebra.events/0", 0, 3, "0" * 64))).encode()
    return entries


Forge = Callable[[list[bytes]], list[bytes]]
FORGERIES: list[Forge] = [
    leave_out, leave_out_the_last_of_a_batch, take_twice, reorder_within_a_shard, reorder_between_shards, unseal,
    end_without_a_seal, lie_in_a_seal, seal_too_much,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_the_logs_own_key_and_all_witnesses_cannot_leave_out_double_or_reorder(
    packs: Mapping[str, Files],
    stranger: Stranger,
    given: list[object],
    tmp_path: Path,
    forge: Forge,
) -> None:
    """The writer's chain and the seals tell."""
    files = packs["whole"]
    entries = [entry for name in ("entries/0-256",) for entry in unpacked(files[name])]
    entries += unpacked(files[next(name for name in files if name.startswith("entries/256-"))])

    honest = stranger.verify(forged(tmp_path, entries, files), *given, "--without-commands")
    found = stranger.verify(forged(tmp_path, forge(list(entries)), files), *given, "--without-commands")

    assert honest.code == 0
    assert found.code == 1
    assert "seal" in {finding["check"] for finding in found.answer["found"]}


# What the writer's key can do


def registered_late(history: History) -> None:
    """It acts, and is registered only then."""
    history.act(GPU)
    history.register(GPU)


def never_registered(history: History) -> None:
    history.act(GPU)


def registered_by_nobody(history: History) -> None:
    """Whoever registered it was no registrar."""
    history.register(GPU, registrar=STRANGER)
    history.act(GPU)


def revoked_before(history: History) -> None:
    history.register(GPU)
    history.revoke(GPU)
    history.act(GPU)


def ended_before(history: History) -> None:
    history.register(GPU)
    history.now += timedelta(days=320)
    history.act(GPU)


def rotated_before(history: History) -> None:
    history.register(OLD)
    history.rotate(OLD, GPU)
    history.now += timedelta(minutes=5)
    history.act(OLD)


def withdrawn_before(history: History) -> None:
    history.register(GPU)
    data = {"key": GPU.did, "role": "providers.gpu", "prefix": "providers/"}
    history.ask(ROOTS[1], "identity.WithdrawRole", f"identity/key/{GPU.did}", [("identity.RoleWithdrawn", data)])
    history.act(GPU)


def in_another_role(history: History) -> None:
    history.act(OFFICER)


def outside_of_its_prefix(history: History) -> None:
    history.register(GPU, "liveness.collector")
    history.act(GPU)


def of_a_stranger(history: History) -> None:
    """Signed by a key that is no writer."""
    history.register(GPU)
    history.act(GPU, writer=STRANGER)


def in_anothers_name(history: History) -> None:
    """The event names somebody who asked for nothing."""
    history.register(GPU)
    history.act(GPU, actor=OFFICER.did)


WRONGS: list[tuple[Callable[[History], None], str]] = [
    (registered_late, "authority"), (never_registered, "authority"),
    (registered_by_nobody, "authority"), (revoked_before, "authority"), (ended_before, "authority"),
    (rotated_before, "authority"), (withdrawn_before, "authority"), (in_another_role, "authority"),
    (outside_of_its_prefix, "authority"), (of_a_stranger, "signature"), (in_anothers_name, "authority"),
]  # fmt: skip


ONLY_THE_COMMAND_TELLS = (registered_by_nobody, in_anothers_name)
JUDGED = [
    (wrong, check, kind)
    for wrong, check in WRONGS
    for kind in ("event", "whole", "no commands")
    if kind != "no commands" or wrong not in ONLY_THE_COMMAND_TELLS
]


@pytest.mark.parametrize(("wrong", "check", "kind"), JUDGED)
def test_what_nobody_may_is_not_verified_although_it_is_in_the_log(
    stranger: Stranger, given: list[object], tmp_path: Path, wrong: Callable[[History], None], check: str, kind: str
) -> None:
    """By its own pack, by the whole log, and, where the event alone tells, without the commands."""
    history = History()
    history.found()
    wrong(history)
    made, target = Deployed(tmp_path / "log", history), tmp_path / "p.zip"
    last = next(event.id for event in reversed(history.events) if event.document["subject"] == "providers/provider/p1")
    told = enclosed(made, commands=None if kind == "no commands" else made.commands)

    if kind == "event":
        write_pack(made.log, target, event=last, enclosed=told)
    else:
        write_bundle(made.log, target, Filter(first=0), told)
    found = stranger.verify(target, *given, *(["--without-commands"] if kind == "no commands" else []))

    assert (found.code, found.first["check"]) == (1, check), found.answer
    made.engine.dispose()


def test_a_registration_that_is_dated_back_is_found_by_its_neighbours(
    stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """Even where its date would make the act good: in its shard time does not go back."""
    history = History()
    history.found()
    history.now += timedelta(hours=1)
    history.revoke(ed25519_signer(bytes([90]) * 32))
    history.now -= timedelta(minutes=30)
    # Where the registration will stand.
    history.authority[GPU.did] = ("identity.events/0", 3)
    history.act(GPU)
    history.register(GPU, time=rfc3339(START + timedelta(minutes=5)))
    made = Deployed(tmp_path / "log", history)

    pack = write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path
    found = stranger.verify(pack, *given)

    assert (found.code, found.first["check"]) == (1, "seal")
    made.engine.dispose()


def test_a_kept_command_that_another_key_signed_is_found(stranger: Stranger, given: list[object], tmp_path: Path) -> None:
    """The store was changed: the command is the right one, its signature a stranger's."""
    history = History()
    history.found()
    history.register(GPU)
    event = history.act(GPU)
    identity = (GPU.did, event.document["causationid"])
    command = history.kept[identity]
    history.kept[identity] = Kept(command.value, STRANGER.sign(command.value), command.outcome)
    made = Deployed(tmp_path / "log", history)

    pack = write_pack(made.log, tmp_path / "p.zip", event=event.id, enclosed=enclosed(made)).path
    found = stranger.verify(pack, *given)

    assert (found.code, found.first["check"]) == (1, "command")
    made.engine.dispose()


# What became of personal data


def sealed_history() -> History:
    history = History()
    history.found()
    history.register(GPU)
    history.create_key("erased")
    history.act_sealed("erased")
    return history


def not_ordered(history: History) -> None:
    history.shred("erased", "00000000-0000-5000-8000-000000000000")


def ordered_for_another(history: History) -> None:
    history.shred("erased", history.order("opened").id)


def ordered_by_something_else(history: History) -> None:
    history.shred("erased", history.act(GPU).id)


def ordered_afterwards(history: History) -> None:
    history.shred("erased", history.act(GPU).id)
    history.order("erased")


def lost(history: History) -> None:
    """Nothing says so: the vault just has no such key."""


@pytest.mark.parametrize("fate", [not_ordered, ordered_for_another, ordered_by_something_else, ordered_afterwards, lost])
@pytest.mark.parametrize("kind", ["event", "whole"])
def test_a_key_that_is_gone_without_an_order_is_missing(
    stranger: Stranger, given: list[object], tmp_path: Path, fate: Callable[[History], None], kind: str
) -> None:
    history = sealed_history()
    fate(history)
    made, target = Deployed(tmp_path / "log", history), tmp_path / "p.zip"
    event = next(found.id for found in history.events if found.document["subject"] == SEALED)

    if kind == "event":
        write_pack(made.log, target, event=event, enclosed=enclosed(made))
    else:
        write_bundle(made.log, target, Filter(first=0), enclosed(made))
    found = stranger.verify(target, *given)

    assert (found.code, found.first["check"]) == (1, "sealed"), found.answer
    assert "MISSING" in found.first["text"]
    assert list(found.answer["sealed"]) == ["MISSING"]
    made.engine.dispose()


def test_an_exporter_who_lies_about_a_text_is_found(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    def lying(document: Mapping[str, Any]) -> Any:
        return [(path, key, found and replace(found, text="a lie")) for path, key, found in openings("opened")(document)]

    event = next(found.id for found in deployed.history.events if found.document["subject"] == SEALED)
    pack = write_pack(deployed.log, tmp_path / "p.zip", event=event, enclosed=enclosed(deployed, openings=lying)).path

    found = stranger.verify(pack, *given)

    assert (found.code, found.first["check"]) == (1, "sealed")
    assert "MISMATCH" in found.first["text"]


def test_a_person_erased_leaves_a_stream_that_still_proves_complete(
    stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    history = sealed_history()
    history.shred("erased", history.order("erased").id)
    history.act_sealed("withheld")
    made = Deployed(tmp_path / "log", history)

    pack = write_pack(made.log, tmp_path / "p.zip", stream=SEALED, enclosed=enclosed(made)).path
    found = stranger.verify(pack, *given)

    assert found.code == 0
    assert sorted(fate.partition(" ")[0] for fate in found.answer["sealed"]) == ["erased", "withheld"]
    made.engine.dispose()
