"""Composition: a deployment's parts, wired from its settings and genesis. Nothing else knows how they fit together."""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import DatabaseError

from adapters import clock, keys
from adapters.bank.calling import Calls
from adapters.bank.paper import PaperBank, PaperChain
from adapters.bank.paper.chain import OPERATOR
from adapters.kafka.acls import add_rules
from adapters.kafka.topics import Topic, create_topics, topics_of
from adapters.sealing import Place, unseal
from adapters.sql import assert_durable, engine_for, is_transient, reading
from adapters.sql.schema import upgrade
from adapters.sql.store import Store
from adapters.vault import Vault
from adapters.vouching import Vouching
from contracts import Sealed, contexts
from contracts.rewards import Payee
from domain.identity.authority import WRITER, WriterInterval
from ops.genesis import Genesis, digest_of, read_genesis
from ops.local.kafka_config import User
from ops.settings import InvalidSettings, Settings
from projections.identity import writers
from streams import Collector, Outside, Projection, Stream, all_streams

DEFAULT_SET = "default"
"""Of readers: all that no other set names."""
READERS = "readers"
"""A set's group is `<network>.readers.<set>`."""


class NoSuchProjection(LookupError):
    """No context wires a projection of that name."""


class NoSuchReader(LookupError):
    """The name is that of no projection, process, collector or to-do list."""


class NoSuchSet(LookupError):
    """The settings name no set of readers so."""


@dataclass
class Deployment:
    """One network on one store, as the settings say. It is also the World of its streams."""

    settings: Settings

    def __post_init__(self) -> None:
        clock.use(self.settings.clock)

    @cached_property
    def genesis_path(self) -> Path:
        return self.settings.home / "genesis.json"

    @cached_property
    def genesis(self) -> Genesis:
        found = read_genesis(self.genesis_path)
        if self.settings.clock is not None and found.network != "dev":
            raise InvalidSettings(f"SPACEOS_CLOCK is for a network named dev, this is {found.network}")
        return found

    @property
    def network(self) -> str:
        return self.genesis.network

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        return keys.verify(did, value, signature)

    @cached_property
    def vouch(self) -> Vouching:
        """Says of an event whether a writer signed it who was entitled then."""
        return Vouching(self.network, self._writers, keys.verify)

    def _writers(self) -> Iterable[WriterInterval]:
        """What the view of the key registry says; without a view, the genesis."""
        first, url = self.genesis.intervals(WRITER), make_url(self.settings.views)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return first
        try:
            with reading(self._registry) as connection:
                return writers(connection, first)
        except DatabaseError as error:
            if is_transient(error):
                raise
            # Of a version that does not know, or not made yet: nobody was registered in it.
            return first

    @cached_property
    def _registry(self) -> Engine:
        return engine_for(self.settings.views)

    @cached_property
    def writer(self) -> keys.Signer:
        """Who signs the events of this process."""
        return keys.read_key(self.settings.keys / "writer.key")

    def open_store(self) -> Store:
        """The write side's database: newest schema, proven durable, of this network. Raises AnotherDeployment."""
        engine = open_engine(self.settings.store, "store")
        store = Store(engine)
        store.establish(network=self.network, partitions=str(self.settings.partitions))
        store.begin(self.genesis.founding(digest_of(self.genesis_path)), self.genesis.grants())
        return store

    @property
    def outside(self) -> Outside | None:
        """The bank and the chain that the settings name."""
        return self._outside

    @property
    def tokens(self) -> Mapping[str, Payee]:
        """The assets' contracts, as the chain that is reached has them."""
        return {} if self.outside is None else self.outside.chain.tokens

    @cached_property
    def _outside(self) -> Outside | None:
        if self.settings.outside is None:
            return None
        folder = self.settings.home / "outside"
        bank, chain = PaperBank(folder / "bank.json", now=clock.now, rail="wire"), PaperChain(folder / "chain.json")
        calls = Calls(chain, open_engine(self.settings.views, "views"), OPERATOR)
        return Outside(bank, "wire", chain, calls, self._reveal)

    def _reveal(self, field: Sealed, stream: str, command: str, path: str) -> str:
        """What was sealed for that place. Raises Destroyed, NotOpened."""
        vault = Vault(open_engine(self.settings.vault, "vault"), self.settings.keys)
        return unseal(field, vault.open(field.key), Place(self.network, stream, command, path)).text

    def contexts(self) -> list[str]:
        """The contexts that can be asked."""
        return list(contexts())

    @cached_property
    def streams(self) -> list[Stream]:
        """All that every context wires."""
        return list(all_streams(self))

    def streams_of(self, name: str) -> list[Stream]:
        """What a set of readers runs. Raises NoSuchSet, NoSuchReader."""
        sets, wired = self.settings.sets, {stream.name: stream for stream in self.streams}
        named = {stream: of for of, streams in sets.items() for stream in streams}
        if unknown := named.keys() - wired.keys():
            first = min(unknown)
            known = ", ".join(sorted(wired))
            raise NoSuchReader(f"SPACEOS_SETS has {first} in {named[first]}, which no context wires; there are: {known}")
        if name != DEFAULT_SET and name not in sets:
            there = ", ".join([DEFAULT_SET, *sets])
            where = f"; it is read by {named.get(name, DEFAULT_SET)}" if name in wired else ""
            raise NoSuchSet(f"no set of readers {name}, there are: {there}{where}; SPACEOS_SETS names others")
        return [stream for at, stream in sorted(wired.items()) if named.get(at, DEFAULT_SET) == name]

    def set_of(self, stream: str) -> str:
        """The set that runs it."""
        return next((name for name, streams in self.settings.sets.items() if stream in streams), DEFAULT_SET)

    def projection(self, name: str) -> Projection:
        """The projection of that name. Raises NoSuchProjection."""
        found = {stream.name: stream for stream in self.streams if isinstance(stream, Projection)}
        if name not in found:
            raise NoSuchProjection(f"no projection {name}; there are: {', '.join(sorted(found))}")
        return found[name]

    def raw_topics(self) -> list[str]:
        """Topics of signed facts that collectors read."""
        return sorted({stream.topic for stream in self.streams if isinstance(stream, Collector)})

    async def prepare(self) -> None:
        """What must be there before any process starts: databases with their schemas, topics with their settings."""
        keep_private(self.settings.home)
        self.open_store().engine.dispose()
        open_engine(self.settings.views, "views").dispose()
        open_engine(self.settings.audit, "audit").dispose()
        options = {"replicas": self.settings.replicas, "min_insync_replicas": self.settings.min_insync_replicas}
        operator = self.settings.kafka_client_options("operator")
        await create_topics(topics_of_deployment(self), operator, **options)
        if self.settings.kafka_secure:
            # Where there are no rules nobody is let in. On a broker that is not ours alone an operator sets them.
            from ops.doors import rules_of_deployment

            await add_rules(rules_of_deployment(self), operator)


def keep_private(home: Path) -> None:
    """A home is for nobody else, also one that was made before, or by another program."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if stat.S_IMODE(home.stat().st_mode) & 0o077:
        home.chmod(0o700)


def deployment(user: User = "readers") -> Deployment:
    """The one that the environment describes. Raises InvalidSettings.

    `user` is as whom this process is let in by a local broker that is secured, where no setting says it.
    """
    settings = Settings()
    if "kafka_user" not in settings.model_fields_set:
        settings = settings.model_copy(update={"kafka_user": user})
    return Deployment(settings)


def topics_of_deployment(found: Deployment) -> list[Topic]:
    """All topics, with their partitions and settings."""
    return topics_of(found.contexts(), found.raw_topics(), found.settings.partitions)


def open_engine(url: str, schema: str) -> Engine:
    """An engine on a database with the newest schema. Raises NotDurable."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = engine_for(url)
    upgrade(engine, schema)
    assert_durable(engine)
    return engine
