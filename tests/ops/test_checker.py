"""The outside checker itself: it passes what is right, names what is not, and refuses to judge what is cut short."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.kafka.commands import SignedCommand, sign_command
from adapters.keys import Signer, ed25519_signer, read_key, wallet_signer
from adapters.sql.outbox import Outbox
from adapters.views import Projector
from contracts import partition_of
from contracts.identity import RevokeKey
from ops import checker
from ops.compose import Deployment
from ops.dumps import dump
from ops.genesis import make_genesis
from ops.registering import founding, registrations
from ops.settings import Settings
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider
from projections.identity import key_registry

PARTITIONS = 4
Rows = list[dict[str, Any]]


class Delivered:
    """A record as a consumer hands it over."""

    def __init__(self, offset: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.offset, self.key, self.value, self.headers = offset, key, value, headers


class Network:
    """A small deployment without processes: commands are decided here, and what they leave is dumped."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, store=f"sqlite:///{home}/store.db", partitions=PARTITIONS)
        self.deployment = Deployment(self.settings)
        make_genesis(self.deployment.genesis_path, self.settings.keys, "dev")
        self.store = self.deployment.open_store()
        self.decider = Decider(self.store, self.deployment.writer, "dev", PARTITIONS)
        self.roots = [read_key(self.settings.keys / f"root-{n}.key") for n in (1, 2, 3)]
        self.commands: Rows = []
        self.journal: list[dict[str, Any]] = []

    def decide(self, command: Any, subject: str, signer: Signer) -> None:
        self.decide_signed(sign_command(command, subject, signer, "dev"))

    def decide_signed(self, signed: SignedCommand) -> None:
        subject = signed.subject
        partition = partition_of(subject, PARTITIONS)
        shard = self.store.shard("identity", partition)
        record = Delivered(shard.position, subject.encode(), signed.value, signed.headers)
        sealed = self.decider.commit([Chunk(shard, [Door("identity", partition, PARTITIONS, "dev").check(record)])])
        row = record_row("identity.commands", partition, record.offset, record.key, record.value, signed.headers)
        self.commands.append(row)
        self._write_down(signed, partition, record.offset, sealed.commands[0].outcome)

    def _write_down(self, signed: Any, partition: int, offset: int, outcome: bytes) -> None:
        n, now = len(self.journal), datetime.now(UTC).timestamp()
        document = json.loads(signed.value)
        call = {"n": n, "kind": "load", "id": signed.id, "source": document["source"], "topic": signed.topic}
        digests = {"hash": hashlib.sha256(signed.value).hexdigest(), "partition": partition, "expect": []}
        ended = "ok" if b".Accepted" in outcome else "fail"
        self.journal += [
            {"f": "invoke", "wall": now, "mono": n, **call, **digests},
            {"f": "sent", "wall": now, "mono": n, "n": n, "partition": partition, "offset": offset},
            {"f": ended, "wall": now, "mono": n + 0.5, "n": n, "outcome": hashlib.sha256(outcome).hexdigest()},
        ]

    def live(self) -> None:
        """A network is founded, keys come and go, one by a wallet, and somebody without a role tries."""
        self.decide(founding(self.deployment.genesis), "identity/network/dev", self.roots[0])
        keys = [ed25519_signer(bytes([n]) * 32) for n in range(6)]
        for key in [*keys, wallet_signer(b"w" * 32)]:
            end = datetime.now(UTC) + timedelta(days=30)
            now, roles = datetime.now(UTC), [("providers.gpu", "providers/")]
            for signed in registrations(key, roles, "load", end, by=[self.roots[1]], network="dev", time=now):
                self.decide_signed(signed)
        for key in (keys[0], wallet_signer(b"w" * 32)):
            self.decide(RevokeKey(reason="retired"), f"identity/key/{key.did}", key)
        self.decide(RevokeKey(reason="mistaken"), f"identity/key/{keys[1].did}", keys[2])

    def flood(self, count: int) -> None:
        """What nobody has signed, to one partition."""
        shard, door = self.store.shard("identity", 0), Door("identity", 0, PARTITIONS, "dev")
        sent = [Delivered(shard.position + n, b"x", b"%d" % n * 100, []) for n in range(count)]
        self.decider.commit([Chunk(shard, [door.check(record) for record in sent])])
        self.commands += [record_row("identity.commands", 0, r.offset, r.key, r.value, []) for r in sent]

    def dump(self, folder: Path) -> None:
        """As `ops/dumps.py` does; the topics as their shards' owner would have left them."""
        outbox = Outbox(self.store.engine)
        projector = Projector(self.store.engine, key_registry())
        from adapters.sql.schema import upgrade

        upgrade(self.store.engine, "views")
        published = list(self.commands)
        for lane, standing in sorted(outbox.standing().items(), key=lambda pair: pair[0].topic):
            records = outbox.read(lane, 0, standing.stored)
            for offset, out in enumerate(records):
                headers = [("signature", out.signature.encode())] if out.signature else []
                published.append(record_row(lane.topic, lane.partition, offset, out.key, out.value, headers))
            if lane.topic == "identity.events" and records:
                shard = f"identity.events/{lane.partition}"
                projector.claim([shard])
                projector.apply({shard: [Delivered(n, out.key, out.value, []) for n, out in enumerate(records)]})
        url = self.settings.store
        dump(folder, url, url, None, self.deployment.genesis_path)
        write_lines(folder / "topics.jsonl", published)
        write_lines(folder / "journal.jsonl", [*self.journal, {"f": "end", "wall": 0, "mono": 0}])


def record_row(
    topic: str, partition: int, offset: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> dict[str, Any]:
    return {
        "topic": topic, "partition": partition, "offset": offset, "key": text(key), "value": text(value),
        "headers": [[name, text(found)] for name, found in headers],
    }  # fmt: skip


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def write_lines(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dumps of a network in which something happened."""
    home = tmp_path_factory.mktemp("home")
    network = Network(home)
    network.live()
    network.dump(home / "dump")
    return home / "dump"


@pytest.fixture
def dumps(lived: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    for file in lived.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def judge(dumps: Path) -> dict[str, Any]:
    return checker.Judge(dumps, [dumps / "journal.jsonl"]).judge().summary()


def test_what_is_right_is_passed(dumps: Path) -> None:
    found = judge(dumps)

    assert found["ok"], found
    assert (found["commands"], found["accepted"], found["refused"], found["views"]) == (11, 10, 1, 1)


def test_an_empty_system_is_passed(tmp_path: Path) -> None:
    network = Network(tmp_path / "home")
    network.dump(tmp_path / "dump")

    assert judge(tmp_path / "dump")["ok"]


Harm = Callable[[Rows], None]


def _of(rows: Rows, **wanted: Any) -> Rows:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _last(rows: Rows, **wanted: Any) -> dict[str, Any]:
    return _of(rows, **wanted)[-1]


def _flip(row: dict[str, Any], column: str) -> None:
    """Another byte in the middle of the data, where the JSON stays JSON."""
    value = base64.b64decode(row[column])
    at = value.index(b'"data"') + len(b'"data":{"')
    row[column] = text(value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])


def _swap(rows: Rows, **wanted: Any) -> None:
    first, second = _of(rows, **wanted)[:2]
    i, j = rows.index(first), rows.index(second)
    rows[i], rows[j] = second, first


def _invent(rows: Rows) -> None:
    last = _last(rows, table="events")
    rows.insert(rows.index(last) + 1, {**last, "sequence": last["sequence"] + 1, "version": last["version"] + 1})


def _published(rows: Rows) -> tuple[str, int]:
    """A partition of the events topic that holds at least two."""
    places = [(row["topic"], row["partition"]) for row in rows if row["topic"] == "identity.events"]
    return next(place for place in places if places.count(place) > 1)


def _on_topic(change: Callable[[Rows, Rows], None]) -> Harm:
    def harm(rows: Rows) -> None:
        topic, partition = _published(rows)
        change(rows, _of(rows, topic=topic, partition=partition))

    return harm


HARMS: dict[str, tuple[str, Harm, str]] = {
    "an event removed from the store": ("store.jsonl", lambda r: r.remove(_of(r, table="events")[0]), "I1"),
    "an event twice in the store": ("store.jsonl", lambda r: r.append(_of(r, table="events")[0]), "I3"),
    "two events swapped in the store": ("store.jsonl", lambda r: _swap(r, table="events"), "I5"),
    "an event invented in the store": ("store.jsonl", _invent, "I5"),
    "a byte of an event altered in the store": ("store.jsonl", lambda r: _flip(_last(r, table="events"), "value"), "SIG"),
    "a signature altered in the store": (
        "store.jsonl", lambda r: _last(r, table="events").update(signature="ed25519:AAAA"), "SIG"),
    "an outcome removed from the store": ("store.jsonl", lambda r: r.remove(_last(r, table="commands")), "I1"),
    "a byte of an outcome altered": ("store.jsonl", lambda r: _flip(_last(r, table="commands"), "outcome"), "I3"),
    "a counter row that is behind": (
        "store.jsonl", lambda r: _last(r, table="shards").update(next_sequence=99), "I5"),
    "an event missing on the topic": ("topics.jsonl", _on_topic(lambda r, mine: r.remove(mine[0])), "I1"),
    "the last event missing on the topic": ("topics.jsonl", _on_topic(lambda r, mine: r.remove(mine[-1])), "I1"),
    "two events swapped on the topic": ("topics.jsonl", lambda r: _swap(
        r, topic=_published(r)[0], partition=_published(r)[1]), "I5"),
    "a byte altered on the topic": ("topics.jsonl", _on_topic(lambda _, mine: _flip(mine[-1], "value")), "I5"),
    "a signature lost on the topic": ("topics.jsonl", _on_topic(lambda _, mine: mine[-1].update(headers=[])), "SIG"),
    "an outcome missing on the topic": (
        "topics.jsonl", lambda r: r.remove(_of(r, topic="identity.outcomes")[0]), "I1"),
    "a command that was delivered and not decided": (
        "topics.jsonl", lambda r: r.append({**_of(r, topic="identity.commands")[0], "offset": 10**6}), "I1"),
    "a row of the view missing": ("views.jsonl", lambda r: r.remove(_last(r, table="identity_keys")), "I6"),
    "a row of the view too many": (
        "views.jsonl", lambda r: r.append({**_last(r, table="identity_keys"), "key": "did:key:z6MkNobody"}), "I6"),
    "a value of the view altered": (
        "views.jsonl", lambda r: _last(r, table="identity_keys").update(state="live"), "I6"),
    "a view that is behind": ("views.jsonl", lambda r: _last(r, table="positions").update(next=0), "I6"),
    "a client that was told otherwise": ("journal.jsonl", lambda r: _last(r, f="ok").update(outcome="0" * 64), "I3"),
    "a client whose command nobody knows": (
        "journal.jsonl", lambda r: _of(r, f="invoke")[0].update(hash="0" * 64), "I1"),
    "a decision before it was asked": (
        "journal.jsonl", lambda r: _of(r, f="invoke")[0].update(wall=_of(r, f="invoke")[0]["wall"] + 60), "I12"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMS)
def test_what_is_wrong_is_named(dumps: Path, name: str) -> None:
    file, harm, invariant = HARMS[name]
    rows = read_lines(dumps / file)

    harm(rows)
    write_lines(dumps / file, rows)

    assert invariant in judge(dumps)["broken"]


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dumps of a network to which a stranger sent ten records more than are kept of him."""
    home = tmp_path_factory.mktemp("flooded")
    network = Network(home)
    network.live()
    network.flood(checker.STRANGERS_KEPT + 10)
    network.dump(home / "dump")
    return home / "dump"


def test_what_strangers_sent_may_be_without_its_bytes(flooded: Path) -> None:
    found = judge(flooded)

    assert found["ok"], found
    assert found["let_go"] == 10


@pytest.mark.parametrize(
    ("harm", "invariant"),
    [
        (lambda r: _of(r, table="commands", kept=1)[-1].update(kept=0, command=""), "I1"),
        (lambda r: _of(r, table="commands", kept=0)[-1].update(kept=1), "I5"),
        (lambda r: _of(r, table="commands", kept=0)[0].update(kept=1, command=text(b"x" * 600)), "I1"),
        (lambda r: _of(r, table="commands", kept=0)[-1].update(command=text(b"x")), "I5"),
        (lambda r: _of(r, table="commands", kept=None)[-1].update(kept=0, command=""), "I1"),
        (lambda r: _of(r, table="commands", kept=None)[0].update(kept=0, command=""), "I1"),
    ],
)
def test_bytes_that_should_be_there_are_missed(flooded: Path, tmp_path: Path, harm: Harm, invariant: str) -> None:
    """Neither the newest of strangers nor anything of who was registered is let go."""
    for file in flooded.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    rows = read_lines(tmp_path / "store.jsonl")

    harm(rows)
    write_lines(tmp_path / "store.jsonl", rows)

    assert invariant in judge(tmp_path)["broken"]


def test_a_command_that_no_client_sent_is_an_invention(dumps: Path) -> None:
    journal = read_lines(dumps / "journal.jsonl")
    write_lines(dumps / "journal.jsonl", [row for row in journal if row.get("n") != 3])

    assert judge(dumps)["broken"] == {"I2": 1}


def test_exact_repeats_on_a_topic_are_allowed(dumps: Path) -> None:
    """A shard's owner publishes it at least once, and an outcome is repeated when its command comes again."""
    rows = read_lines(dumps / "topics.jsonl")
    write_lines(dumps / "topics.jsonl", [*rows, *[row for row in rows if row["topic"] != "identity.commands"]])

    found = judge(dumps)

    assert found["ok"], found
    assert found["repeats"] > 10


def test_a_topic_that_was_made_anew_may_begin_in_the_middle(dumps: Path) -> None:
    """The rest stands behind, and a reader waits for it; of any other topic that is out of order."""
    rows = read_lines(dumps / "topics.jsonl")
    events = [row for row in rows if row["topic"] == "identity.events"]
    write_lines(dumps / "topics.jsonl", [*[row for row in rows if row not in events], *events[1:], *events])

    assert not judge(dumps)["ok"]
    assert checker.Judge(dumps, made_anew=["identity.events"]).judge().summary()["ok"]


def test_an_unknown_end_may_be_a_whole_command_or_none(dumps: Path) -> None:
    """A client that heard nothing writes `info`; what became of it is judged by all other rules."""
    journal = read_lines(dumps / "journal.jsonl")
    _last(journal, f="ok").update(f="info")
    nothing = {**_of(journal, f="invoke")[0], "n": 999, "id": "none", "hash": "1" * 64}
    journal[-1:-1] = [nothing, {"f": "info", "wall": 0, "mono": 99, "n": 999}]
    write_lines(dumps / "journal.jsonl", journal)

    found = judge(dumps)

    assert found["ok"], found
    assert found["unknown"] == 2


@pytest.mark.parametrize("left", [-1, -2, 1])
def test_a_journal_that_is_cut_short_is_no_pass(dumps: Path, left: int) -> None:
    """By a line, by an answer, or in the middle of a line."""
    lines = (dumps / "journal.jsonl").read_text().splitlines(keepends=True)
    cut = "".join(lines)[:-5] if left == 1 else "".join(lines[:left])
    (dumps / "journal.jsonl").write_text(cut)

    done = run(dumps)

    assert done.returncode == 2
    assert "cannot judge" in done.stdout


def test_the_command_line_says_it_in_a_table_and_in_one_line_of_json(dumps: Path) -> None:
    table, line = run(dumps), run(dumps, "--json")

    assert (table.returncode, line.returncode) == (0, 0)
    assert "every invariant held" in table.stdout
    assert json.loads(line.stdout)["lost"] == 0


def test_it_shares_no_code_with_the_system(dumps: Path) -> None:
    """It runs where nothing of ours can be imported."""
    alone = dumps / "alone.py"
    alone.write_bytes(Path(checker.__file__).read_bytes())

    done = subprocess.run(
        [sys.executable, "-I", alone, dumps, "--journal", dumps / "journal.jsonl"], cwd="/", capture_output=True, check=False
    )

    assert done.returncode == 0, done.stdout


def run(dumps: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, checker.__file__, dumps, "--journal", dumps / "journal.jsonl", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)
