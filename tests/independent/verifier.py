"""The standalone verifier as a stranger runs it: a copy, in an empty folder, where only PyNaCl can be imported."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nacl

import ops

VERIFIER = Path(ops.__path__[0]) / "auditverify.py"
SERVE = """
import sys
sys.path.append(sys.argv[1])
import argparse, base64, bisect, collections, datetime, hashlib, json, os, pathlib, re, runpy, traceback, urllib.request, uuid
import zipfile, nacl.signing
for line in sys.stdin:
    arguments, *files = json.loads(line)
    if not (pid := os.fork()):
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv, code = arguments, 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Runs the program whose path and arguments it is told in a process of its own, forked from one that knows the libraries."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Verdict:
    """What it said."""

    code: int
    answer: dict[str, Any]
    text: str

    @property
    def first(self) -> dict[str, Any]:
        """The finding that is named first."""
        found: list[dict[str, Any]] = self.answer["found"]
        return found[0]


@dataclass(frozen=True)
class Stranger:
    """A folder with nothing of ours in it."""

    folder: Path
    _server: "subprocess.Popen[str]"

    @classmethod
    def in_folder(cls, folder: Path, *libraries: str) -> "Stranger":
        """PyNaCl is there, and what it needs; others by name."""
        site = folder / "site"
        site.mkdir(parents=True)
        packages = Path(nacl.__file__).parents[1]
        for name in ("nacl", "cffi", *libraries):
            (site / name).symlink_to(packages / name)
        for native in packages.glob("_cffi_backend*"):
            (site / native.name).symlink_to(native)
        shutil.copy(VERIFIER, folder / "auditverify.py")
        (folder / "empty").mkdir()
        # Without our environment, packages and folder.
        server = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SERVE, str(site)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=folder / "empty", env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        weakref.finalize(server, server.kill)
        return cls(folder, server)

    def run(self, pack: Path | str, *options: object) -> "subprocess.CompletedProcess[str]":
        arguments = [str(self.folder / "auditverify.py"), str(pack), *map(str, options)]
        said = [self.folder / name for name in ("out", "err")]
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps([arguments, *map(str, said)]) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(file.read_text() for file in said))

    def verify(self, pack: Path | str, *options: object) -> Verdict:
        """As a program asks. It never shows a traceback."""
        done = self.run(pack, *options, "--json")
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        answer = json.loads(done.stdout) if done.stdout else {}
        assert answer.get("exit", done.returncode) == done.returncode, done.stdout
        return Verdict(done.returncode, answer, done.stdout + done.stderr)


def read_pack(path: Path) -> Files:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in sorted(files.items()):
            zipped.writestr(zipfile.ZipInfo(name), content)
    return path


def repaired(files: Files) -> Files:
    """With the manifest's hashes, as whoever tampers would set them."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in files.items()
        if name != "manifest.json"
    }
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def changed(files: Files, name: str, change: Callable[[Any], Any]) -> Files:
    """A JSON file with something else in it; the change may answer a new document or alter the old one."""
    document = json.loads(files[name])
    answer = change(document)
    return {**files, name: json.dumps(document if answer is None else answer).encode()}


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


def unpacked(bundle: bytes) -> list[bytes]:
    entries = []
    while bundle:
        end = 2 + int.from_bytes(bundle[:2], "big")
        entries.append(bundle[2:end])
        bundle = bundle[end:]
    return entries


def packed(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def flipped(text: str) -> str:
    """Base64 of other bytes of the same length."""
    raw = bytearray(base64.b64decode(text))
    raw[0] ^= 1
    return base64.b64encode(raw).decode()
