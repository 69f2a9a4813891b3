"""Runs a deployment's processes: what crashes or stops answering is ended and started again, with back-off, and says why."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from adapters.locks import hold, lock_of
from ops.heartbeat import VARIABLE

SILENT_SECONDS = 15.0
"""Without a sign of life for so long, a process is ended. A transaction of its own has timed out long before."""
STARTING_SECONDS = 60.0
STOP_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""After so long a life the next crash begins again with the shortest pause."""


@dataclass(frozen=True)
class Part:
    """A process of the deployment: its name and its `spaceos` arguments."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = "ops.cli"
    """The module that is run with them."""


@dataclass(frozen=True)
class Happening:
    """Something that an operator wants to know."""

    part: str
    what: str
    """`started`, `ended`, `silent`, `stopped`."""
    detail: str
    pid: int


Tell = Callable[[Happening], None]


@dataclass
class _Life:
    part: Part
    process: asyncio.subprocess.Process
    started_at: float
    beat_at: float
    has_beaten: bool = False
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=3))


class Supervisor:
    """One home's processes. Their logs are files, their pids stand in `up.json`.

    From here on until `run` has returned nobody else supervises any there: two would take each other's shards to and fro.
    """

    def __init__(self, parts: Sequence[Part], home: Path, tell: Tell) -> None:
        """Raises AlreadyRuns."""
        self._lock = hold(lock_of(home, "up"), "spaceos up")
        self._parts, self._home, self._tell = parts, home, tell
        self._lives: dict[str, _Life] = {}
        self._stopping = asyncio.Event()
        self.restarts = 0

    def stop(self) -> None:
        """End all parts, the first ones first, and return from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Once, until `stop`."""
        (self._home / "logs").mkdir(parents=True, exist_ok=True)
        tasks = [asyncio.create_task(self._keep_alive(part)) for part in self._parts]
        await self._stopping.wait()
        for part in self._parts:
            await self._end(part)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._note_pids()
        os.close(self._lock)

    async def _keep_alive(self, part: Part) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            reason = await self._live(part)
            if self._stopping.is_set():
                return
            lasted = time.monotonic() - started
            pause = FIRST_PAUSE_SECONDS if lasted > HEALTHY_SECONDS else pause
            self._tell(Happening(part.name, "ended", f"{reason}; again in {pause:g} s", 0))
            self.restarts += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _live(self, part: Part) -> str:
        """One life of a part; why it ended."""
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", part.program, *part.arguments),
            env={**os.environ, **part.environment, VARIABLE: str(writing)},
            pass_fds=(writing,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        os.close(writing)
        now = time.monotonic()
        life = _Life(part, process, now, now)
        self._lives[part.name] = life
        self._note_pids()
        self._tell(Happening(part.name, "started", "", process.pid))
        loop = asyncio.get_running_loop()
        os.set_blocking(reading, False)
        loop.add_reader(reading, _hear, reading, life, loop)
        tasks = [asyncio.create_task(self._keep_log(life)), asyncio.create_task(self._watch(life))]
        try:
            code = await process.wait()
            await asyncio.wait(tasks[:1], timeout=1)
        finally:
            loop.remove_reader(reading)
            os.close(reading)
            for task in tasks:
                task.cancel()
            self._lives.pop(part.name, None)
            self._note_pids()
        return _reason(code, life.last_words)

    async def _keep_log(self, life: _Life) -> None:
        assert life.process.stderr is not None
        path = self._home / "logs" / f"{life.part.name}.log"
        with path.open("ab") as file:
            rest = b""
            # Not by lines: one that is longer than the stream's limit would end the reading, and then the process would block.
            while chunk := await life.process.stderr.read(65_536):
                with contextlib.suppress(OSError):
                    file.write(chunk)
                    file.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                life.last_words.extend(line.decode("utf-8", "replace").rstrip() for line in lines[-3:])
                rest = rest[-10_000:]
            if rest:
                life.last_words.append(rest.decode("utf-8", "replace").rstrip())

    async def _watch(self, life: _Life) -> None:
        while True:
            await asyncio.sleep(1)
            silent = time.monotonic() - life.beat_at
            if silent > (SILENT_SECONDS if life.has_beaten else STARTING_SECONDS):
                self._tell(Happening(life.part.name, "silent", f"no sign of life for {silent:.0f} s", life.process.pid))
                with contextlib.suppress(ProcessLookupError):
                    life.process.kill()
                return

    async def _end(self, part: Part) -> None:
        life = self._lives.get(part.name)
        if life is None:
            return
        with contextlib.suppress(ProcessLookupError):
            life.process.terminate()
        try:
            await asyncio.wait_for(life.process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                life.process.kill()
            await life.process.wait()
        self._tell(Happening(part.name, "stopped", "", life.process.pid))

    def _note_pids(self) -> None:
        """Who runs, for an operator and for whoever tests what a kill does. Replaced whole, never half-written."""
        pids = {name: life.process.pid for name, life in self._lives.items()}
        scratch = self._home / "up.json.new"
        # A full disk keeps nobody from being started again.
        with contextlib.suppress(OSError):
            scratch.write_bytes(orjson.dumps({"supervisor": os.getpid(), "parts": pids, "restarts": self.restarts}))
            scratch.replace(self._home / "up.json")


def _hear(descriptor: int, life: _Life, loop: asyncio.AbstractEventLoop) -> None:
    try:
        beats = os.read(descriptor, 4096)
    except BlockingIOError:
        return
    if not beats:
        loop.remove_reader(descriptor)
        return
    life.beat_at, life.has_beaten = time.monotonic(), True


def _reason(code: int, last_words: Sequence[str]) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    said = last_words[-1] if last_words else ""
    return f"exit code {code}" + (f" ({said[:200]})" if code and said else "")
