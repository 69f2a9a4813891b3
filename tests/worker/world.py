"""A network without a broker: topics are lists, and a worker is a decider that remembers its shards' counter rows."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Engine, func, select

from adapters.keys import Signer, ed25519_signer
from adapters.sql import engine_for, reading, tables
from adapters.sql.store import Sealed, Store
from commands import Grant
from contracts import Command, CommandRecord, Did, Digest, Label, Role, partition_of, uuid7
from contracts.identity import ApproveKey, ProposeKey, RevokeKey, RoleGrant, RotateKey, key_proof
from domain.identity.authority import WRITER, Founding
from ops.worker.checking import Door
from ops.worker.deciding import Chunk, Decider
from tests.databases import upgrade

NETWORK = "test"
PARTITIONS = 2
START = datetime.now(UTC)
FAR = START + timedelta(days=300)

alice, bob, carol, dave, stranger, writer, erin = (ed25519_signer(bytes([n]) * 32) for n in range(11, 18))
"""Alice, Carol and Erin are the roots and registrars, Bob is a GPU provider, Dave registers GPUs in one corner only."""

GRANTS = (
    Grant(alice.did, "identity.registrar", "identity/", FAR),
    Grant(carol.did, "identity.registrar", "identity/", FAR),
    Grant(bob.did, "providers.gpu", "providers/", FAR),
    Grant(dave.did, "identity.registrar", "identity/network", FAR),
    Grant(erin.did, "identity.registrar", "identity/", FAR),
    Grant(erin.did, "identity.root", "identity/", FAR),
)
ROOTS = (alice.did, carol.did, erin.did)
FOUNDING = Founding("0" * 64, ROOTS, 2, 800_000, "consumer")

_ids = count(1)


@dataclass(frozen=True)
class Incoming:
    """A record as a broker would hand it over."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Sent:
    """A signed command on its way."""

    value: bytes
    key: bytes
    headers: Sequence[tuple[str, bytes]]

    @property
    def id(self) -> str:
        name: str = json.loads(self.value)["id"]
        return name

    @property
    def subject(self) -> str:
        return self.key.decode()


def signed(command: Command, subject: str, by: Signer = alice, **more: Any) -> Sent:
    """A command with a fresh id, signed now."""
    asked = {"network": NETWORK, "time": datetime.now(UTC), "id": uuid7(next(_ids), bytes(10)), **more}
    value = CommandRecord.encode(command, subject=subject, source=by.did, **asked)
    return resigned(value, subject, by)


def resigned(value: bytes, subject: str, by: Signer = alice) -> Sent:
    return Sent(value, subject.encode(), [("signature", by.sign(value).encode())])


def someone(n: int) -> Signer:
    return ed25519_signer(n.to_bytes(4) * 8)


def stream_of(signer: Signer) -> str:
    return f"identity/key/{signer.did}"


def propose(new: Signer, by: Signer = alice, role: str = "providers.gpu", prefix: str = "providers/", **more: Any) -> Sent:
    """Registers at once, where the role needs no second."""
    command_id = more.pop("id", None) or uuid7(next(_ids), bytes(10))
    command = ProposeKey.model_validate(
        {
            "key": Did(new.did), "roles": (RoleGrant(role=Role(role), prefix=prefix),), "held_by": Label("someone"),
            "not_after": more.pop("not_after", FAR),
            "proof": proof("identity.ProposeKey", command_id, new, by=by, subject=stream_of(new)),
        }
    )  # fmt: skip
    return signed(command, stream_of(new), by, id=command_id, **more)


def proof(kind: str, command_id: str, new: Signer, *, by: Signer, subject: str, network: str = NETWORK) -> str:
    """The new key's signature that it wants to be registered by this command."""
    return new.sign(key_proof(network, kind, by.did, command_id, subject, new.did))


def rotate(old: Signer, new: Signer, overlap_seconds: int = 0, **more: Any) -> Sent:
    """By the key itself, to another one that agrees."""
    command_id = uuid7(next(_ids), bytes(10))
    agreed = proof("identity.RotateKey", command_id, new, by=old, subject=stream_of(old))
    command = RotateKey.model_validate({"successor": new.did, "proof": agreed, "overlap_seconds": overlap_seconds})
    return signed(command, stream_of(old), old, id=command_id, **more)


def approve(proposal: Sent, by: Signer) -> Sent:
    """Another registrar's consent to what was proposed."""
    command = ApproveKey(proposal=Digest(hashlib.sha256(proposal.value).hexdigest()))
    return signed(command, proposal.subject, by)


def revoke(key: Signer, by: Signer = alice, **more: Any) -> Sent:
    return signed(RevokeKey(reason="compromised"), stream_of(key), by, **more)


@dataclass
class World:
    """A store and the topics of one context's commands."""

    engine: Engine
    context: str = "identity"
    grants: Sequence[Grant] = GRANTS
    founding: Founding = FOUNDING
    topics: dict[int, list[Incoming]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})

    def __post_init__(self) -> None:
        upgrade(self.engine, "store")
        self.store = Store(self.engine)
        self.store.begin(self.founding, [*self.grants, Grant(writer.did, WRITER, "", FAR)])

    def publish(self, *sent: Sent, partition: int | None = None) -> None:
        """To the partition of its key, unless another is given."""
        for record in sent:
            where = partition_of(record.subject, PARTITIONS) if partition is None else partition
            self.raw(where, record.key, record.value, record.headers)

    def raw(self, partition: int, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> int:
        """Whatever strangers publish; its offset."""
        topic = self.topics[partition]
        topic.append(Incoming(len(topic), key, value, list(headers)))
        return len(topic) - 1

    def worker(self, *partitions: int, signer: Signer = writer) -> "Worker":
        return Worker(self, partitions or tuple(self.topics), signer)

    # What is in the store

    def outcomes(self, partition: int | None = None) -> list[dict[str, Any]]:
        """Every outcome in its order, decoded, with `_signature` and `_identity`."""
        table, shards = tables.commands, tables.shards
        statement = select(table, shards.c.partition).join(shards, shards.c.id == table.c.shard)
        with reading(self.engine) as connection:
            rows = connection.execute(statement.order_by(table.c.shard, table.c.number)).all()
        return [
            {**json.loads(bytes(row.outcome)), "_signature": row.outcome_signature, "_identity": row.identity}
            for row in rows
            if partition is None or row.partition == partition
        ]

    def outcome(self, sent: Sent) -> dict[str, Any]:
        """The one outcome of a command."""
        [found] = [o for o in self.outcomes() if o["causationid"] == sent.id and o["actor"] == json.loads(sent.value)["source"]]
        return found

    def refusal(self, sent: Sent) -> str | None:
        """The name of its refusal; None where it was accepted."""
        name: str | None = self.outcome(sent)["data"].get("refusal", {}).get("name")
        return name

    def events(self) -> list[dict[str, Any]]:
        """Every event by shard and sequence, decoded, with `_value`."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(tables.events).order_by(tables.events.c.shard, tables.events.c.sequence)).all()
        return [{**json.loads(bytes(row.value)), "_value": bytes(row.value), "_signature": row.signature} for row in rows]

    def types(self, signer: Signer) -> list[str]:
        """What happened to a key."""
        return [event["type"].partition(".")[2] for event in self.events() if event["subject"] == stream_of(signer)]

    def repeats(self) -> int:
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(tables.repeats)).scalar_one()


class Worker:
    """A worker's decider, its shards, and how far it has read."""

    def __init__(self, world: World, partitions: Sequence[int], signer: Signer) -> None:
        self.world, self.partitions = world, partitions
        self.decider = Decider(world.store, signer, NETWORK, PARTITIONS)
        self.recover()

    def recover(self) -> None:
        """The one cure: forget, read the rows, start from them."""
        self.decider.forget()
        self.shards = {p: self.world.store.shard(self.world.context, p) for p in self.partitions}

    def chunks(self, limit: int | None = None) -> list[Chunk]:
        """What a poll would bring."""
        return list(self._chunks(limit))

    def _chunks(self, limit: int | None) -> Iterator[Chunk]:
        for partition, shard in self.shards.items():
            records = self.world.topics[partition][shard.position :][:limit]
            if records:
                door = Door(self.world.context, partition, PARTITIONS, NETWORK)
                yield Chunk(shard, [door.check(record) for record in records])

    def work(self, limit: int | None = None) -> Sealed | None:
        """One batch of what is there."""
        chunks = self.chunks(limit)
        if not chunks:
            return None
        sealed = self.decider.commit(chunks)
        self.shards.update({after.partition: after for _, after in sealed.shards})
        return sealed

    def work_all(self, limit: int | None = None) -> None:
        """Batches until nothing is left."""
        while self.work(limit):
            pass


def open_world(url: str) -> World:
    return World(engine_for(url))
