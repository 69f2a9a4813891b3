"""What packs and bundles hold, and that they are the same wherever they are made."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from adapters.audit.log import NotInLog
from adapters.audit.packs import Enclosed, Kept, commands_in, write_bundle, write_pack
from adapters.audit.search import Filter
from adapters.sql import engine_for
from adapters.sql import tables as store_tables
from adapters.tlog.checkpoints import open_checkpoint
from adapters.tlog.entries import RecordEntry, Seal, read_entry
from adapters.tlog.proofs import TlogProof
from adapters.tlog.tiles import Tile
from tests.independent.history import GPU, LOG, Deployed, lively, openings
from tests.independent.verifier import read_pack


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    made = Deployed(tmp_path_factory.mktemp("log"), lively())
    yield made
    made.engine.dispose()


def enclosed(deployed: Deployed, **more: Any) -> Enclosed:
    given = {"verifier": b"# the verifier", "commands": deployed.commands, "openings": openings("opened")}
    return Enclosed(**{**given, **more})


def manifest_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_pack(path)["manifest.json"])
    return found


def test_a_pack_of_an_event_holds_it_with_its_proof_command_seal_and_keys(deployed: Deployed, tmp_path: Path) -> None:
    [made] = [found for found in deployed.history.events if found.document["subject"] == "providers/provider/p3"]

    written = write_pack(deployed.log, tmp_path / "p.zip", event=made.id, enclosed=enclosed(deployed, reader="did:key:reader"))

    files, manifest = read_pack(written.path), manifest_of(written.path)
    [index] = manifest["indices"]
    found = read_entry(files[f"entries/{index}"])
    assert isinstance(found, RecordEntry)
    assert found.value == made.value
    TlogProof.parse(files[f"proofs/{index}.tlog-proof"].decode()).verify(files[f"entries/{index}"], LOG.key)
    assert isinstance(read_entry(files[f"seals/{manifest['supporting']['seals'][0]}"]), Seal)
    assert json.loads(files[f"commands/{index}.json"])["signature"].startswith("ed25519:")
    # Founded; proposed and registered; and revoked later.
    assert len(manifest["supporting"]["keys"]) == 4
    assert manifest["asked"] == {"event": made.id}
    assert manifest["reader"] == "did:key:reader"
    assert files["auditverify.py"] == b"# the verifier"


def test_the_manifest_has_the_hash_of_every_file(deployed: Deployed, tmp_path: Path) -> None:
    written = write_pack(deployed.log, tmp_path / "p.zip", stream="providers/provider/s1", enclosed=enclosed(deployed))

    files, manifest = read_pack(written.path), manifest_of(written.path)
    hashes = {name: {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)} for name, raw in files.items()}
    assert hashes.pop("manifest.json")["sha256"] == written.manifest_sha256
    assert manifest["files"] == hashes
    assert written.bytes == written.path.stat().st_size
    assert written.entries == len(manifest["indices"]) == 68


def test_the_same_pack_is_the_same_file(deployed: Deployed, tmp_path: Path) -> None:
    """Its hash is recorded in the log: whoever makes it again finds the same."""
    wanted = Filter(first=20, end=300)

    ours = write_bundle(deployed.log, tmp_path / "a.zip", wanted, enclosed(deployed))
    theirs = write_bundle(deployed.log, tmp_path / "b.zip", wanted, enclosed(deployed))

    assert ours.path.read_bytes() == theirs.path.read_bytes()
    with zipfile.ZipFile(ours.path) as zipped:
        names = zipped.namelist()
        assert names == sorted(names)
        assert {info.date_time for info in zipped.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in zipped.infolist()} == {zipfile.ZIP_STORED}


def test_a_range_is_bundles_as_the_log_serves_them(deployed: Deployed, tmp_path: Path) -> None:
    written = write_bundle(deployed.log, tmp_path / "b.zip", Filter(first=0, end=300), enclosed(deployed))

    files = read_pack(written.path)
    assert files["entries/0-256"] == deployed.log.tile(Tile(None, 0))
    assert [name for name in files if name.startswith("entries/")] == ["entries/0-256", "entries/256-300"]
    assert json.loads(files["range.json"])["left"] == []
    assert written.entries == 300


def test_a_range_takes_a_handful_of_statements(deployed: Deployed, tmp_path: Path) -> None:
    """Not one an entry: a range may be fifty thousand long."""
    statements = []
    event.listen(deployed.engine, "before_cursor_execute", listener := lambda *found: statements.append(found[2]))

    write_bundle(deployed.log, tmp_path / "b.zip", Filter(first=0, end=370), Enclosed())

    event.remove(deployed.engine, "before_cursor_execute", listener)
    assert len(statements) < 40


def test_a_filter_says_that_it_is_not_proven_complete_unless_its_range_is_in_it(deployed: Deployed, tmp_path: Path) -> None:
    alone = write_bundle(deployed.log, tmp_path / "a.zip", Filter(type="identity."), enclosed(deployed))
    whole = write_bundle(deployed.log, tmp_path / "b.zip", Filter(type="identity.", first=0), enclosed(deployed))

    assert manifest_of(alone.path)["complete"].startswith("not proven")
    assert manifest_of(whole.path)["complete"].startswith("proven")
    assert manifest_of(alone.path)["indices"] == manifest_of(whole.path)["indices"]


def test_only_what_the_reader_may_open_is_opened(deployed: Deployed, tmp_path: Path) -> None:
    [made] = [found for found in deployed.history.events if found.document["subject"] == "providers/provider/p2"]

    written = write_pack(deployed.log, tmp_path / "p.zip", event=made.id, enclosed=enclosed(deployed))

    files, manifest = read_pack(written.path), manifest_of(written.path)
    [(index, opened)] = json.loads(files["opened.json"]).items()
    assert index == str(manifest["indices"][0])
    assert {pointer: found["text"] for pointer, found in opened.items()} == {"/opened~1of": "the text of opened"}
    assert len(manifest["withheld"]) == 1
    assert sorted(json.loads(files["erasures.json"])) == sorted(
        made.document["data"][f"{name}/of"]["key"] for name in ("erased", "expired")
    )
    for name in ("erased", "expired", "withheld"):
        assert f"the text of {name}".encode() not in written.path.read_bytes()


def test_a_reader_without_a_vault_withholds_all(deployed: Deployed, tmp_path: Path) -> None:
    [made] = [found for found in deployed.history.events if found.document["subject"] == "providers/provider/p2"]

    written = write_pack(deployed.log, tmp_path / "p.zip", event=made.id, enclosed=enclosed(deployed, openings=None))

    assert "opened.json" not in read_pack(written.path)
    assert len(manifest_of(written.path)["withheld"]) == 2


def test_a_pack_proves_against_the_head_that_it_is_given(deployed: Deployed, tmp_path: Path) -> None:
    """An older one too, or one that witnesses have cosigned."""
    older = deployed.witnessed(deployed.notes[0])
    checkpoint, _ = open_checkpoint(older.encode(), LOG.key)

    written = write_bundle(deployed.log, tmp_path / "b.zip", Filter(first=0), enclosed(deployed, note=older))

    assert read_pack(written.path)["checkpoint"].decode() == older
    assert manifest_of(written.path)["asked"]["end"] == manifest_of(written.path)["size"] == checkpoint.size


def test_what_no_signed_head_covers_is_not_packed_and_leaves_no_file(deployed: Deployed, tmp_path: Path) -> None:
    last = deployed.history.events[-1]
    older = enclosed(deployed, note=deployed.notes[0])
    target = tmp_path / "p.zip"

    with pytest.raises(NotInLog):
        write_pack(deployed.log, target, event=last.id, enclosed=older)
    with pytest.raises(NotInLog):
        write_pack(deployed.log, target, stream="nothing/of/that", enclosed=older)
    with pytest.raises(NotInLog):
        write_bundle(deployed.log, target, Filter(first=0, end=10_000), older)
    with pytest.raises(ValueError, match="one event or one stream"):
        write_pack(deployed.log, target)

    assert list(tmp_path.iterdir()) == []


def test_a_pack_that_fails_half_way_leaves_the_older_one(deployed: Deployed, tmp_path: Path) -> None:
    target = tmp_path / "p.zip"
    write_bundle(deployed.log, target, Filter(first=0, end=5), enclosed(deployed))
    before = target.read_bytes()

    def away(identities: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Kept]:
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        write_bundle(deployed.log, target, Filter(first=0, end=50), enclosed(deployed, commands=away))

    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_commands_are_found_in_the_event_store(tmp_path: Path) -> None:
    store = engine_for(f"sqlite:///{tmp_path}/store.db")
    store_tables.METADATA.create_all(store)
    row = {
        "shard": 1, "number": 0, "identity": "an-id a-source", "hash": "", "subject": "", "command": b"asked",
        "signature": "signed", "outcome": b"accepted", "outcome_signature": None,
    }  # fmt: skip
    with store.begin() as connection:
        connection.execute(store_tables.commands.insert().values(row))

    found = commands_in(store)([("a-source", "an-id"), ("a-source", "another-id")])

    assert found == {("a-source", "an-id"): Kept(b"asked", "signed", b"accepted")}
    store.dispose()


def test_a_log_that_grows_meanwhile_is_packed_as_it_was_signed(tmp_path: Path) -> None:
    made = Deployed(tmp_path, lively())
    note = made.notes[-1]
    first = write_bundle(made.log, tmp_path / "a.zip", Filter(type="providers."), enclosed(made, note=note))
    made.history.act(GPU, "providers/provider/s1")
    made.grow()

    again = write_bundle(made.log, tmp_path / "b.zip", Filter(type="providers."), enclosed(made, note=note))

    assert first.path.read_bytes() == again.path.read_bytes()
    with made.engine.connect() as connection:
        assert connection.execute(text("select max(leaf) from audit_leaves")).scalar_one() > manifest_of(again.path)["size"]
    made.engine.dispose()
