"""Apache Kafka on this machine: one process that is broker and controller (KRaft), on the loopback interface only.

The jars are fetched once by Maven. The folder <home>/kafka holds the rest: configuration, ports, log and data. A broker
that was killed starts again with the same data at the same address. What an extra.properties in that folder says is added
to the configuration, and wins. With SPACEOS_KAFKA_SECURE=1 it lets in users of this home only, see kafka_config.py.
"""

import base64
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from ops.local.kafka_config import (
    LOGGING,
    Login,
    User,
    is_secured,
    login,
    login_file,
    login_text,
    make_users,
    properties,
    write_secret,
)
from ops.local.kafka_wire import answers as answers
from ops.local.processes import PortTaken, Process, ServerFailed, alone, comes_free, free_port, is_free, launch, recorded, tail
from ops.settings import Settings

POM = Path(__file__).parent.parent / "pom.xml"
JAVA_AT_LEAST = 17
START_SECONDS = 60.0
FETCH_SECONDS = 600.0
# A broker under load needs a moment to hand over its groups; what it has not done by then it repairs at the next start.
STOP_SECONDS = 20.0
TAKEN = "Address already in use"
NEW_ARCHIVE, ARCHIVE_FOR = "classes.jsa", "classes.for"


class NotStarted(Exception):
    """There is no local broker in this home."""


class JavaMissing(Exception):
    """No Java that could run the broker."""


class JarsMissing(Exception):
    """The broker's jars are not here and could not be fetched."""


class OtherDoors(ServerFailed):
    """The broker that runs lets in others than the settings say. The message says what to do."""


JVM_OPTIONS = "KAFKA_JVM_PERFORMANCE_OPTS"
"""Kafka's own variable, for options of its virtual machine."""


@dataclass(frozen=True)
class Status:
    """`starting` is a process that does not answer (yet)."""

    state: Literal["absent", "stopped", "starting", "running"]
    address: str | None = None
    pid: int | None = None


def start(home: Path, *, settings: Settings | None = None, timeout_seconds: float = START_SECONDS) -> str:
    """Start the broker, if it does not run, and wait until it answers. Returns its address.

    Raises JavaMissing, JarsMissing, PortTaken, ServerFailed, OtherDoors, AlreadyRuns. `settings` say where Java and the cache
    of jars are, and whether the broker asks for passwords.
    """
    settings = settings or Settings()
    folder = _folder(home)
    with alone(folder):
        deadline = time.monotonic() + timeout_seconds
        running = recorded(folder / "pid")
        if running is not None and is_secured(folder) != settings.kafka_secure:
            raise OtherDoors(_other_doors(folder))
        # One that is found may be about to end.
        if running is None or not _comes_to_answer(running, folder, deadline):
            machine = _Machine(find_java(settings), jars(settings.cache))
            is_new = not _ports_file(folder).exists()
            while not _launches(folder, machine, deadline, secured=settings.kafka_secure):
                # A port that was free when it was chosen: whoever took it since has it, and nobody knows of ours yet.
                if not (is_new and _lost_a_port(folder) and time.monotonic() < deadline):
                    raise ServerFailed(f"Kafka ended while it started; its log is {folder}/server.log\n{_last_words(folder)}")
                _ports_file(folder).unlink()
        return address(home)


def stop(home: Path) -> bool:
    """End the broker in order. False if it did not run. Raises AlreadyRuns."""
    with alone(_folder(home)):
        process = recorded(_folder(home) / "pid")
        if process is None:
            return False
        has_obeyed = process.end(signal.SIGTERM, STOP_SECONDS)
        (_folder(home) / "pid").unlink(missing_ok=True)
        _keep_archive(_folder(home), is_whole=has_obeyed)
        return True


def kill(home: Path) -> bool:
    """End the broker as a power cut would (SIGKILL). False if it did not run."""
    process = recorded(_folder(home) / "pid")
    return process is not None and process.kill()


def status(home: Path) -> Status:
    try:
        where = address(home)
    except NotStarted:
        return Status("absent")
    process = recorded(_folder(home) / "pid")
    if process is None:
        return Status("stopped", where)
    return Status("running" if answers(where, _operator(_folder(home))) else "starting", where, process.pid)


def address(home: Path) -> str:
    """host:port, the same for the life of the home. Raises NotStarted."""
    try:
        ports = _ports(_folder(home))
    except FileNotFoundError:
        raise NotStarted(f"there is no broker in {home}; start one with `spaceos kafka start`, or set SPACEOS_KAFKA") from None
    return f"127.0.0.1:{ports['broker']}"


def client_options(home: Path, user: User) -> dict[str, str]:
    """What a client of aiokafka gives besides the address, to be let in by a broker that is secured. Raises NoSuchUser."""
    logging.getLogger("aiokafka.conn").addFilter(_in_the_clear)
    found = login(_folder(home), user)
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    return {**options, "sasl_plain_username": found.name, "sasl_plain_password": found.password}


def asks_for_passwords(home: Path) -> bool:
    """Whether the broker of this home was last started so that it does."""
    return is_secured(_folder(home))


def _in_the_clear(record: logging.LogRecord) -> bool:
    # On the loopback interface it is; said for each connection it would hide what else is said.
    return record.msg != "Sending username and password in the clear"


def _operator(folder: Path) -> Login | None:
    return login(folder, "operator") if is_secured(folder) else None


def _other_doors(folder: Path) -> str:
    found = "asks for passwords" if is_secured(folder) else "lets everybody in"
    wanted = "do not say so" if is_secured(folder) else "say SPACEOS_KAFKA_SECURE=1"
    return f"the broker runs and {found}, the settings {wanted}; start it anew: spaceos kafka stop && spaceos kafka start"


def find_java(settings: Settings) -> Path:
    """The java of SPACEOS_KAFKA_JAVA_HOME, JAVA_HOME or the PATH. Raises JavaMissing, also for one that is too old."""
    homes = [home for home in (settings.kafka_java_home, os.environ.get("JAVA_HOME")) if home]
    found = shutil.which("java", path=str(Path(homes[0]) / "bin") if homes else None)
    if found is None:
        where = f"in {homes[0]}/bin" if homes else "on the PATH"
        raise JavaMissing(
            f"Kafka needs Java {JAVA_AT_LEAST} or later, and there is none {where}; `spaceos doctor` says how to install it"
        )
    version = java_version(Path(found))
    if version < JAVA_AT_LEAST:
        raise JavaMissing(
            f"Kafka needs Java {JAVA_AT_LEAST} or later, and {found} is {version}; set SPACEOS_KAFKA_JAVA_HOME to a later one"
        )
    return Path(found)


def java_version(java: Path) -> int:
    """The feature release, 17 for 17.0.15; 0 if it does not say."""
    # Java 8 called itself 1.8.
    match = re.search(r'version "(?:1\.)?(\d+)', _said_of_itself(java))
    return int(match[1]) if match else 0


@cache
def _said_of_itself(java: Path) -> str:
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr


def jars(cache: Path) -> Path:
    """The folder of the broker's jars, fetched by Maven unless it is there. Raises JarsMissing."""
    folder = _jars_in(cache)
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Fetched beside and then renamed: a folder that exists is whole, whoever else fetches at the same time.
    with TemporaryDirectory(dir=cache) as fetched:
        _fetch(Path(fetched))
        try:
            (Path(fetched) / "jars").rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def jars_are_here(cache: Path) -> bool:
    return _jars_in(cache).is_dir()


def _jars_in(cache: Path) -> Path:
    release = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([\d.]+)</version>", POM.read_text())
    assert release, f"{POM} names no release of Kafka"
    return cache / f"kafka-{release[1]}"


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise JarsMissing(
            "the broker's jars are fetched by Maven, and there is no mvn; `spaceos doctor` says how to install it"
        )
    command: list[str | Path] = [
        maven,
        "-q",
        "-B",
        "-f",
        POM,
        "dependency:copy-dependencies",
        f"-DoutputDirectory={folder / 'jars'}",
    ]
    # In a folder of its own, so that no .mvn or target folder of the caller's has a say.
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise JarsMissing(
            f"Maven did not fetch the broker's jars within {FETCH_SECONDS:.0f} s; is the network there?"
        ) from None
    if run.returncode != 0:
        said = "\n".join((run.stdout + run.stderr).splitlines()[:5])
        raise JarsMissing(f"Maven could not fetch the broker's jars; is the network there?\n{said}")


@dataclass(frozen=True)
class _Machine:
    """A Java, and the broker's jars."""

    java: Path
    jars: Path

    @property
    def archive(self) -> Path:
        """The broker's classes as this Java keeps them: with them it starts in 1.0 s, without in 2.7 (JEP 350)."""
        return self.jars.with_name(
            f"{self.jars.name}-{hashlib.sha256(_said_of_itself(self.java).encode()).hexdigest()[:12]}.jsa"
        )

    def command(self, main: str, *options: str | Path) -> list[str | Path]:
        # Kafka's own variable. With -XX:TieredStopAtLevel=1 a broker that lives for a minute takes half as much CPU; one that
        # lives longer takes a quarter more, since what it does all day is compiled by the first compiler only.
        given = os.environ.get(JVM_OPTIONS, "").split()
        found: list[str | Path] = [self.java, "-Xlog:cds=error", *given]
        if self.archive.exists():
            found.append(f"-XX:SharedArchiveFile={self.archive}")
        return [*found, *options, "-cp", f"{self.jars}/*", main]


def _keep_archive(folder: Path, *, is_whole: bool) -> None:
    """What the broker that ended has written is for all brokers of this machine from now on, unless it was ended meanwhile."""
    written, wanted = folder / NEW_ARCHIVE, folder / ARCHIVE_FOR
    # Where the cache was taken away meanwhile there is nothing to keep it for.
    if is_whole and written.exists() and wanted.exists() and Path(wanted.read_text()).parent.is_dir():
        archive = Path(wanted.read_text())
        with TemporaryDirectory(dir=archive.parent) as scratch:
            shutil.move(written, Path(scratch) / archive.name)
            (Path(scratch) / archive.name).replace(archive)
    for left in (written, wanted):
        left.unlink(missing_ok=True)


def _launches(folder: Path, machine: _Machine, deadline: float, *, secured: bool) -> bool:
    """False if the broker ended while it started. Raises PortTaken, ServerFailed."""
    _configure(folder, secured=secured)
    _format(folder, machine)
    return _comes_to_answer(_launch(folder, machine), folder, deadline)


def _configure(folder: Path, *, secured: bool) -> None:
    """Choose ports at the first start; check at any later one that they are still ours to take."""
    try:
        ports = _ports(folder)
    except FileNotFoundError:
        ports = {"broker": free_port(), "controller": free_port()}
        _ports_file(folder).write_text(json.dumps(ports))
    else:
        for port in ports.values():
            if not comes_free(port):
                raise PortTaken(
                    f"another program listens on 127.0.0.1:{port}; end it, or delete {_ports_file(folder)} for other ports"
                )
    extra = folder / "extra.properties"
    lines = [f"{name}={value}" for name, value in properties(folder, ports, secured=secured).items()]
    (folder / "server.properties").write_text("\n".join([*lines, extra.read_text() if extra.exists() else "", ""]))
    (folder / "log4j2.properties").write_text(LOGGING.format(log=folder / "server.log"))
    if secured:
        make_users(folder)
        write_secret(login_file(folder), login_text(folder))
    else:
        login_file(folder).unlink(missing_ok=True)


def _format(folder: Path, machine: _Machine) -> None:
    if (folder / "data" / "meta.properties").exists():
        return
    command = [*machine.command("kafka.tools.StorageTool"), "format", "--ignore-formatted"]
    command += ["--cluster-id", _new_cluster_id(), "--config", folder / "server.properties"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if run.returncode != 0:
        raise ServerFailed(f"Kafka could not format {folder}/data\n{run.stdout}{run.stderr}".rstrip())


def _new_cluster_id() -> str:
    # An id that begins with a dash would be taken for an option.
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name


def _launch(folder: Path, machine: _Machine) -> Process:
    options = ["-Xmx384m", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]
    options.append(f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}")
    if login_file(folder).exists():
        options.append(f"-Djava.security.auth.login.config={login_file(folder)}")
    if not machine.archive.exists():
        (folder / NEW_ARCHIVE).unlink(missing_ok=True)
        (folder / ARCHIVE_FOR).write_text(str(machine.archive))
        options.append(f"-XX:ArchiveClassesAtExit={folder / NEW_ARCHIVE}")
    (folder / "output.log").unlink(missing_ok=True)
    command = [*machine.command("kafka.Kafka", *options), folder / "server.properties"]
    return launch(command, log=folder / "output.log", pid_file=folder / "pid", environment=_environment())


def _environment() -> dict[str, str]:
    # JAVA_TOOL_OPTIONS and the like of the caller's shell are meant for other programs.
    return {name: value for name, value in os.environ.items() if not name.startswith(("JAVA_", "_JAVA_", "JDK_JAVA_"))}


def _comes_to_answer(process: Process, folder: Path, deadline: float) -> bool:
    """False if it ended. Raises ServerFailed after the deadline."""
    where = f"127.0.0.1:{_ports(folder)['broker']}"
    while not answers(where, _operator(folder)):
        if not process.alive:
            return False
        if time.monotonic() > deadline:
            raise ServerFailed(f"Kafka does not answer; its log is {folder}/server.log\n{_last_words(folder)}")
        time.sleep(0.1)
    return True


def _lost_a_port(folder: Path) -> bool:
    """Whether it said so; not always last, or not at all when it ended before its log was written."""
    said = tail(folder / "output.log", 1000) + tail(folder / "server.log", 1000)
    return TAKEN in said or not all(is_free(port) for port in _ports(folder).values())


def _last_words(folder: Path) -> str:
    said = f"{tail(folder / 'output.log', 60)}\n{tail(folder / 'server.log', 60)}"
    # What was wrong is in the messages; where Kafka noticed it fills the screen.
    return "\n".join([line for line in said.splitlines() if line and not line.startswith("\tat ")][-15:])


def _ports(folder: Path) -> dict[str, int]:
    ports: dict[str, int] = json.loads(_ports_file(folder).read_text())
    return ports


def _ports_file(folder: Path) -> Path:
    return folder / "ports.json"


def _folder(home: Path) -> Path:
    return home.absolute() / "kafka"
