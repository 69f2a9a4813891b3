"""Whatever somebody with the databases and the broker in his hand changes is found, and by the check that is meant for it."""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from adapters.audit import AuditLog, Finding, Sequencer
from adapters.audit.comparing import compare_store, compare_topics
from adapters.audit.cosignatures import resolve_refusal
from adapters.kafka.topics import create_topics
from adapters.keys import ed25519_signer, read_key
from adapters.replay.raw import RawRecord, whole_topic
from adapters.sql import engine_for
from adapters.tlog.checkpoints import Checkpoint, sign_checkpoint
from adapters.tlog.notes import NoteSigner
from adapters.vouching import anybody
from contracts import ZERO_HASH
from ops.auditor import LAST_SIGNED, audit_topics, log_key, open_audit, run_auditor, writer_signed
from ops.compose import Deployment, topics_of_deployment
from ops.demo.run import Options, run
from ops.genesis import make_genesis
from ops.local import kafka as local_kafka
from ops.settings import Settings
from ops.verifying import compare_kept, compare_last_signed, compare_registry, verify_live
from tests.adapters.http.served import WITNESSES, listening
from tests.e2e.harness import until
from tests.ops.played import Played

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
TOPIC = "inference.events"
DATABASES = ("audit", "store")
REQUESTS = 150
HEADS_AT = (REQUESTS // 4, REQUESTS // 2, REQUESTS * 3 // 4)
"""After so many requests one more head has to be there."""


@dataclass
class Network:
    """A deployment that has worked; `older` is a backup of its home, made meanwhile."""

    played: Played
    older: Path
    records: dict[int, list[RawRecord]]
    """Of TOPIC, as they were published."""


@dataclass
class Copied:
    """A copy of its files, in which anything may be done."""

    home: Path
    kafka: str

    @property
    def deployment(self) -> Deployment:
        return Deployment(Settings(home=self.home, kafka=self.kafka))

    @contextmanager
    def opened(self, database: str) -> Iterator[sqlite3.Connection]:
        """As by somebody who may do anything to the file."""
        connection = sqlite3.connect(self.home / f"{database}.db")
        connection.row_factory = sqlite3.Row
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {name}")
        with connection:
            yield connection
        connection.close()

    def here(self) -> list[Finding]:
        """By all that reads no topic, in the order in which the command line tells it."""
        found = self.deployment
        audit, store = (engine_for(f"sqlite:///{self.home}/{name}.db") for name in DATABASES)
        try:
            mine = asyncio.run(_all(verify_live(found, audit, _quietly, against_sources=False)))
            return [*mine, *compare_store(audit, store, writer_signed(found)), *compare_registry(found, audit, store)]
        finally:
            audit.dispose()
            store.dispose()

    def checks(self) -> set[str]:
        return {finding.check for finding in self.here()}


async def _all(findings: Any) -> list[Finding]:
    return [finding async for finding in findings]


def _quietly(_done: int, _total: int) -> None: ...


@pytest.fixture(scope="module")
def network(own_broker: Path, tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("verified")
    played = Played(folder / "home", local_kafka.address(own_broker))
    make_genesis(played.home / "genesis.json", played.home / "keys", "dev")
    work(played, folder / "older")
    records = asyncio.run(whole_topic(played.settings.kafka_client_options(), TOPIC))
    return Network(played, folder / "older", records)


def work(played: Played, older: Path) -> None:
    """Several heads are signed meanwhile; a backup is made in the middle, when the processes are busy."""
    done = [0]

    def advance(some: int) -> None:
        before, done[0] = done[0], done[0] + some
        for head, at in enumerate(HEADS_AT, 1):
            if before < at <= done[0]:
                until(lambda wanted=head: heads(played.home) >= wanted, f"head {head}")
        if before < REQUESTS // 2 <= done[0]:
            back_up(played.home, older)

    def stage(title: str, total: int) -> Callable[[int], None]:
        del total
        return advance if title.startswith("Replaying") else lambda _: None

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACEOS_HOME", str(played.home))
        patch.setenv("SPACEOS_KAFKA", played.kafka)
        found = asyncio.run(
            run(played.deployment, Options(limit=REQUESTS, rate=REQUESTS / 2, providers=10), stage, lambda _: None)
        )
    assert found.is_ok, found.document()


def heads(home: Path) -> int:
    """How many were signed so far."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{home}/audit.db?mode=ro", uri=True)) as connection:
        found: int = connection.execute("select count(*) from audit_checkpoints").fetchone()[0]
        return found
    return 0


def back_up(home: Path, to: Path) -> None:
    """As it is to be done: what was signed last first, the log before what it is of."""
    to.mkdir()
    shutil.copytree(home / "keys", to / "keys")
    for name in ("genesis.json", LAST_SIGNED):
        shutil.copy(home / name, to)
    # The head in the file is in the database a moment later.
    time.sleep(0.2)
    for name in DATABASES:
        source, target = (sqlite3.connect(folder / f"{name}.db") for folder in (home, to))
        source.backup(target)
        source.close()
        target.close()


@pytest.fixture
def copied(network: Network, tmp_path: Path) -> Copied:
    home = shutil.copytree(network.played.home, tmp_path / "home", ignore=shutil.ignore_patterns("logs", "views.db*"))
    return Copied(home, network.played.kafka)


def test_what_nobody_touched_fits(network: Network) -> None:
    found = network.played.deployment
    engine = engine_for(found.settings.audit)

    findings = asyncio.run(_all(verify_live(found, engine, _quietly)))

    assert findings == []
    engine.dispose()


# The ways to change a table

Change = Callable[[sqlite3.Connection], None]


def edit(table: str, column: str, new: Callable[[Any], Any], which: str) -> Change:
    """One row's column."""

    def change(connection: sqlite3.Connection) -> None:
        found = connection.execute(f"select rowid, {column} from {table} {which} limit 1").fetchone()
        changed = new(found[1])
        assert changed != found[1]
        connection.execute(f"update {table} set {column} = ? where rowid = ?", (changed, found[0]))

    return change


def delete(table: str, which: str = "", count: int = 1) -> Change:
    """The first rows that the clause gives."""

    def change(connection: sqlite3.Connection) -> None:
        some = f"select rowid from {table} {which} limit {count}"
        assert connection.execute(f"delete from {table} where rowid in ({some})").rowcount

    return change


def insert(table: str, which: str, new: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """A row that is made from one that is there."""

    def change(connection: sqlite3.Connection) -> None:
        row = dict(connection.execute(f"select * from {table} {which} limit 1").fetchone())
        _add(connection, table, [row | new(row)])

    return change


def exchange(table: str, columns: tuple[str, ...], which: str, count: int = 2) -> Change:
    """Of some rows: each gets what the next one has. Two are swapped, more are put into another order."""

    def change(connection: sqlite3.Connection) -> None:
        found = connection.execute(f"select rowid, * from {table} {which} limit {count}").fetchall()
        rows = [{name: row[name] for name in row.keys() if name != "rowid"} for row in found]  # noqa: SIM118  a Row
        moved = [row | {name: other[name] for name in columns} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
        assert len(rows) == count
        assert all(row != other for row, other in zip(rows, moved, strict=True))
        marks = ", ".join(str(row["rowid"]) for row in found)
        connection.execute(f"delete from {table} where rowid in ({marks})")
        _add(connection, table, moved)

    return change


def _add(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        marks = ", ".join("?" * len(row))
        quoted = ", ".join(f'"{name}"' for name in row)
        connection.execute(f"insert into {table} ({quoted}) values ({marks})", tuple(row.values()))


def a_letter(value: bytes | str) -> Any:
    """Another one in the middle."""
    text = value if isinstance(value, bytes) else value.encode()
    at = len(text) // 2
    changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
    return changed if isinstance(value, bytes) else changed.decode("latin-1")


def turned(hashes: bytes) -> bytes:
    """A tile's hashes from the last to the first."""
    return b"".join(hashes[at : at + 32] for at in range(len(hashes) - 32, -1, -32))


RECORDS = "where shard != '' order by leaf"
EVENTS = "where shard = (select id from shards where context = 'inference' and partition = 0) order by sequence"
BY_EVENTS = "where shard != 'genesis' order by key"
BY_SEQUENCE = "where shard != 'genesis' group by sequence"
NEWEST_KEYS = "where shard != 'genesis' order by sequence desc"
NOBODY = ed25519_signer(bytes(32)).did
IMPOSTOR = NoteSigner.of("audit.localhost/dev/1", bytes(32))


def a_first_event(connection: sqlite3.Connection) -> None:
    """In a shard that has none. It fits but for its signature."""
    empty = "select * from shards where id not in (select shard from events) limit 1"
    shard = connection.execute(empty).fetchone()
    row = dict(connection.execute(f"select * from events {EVENTS} limit 1").fetchone())
    value = first_of(f"{shard['context']}.events/{shard['partition']}", row["value"])
    document = orjson.loads(value)
    _add(connection, "events", [row | {"shard": shard["id"], "stream": document["subject"], "value": value}])


def first_of(shard: str, value: bytes) -> bytes:
    """The record as the first of another shard, in a stream of its own."""
    return orjson.dumps(
        orjson.loads(value) | {"shard": shard, "sequence": "0" * 20, "prevhash": ZERO_HASH, "subject": "custody/key/x"}
    )


def signed_otherwise(entry: bytes) -> bytes:
    return flipped(entry, 60)


def another_origin(note: str) -> str:
    return note.replace("/dev/", "/dew/")


def for_long(not_after: str) -> str:
    return "2999" + not_after[4:]


def behind_a_gap(row: dict[str, Any]) -> dict[str, Any]:
    return {"leaf": row["leaf"] + 5, "sequence": 10**6}


def of_no_shard(row: dict[str, Any]) -> dict[str, Any]:
    return {"shard": "nothing.events/0"}


def of_nobody(row: dict[str, Any]) -> dict[str, Any]:
    """As if an event that the log does not hold yet had registered it."""
    return {"key": NOBODY, "sequence": 10**6}


def to_mint(row: dict[str, Any]) -> dict[str, Any]:
    return {"role": "treasury.minter", "sequence": 10**6}


def forged_head(row: dict[str, Any]) -> dict[str, Any]:
    # A batch ends with a seal, so a real head never covers one entry.
    return {"size": 1, "root": bytes(32), "note": sign_checkpoint(Checkpoint(IMPOSTOR.key.name, 1, bytes(32)), IMPOSTOR)}


MATRIX: dict[str, tuple[str, str, Change]] = {
    "an entry edited": ("signature", "audit", edit("audit_leaves", "entry", a_letter, RECORDS)),
    "an entry's form edited": ("entries", "audit", edit("audit_leaves", "entry", lambda e: b"x" + e, RECORDS)),
    "an entry's signature edited": ("signature", "audit", edit("audit_leaves", "entry", signed_otherwise, RECORDS)),
    "an entry deleted": ("entries", "audit", delete("audit_leaves", RECORDS)),
    "an entry inserted": (
        "entries", "audit", insert("audit_leaves", "order by leaf desc", behind_a_gap),
    ),
    "entries put into another order": ("tile", "audit", exchange("audit_leaves", ("leaf",), RECORDS, 4)),
    "two entries swapped": ("tile", "audit", exchange("audit_leaves", ("leaf",), RECORDS)),
    "the newest entries cut off": ("checkpoint", "audit", delete("audit_leaves", "order by leaf desc", 30)),
    #
    "a tile edited": ("tile", "audit", edit("audit_tiles", "hashes", a_letter, "where level = 0")),
    "a tile deleted": ("tile", "audit", delete("audit_tiles", "where level = 1")),
    "a tile inserted": ("tile", "audit", insert("audit_tiles", "", lambda row: {"level": 5})),
    "a tile's hashes put into another order": ("tile", "audit", edit("audit_tiles", "hashes", turned, "where level = 0")),
    "two tiles swapped": ("tile", "audit", exchange("audit_tiles", ("hashes",), "where level = 0")),
    "a tile's end cut off": ("tile", "audit", edit("audit_tiles", "hashes", lambda h: h[:-32], "where level = 0")),
    #
    "a head edited": ("checkpoint", "audit", edit("audit_checkpoints", "root", a_letter, "order by size")),
    "a head's note edited": ("checkpoint", "audit", edit("audit_checkpoints", "note", another_origin, "order by size")),
    "the newest head deleted": ("checkpoint", "audit", delete("audit_checkpoints", "order by size desc")),
    "a head inserted": ("checkpoint", "audit", insert("audit_checkpoints", "", forged_head)),
    "heads put into another order": ("checkpoint", "audit", exchange("audit_checkpoints", ("size",), "order by size", 3)),
    "two heads swapped": ("checkpoint", "audit", exchange("audit_checkpoints", ("root", "note"), "order by size")),
    "all heads cut off": ("checkpoint", "audit", delete("audit_checkpoints", count=10**6)),
    #
    "a position edited": ("position", "audit", edit("audit_shards", "next", lambda n: n - 1, "where next > 0")),
    "a position's hash edited": ("position", "audit", edit("audit_shards", "last_hash", lambda h: h[::-1], "where next > 0")),
    "a position deleted": ("position", "audit", delete("audit_shards", "where next > 0")),
    "a position inserted": ("position", "audit", insert("audit_shards", "where next > 0", of_no_shard)),
    "positions put into another order": ("position", "audit", exchange("audit_shards", ("shard",), "where next > 0", 4)),
    "two positions swapped": ("position", "audit", exchange("audit_shards", ("next",), "where next > 0 group by next")),
    "all positions cut off": ("position", "audit", delete("audit_shards", count=10**6)),
    #
    "a stored event edited": ("store", "store", edit("events", "value", a_letter, EVENTS)),
    "a stored event's signature edited": ("store", "store", edit("events", "signature", a_letter, EVENTS)),
    "a stored event listed under another stream": ("store", "store", edit("events", "stream", lambda name: name + "x", EVENTS)),
    "a stored event deleted": ("store", "store", delete("events", EVENTS)),
    "an event inserted at the store's end": (
        "store", "store", insert("events", f"{EVENTS} desc", lambda row: successor(row, {})),
    ),
    "an event inserted into a shard of which the log has nothing": ("store", "store", a_first_event),
    "stored events put into another order": ("store", "store", exchange("events", ("value", "signature"), EVENTS, 4)),
    "two stored events swapped": ("store", "store", exchange("events", ("value",), EVENTS)),
    "the store's newest events cut off": ("store", "store", delete("events", f"{EVENTS} desc", 3)),
    #
    "a role widened": ("registry", "store", edit("authority_grants", "prefix", lambda _: "", "where prefix != ''")),
    "a role prolonged": ("registry", "store", edit("authority_grants", "not_after", for_long, "order by key")),
    "a key's person edited": ("registry", "store", edit("authority_keys", "person", lambda _: NOBODY, BY_EVENTS)),
    "a key revoked": ("registry", "store", edit("authority_keys", "revoked", lambda was: not was, BY_EVENTS)),
    "a key deleted": ("registry", "store", delete("authority_keys", BY_EVENTS)),
    "a role deleted": ("registry", "store", delete("authority_grants", BY_EVENTS)),
    "a key inserted": ("registry", "store", insert("authority_keys", BY_EVENTS, of_nobody)),
    "a role inserted": ("registry", "store", insert("authority_grants", BY_EVENTS, to_mint)),
    "two keys' roles swapped": ("registry", "store", exchange("authority_grants", ("key",), "group by key order by role")),
    "keys put into another order": ("registry", "store", exchange("authority_keys", ("sequence",), BY_SEQUENCE, 3)),
    "the newest keys cut off": ("registry", "store", delete("authority_keys", NEWEST_KEYS, 3)),
}  # fmt: skip


def successor(row: dict[str, Any], also: dict[str, Any]) -> dict[str, Any]:
    """A row of the next sequence that names the right hash, and that no writer has signed."""
    document = orjson.loads(row["value"])
    sequence, version = row["sequence"] + 1, row["version"] + 1
    document |= {"sequence": f"{sequence:020d}", "streamversion": version, "prevhash": sha256(row["value"]).hexdigest(), **also}
    return {"sequence": sequence, "version": version, "value": orjson.dumps(document)}


@pytest.mark.parametrize("name", MATRIX)
def test_what_was_done_to_a_database_is_named(copied: Copied, name: str) -> None:
    check, database, change = MATRIX[name]

    with copied.opened(database) as connection:
        change(connection)

    assert check in copied.checks()


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("table", ["audit_leaves entry", "events value"])
def test_whichever_byte_of_a_key_s_history_changes_it_is_found(copied: Copied, table: str, place: int) -> None:
    """Also where what is left cannot be read: nothing that is found keeps the rest from being looked for."""
    name, column = table.split()
    database = "audit" if name == "audit_leaves" else "store"
    flip = edit(name, column, lambda raw: flipped(raw, len(raw) * place // 12), "where type = 'identity.KeyRegistered'")

    with copied.opened(database) as connection:
        flip(connection)

    assert copied.checks() & {"entries", "signature", "store"}


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]


@pytest.mark.parametrize("database", DATABASES)
def test_a_database_that_was_restored_from_an_older_backup_is_found(network: Network, copied: Copied, database: str) -> None:
    """By what was signed last, where it is the log's; by the log, where it is the store."""
    for file in copied.home.glob(f"{database}.db*"):
        file.unlink()
    for file in network.older.glob(f"{database}.db*"):
        shutil.copy(file, copied.home)

    assert {"audit": "kept", "store": "store"}[database] in copied.checks()


def test_both_databases_of_one_older_backup_are_found_by_the_head_that_somebody_kept(network: Network) -> None:
    """Where the file of the last head was restored with them, they fit each other, and only strangers know better."""
    older = Deployment(Settings(home=network.older, kafka=network.played.kafka))
    engine = engine_for(older.settings.audit)

    kept = (network.played.home / LAST_SIGNED).read_bytes()

    assert list(compare_last_signed(older, engine, (network.older / LAST_SIGNED).read_bytes())) == []
    assert [finding.check for finding in compare_kept(older, engine, kept)] == ["kept"]
    engine.dispose()


# While an auditor runs


def test_an_auditor_that_runs_finds_a_changed_byte_reports_it_and_signs_no_more(
    network: Network, copied: Copied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays up, also when it is started again: a supervisor's restarts would bury what it says."""
    monkeypatch.setattr("ops.auditor.PATROL_SECONDS", 0.02)

    async def tampered() -> list[Any]:
        auditor = asyncio.create_task(run_auditor(copied.deployment))
        await asyncio.sleep(2)
        with copied.opened("audit") as connection:
            edit("audit_leaves", "entry", a_letter, RECORDS)(connection)
        await meanwhile(auditor, said(1))
        heads = grown(copied)
        await asyncio.sleep(3)
        await ended(auditor)
        return heads

    def said(times: int) -> Callable[[], bool]:
        return lambda: caplog.text.count("NOTHING IS SIGNED: patrol refused the head") >= times

    async def ended(auditor: asyncio.Task[None]) -> None:
        assert not auditor.done()
        auditor.cancel()
        await asyncio.gather(auditor, return_exceptions=True)

    async def started_again() -> None:
        auditor = asyncio.create_task(run_auditor(copied.deployment))
        await meanwhile(auditor, said(2))
        await asyncio.sleep(2)
        await ended(auditor)

    heads = asyncio.run(tampered())
    asyncio.run(started_again())

    assert heads_of(copied) == heads
    assert "TAMPERING: " in caplog.text
    reports = [document for document in asyncio.run(sent(network)) if document["type"] == "audit.ReportTampering"]
    places = [(report["data"]["check"], report["data"]["index"]) for report in reports]
    assert len(places) == len(set(places)), "what was found is reported once"
    # The byte may be one of a name under which the entry is listed.
    assert {report["data"]["check"] for report in reports} <= {"signature", "proof", "tile", "entries", "index"}
    assert {report["source"] for report in reports} == {read_key(copied.home / "keys" / "process.key").did}


def test_an_auditor_whose_head_a_witness_refuses_stays_up_and_signs_no_more_until_it_is_trusted(
    copied: Copied, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """That is what a witness is for: it saw another head, or could not be shown that this one follows."""
    asked: list[bytes] = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(await request.read())
        # Once: when it is trusted again, either may be first, the next head or the next question.
        return web.Response(status=422 if len(asked) == 1 else 503, text="no proof\n")

    def witness() -> web.Application:
        made = web.Application()
        made.router.add_post("/add-checkpoint", refuse)
        return made

    async def refused(deployment: Deployment) -> tuple[list[Any], int]:
        auditor = asyncio.create_task(run_auditor(deployment))
        await meanwhile(auditor, lambda: "NOTHING IS SIGNED: witness.example/w0 refused" in caplog.text)
        heads, times = grown(copied), len(asked)
        await asyncio.sleep(3)
        assert (heads_of(copied), len(asked)) == (heads, times)
        resolve_refusal(open_audit(deployment), int(time.time()), "a bug of that witness")
        await meanwhile(auditor, lambda: heads_of(copied) != heads)
        auditor.cancel()
        await asyncio.gather(auditor, return_exceptions=True)
        return heads, times

    with listening(witness) as url:
        policy = tmp_path / "policy"
        policy.write_text(f"log {log_key(copied.deployment)}\nwitness w {WITNESSES[0].key} {url}\nquorum w\n")
        settings = Settings(home=copied.home, kafka=copied.kafka, audit_policy=policy)
        heads, times = asyncio.run(refused(Deployment(settings)))

    assert times == 1, "while it stands, nobody is asked"
    assert len(heads_of(copied)) > len(heads)


async def meanwhile(auditor: "asyncio.Task[None]", true: Callable[[], bool]) -> None:
    """Until it is so, and the auditor is up all the time."""
    async with asyncio.timeout(60):
        while not true():
            if auditor.done():
                auditor.result()
            assert not auditor.done()
            await asyncio.sleep(0.05)


def grown(copied: Copied) -> list[Any]:
    """One more seal is in the log, which a head could cover. The heads that are signed."""
    audit = engine_for(f"sqlite:///{copied.home}/audit.db")
    sequencer = Sequencer(audit, "dev", anybody)
    sequencer.claim([])
    # The first look only notes where the log is.
    sequencer.seal_idle()
    sequencer.seal_idle()
    assert not AuditLog(audit).is_signed()
    audit.dispose()
    return heads_of(copied)


def heads_of(copied: Copied) -> list[Any]:
    with copied.opened("audit") as connection:
        return [tuple(row) for row in connection.execute("select * from audit_checkpoints order by size")]


async def sent(network: Network) -> list[dict[str, Any]]:
    """Every command to audit."""
    found = await whole_topic(network.played.settings.kafka_client_options(), "audit.commands")
    return [orjson.loads(record.value) for records in found.values() for record in records]


# Topics

Records = dict[int, list[RawRecord]]


def of_longest(change: Callable[[list[RawRecord]], list[RawRecord]]) -> Callable[[Records], Records]:
    def changed(records: Records) -> Records:
        partition = max(records, key=lambda n: len(records[n]))
        return records | {partition: change(list(records[partition]))}

    return changed


def forged(record: RawRecord) -> RawRecord:
    """The next of its shard, which no writer has signed."""
    document = orjson.loads(record.value)
    sequence = f"{int(document['sequence']) + 1:020d}"
    return replace(record, value=orjson.dumps(document | {"sequence": sequence, "prevhash": sha256(record.value).hexdigest()}))


def of_another_shard(records: Records) -> Records:
    first, second, *_ = sorted(records, key=lambda n: -len(records[n]))
    return records | {first: [*records[first], records[second][0]]}


TOPICS: dict[str, Callable[[Records], Records]] = {
    "edited": of_longest(lambda r: [r[0], replace(r[1], value=a_letter(r[1].value)), *r[2:]]),
    "signature edited": of_longest(lambda r: [*r[:3], replace(r[3], headers=r[4].headers), *r[4:]]),
    "signature stripped": of_longest(lambda r: [replace(r[0], headers=[]), *r[1:]]),
    "deleted": of_longest(lambda r: r[:5] + r[6:]),
    "reordered": of_longest(lambda r: [*r[:2], r[4], r[3], r[2], *r[5:]]),
    "swapped": of_longest(lambda r: [r[1], r[0], *r[2:]]),
    "cut off": of_longest(lambda r: r[:-3]),
    "made anew, empty": lambda records: {n: [] for n in records},
}


@pytest.mark.parametrize("name", TOPICS)
def test_what_was_done_to_a_topic_is_named(network: Network, name: str) -> None:
    publish(network, TOPICS[name](network.records))

    found = compared(network)

    assert {finding.check for finding in found} == {"topic"}
    assert all(finding.where.startswith(TOPIC) for finding in found)


STRANGERS: dict[str, Callable[[Records], Records]] = {
    "another byte": of_longest(lambda r: [*r[:4], replace(r[4], value=r[4].value + b" "), *r[4:]]),
    "without its signature": of_longest(lambda r: [*r[:4], replace(r[4], headers=[]), *r[4:]]),
    "at the end": of_longest(lambda r: [*r, forged(r[-1])]),
    "from another shard": of_another_shard,
    "no record": of_longest(lambda r: [replace(r[0], value=b"{}"), *r]),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_a_stranger_put_beside_the_records_says_nothing_of_the_log(network: Network, name: str) -> None:
    """Whoever reads the topic passes it over, and the doctor shows it. Called tampering, anybody could make us say so."""
    publish(network, STRANGERS[name](network.records))

    assert compared(network) == []


@pytest.mark.parametrize("where", ["beside", "at the end"])
def test_what_a_writer_signed_besides_is_named(network: Network, where: str) -> None:
    writer = read_key(network.played.home / "keys" / "writer.key")

    def signed(record: RawRecord, **other: Any) -> RawRecord:
        value = orjson.dumps({**orjson.loads(record.value), **other})
        return replace(record, value=value, headers=[("signature", writer.sign(value).encode())])

    def change(records: list[RawRecord]) -> list[RawRecord]:
        if where == "beside":
            return [*records[:4], signed(records[4], actor="somebody else"), *records[4:]]
        return [*records, signed(forged(records[-1]), prevhash="0" * 64)]

    publish(network, of_longest(change)(network.records))

    assert [finding.check for finding in compared(network)] == ["topic"]


def test_a_topic_that_is_gone_is_named(network: Network) -> None:
    asyncio.run(remove(network, TOPIC))

    found = compared(network)

    assert {finding.check for finding in found} == {"topic"}
    assert len(found) == sum(map(len, network.records.values()))


def test_records_that_were_published_twice_are_no_finding(network: Network) -> None:
    """A publisher that starts again may repeat what it had sent."""
    publish(network, {n: [*records, *records[-4:]] for n, records in network.records.items()})

    assert compared(network) == []


def test_what_a_writer_published_where_the_log_has_nothing_must_begin_there(network: Network) -> None:
    writer, record = read_key(network.played.home / "keys" / "writer.key"), network.records[0][0]
    value = first_of("custody.events/2", record.value)
    later = orjson.dumps({**orjson.loads(value), "sequence": f"{3:020d}"})
    signed = replace(record, value=later, headers=[("signature", writer.sign(later).encode())])
    publish(network, {2: [signed, replace(record, value=value)]}, "custody.events")

    found = compared(network)
    publish(network, {}, "custody.events")

    assert [finding.where for finding in found if finding.where.startswith("custody")] == ["custody.events/2 3"]


def compared(network: Network) -> list[Finding]:
    found = network.played.deployment
    engine = engine_for(found.settings.audit)
    client = found.settings.kafka_client_options()
    try:
        return asyncio.run(_all(compare_topics(engine, client, writer_signed(found), audit_topics(found))))
    finally:
        engine.dispose()


def publish(network: Network, records: Records, name: str = TOPIC) -> None:
    """In a topic that is made anew."""
    client = network.played.settings.kafka_client_options()
    [topic] = [topic for topic in topics_of_deployment(network.played.deployment) if topic.name == name]

    async def anew() -> None:
        await remove(network, name)
        await create_topics([topic], client)
        async with AIOKafkaProducer(**client) as producer:
            for partition, some in records.items():
                for record in some:
                    await producer.send_and_wait(
                        name, record.value, key=record.key, partition=partition, headers=list(record.headers)
                    )

    asyncio.run(anew())


async def remove(network: Network, topic: str) -> None:
    admin = AIOKafkaAdminClient(**network.played.settings.kafka_client_options())
    await admin.start()
    try:
        if topic in await admin.list_topics():
            await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # noqa: ASYNC110  the broker tells nobody
            await asyncio.sleep(0.02)
    finally:
        await admin.close()
