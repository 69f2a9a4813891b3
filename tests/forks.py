"""Processes of ours that are forked from one which has imported the system: a start costs 30 ms of CPU, not a second.

They are processes like any others: a pid to kill, streams of their own, an environment of their own. How a user starts
them, by `spaceos` and by `python -m`, has tests of its own (test_cli.py, test_up.py, the crash tests of `spaceos up`).
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from multiprocessing import forkserver, get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
SPACEOS = "ops.cli:main"

_forks = get_context("forkserver")
_forks.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """What `subprocess.Popen` gives, as far as tests use it."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path,
        *,
        given: Path = Path(os.devnull),
        first: str | None = None,
    ) -> None:
        """`program` and `first` are functions, as module:name; `first` is called before the program."""
        self._process = _forks.Process(
            target=_live, args=(program, list(arguments), dict(environment), [given, output, errors], first), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def run(
    program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None, *, given: str | None = None,
    seconds: float = 120,
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """Run to the end; what it said and its exit code. Raises TimeoutExpired."""
    with TemporaryDirectory() as folder:
        source, *outputs = (Path(folder) / name for name in ("in", "out", "err"))
        source.write_text(given or "")
        process = Forked(program, arguments, os.environ if environment is None else environment, *outputs, given=source)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        return subprocess.CompletedProcess([program, *arguments], code, *(path.read_text() for path in outputs))


def _live(program: str, arguments: list[str], environment: dict[str, str], streams: list[Path], first: str | None) -> None:
    os.setsid()
    _end_with_the_tests()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
    for name in filter(None, (first, "adapters.crash:arm")):
        _named(name)()
    sys.argv = [program.partition(":")[0].rpartition(".")[2].replace("cli", "spaceos"), *arguments]
    code = 1
    try:
        code = _named(program)() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    sys.exit(code)


def _end_with_the_tests() -> None:
    """Tests that are killed leave nobody behind, who would write to the next broker on an old one's port."""
    if sys.platform == "linux":
        # The server lives as long as anybody has this open, and was to hear of the tests' end by it.
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _named(name: str) -> Callable[[], Any]:
    module, _, function = name.partition(":")
    found: Callable[[], Any] = getattr(import_module(module), function)
    return found
