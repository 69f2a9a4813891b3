"""What holds for every command: quick help, one object for programs, an exit code for every end, no tracebacks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ops.cli import app, main
from ops.cli.output import Exit, Failure

SPACEOS = Path(sys.executable).parent / "spaceos"


class Unavailable(Exception):
    """As adapters raise it."""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SPACEOS, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy() -> None:
    """Help that takes seconds is not asked for; a command imports what it needs when it runs."""
    program = "import sys, ops.cli; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"aiokafka", "sqlalchemy", "psycopg", "pydantic", "faust", "eventsourcing"} & set(loaded)


def test_every_command_has_a_help_and_everyone_that_prints_has_json() -> None:
    group = typer.main.get_command(app)
    silent = {"up", "worker", "projector", "auditor", "serve", "demo", "bench"}

    for path, command in _commands(group, ()):
        assert command.help, f"{' '.join(path)} has no help"
        options = {name for parameter in command.params for name in parameter.opts}
        assert "--json" in options or path[-1] in silent, f"{' '.join(path)} has no --json"


def test_a_wrong_setting_is_wrong_usage() -> None:
    asked = run("kafka", "status", SPACEOS_PARTITIONS="none")

    assert asked.returncode == Exit.USAGE
    assert "SPACEOS_PARTITIONS" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_wrong_usage_is_named() -> None:
    asked = run("kafka", "stat")

    assert asked.returncode == Exit.USAGE
    assert "stat" in asked.stderr


def test_a_program_is_told_of_a_failure_in_json(tmp_path: Path) -> None:
    asked = run("kafka", "address", "--json", SPACEOS_HOME=str(tmp_path))

    assert asked.returncode == Exit.UNAVAILABLE
    assert json.loads(asked.stdout)["ok"] is False


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Failure("no such provider", "spaceos show providers"), Exit.FOUND_WRONG, "spaceos show providers"),
        (Unavailable("the broker is away"), Exit.UNAVAILABLE, "the broker is away"),
        (ConnectionRefusedError(111, "Connection refused"), Exit.UNAVAILABLE, "spaceos doctor"),
        (KeyError("amount"), Exit.INTERNAL, "SPACEOS_DEBUG=1"),
        (KeyboardInterrupt(), Exit.INTERRUPTED, ""),
    ],
)
def test_each_end_has_its_exit_code(
    raised: BaseException, code: Exit, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise raised

    monkeypatch.setattr("ops.cli.app", fails)
    monkeypatch.delenv("SPACEOS_DEBUG", raising=False)
    monkeypatch.setattr("sys.argv", ["spaceos"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code
    words = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
    assert said in words
    assert words.count("\n") <= 2


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise KeyError("amount")

    monkeypatch.setattr("ops.cli.app", fails)
    monkeypatch.setenv("SPACEOS_DEBUG", "1")

    with pytest.raises(KeyError):
        main()


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    piped = subprocess.run(f"{SPACEOS} --help | head -1", shell=True, capture_output=True, text=True, check=True)

    assert piped.stderr == ""


def _commands(group: typer.core.TyperGroup, path: tuple[str, ...]) -> "list[tuple[tuple[str, ...], typer.core.TyperCommand]]":
    found = []
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found += _commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found
