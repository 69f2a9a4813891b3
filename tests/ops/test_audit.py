"""`spaceos audit` as compliance uses it: a deployment that runs, packs that are verified elsewhere, and an erasure."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.genesis import make_genesis
from ops.local import kafka
from ops.local.processes import free_port
from tests import forks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
NAME = "Ada Lovelace, 12 St James's Square"


class Network:
    """A deployment of its own, run by `spaceos up`, and its command line."""

    def __init__(self, home: Path, kafka: str) -> None:
        self.home, self.port = home, free_port()
        make_genesis(home / "genesis.json", home / "keys", "dev")
        mine = {"HOME": home, "KAFKA": kafka, "AUDIT_PORT": self.port, "AUDIT_READERS": home / "readers"}
        self.environment = {**os.environ, **{f"SPACEOS_{name}": str(value) for name, value in mine.items()}}
        (home / "readers").touch()
        self.up = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "up", "--json"], env=self.environment, stdout=subprocess.DEVNULL
        )

    def run(self, *arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
        return forks.run(forks.SPACEOS, arguments, self.environment, given=given)

    def ask(self, *arguments: str, given: str | None = None) -> dict[str, Any]:
        """The last line of its JSON."""
        said = self.run(*arguments, "--json", given=given)
        assert said.returncode == 0, (arguments, said.stdout, said.stderr)
        found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
        return found

    def found(self, type: str, *more: str) -> list[dict[str, Any]]:
        """The entries of that type that are in the log already."""
        said = self.run("audit", "query", "--type", type, *more, "--json")
        assert said.returncode == 0, said.stderr
        return [json.loads(line) for line in said.stdout.splitlines()]

    def send(self, by: str, type: str, subject: str, id: str | None = None, **data: Any) -> None:
        named = {} if id is None else {"id": id}
        self.ask("send", "-k", by, given=json.dumps({"type": type, "subject": subject, "data": data, **named}))

    def get(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""
        except OSError:
            # The auditor is starting.
            return 0, b""

    def parts(self) -> dict[str, int]:
        return dict(json.loads((self.home / "up.json").read_text())["parts"])

    def verify(self, pack: Path) -> tuple[int, dict[str, Any]]:
        """By the verifier alone, isolated, in another folder."""
        policy = self.home / "policy"
        policy.write_text(self.run("audit", "policy").stdout)
        command = [sys.executable, "-I", str(ROOT / "ops/auditverify.py"), str(pack), "--json"]
        command += ["--policy", str(policy), "--genesis", str(self.home / "genesis.json")]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, cwd=self.home)
        return said.returncode, json.loads(said.stdout)


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def network(own_broker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    found = Network(tmp_path_factory.mktemp("audit"), kafka.address(own_broker))
    try:
        keys = found.ask("key", "show")["keys"]
        roots = [keys[f"root-{n}"] for n in (1, 2, 3)]
        genesis = json.loads((found.home / "genesis.json").read_text())
        said = {name: genesis[name] for name in ("quorum", "chain_id", "profile")}
        found.send("root-1", "identity.Found", "identity/network/dev", roots=roots, **said)
        ada = found.ask("key", "new", "ada")["did"]
        proof = found.ask("key", "prove", "ada", "--by", "root-1")
        found.send(
            "root-1", "identity.ProposeKey", f"identity/key/{ada}", proof["id"], key=ada, proof=proof["proof"],
            roles=[{"role": "providers.gpu", "prefix": f"providers/provider/{ada}"}], not_after="2027-05-01T00:00:00Z",
            held_by={"$seal": NAME, "person": "ada"},
        )  # fmt: skip
        until(lambda: found.found("identity.KeyProposed"), "the key in the log")
        until(lambda: found.run("audit", "verify", "--json").returncode == 0, "the log")
        yield found
    finally:
        found.up.send_signal(signal.SIGTERM)
        found.up.wait(60)


def proposed(network: Network) -> dict[str, Any]:
    return network.ask("audit", "query", "--type", "identity.KeyProposed", "--open")


def sealed_states(report: dict[str, Any]) -> str:
    return json.dumps(report)


def test_whoever_searches_leaves_a_trace_that_says_why(network: Network) -> None:
    entry = network.ask("audit", "query", "--type", "identity.KeyProposed", "--open", "--purpose", "case 7")

    [read, *_] = until(lambda: network.found("audit.LogRead", "--newest", "--limit", "500"), "the read in the log")
    until(lambda: "case 7" in {row["purpose"] for row in network.ask("audit", "reads")["reads"]}, "the reason in the view")
    assert entry["opened"] == {"/held_by": NAME}
    assert read["type"] == "audit.LogRead"


def test_whoever_has_not_the_role_sees_nothing(network: Network) -> None:
    said = network.run("audit", "query", "--as", "ada")

    assert said.returncode == 1
    assert "NotInRole" in said.stderr
    assert "identity" not in said.stdout


def test_a_pack_of_one_event_is_verified_where_nothing_of_ours_is(network: Network, tmp_path: Path) -> None:
    index = proposed(network)["index"]
    until(lambda: network.run("audit", "prove", str(index), "--proof").returncode == 0, "a signed head over it")

    network.ask("audit", "prove", str(index), "--open", "-o", str(tmp_path / "pack.zip"))
    code, report = network.verify(tmp_path / "pack.zip")

    assert code == 0, report
    assert "opened" in sealed_states(report)


def test_the_log_is_read_over_http_and_entries_only_with_a_token(network: Network) -> None:
    did = network.ask("key", "show")["keys"]["auditor-2"]
    until(lambda: network.get("/checkpoint")[0] == 200, "a checkpoint")
    width = int(network.get("/checkpoint")[1].decode().splitlines()[1])

    made = network.ask("audit", "token", did)["token"]

    until(lambda: network.get(f"/tile/0/000.p/{width}")[0] == 200, "a public tile")
    assert network.get(f"/tile/entries/000.p/{width}")[0] == 401
    assert network.get(f"/tile/entries/000.p/{width}", made)[0] == 200
    until(lambda: "http" in {row["purpose"] for row in network.ask("audit", "reads")["reads"]}, "the trace of that read")


def served_reads(network: Network) -> int:
    return sum(row["purpose"] == "http" for row in network.ask("audit", "reads")["reads"])


def test_entries_stay_when_the_role_the_line_or_the_worker_is_gone(network: Network) -> None:
    """Each at once: nothing is started again."""
    did, path = network.ask("key", "show")["keys"]["auditor-2"], "/tile/entries/000.p/3"
    made = network.ask("audit", "token", did)["token"]
    lines = (network.home / "readers").read_text()
    until(lambda: network.get(path, made)[0] == 200, "entries")

    (network.home / "readers").write_text("")
    without_line = network.get(path, made)[0]
    (network.home / "readers").write_text(lines)
    with_line = network.get(path, made)[0]
    until(lambda: served_reads(network) >= 2, "the traces of both reads")
    before, worker = served_reads(network), network.parts()["worker-1"]
    os.kill(worker, signal.SIGSTOP)
    without_worker = network.get(path, made)[0]
    os.kill(worker, signal.SIGCONT)
    network.send("root-1", "identity.WithdrawRole", f"identity/key/{did}", role="audit.reader", prefix="audit/")
    without_role = network.get(path, made)[0]
    until(lambda: network.run("audit", "verify", "--json").returncode == 0, "the log")

    assert (without_line, with_line, without_worker, without_role) == (401, 200, 503, 403)
    assert served_reads(network) == before


def test_an_erased_person_is_gone_everywhere_and_every_proof_stays_valid(network: Network, tmp_path: Path) -> None:
    """Last in this file: there is nobody left to erase after it."""
    index = proposed(network)["index"]
    network.ask("audit", "export", "--from", "0", "-o", str(tmp_path / "before.zip"))
    before = network.verify(tmp_path / "before.zip")
    network.ask("audit", "hold", "place", "m1", "--matter", "case 7", "--person", "ada")
    network.ask("audit", "erase", "ada", "--wait-seconds", "5")
    barred = network.ask("audit", "erase", "ada", "--as", "auditor-2")
    still = proposed(network)["opened"]
    network.ask("audit", "hold", "release", "m1")

    until(lambda: network.ask("audit", "erasures")["erasures"][0]["state"] == "done", "the erasure")
    after = proposed(network)["opened"]
    until(lambda: pack_says(network, index, tmp_path / "after.zip", "erased"), "a pack that says that it is erased")

    assert before[0] == 0, before
    assert barred["state"] == "deferred"
    assert still == {"/held_by": NAME}
    assert after == {"/held_by": "(erased)"}
    assert network.ask("audit", "verify")["findings"] == []
    assert not [path for path in network.home.rglob("*") if path.is_file() and b"Lovelace" in path.read_bytes()]


def pack_says(network: Network, index: int, pack: Path, word: str) -> bool:
    network.ask("audit", "prove", str(index), "--open", "-o", str(pack))
    code, report = network.verify(pack)
    return code == 0 and word in sealed_states(report)
