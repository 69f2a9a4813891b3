"""A deployment of its own for a benchmark: broker, databases and processes in a fresh home, all gone afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from sqlalchemy import Engine, func, inspect, select

from adapters.keys import Signer, read_key
from adapters.sql import engine_for, reading
from adapters.views.tables import positions
from ops.bench._crowd import Crowd, Crowded
from ops.bench._usage import Memory, cpu_seconds, memory
from ops.genesis import make_genesis
from ops.local import kafka
from ops.local import postgres as local_postgres
from ops.serve import parts_of
from ops.settings import InvalidSettings, Settings
from ops.supervisor import Happening, Part, Supervisor

NETWORK = "bench"
CLAIM_SECONDS = 300.0
_DATABASES = ("store", "views", "audit", "vault")


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    crowd: Crowd = field(default_factory=Crowd)
    workers: int = 1
    postgresql: bool = False
    store: str | None = None
    """An empty PostgreSQL database for all; without it SQLite, or a local server."""

    @property
    def database(self) -> str:
        return "PostgreSQL" if self.postgresql or self.store else "SQLite"


@dataclass
class Running:
    """The processes, while they run."""

    deployment: Crowded
    supervisor: Supervisor
    happenings: list[Happening]
    started_at: float

    @property
    def settings(self) -> Settings:
        return self.deployment.settings

    @cached_property
    def views(self) -> Engine:
        return engine_for(self.settings.views)

    @property
    def process(self) -> Signer:
        """Whose commands the processes' roles allow."""
        return read_key(self.settings.keys / "process.key")

    def pids(self) -> dict[str, int]:
        """Of the parts, the broker, and the database's server where it is ours."""
        up = self.settings.home / "up.json"
        found: dict[str, int] = dict(orjson.loads(up.read_bytes())["parts"]) if up.exists() else {}
        servers = {"broker": kafka.status(self.settings.home).pid, "database": local_postgres.status(self.settings.home).pid}
        return found | {name: pid for name, pid in servers.items() if pid is not None}

    def cpu(self) -> dict[tuple[str, int], float]:
        """Seconds that each has taken so far, by its name and pid: one that is started again begins anew."""
        return {(name, pid): cpu_seconds(pid, family=name == "database") for name, pid in self.pids().items()}

    def cpu_since(self, before: Mapping[tuple[str, int], float]) -> dict[str, float]:
        """Seconds by name. What one that has ended took since is not known."""
        return {name: seconds - before.get((name, pid), 0.0) for (name, pid), seconds in self.cpu().items()}

    def memory(self) -> dict[str, Memory]:
        return {name: memory(pid, family=name == "database") for name, pid in self.pids().items()}

    async def claimed(self) -> float:
        """Seconds from the start of the processes until each reader has all its shards. Raises TimeoutError."""
        wanted, found = self.deployment.claims(), 0
        while (seconds := time.monotonic() - self.started_at) < CLAIM_SECONDS:
            if (found := await asyncio.to_thread(self._claims)) >= wanted:
                return seconds
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{found} of {wanted} shards are claimed after {CLAIM_SECONDS:.0f} s; {self.complaints()}")

    def _claims(self) -> int:
        with reading(self.views) as connection:
            statement = select(func.count()).select_from(positions).where(positions.c.epoch > 0)
            return connection.execute(statement).scalar_one()

    def complaints(self) -> str:
        """What the supervisor had to say."""
        told = [f"{each.part} {each.what}: {each.detail}" for each in self.happenings if each.what in {"ended", "silent"}]
        return "; ".join(told) or "no process ended"


@asynccontextmanager
async def running(setting: Setting, only: Sequence[str] | None = None) -> AsyncIterator[Running]:
    """All processes of a new network, or those that are named by their command. Whatever happens, they end with it."""
    async with prepared(setting) as deployment, processes(deployment, setting, only) as found:
        try:
            yield found
        finally:
            found.views.dispose()


@asynccontextmanager
async def prepared(setting: Setting) -> AsyncIterator[Crowded]:
    """A new network with its servers, databases and topics, and no process yet."""
    with TemporaryDirectory(prefix="spaceos-bench-") as folder:
        home = Path(folder)
        try:
            address = await asyncio.to_thread(kafka.start, home, settings=Settings(home=home))
            deployment = Crowded(_settings(setting, home, address), setting.crowd)
            make_genesis(deployment.genesis_path, deployment.settings.keys, NETWORK)
            await deployment.prepare()
            views = engine_for(deployment.settings.views)
            deployment.make_tables(views)
            views.dispose()
            yield deployment
        finally:
            await asyncio.to_thread(_remove, home)


def another_views(settings: Settings, name: str) -> Settings:
    """The same deployment with an empty database for its views."""
    if settings.views.startswith("sqlite"):
        return settings.model_copy(update={"views": f"sqlite:///{settings.home}/{name}.db"})
    return settings.model_copy(update={"views": local_postgres.create_database(settings.home, name)})


def _settings(setting: Setting, home: Path, address: str) -> Settings:
    if setting.store is not None:
        url = Settings(store=setting.store).store
        engine = engine_for(url)
        if inspect(engine).get_table_names():
            raise InvalidSettings("--store: the database must be empty, and is the benchmark's to fill")
        engine.dispose()
        urls = dict.fromkeys(_DATABASES, url)
    elif setting.postgresql:
        urls = dict.fromkeys(_DATABASES, local_postgres.start(home, settings=Settings(home=home)))
    else:
        urls = {name: f"sqlite:///{home}/{name}.db" for name in _DATABASES}
    return Settings(home=home, kafka=address, **urls)


def _remove(home: Path) -> None:
    kafka.stop(home)
    local_postgres.remove(home)


@asynccontextmanager
async def processes(deployment: Crowded, setting: Setting, only: Sequence[str] | None = None) -> AsyncIterator[Running]:
    """What `spaceos up` runs, or of it only what is named."""
    happenings: list[Happening] = []
    parts = [
        _crowded(part, deployment)
        for part in parts_of(deployment, setting.workers)
        if only is None or part.arguments[0] in only
    ]
    supervisor = Supervisor(parts, deployment.settings.home, happenings.append)
    started_at = time.monotonic()
    task = asyncio.create_task(supervisor.run())
    found = Running(deployment, supervisor, happenings, started_at)
    try:
        yield found
    finally:
        supervisor.stop()
        await task


def _crowded(part: Part, deployment: Crowded) -> Part:
    settings = deployment.settings
    where: Mapping[str, object] = {"home": settings.home, "kafka": settings.kafka} | {
        name: getattr(settings, name) for name in _DATABASES
    }
    environment = {f"SPACEOS_{name.upper()}": str(value) for name, value in where.items()}
    arguments = (*deployment.crowd.arguments(), *part.arguments)
    return replace(part, program="ops.bench._process", arguments=arguments, environment={**part.environment, **environment})
