"""The standalone verifier on what is right, on what is not enough, and on files that are hostile."""

import ast
import http.server
import json
import re
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.audit import AuditLog
from adapters.audit.log import NotInLog
from adapters.audit.packs import Enclosed, write_bundle, write_pack
from adapters.audit.policy import Policy, PolicyInvalid
from adapters.audit.search import Filter
from adapters.tlog.notes import NoteSigner
from adapters.tlog.tiles import Tile
from contracts import Command, is_policy, languages, recorded_by
from ops import auditverify
from tests.independent.history import (
    GENESIS,
    GPU,
    LOG,
    POLICY,
    UNWITNESSED,
    WALLET,
    WITNESSES,
    Deployed,
    History,
    hand_out,
    lively,
    openings,
)  # fmt: skip
from tests.independent.verifier import (
    VERIFIER,
    Files,
    Stranger,
    Verdict,
    changed,
    flipped,
    read_pack,
    repaired,
    write_zip,
)  # fmt: skip

SEALED = "providers/provider/p2"


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
    """Policy and genesis, as options."""
    policy, genesis = hand_out(tmp_path / "handed-out")
    return ["--policy", policy, "--genesis", genesis]


def enclosed(deployed: Deployed, **more: Any) -> Enclosed:
    told = {"commands": deployed.commands, "openings": openings("opened"), "note": deployed.witnessed()}
    return Enclosed(**{"verifier": VERIFIER.read_bytes(), **told, **more})


def the_event(deployed: Deployed, subject: str) -> str:
    return next(event.id for event in deployed.history.events if event.document["subject"] == subject)


KINDS: dict[str, Callable[[Deployed, Path, Enclosed], Any]] = {
    "event": lambda d, path, e: write_pack(d.log, path, event=the_event(d, SEALED), enclosed=e),
    "stream": lambda d, path, e: write_pack(d.log, path, stream="providers/provider/s1", enclosed=e),
    "a key's stream": lambda d, path, e: write_pack(d.log, path, stream=f"identity/key/{GPU.did}", enclosed=e),
    "wallet": lambda d, path, e: write_bundle(d.log, path, Filter(actor=WALLET.did), e),
    "range": lambda d, path, e: write_bundle(d.log, path, Filter(first=70, end=330), e),
    "tail": lambda d, path, e: write_bundle(d.log, path, Filter(first=301), e),
    "whole": lambda d, path, e: write_bundle(d.log, path, Filter(first=0), e),
    "filter": lambda d, path, e: write_bundle(d.log, path, Filter(stream="providers/", since="2026-01-01T00:01"), e),
    "complete filter": lambda d, path, e: write_bundle(d.log, path, Filter(type="identity.", first=0), e),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_is_verified(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, kind: str
) -> None:
    written = KINDS[kind](deployed, tmp_path / "p.zip", enclosed(deployed, since=40))

    found = stranger.verify(written.path, *given)

    assert (found.code, found.answer["found"], found.answer["unclear"]) == (0, [], [])
    assert found.answer["verdict"] == "verified"
    # A range has seals too, which nobody asks for.
    assert 0 < int(found.answer["verified"].split()[0]) <= written.entries


def test_the_verifier_in_a_pack_is_the_one_that_is_here(deployed: Deployed, tmp_path: Path) -> None:
    written = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed))

    assert read_pack(written.path)["auditverify.py"] == VERIFIER.read_bytes()


def test_it_is_one_readable_file_that_needs_nothing_of_ours() -> None:
    source = VERIFIER.read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {(n.module or "" if isinstance(n, ast.ImportFrom) else n.names[0].name).partition(".")[0] for n in imported}

    assert names - sys.stdlib_module_names == {"nacl", "coincurve", "Crypto"}
    assert len(source.splitlines()) <= 950


def test_it_knows_who_may_ask_for_what_and_what_may_follow() -> None:
    """If this fails: a command is new, or its roles or events are; write the verifier's table anew."""
    commands = [m for m in languages() if issubclass(m, Command) and m.__name__ != "Heartbeat"]
    wanted = {m.wire.type: (sorted(m.wire.roles), dict(recorded_by(m))) for m in commands}

    known = {
        kind: (sorted(said.roles), {event: by if by[1] else ("", 0) for event, by in said.events.items()})
        for kind, said in auditverify.LANGUAGE.items()
    }

    assert known == wanted, f"the table would be:\n{_table([m for m in commands if not is_policy(m)])}"


def _table(commands: list[type[Command]]) -> str:
    """As it stands in the verifier: each command with its roles, its events, and who consents to them before."""
    said: dict[str, list[str]] = {}
    for command in commands:
        events = [
            event.partition(".")[2] + "<" * others + by.partition(".")[2]
            for event, (by, others) in recorded_by(command).items()
        ]
        roles = ",".join(role.partition(".")[2] for role in command.wire.roles)
        said.setdefault(command.wire.context, []).append(" ".join([command.__name__, roles, *events]))
    text = " ; ".join(f"{context}: {' / '.join(some)}" for context, some in said.items())
    return textwrap.fill(text, 125, break_long_words=False, break_on_hyphens=False)


def test_the_fate_of_each_sealed_field_is_told(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    written = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed))

    fates = stranger.verify(written.path, *given).answer["sealed"]

    assert sorted(re.sub(r" \(entry \d+\)", "", fate) for fate in fates) == ["erased", "expired", "opened", "withheld"]
    assert all(len(fields) == 1 for fields in fates.values())


def test_people_are_told_in_lines_with_the_verdict_last(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    written = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed))

    done = stranger.run(written.path, *given)

    assert done.stdout.splitlines()[-1].split() == ["verdict", "verified"]
    assert "witness0.example" in done.stdout
    assert done.stderr == ""


# What is not enough


def test_without_policy_or_genesis_nothing_is_verified(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    pack = KINDS["stream"](deployed, tmp_path / "p.zip", enclosed(deployed)).path

    verdicts = [stranger.verify(pack), stranger.verify(pack, *given[:2]), stranger.verify(pack, *given[2:])]

    assert [found.code for found in verdicts] == [3, 3, 3]
    assert [found.answer["verdict"] for found in verdicts] == ["INCONCLUSIVE"] * 3
    assert "verified\n" not in stranger.run(pack).stdout


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (POLICY.replace("enough 2", "enough 3"), "has not cosigned"),
        (UNWITNESSED.replace(str(LOG.key), str(NoteSigner.of("another.example/1", bytes(32)).key)), "does not know the log"),
    ],
)
def test_a_policy_that_is_not_met_is_inconclusive(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, policy: str, why: str
) -> None:
    pack = KINDS["stream"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    (tmp_path / "handed-out" / "policy").write_text(policy)

    found = stranger.verify(pack, *given)

    assert found.code == 3
    assert why in found.answer["unclear"][0]


def test_a_head_that_nobody_cosigned_is_enough_for_who_asks_for_no_witness(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    pack = KINDS["stream"](deployed, tmp_path / "p.zip", enclosed(deployed, note=None)).path
    strict = stranger.verify(pack, *given)
    (tmp_path / "handed-out" / "policy").write_text(UNWITNESSED)

    lenient = stranger.verify(pack, *given)

    assert (strict.code, lenient.code) == (3, 0)


def test_a_pack_without_commands_does_not_show_who_asked(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    pack = KINDS["stream"](deployed, tmp_path / "p.zip", enclosed(deployed, commands=None)).path

    assert stranger.verify(pack, *given).code == 3
    assert "who asked" in stranger.verify(pack, *given).answer["unclear"][0]
    assert stranger.verify(pack, *given, "--without-commands").code == 0


def test_a_wallets_signature_is_inconclusive_without_a_library_for_it(
    deployed: Deployed, tmp_path_factory: pytest.TempPathFactory, given: list[object], tmp_path: Path
) -> None:
    poor = Stranger.in_folder(tmp_path_factory.mktemp("poor"))
    pack = KINDS["wallet"](deployed, tmp_path / "p.zip", enclosed(deployed)).path

    found = poor.verify(pack, *given)

    assert found.code == 3
    assert "coincurve" in str(found.answer["unclear"])


def test_tampering_outranks_what_is_missing(deployed: Deployed, stranger: Stranger, tmp_path: Path) -> None:
    pack = KINDS["range"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    files = read_pack(pack)
    files["entries/70-256"] = files["entries/70-256"].replace(b"Draining", b"Drowning", 1)

    assert stranger.verify(write_zip(pack, repaired(files))).code == 1


# Heads that were kept


def kept(deployed: Deployed, folder: Path, n: int) -> list[object]:
    path = folder / "kept"
    path.write_text(deployed.notes[n])
    return ["--since", path]


def size_of(note: str) -> int:
    return int(note.split("\n")[1])


@pytest.mark.parametrize("kind", ["event", "range", "whole"])
def test_a_head_that_was_kept_is_the_beginning_of_this_log(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, kind: str
) -> None:
    """By a proof in the pack, or, where the whole range is in it, without one."""
    since = None if kind == "whole" else size_of(deployed.notes[0])
    pack = KINDS[kind](deployed, tmp_path / "p.zip", enclosed(deployed, since=since)).path

    found = stranger.verify(pack, *given, *kept(deployed, tmp_path, 0))

    assert found.code == 0
    assert str(size_of(deployed.notes[0])) in found.answer["since"]
    assert stranger.verify(pack, *given, *kept(deployed, tmp_path, -1)).code == 0


def test_without_a_proof_from_the_head_that_was_kept_it_is_inconclusive(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    other = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed, since=7)).path
    none = KINDS["event"](deployed, tmp_path / "q.zip", enclosed(deployed)).path

    for pack in (other, none):
        found = stranger.verify(pack, *given, *kept(deployed, tmp_path, 0))
        assert found.code == 3
        assert "nothing leads" in found.answer["unclear"][0]


def test_a_pack_that_is_older_than_the_head_that_was_kept_is_inconclusive(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """It may just be old."""
    older = KINDS["a key's stream"](
        deployed, tmp_path / "p.zip", enclosed(deployed, note=deployed.witnessed(deployed.notes[0]))
    )

    found = stranger.verify(older.path, *given, *kept(deployed, tmp_path, -1))

    assert found.code == 3


def test_a_log_that_was_cut_off_is_found_by_a_witness_that_saw_more(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """The same witness has cosigned more entries earlier."""
    note = deployed.witnessed(deployed.notes[0], *reversed(WITNESSES[:2]))
    later = KINDS["a key's stream"](deployed, tmp_path / "p.zip", enclosed(deployed, note=note)).path
    (tmp_path / "kept").write_text(deployed.witnessed())

    found = stranger.verify(later, *given, "--since", tmp_path / "kept")

    assert found.code == 1
    assert found.first["check"] == "consistency"
    assert "cut off" in found.first["text"]


@pytest.mark.parametrize("kind", ["event", "whole"])
def test_two_logs_for_two_auditors_are_found_by_the_head_that_one_of_them_kept(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, kind: str
) -> None:
    """The same records in other batches, signed by the log's own key: each of the two is right by itself."""
    fork = Deployed(tmp_path / "fork", deployed.history, batch=9)
    mine, size = tmp_path / "kept", size_of(deployed.notes[0])
    mine.write_text(deployed.notes[0])

    pack = KINDS[kind](fork, tmp_path / "p.zip", enclosed(fork, since=size)).path

    assert stranger.verify(pack, *given).code == 0
    found = stranger.verify(pack, *given, "--since", mine)
    assert found.code == 1
    assert found.first["check"] == "consistency"
    fork.engine.dispose()


# A live log


class Served(http.server.BaseHTTPRequestHandler):
    """Checkpoint, heads and tiles, by nothing but the standard library."""

    log: AuditLog
    notes: dict[str, str]
    token: str | None = None

    def do_GET(self) -> None:
        path = self.path.removeprefix("/log/")
        try:
            if self.token and self.headers["Authorization"] != self.token and "entries" in path:
                return self.send_error(401)
            raw = self.notes[path].encode() if path in self.notes else self.log.tile(Tile.parse(path))
        except (NotInLog, ValueError):
            return self.send_error(404)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(raw)
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(deployed: Deployed) -> Iterator[tuple[type[Served], str]]:
    notes = {"checkpoint": deployed.notes[-1], "checkpoint.witnessed": deployed.witnessed(at=int(time.time()))}
    handler = type("Handler", (Served,), {"log": deployed.log, "notes": notes})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/log/"
    server.shutdown()
    server.server_close()


def test_a_live_log_is_verified_from_its_first_entry_to_its_last(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, served: tuple[type[Served], str]
) -> None:
    handler, url = served
    handler.token = "Bearer t"
    entitled = ["--header", "Authorization: Bearer t"]

    found = stranger.verify(url, *given, *entitled, *kept(deployed, tmp_path, 0))

    assert found.code == 0
    assert found.answer["verified"].startswith(f"{len(deployed.history.events)} records")
    assert sorted(found.answer["sealed"])[2:] == ["withheld"]
    assert stranger.verify(url, *given).code == 3


def test_a_live_log_whose_newest_head_is_old_is_inconclusive(
    deployed: Deployed, stranger: Stranger, given: list[object], served: tuple[type[Served], str]
) -> None:
    """What came since may have been kept from the witnesses. A pack is of its time, unless somebody asks."""
    handler, url = served
    handler.notes["checkpoint.witnessed"] = deployed.witnessed(at=int(time.time()) - 4_000)

    found = stranger.verify(url, *given)

    assert found.code == 3
    assert "3600 s ago" in str(found.answer["unclear"])
    assert stranger.verify(url, *given, "--head-age", "5000").code == 0


def test_a_live_log_that_is_smaller_than_the_head_that_was_kept_was_cut_off(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, served: tuple[type[Served], str]
) -> None:
    handler, url = served
    handler.notes["checkpoint"] = deployed.notes[0]
    (tmp_path / "handed-out" / "policy").write_text(UNWITNESSED)

    found = stranger.verify(url, *given, *kept(deployed, tmp_path, -1))

    assert (found.code, found.first["check"]) == (1, "consistency")


def test_a_live_log_whose_entries_are_not_those_that_it_signed_is_found(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, served: tuple[type[Served], str]
) -> None:
    handler, url = served
    fork = Deployed(tmp_path / "fork", deployed.history, batch=9)
    handler.log = fork.log

    found = stranger.verify(url, *given)

    assert (found.code, found.first["check"]) == (1, "inclusion")
    fork.engine.dispose()


def test_a_log_that_does_not_answer_is_inconclusive(stranger: Stranger, given: list[object]) -> None:
    assert stranger.verify("http://127.0.0.1:9/log", *given).code == 3


# Usage, and hostile files


def test_what_is_no_pack_is_a_mistake_of_the_caller(stranger: Stranger, given: list[object], tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    write_zip(tmp_path / "other.zip", {"hello": b"world"})

    codes = [stranger.verify(tmp_path / name, *given).code for name in ("missing.zip", "text.zip", "other.zip")]

    assert codes == [2, 2, 2]


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--policy", "log nonsense\nquorum none\n"),
        ("--policy", UNWITNESSED.replace("quorum none\n", "")),
        ("--genesis", "{}"),
        ("--genesis", '{"network": "test", "network": "other", "keys": []}'),
        ("--since", "no note"),
        ("--since", "audit.example/test/1\n1\nAAAA\n\n— nobody AAAA\n"),
    ],
)
def test_a_file_of_the_auditor_that_is_wrong_is_named(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, option: str, content: str
) -> None:
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    (tmp_path / "wrong").write_text(content)

    assert stranger.verify(pack, *given, option, tmp_path / "wrong").code == 2


def test_a_head_that_the_log_did_not_sign_is_not_one_that_was_kept(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    text, _, signature = deployed.notes[0].partition("\n\n")
    (tmp_path / "kept").write_text(f"{text}\n\n{signature.replace(' ', ' x', 1).replace('x', 'other', 1)}")

    assert stranger.verify(pack, *given, "--since", tmp_path / "kept").code == 2


def entry_of(files: Files) -> str:
    return next(name for name in sorted(files) if name.startswith("entries/"))


def with_manifest(text: Callable[[str], str]) -> Callable[[Files], Files]:
    return lambda files: {**files, "manifest.json": text(files["manifest.json"].decode()).encode()}


def asking(**asked: int) -> Callable[[Files], Files]:
    return lambda files: repaired(changed(files, "manifest.json", lambda m: {**m, "asked": asked}))


NOBODY = "— nobody AAAAAAA=\n".encode()

HOSTILE: dict[str, Callable[[Files], Files]] = {
    "a name that climbs": lambda f: repaired({**f, "../../etc/passwd": b"x"}),
    "an absolute name": lambda f: repaired({**f, "/etc/passwd": b"x"}),
    "a name of another folder": lambda f: repaired({**f, "other/1": b"x"}),
    "an unknown file": lambda f: repaired({**f, "other": b"x"}),
    "a file that belongs to nothing": lambda f: repaired({**f, "commands/999.json": b"{}"}),
    "a file that is not listed": lambda f: {**f, "commands/999.json": b"{}"},
    "a manifest that is no JSON": with_manifest(lambda text: text[:-9]),
    "a manifest that is a list": with_manifest(lambda _: "[]"),
    "a manifest with a key twice": with_manifest(lambda text: text.replace('"kind"', '"size": 1, "kind"', 1)),
    "a manifest with a constant": with_manifest(lambda text: text.replace('"size": ', '"size": NaN, "x": ', 1)),
    "a manifest with a float": with_manifest(lambda text: re.sub(r'"size": (\d+)', r'"size": \1.0', text, count=1)),
    "a manifest with a huge number": with_manifest(lambda text: re.sub(r'"size": \d+', '"size": ' + "9" * 5000, text, count=1)),
    "a manifest that nests": with_manifest(lambda _: "[" * 100_000),
    "a manifest in another encoding": lambda f: {**f, "manifest.json": b"\xff" + f["manifest.json"]},
    "a range that has no end": asking(first=0, end=10**15),
    "a range that begins below nothing": asking(first=-5, end=3),
    "no indices": lambda f: repaired(changed(f, "manifest.json", lambda m: m.pop("indices") and None)),
    "indices that are text": lambda f: repaired(changed(f, "manifest.json", lambda m: m.update(indices="0"))),
    "an unknown question": lambda f: repaired(changed(f, "manifest.json", lambda m: m["asked"].update(evnt="x"))),
    "another format": lambda f: repaired(changed(f, "manifest.json", lambda m: m.update(format="other/1"))),
    "a checkpoint of 101 signatures": lambda f: repaired({**f, "checkpoint": f["checkpoint"] + 98 * NOBODY}),
    "a checkpoint with a key that signed badly": lambda f: repaired(
        {**f, "checkpoint": re.sub(rb"(witness1\.example )(\S+)", lambda m: m[1] + bad(m[2]), f["checkpoint"])}
    ),
    "a checkpoint with control characters": lambda f: repaired({**f, "checkpoint": b"\x1b[2J" + f["checkpoint"]}),
    "an entry of nothing": lambda f: repaired({**f, entry_of(f): b""}),
    "openings that are a list": lambda f: repaired({**f, "opened.json": b"[1]"}),
    "erasures that are text": lambda f: repaired({**f, "erasures.json": b'"x"'}),
    "a command that is a list": lambda f: repaired({**f, f"commands/{entry_of(f)[8:]}.json": b"[]"}),
    "a proof that is nothing": lambda f: repaired({**f, f"proofs/{entry_of(f)[8:]}.tlog-proof": b""}),
}  # fmt: skip


def bad(material: bytes) -> bytes:
    """A signature that is not of these bytes."""
    import base64

    raw = bytearray(base64.b64decode(material))
    raw[-1] ^= 1
    return base64.b64encode(bytes(raw))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pack_is_tampering_and_never_a_traceback(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, name: str
) -> None:
    files = read_pack(KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path)

    found = stranger.verify(write_zip(tmp_path / "h.zip", HOSTILE[name](files)), *given)

    assert found.code == 1
    assert found.first["file"]
    assert found.text.isascii()


def test_unknown_signatures_are_passed_over(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    note = deployed.witnessed() + "— somebody.example AAAAAAAAAAAAAAAA\n" * 50
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed, note=note)).path

    assert stranger.verify(pack, *given).code == 0


def test_a_bomb_is_refused_before_it_is_unpacked(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    files = read_pack(KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in repaired({**files, "entries/0-256": bytes(10**7)}).items():
            zipped.writestr(name, content)

    found = stranger.verify(tmp_path / "bomb.zip", *given)

    assert (found.code, found.first["text"]) == (1, "has no place in a pack")


def test_a_head_that_is_compressed_is_refused_before_it_is_inflated(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """The directory says how it is stored: nothing of it is read before."""
    files = read_pack(KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as zipped:
        for name, content in repaired({**files, "checkpoint": bytes(10**7)}).items():
            zipped.writestr(name, content, zipfile.ZIP_DEFLATED if name == "checkpoint" else zipfile.ZIP_STORED)

    found = stranger.verify(tmp_path / "bomb.zip", *given)

    assert (found.code, found.first["check"], found.first["file"]) == (1, "manifest", "checkpoint")
    assert found.answer["findings"] == 1


def test_a_file_that_is_in_the_zip_twice_is_refused(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """One program reads the first, another one the second."""
    path = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("auditverify.py", b"print('verified')")

    found = stranger.verify(path, *given)

    assert found.code == 1
    assert "twice" in found.first["text"]


def test_files_that_share_their_bytes_are_refused(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """The names of a bomb that needs no compression: all of them point to the same place."""
    path = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    large = max(zipfile.ZipFile(path).infolist(), key=lambda info: info.file_size)
    with zipfile.ZipFile(path, "a") as zipped:
        for n in range(50):
            info = zipfile.ZipInfo(f"commands/{1000 + n}.json")
            info.file_size = info.compress_size = large.file_size
            info.header_offset, info.CRC = large.header_offset, large.CRC
            zipped.filelist.append(info)
            zipped._didModify = True  # type: ignore[attr-defined]

    found = stranger.verify(path, *given)

    assert found.code == 1
    assert "larger" in found.first["text"]


# Policies


POLICIES = [
    POLICY,
    UNWITNESSED,
    f"# a comment\n\n  \t log \t {LOG.key} https://log.example/ \n quorum none\n",
    f"log {LOG.key}\nwitness a {WITNESSES[0].key} https://w.example\nquorum a\n",
    *(
        f"log {LOG.key}\nwitness a {WITNESSES[0].key}\nwitness b {WITNESSES[1].key}\nwitness c {WITNESSES[2].key}\n{rest}"
        for rest in (
            "group g all a b\nquorum g\n", "group g any a b\nquorum g\n", "group g 2 b c\nquorum g\n", "quorum c\n",
            "group g any a\ngroup h all g b\nquorum h\n", "group g any a c\ngroup h 1 g b\nquorum h\n",
            "group g 0 a b\nquorum g\n", "group g 3 a b\nquorum g\n", "group g all a a\nquorum g\n", "group g all\nquorum g\n",
            "group g all a none\nquorum g\n", "group g any a\ngroup h any a b\nquorum h\n", "group g any z\nquorum g\n",
            "group a any b\nquorum a\n", "quorum z\n", "quorum a\nquorum b\n", "", "group none any a\nquorum none\n",
            "wittness x y\nquorum a\n", "group g x a b\nquorum g\n", "quorum a b\n",
        )
    ),
    f"log {LOG.key}\nlog {LOG.key}\nquorum none\n",
    f"witness a {WITNESSES[0].key}\nwitness b {WITNESSES[0].key}\nquorum a\n",
    f"log {flipped(str(LOG.key).split('+')[2])}\nquorum none\n",
]  # fmt: skip


@pytest.mark.parametrize("n", range(len(POLICIES)))
def test_it_reads_policies_as_our_own_reader_does(n: int) -> None:
    """Two readings of one specification, by hands that did not copy: they agree on what is one, and on what meets it."""
    raw = POLICIES[n].encode()
    mine: auditverify.Policy | None
    ours: Policy | None
    try:
        mine = auditverify.Policy(raw)
    except ValueError:
        mine = None
    try:
        ours = Policy.parse(raw)
    except PolicyInvalid:
        ours = None

    assert (mine is None) == (ours is None)
    for chosen in range(8) if mine and ours else ():
        some = [witness for n, witness in enumerate(WITNESSES) if chosen >> n & 1]
        assert mine is not None
        assert ours is not None
        cosigned = {auditverify.note_key(str(witness.key)): 0 for witness in some}
        assert mine.is_met(cosigned) == ours.is_met_by(witness.key for witness in some)


def test_the_answer_is_one_object_for_programs(deployed: Deployed, stranger: Stranger, tmp_path: Path) -> None:
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path

    answer = json.loads(stranger.run(pack, "--json").stdout)

    assert answer["exit"] == 3
    assert {"checkpoint", "asked", "verified", "sealed", "unclear", "found", "verdict"} <= answer.keys()


def test_a_genesis_without_a_writer_is_as_good_as_none(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    """Nobody could be held against it, so nothing is verified by it."""
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    (tmp_path / "handed-out" / "genesis.json").write_text(json.dumps({**GENESIS, "keys": []}))

    assert stranger.verify(pack, *given).code == 3


def test_it_says_what_such_a_pack_cannot_show(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path, served: tuple[type[Served], str]
) -> None:
    """Of a part, that there is nothing else; of a live log, who asked; of a whole bundle, nothing is left."""
    part, whole = (KINDS[kind](deployed, tmp_path / kind, enclosed(deployed)).path for kind in ("event", "whole"))

    told = [stranger.verify(what, *given).answer["not shown"] for what in (part, served[1], whole)]

    assert [[text.split()[0] for text in texts] for texts in told] == [["that"], ["who"], []]


def test_the_genesis_of_another_network_is_noticed(
    deployed: Deployed, stranger: Stranger, given: list[object], tmp_path: Path
) -> None:
    pack = KINDS["event"](deployed, tmp_path / "p.zip", enclosed(deployed)).path
    (tmp_path / "handed-out" / "genesis.json").write_text(json.dumps({**GENESIS, "network": "other"}))

    assert stranger.verify(pack, *given).code == 1


def test_a_network_of_one_event_is_verified(stranger: Stranger, given: list[object], tmp_path: Path) -> None:
    history = History()
    history.found()
    made = Deployed(tmp_path / "log", history)

    verdicts: list[Verdict] = []
    for first in (0, 1):
        pack = write_bundle(made.log, tmp_path / f"{first}.zip", Filter(first=first), enclosed(made)).path
        verdicts.append(stranger.verify(pack, *given))

    assert [found.code for found in verdicts] == [0, 0]
    made.engine.dispose()
