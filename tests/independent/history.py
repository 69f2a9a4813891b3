"""A small network with everything that a pack can hold, made without the worker, so that it can also be made wrong.

Registrars register keys; keys act, rotate and are revoked; a wallet acts; personal data is sealed under four keys, of which
one is opened, one erased, one expired and one withheld. Each event has its command and outcome, signed as a worker does it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from adapters.audit import AuditLog, Sequencer, sign_head
from adapters.audit.packs import Kept
from adapters.keys import Signer, ed25519_signer, verify, wallet_signer
from adapters.sealing import Opened, Place, seal, unseal
from adapters.sql import engine_for
from adapters.tlog.checkpoints import cosign
from adapters.tlog.notes import COSIGNATURE, NoteSigner
from adapters.vouching import vouched_by
from contracts import ZERO_HASH, Sealed, event_id, outcome_id, rfc3339
from tests.adapters.audit.log import Arrived
from tests.databases import upgrade

NETWORK = "test"
START = datetime(2026, 1, 1, tzinfo=UTC)
END, WRITERS_END = (rfc3339(START + timedelta(days=days)) for days in (300, 366))
LOG = NoteSigner.of("audit.example/test/1", bytes([1]) * 32)
WITNESSES = [NoteSigner.of(f"witness{n}.example", bytes([20 + n]) * 32, COSIGNATURE) for n in range(3)]
WRITER, STRANGER = ed25519_signer(bytes([7]) * 32), ed25519_signer(bytes([8]) * 32)
ROOTS = [ed25519_signer(bytes([30 + n]) * 32) for n in range(3)]
PROCESS, OFFICER, SECOND = (ed25519_signer(bytes([40 + n]) * 32) for n in range(3))
GPU, OLD, NEW, REVOKED = (ed25519_signer(bytes([50 + n]) * 32) for n in range(4))
WALLET = wallet_signer(bytes([60]) * 32)
SEALING = {name: sha256(name.encode()).hexdigest()[:32] for name in ("opened", "erased", "expired", "withheld", "lost")}
SECRETS = {key: sha256(b"secret" + key.encode()).digest() for key in SEALING.values()}

_ROLES = {
    WRITER.did: ["store.writer"], PROCESS.did: ["custody.process", "audit.process", "audit.clock"],
    OFFICER.did: ["audit.officer"], SECOND.did: ["audit.officer"], **{root.did: ["identity.root"] for root in ROOTS},
}  # fmt: skip
_PREFIXES = {"store": "", "identity": "identity/", "custody": "custody/", "audit": "audit/"}
GENESIS = {
    "network": NETWORK,
    "keys": [
        {
            "key": did, "not_after": WRITERS_END if did == WRITER.did else END,
            "roles": [{"role": role, "prefix": _PREFIXES[role.partition(".")[0]]} for role in roles],
        }
        for did, roles in _ROLES.items()
    ],
}  # fmt: skip
POLICY = "".join(
    [
        f"log {LOG.key}\n",
        *(f"witness w{n} {witness.key}\n" for n, witness in enumerate(WITNESSES)),
        "group enough 2 w0 w1 w2\nquorum enough\n",
    ]
)
UNWITNESSED = f"log {LOG.key}\nquorum none\n"


COMMAND_HASH = "the command's hash"
"""Of an event's field: it says the hash of the command that it follows from."""


@dataclass
class Event:
    """As it was published, and where."""

    id: str
    shard: str
    sequence: int
    document: dict[str, Any]
    value: bytes


@dataclass
class History:
    """Commands in, events out; wrong ones too, if that is asked for."""

    writer: Signer = WRITER
    now: datetime = START
    shards: dict[str, list[Arrived]] = field(default_factory=dict)
    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    authority: dict[str, tuple[str, int]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    _heads: dict[str, str] = field(default_factory=dict)
    _asked: int = 0

    def __post_init__(self) -> None:
        grants = [did for did, roles in _ROLES.items() for _ in roles]
        self.authority.update({did: ("genesis", n) for n, did in enumerate(grants)})

    def ask(
        self, signer: Signer, kind: str, subject: str, events: Sequence[tuple[str, Mapping[str, Any]]], **wrong: Any
    ) -> list[Event]:
        """The events of an accepted command. `wrong`: `writer`, `time`, `actor`, `network`, `shard`, `dataschema`; `asked` and
        `told`, which change the command and the outcome's data before they are hashed; or `forget` to keep no command."""
        self._asked += 1
        self.now += timedelta(milliseconds=7)
        context = kind.partition(".")[0]
        moment, shard = wrong.get("time") or rfc3339(self.now), wrong.get("shard", f"{context}.events/0")
        command = orjson.dumps(
            {
                "specversion": "1.0", "id": self.next_id(), "source": signer.did, "type": kind, "subject": subject,
                "time": moment, "dataschema": f"urn:spaceos:{kind}:1", "network": NETWORK, "data": {"of": kind},
                **wrong.get("asked", {}),
            }
        )  # fmt: skip
        asked, writer = orjson.loads(command), wrong.get("writer", self.writer)
        made = [
            self._record(asked, sha256(command).hexdigest(), shard, moment, ordinal, event, writer, wrong)
            for ordinal, event in enumerate(events)
        ]
        self.events += made
        outcome = self._outcome(asked, sha256(command).hexdigest(), moment, made, writer, wrong)
        if not wrong.get("forget"):
            self.kept[signer.did, asked["id"]] = Kept(command, signer.sign(command), outcome)
        return made

    def next_id(self) -> str:
        """Of the command that is asked now."""
        return f"00000000-0000-7000-8000-{self._asked:012x}"

    def coming_id(self) -> str:
        """Of the command that will be asked next: what is sealed for it is bound to it."""
        return f"00000000-0000-7000-8000-{self._asked + 1:012x}"

    def _record(
        self,
        asked: dict[str, Any],
        digest: str,
        shard: str,
        moment: str,
        ordinal: int,
        event: tuple[str, Mapping[str, Any]],
        writer: Signer,
        wrong: Mapping[str, Any],
    ) -> Event:
        records, subject = self.shards.setdefault(shard, []), asked["subject"]
        self.versions[subject] = self.versions.get(subject, 0) + 1
        document = {
            "specversion": "1.0", "id": event_id(asked["source"], asked["id"], ordinal), "source": writer.did,
            "type": event[0], "subject": subject, "time": moment,
            "dataschema": wrong.get("dataschema", f"urn:spaceos:{event[0]}:1"),
            "network": wrong.get("network", NETWORK), "correlationid": asked["id"], "causationid": asked["id"],
            "shard": shard, "sequence": f"{len(records):020d}", "streamversion": self.versions[subject],
            "prevhash": self._heads.get(shard, ZERO_HASH), "actor": wrong.get("actor", asked["source"]),
            "commandhash": digest,
            "data": {name: digest if value is COMMAND_HASH else value for name, value in event[1].items()},
        }  # fmt: skip
        value = orjson.dumps(document)
        self._heads[shard] = sha256(value).hexdigest()
        records.append(Arrived(len(records), value, [("signature", writer.sign(value).encode())]))
        if event[0].startswith("identity.") and (key := event[1].get("successor") or event[1].get("key")):
            self.authority[key] = (shard, len(records) - 1)
        for root in event[1].get("roots", ()):
            self.authority[root] = (shard, len(records) - 1)
        return Event(str(document["id"]), shard, len(records) - 1, document, value)

    def _outcome(
        self, asked: dict[str, Any], digest: str, moment: str, made: Iterable[Event], writer: Signer, wrong: Mapping[str, Any]
    ) -> bytes:
        context, places = asked["type"].partition(".")[0], [*made]
        shard, sequence = self.authority.get(asked["source"], ("genesis", 0))
        data = {
            "commandhash": digest, "time": moment, "authority": [{"shard": shard, "sequence": sequence}],
            "events": [
                {"shard": e.shard, "sequence": e.sequence, "id": e.id, "streamversion": e.document["streamversion"]}
                for e in places
            ],
        }  # fmt: skip
        wrong.get("told", dict)(data)
        return orjson.dumps(
            {
                "specversion": "1.0", "id": outcome_id(asked["source"], asked["id"]), "source": writer.did,
                "type": f"{context}.Accepted", "subject": asked["subject"], "time": moment,
                "dataschema": f"urn:spaceos:{context}.Accepted:1", "network": asked["network"], "correlationid": asked["id"],
                "causationid": asked["id"], "shard": f"{context}.outcomes/0", "sequence": f"{self._asked:020d}",
                "actor": asked["source"], "data": data,
            }
        )  # fmt: skip

    # What people do

    def found(self) -> None:
        roots = {"roots": [root.did for root in ROOTS], "quorum": 2, "chain_id": 1, "profile": "consumer"}
        self.ask(ROOTS[0], "identity.Found", f"identity/network/{NETWORK}", [("identity.Founded", roots)])

    def again(self) -> Event:
        """The last command once more: another event of the same id, and an outcome for it, which is the one that is kept."""
        last = self.events[-1]
        (source, name), document = (last.document["actor"], last.document["causationid"]), last.document
        kept, self.now = self.kept[source, name], self.now + timedelta(milliseconds=7)
        asked, digest, moment = orjson.loads(kept.value), document["commandhash"], rfc3339(self.now)
        made = self._record(asked, digest, last.shard, moment, 0, (document["type"], {"n": "again"}), self.writer, {})
        self.events.append(made)
        outcome = self._outcome(asked, digest, moment, [made], self.writer, {})
        self.kept[source, name] = Kept(kept.value, kept.signature, outcome)
        return made

    def register(self, key: Signer, role: str = "providers.gpu", registrar: Signer = ROOTS[1], **wrong: Any) -> list[Event]:
        """`roles` or `prefix` may be given."""
        prefix = wrong.pop("prefix", f"{role.partition('.')[0]}/")
        grant = {"roles": wrong.pop("roles", [{"role": role, "prefix": prefix}]), "not_after": END}
        proposed = ("identity.KeyProposed", {"key": key.did, **grant, "held_by": "somebody"})
        events = [proposed, ("identity.KeyRegistered", {"key": key.did, **grant})]
        return self.ask(registrar, "identity.ProposeKey", f"identity/key/{key.did}", events, **wrong)

    def rotate(self, old: Signer, new: Signer) -> None:
        roles = [{"role": "providers.gpu", "prefix": "providers/"}]
        until = rfc3339(self.now + timedelta(milliseconds=40))
        data = {"key": old.did, "successor": new.did, "roles": roles, "not_after": END, "until": until}
        self.ask(old, "identity.RotateKey", f"identity/key/{old.did}", [("identity.KeyRotated", data)])

    def revoke(self, key: Signer) -> None:
        data = {"key": key.did, "reason": "compromised"}
        self.ask(ROOTS[1], "identity.RevokeKey", f"identity/key/{key.did}", [("identity.KeyRevoked", data)])

    def act(self, key: Signer, stream: str = "providers/provider/p1", **wrong: Any) -> Event:
        """Something that a provider does; `data` may be given."""
        event = ("providers.ProviderDraining", wrong.pop("data", {"n": self._asked}))
        return self.ask(key, "providers.DrainProvider", stream, [event], **wrong)[0]

    def act_sealed(self, *names: str) -> Event:
        """With a field sealed under each of those keys; a slash in one field's name."""
        stream, data = "providers/provider/p2", {}
        for name in names:
            path = f"{name}/of"
            place = Place(NETWORK, stream, self.coming_id(), f"/{path.replace('/', '~1')}")
            key = SEALING[name]
            data[path] = seal(
                f"the text of {name}", key, SECRETS[key], place, salt=sha256(key.encode()).digest(), nonce=bytes(24)
            )
        return self.act(GPU, stream, data={path: found.model_dump(mode="json") for path, found in data.items()})

    def create_key(self, name: str) -> None:
        data = {"kind": "sealing", "retention_class": "none", "year": 2026}
        self.ask(PROCESS, "custody.CreateKey", f"custody/key/{SEALING[name]}", [("custody.KeyCreated", data)])

    def shred(self, name: str, cause: str) -> Event:
        return self.ask(PROCESS, "custody.Shred", f"custody/key/{SEALING[name]}", [("custody.KeyShredded", {"cause": cause})])[
            0
        ]

    def order(self, *names: str, officers: Sequence[Signer] = (OFFICER, SECOND)) -> Event:
        """The first proposes, the second orders."""
        stream, keys = f"audit/erasure/{names[0]}", [SEALING[name] for name in names]
        proposed = {"keys": [{"key": key, "retention_class": "none", "year": 2026} for key in keys], "basis": "request"}
        said = [("audit.ErasureProposed", proposed), ("audit.ErasureOrdered", {"keys": keys, "basis": "request"})]
        return [self.ask(key, "audit.OrderErasure", stream, [event])[0] for key, event in zip(officers, said, strict=True)][-1]

    def expire(self, *shredded: Event) -> Event:
        keys = [event.document["subject"].rpartition("/")[2] for event in shredded]
        data = {"keys": keys, "shredded": [event.id for event in shredded]}
        return self.ask(PROCESS, "audit.ExpireRetention", "audit/class/none.2026", [("audit.RetentionExpired", data)])[0]


def lively() -> History:
    """Everything once, and enough besides for several batches and bundles."""
    history = History()
    history.found()
    for key in (GPU, OLD, REVOKED, WALLET):
        history.register(key)
    for name in SEALING:
        history.create_key(name)
    for n in range(40):
        history.act(GPU, f"providers/provider/s{n % 5}")
    history.act(REVOKED, "providers/provider/p3")
    history.revoke(REVOKED)
    history.rotate(OLD, NEW)
    history.act(OLD, "providers/provider/p4")
    history.now += timedelta(minutes=1)
    for key in (NEW, WALLET, GPU, WALLET):
        history.act(key)
    history.act_sealed("opened", "erased", "expired", "withheld")
    order = history.order("erased")
    history.shred("erased", order.id)
    history.expire(history.shred("expired", history.act(GPU).id))
    for n in range(300):
        history.act(GPU, f"providers/provider/s{n % 5}")
    return history


class Deployed:
    """A history in a log of its own on SQLite, signed now and then."""

    def __init__(self, folder: Path, history: History, *, batch: int = 45) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.history = folder, history
        self.engine = engine_for(f"sqlite:///{folder}/audit.db")
        upgrade(self.engine, "audit")
        self.sequencer = Sequencer(self.engine, NETWORK, vouched_by(NETWORK, [WRITER.did, STRANGER.did], verify))
        self.sequencer.claim(sorted(history.shards))
        self.notes: list[str] = []
        self._batch = batch
        self.grow()

    def grow(self) -> None:
        """Whatever the history has more, in batches; every third is signed, and the last."""
        turn = 0
        while waiting := {name: self._next(name) for name in self.history.shards if self._next(name)}:
            self.sequencer.apply(waiting)
            turn += 1
            if turn % 3 == 0:
                self._sign()
        self.sequencer.seal_idle()
        self._sign()

    def _next(self, name: str) -> list[Arrived]:
        start = self.sequencer.position(name).next
        return self.history.shards[name][start : start + self._batch]

    def _sign(self) -> None:
        if note := sign_head(self.engine, LOG, self.folder / "last-signed"):
            self.notes.append(note)

    @property
    def log(self) -> AuditLog:
        return AuditLog(self.engine)

    def witnessed(self, note: str | None = None, *witnesses: NoteSigner, at: int = 1_767_300_000) -> str:
        """The newest head with two cosignatures."""
        found = note or self.notes[-1]
        for n, witness in enumerate(witnesses or WITNESSES[:2]):
            found = cosign(found, witness, at + n)
        return found

    def commands(self, identities: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Kept]:
        return {identity: self.history.kept[identity] for identity in identities if identity in self.history.kept}


def openings(*opened: str, gone: Iterable[str] = ("erased", "expired", "lost")) -> Callable[..., Any]:
    """What a reader may open: those keys; the vault lacks those that are gone; all others are withheld."""
    may, lost = {SEALING[name] for name in opened}, {SEALING[name] for name in gone}

    def of(document: Mapping[str, Any]) -> Iterable[tuple[str, str, Opened | None]]:
        for name, found in document["data"].items():
            if not (isinstance(found, dict) and found.get("sealed")):
                continue
            pointer = f"/{name.replace('/', '~1')}"
            place = Place(document["network"], document["subject"], document["causationid"], pointer)
            if found["key"] in lost:
                yield pointer, found["key"], None
            elif found["key"] in may:
                yield pointer, found["key"], unseal(Sealed.model_validate(found), SECRETS[found["key"]], place)

    return of


def hand_out(folder: Path) -> tuple[Path, Path]:
    """What an auditor has by another way: policy and genesis."""
    folder.mkdir(parents=True, exist_ok=True)
    policy, genesis = folder / "policy", folder / "genesis.json"
    policy.write_text(POLICY)
    genesis.write_text(json.dumps(GENESIS))
    return policy, genesis
