"""Verifiers that nobody here wrote: Go's sumdb, transparency-dev's merkle, formats and tessera, on our packs and heads.

They are built from `go/` here. Without Go, or where its modules cannot be had, these tests are skipped and say so.
"""

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.audit import AuditLog, Sequencer, sign_head
from adapters.audit.packs import Enclosed, write_bundle, write_pack
from adapters.audit.search import Filter
from adapters.keys import verify
from adapters.sql import engine_for
from adapters.vouching import vouched_by
from tests.adapters.audit.log import NETWORK, three
from tests.adapters.audit.log import WRITER as TALLY_WRITER
from tests.chance import seed
from tests.databases import upgrade
from tests.independent.history import LOG, POLICY, WITNESSES, Deployed, lively
from tests.independent.verifier import changed, flipped, read_pack, write_zip

SOURCES = Path(__file__).parent / "go"
EVENTS = 50_000
BATCH = 500
URLS = [f"https://{witness.key.name}/" for witness in WITNESSES]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("Go is not on this machine")
    fetched = _go("mod", "download")
    if fetched.returncode:
        pytest.skip(f"the modules that others wrote cannot be had here: {fetched.stderr.strip()[-300:]}")
    target = tmp_path_factory.mktemp("go") / "independent"
    built = _go("build", "-o", str(target), ".")
    assert built.returncode == 0, built.stderr
    return target


def _go(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    return subprocess.run(["go", *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, check=False)


def run(program: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(tmp_path_factory.mktemp("log"), lively())
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ours, with an address for each witness, which this reader asks for."""
    text = POLICY
    for witness, url in zip(WITNESSES, URLS, strict=True):
        text = text.replace(f"{witness.key}\n", f"{witness.key} {url}\n")
    path = tmp_path_factory.mktemp("policy") / "policy"
    path.write_text(text)
    return path


def packs(deployed: Deployed, folder: Path) -> dict[str, Path]:
    enclosed = Enclosed(commands=deployed.commands, note=deployed.witnessed())
    return {
        "stream": write_pack(deployed.log, folder / "stream.zip", stream="providers/provider/s1", enclosed=enclosed).path,
        "range": write_bundle(deployed.log, folder / "range.zip", Filter(first=77, end=321), enclosed).path,
        "whole": write_bundle(deployed.log, folder / "whole.zip", Filter(first=0), enclosed).path,
    }


@pytest.mark.parametrize("kind", ["stream", "range", "whole"])
def test_others_verify_our_packs(program: Path, deployed: Deployed, policy: Path, tmp_path: Path, kind: str) -> None:
    """The zip, the head, the policy, every .tlog-proof, and the subtrees beside a range."""
    pack = packs(deployed, tmp_path)[kind]

    done = run(program, "pack", pack, LOG.key, policy)

    proofs = sum(name.startswith("proofs/") for name in read_pack(pack))
    size = {"stream": 0, "range": 321 - 77, "whole": deployed.log.checkpoint()[0]}[kind]
    assert (done.returncode, done.stdout) == (0, f"{proofs} proofs, {size} entries of a range\n"), done.stderr


def test_others_refuse_a_pack_that_was_changed(program: Path, deployed: Deployed, policy: Path, tmp_path: Path) -> None:
    """So that what they accept means something."""
    made = packs(deployed, tmp_path)
    stream, whole = read_pack(made["stream"]), read_pack(made["range"])
    entry = next(name for name in stream if name.startswith("entries/"))
    proof = next(name for name in stream if name.startswith("proofs/"))

    def swap(ranges: dict[str, Any]) -> None:
        ranges["left"][0][1] = flipped(ranges["left"][0][1])

    wrongs = [
        {**stream, entry: stream[entry] + b" "},
        {**stream, proof: stream[proof].replace(b"index ", b"index 1", 1)},
        {**stream, "checkpoint": stream["checkpoint"].replace("— witness0".encode(), "— witness9".encode())},
        changed(whole, "range.json", swap),
        {**whole, "entries/77-256": whole["entries/77-256"].replace(b"Draining", b"Drowning", 1)},
    ]

    codes = [run(program, "pack", write_zip(tmp_path / "w.zip", files), LOG.key, policy).returncode for files in wrongs]

    assert codes == [1] * len(wrongs)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AuditLog, list[str]]]:
    """Fifty thousand events of three shards, and the heads that were signed on the way."""
    folder = tmp_path_factory.mktemp("large")
    engine = engine_for(f"sqlite:///{folder}/audit.db")
    upgrade(engine, "audit")
    shards, notes = three(EVENTS // 3), []
    sequencer = Sequencer(engine, NETWORK, vouched_by(NETWORK, [TALLY_WRITER.did], verify))
    sequencer.claim([shard.name for shard in shards])
    for turn, start in enumerate(range(0, EVENTS // 3 + 3, BATCH)):
        sequencer.apply({shard.name: shard.records[start : start + BATCH] for shard in shards})
        if turn % 4 == 3 or start + BATCH >= EVENTS // 3:
            notes += [note] if (note := sign_head(engine, LOG, folder / "last-signed")) else []
    yield AuditLog(engine), notes
    engine.dispose()


def test_others_verify_the_heads_and_proofs_of_fifty_thousand_events(
    program: Path, large: tuple[AuditLog, list[str]], tmp_path: Path
) -> None:
    """Every signed head, thousands of inclusions in trees of many sizes, and the way from each head to each later one."""
    log, notes = large
    pack = write_bundle(log, tmp_path / "whole.zip", Filter(first=0), Enclosed())
    lines = [{"note": note} for note in notes] + list(_proofs(log, [int(note.split("\n")[1]) for note in notes]))
    dump = tmp_path / "dump.jsonl"
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines))

    done = run(program, "heads", pack.path, LOG.key, dump)

    inclusions = sum("index" in line for line in lines)
    consistencies = sum("old" in line for line in lines)
    expected = f"{pack.entries} entries, {len(notes)} heads, {inclusions} inclusions, {consistencies} consistencies\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert pack.entries > EVENTS
    assert inclusions >= 2_000


def test_others_refuse_a_proof_that_was_changed(program: Path, large: tuple[AuditLog, list[str]], tmp_path: Path) -> None:
    log, notes = large
    pack = write_bundle(log, tmp_path / "whole.zip", Filter(first=0), Enclosed())
    size, old = (int(notes[n].split("\n")[1]) for n in (-1, 0))
    tree = log.tree(size)
    inclusion = {"index": 7, "size": size, "hashes": _texts(tree.inclusion(8))}
    consistency = {"old": old, "size": size, "hashes": _texts(tree.consistency(old - 1))}
    note = {"note": notes[0].replace("\n" + str(old), "\n" + str(old + 1))}

    codes = []
    for line in (inclusion, consistency, note):
        (tmp_path / "dump").write_text(json.dumps(line) + "\n")
        codes.append(run(program, "heads", pack.path, LOG.key, tmp_path / "dump").returncode)

    assert codes == [1, 1, 1]


def _proofs(log: AuditLog, sizes: list[int]) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed())
    for size in sizes:
        tree = log.tree(size)
        for index in {0, size - 1, *(chance.randrange(size) for _ in range(240))}:
            yield {"index": index, "size": size, "hashes": _texts(tree.inclusion(index))}
        for old in sizes:
            if old <= size:
                yield {"old": old, "size": size, "hashes": _texts(tree.consistency(old))}


def _texts(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(found).decode() for found in hashes]
