"""The local PostgreSQL, by its command line and for real."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from ops.local import postgres
from ops.local.processes import Process
from ops.settings import Settings

SPACEOS = Path(sys.executable).parent / "spaceos"


def spaceos(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SPACEOS_HOME": str(home)}
    return subprocess.run([SPACEOS, *arguments], env=environment, capture_output=True, text=True, check=False)


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5) as session:
        return session.execute(question.encode()).fetchall()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    postgres.remove(home)


def test_before_the_first_start_the_next_step_is_named(tmp_path: Path) -> None:
    asked = spaceos(tmp_path, "postgres", "address")

    assert asked.returncode == 69
    assert "spaceos postgres start" in asked.stderr
    assert json.loads(spaceos(tmp_path, "postgres", "status", "--json").stdout)["state"] == "absent"


def test_start_may_be_said_twice_and_its_address_is_a_store(home: Path) -> None:
    first = spaceos(home, "postgres", "start", "--json")
    second = spaceos(home, "postgres", "start", "--json")
    address = spaceos(home, "postgres", "address").stdout.strip()

    assert first.returncode == second.returncode == 0, first.stderr
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert ask(address, "SELECT current_database()") == [("spaceos",)]
    assert Settings(store=address).store == postgres.address(home)


def test_starts_at_once_start_one(tmp_path: Path) -> None:
    """The second would make another password, which the first one's data do not know."""
    pipes: dict[str, Any] = {"env": {**os.environ, "SPACEOS_HOME": str(tmp_path)}, "stdout": subprocess.PIPE, "text": True}
    starts = [subprocess.Popen([SPACEOS, "postgres", "start", "--json"], **pipes) for _ in range(3)]
    try:
        said = {start.communicate(timeout=100)[0] for start in starts}

        assert [start.returncode for start in starts] == [0, 0, 0]
        assert len(said) == 1
        assert ask(postgres.address(tmp_path), "SELECT 1") == [(1,)]
    finally:
        postgres.remove(tmp_path)


def test_a_commit_is_durable_as_it_comes(home: Path) -> None:
    settings = ask(
        postgres.start(home),
        "SELECT name FROM pg_settings WHERE setting = 'on' AND name IN ('fsync', 'full_page_writes', 'synchronous_commit')",
    )

    assert len(settings) == 3


def test_only_who_knows_the_password_gets_in(home: Path) -> None:
    url = urlsplit(postgres.start(home))
    secret = home / "postgres" / "password"

    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=url.hostname, port=url.port, user="spaceos", password="guess", dbname="spaceos")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host="127.0.0.2", port=url.port, user="spaceos", password="guess", dbname="spaceos")


def test_its_data_are_not_the_superusers(home: Path) -> None:
    """PostgreSQL refuses to run as root, and a home of root's may be closed to everybody else."""
    postgres.start(home)

    data = (home / "postgres" / "data").resolve()

    assert data.stat().st_uid != 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_killed_server_comes_back_with_its_data_at_its_address(home: Path) -> None:
    url = postgres.start(home)
    with psycopg.connect(url.replace("+psycopg", "")) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    busy = psycopg.connect(url.replace("+psycopg", ""))

    assert postgres.kill(home)
    state_after_kill = postgres.status(home).state
    again = spaceos(home, "postgres", "start", "--json")

    assert state_after_kill == "stopped"
    assert again.returncode == 0, again.stderr
    assert ask(url, "SELECT answer FROM kept") == [(42,)]
    busy.close()


def test_a_server_whose_parent_process_alone_was_killed_comes_back(home: Path) -> None:
    """Its sessions live on for a moment and hold its memory."""
    url = postgres.start(home)
    pid = postgres.status(home).pid
    assert pid is not None

    busy = psycopg.connect(url.replace("+psycopg", ""))

    os.kill(pid, 9)
    postgres.start(home)

    assert ask(url, "SELECT 1") == [(1,)]
    busy.close()


def test_a_pid_that_somebody_else_has_now_is_left_alone(home: Path) -> None:
    """Neither ours nor PostgreSQL's own pid file may name a stranger."""
    postgres.start(home)
    postgres.kill(home)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (home / "postgres" / "pid").write_text(f"{stranger.pid} another-boot/1\n")
        own = home / "postgres" / "data" / "postmaster.pid"
        own.write_text("\n".join([str(stranger.pid), *own.read_text().splitlines()[1:]]) + "\n")

        assert postgres.status(home).state == "stopped"
        assert not postgres.stop(home)
        assert spaceos(home, "postgres", "start").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_stop_does_not_wait_for_clients_and_restart_keeps_the_address(home: Path) -> None:
    url = postgres.start(home)
    pid = postgres.status(home).pid
    assert pid is not None

    with psycopg.connect(url.replace("+psycopg", "")):
        assert postgres.stop(home)

    assert Process.of(pid) is None
    assert postgres.restart(home) == url


def test_databases_are_made_once_and_dropped_under_their_users(home: Path) -> None:
    postgres.start(home)

    url = postgres.create_database(home, 'odd "name"')
    assert postgres.create_database(home, 'odd "name"') == url
    with psycopg.connect(host="127.0.0.1", port=urlsplit(url).port, user="spaceos",
                         password=urlsplit(url).password, dbname='odd "name"'):  # fmt: skip
        postgres.drop_database(home, 'odd "name"')

    assert ask(postgres.address(home), "SELECT datname FROM pg_database WHERE datname LIKE 'odd%'") == []


def test_missing_programs_are_named(tmp_path: Path) -> None:
    environment = {**os.environ, "SPACEOS_HOME": str(tmp_path), "SPACEOS_POSTGRES_BIN": str(tmp_path)}

    start = subprocess.run([SPACEOS, "postgres", "start"], env=environment, capture_output=True, text=True, check=False)

    assert start.returncode == 69
    assert str(tmp_path) in start.stderr
    assert "spaceos doctor" in start.stderr


def test_data_of_another_release_are_not_touched(home: Path) -> None:
    postgres.start(home)
    postgres.stop(home)
    version = home / "postgres" / "data" / "PG_VERSION"
    sound = version.read_text()
    version.write_text("9\n")
    try:
        start = spaceos(home, "postgres", "start")
    finally:
        version.write_text(sound)

    assert start.returncode == 69
    assert "PostgreSQL 9, which wrote the data" in start.stderr


def test_remove_leaves_nothing_behind(tmp_path: Path) -> None:
    postgres.start(tmp_path)
    data = (tmp_path / "postgres" / "data").resolve()

    postgres.remove(tmp_path)

    assert not data.exists()
    assert not (tmp_path / "postgres").exists()
