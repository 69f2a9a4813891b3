"""Clients and witnesses that others wrote, against ours: filippo.io/torchwood and transparency-dev's tessera and witness.

They are built from `go/` here. Without Go, or where its modules cannot be had, these tests are skipped and say so.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.audit.cosignatures import newest_witnessed
from adapters.audit.policy import Policy
from adapters.audit.witnesses import Gathered, WitnessRefused, gather_cosignatures, witness_session
from adapters.http import audit_app, bearer
from adapters.tlog.notes import NoteKey
from ops.witness import Witness, witness_app
from tests.adapters.http.served import SIGNER, WITNESSES, Log, listening, log_in

SOURCES = Path(__file__).parent / "go"
TOKEN = "a token"
READERS = {hashlib.sha256(TOKEN.encode()).hexdigest(): "did:key:z6MkReader"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `reader`, `feeder` and `witness`."""
    if shutil.which("go") is None:
        pytest.skip("Go is not on this machine")
    fetched = _go("mod", "download")
    if fetched.returncode:
        pytest.skip(f"the modules that others wrote cannot be had here: {fetched.stderr.strip()[-300:]}")
    folder = tmp_path_factory.mktemp("strangers")
    built = _go("build", "-o", f"{folder}/", "./...")
    assert built.returncode == 0, built.stderr
    return folder


def _go(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    return subprocess.run(["go", *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with log_in(tmp_path, "log", 200) as made:
        made.grow(0, 40)
        made.grow(40, 180)
        made.append(180, 190)
        yield made


async def tokens() -> Mapping[str, str]:
    return READERS


@contextmanager
def site(log: Log) -> Iterator[str]:
    with listening(lambda: audit_app(log.audit, may_read=bearer(tokens))) as base:
        yield base


def run(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_two_readers_that_others_wrote_find_every_tile_and_entry_right(programs: Path, log: Log) -> None:
    """One rebuilds the tree and compares each tile, the other walks and authenticates the entries."""
    with site(log) as base:
        done = run(programs / "reader", base, str(SIGNER.key), f"Bearer {TOKEN}")

    assert done.returncode == 0, done.stderr
    size, *digests = done.stdout.split()
    assert int(size) == log.size > 512
    assert digests == [hashlib.sha256(log.audit.entry(n)).hexdigest() for n in range(log.size)]


def test_a_reader_that_others_wrote_sees_what_was_tampered_with(programs: Path, log: Log) -> None:
    """So the test above can fail."""
    with log.engine.begin() as connection:
        for name in connection.exec_driver_sql("select name from sqlite_master where type = 'trigger'").scalars().all():
            connection.exec_driver_sql(f"drop trigger {name}")
        connection.exec_driver_sql(
            "update audit_leaves set entry = cast(replace(entry, 'retired', 'mistake') as blob) where leaf = 5"
        )
    with site(log) as base:
        done = run(programs / "reader", base, str(SIGNER.key), f"Bearer {TOKEN}")

    assert done.returncode == 1


def test_a_log_that_others_wrote_has_its_heads_cosigned_by_our_witness(programs: Path, log: Log, tmp_path: Path) -> None:
    """Their client reads the head and makes the proof from our tiles, asks our witness, and verifies what it answers."""
    witness = Witness(WITNESSES[0], tmp_path / "w.db", [SIGNER.key])
    key, found = str(WITNESSES[0].key), []
    with site(log) as base, listening(lambda: witness_app(witness)) as asked:
        found.append(run(programs / "feeder", base, str(SIGNER.key), asked, key, "0").stdout.split())
        first = log.size
        log.sign()
        found.append(run(programs / "feeder", base, str(SIGNER.key), asked, key, str(first)).stdout.split())
        again = run(programs / "feeder", base, str(SIGNER.key), asked, key, "7")
    witness.engine.dispose()

    assert found == [[str(first)], [str(log.size)]]
    assert again.stdout.split() == ["stale", str(log.size), str(log.size)], again.stderr


@contextmanager
def their_witness(programs: Path) -> Iterator[tuple[str, NoteKey]]:
    process = subprocess.Popen(
        [programs / "witness", str(SIGNER.key), "witness.example/theirs"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url, key = process.stdout.readline().split()
        yield url, NoteKey.parse(key)
    finally:
        process.kill()
        process.wait()


def gather(log: Log, policy: Policy) -> Gathered:
    async def run() -> Gathered:
        async with witness_session() as session:
            return await gather_cosignatures(log.audit, policy, session)

    return asyncio.run(run())


def test_a_witness_that_others_wrote_cosigns_our_heads_and_refuses_a_fork(programs: Path, log: Log, tmp_path: Path) -> None:
    with their_witness(programs) as (url, key):
        policy = Policy.parse(f"log {SIGNER.key}\nwitness theirs {key} {url}\nquorum theirs\n".encode())
        first = gather(log, policy)
        log.sign()
        second = gather(log, policy)
        with log_in(tmp_path, "fork", 200) as fork:
            fork.grow(0, 200)
            with pytest.raises(WitnessRefused) as caught:
                gather(fork, policy)

    assert (first.is_met, second.is_met) == (True, True)
    assert first.size < second.size
    assert (newest_witnessed(log.engine, policy) or (0,))[0] == second.size
    assert caught.value.refusal.status in (409, 422)
