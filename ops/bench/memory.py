"""Memory of a worker and of a projector over a million events: flat, or it is a leak."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.keys import ed25519_signer
from adapters.sql import engine_for
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from adapters.views import Projector
from ops.bench import Measure
from ops.bench._events import SHARDS, records
from ops.bench._load import NETWORK, begin, requests
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider
from projections.providers import routing_table

PIECE = 5_000
PROVIDERS = 20_000
FULL = 40_000
"""Commands or events after which every cache is full: they hold 20,000 streams, or rows."""


def measures() -> Iterator[Measure]:
    """Resident memory at the end to that when the caches were full. SPACEOS_BENCH_COMMANDS=1000000 for the whole million."""
    total = int(os.environ.get("SPACEOS_BENCH_COMMANDS", "100000"))
    for what, resident in (("worker", _resident_by_commands), ("projector", _resident_by_events)):
        with TemporaryDirectory() as folder:
            seen = _in_a_process_of_its_own(resident, Path(folder), total)
        full = next(mib for count, mib in seen if count >= FULL)
        count, end = seen[-1]
        unit = "commands" if what == "worker" else "events"
        name = f"{what}'s resident memory after {count:,} {unit} / after {FULL:,}"
        yield Measure(name, end, full, "MiB", round(end / full, 3), 0.0, "≤ 1.15", end / full <= 1.15)


Seen = list[tuple[int, float]]


def _in_a_process_of_its_own(work: Callable[[Path, int], Seen], folder: Path, total: int) -> Seen:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, folder, total).result()


def _resident_by_commands(folder: Path, total: int) -> Seen:
    store = Store(engine_for(f"sqlite:///{folder}/store.db"))
    upgrade(store.engine, "store")
    writer = ed25519_signer(os.urandom(32))
    begin(store, writer, [])
    decider = Decider(store, writer, NETWORK, 1)
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


@dataclass
class _Delivered:
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


def _resident_by_events(folder: Path, total: int) -> Seen:
    """20,000 providers, all of whose rows fit into the cache. With more than it holds, 500 MiB are reached and kept."""
    engine = engine_for(f"sqlite:///{folder}/views.db")
    upgrade(engine, "views")
    projector = Projector(engine, routing_table())
    projector.claim([f"providers.events/{n}" for n in range(SHARDS)])
    seen, done = [], 0
    log = enumerate(records(total, PROVIDERS))
    while piece := list(islice(log, PIECE)):
        chunks: dict[str, list[_Delivered]] = {f"providers.events/{n}": [] for n in range(SHARDS)}
        for n, record in piece:
            chunks[f"providers.events/{record.partition}"].append(_Delivered(n // SHARDS, record.key, record.value))
        projector.apply(chunks)
        done += len(piece)
        gc.collect()
        seen.append((done, _resident_mib()))
    return seen


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
