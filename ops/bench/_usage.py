"""What processes take of this machine, as Linux tells it (proc(5))."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ops.local.processes import Process

_BLOCKS = 50
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """In MB; `pss` counts what several processes share by its share."""

    rss: float
    pss: float


def cpu_seconds(pid: int, *, family: bool = False) -> float:
    """Of one process since it began, or with all that it started, also what has ended; 0 where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    own = sum(map(int, fields[11 : 15 if family else 13])) / _TICK
    return own + sum(cpu_seconds(child, family=True) for child in _children(pid)) if family else own


def durable_ms(folder: Path) -> float:
    """Median milliseconds until the disk has a block of 8 kB: each commit waits so long, whatever the processors do."""
    taken = []
    with (folder / "durable").open("wb", buffering=0) as file:
        for _ in range(_BLOCKS):
            file.write(bytes(8192))
            began = time.perf_counter()
            os.fdatasync(file)
            taken.append(time.perf_counter() - began)
    (folder / "durable").unlink()
    return 1000 * median(taken)


def machine_seconds() -> float:
    """What all cores have been busy, for whomever, also for other guests of the same host."""
    user, nice, system, _idle, _wait, interrupts, soft_interrupts, stolen = _first_line()
    return (user + nice + system + interrupts + soft_interrupts + stolen) / _TICK


def _first_line() -> list[int]:
    return [int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def memory(pid: int, *, family: bool = False) -> Memory:
    """Of one process, or with all that it started."""
    found = [_memory(one) for one in (pid, *(_children(pid) if family else ()))]
    return Memory(sum(each.rss for each in found), sum(each.pss for each in found))


def _memory(pid: int) -> Memory:
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    except OSError:
        return Memory(0.0, 0.0)
    rss, pss = (int(lines[name].split()[0]) / 1024 for name in ("Rss", "Pss"))
    return Memory(rss, pss)


def _children(pid: int) -> Iterable[int]:
    process = Process.of(pid)
    return [child.pid for child in process.children()] if process else ()
