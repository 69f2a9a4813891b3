"""Servers that outlive the command that started them, and are never mistaken for somebody else's process.

A pid is used again after its process ended, so a pid alone is no proof. What is kept is the pid together with the
moment at which its process started, which Linux tells (proc(5)).
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any

from adapters.locks import held

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOG_BYTES = 10_000_000
OTHERS_SECONDS = 120.0
"""How long another start or stop of a server is waited for: longer than either may take."""


class ServerFailed(Exception):
    """A server did not start, or did not answer in time. The text ends with what it logged last."""


class PortTaken(Exception):
    """Another program listens where a server of ours has its address."""


@dataclass(frozen=True)
class Process:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        return cls(pid, birth) if (birth := _birth(pid)) else None

    @property
    def alive(self) -> bool:
        return _birth(self.pid) == self.birth

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def end(self, politely: signal.Signals, seconds: float) -> bool:
        """Ask it to end, and after that time end it. Whether it did as it was asked."""
        self.send(politely)
        # One that is suspended would hear of it only when it goes on.
        self.send(signal.SIGCONT)
        if self.gone_within(seconds):
            return True
        self.kill()
        return False

    def kill(self) -> bool:
        """End it and all that it started, as a power cut would. True when they are gone."""
        family = [self, *self.children()]
        for process in family:
            process.send(signal.SIGKILL)
        return all(process.gone_within(10) for process in family)

    def children(self) -> list["Process"]:
        """The processes that it started and that are still there."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        found = (Process.of(pid) for pid in pids if (fields := _stat(pid)) and int(fields[1]) == self.pid)
        return [process for process in found if process]

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def recorded(file: Path) -> Process | None:
    """The process that a pid file names, if it is alive. A foreign process that has its pid is not."""
    try:
        pid, _, birth = file.read_text().strip().partition(" ")
        process = Process(int(pid), birth)
    except (OSError, ValueError):
        return None
    return process if process.alive else None


def launch(
    command: Sequence[str | Path],
    *,
    log: Path,
    pid_file: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Process:
    """Start a server in a session of its own and record it. Raises ServerFailed if it ended at once."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.rename(log.with_suffix(".old.log"))
    log.touch(0o600)
    # A shell in between, so that the server is nobody's child: it is reaped by init and a Ctrl-C here does not reach it.
    with log.open("ab") as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 </dev/null & echo $!', "sh", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
            check=True,
            **identity(user),
        )
    process = Process.of(int(shell.stdout))
    if process is None:
        raise ServerFailed(f"{command[0]} ended at once\n{tail(log)}")
    pid_file.write_text(f"{process.pid} {process.birth}\n")
    return process


def identity(user: str | None) -> dict[str, Any]:
    """The arguments of subprocess.run that make a command run as this user and in no group of ours."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def alone(folder: Path) -> AbstractContextManager[None]:
    """Hold a folder against another start or stop of the same server. Raises AlreadyRuns if that does not come to an end."""
    return held(folder / "lock", f"a start or stop of {folder.name}", within_seconds=OTHERS_SECONDS)


def free_port() -> int:
    """A port of the loopback interface that nobody has, and that this function gives to nobody else while this process lives.

    Below the range from which the kernel takes ports for outgoing connections: a server keeps its port for good, and
    must find it free after a restart.
    """
    for port in SystemRandom().sample(range(20_000, 32_000), 200):
        if (held := _held(port)) is not None:
            # Open for the life of this process, and nobody's to close.
            held.detach()
            return port
    raise PortTaken("no free port between 20000 and 32000 on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether a server can listen there."""
    with socket.socket() as listener:
        # As the servers do: a connection that is still closing must not keep the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def comes_free(port: int, seconds: float = 2.0) -> bool:
    """As `is_free`, after a while: of a process that was killed the sockets close last, when it is called dead already."""
    deadline = time.monotonic() + seconds
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _held(port: int) -> socket.socket | None:
    """A socket that keeps others from choosing the port; None where somebody has it.

    It is bound and never listens: a server, which reuses addresses, may bind beside it, and whoever chooses may not.
    """
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        return None
    # Only now: to reuse is what a server may and a chooser may not.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or nothing."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _birth(pid: int) -> str | None:
    """When a process started, in a form that no other process of this pid has; None if it is dead or a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    # The start is counted from the boot, and another boot has other processes.
    return f"{_BOOT_ID.read_text().strip()}/{fields[19]}"


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on (proc(5), from the third field)."""
    try:
        # The name in brackets may hold anything: the fields are counted from the last bracket.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
