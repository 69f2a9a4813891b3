"""Real processes of a deployment, started as a user starts them, broken on purpose, and judged by the outside checker.

Only processes that are started here are ever signalled, by their own pid.
"""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition
from psycopg.rows import dict_row

from adapters.kafka.topics import create_topics
from ops.compose import Deployment as Composed
from ops.compose import topics_of_deployment
from ops.genesis import make_genesis
from ops.settings import Settings
from streams import Process, Projection
from tests.brokers import clear, delete_topics
from tests.forks import SPACEOS, Forked, run

LONG = os.environ.get("SPACEOS_E2E") == "long"
PARTITIONS = 4
PATIENCE_SECONDS = 60.0
"""How long anything may take that is to happen. Not a measure: only the end of hope."""


def until(true: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until it is so. Fails, naming it, when hope ends."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:g} s"
        time.sleep(0.05)
    return found


class Running:
    """One process of ours, its log, and its end."""

    def __init__(
        self, program: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str], first: str | None = None
    ) -> None:
        self.name, self.log = log.stem, log
        self.process = Forked(program, arguments, environment, log, log, first=first)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        if not self.ended:
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 20) -> int:
        """Ask it to end; its exit code."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end when it was asked to:\n{self.said()}") from None

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {seconds:g} s:\n{self.said()}") from None

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has it."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def said(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Deployment:
    """A home, a store, a broker; its processes and its clients."""

    def __init__(self, home: Path, kafka: str, store: str) -> None:
        self.home, self.kafka, self.store = home, kafka, store
        self.logs = home / "harness"
        self.logs.mkdir(parents=True)
        self.running: list[Running] = []
        self.kept: list[Kept] = []
        self.journals: list[Path] = []
        self.made_anew: list[str] = []
        self._started = 0

    @property
    def views(self) -> str:
        return f"sqlite:///{self.home}/views.db" if self.store.startswith("sqlite") else self.store

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPACEOS_")}
        cache = {"SPACEOS_CACHE": os.environ["SPACEOS_CACHE"]} if "SPACEOS_CACHE" in os.environ else {}
        mine = {"SPACEOS_HOME": str(self.home), "SPACEOS_KAFKA": self.kafka, "SPACEOS_STORE": self.store}
        return {**kept, **cache, **mine, "SPACEOS_PARTITIONS": str(PARTITIONS), "PYTHONUNBUFFERED": "1", **more}

    # Processes

    def start(self, *arguments: str, first: str | None = None, **environment: str) -> Running:
        """`spaceos <arguments>`, in the background; `first` is a function of a test that it calls before.

        A reader that is named has a set to itself.
        """
        if arguments[0] == "projector" and len(arguments) > 1 and not arguments[1].startswith("-"):
            environment = {"SPACEOS_SETS": f"{arguments[1]}={arguments[1]}", **environment}
        self._started += 1
        log = self.logs / f"{self._started:03d}-{'-'.join(argument.strip('-') for argument in arguments[:3])}.log"
        running = Running(SPACEOS, arguments, log, self.environment(**environment), first)
        self.running.append(running)
        return running

    def client(self, seed: int, *arguments: str, begin: bool = False) -> Running:
        """A client with a journal of its own."""
        journal = self.logs / f"client-{len(self.journals)}.jsonl"
        self.journals.append(journal)
        options = [
            "--kafka", self.kafka, "--journal", str(journal), "--keys", str(self.home / "keys"), "--seed", str(seed),
            "--partitions", str(PARTITIONS), *(["--begin"] if begin else []), *arguments,
        ]  # fmt: skip
        running = Running("tests.e2e.client:main", options, journal.with_suffix(".log"), self.environment())
        self.running.append(running)
        return running

    def finish(self, client: Running, seconds: float = 2 * PATIENCE_SECONDS) -> None:
        """Wait until the client has sent everything and knows what became of it."""
        assert client.wait(seconds) == 0, client.said()

    def begin(self) -> None:
        """The network's keys, and its topics, empty. In this process: the commands that do it have tests of their own."""
        make_genesis(self.home / "genesis.json", self.home / "keys", "dev")
        clear(self.kafka)
        self.create_topics()

    def create_topics(self) -> None:
        settings = Settings(home=self.home, kafka=self.kafka, store=self.store, partitions=PARTITIONS)
        asyncio.run(create_topics(topics_of_deployment(Composed(settings)), settings.kafka_client_options()))

    def end(self) -> None:
        # A test that failed has not stopped them, and each life costs this process some files.
        for kept in self.kept:
            kept.let_go()
        for running in reversed(self.running):
            running.signal(signal.SIGCONT)
            running.signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        for running in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.1, deadline - time.monotonic()))
            running.kill()

    def parts(self) -> dict[str, int]:
        """The processes of `spaceos up` by name."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            found: dict[str, int] = json.loads((self.home / "up.json").read_text())["parts"]
            return found
        return {}

    # Topics

    def make_anew(self, topic: str) -> None:
        """Delete a topic and make it again, empty."""
        self.made_anew.append(topic)
        delete_topics(self.kafka, topic)
        self.create_topics()

    def ends(self, topic: str) -> dict[int, int]:
        """Where each partition of a topic ends."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "nobody"})
        try:
            return {
                n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=5, cached=False)[1]
                for n in range(PARTITIONS)
            }
        except KafkaException:
            return {}
        finally:
            consumer.close()

    # The databases, read from outside

    def rows(self, statement: str, url: str | None = None) -> list[dict[str, Any]]:
        url = url or self.store
        if url.startswith("sqlite:///"):
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(statement)]
        with psycopg.connect(url.replace("+psycopg", "", 1), row_factory=dict_row) as session:
            return session.execute(statement.encode()).fetchall()

    def count(self, statement: str, url: str | None = None) -> int:
        """The one number `n` of a statement; 0 while the database is away or has no tables yet."""
        try:
            return int(self.rows(statement, url)[0]["n"] or 0)
        except (sqlite3.Error, psycopg.Error):
            return 0

    def all_readers(self) -> list[str]:
        """Whatever keeps a position where `spaceos up` runs."""
        composed = Composed(Settings(home=self.home, kafka=self.kafka, store=self.store, partitions=PARTITIONS))
        return sorted(stream.name for stream in composed.streams if isinstance(stream, Projection | Process))

    def decided(self) -> int:
        """Commands that have an outcome."""
        return self.count("select sum(next_outcome) as n from shards")

    def quiet(self, readers: Sequence[str] = ()) -> bool:
        """Everything that was sent is decided, published and, if these are named, read by them and all that ever began."""
        return not self.unrest(readers)

    def unrest(self, readers: Sequence[str] = ()) -> list[str]:
        """What is still to be decided, published or read."""
        try:
            shards = self.rows("select * from shards")
            relays = {row["shard"]: row for row in self.rows("select * from relays")}
            read = self.rows("select * from positions", self.views) if readers else []
            positions = {(row["reader"], row["shard"]): row["next"] for row in read}
            readers = sorted({*readers, *(row["reader"] for row in read)})
            repeats = self.rows("select count(*) as n from repeats")[0]["n"]
        except (sqlite3.Error, psycopg.Error) as error:
            return [str(error)]
        ends = {context: self.ends(f"{context}.commands") for context in {row["context"] for row in shards}}
        found = [f"{repeats} repeats"] if repeats else [] if shards else ["no shard yet"]
        for row in shards:
            name, relay = f"{row['context']}/{row['partition']}", relays.get(row["id"])
            if (end := ends[row["context"]].get(row["partition"])) != row["position"]:
                found.append(f"{name}: commands decided to {row['position']}, sent to {end}")
            if relay is None or (relay["next_event"], relay["next_outcome"]) != (row["next_sequence"], row["next_outcome"]):
                found.append(f"{name}: published {relay}, recorded {row}")
            if behind := [reader for reader in readers if not self._has_read(positions, reader, row)]:
                said = {reader: positions.get((reader, f"{row['context']}.events/{row['partition']}")) for reader in behind}
                found.append(f"{name}: at {row['next_sequence']}, read to {said}")
        return found

    @staticmethod
    def _has_read(positions: Mapping[tuple[str, str], int], reader: str, row: Mapping[str, Any]) -> bool:
        shards = [shard for name, shard in positions if name == reader]
        mine = f"{row['context']}.events/{row['partition']}"
        if shards and not any(shard.startswith(f"{row['context']}.") for shard in shards):
            return True
        return positions.get((reader, mine), 0) == row["next_sequence"] or not row["next_sequence"]

    # The judge

    def judge(self, readers: Sequence[str] = (), seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Wait until it is quiet; then what the outside checker says."""
        try:
            until(lambda: self.quiet(readers), "quiet", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error} ({self._state(readers)}): {self.unrest(readers)}") from None
        return self.verdict()

    def verdict(self) -> dict[str, Any]:
        """What the outside checker says now."""
        folder = self.home / "dump"
        dumped = run(
            "ops.dumps:main",
            [str(folder), "--store", self.store, "--views", self.views, "--kafka", self.kafka,
             "--genesis", str(self.home / "genesis.json")],
        )  # fmt: skip
        assert dumped.returncode == 0, dumped.stderr
        return self.judged(folder)

    def judged(self, folder: Path) -> dict[str, Any]:
        options = [word for journal in self.journals for word in ("--journal", str(journal))]
        options += [word for topic in self.made_anew for word in ("--made-anew", topic)]
        said = run("ops.checker:main", [str(folder), "--json", *options], seconds=300)
        assert said.returncode in (0, 1), said.stdout + said.stderr
        found: dict[str, Any] = json.loads(said.stdout)
        assert found["ok"] == (said.returncode == 0)
        return found

    @property
    def audit_url(self) -> str:
        return f"sqlite:///{self.home}/audit.db" if self.store.startswith("sqlite") else self.store

    def audited(self) -> bool:
        """Every event of the store is in the audit log, and its head is signed."""
        try:
            events = {
                f"{row['context']}.events/{row['partition']}": row["next_sequence"] for row in self.rows("select * from shards")
            }
            log = {row["shard"]: row["next"] for row in self.rows("select * from audit_shards", self.audit_url)}
            [head] = self.rows(
                "select size, (select max(size) from audit_checkpoints) as signed from audit_head", self.audit_url
            )
        except (sqlite3.Error, psycopg.Error, ValueError):
            return False
        return all(log.get(shard, 0) == wanted for shard, wanted in events.items()) and head["size"] == head["signed"]

    def audit(self) -> dict[str, Any]:
        """What `spaceos audit verify` says, once everything is in the log."""
        until(self.audited, "the audit log is whole")
        said = run(SPACEOS, ["audit", "verify", "--json"], self.environment())
        assert said.returncode in (0, 1), said.stdout + said.stderr
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def _state(self, readers: Sequence[str]) -> str:
        return f"readers {', '.join(readers) or 'none'}; logs in {self.logs}"


class Kept:
    """A process that is started again whenever it ends: life after life, each with the environment it is given."""

    def __init__(self, deployment: Deployment, arguments: Sequence[str], lives: Iterator[Mapping[str, str]]) -> None:
        self._deployment, self._arguments, self._lives = deployment, arguments, lives
        self.codes: list[int] = []
        self.pause = 0.0
        self._stopping = threading.Event()
        self._now: Running | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        deployment.kept.append(self)
        self._thread.start()

    @property
    def now(self) -> Running | None:
        return self._now

    def let_go(self) -> None:
        """Its life is the last."""
        self._stopping.set()

    def stop(self) -> None:
        self.let_go()
        if self._now is not None:
            self._now.stop()
        self._thread.join(30)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._now = self._deployment.start(*self._arguments, **next(self._lives, {}))
            code = self._now.process.wait()
            if not self._stopping.is_set():
                self.codes.append(code)
                self._stopping.wait(self.pause)
