"""Memory of a worker over a million commands: flat, or it is a leak."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from ops.bench import Measure
from ops.bench._load import NETWORK, requests
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider

PIECE = 5_000


def measures() -> Iterator[Measure]:
    """Resident memory after so many commands to that after the cache is full (20,000 streams)."""
    total = int(os.environ.get("SPACEOS_BENCH_COMMANDS", "200000"))
    with TemporaryDirectory() as folder:
        seen = _resident_by_commands(Path(folder), total)
    full = next(mib for commands, mib in seen if commands >= 40_000)
    end = seen[-1][1]
    name = f"worker's resident memory after {seen[-1][0]:,} commands / after 40,000"
    yield Measure(name, end, full, "MiB", round(end / full, 3), 0.0, "≤ 1.15", end / full <= 1.15)


def _resident_by_commands(folder: Path, total: int) -> list[tuple[int, float]]:
    store = Store(engine_for(f"sqlite:///{folder}/store.db"))
    upgrade(store.engine, "store")
    decider = Decider(store, ed25519_signer(os.urandom(32)), NETWORK, 1)
    door, shard = Door("inference", 0, 1, NETWORK), store.shard("inference", 0)
    seen, done = [], 0
    while done < total:
        load = requests(PIECE)
        store.plant(load.grants)
        for start in range(0, PIECE, 1000):
            chunk = Chunk(shard, [door.check(record) for record in load.records[start : start + 1000]])
            shard = decider.commit([chunk]).shards[0][1]
        done += PIECE
        gc.collect()
        seen.append((done, _resident_mib()))
    return seen


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
