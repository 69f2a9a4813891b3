"""PostgreSQL on this machine: one server with a password, on the loopback interface only.

The folder <home>/postgres holds its port, its password, its log and its data. What makes a commit durable (fsync,
full_page_writes, synchronous_commit) is left as it comes, which is on.

PostgreSQL refuses to run as root, so for root it runs as the user postgres or nobody. Where that user may not enter the
home (below /root, or in a private temporary folder), its data are under /var/lib/spaceos, and <home>/postgres/data is a
link to them: opening the way to the home would show an unprivileged user what root keeps there.
"""

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal

from ops.local.processes import PortTaken, Process, ServerFailed, alone, comes_free, free_port, identity, launch, recorded, tail
from ops.settings import Settings

if TYPE_CHECKING:
    import psycopg

USER = "spaceos"
DATABASE = "spaceos"
MAX_CONNECTIONS = 200
START_SECONDS = 60.0
STOP_SECONDS = 20.0
PACKAGED = "/usr/lib/postgresql"
DATA_OF_ROOT = Path("/var/lib/spaceos")


class NotStarted(Exception):
    """There is no local PostgreSQL in this home."""


class PostgresMissing(Exception):
    """The programs of PostgreSQL are not on this machine, or not in the release that wrote the data."""


@dataclass(frozen=True)
class Status:
    """`starting` is a process that does not answer (yet)."""

    state: Literal["absent", "stopped", "starting", "running"]
    address: str | None = None
    """host:port, without the password."""
    pid: int | None = None


def start(home: Path, *, settings: Settings | None = None, timeout_seconds: float = START_SECONDS) -> str:
    """Start the server, if it does not run, and wait until it answers. Returns the URL of its database.

    Raises PostgresMissing, PortTaken, ServerFailed, AlreadyRuns. `settings` say where its programs are.
    """
    folder = _folder(home)
    with alone(folder):
        deadline = time.monotonic() + timeout_seconds
        running = recorded(folder / "pid")
        # One that is found may be about to end.
        if running is None or not _comes_to_answer(running, folder, deadline):
            programs = find_programs(settings or Settings(), _release_of(folder / "data"))
            port = _port_to_take(folder)
            _initialise(folder, programs)
            if not _comes_to_answer(_launch(folder, programs, port, deadline), folder, deadline):
                log = folder / "server.log"
                raise ServerFailed(f"PostgreSQL ended while it started; its log is {log}\n{tail(log)}")
        return create_database(home, DATABASE)


def stop(home: Path) -> bool:
    """End the server in order: transactions that are open are undone. False if it did not run. Raises AlreadyRuns."""
    folder = _folder(home)
    with alone(folder):
        process = recorded(folder / "pid")
        if process is None:
            return False
        # SIGINT is PostgreSQL's "fast": SIGTERM would wait until the last client has left.
        process.end(signal.SIGINT, STOP_SECONDS)
        (folder / "pid").unlink(missing_ok=True)
        return True


def restart(home: Path, *, settings: Settings | None = None) -> str:
    """Stop and start, at the same address."""
    stop(home)
    return start(home, settings=settings)


def kill(home: Path) -> bool:
    """End the server and all its sessions as a power cut would (SIGKILL). False if it did not run."""
    process = recorded(_folder(home) / "pid")
    return process is not None and process.kill()


def remove(home: Path) -> None:
    """Stop the server and delete its data, its port and its password."""
    stop(home)
    folder = _folder(home)
    if (folder / "data").is_symlink():
        shutil.rmtree((folder / "data").resolve().parent, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def status(home: Path) -> Status:
    folder = _folder(home)
    try:
        where = f"127.0.0.1:{_port(folder)}"
    except FileNotFoundError:
        return Status("absent")
    process = recorded(folder / "pid")
    if process is None:
        return Status("stopped", where)
    return Status("running" if _answers(folder) else "starting", where, process.pid)


def address(home: Path, database: str = DATABASE) -> str:
    """The SQLAlchemy URL of a database, password included; the same for the life of the home. Raises NotStarted."""
    folder = _folder(home)
    try:
        password, port = (folder / "password").read_text().strip(), _port(folder)
    except FileNotFoundError:
        raise NotStarted(f"there is no PostgreSQL in {home}; start one with `spaceos postgres start`") from None
    return f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{port}/{database}"


def create_database(home: Path, name: str) -> str:
    """Create a database, unless it is there. Returns its URL."""
    from psycopg import errors, sql

    with _session(_folder(home)) as session:
        known = session.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if known is None:
            # Two that ask at once both mean the same database.
            with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return address(home, name)


def drop_database(home: Path, name: str) -> None:
    """Drop a database and disconnect whoever uses it."""
    from psycopg import sql

    with _session(_folder(home)) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def find_programs(settings: Settings, release: int | None = None) -> Path:
    """The folder that holds initdb and postgres: the latest release, or the one that is asked for. Raises PostgresMissing."""
    folders = [settings.postgres_bin] if settings.postgres_bin else [*Path(PACKAGED).glob("*/bin"), *_on_path()]
    found = {folder: release_of(folder) for folder in folders if _is_whole(folder)}
    fitting = {folder: its for folder, its in found.items() if release in (None, its)}
    if fitting:
        return max(fitting, key=lambda folder: fitting[folder])
    where = str(settings.postgres_bin) if settings.postgres_bin else f"{PACKAGED} or on the PATH"
    which = f"PostgreSQL {release}, which wrote the data," if release else "PostgreSQL's initdb and postgres"
    raise PostgresMissing(f"{which} cannot be found in {where}; `spaceos doctor` says how to install it")


def release_of(programs: Path) -> int:
    """The major release, 15 for 15.13; 0 if it does not say."""
    answer = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match[1]) if match else 0


def _is_whole(programs: Path) -> bool:
    return all(os.access(programs / name, os.X_OK) for name in ("initdb", "postgres"))


def _on_path() -> list[Path]:
    found = shutil.which("initdb")
    return [Path(found).resolve().parent] if found else []


def _unprivileged() -> str | None:
    """The user to run as, where we may not run as ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _release_of(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _initialise(folder: Path, programs: Path) -> None:
    """Make the password and the data, unless they are there."""
    data, user = folder / "data", _unprivileged()
    if (data / "PG_VERSION").exists():
        return
    if data.is_symlink():
        data.unlink()
    password = secrets.token_urlsafe(24)
    place = _place_for_data(folder, user)
    # Made beside and then renamed: data that exist are whole.
    fresh = Path(mkdtemp(prefix="postgres-", dir=place))
    secret = fresh / "password"
    secret.touch(0o600)
    secret.write_text(password)
    if user:
        for path in (fresh, secret):
            shutil.chown(path, user)
    command: list[str | Path] = [programs / "initdb", "--pgdata", fresh / "data", "--username", USER, f"--pwfile={secret}"]
    # C.UTF-8 orders by code point on every machine, which a view's digest relies on.
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **identity(user))
    secret.unlink()
    if run.returncode != 0:
        shutil.rmtree(fresh)
        raise ServerFailed(f"initdb failed in {place}\n{run.stdout}{run.stderr}".rstrip())
    _keep_password(folder, password)
    if place == folder:
        (fresh / "data").rename(data)
        fresh.rmdir()
    else:
        data.symlink_to(fresh / "data")


def _place_for_data(folder: Path, user: str | None) -> Path:
    """The folder itself if its server may enter it."""
    if user is None or subprocess.run(["/usr/bin/test", "-x", folder], check=False, **identity(user)).returncode == 0:
        return folder
    DATA_OF_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    return DATA_OF_ROOT


def _keep_password(folder: Path, password: str) -> None:
    (folder / "password").unlink(missing_ok=True)
    (folder / "password").touch(0o600)
    (folder / "password").write_text(password + "\n")


def _port_to_take(folder: Path) -> int:
    """Chosen at the first start; at any later one it must still be ours to take. Raises PortTaken."""
    try:
        port = _port(folder)
    except FileNotFoundError:
        port = free_port()
        (folder / "port.json").write_text(json.dumps({"port": port}))
    if not comes_free(port):
        raise PortTaken(f"another program listens on 127.0.0.1:{port}; end it, or delete {folder}/port.json for another port")
    return port


def _launch(folder: Path, programs: Path, port: int, deadline: float) -> Process:
    data = (folder / "data").resolve()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        # A socket in /tmp would be open to everybody who knows its name.
        "unix_socket_directories": "",
        "max_connections": MAX_CONNECTIONS,
    }
    command: list[str | Path] = [programs / "postgres", "-D", data]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    was_killed = _forget_dead_server(data)
    while True:
        process = launch(command, log=folder / "server.log", pid_file=folder / "pid", user=_unprivileged())
        # The sessions of a server that was killed hold its memory until they notice.
        held = was_killed and process.gone_within(0.3) and "shared memory block" in tail(folder / "server.log", 3)
        if not held or time.monotonic() > deadline:
            return process


def _forget_dead_server(data: Path) -> bool:
    """Remove what a server that was killed left behind: its pid may be another process's by now, which PostgreSQL would
    take for a server. False if there was nothing."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = b""
    if str(data).encode() in command:
        raise ServerFailed(f"another server runs on {data}, with pid {pid}; end it first")
    (data / "postmaster.pid").unlink()
    return True


def _comes_to_answer(process: Process, folder: Path, deadline: float) -> bool:
    """False if it ended. Raises ServerFailed after the deadline."""
    while not _answers(folder):
        if not process.alive:
            return False
        if time.monotonic() > deadline:
            log = folder / "server.log"
            raise ServerFailed(f"PostgreSQL does not answer; its log is {log}\n{tail(log)}")
        time.sleep(0.05)
    return True


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        with _session(folder) as session:
            return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


@contextmanager
def _session(folder: Path) -> Iterator["psycopg.Connection[Any]"]:
    import psycopg

    password = (folder / "password").read_text().strip()
    with psycopg.connect(
        host="127.0.0.1",
        port=_port(folder),
        user=USER,
        password=password,
        dbname="postgres",
        connect_timeout=5,
        autocommit=True,
    ) as session:
        yield session


def _port(folder: Path) -> int:
    return int(json.loads((folder / "port.json").read_text())["port"])


def _folder(home: Path) -> Path:
    return home.absolute() / "postgres"
