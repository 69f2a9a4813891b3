"""What must not be in the repository, and what must be as it says."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.sources import LAYERS, ROOT, texts

OURS = {*LAYERS, "tests", "migrations"}


def test_no_installed_distribution_owns_one_of_our_names() -> None:
    """One named `adapters` would overwrite ours on install, unnoticed by `pip check`."""
    owners = importlib.metadata.packages_distributions()

    found = {name: owners[name] for name in OURS & owners.keys() if set(owners[name]) != {"spaceos-backend"}}
    # In site-packages, whatever its metadata says.
    folders = {path.name for site in sys.path if "site-packages" in site for path in Path(site).glob("*") if path.is_dir()}

    assert found == {}
    assert not OURS & folders


IMPORT_ALL = """
import socket, sys

def refuse(*args, **kwargs):
    raise SystemExit(f"a socket was opened: {args}")

socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = refuse
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
from tests.house.sources import import_all
import_all(*sys.argv[1:])
"""


def test_importing_every_module_opens_no_socket() -> None:
    """Some libraries fetch price lists and models when they are imported; ours imports them late or not at all."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *LAYERS],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


# Written in pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(r"(?<![\w./-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"]) + r")/[\w.-]")
SHARED = re.compile(r"\.\./sha" + "red")
PRIVATE_KEY = re.compile("BEGIN [A-Z ]*PRIV" + "ATE KEY|spaceos-key-1 (ed25519|eip191) [0-9a-f]{6" + "4}")
REGISTRIES = re.compile(
    "|".join(
        [
            "pypi" + r"\.org",
            "pythonho" + "sted",
            "maven" + r"\.org",
            "registry" + r"\.npmjs",
            "repo1?" + r"\.",
            "gh" + r"cr\.io",
        ]
    )
    + r"|index-url|--extra-index|artifactory|nexus"
)
NAMESPACE = "http://maven.apache.org/POM/4.0.0"
CHECKS_ITSELF = "tests/house/test_repository.py"


def test_no_file_names_a_machine_path() -> None:
    """It would hold on one machine only."""
    found = [name for name, text in texts() if name != CHECKS_ITSELF and MACHINE.search(text)]

    assert not found


def test_only_demo_and_tests_look_for_shared_data() -> None:
    """And they do without it."""
    found = [name for name, text in texts() if SHARED.search(text)]

    assert [name for name in found if not name.startswith(("ops/demo/", "ops/cli/demo.py", "tests/", "README.md"))] == []


def test_no_file_holds_a_private_key() -> None:
    """But for the vectors, whose keys are one byte repeated and say so."""
    found = [name for name, text in texts() if PRIVATE_KEY.search(text)]

    assert not found


def test_no_file_names_a_registry() -> None:
    """Mirrors work only where no address is written down."""
    found = {}
    for name, text in texts():
        # The generator writes its own command line, which says that no address is to be written.
        lines = [line for line in text.replace(NAMESPACE, "").splitlines() if "--no-emit-index-url" not in line]
        if name != CHECKS_ITSELF and (hit := next((line for line in lines if REGISTRIES.search(line)), None)):
            found[name] = hit.strip()[:100]

    assert found == {}


def test_the_lock_has_a_hash_for_every_package() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==\S+(?: ; [^\\]*)? ?\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE
    )
    named = re.findall(r"^[A-Za-z0-9_.-]+(?:\[[^\]]*\])?==", lock, re.MULTILINE)

    assert len(pins) == len(named) > 50
    assert "://" not in lock


def test_the_lock_holds_every_dependency_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["project"]["dependencies"], *(n for group in project["dependency-groups"].values() for n in group)]
    locked = {
        name.lower().replace("_", "-")
        for name in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[|==)", (ROOT / "requirements.lock").read_text(), re.M)
    }

    wanted = {re.split(r"[\[<>=~ ]", name)[0].lower().replace("_", "-") for name in named}
    assert wanted <= locked


def test_the_pom_names_no_repository() -> None:
    pom = (ROOT / "ops" / "pom.xml").read_text()

    assert "<repositor" not in pom
    assert "<pluginRepositor" not in pom
    assert "://" not in pom.replace(NAMESPACE, "")


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "contracts/vectors/README.md"])
def test_every_make_command_in_a_document_is_a_target(document: str) -> None:
    path = ROOT / document
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text() if path.exists() else ""
    fenced = "\n".join(re.findall(r"```.*?\n(.*?)```", text, re.DOTALL))
    named = set(re.findall(r"^\s*(?:\$ )?make ([a-z]+)", fenced, re.MULTILINE)) | set(re.findall(r"`make ([a-z]+)", text))

    assert named <= targets


def test_every_spaceos_command_in_a_document_exists() -> None:
    from typer.main import get_command

    from ops.cli import app

    known = set(getattr(get_command(app), "commands", {}))
    named = set()
    for document in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "contracts/vectors/README.md"):
        if (path := ROOT / document).exists():
            named |= set(re.findall(r"`(?:\S*/)?spaceos ([a-z]+)", path.read_text()))

    assert named - known == set()


def test_every_migration_follows_the_one_before() -> None:
    """Two that follow the same one would make two newest schemas, but where a context's views are a head of their own."""
    for folder in sorted((ROOT / "migrations").iterdir()):
        if (folder / "versions").is_dir():
            text = "".join(path.read_text() for path in sorted((folder / "versions").glob("*.py")))
            revisions = re.findall(r'^revision(?:: [^=]+)? = "([^"]*)"', text, re.MULTILINE)
            follows = re.findall(r'^down_revision(?:: [^=]+)? = (?:"([^"]*)"|None)', text, re.MULTILINE)
            apart = [before for name, before in zip(revisions, follows, strict=True) if not re.fullmatch(r"\d{4}_[a-z]+", name)]
            assert len(revisions) == len(set(revisions))
            assert len(apart) == len(set(apart))
